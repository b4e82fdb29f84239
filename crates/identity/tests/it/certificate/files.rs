//! Files of a CA and of certificates: both or none, never over another, modes.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dhtnet_identity::certificate::{
    AuthorityFiles, Certificate, CertificateFileError, Request, RevocationList,
};
use dhtnet_identity::device_key::Passphrase;
use dhtnet_identity::key_file::KeyFileError;

use super::{DAY, authority, issue, name, now, rng};
use crate::{chain, key};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_ca_is_kept_and_read_back_with_and_without_a_passphrase() {
    let word = Passphrase::new("open".to_owned().into()).unwrap();
    for passphrase in [None, Some(&word)] {
        let dir = tempfile::tempdir().unwrap();
        let files = AuthorityFiles::in_folder(dir.path().join("ca"));
        let home = authority(1);
        files.create(&home, passphrase, &mut rng(1)).unwrap();
        assert_eq!(names(&dir.path().join("ca")), ["ca.crt", "ca.key"]);
        assert_eq!((mode(&files.key), mode(&files.certificate)), (0o600, 0o644));
        let again = files.load(passphrase).unwrap();
        assert_eq!(again.certificate(), home.certificate());
        let list = again.revocation_list(&[], 1, (now(), DAY)).unwrap();
        list.replace_file(&files.revocation_list).unwrap();
        assert_eq!(RevocationList::load(&files.revocation_list).unwrap(), list);
    }
}

#[test]
fn a_ca_never_takes_the_place_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let files = AuthorityFiles::in_folder(dir.path());
    files.create(&authority(1), None, &mut rng(1)).unwrap();
    let error = files.create(&authority(2), None, &mut rng(1)).unwrap_err();
    assert!(
        matches!(error, CertificateFileError::Exists { .. }),
        "{error}"
    );
    // One file alone is enough, and the other is then not written.
    fs::remove_file(&files.certificate).unwrap();
    let error = files.create(&authority(2), None, &mut rng(1)).unwrap_err();
    let inner = matches!(
        error,
        CertificateFileError::Key(KeyFileError::Exists { .. })
    );
    assert!(inner, "{error}");
    assert_eq!(names(dir.path()), ["ca.key"]);
    fs::remove_file(&files.key).unwrap();
    fs::write(&files.certificate, "mine").unwrap();
    assert!(files.create(&authority(2), None, &mut rng(1)).is_err());
    assert_eq!(names(dir.path()), ["ca.crt"]);
    assert_eq!(fs::read_to_string(&files.certificate).unwrap(), "mine");
}

#[test]
fn the_key_and_the_certificate_of_a_ca_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let files = AuthorityFiles::in_folder(dir.path());
    files.create(&authority(1), None, &mut rng(1)).unwrap();
    authority(2)
        .certificate()
        .replace_file(&files.certificate)
        .unwrap();
    let error = files.load(None).unwrap_err();
    let said = chain(&error);
    assert!(
        said.ends_with("the key does not belong to the certificate of the CA"),
        "{said}"
    );
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = files.load(None).unwrap_err();
    assert!(chain(&error).contains("(mode 0644)"), "{}", chain(&error));
}

#[test]
fn certificates_are_created_once_and_replaced_on_purpose() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device.crt");
    let home = authority(1);
    let first = issue(&home, 2);
    first.create_file(&path).unwrap();
    assert_eq!(Certificate::load(&path).unwrap(), first);
    let second = home.renew(&first, DAY, (now(), &mut rng(3))).unwrap();
    assert!(second.create_file(&path).is_err());
    assert_eq!(Certificate::load(&path).unwrap(), first);
    second.replace_file(&path).unwrap();
    assert_eq!(Certificate::load(&path).unwrap(), second);
}

#[test]
fn each_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let line = |error: CertificateFileError| chain(&error).replace(path.to_str().unwrap(), "PATH");
    let missing = line(Certificate::load(&path).unwrap_err());
    assert!(
        missing.starts_with("\"PATH\" cannot be read: "),
        "{missing}"
    );
    fs::write(&path, key(1).to_pkcs8_pem().as_bytes()).unwrap();
    assert_eq!(
        line(Certificate::load(&path).unwrap_err()),
        "\"PATH\" cannot be used: it holds \"PRIVATE KEY\" and no certificate"
    );
    fs::write(&path, issue(&authority(1), 2).to_pem()).unwrap();
    assert_eq!(
        line(Request::load(&path).unwrap_err()),
        "\"PATH\" cannot be used: it holds \"CERTIFICATE\" and no certificate request"
    );
    let request = Request::new(&key(2), &name("laptop"));
    fs::write(&path, request.to_pem()).unwrap();
    assert_eq!(Request::load(&path).unwrap(), request);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(
        line(Certificate::load(&path).unwrap_err()),
        "\"PATH\" cannot be read: it is not a regular file"
    );
}
