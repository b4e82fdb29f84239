//! Which ports a NAT will give out next.

use std::collections::BTreeSet;

use rand_core::Rng;

use super::{MAX_ATTEMPTS, MAX_BLOCK, ROUND_SOCKETS, Role};
use crate::behavior::Allocation;
use crate::offer::NatProfile;

/// The lowest port that NATs give to ports that are not privileged (RFC 4787 section 4.2.2).
const LOWEST: u16 = 1024;

/// Ports in a row that are tried after the last one of a sequence.
const AHEAD: u16 = 160;

/// Ports that a sequence may have moved on between the last sample and the first round.
const DRIFT: i64 = 40;

/// What it may have moved on beyond our own packets between rounds.
const FURTHER_DRIFT: i64 = 60;

/// The ports of a peer that are tried, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortGuess {
    /// After the last of a sequence, and around where it may have begun again.
    Sequence {
        /// The last port that was seen.
        last: u16,
        /// From one to the next.
        step: i16,
    },
    /// All of a range, in random order.
    Range {
        /// The lowest.
        low: u16,
        /// The highest.
        high: u16,
    },
}

impl PortGuess {
    /// What the profile says of the ports; any from 1024 up when it says nothing.
    #[must_use]
    pub fn new(nat: &NatProfile) -> Self {
        match (nat.allocation, nat.samples.last()) {
            (Some(Allocation::Sequential { step }), Some(&last)) if step != 0 => {
                Self::Sequence { last, step }
            }
            (Some(Allocation::Block { low, high }), _) => Self::Range { low, high },
            _ => Self::Range {
                low: LOWEST,
                high: u16::MAX,
            },
        }
    }

    /// Among how many ports the next one is.
    #[must_use]
    pub fn size(&self) -> u32 {
        match self {
            Self::Sequence { .. } => u32::from(AHEAD) * 3 / 2,
            Self::Range { low, high } => u32::from(high.saturating_sub(*low)) + 1,
        }
    }

    /// The port of the given attempt, another each time; none when all were tried.
    pub(super) fn port(
        &self,
        attempt: u16,
        tried: &mut BTreeSet<u16>,
        rng: &mut impl Rng,
    ) -> Option<u16> {
        match self {
            // Two ahead, one back: a sequence that goes round in a small range has just used
            // the ports before.
            Self::Sequence { last, step } if u32::from(attempt) < self.size() => {
                let (by, rest) = (i64::from(attempt / 3), attempt % 3);
                let along = if rest == 2 {
                    -by
                } else {
                    2 * by + 1 + i64::from(rest)
                };
                Some(stepped(*last, i64::from(*step) * along))
            }
            Self::Range { low, high } if attempt < MAX_ATTEMPTS => {
                let size = self.size();
                if tried.len() as u32 >= size {
                    return None;
                }
                // From a random port on to the next that was not tried.
                let mut port = low + (rng.next_u32() % size) as u16;
                while !tried.insert(port) {
                    port = if port == *high { *low } else { port + 1 };
                }
                Some(port)
            }
            _ => None,
        }
    }
}

/// A port that many steps along, back in the usable range when it leaves it.
fn stepped(port: u16, by: i64) -> u16 {
    let size = i64::from(u16::MAX - LOWEST) + 1;
    let along = (i64::from(port) - i64::from(LOWEST) + by).rem_euclid(size);
    LOWEST + along as u16
}

/// Ports one of which can be named beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Predictable {
    Sequence { samples: Vec<u16>, step: i16 },
    Block { size: u32, samples: Vec<u16> },
}

pub(super) fn predictable(nat: &NatProfile) -> Option<Predictable> {
    if nat.samples.is_empty() {
        return None;
    }
    match nat.allocation? {
        Allocation::Sequential { step } if step != 0 => {
            let samples = nat.samples.clone();
            Some(Predictable::Sequence { samples, step })
        }
        Allocation::Block { low, high } => {
            let size = u32::from(high.saturating_sub(low)) + 1;
            let samples = nat.samples.clone();
            (size <= MAX_BLOCK).then_some(Predictable::Block { size, samples })
        }
        Allocation::Sequential { .. } | Allocation::Random => None,
    }
}

/// Where in a sequence a round aims: after the last sample, or at one that was seen, for a
/// sequence that goes round in a range smaller than [`ROUND_SOCKETS`]. Another one in each round:
/// towards a port that was sent to before, a socket has its mapping already and gets no new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    Ahead,
    Seen,
}

