//! Device keys: vectors, derived secrets, PKCS#8 with and against OpenSSL.

use curve25519_dalek::montgomery::MontgomeryPoint;
use dhtnet_identity::DeviceKey;
use dhtnet_identity::device_key::{KeyPemError, MAX_PASSPHRASE_LEN, Passphrase, PassphraseError};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{cases, hex, key, openssl, skipped, vectors};

const DEVICE_KEYS: &str = include_str!("../vectors/device_keys.json");
const V1: &str = include_str!("../vectors/pem/v1.pem");
const V2: &str = include_str!("../vectors/pem/v2.pem");
const BOTH: &str = include_str!("../vectors/pem/certificate-and-key.pem");

/// The key of the first vector, which is the one in the PEM files.
fn first() -> DeviceKey {
    DeviceKey::from_seed(&hex(&vectors(DEVICE_KEYS)[0]["seed"]))
}

#[test]
fn keys_give_the_values_of_the_vectors() {
    let rows = vectors(DEVICE_KEYS);
    for row in rows.as_array().unwrap() {
        let key = DeviceKey::from_seed(&hex(&row["seed"]));
        assert_eq!(key.id().as_bytes(), &hex(&row["public_key"]));
        assert_eq!(*key.noise_static_secret(), hex(&row["noise_static_secret"]));
        assert_eq!(key.sign(&hex::<6>(&row["message"])), hex(&row["signature"]));
        for (label, secret) in row["derived"].as_object().unwrap() {
            assert_eq!(*key.derive_secret(label), hex(secret), "{label:?}");
        }
    }
}

#[test]
fn a_generated_key_is_the_next_32_bytes_of_the_generator() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut twin = rng.clone();
    let key = DeviceKey::generate(&mut rng);
    let mut seed = [0; 32];
    rand_chacha::rand_core::Rng::fill_bytes(&mut twin, &mut seed);
    assert_eq!(key.id(), DeviceKey::from_seed(&seed).id());
    assert_ne!(DeviceKey::generate(&mut rng).id(), key.id());
}

#[test]
fn debug_shows_the_id_and_no_secret() {
    let key = key(7);
    assert_eq!(
        format!("{key:?}"),
        format!("DeviceKey({}…, secret)", key.id().short())
    );
}

#[test]
fn both_ends_of_a_noise_handshake_compute_the_same_secret() {
    let (alice, bob) = (key(1), key(2));
    let shared = |own: &DeviceKey, peer: [u8; 32]| {
        StaticSecret::from(*own.noise_static_secret()).diffie_hellman(&PublicKey::from(peer))
    };
    let of_alice = shared(&alice, bob.id().noise_static());
    let of_bob = shared(&bob, alice.id().noise_static());
    assert_eq!(of_alice.as_bytes(), of_bob.as_bytes());
    assert!(of_alice.was_contributory());
}

#[test]
fn the_pem_of_a_key_is_version_1_byte_for_byte() {
    assert_eq!(first().to_pkcs8_pem().as_str(), V1);
}

#[test]
fn versions_1_and_2_and_foreign_surroundings_are_read() {
    let windows = V1.replace('\n', "\r\n");
    let talk = format!("Bag Attributes\n  friendlyName: x\n{V1}\ntrailing text\n");
    for text in [V1, V2, BOTH, V1.trim_end(), &windows, &talk] {
        assert_eq!(
            DeviceKey::from_pkcs8_pem(text).unwrap().id(),
            first().id(),
            "{text}"
        );
    }
}

