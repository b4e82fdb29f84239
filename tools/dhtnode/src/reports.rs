//! What the DHT said, as plain values with their JSON form.

use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use crate::bencode;
use crate::dht::{Contact, Id};
use crate::key::value_id;
use crate::output::value_fields;

/// The answer to a ping.
#[derive(Clone, Debug)]
pub(crate) struct Pong {
    pub(crate) id: Id,
    pub(crate) round_trip: Duration,
    pub(crate) version: Option<Vec<u8>>,
    /// This host's address as the other side sees it.
    pub(crate) external: Option<SocketAddr>,
    /// The version of the value layer that it speaks.
    pub(crate) extension: Option<u32>,
}

/// How a look-up went.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    pub(crate) closest: Vec<Contact>,
    pub(crate) hops: u64,
    pub(crate) queries: u64,
    pub(crate) elapsed: Duration,
}

/// What was found under a key.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// BEP 44, named by its hash.
    Immutable { encoded: Vec<u8> },
    /// BEP 44, signed by its owner.
    Mutable(SignedItem),
    /// One of many values under the key.
    Value(KeptValue),
}

/// An item that its owner can change.
#[derive(Clone, Debug)]
pub(crate) struct SignedItem {
    pub(crate) encoded: Vec<u8>,
    pub(crate) key: [u8; 32],
    pub(crate) salt: Vec<u8>,
    pub(crate) seq: i64,
    pub(crate) signature: [u8; 64],
}

/// A value of the value layer.
#[derive(Clone, Debug)]
pub(crate) struct KeptValue {
    pub(crate) id: u64,
    pub(crate) kind: u16,
    /// The device id of whoever signed it.
    pub(crate) owner: Option<String>,
    /// Signed values have one.
    pub(crate) seq: Option<u64>,
    /// For how many seconds it is still kept.
    pub(crate) ttl: u64,
    /// The content, or why it cannot be read.
    pub(crate) content: Content,
}

/// What a value holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// For all to read, or decrypted.
    Clear { bytes: Vec<u8>, was_encrypted: bool },
    /// For somebody else.
    Sealed,
}

/// A change under a key that is listened to.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// New, or changed by its owner.
    New(KeptValue),
    /// So many nodes tell of changes from now on.
    Listening(usize),
    /// Expired, or removed by its owner.
    Gone { owner: Option<String>, id: u64 },
}

/// How storing went.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) target: Id,
    pub(crate) acknowledged: usize,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) silent: usize,
    /// This node is among the nearest and keeps it too.
    pub(crate) is_kept_here: bool,
}

/// A node that said no.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) address: SocketAddr,
    pub(crate) code: i64,
    pub(crate) text: String,
}

/// The answer to `sample_infohashes`.
#[derive(Clone, Debug)]
pub(crate) struct Sampled {
    pub(crate) samples: Vec<Id>,
    pub(crate) interval: Duration,
    pub(crate) count: u64,
    pub(crate) nodes: Vec<Contact>,
}

/// A node in the table.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) contact: Contact,
    pub(crate) speaks_values: bool,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) is_good: bool,
}

impl Found {
    /// The value, a bencoded byte string without its length.
    pub(crate) fn shown(&self) -> &[u8] {
        match self {
            Self::Immutable { encoded } | Self::Mutable(SignedItem { encoded, .. }) => {
                bencode::string_of(encoded).unwrap_or(encoded)
            }
            Self::Value(value) => value.shown(),
        }
    }

    /// The sequence number; immutable items have none.
    pub(crate) fn seq(&self) -> Option<String> {
        match self {
            Self::Immutable { .. } => None,
            Self::Mutable(item) => Some(item.seq.to_string()),
            Self::Value(value) => value.seq.map(|seq| seq.to_string()),
        }
    }

    /// The JSON form of what lies under `key`.
    pub(crate) fn json(&self, key: Id) -> Value {
        let mut fields = Map::new();
        fields.insert("key".to_owned(), json!(key.to_string()));
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        match self {
            Self::Immutable { encoded } => {
                put("kind", json!("immutable"));
                put("bencoded", json!(bencode::string_of(encoded).is_none()));
            }
            Self::Mutable(item) => {
                put("kind", json!("mutable"));
                put(
                    "bencoded",
                    json!(bencode::string_of(&item.encoded).is_none()),
                );
                item.signature_fields()
                    .into_iter()
                    .for_each(|(name, value)| {
                        put(name, value);
                    });
            }
            Self::Value(value) => return value.json(key),
        }
        for (name, value) in value_fields(self.shown()) {
            put(name, value);
        }
        Value::Object(fields)
    }
}

impl SignedItem {
    /// `k`, `seq`, `salt`, `sig`.
    pub(crate) fn signature_fields(&self) -> [(&'static str, Value); 4] {
        [
            ("k", json!(HEXLOWER.encode(&self.key))),
            ("salt", json!(String::from_utf8_lossy(&self.salt))),
            ("seq", json!(self.seq)),
            ("sig", json!(HEXLOWER.encode(&self.signature))),
        ]
    }
}

impl KeptValue {
    /// The content; nothing if it is for somebody else.
    pub(crate) fn shown(&self) -> &[u8] {
        match &self.content {
            Content::Clear { bytes, .. } => bytes,
            Content::Sealed => &[],
        }
    }