/// What is aimed at in the ports of the controlling side and of the controlled side, by round.
/// One side may go round where the other does not, so all four come.
pub(super) const ROUNDS: [(Aim, Aim); 5] = [
    (Aim::Ahead, Aim::Ahead),
    (Aim::Seen, Aim::Seen),
    (Aim::Ahead, Aim::Seen),
    (Aim::Seen, Aim::Ahead),
    (Aim::Ahead, Aim::Ahead),
];

impl Predictable {
    /// How many sockets make the aimed-at port ours. In a block, a few more than it has ports:
    /// the size is an estimate.
    pub(super) fn sockets(&self) -> u16 {
        match self {
            Self::Sequence { .. } => ROUND_SOCKETS,
            Self::Block { size, .. } => (size + size / 8).max(16) as u16,
        }
    }

    /// The port of these that the other side, whose role is `aiming`, aims at in a round.
    pub(super) fn target(&self, aiming: Role, round: usize) -> u16 {
        let (controlling, controlled) = ROUNDS[round % ROUNDS.len()];
        let aim = match aiming {
            Role::Controlling => controlled,
            Role::Controlled => controlling,
        };
        let (Self::Block { samples, .. } | Self::Sequence { samples, .. }) = self;
        let back = round % samples.len();
        match self {
            Self::Sequence { samples, step } if aim == Aim::Ahead => {
                let used = round as i64 * i64::from(ROUND_SOCKETS);
                let drift = if round == 0 { 0 } else { FURTHER_DRIFT };
                let last = samples[samples.len() - 1];
                stepped(last, i64::from(*step) * (DRIFT + used + drift))
            }
            _ => samples[samples.len() - 1 - back],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn all(guess: &PortGuess) -> Vec<u16> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut tried = BTreeSet::new();
        (0..=u16::MAX)
            .map_while(|attempt| guess.port(attempt, &mut tried, &mut rng))
            .collect()
    }

    #[test]
    fn a_range_gives_each_port_once_and_no_more_than_may_be_tried() {
        let (low, high) = (40_000, 40_063);
        let mut ports = all(&PortGuess::Range { low, high });
        ports.sort_unstable();
        assert!(ports.into_iter().eq(low..=high));
        let (low, high) = (LOWEST, u16::MAX);
        let ports = all(&PortGuess::Range { low, high });
        assert_eq!(ports.len(), usize::from(MAX_ATTEMPTS));
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
        assert!(ports.iter().all(|port| *port >= LOWEST));
    }

    #[test]
    fn a_sequence_is_followed_forward_and_a_little_back() {
        let guess = PortGuess::Sequence {
            last: 5_000,
            step: 2,
        };
        let ports: BTreeSet<u16> = all(&guess).into_iter().collect();
        assert_eq!(ports.len() as u32, guess.size());
        assert!((1..=160).all(|along| ports.contains(&(5_000 + 2 * along))));
        assert!((0..70).all(|along| ports.contains(&(5_000 - 2 * along))));
        let wrapping = PortGuess::Sequence {
            last: u16::MAX,
            step: 1,
        };
        assert_eq!(all(&wrapping)[0], LOWEST);
        let down = PortGuess::Sequence {
            last: 5_000,
            step: i16::MIN,
        };
        assert!(all(&down).iter().all(|port| *port >= LOWEST));
    }

    #[test]
    fn a_port_is_predicted_in_sequences_and_small_blocks_only() {
        let of = |allocation, samples: &[u16]| {
            predictable(&NatProfile {
                allocation: Some(allocation),
                samples: samples.to_vec(),
                ..NatProfile::default()
            })
        };
        let sequence = of(Allocation::Sequential { step: 1 }, &[7_000, 7_001]).unwrap();
        assert_eq!(sequence.target(Role::Controlled, 0), 7_041);
        assert_eq!(sequence.target(Role::Controlled, 1), 7_000);
        assert_eq!(
            sequence.target(Role::Controlled, 2),
            7_000 + 1 + 40 + 192 + 60
        );
        assert!(of(Allocation::Sequential { step: 1 }, &[]).is_none());
        assert!(of(Allocation::Sequential { step: 0 }, &[1]).is_none());
        assert!(of(Allocation::Random, &[1]).is_none());
        let (low, high) = (40_000, 40_511);
        assert!(of(Allocation::Block { low, high }, &[40_009; 8]).is_some());
        let high = high + 1;
        assert!(of(Allocation::Block { low, high }, &[40_009; 8]).is_none());
    }
}
