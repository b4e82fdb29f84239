//! Tests of the public API, in one binary.
#![allow(clippy::unwrap_used)]

mod atomic_file;
mod contacts;
mod device_id;
mod device_key;
mod key_file;
mod messages;
mod peer_address;
mod policy;
mod target;

use std::error::Error;

use dhtnet_identity::{DeviceId, DeviceKey};
use proptest::test_runner::{Config, RngSeed};

/// Cases of a property, the same in every run.
fn cases(count: u32) -> Config {
    let rng_seed = RngSeed::Fixed(0x0064_6874_6e65_7401);
    Config {
        cases: count,
        rng_seed,
        failure_persistence: None,
        ..Config::default()
    }
}

fn key(number: u8) -> DeviceKey {
    DeviceKey::from_seed(&[number; 32])
}

fn id(number: u8) -> DeviceId {
    key(number).id()
}

/// An error and the causes below it, in one line as a tool prints it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The rows of a vector file.
fn vectors(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap()
}

fn hex<const N: usize>(value: &serde_json::Value) -> [u8; N] {
    let bytes = data_encoding::HEXLOWER
        .decode(value.as_str().unwrap().as_bytes())
        .unwrap();
    bytes.try_into().unwrap()
}
