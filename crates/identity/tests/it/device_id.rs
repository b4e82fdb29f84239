//! Device ids: vectors, typing errors, and keys that are refused.

use dhtnet_identity::device_id::{BadSignature, InvalidPublicKey};
use dhtnet_identity::{DeviceId, DeviceKey, ParseDeviceIdError};
use proptest::prelude::*;

use crate::{cases, hex, id, key, vectors};

const DEVICE_KEYS: &str = include_str!("../vectors/device_keys.json");
const INVALID_KEYS: &str = include_str!("../vectors/invalid_keys.json");
const BAD_IDS: &str = include_str!("../vectors/bad_ids.json");

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz234567";

#[test]
fn ids_have_the_text_form_of_the_vectors() {
    let rows = vectors(DEVICE_KEYS);
    for row in rows.as_array().unwrap() {
        let id = DeviceId::from_bytes(&hex(&row["public_key"])).unwrap();
        let text = row["id"].as_str().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        let bare = row["public_key"].as_str().unwrap();
        assert_eq!(bare.parse(), Ok(id));
        assert_eq!(bare.to_uppercase().parse(), Ok(id));
        assert_eq!(id.noise_static(), hex(&row["noise_static"]));
        assert_eq!(id.as_bytes(), &hex(&row["public_key"]));
    }
}

#[test]
fn debug_and_short_form_show_the_first_characters() {
    let id = id(7);
    let start = id.to_string()[..8].to_owned();
    assert_eq!(id.short().to_string(), start);
    assert_eq!(format!("{id:?}"), format!("DeviceId({start}…)"));
    assert_eq!(format!("{:>10}|", id.short()), format!("  {start}|"));
}

#[test]
fn keys_that_are_weak_or_not_canonical_are_refused() {
    let rows = vectors(INVALID_KEYS);
    for row in rows.as_array().unwrap() {
        let wanted = match row["fault"].as_str().unwrap() {
            "NotOnCurve" => InvalidPublicKey::NotOnCurve,
            "NotCanonical" => InvalidPublicKey::NotCanonical,
            "SmallOrder" => InvalidPublicKey::SmallOrder,
            "MixedOrder" => InvalidPublicKey::MixedOrder,
            other => panic!("unknown fault {other}"),
        };
        let found = DeviceId::from_bytes(&hex(&row["bytes"]));
        assert_eq!(found, Err(wanted), "{}", row["note"]);
        let bare = row["bytes"].as_str().unwrap();
        assert_eq!(
            bare.parse::<DeviceId>(),
            Err(ParseDeviceIdError::PublicKey(wanted))
        );
    }
}

#[test]
fn an_id_with_a_good_checksum_can_still_be_bad() {
    let bad = vectors(BAD_IDS);
    let parse = |text: &serde_json::Value| text.as_str().unwrap().parse::<DeviceId>();
    for row in bad["other_versions"].as_array().unwrap() {
        let found = u8::try_from(row["version"].as_u64().unwrap()).unwrap();
        assert_eq!(
            parse(&row["id"]),
            Err(ParseDeviceIdError::Version { found })
        );
    }
    for (row, fault) in [
        ("weak", InvalidPublicKey::SmallOrder),
        ("mixed", InvalidPublicKey::MixedOrder),
        ("off_curve", InvalidPublicKey::NotOnCurve),
    ] {
        assert_eq!(
            parse(&bad[row]),
            Err(ParseDeviceIdError::PublicKey(fault)),
            "{row}"
        );
    }
}

#[test]
fn every_single_character_typed_wrong_is_caught() {
    let text = id(7).to_string();
    for at in 0..text.len() {
        for other in ALPHABET.chars().filter(|c| !text[at..].starts_with(*c)) {
            let typo = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(
                typo.parse::<DeviceId>(),
                Err(ParseDeviceIdError::Checksum),
                "{typo}"
            );
        }
        for foreign in ['0', '1', '8', '9', ' ', '-', 'ä', '\0'] {
            let typo = format!("{}{foreign}{}", &text[..at], &text[at + 1..]);
            let wanted = ParseDeviceIdError::Alphabet {
                position: at + 1,
                character: foreign,
            };
            assert_eq!(typo.parse::<DeviceId>(), Err(wanted), "{typo}");
        }
    }
}

