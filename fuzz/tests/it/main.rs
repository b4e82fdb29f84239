//! Replays every corpus on the stable compiler, with small changes to each input.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dhtnet_fuzz::TARGETS;

/// Inputs up to this size are also flipped bit by bit.
const FLIPPED_LEN: usize = 256;
/// Inputs up to this size are also cut at every length.
const CUT_LEN: usize = 4096;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder("corpus").join(name);
    let Ok(entries) = fs::read_dir(&folder) else {
        return Vec::new();
    };
    let paths: BTreeSet<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("readable")))
        .collect()
}

/// Runs one input; the name of the file is in the panic of a failure.
fn replay(name: &str, path: &Path, change: &str, input: &[u8]) {
    let result = std::panic::catch_unwind(|| dhtnet_fuzz::run(name, input));
    assert!(
        result.is_ok(),
        "{name} fails on {} ({change})",
        path.display()
    );
}

#[test]
fn every_target_has_a_corpus_and_survives_it() {
    for (name, _) in TARGETS {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "fuzz/corpus/{name} is empty");
        for (path, input) in inputs {
            replay(name, &path, "as it is", &input);
        }
    }
}

#[test]
fn every_target_survives_its_corpus_cut_at_every_length() {
    for (name, _) in TARGETS {
        for (path, input) in corpus(name)
            .iter()
            .filter(|(_, input)| input.len() <= CUT_LEN)
        {
            for len in 0..input.len() {
                replay(name, path, &format!("the first {len} bytes"), &input[..len]);
            }
        }
    }
}

#[test]
fn every_target_survives_its_corpus_with_any_bit_flipped() {
    for (name, _) in TARGETS {
        for (path, input) in corpus(name)
            .iter()
            .filter(|(_, input)| input.len() <= FLIPPED_LEN)
        {
            for bit in 0..input.len() * 8 {
                let mut input = input.clone();
                input[bit / 8] ^= 1 << (bit % 8);
                replay(name, path, &format!("bit {bit} flipped"), &input);
            }
        }
    }
}

#[test]
fn every_corpus_and_every_binary_belongs_to_a_target() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name is used twice");
    for place in ["corpus", "fuzz_targets"] {
        let found: BTreeSet<String> = fs::read_dir(folder(place))
            .expect("the folder is there")
            .map(|entry| entry.expect("readable").path())
            .map(|path| {
                path.file_stem()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert_eq!(found, names, "in fuzz/{place}");
    }
}
