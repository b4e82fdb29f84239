//! Atomic files: modes, links, and what a failure leaves behind.
#![cfg(unix)]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dhtnet_identity::atomic_file::{create_new, create_private_parent, replace};

use crate::skipped;

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

/// Set in a process that a test starts to play the writer: its folder.
const WRITER: &str = "DHTNET_ATOMIC_WRITER";

/// The folder, in a process that plays the writer of a test.
fn writer() -> Option<PathBuf> {
    std::env::var_os(WRITER).map(PathBuf::from)
}

/// This binary again, to run the test of this name alone, after the words of `before`.
fn again(before: &[&str], test: &str, folder: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut words = before.to_vec();
    let (test, own) = (
        format!("atomic_file::{test}"),
        own.to_str().unwrap().to_owned(),
    );
    words.extend([own.as_str(), "--exact", &test, "--nocapture"]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(WRITER, folder);
    command
}

/// One of two contents, long enough to be interrupted in.
fn content(number: usize) -> Vec<u8> {
    vec![b'a' + (number % 2) as u8; 300_000 + number % 2]
}

#[test]
fn a_writer_that_is_killed_leaves_a_whole_file() {
    let test = "a_writer_that_is_killed_leaves_a_whole_file";
    if let Some(folder) = writer() {
        for number in 0.. {
            replace(folder.join("file"), &content(number), 0o600).unwrap();
            io::stdout().write_all(b"written\n").unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for round in 0..12 {
        let mut child = again(&[], test, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        // The first is certain to be there; the kill comes somewhere in a later one.
        let written = said
            .by_ref()
            .filter(|line| line.as_ref().unwrap() == "written");
        assert_eq!(written.take(1 + round % 4).count(), 1 + round % 4);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = fs::read(&path).unwrap();
        assert!(
            found == content(0) || found == content(1),
            "{} bytes",
            found.len()
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }
    // Nothing but the file and hidden temporary ones, which are as private.
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(name == "file" || name.starts_with(".dhtnet-"), "{name}");
        assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{name}");
    }
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let test = "a_full_disk_leaves_the_old_file";
    if let Some(folder) = writer() {
        let path = folder.join("file");
        replace(&path, b"old", 0o600).unwrap();
        let error = replace(&path, &[b'n'; 200_000], 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let other = folder.join("other");
        assert!(create_new(&other, &[b'n'; 200_000], 0o600).is_err());
        assert!(!other.exists());
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "no temporary file is left"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=64k none \"$DHTNET_ATOMIC_WRITER\" && exec \"$@\"";
    let namespace = ["unshare", "--map-root-user", "--mount"];
    let can = Command::new(namespace[0])
        .args(&namespace[1..])
        .args(["sh", "-c", &mount.replace("\"$@\"", "true"), "sh"])
        .env(WRITER, dir.path())
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        skipped(test, "no file system can be mounted in a namespace here");
        return;
    }
    let before = [&namespace[..], &["sh", "-c", mount, "sh"]].concat();
    let output = again(&before, test, dir.path()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}