    /// The JSON form of a value under `key`.
    pub(crate) fn json(&self, key: Id) -> Value {
        let was_encrypted = match &self.content {
            Content::Clear { was_encrypted, .. } => *was_encrypted,
            Content::Sealed => true,
        };
        let mut json = json!({
            "key": key.to_string(),
            "kind": "value",
            "id": value_id(self.id),
            "type": self.kind,
            "owner": self.owner,
            "seq": self.seq,
            "ttl": self.ttl,
            "encrypted": was_encrypted,
        });
        match &self.content {
            Content::Clear { bytes, .. } => {
                for (name, value) in value_fields(bytes) {
                    json[name] = value;
                }
            }
            Content::Sealed => json["value"] = Value::Null,
        }
        json
    }
}

impl Stored {
    /// The JSON form.
    pub(crate) fn json(&self) -> Value {
        let refused: Vec<Value> = self
            .refused
            .iter()
            .map(|refusal| {
                json!({
                    "address": refusal.address,
                    "code": refusal.code,
                    "text": refusal.text,
                })
            })
            .collect();
        json!({
            "target": self.target.to_string(),
            "acknowledged": self.acknowledged,
            "refused": refused,
            "silent": self.silent,
            "kept_here": self.is_kept_here,
        })
    }
}

/// The JSON form of a node's id and address.
pub(crate) fn contact_json(contact: &Contact) -> Value {
    json!({ "id": contact.id.to_string(), "address": contact.address })
}

/// The text form, as a line.
pub(crate) fn contact_line(contact: &Contact) -> String {
    format!("{} {}\n", contact.id, contact.address)
}

/// Software as nodes name it: two letters and two bytes of version, in most cases.
pub(crate) fn version_text(version: Option<&[u8]>) -> String {
    match version {
        None | Some([]) => "unknown".to_owned(),
        Some(all) if all.iter().all(u8::is_ascii_graphic) => {
            String::from_utf8_lossy(all).into_owned()
        }
        Some([a, b, rest @ ..]) if a.is_ascii_graphic() && b.is_ascii_graphic() => {
            format!("{}{} {}", *a as char, *b as char, HEXLOWER.encode(rest))
        }
        Some(other) => format!("hex:{}", HEXLOWER.encode(other)),
    }
}

/// A round trip in milliseconds, to a tenth.
pub(crate) fn milliseconds(round_trip: Duration) -> f64 {
    (round_trip.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_shown_as_their_writers_meant_them() {
        for (version, text) in [
            (None, "unknown"),
            (Some(&b""[..]), "unknown"),
            (Some(b"LT\x02\x06"), "LT 0206"),
            (Some(b"UTaa"), "UTaa"),
            (Some(b"\x1b[2J"), "hex:1b5b324a"),
            (Some(b"\x00"), "hex:00"),
        ] {
            assert_eq!(version_text(version), text);
        }
    }

    #[test]
    fn the_json_of_an_item_tells_what_it_is_and_how_it_is_written() {
        let key = Id::hash_of(b"k");
        let found = Found::Immutable {
            encoded: b"5:hello".to_vec(),
        };
        assert_eq!(
            found.json(key).to_string(),
            format!(
                r#"{{"bencoded":false,"encoding":"utf8","key":"{key}","kind":"immutable","value":"hello"}}"#
            )
        );
        let found = Found::Mutable(SignedItem {
            encoded: b"i5e".to_vec(),
            key: [1; 32],
            salt: b"s".to_vec(),
            seq: 7,
            signature: [2; 64],
        });
        let json = found.json(key);
        assert_eq!(
            (json["bencoded"].clone(), json["value"].clone()),
            (json!(true), json!("i5e"))
        );
        assert_eq!(
            (json["seq"].clone(), json["salt"].clone()),
            (json!(7), json!("s"))
        );
        assert_eq!(json["k"], json!("01".repeat(32)));
        assert_eq!(json["sig"], json!("02".repeat(64)));
        assert_eq!(found.seq().as_deref(), Some("7"));
    }

    #[test]
    fn a_value_for_somebody_else_is_shown_without_its_content() {
        let mut value = KeptValue {
            id: 255,
            kind: 3,
            owner: None,
            seq: None,
            ttl: 60,
            content: Content::Sealed,
        };
        let key = Id::hash_of(b"k");
        let json = value.json(key);
        assert_eq!(
            (&json["id"], &json["value"]),
            (&json!("00000000000000ff"), &Value::Null)
        );
        assert_eq!(
            (&json["encrypted"], &json["ttl"]),
            (&json!(true), &json!(60))
        );
        value.content = Content::Clear {
            bytes: vec![0xff],
            was_encrypted: false,
        };
        let json = value.json(key);
        assert_eq!(
            (&json["value"], &json["encoding"]),
            (&json!("ff"), &json!("hex"))
        );
    }
}
