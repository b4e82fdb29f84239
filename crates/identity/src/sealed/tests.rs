//! Sealing against Noise as it is defined, and against everything that must not open.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use x25519_dalek::{PublicKey, StaticSecret};

use super::*;

const PURPOSE: Purpose<'static> = Purpose {
    domain: "test 1",
    context: b"a place",
};

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn key(number: u8) -> DeviceKey {
    DeviceKey::from_seed(&[number; 32])
}

#[test]
fn what_is_sealed_to_a_device_opens_there() {
    for len in [0, 1, 1000, MAX_PLAINTEXT_LEN] {
        let plaintext = vec![0x5a; len];
        let sealed = key(1).id().seal(&PURPOSE, &plaintext, &mut rng()).unwrap();
        assert_eq!(sealed.len(), len + SEAL_OVERHEAD);
        assert_eq!(*key(1).open(&PURPOSE, &sealed).unwrap(), plaintext);
    }
    let error = key(1)
        .id()
        .seal(&PURPOSE, &vec![0; MAX_PLAINTEXT_LEN + 1], &mut rng());
    assert_eq!(error, Err(SealError::TooLong { found: 65_488 }));
    let long = vec![0; MAX_SEALED_LEN + 1];
    assert_eq!(
        key(1).open(&PURPOSE, &long),
        Err(OpenError::Length { found: 65_536 })
    );
}

#[test]
fn another_device_purpose_or_place_does_not_open_it() {
    let sealed = key(1).id().seal(&PURPOSE, b"text", &mut rng()).unwrap();
    let other_domain = Purpose {
        domain: "test 2",
        ..PURPOSE
    };
    let other_context = Purpose {
        context: b"another place",
        ..PURPOSE
    };
    // The border between the two is fixed by the length.
    let shifted = Purpose {
        domain: "test 1a",
        context: b" place",
    };
    for purpose in [other_domain, other_context, shifted] {
        assert_eq!(key(1).open(&purpose, &sealed), Err(OpenError::NotForUs));
    }
    assert_eq!(key(2).open(&PURPOSE, &sealed), Err(OpenError::NotForUs));
}

#[test]
fn a_changed_or_shortened_message_does_not_open() {
    let sealed = key(1).id().seal(&PURPOSE, b"text", &mut rng()).unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(key(1).open(&PURPOSE, &changed), Err(OpenError::NotForUs));
        assert!(key(1).open(&PURPOSE, &sealed[..at]).is_err());
    }
    // An ephemeral key of small order, for which the secret would be zero.
    let mut zero = sealed;
    zero[..32].fill(0);
    assert_eq!(key(1).open(&PURPOSE, &zero), Err(OpenError::NotForUs));
}

#[test]
fn each_message_has_an_ephemeral_key_of_its_own() {
    let mut rng = rng();
    let first = key(1).id().seal(&PURPOSE, b"text", &mut rng).unwrap();
    let second = key(1).id().seal(&PURPOSE, b"text", &mut rng).unwrap();
    assert_ne!(first[..32], second[..32]);
}

/// The specification's pattern N written out: `<- s`, then `-> e, es` and the payload.
#[test]
fn a_message_is_the_one_that_the_noise_specification_gives() {
    let hash = |parts: &[&[u8]]| -> [u8; 32] {
        let mut hash = Blake2s256::new();
        parts.iter().for_each(|part| hash.update(part));
        hash.finalize().into()
    };
    let hmac = |key: &[u8; 32], input: &[u8]| {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
            block
        };
        hash(&[&pad(0x5c), &hash(&[&pad(0x36), input])])
    };
    let recipient = key(1).id();
    let mut ephemeral = [0; 32];
    rng().fill_bytes(&mut ephemeral);
    let ephemeral = StaticSecret::from(ephemeral);
    let public = PublicKey::from(&ephemeral);

    // The name is as long as a hash: it stands for itself.
    let name: [u8; 32] = NOISE_ONE_WAY.as_bytes().try_into().unwrap();
    let mut h = hash(&[&name, &PURPOSE.prologue(&recipient)]);
    h = hash(&[&h, &recipient.noise_static()]);
    h = hash(&[&h, public.as_bytes()]);
    let shared = ephemeral.diffie_hellman(&PublicKey::from(recipient.noise_static()));
    let secret = hmac(&name, shared.as_bytes());
    let chaining = hmac(&secret, &[1]);
    let second = [&chaining[..], &[2]].concat();
    let cipher = ChaCha20Poly1305::new(&hmac(&secret, &second).into());
    let payload = Payload {
        msg: b"text",
        aad: &h,
    };
    let expected = [
        &public.as_bytes()[..],
        &cipher.encrypt(&[0; 12].into(), payload).unwrap(),
    ]
    .concat();

    let sealed = recipient.seal(&PURPOSE, b"text", &mut rng()).unwrap();
    assert_eq!(sealed, expected);
}
