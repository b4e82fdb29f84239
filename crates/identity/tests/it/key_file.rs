//! The key file: creation, permissions, and each thing that may be there instead.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use dhtnet_identity::device_key::{KeyPemError, Passphrase};
use dhtnet_identity::key_file::{self, KeyFileError, MAX_KEY_FILE_LEN};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{chain, id, key};

/// Writes a file as private as a key has to be.
fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_created_key_is_private_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/identity.pem");
    key_file::create(&path, &key(7)).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&dir.path().join("a")), 0o700);
    assert_eq!(mode(&dir.path().join("a/b")), 0o700);
    assert_eq!(
        fs::read_dir(dir.path().join("a/b")).unwrap().count(),
        1,
        "no other file is left"
    );
    assert_eq!(key_file::load(&path).unwrap().id(), id(7));
}

#[test]
fn nothing_is_ever_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    key_file::create(&path, &key(7)).unwrap();
    let error = key_file::create(&path, &key(8)).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert_eq!(key_file::load(&path).unwrap().id(), id(7));

    let link = dir.path().join("link");
    symlink(dir.path().join("nowhere"), &link).unwrap();
    let error = key_file::create(&link, &key(8)).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert!(!dir.path().join("nowhere").exists());
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no temporary file is left"
    );
}

#[test]
fn a_key_that_others_may_read_or_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    key_file::create(&path, &key(7)).unwrap();
    for (bits, refused) in [
        (0o600, false),
        (0o400, false),
        (0o700, false),
        (0o640, true),
        (0o604, true),
        (0o620, true),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        match key_file::load(&path) {
            Ok(key) => assert!(!refused && key.id() == id(7), "{bits:o}"),
            Err(KeyFileError::WidePermissions { mode, .. }) => {
                assert!(refused && mode == bits, "{bits:o}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_key_under_a_passphrase_is_private_and_opens_with_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    let word = |text: &str| Passphrase::new(text.to_owned().into()).unwrap();
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    key_file::create_protected(&path, &key(7), &word("open"), &mut rng).unwrap();
    assert_eq!(mode(&path), 0o600);
    let loaded = key_file::load_protected(&path, &word("open")).unwrap();
    assert_eq!(loaded.id(), id(7));
    let fault = |error: KeyFileError| match error {
        KeyFileError::Garbage { source, .. } => source,
        other => panic!("{other}"),
    };
    assert_eq!(
        fault(key_file::load(&path).unwrap_err()),
        KeyPemError::Encrypted
    );
    let wrong = key_file::load_protected(&path, &word("close")).unwrap_err();
    assert_eq!(fault(wrong), KeyPemError::WrongPassphrase);
    let again = key_file::create_protected(&path, &key(8), &word("open"), &mut rng);
    assert!(matches!(again, Err(KeyFileError::Exists { .. })));
}

#[test]
fn a_missing_file_a_directory_and_a_pipe_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let error = key_file::load(dir.path().join("none")).unwrap_err();
    assert!(matches!(error, KeyFileError::NotFound { .. }), "{error}");
    let error = key_file::load(dir.path()).unwrap_err();
    assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
    let error = key_file::load("/dev/null").unwrap_err();
    assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
    fs::write(dir.path().join("file"), "").unwrap();
    let error = key_file::load(dir.path().join("file/below")).unwrap_err();
    assert!(matches!(error, KeyFileError::Io { .. }), "{error}");
    let error = key_file::create(dir.path().join("file/below"), &key(7)).unwrap_err();
    assert!(chain(&error).contains("below"), "{error}");
}

#[test]
fn garbage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    for (bytes, wanted) in [
        (&b""[..], KeyPemError::Empty),
        (b"\xff\xfe\x00", KeyPemError::NotPem),
        (b"0 is how this text starts", KeyPemError::NotPem),
        (include_bytes!("../vectors/pem/v1.der"), KeyPemError::Der),
        (
            include_bytes!("../vectors/pem/certificate.pem"),
            KeyPemError::Certificate,
        ),
    ] {
        put(&path, bytes);
        match key_file::load(&path).unwrap_err() {
            KeyFileError::Garbage { source, .. } => assert_eq!(source, wanted),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_file_may_be_as_long_as_its_bound_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    let mut text = key(7).to_pkcs8_pem().as_bytes().to_vec();
    text.resize(MAX_KEY_FILE_LEN, b'\n');
    put(&path, &text);
    assert_eq!(key_file::load(&path).unwrap().id(), id(7));
    text.push(b'\n');
    put(&path, &text);
    let error = key_file::load(&path).unwrap_err();
    assert!(matches!(error, KeyFileError::TooLarge { .. }), "{error}");
}

#[test]
fn each_error_reads_well_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    let line = |error: KeyFileError| chain(&error).replace(path.to_str().unwrap(), "PATH");
    assert_eq!(
        line(key_file::load(&path).unwrap_err()),
        "there is no key file \"PATH\""
    );
    put(&path, "x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        line(key_file::load(&path).unwrap_err()),
        "\"PATH\" lets other users at the key (mode 0644); if nobody did, run: chmod 600 PATH"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    put(&path, "x".repeat(MAX_KEY_FILE_LEN + 1));
    let text = "\"PATH\" is no key file: it is longer than 16384 bytes";
    assert_eq!(line(key_file::load(&path).unwrap_err()), text);
    let text = "\"PATH\" is there already and is not overwritten";
    assert_eq!(line(key_file::create(&path, &key(7)).unwrap_err()), text);
    put(&path, include_bytes!("../vectors/pem/rsa.pem"));
    let text = "\"PATH\" holds no device key: the key is RSA, not Ed25519";
    assert_eq!(line(key_file::load(&path).unwrap_err()), text);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(
        line(key_file::load(&path).unwrap_err()),
        "\"PATH\" is not a regular file"
    );
}
