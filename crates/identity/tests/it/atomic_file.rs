//! Atomic files: modes, links, and what a failure leaves behind.
#![cfg(unix)]

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use dhtnet_identity::atomic_file::{create_new, create_private_parent, replace};

#[test]
fn replacing_gives_the_new_bytes_and_exactly_the_mode() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for (bytes, mode) in [(&b"one"[..], 0o600), (b"", 0o644), (b"three", 0o666)] {
        replace(&path, bytes, mode).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn a_reader_of_the_old_file_keeps_the_old_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    replace(&path, b"old", 0o600).unwrap();
    let old = fs::File::open(&path).unwrap();
    replace(&path, b"new", 0o600).unwrap();
    assert_eq!(io::read_to_string(old).unwrap(), "old");
}

#[test]
fn replacing_goes_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::write(&real, "old").unwrap();
    symlink(&real, &link).unwrap();
    replace(&link, b"new", 0o600).unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(
        replace(&taken, b"x", 0o600).is_err(),
        "a directory is not replaced"
    );
    assert_eq!(
        create_new(&taken, b"x", 0o600).unwrap_err().kind(),
        io::ErrorKind::AlreadyExists
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let missing = dir.path().join("missing/file");
    assert_eq!(
        replace(&missing, b"x", 0o600).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(
        replace("/", b"x", 0o600).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn directories_that_are_there_keep_their_mode() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    create_private_parent(open.join("closed/file")).unwrap();
    assert_eq!(fs::metadata(&open).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(
        fs::metadata(open.join("closed")).unwrap().mode() & 0o7777,
        0o700
    );
    create_private_parent("file").unwrap();
}