#[test]
fn what_is_found_instead_of_a_key_is_named() {
    let algorithm = |name: &str| KeyPemError::Algorithm {
        algorithm: name.to_owned(),
    };
    for (text, wanted) in [
        ("", KeyPemError::Empty),
        (" \r\n\t", KeyPemError::Empty),
        ("hello", KeyPemError::NotPem),
        ("-----BEGIN PRIVATE KEY", KeyPemError::NotPem),
        (
            include_str!("../vectors/pem/certificate.pem"),
            KeyPemError::Certificate,
        ),
        (
            include_str!("../vectors/pem/encrypted.pem"),
            KeyPemError::Encrypted,
        ),
        (
            include_str!("../vectors/pem/public.pem"),
            KeyPemError::PublicKey,
        ),
        (
            include_str!("../vectors/pem/openssh.pem"),
            KeyPemError::OpenSsh,
        ),
        (
            include_str!("../vectors/pem/ec-traditional.pem"),
            KeyPemError::Label {
                label: "EC PRIVATE KEY".to_owned(),
            },
        ),
        (include_str!("../vectors/pem/rsa.pem"), algorithm("RSA")),
        (include_str!("../vectors/pem/ecdsa.pem"), algorithm("ECDSA")),
        (
            include_str!("../vectors/pem/x25519.pem"),
            algorithm("X25519"),
        ),
        (include_str!("../vectors/pem/ed448.pem"), algorithm("Ed448")),
        (
            include_str!("../vectors/pem/v2-mismatch.pem"),
            KeyPemError::Mismatch,
        ),
        ("-----BEGIN PRIVATE KEY-----\n", KeyPemError::Damaged),
        (
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
            KeyPemError::Damaged,
        ),
    ] {
        assert_eq!(
            DeviceKey::from_pkcs8_pem(text).unwrap_err(),
            wanted,
            "{text}"
        );
    }
}

#[test]
fn a_foreign_label_is_repeated_up_to_its_bound() {
    let max = KeyPemError::MAX_LABEL_LEN;
    for (len, shown) in [(max, max), (max + 1, max)] {
        let text = format!("-----BEGIN {}-----\n", "X".repeat(len));
        let wanted = KeyPemError::Label {
            label: "X".repeat(shown),
        };
        assert_eq!(DeviceKey::from_pkcs8_pem(&text).unwrap_err(), wanted);
    }
}

#[test]
fn a_key_cut_at_any_length_is_refused() {
    // Only the line end after the last line may be missing.
    for text in [V1, V2] {
        for len in 0..text.len() - 1 {
            assert!(
                DeviceKey::from_pkcs8_pem(&text[..len]).is_err(),
                "{len} bytes"
            );
        }
    }
}

/// What `openssl pkey -pubout -outform DER` writes ends with the key.
fn assert_is_public_key(output: &std::process::Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let key_at = output.stdout.len() - 32;
    assert_eq!(output.stdout[key_at..], *key(7).id().as_bytes());
}

#[test]
fn openssl_reads_our_keys_and_we_read_those_of_openssl() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("identity.pem");
    let path = file.to_str().unwrap();
    std::fs::write(&file, key(7).to_pkcs8_pem().as_bytes()).unwrap();
    let Some(output) = openssl(
        dir.path(),
        &["pkey", "-in", path, "-pubout", "-outform", "DER"],
    ) else {
        skipped(
            "openssl_reads_our_keys_and_we_read_those_of_openssl",
            "there is no openssl command",
        );
        return;
    };
    assert_is_public_key(&output);

    let made = openssl(
        dir.path(),
        &["genpkey", "-algorithm", "ed25519", "-out", path],
    )
    .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let theirs = DeviceKey::from_pkcs8_pem(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let public = openssl(
        dir.path(),
        &["pkey", "-in", path, "-pubout", "-outform", "DER"],
    )
    .unwrap()
    .stdout;
    assert_eq!(public[public.len() - 32..], *theirs.id().as_bytes());
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned().into()).unwrap()
}

#[test]
fn a_passphrase_opens_what_it_closed_and_no_other_does() {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let word = passphrase("correct horse");
    let text = key(7).to_protected_pem(&word, &mut rng);
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert_ne!(
        text,
        key(7).to_protected_pem(&word, &mut rng),
        "another salt each time"
    );
    assert_eq!(
        DeviceKey::from_protected_pem(&text, &word).unwrap().id(),
        key(7).id()
    );
    for wrong in ["correct hors", "Correct horse", "correct horse ", "x"] {
        let error = DeviceKey::from_protected_pem(&text, &passphrase(wrong)).unwrap_err();
        assert_eq!(error, KeyPemError::WrongPassphrase);
    }
    assert_eq!(
        DeviceKey::from_pkcs8_pem(&text).unwrap_err(),
        KeyPemError::Encrypted
    );
    // A key without protection needs none.
    assert_eq!(
        DeviceKey::from_protected_pem(V1, &word).unwrap().id(),
        first().id()
    );
    let cut = &text[..text.len() / 2];
    assert_eq!(
        DeviceKey::from_protected_pem(cut, &word).unwrap_err(),
        KeyPemError::Damaged
    );
}

