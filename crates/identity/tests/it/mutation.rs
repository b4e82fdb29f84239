//! Changes to bytes, as a hostile or broken sender might make them.

use rand_chacha::rand_core::Rng;

/// One to four changes: a bit, a byte, bytes taken out, put in, repeated, or from `other`.
pub(crate) fn mutate(rng: &mut impl Rng, original: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=rng.next_u32() % 4 {
        let mut draw = |len: usize| rng.next_u32() as usize % len.max(1);
        let (at, kind) = (draw(bytes.len()), draw(6));
        let len = draw(16).min(bytes.len() - at);
        match kind {
            0 => bytes[at] ^= 1 << draw(8),
            1 => bytes[at] = draw(256) as u8,
            2 => drop(bytes.drain(at..at + len)),
            3 => {
                let inserted: Vec<u8> = (0..len).map(|_| draw(256) as u8).collect();
                bytes.splice(at..at, inserted);
            }
            4 => {
                let repeated = bytes[at..at + len].to_vec();
                bytes.splice(at..at, repeated);
            }
            _ => {
                let from = draw(other.len());
                let len = len.min(other.len() - from);
                bytes[at..at + len].copy_from_slice(&other[from..from + len]);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}
