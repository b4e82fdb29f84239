//! One value under a key, and its record: a canonical bencoded dictionary.
//!
//! | key | kind | meaning |
//! |---|---|---|
//! | `b` | bytes | the body, where it is inline |
//! | `d` | 1 | removed: in place of a body |
//! | `e` | integer | when it expires, seconds since 1970 |
//! | `h` | bytes | targets of the body's items, 20 bytes each |
//! | `i` | 8 bytes | the id, big-endian |
//! | `k` | 32 bytes | the owner's public key |
//! | `l` | integer | bytes of the body that `h` names |
//! | `n` | integer | the sequence number |
//! | `s` | 64 bytes | the owner's signature |
//! | `t` | integer | the type |
//! | `x` | 1 | the body is sealed |
//!
//! `k`, `n` and `s` are there together or not at all; of `b`, `d` and `h` with `l` there is one.

use std::fmt;

use dhtnet_identity::DeviceId;
use dhtnet_identity::device_id::InvalidPublicKey;
use rand_core::Rng;

use super::field_record::FieldRecord;
use super::query::{Select, Subject};
use super::time::UnixTime;
use crate::bencode;
use crate::id::Id;

/// Bytes of the longest record: that of a BEP 44 item, so that it fits into a datagram as one.
pub const MAX_RECORD_LEN: usize = 1000;

/// Bytes of the longest body: OpenDHT's limit of a value, 64 KiB.
pub const MAX_BODY_LEN: usize = 65_536;

/// Distinguishes the values of one owner under one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ValueId(pub u64);

impl ValueId {
    /// An id that nobody has.
    #[must_use]
    pub fn random(rng: &mut impl Rng) -> Self {
        Self(rng.next_u64())
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Debug for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueId({self})")
    }
}

/// What kind of value it is; 0 is "user data".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ValueType(pub u16);

/// The public key of an owner as it stands in a record: 32 bytes that nobody has checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerKey(pub [u8; 32]);

impl OwnerKey {
    /// The device, if the bytes are the id of one.
    ///
    /// # Errors
    /// [`InvalidPublicKey`].
    pub fn device_id(&self) -> Result<DeviceId, InvalidPublicKey> {
        DeviceId::from_bytes(&self.0)
    }
}

impl From<DeviceId> for OwnerKey {
    fn from(id: DeviceId) -> Self {
        Self(*id.as_bytes())
    }
}

/// The id of the device; 64 hexadecimal digits where the bytes are none.
impl fmt::Display for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Ok(id) = self.device_id() {
            return write!(f, "{id}");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "OwnerKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// What a value is known by among those under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueKey {
    /// Its id.
    pub id: ValueId,
    /// Its owner.
    pub owner: Option<OwnerKey>,
}

impl ValueKey {
    /// As `more`, `after` and `gone` carry it: the id, and the owner if there is one. 8 or 40
    /// bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend(self.id.0.to_be_bytes());
        if let Some(owner) = &self.owner {
            bytes.extend(owner.0);
        }
        bytes
    }

    /// None where `bytes` are not 8 or 40.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (id, owner) = bytes.split_first_chunk()?;
        let owner = match owner {
            [] => None,
            owner => Some(OwnerKey(owner.try_into().ok()?)),
        };
        Some(Self {
            id: ValueId(u64::from_be_bytes(*id)),
            owner,
        })
    }
}

/// What a value holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    /// The bytes themselves.
    Inline(Vec<u8>),
    /// Items to be fetched: give both to a [`Joiner`](super::split::Joiner).
    Split {
        /// Bytes of the body, 1 to [`MAX_BODY_LEN`].
        len: u32,
        /// Targets of immutable items, as many as belong to `len`.
        parts: Vec<Id>,
    },
    /// Nothing: its owner removed the value.
    Removed,
}

impl Body {
    /// Bytes of the whole body.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Split { len, .. } => *len as usize,
            Self::Removed => 0,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Who made a value, and which version of it this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ownership {
    pub(super) owner: OwnerKey,
    pub(super) seq: u64,
    pub(super) signature: [u8; 64],
}

/// One value under a key. Made by a [`Draft`](super::Draft) or read from a record, whose
/// signature [`Value::verify`] checks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value {
    pub(super) id: ValueId,
    pub(super) kind: ValueType,
    pub(super) expiry: UnixTime,
    pub(super) body: Body,
    pub(super) is_sealed: bool,
    pub(super) ownership: Option<Ownership>,
}