#[test]
fn a_passphrase_has_a_bound_and_is_not_shown() {
    let word = |len: usize| Passphrase::new("x".repeat(len).into());
    assert_eq!(word(0).unwrap_err(), PassphraseError::Empty);
    assert!(word(1).is_ok() && word(MAX_PASSPHRASE_LEN).is_ok());
    assert_eq!(
        word(MAX_PASSPHRASE_LEN + 1).unwrap_err(),
        PassphraseError::TooLong
    );
    assert_eq!(format!("{:?}", word(5).unwrap()), "Passphrase(secret)");
}

#[test]
fn openssl_and_we_open_each_others_protected_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (ours, theirs, word) = (path("ours.pem"), path("theirs.pem"), passphrase("pässword"));
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    std::fs::write(&ours, key(7).to_protected_pem(&word, &mut rng).as_bytes()).unwrap();
    let public = [
        "pkey",
        "-in",
        &ours,
        "-passin",
        "pass:pässword",
        "-pubout",
        "-outform",
        "DER",
    ];
    let Some(output) = openssl(dir.path(), &public) else {
        skipped(
            "openssl_and_we_open_each_others_protected_keys",
            "there is no openssl command",
        );
        return;
    };
    assert_is_public_key(&output);
    std::fs::write(path("plain.pem"), key(7).to_pkcs8_pem().as_bytes()).unwrap();
    for (options, wanted) in [
        ("-v2 aes-256-cbc", Ok(())),
        ("-v2 aes-128-cbc -v2prf hmacWithSHA512 -iter 10000", Ok(())),
        ("-scrypt", Ok(())),
        ("-scrypt -scrypt_N 1024 -scrypt_r 8 -scrypt_p 16", Ok(())),
        (
            "-scrypt -scrypt_N 2 -scrypt_r 1 -scrypt_p 17",
            Err(KeyPemError::TooCostly),
        ),
        ("-v2 des3", Err(KeyPemError::Protection)),
        (
            "-v2 aes-256-cbc -v2prf hmacWithSHA1",
            Err(KeyPemError::Protection),
        ),
    ] {
        let plain = path("plain.pem");
        let fixed = [
            "pkcs8",
            "-topk8",
            "-in",
            &plain,
            "-out",
            &theirs,
            "-passout",
            "pass:pässword",
        ];
        let arguments: Vec<_> = fixed.into_iter().chain(options.split(' ')).collect();
        let made = openssl(dir.path(), &arguments).unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let text = std::fs::read_to_string(&theirs).unwrap();
        let read = DeviceKey::from_protected_pem(&text, &word);
        assert_eq!(
            read.map(|read| assert_eq!(read.id(), key(7).id())),
            wanted,
            "{options}"
        );
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn pem_round_trips(seed: [u8; 32]) {
        let key = DeviceKey::from_seed(&seed);
        let read = DeviceKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
        prop_assert_eq!(read.id(), key.id());
        prop_assert_eq!(read.to_pkcs8_pem(), key.to_pkcs8_pem());
    }

    #[test]
    fn the_noise_keys_belong_together(seed: [u8; 32]) {
        let key = DeviceKey::from_seed(&seed);
        let public = MontgomeryPoint::mul_base_clamped(*key.noise_static_secret());
        prop_assert_eq!(public.to_bytes(), key.id().noise_static());
    }

    #[test]
    fn any_text_is_a_key_or_a_named_fault(
        start in "\\PC{0,20}|-----BEGIN PRIVATE KEY-----\n",
        middle in "[A-Za-z0-9+/=\n ]{0,120}",
        end in "\\PC{0,20}|\n-----END PRIVATE KEY-----\n",
    ) {
        let text = format!("{start}{middle}{end}");
        if let Ok(key) = DeviceKey::from_pkcs8_pem(&text) {
            prop_assert!(text.contains("BEGIN PRIVATE KEY"));
            prop_assert_eq!(key.id().to_string().len(), 56);
        }
    }

    #[test]
    fn a_changed_byte_never_panics(at in 0..V2.len(), byte in 0x20_u8..0x7f) {
        let mut bytes = V2.as_bytes().to_vec();
        bytes[at] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(key) = DeviceKey::from_pkcs8_pem(&text) {
            // What is not noticed is outside of the two keys, which must still belong together.
            prop_assert_eq!(key.id(), first().id());
        }
    }
}
