//! A number that two runs share only when they were the same.

/// 2^64 divided by the golden ratio: odd, and its bits follow no pattern.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// A 64-bit fingerprint of a stream of words and byte strings.
///
/// Each word goes through a 64×64→128-bit multiplication whose halves are folded. Made for
/// comparing runs, of no use against someone who wants a collision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) const fn new() -> Self {
        Self(0x243F_6A88_85A3_08D3)
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }

    pub(super) fn word(&mut self, word: u64) {
        let mixed = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        let folded = mixed as u64 ^ (mixed >> 64) as u64;
        // The word once more: a product of zero would forget it.
        self.0 = folded.rotate_left(23).wrapping_add(word);
    }

    /// The bytes and their number.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut fingerprint = Fingerprint::new();
        parts.iter().for_each(|part| fingerprint.bytes(part));
        fingerprint.value()
    }

    #[test]
    fn every_byte_the_order_and_the_borders_count() {
        let mut seen = std::collections::BTreeSet::new();
        for at in 0..40 {
            for bit in 0..8 {
                let mut bytes = [0; 40];
                bytes[at] = 1 << bit;
                assert!(seen.insert(of(&[&bytes])), "byte {at}, bit {bit}");
            }
        }
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"ab", b"cd"]), of(&[b"cd", b"ab"]));
        assert_ne!(of(&[b"a"]), of(&[b"a\0"]));
        assert_eq!(of(&[b"abc"]), of(&[b"abc"]));
    }
}
