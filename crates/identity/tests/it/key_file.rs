//! The key file: creation, permissions, and each thing that may be there instead.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use dhtnet_identity::device_key::KeyPemError;
use dhtnet_identity::key_file::{self, KeyFileError, MAX_KEY_FILE_LEN, WidePermissions};

use crate::{chain, id, key};

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
    let loaded = key_file::load(&path).unwrap();
    assert_eq!(loaded.key.id(), id(7));
    assert_eq!(loaded.warning, None);
}

#[test]
fn nothing_is_ever_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    key_file::create(&path, &key(7)).unwrap();
    let error = key_file::create(&path, &key(8)).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert_eq!(key_file::load(&path).unwrap().key.id(), id(7));

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
fn wide_permissions_are_a_warning_and_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.pem");
    key_file::create(&path, &key(7)).unwrap();
    for (bits, warned) in [
        (0o600, false),
        (0o400, false),
        (0o700, false),
        (0o640, true),
        (0o604, true),
        (0o620, true),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let loaded = key_file::load(&path).unwrap();
        let wanted = warned.then_some(WidePermissions { mode: bits });
        assert_eq!(loaded.warning, wanted, "{bits:o}");
    }
    let text = WidePermissions { mode: 0o644 }.to_string();
    assert_eq!(
        text,
        "its mode 0644 lets other users at the key (chmod 600 closes it)"
    );
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
        fs::write(&path, bytes).unwrap();
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
    fs::write(&path, &text).unwrap();
    assert_eq!(key_file::load(&path).unwrap().key.id(), id(7));
    text.push(b'\n');
    fs::write(&path, &text).unwrap();
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
    fs::write(&path, "x".repeat(MAX_KEY_FILE_LEN + 1)).unwrap();
    let text = "\"PATH\" is no key file: it is longer than 16384 bytes";
    assert_eq!(line(key_file::load(&path).unwrap_err()), text);
    let text = "\"PATH\" is there already and is not overwritten";
    assert_eq!(line(key_file::create(&path, &key(7)).unwrap_err()), text);
    fs::write(&path, include_bytes!("../vectors/pem/rsa.pem")).unwrap();
    let text = "\"PATH\" holds no device key: the key is RSA, not Ed25519";
    assert_eq!(line(key_file::load(&path).unwrap_err()), text);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(
        line(key_file::load(&path).unwrap_err()),
        "\"PATH\" is not a regular file"
    );
}
