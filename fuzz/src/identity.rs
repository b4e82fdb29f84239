//! Decoders of the identity crate.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use dhtnet_identity::sealed::{MAX_SEALED_LEN, Purpose, SEAL_OVERHEAD};
use dhtnet_identity::target::{Target, TargetPattern};
use dhtnet_identity::{Contacts, DeviceId, DeviceKey, PeerAddress, PeerArgument};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::with_text;

/// What parses is written so that it parses to the same again.
fn round_trip<T: FromStr + Display + PartialEq + Debug>(input: &[u8])
where
    T::Err: Debug + Display,
{
    with_text(input, |text| match text.parse::<T>() {
        Ok(value) => assert_eq!(
            value.to_string().parse::<T>().expect("own text parses"),
            value
        ),
        Err(error) => assert!(!error.to_string().is_empty(), "an error says something"),
    });
}

pub(crate) fn device_id(input: &[u8]) {
    round_trip::<DeviceId>(input);
    if let Some(bytes) = input.first_chunk::<32>()
        && let Ok(id) = DeviceId::from_bytes(bytes)
    {
        assert_eq!(id.as_bytes(), bytes);
        assert_eq!(
            id.to_string().parse::<DeviceId>().expect("own text parses"),
            id
        );
    }
}

pub(crate) fn peer_address(input: &[u8]) {
    round_trip::<PeerAddress>(input);
}

pub(crate) fn peer_argument(input: &[u8]) {
    with_text(input, |text| {
        if let Ok(PeerArgument::Alias(alias)) = text.parse::<PeerArgument>() {
            let is_id = alias.as_str().parse::<DeviceId>().is_ok();
            assert!(!is_id, "an alias is never an id");
        }
    });
}

pub(crate) fn target(input: &[u8]) {
    round_trip::<Target>(input);
}

/// First line: a pattern; the rest: a target to match with.
pub(crate) fn target_pattern(input: &[u8]) {
    round_trip::<TargetPattern>(input);
    with_text(input, |text| {
        let Some((pattern, target)) = text.split_once('\n') else {
            return;
        };
        if let (Ok(pattern), Ok(target)) =
            (pattern.parse::<TargetPattern>(), target.parse::<Target>())
        {
            let again: TargetPattern = pattern.to_string().parse().expect("own text parses");
            assert_eq!(pattern.matches(&target), again.matches(&target));
        }
    });
}

pub(crate) fn contacts(input: &[u8]) {
    with_text(input, |text| {
        if let Ok(contacts) = Contacts::from_toml(text) {
            let written = contacts.to_toml();
            let again = Contacts::from_toml(&written).expect("own file parses");
            assert_eq!(again.to_toml(), written);
            assert_eq!(again.len(), contacts.len());
        }
    });
}

pub(crate) fn key_pem(input: &[u8]) {
    with_text(input, |text| {
        if let Ok(key) = DeviceKey::from_pkcs8_pem(text) {
            let again = DeviceKey::from_pkcs8_pem(&key.to_pkcs8_pem()).expect("own file parses");
            assert_eq!(again.id(), key.id());
        }
    });
}

/// A sealed message to a key that is at hand, and the same bytes as what is to be sealed.
pub(crate) fn sealed(input: &[u8]) {
    let key = DeviceKey::from_seed(&[2; 32]);
    let purpose = Purpose {
        domain: "fuzz",
        context: b"here",
    };
    match key.open(&purpose, input) {
        Ok(plain) => assert_eq!(plain.len() + SEAL_OVERHEAD, input.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let Ok(mut sealed) = key.id().seal(&purpose, input, &mut rng) else {
        assert!(input.len() + SEAL_OVERHEAD > MAX_SEALED_LEN);
        return;
    };
    assert_eq!(
        key.open(&purpose, &sealed)
            .expect("sealed to it")
            .as_slice(),
        input
    );
    let elsewhere = Purpose {
        context: b"there",
        ..purpose
    };
    assert!(key.open(&elsewhere, &sealed).is_err());
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    assert!(key.open(&purpose, &sealed).is_err());
}
