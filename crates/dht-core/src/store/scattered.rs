//! A random choice among many without looking at all of them.

use rand_core::Rng;

/// The positions from 0 to `len`, each once, in an order that two numbers of `rng` decide. Each
/// position is as likely as any other to come at any place.
pub(super) fn scattered(len: usize, rng: &mut impl Rng) -> Scattered {
    let mut positions = Scattered {
        at: 0,
        stride: 1,
        len,
        left: len,
    };
    if len > 1 {
        positions.at = below(len, rng);
        positions.stride = 1 + below(len - 1, rng);
        // Steps that have no divisor in common with the length reach every position.
        while greatest_common_divisor(positions.stride, len) != 1 {
            positions.stride = positions.stride % (len - 1) + 1;
        }
    }
    positions
}

/// What [`scattered`] gives.
#[derive(Debug)]
pub(super) struct Scattered {
    at: usize,
    stride: usize,
    len: usize,
    left: usize,
}

impl Iterator for Scattered {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let position = self.at;
        self.at = (self.at + self.stride) % self.len;
        Some(position)
    }
}

/// A number below `bound`, which is not 0. Bounds here are so small against 2^64 that the
/// remainder is as good as even.
fn below(bound: usize, rng: &mut impl Rng) -> usize {
    (rng.next_u64() % bound as u64) as usize
}

fn greatest_common_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_position_comes_exactly_once() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for len in 0..200 {
            let mut seen: Vec<usize> = scattered(len, &mut rng).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_position_is_as_likely_among_the_first() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut counts = [0_u32; 50];
        for _ in 0..10_000 {
            for position in scattered(50, &mut rng).take(5) {
                counts[position] += 1;
            }
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(
            *least > 850 && *most < 1150,
            "1000 expected: {least} to {most}"
        );
    }
}
