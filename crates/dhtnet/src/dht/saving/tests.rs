//! What a start finds after a writer that was cut off anywhere, and what it makes of other files.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use dhtnet_dht_core::{Contact, Id};
use tracing::span;

use super::*;

/// Counts warnings, and what is worse.
#[derive(Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What a start finds, and how often it warns.
fn load(path: &Path) -> (Option<SavedState>, usize) {
    let warnings = Warnings::default();
    let count = warnings.0.clone();
    let file = StateFile::new(path.to_owned(), Kept::Everything, None);
    let state = tracing::subscriber::with_default(warnings, || file.load());
    (state, count.load(Ordering::Relaxed))
}

fn state(number: u8) -> SavedState {
    let address = std::net::SocketAddr::from(([192, 0, 2, number], 6881));
    SavedState {
        nodes: vec![SavedNode {
            contact: Contact::new(Id::hash_of(&[number]), address),
            extension: true,
        }],
        permanent: vec![Publication::Immutable(vec![b'i', b'0' + number, b'e']).encode()],
        ..SavedState::default()
    }
}

#[test]
fn wherever_a_writer_was_cut_off_the_last_saved_state_is_found_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dht.state");
    assert_eq!(load(&path), (None, 0), "a first start");
    let (old, new) = (state(1).encode(), state(2).encode());
    // The first step of the first writer: nothing has its name yet.
    let temp = dir.path().join(".dhtnet-1-0.tmp");
    fs::write(&temp, &old[..10]).unwrap();
    assert_eq!(load(&path), (None, 0));
    atomic_file::replace(&path, &old, 0o600).unwrap();
    // The bytes of the next one come one by one; until the last step the old state stands.
    for len in 0..=new.len() {
        fs::write(&temp, &new[..len]).unwrap();
        assert_eq!(load(&path), (Some(state(1)), 0), "{len} bytes");
    }
    fs::rename(&temp, &path).unwrap();
    assert_eq!(load(&path), (Some(state(2)), 0));
    // What lies about does not hinder the next one.
    fs::write(&temp, &new[..20]).unwrap();
    atomic_file::replace(&path, &old, 0o600).unwrap();
    assert_eq!(load(&path), (Some(state(1)), 0));
}

#[test]
fn a_file_that_is_not_ours_or_not_whole_is_one_warning_and_a_clean_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dht.state");
    let whole = state(1).encode();
    let mut flipped = whole.clone();
    flipped[30] ^= 1;
    let elsewhere = SavedState {
        network: Some(NetworkTag::of("elsewhere")),
        ..state(1)
    };
    let others: [&[u8]; 5] = [
        b"SQLite format 3\0",
        b"\x7fELF",
        &flipped,
        &elsewhere.encode(),
        b"\n",
    ];
    let cut = (0..whole.len()).map(|len| &whole[..len]);
    for bytes in cut.chain(others) {
        fs::write(&path, bytes).unwrap();
        assert_eq!(load(&path), (None, 1), "{}", bytes.escape_ascii());
        assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
    }
    // The next writing puts it right.
    atomic_file::replace(&path, &whole, 0o600).unwrap();
    assert_eq!(load(&path), (Some(state(1)), 0));
}

#[test]
fn a_file_that_is_too_large_or_cannot_be_read_is_one_warning_and_a_clean_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dht.state");
    let mut longest = state(1).encode();
    longest.resize(MAX_FILE_LEN as usize, 0);
    fs::write(&path, &longest).unwrap();
    let (at_the_bound, warnings) = load(&path);
    assert_eq!((at_the_bound, warnings), (None, 1), "read, and damaged");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(MAX_FILE_LEN + 1).unwrap();
    assert_eq!(load(&path), (None, 1));
    let reason = read(&path, None).unwrap_err();
    assert!(reason.contains("too many"), "{reason}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(load(&path), (None, 1), "a directory");
}

#[test]
fn publications_that_are_not_genuine_are_left_out_and_the_rest_is_restored() {
    let good = Publication::Immutable(b"i1e".to_vec());
    let state = SavedState {
        permanent: vec![b"junk".to_vec(), good.encode(), Vec::new()],
        ..state(1)
    };
    let now = Instant::now();
    let config = Arc::new(dhtnet_dht_core::Config::default());
    let mut node = Node::new(config, now, Duration::from_secs(1_800_000_000), [1; 32]);
    restore(&mut node, now, &state);
    let kept: Vec<_> = node.publications().map(|(_, one)| one.clone()).collect();
    assert_eq!(kept, [good]);
}

#[test]
fn remembered_nodes_of_several_files_are_told_once_each_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = [1, 2, 2]
        .into_iter()
        .enumerate()
        .map(|(at, number)| {
            let path = folder.path().join(at.to_string());
            fs::write(&path, state(number).encode()).unwrap();
            path
        })
        .chain([folder.path().join("missing")])
        .collect();
    let node = |number| SocketAddr::from(([192, 0, 2, number], 6881));
    assert_eq!(saved_nodes(&files, None, 8), [node(1), node(2)]);
    assert_eq!(saved_nodes(&files, None, 1), [node(1)]);
    let foreign = Some(NetworkTag([1; 8]));
    assert_eq!(saved_nodes(&files, foreign, 8), []);
}