#[test]
fn two_neighbours_swapped_are_caught() {
    let text = id(7).to_string();
    for at in 0..text.len() - 1 {
        let (a, b) = (&text[at..=at], &text[at + 1..at + 2]);
        if a != b {
            let typo = format!("{}{b}{a}{}", &text[..at], &text[at + 2..]);
            assert_eq!(
                typo.parse::<DeviceId>(),
                Err(ParseDeviceIdError::Checksum),
                "{typo}"
            );
        }
    }
}

#[test]
fn every_other_length_is_named() {
    let text = id(7).to_string();
    for len in 0..text.len() {
        let wanted = Err(ParseDeviceIdError::Length { found: len });
        assert_eq!(text[..len].parse::<DeviceId>(), wanted);
    }
    let hex = data_encoding::HEXLOWER.encode(id(7).as_bytes());
    for len in (0..hex.len()).filter(|len| *len != 56) {
        let wanted = Err(ParseDeviceIdError::Length { found: len });
        assert_eq!(hex[..len].parse::<DeviceId>(), wanted);
    }
    let wanted = Err(ParseDeviceIdError::Length { found: 57 });
    assert_eq!(format!("{text}ä").parse::<DeviceId>(), wanted);
    assert_eq!(format!("{text}\n").parse::<DeviceId>(), wanted);
}

#[test]
fn serde_uses_the_text_form_and_checks_it() {
    let id = id(7);
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, format!("\"{id}\""));
    assert_eq!(serde_json::from_str::<DeviceId>(&json).unwrap(), id);
    let error = serde_json::from_str::<DeviceId>("\"abc\"")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("a device id has 56 characters, not 3"),
        "{error}"
    );
    assert!(serde_json::from_str::<DeviceId>("7").is_err());
}

#[test]
fn only_the_exact_signature_is_accepted() {
    let signature = key(7).sign(b"message");
    assert_eq!(id(7).verify(b"message", &signature), Ok(()));
    assert_eq!(id(7).verify(b"massage", &signature), Err(BadSignature));
    assert_eq!(id(8).verify(b"message", &signature), Err(BadSignature));
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            id(7).verify(b"message", &changed),
            Err(BadSignature),
            "bit {bit}"
        );
    }
}

#[test]
fn a_signature_with_the_group_order_added_is_refused() {
    // The order of the base point, little-endian (RFC 8032, section 5.1).
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signature = key(7).sign(b"message");
    let mut carry = 0;
    for (byte, addend) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(addend) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(id(7).verify(b"message", &signature), Err(BadSignature));
}

#[test]
fn a_signature_with_a_point_of_small_order_is_refused() {
    // R = the neutral element and S = k·a satisfy the lenient equation only for weak keys; a
    // strict check refuses such an R whatever the key.
    let mut signature = key(7).sign(b"message");
    signature[..32].copy_from_slice(&[0; 32]);
    signature[0] = 1;
    assert_eq!(id(7).verify(b"message", &signature), Err(BadSignature));
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn ids_of_keys_round_trip(seed: [u8; 32]) {
        let id = DeviceKey::from_seed(&seed).id();
        prop_assert_eq!(DeviceId::from_bytes(id.as_bytes()), Ok(id));
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn any_text_parses_or_fails_without_a_panic(text in "\\PC{0,70}|[a-z2-7]{56}|[0-9a-f]{64}") {
        if let Ok(id) = text.parse::<DeviceId>() {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn any_32_bytes_are_a_good_key_or_a_named_fault(bytes: [u8; 32]) {
        if let Ok(id) = DeviceId::from_bytes(&bytes) {
            prop_assert_eq!(id.as_bytes(), &bytes);
        }
    }
}
