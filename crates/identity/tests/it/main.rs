//! Tests of the public API, in one binary.
#![allow(clippy::unwrap_used)]

mod atomic_file;
mod capability;
mod certificate;
mod contacts;
mod device_id;
mod device_key;
mod key_file;
mod messages;
mod mutation;
mod peer_address;
mod permission;
mod policy;
mod policy_file;
mod presented;
mod target;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};

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

/// 1 when everything is to be tested (`DHTNET_TEST_FULL=1`), else 0.
fn full() -> usize {
    usize::from(std::env::var_os("DHTNET_TEST_FULL").is_some())
}

/// The output of the `openssl` command with these arguments, run in `folder`; `None` where there
/// is no such command.
fn openssl(folder: &Path, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("openssl");
    match command.args(arguments).current_dir(folder).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        output => Some(output.unwrap()),
    }
}

/// Says that a test could not run, past the test runner's capture and to who counts them.
fn skipped(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    io::stdout().write_all(line.as_bytes()).unwrap();
    if let Some(log) = std::env::var_os("DHTNET_SKIP_LOG") {
        let file = OpenOptions::new().create(true).append(true).open(log);
        file.unwrap().write_all(line.as_bytes()).unwrap();
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
