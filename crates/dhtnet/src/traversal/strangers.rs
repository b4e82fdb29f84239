//! Calls of devices that only their credentials could let in.
//!
//! They can show them in a connection alone, so that a policy which wants credentials has to answer
//! calls of devices that it does not know: otherwise no member of a CA would be reached behind a
//! NAT. Whoever knows this device's id can thus make it send packets to addresses that he names.
//! How often is bounded here; a policy that wants no credentials answers none of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Calls of strangers that are answered in [`SPAN`]. Each may open as many holes as any other call.
pub(super) const MAX_CALLS_OF_STRANGERS: usize = 12;

const SPAN: Duration = Duration::from_secs(60);

/// When they were answered.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    answered: VecDeque<Instant>,
}

impl Strangers {
    /// Whether one more is answered; then it counts.
    pub(super) fn may_call(&mut self, now: Instant) -> bool {
        let is_past = |at: &Instant| now.saturating_duration_since(*at) >= SPAN;
        while self.answered.front().is_some_and(is_past) {
            self.answered.pop_front();
        }
        let may = self.answered.len() < MAX_CALLS_OF_STRANGERS;
        if may {
            self.answered.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_strangers_are_bounded_in_every_minute() {
        let (now, mut strangers) = (Instant::now(), Strangers::default());
        for n in 0..MAX_CALLS_OF_STRANGERS as u32 {
            assert!(strangers.may_call(now + Duration::from_secs(1) * n));
        }
        assert!(!strangers.may_call(now + SPAN - Duration::from_millis(1)));
        assert!(strangers.may_call(now + SPAN));
        assert!(
            !strangers.may_call(now + SPAN),
            "the second is a second old"
        );
    }
}
