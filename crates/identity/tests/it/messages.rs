//! What users read when they mistype something, as a snapshot.

use std::error::Error;
use std::fmt::Write;
use std::str::FromStr;

use dhtnet_identity::device_id::InvalidPublicKey;
use dhtnet_identity::device_key::KeyPemError;
use dhtnet_identity::target::{Target, TargetPattern};
use dhtnet_identity::{Alias, DeviceId, PeerArgument};

use crate::chain;

const MESSAGES: &str = include_str!("../vectors/messages.txt");

fn message<T: FromStr<Err: Error>>(text: &str) -> String {
    match text.parse::<T>() {
        Ok(_) => "parses".to_owned(),
        Err(error) => chain(&error),
    }
}

#[test]
fn each_mistake_gets_the_message_of_the_snapshot() {
    let mut found = String::new();
    for line in MESSAGES.lines() {
        let Some((kind, text)) = line
            .split_once(' ')
            .filter(|_| !line.starts_with([' ', '#']))
        else {
            if !line.starts_with(' ') {
                let _ = writeln!(found, "{line}");
            }
            continue;
        };
        let message = match kind {
            "id" => message::<DeviceId>(text),
            "peer" => message::<PeerArgument>(text),
            "alias" => message::<Alias>(text),
            "target" => message::<Target>(text),
            "pattern" => message::<TargetPattern>(text),
            other => panic!("unknown kind {other}"),
        };
        let _ = writeln!(found, "{line}\n    {message}");
    }
    assert_eq!(found, MESSAGES, "found:\n{found}");
}

#[test]
fn each_bad_key_has_its_message() {
    for (error, wanted) in [
        (
            InvalidPublicKey::NotOnCurve,
            "the public key is not a point of the curve",
        ),
        (
            InvalidPublicKey::NotCanonical,
            "the public key is not in its canonical encoding",
        ),
        (
            InvalidPublicKey::SmallOrder,
            "the public key is weak: a point of small order",
        ),
        (
            InvalidPublicKey::MixedOrder,
            "the public key is weak: a point of mixed order",
        ),
    ] {
        assert_eq!(error.to_string(), wanted);
    }
    for (error, wanted) in [
        (KeyPemError::Empty, "it is empty"),
        (
            KeyPemError::NotPem,
            "it is not PEM (no line \"-----BEGIN PRIVATE KEY-----\")",
        ),
        (
            KeyPemError::Der,
            "it is binary DER, not PEM (convert it: openssl pkey -inform DER -in FILE)",
        ),
        (
            KeyPemError::Certificate,
            "it holds a certificate, not a private key",
        ),
        (
            KeyPemError::Encrypted,
            "the key is protected by a passphrase",
        ),
        (
            KeyPemError::WrongPassphrase,
            "the passphrase does not open the key",
        ),
        (
            KeyPemError::Protection,
            "the key is protected in a way that is not supported (convert it: openssl pkcs8 \
             -topk8 -v2 aes-256-cbc -in FILE)",
        ),
        (
            KeyPemError::TooCostly,
            "the protection of the key would take too much memory or time to open",
        ),
        (
            KeyPemError::PublicKey,
            "it holds a public key, not a private key",
        ),
        (KeyPemError::OpenSsh, "it is an OpenSSH key, not PKCS#8"),
        (
            KeyPemError::Label {
                label: "EC PRIVATE KEY".into(),
            },
            "it holds \"EC PRIVATE KEY\", not \"PRIVATE KEY\"",
        ),
        (
            KeyPemError::Algorithm {
                algorithm: "RSA".into(),
            },
            "the key is RSA, not Ed25519",
        ),
        (KeyPemError::Damaged, "the private key in it is damaged"),
        (
            KeyPemError::Mismatch,
            "the public key in it does not belong to the private key",
        ),
    ] {
        assert_eq!(error.to_string(), wanted);
    }
}
