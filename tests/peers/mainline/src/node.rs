//! One node: announce, look up, put and get.

use std::net::SocketAddrV4;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use mainline::{Dht, Id, MutableItem};
use serde_json::{Value, json};
use sha2::Sha512;

use crate::{Outcome, Role, converse, start, text};

pub(crate) fn run(role: Role, listen: &str, bootstrap: &[&str]) -> Outcome<()> {
    let address: SocketAddrV4 = listen.parse()?;
    let dht = start(role, address, bootstrap)?;
    converse(&json!({ "ready": listen }), |verb, request| match verb {
        "nodes" => Ok(json!({ "nodes": dht.to_bootstrap().len() })),
        "announce" => announce(&dht, address, request),
        "peers" => peers(&dht, request),
        "put" => put(&dht, request),
        "get" => get(&dht, request),
        "put_mutable" => put_mutable(&dht, request),
        "get_mutable" => get_mutable(&dht, request),
        _ => Err(format!("unknown request {verb}").into()),
    })
}

fn announce(dht: &Dht, address: SocketAddrV4, request: &Value) -> Outcome {
    dht.announce_peer(id(request, "hash")?, None)?;
    Ok(json!({ "announced": address.port() }))
}

fn peers(dht: &Dht, request: &Value) -> Outcome {
    let found = dht.get_peers(id(request, "hash")?);
    let mut peers: Vec<String> = found.flatten().map(|peer| peer.to_string()).collect();
    peers.sort();
    peers.dedup();
    Ok(json!({ "peers": peers }))
}

fn put(dht: &Dht, request: &Value) -> Outcome {
    let target = dht.put_immutable(text(request, "value")?.as_bytes())?;
    Ok(json!({ "target": target.to_string() }))
}

fn get(dht: &Dht, request: &Value) -> Outcome {
    let value = dht.get_immutable(id(request, "target")?);
    Ok(json!({ "value": value.map(|bytes| lossy(&bytes)) }))
}

/// The next sequence number after the one that is found, as libtorrent does it.
fn put_mutable(dht: &Dht, request: &Value) -> Outcome {
    let secret = decode(text(request, "secret")?)?;
    let expanded = match <[u8; 64]>::try_from(secret.as_slice()) {
        Ok(scalar_and_prefix) => ExpandedSecretKey::from_bytes(&scalar_and_prefix),
        Err(_) => ExpandedSecretKey::from(&secret.as_slice().try_into()?),
    };
    let public = VerifyingKey::from(&expanded);
    let salt = salt(request)?;
    let before = dht.get_mutable_most_recent(public.as_bytes(), salt);
    let seq = before.map_or(1, |item| item.seq() + 1);
    let value = text(request, "value")?.as_bytes();
    let signature = raw_sign::<Sha512>(&expanded, &signable(seq, value, salt), &public);
    let key = public.to_bytes();
    let item = MutableItem::new_signed_unchecked(key, signature.to_bytes(), value, seq, salt);
    let target = dht.put_mutable(item, None)?;
    let public: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({ "public": public, "seq": seq, "target": target.to_string() }))
}

fn get_mutable(dht: &Dht, request: &Value) -> Outcome {
    let public = decode(text(request, "public")?)?.as_slice().try_into()?;
    Ok(match dht.get_mutable_most_recent(&public, salt(request)?) {
        Some(item) => json!({ "value": lossy(item.value()), "seq": item.seq() }),
        None => json!({ "value": null, "seq": null }),
    })
}

/// What is signed, by BEP 44.
fn signable(seq: i64, value: &[u8], salt: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(salt) = salt {
        bytes.extend(format!("4:salt{}:", salt.len()).bytes());
        bytes.extend(salt);
    }
    bytes.extend(format!("3:seqi{seq}e1:v{}:", value.len()).bytes());
    bytes.extend(value);
    bytes
}

/// No salt and an empty salt are the same.
fn salt(request: &Value) -> Outcome<Option<&[u8]>> {
    let salt = text(request, "salt")?.as_bytes();
    Ok((!salt.is_empty()).then_some(salt))
}

fn id(request: &Value, field: &str) -> Outcome<Id> {
    Ok(Id::from_bytes(decode(text(request, field)?)?)?)
}

fn decode(hex: &str) -> Outcome<Vec<u8>> {
    let pair = |at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16);
    Ok((0..hex.len())
        .step_by(2)
        .map(pair)
        .collect::<Result<_, _>>()?)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
