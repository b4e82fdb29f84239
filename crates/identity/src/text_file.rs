//! Reading text files up to a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Permission bits with which everybody may change a file.
const WORLD_WRITABLE: u32 = 0o002;

/// The text of a regular file of at most `limit` bytes, on Unix one that not everybody may change:
/// what is read decides who may do what. (A group may: many systems give each user one of his
/// own.)
pub(crate) fn read_trusted(path: &Path, limit: usize) -> io::Result<String> {
    if is_world_writable(&fs::metadata(path)?) {
        let advice = format!("everybody may change it; run: chmod o-w {}", path.display());
        return Err(io::Error::other(advice));
    }
    read(path, limit)
}

#[cfg(unix)]
fn is_world_writable(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & WORLD_WRITABLE != 0
}

#[cfg(not(unix))]
fn is_world_writable(_metadata: &fs::Metadata) -> bool {
    let _ = WORLD_WRITABLE;
    false
}

/// The text of a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<String> {
    // Asked by name first: opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
}
