//! Data to send: pseudo-random, repeatable, and its hash. No compression shortens it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes made or hashed at a time.
const BLOCK: usize = 64 * 1024;

/// One MiB, bytes.
pub const MIB: u64 = 1 << 20;

/// An endless stream of bytes that depends on its seed alone.
#[derive(Debug)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// A stream; equal seeds give equal bytes.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Fills a buffer with the next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let word = self.next_word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// `len` such bytes, always the same.
pub fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Stream::new(0).fill(&mut bytes);
    bytes
}

/// Writes `len` pseudo-random bytes to a new file and returns their SHA-256 in hex.
///
/// # Errors
/// When the file cannot be written.
pub fn write_file(path: &Path, len: u64, seed: u64) -> io::Result<String> {
    let mut file = File::create(path)?;
    let mut stream = Stream::new(seed);
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut left = len;
    while left > 0 {
        let part = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        stream.fill(&mut block[..part]);
        hash.update(&block[..part]);
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    Ok(hex(&hash.finalize()))
}

/// SHA-256 of a file in hex.
///
/// # Errors
/// When the file cannot be read.
pub fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hash.finalize())),
            len => hash.update(&block[..len]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_hash_of_a_written_file_is_the_hash_of_what_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload");
        let written = write_file(&path, 200_003, 7).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 200_003);
        assert_eq!(written, hash_file(&path).unwrap());
        assert_ne!(written, write_file(&path, 200_003, 8).unwrap());
    }
}
