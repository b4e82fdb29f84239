//! Values from outside: records byte by byte, signatures, seals, queries.

mod queries;
mod records;

use std::collections::BTreeMap;
use std::time::Duration;

use dhtnet_dht_core::Id;
use dhtnet_dht_core::value::{Body, Draft, Prepared, UnixTime, Value, ValueId, ValueType};
use dhtnet_identity::{DeviceId, DeviceKey};
use proptest::test_runner::{Config, RngSeed};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const NOW: UnixTime = UnixTime(1_800_000_000);

/// Cases of a property, the same in every run.
fn cases(count: u32) -> Config {
    Config {
        cases: count,
        rng_seed: RngSeed::Fixed(0x6468_746e_6574),
        failure_persistence: None,
        ..Config::default()
    }
}

fn owner() -> DeviceKey {
    DeviceKey::from_seed(&[1; 32])
}

fn recipient() -> DeviceKey {
    DeviceKey::from_seed(&[2; 32])
}

fn target() -> Id {
    Id::hash_of(b"dhtnet")
}

fn draft(body: &[u8]) -> Draft {
    Draft::new(target(), ValueId(0x2a), body.to_vec())
        .with_kind(ValueType(3))
        .with_ttl(Duration::from_secs(3600))
}

fn signed(body: &[u8]) -> Prepared {
    draft(body).signed(NOW, &owner(), 7).unwrap()
}

fn sealed(body: &[u8], author: Option<(&DeviceKey, u64)>) -> Prepared {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let recipient: DeviceId = recipient().id();
    draft(body)
        .sealed_for(NOW, &recipient, author, &mut rng)
        .unwrap()
}

/// One record of each sort, as in the vector file.
fn records() -> Vec<(&'static str, Value)> {
    let long: Vec<u8> = (0..2000_u32).map(|at| at as u8).collect();
    vec![
        ("unsigned", draft(b"text").unsigned(NOW).unwrap().value),
        ("signed", signed(b"text").value),
        (
            "removal",
            signed(b"text")
                .value
                .removed_by(&owner(), &target())
                .unwrap(),
        ),
        ("split", signed(&long).value),
        ("sealed", sealed(b"text", Some((&owner(), 7))).value),
    ]
}

/// The lines of the vector file: a name and bytes in hexadecimal.
fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    include_str!("../vectors/values.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            (name, from_hex(hex))
        })
        .collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn inline(value: &Value) -> &[u8] {
    match value.body() {
        Body::Inline(bytes) => bytes,
        body => panic!("an inline body, not {body:?}"),
    }
}
