//! How a NAT with a dependent mapping takes its ports, judged by a short series of them.

/// Samples below which nothing is said.
pub const MIN_SAMPLES: usize = 3;

/// Farthest that two ports taken in a row may lie apart in a sequence. NATs count by one or two;
/// other hosts behind the same NAT take some in between.
pub const MAX_STEP: u16 = 16;

/// Widest spread of a block with four samples or more: of ports drawn from all 65,536, four lie so
/// close once in a thousand times.
const BLOCK_SPREAD: u16 = 4096;

/// The same with three samples: once in fourteen hundred times.
const BLOCK_SPREAD_OF_THREE: u16 = 1024;

/// How ports follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// Each is near the one before: the next will be the last plus `step`, or a few steps on.
    Sequential {
        /// The usual difference, below zero when ports count down. Not 0, at most [`MAX_STEP`]
        /// either way.
        step: i16,
    },
    /// In no order, but in a small range.
    Block {
        /// First port of the range, by estimate: a little below the lowest seen.
        low: u16,
        /// Last port, likewise.
        high: u16,
    },
    /// All over the ports.
    Random,
}

impl Allocation {
    /// What these ports, in the order in which they were taken, look like. `None` with fewer
    /// than [`MIN_SAMPLES`] or when all are the same.
    ///
    /// A sequence is believed when three of four differences have one sign and are at most
    /// [`MAX_STEP`]: the fourth may be the counter's return to its start. Of 65,536 random ports,
    /// three look like a sequence once in eight million times.
    #[must_use]
    pub fn of(ports: &[u16]) -> Option<Self> {
        if ports.len() < MIN_SAMPLES || ports.windows(2).all(|pair| pair[0] == pair[1]) {
            return None;
        }
        let step = sequence(ports);
        if let Some(step) = step {
            return Some(Self::Sequential { step });
        }
        let low = *ports.iter().min()?;
        let high = *ports.iter().max()?;
        let spread = high - low;
        let limit = if ports.len() > 3 {
            BLOCK_SPREAD
        } else {
            BLOCK_SPREAD_OF_THREE
        };
        if spread > limit {
            return Some(Self::Random);
        }
        // Ends of a range of which this many were drawn lie on average one gap farther out.
        let gap = spread / u16::try_from(ports.len() - 1).unwrap_or(u16::MAX) + 1;
        Some(Self::Block {
            low: low.saturating_sub(gap).max(1),
            high: high.saturating_add(gap),
        })
    }
}

/// The step of a sequence.
fn sequence(ports: &[u16]) -> Option<i16> {
    let differences: Vec<i32> = ports
        .windows(2)
        .map(|pair| i32::from(pair[1]) - i32::from(pair[0]))
        .collect();
    let near = |sign: i32| -> Vec<i32> {
        let mut near: Vec<i32> = differences
            .iter()
            .map(|difference| difference * sign)
            .filter(|difference| (1..=i32::from(MAX_STEP)).contains(difference))
            .collect();
        near.sort_unstable();
        near
    };
    for sign in [1, -1] {
        let near = near(sign);
        if near.len() >= 2 && near.len() * 4 >= differences.len() * 3 {
            // The most frequent difference, and of those the smallest.
            let step = near
                .iter()
                .rev()
                .max_by_key(|step| near.iter().filter(|other| other == step).count())?;
            return i16::try_from(step * sign).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn ports_that_count_are_a_sequence() {
        for (ports, step) in [
            (&[40_000, 40_001, 40_002][..], 1),
            (&[40_000, 40_002, 40_004, 40_006], 2),
            (&[40_006, 40_005, 40_004, 40_003], -1),
            // Others took some in between.
            (&[40_000, 40_001, 40_007, 40_008, 40_010], 1),
            // The counter went back to its start.
            (&[40_062, 40_063, 40_000, 40_001, 40_002], 1),
        ] {
            let found = Allocation::of(ports);
            assert_eq!(found, Some(Allocation::Sequential { step }), "{ports:?}");
        }
    }

    #[test]
    fn few_or_equal_ports_say_nothing() {
        assert_eq!(Allocation::of(&[]), None);
        assert_eq!(Allocation::of(&[1, 2]), None);
        assert_eq!(Allocation::of(&[7, 7, 7, 7]), None);
    }

    #[test]
    fn ports_close_to_each_other_are_a_block_that_covers_them() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut inside = 0;
        for _ in 0..1000 {
            let ports: Vec<u16> = (0..8)
                .map(|_| 20_000 + (rng.next_u32() % 512) as u16)
                .collect();
            let Some(Allocation::Block { low, high }) = Allocation::of(&ports) else {
                panic!("{ports:?}")
            };
            assert!(ports.iter().all(|port| (low..=high).contains(port)));
            assert!(high - low < 1024);
            inside += (low..=high)
                .filter(|p| (20_000..20_512).contains(p))
                .count();
        }
        let covered = inside as f64 / 1000.0 / 512.0;
        assert!(covered > 0.9, "of the block {covered} is covered");
    }

    #[test]
    fn ports_all_over_are_random() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mistaken = (0..10_000)
            .filter(|_| {
                let ports: Vec<u16> = (0..4).map(|_| rng.next_u32() as u16).collect();
                Allocation::of(&ports) != Some(Allocation::Random)
            })
            .count();
        assert!(mistaken < 30, "{mistaken} of 10,000");
    }

    #[test]
    fn the_ends_of_the_range_of_ports_do_not_overflow() {
        for ports in [[1, 9, 3, 8], [65_535, 65_500, 65_530, 65_510]] {
            assert!(matches!(
                Allocation::of(&ports),
                Some(Allocation::Block { low: 1.., .. })
            ));
        }
    }
}
