//! How many calls are answered in a minute.
//!
//! Calls of peers that are let in have a bound of their own, which nobody else can use up. Devices
//! that only their credentials could let in can show them in a connection alone, so that a policy
//! which wants credentials has to answer calls of devices that it does not know: otherwise no member
//! of a CA would be reached behind a NAT. Whoever knows this device's id can thus make it send
//! packets to addresses that he names. How often is bounded here; a policy that wants no credentials
//! answers none of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Calls of peers that are let in, and more of calls that are under way. Each costs a session at
/// most; a peer needs a few.
pub(super) const MAX_CALLS_OF_PEERS: usize = 120;

/// Calls of strangers that are answered in [`SPAN`]. Each may open as many holes as any other call.
pub(super) const MAX_CALLS_OF_STRANGERS: usize = 12;

const SPAN: Duration = Duration::from_secs(60);

/// When calls of one kind were answered.
#[derive(Debug)]
pub(super) struct Calls {
    most: usize,
    answered: VecDeque<Instant>,
}

impl Calls {
    /// At most so many in every [`SPAN`].
    pub(super) fn at_most(most: usize) -> Self {
        Self {
            most,
            answered: VecDeque::new(),
        }
    }

    /// Whether one more is answered; then it counts.
    pub(super) fn may_call(&mut self, now: Instant) -> bool {
        let is_past = |at: &Instant| now.saturating_duration_since(*at) >= SPAN;
        while self.answered.front().is_some_and(is_past) {
            self.answered.pop_front();
        }
        let may = self.answered.len() < self.most;
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
    fn calls_are_bounded_in_every_minute() {
        for most in [MAX_CALLS_OF_STRANGERS, MAX_CALLS_OF_PEERS] {
            let (now, mut calls) = (Instant::now(), Calls::at_most(most));
            for n in 0..most as u32 {
                assert!(calls.may_call(now + Duration::from_millis(100) * n));
            }
            assert!(!calls.may_call(now + SPAN - Duration::from_millis(1)));
            assert!(calls.may_call(now + SPAN));
            assert!(!calls.may_call(now + SPAN), "the second is later");
        }
    }
}
