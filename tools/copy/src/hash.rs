//! The hash of a file's content: BLAKE3 over the BLAKE3 hashes of its chunks.
//!
//! In two steps, because the hash of a chunk of zeros is a constant: a hole costs 32 bytes of
//! hashing for each MiB, so that a sparse file of a terabyte is verified in a moment. Where the holes
//! are makes no difference to the hash, only what is read.

use std::fmt;
use std::sync::OnceLock;

/// Bytes of a chunk.
pub const CHUNK: u64 = 1 << 20;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The hash of a content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from(self.0).to_hex()[..16])
    }
}

/// Hashes a content from its first byte to its last.
#[derive(Clone, Default)]
pub struct FileHash {
    chunks: blake3::Hasher,
    chunk: blake3::Hasher,
    filled: u64,
}

impl FileHash {
    /// The next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(CHUNK - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.chunk.update(now);
            self.filled += now.len() as u64;
            if self.filled == CHUNK {
                self.end_chunk();
            }
            bytes = later;
        }
    }

    /// The next bytes are `length` zeros.
    pub fn zeros(&mut self, mut length: u64) {
        if self.filled > 0 {
            length -= self.feed_zeros(length.min(CHUNK - self.filled));
        }
        while length >= CHUNK {
            self.chunks.update(zero_chunk());
            length -= CHUNK;
        }
        self.feed_zeros(length);
    }

    fn feed_zeros(&mut self, length: u64) -> u64 {
        let mut left = length;
        while left > 0 {
            let now = left.min(ZEROS.len() as u64);
            self.update(&ZEROS[..usize::try_from(now).unwrap_or(ZEROS.len())]);
            left -= now;
        }
        length
    }

    fn end_chunk(&mut self) {
        self.chunks.update(self.chunk.finalize().as_bytes());
        self.chunk.reset();
        self.filled = 0;
    }

    /// The hash of all bytes so far.
    pub fn digest(&self) -> Digest {
        let mut chunks = self.chunks.clone();
        if self.filled > 0 {
            chunks.update(self.chunk.finalize().as_bytes());
        }
        Digest(*chunks.finalize().as_bytes())
    }
}

fn zero_chunk() -> &'static [u8; 32] {
    static HASH: OnceLock<[u8; 32]> = OnceLock::new();
    HASH.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        for _ in 0..CHUNK / ZEROS.len() as u64 {
            hasher.update(&ZEROS);
        }
        *hasher.finalize().as_bytes()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn of(bytes: &[u8]) -> Digest {
        let mut hash = FileHash::default();
        hash.update(bytes);
        hash.digest()
    }

    #[test]
    fn the_hash_is_that_of_the_hashes_of_the_chunks() {
        let content: Vec<u8> = (0..(CHUNK * 2 + 5) as usize)
            .map(|i| (i * 7) as u8)
            .collect();
        let mut chunks = Vec::new();
        for chunk in content.chunks(CHUNK as usize) {
            chunks.extend_from_slice(blake3::hash(chunk).as_bytes());
        }
        assert_eq!(of(&content), Digest(*blake3::hash(&chunks).as_bytes()));
        assert_eq!(of(b""), Digest(*blake3::hash(b"").as_bytes()));
    }

    #[test]
    fn holes_and_pieces_make_no_difference() {
        let mut content = vec![0; (CHUNK * 3 + 77) as usize];
        content[5] = 1;
        content[(CHUNK * 3 + 70) as usize] = 2;
        let mut pieces = FileHash::default();
        pieces.update(&content[..6]);
        pieces.zeros(CHUNK * 3 + 64);
        pieces.update(&content[(CHUNK * 3 + 70) as usize..]);
        assert_eq!(pieces.digest(), of(&content));
        assert_ne!(of(&content[..1000]), of(&content[..1001]));
    }

    #[test]
    fn a_terabyte_of_nothing_is_hashed_at_once() {
        let mut hash = FileHash::default();
        hash.zeros(1 << 40);
        hash.update(b"end");
        assert_ne!(hash.digest(), of(b"end"));
    }
}