impl Value {
    /// Reads a record. Its signature is not checked.
    ///
    /// # Errors
    /// [`DecodeError`], for anything but the canonical form.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_up_to(record, MAX_RECORD_LEN)
    }

    pub(super) fn decode_up_to(record: &[u8], max: usize) -> Result<Self, DecodeError> {
        let fields = FieldRecord::read(record, max)?;
        let ownership = match (fields.owner, fields.seq, fields.signature) {
            (None, None, None) => None,
            (Some(owner), Some(seq), Some(signature)) => Some(Ownership {
                owner,
                seq,
                signature,
            }),
            _ => {
                return Err(DecodeError::Missing(
                    "of owner (k), seq (n) and signature (s)",
                ));
            }
        };
        if fields.body == Some(Body::Removed) && ownership.is_none() {
            return Err(DecodeError::Missing("owner (k)"));
        }
        Ok(Self {
            id: fields.id.ok_or(DecodeError::Missing("id (i)"))?,
            kind: fields.kind.ok_or(DecodeError::Missing("type (t)"))?,
            expiry: fields.expiry.ok_or(DecodeError::Missing("expiry (e)"))?,
            body: fields.body.ok_or(DecodeError::Missing("body"))?,
            is_sealed: fields.is_sealed,
            ownership,
        })
    }

    /// The record: what [`Value::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.as_fields().encode()
    }

    /// A record with the selected fields only: what [`FieldRecord::decode`] reads.
    #[must_use]
    pub fn encode_selected(&self, select: Select) -> Vec<u8> {
        let mut fields = self.as_fields();
        fields.keep(select);
        fields.encode()
    }

    pub(super) fn as_fields(&self) -> FieldRecord {
        FieldRecord {
            id: Some(self.id),
            kind: Some(self.kind),
            expiry: Some(self.expiry),
            owner: self.owner(),
            seq: self.seq(),
            body: Some(self.body.clone()),
            is_sealed: self.is_sealed,
            signature: self.ownership.map(|ownership| ownership.signature),
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ValueId {
        self.id
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> ValueType {
        self.kind
    }

    /// When it expires.
    #[must_use]
    pub const fn expiry(&self) -> UnixTime {
        self.expiry
    }

    /// What it holds.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// Whether the body is encrypted to somebody: [`Value::open`] reads it.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Whether this stands where the owner removed a value.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        self.body == Body::Removed
    }

    /// The owner; none where the value is unsigned.
    #[must_use]
    pub fn owner(&self) -> Option<OwnerKey> {
        self.ownership.map(|ownership| ownership.owner)
    }

    /// The sequence number of a signed value.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.ownership.map(|ownership| ownership.seq)
    }

    /// What it is known by under its key.
    #[must_use]
    pub fn key(&self) -> ValueKey {
        ValueKey {
            id: self.id,
            owner: self.owner(),
        }
    }

    /// What a [`Filter`](super::Filter) looks at.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject {
            key: self.key(),
            kind: self.kind,
            seq: self.seq(),
        }
    }

    /// Whether both say the same, however long they last.
    #[must_use]
    pub fn is_same_but_for_expiry(&self, other: &Self) -> bool {
        self.key() == other.key()
            && self.seq() == other.seq()
            && self.kind == other.kind
            && self.is_sealed == other.is_sealed
            && self.body == other.body
    }

    /// Whether a reader that has found both under one key keeps this one: the same value with a
    /// higher sequence number, or the same version for longer.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        self.key() == other.key()
            && (self.seq() > other.seq()
                || (self.is_same_but_for_expiry(other) && self.expiry > other.expiry))
    }
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than a record may be.
    #[error("a record has at most {max} bytes, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Not bencoded, or not in its only form.
    #[error("the record is not canonical")]
    Bencode(#[from] bencode::Error),
    /// A key that this version does not know.
    #[error("the record has a key that is not known")]
    UnknownKey,
    /// A field of the wrong kind, length or range.
    #[error("the field {0} of the record has no valid value")]
    Field(char),
    /// More than one of body, parts and removal.
    #[error("the record has more than one body")]
    TwoBodies,
    /// The number of parts does not belong to the length of the body.
    #[error("the number of parts in the record does not belong to the length of the body")]
    Parts,
    /// A field that must be there.
    #[error("the record has no {0}")]
    Missing(&'static str),
}
