//! When to try again, and when to be silent.
//!
//! After a session without a direct path the next one begins after a while that grows, a few
//! times; then there is silence until the network changes, on our side or (with a new offer) on
//! the peer's. What costs many NAT entries is repeated once only.

use std::time::{Duration, Instant};

use rand_core::Rng;

/// Waits before ordinary checks are tried again. Relayed connections look for a direct path at
/// these times; 21 minutes in all, after which what does not work will not begin to by itself.
pub const LADDER: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::from_secs(60),
    Duration::from_secs(240),
    Duration::from_secs(960),
];

/// The wait before many ports are tried again: all entries of the first time are gone by then
/// (RFC 4787 REQ-5 recommends a life of five minutes).
pub const LADDER_OF_MANY: [Duration; 1] = [Duration::from_secs(300)];

/// Each wait is longer by up to this part of it, by chance, so that what broke together does not
/// come back together.
const SPREAD: f64 = 0.2;

/// What the session that failed had tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Addresses that were known.
    Checks,
    /// Many ports ([`punch`](crate::punch)).
    ManyPorts,
}

/// Attempts towards one peer.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    failures: usize,
    next_at: Option<Instant>,
}

impl Ladder {
    /// A session has ended without a direct path. The instant of the next one; none when it is
    /// time to be silent.
    pub fn on_failure(
        &mut self,
        now: Instant,
        effort: Effort,
        rng: &mut impl Rng,
    ) -> Option<Instant> {
        let steps: &[Duration] = match effort {
            Effort::Checks => &LADDER,
            Effort::ManyPorts => &LADDER_OF_MANY,
        };
        let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
        let wait = steps.get(self.failures);
        self.failures += 1;
        self.next_at = wait.map(|wait| now + wait.mul_f64(1.0 + SPREAD * share));
        self.next_at
    }

    /// There is a direct path: the next failure is a first one again.
    pub fn on_success(&mut self) {
        *self = Self::default();
    }

    /// The network has changed, here or there: all that is known of failures is void, and the
    /// next attempt is due now.
    pub fn on_network_change(&mut self, now: Instant) {
        self.failures = 0;
        self.next_at = Some(now);
    }

    /// When the next attempt is due; none while there is silence.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_at
    }

    /// Whether an attempt is due. Says so once.
    pub fn take_due(&mut self, now: Instant) -> Option<Instant> {
        self.next_at.take_if(|at| *at <= now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn waits_grow_and_then_there_is_silence_until_the_network_changes() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut ladder = Ladder::default();
        for step in LADDER {
            let at = ladder.on_failure(now, Effort::Checks, &mut rng).unwrap();
            assert!(at >= now + step && at <= now + step.mul_f64(1.0 + SPREAD));
            assert_eq!(ladder.take_due(now), None);
            assert!(ladder.take_due(at).is_some());
            assert_eq!(ladder.take_due(at), None);
        }
        assert_eq!(ladder.on_failure(now, Effort::Checks, &mut rng), None);
        assert_eq!(ladder.poll_timeout(), None);
        ladder.on_network_change(now);
        assert_eq!(ladder.take_due(now), Some(now));
        assert!(ladder.on_failure(now, Effort::Checks, &mut rng).is_some());
    }

    #[test]
    fn many_ports_are_tried_twice_and_success_forgets_failures() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let now = Instant::now();
        let mut ladder = Ladder::default();
        for _ in 0..2 {
            let at = ladder.on_failure(now, Effort::ManyPorts, &mut rng).unwrap();
            assert!(at >= now + crate::punch::ENTRY_LIFE);
            assert_eq!(ladder.on_failure(now, Effort::ManyPorts, &mut rng), None);
            ladder.on_success();
        }
    }
}
