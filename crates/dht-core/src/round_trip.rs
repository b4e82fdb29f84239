//! How long an answer may take, learnt from those that came.
//!
//! Three limits grow from one estimate. A query that is *overdue* no longer keeps a lookup from
//! asking somebody else; one that is *given up* no longer keeps it from being decided; one that
//! *expired* is forgotten and counts against the node. Late answers are welcome until then.

use std::time::Duration;

/// Before anything was measured: most of Mainline answers within this.
const INITIAL: Duration = Duration::from_millis(400);

/// The least overdue limit. On one machine answers take microseconds, but a busy scheduler holds
/// tasks back for several milliseconds.
const MIN_OVERDUE: Duration = Duration::from_millis(12);

/// The greatest overdue limit: more does not help a lookup.
const MAX_OVERDUE: Duration = Duration::from_millis(1_500);

/// The least time after which a query is given up: twice the least overdue limit.
const MIN_GIVE_UP: Duration = Duration::from_millis(24);

/// The least and greatest time after which a query is forgotten. A busy machine holds a process
/// back for half a second now and then, and its neighbours are not dead for that.
const MIN_EXPIRY: Duration = Duration::from_secs(1);
const MAX_EXPIRY: Duration = Duration::from_secs(5);

/// When a query counts as overdue, given up and expired, from when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) overdue: Duration,
    pub(crate) given_up: Duration,
    pub(crate) expired: Duration,
}

/// A smoothed round trip and its variation (RFC 6298, section 2), over all nodes of a family.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RoundTrips {
    smoothed: Option<Duration>,
    variation: Duration,
}

impl RoundTrips {
    pub(crate) fn on_answer(&mut self, sample: Duration) {
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = sample / 2;
            return;
        };
        let error = smoothed.abs_diff(sample);
        self.variation = (self.variation * 3 + error) / 4;
        self.smoothed = Some((smoothed * 7 + sample) / 8);
    }

    /// The limits for a node whose own smoothed round trip may be known.
    pub(crate) fn patience(&self, own: Option<Duration>) -> Patience {
        let general = match self.smoothed {
            // Twice the mean deviation covers all of an even spread, and most of others.
            Some(smoothed) => smoothed + self.variation * 2,
            None => INITIAL,
        };
        // A node that is known to be slow gets its time; one that is known to be fast is not
        // measured by the others, but one late answer is no reason to doubt it.
        let expected = own.map_or(general, |own| own * 3 / 2 + self.variation / 2);
        let overdue = expected.clamp(MIN_OVERDUE, MAX_OVERDUE);
        Patience {
            overdue,
            given_up: (overdue * 3 / 2).max(MIN_GIVE_UP),
            expired: (overdue * 8).clamp(MIN_EXPIRY, MAX_EXPIRY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn before_any_answer_the_limits_are_those_of_a_wide_network() {
        let patience = RoundTrips::default().patience(None);
        assert_eq!(patience.overdue, INITIAL);
        assert!(patience.given_up < patience.expired);
    }

    #[test]
    fn fast_answers_make_the_limits_short() {
        let mut trips = RoundTrips::default();
        for _ in 0..50 {
            trips.on_answer(ms(1));
        }
        let patience = trips.patience(None);
        assert_eq!(patience.overdue, MIN_OVERDUE);
        assert!(patience.given_up <= ms(30));
        assert_eq!(patience.expired, MIN_EXPIRY);
    }

    #[test]
    fn a_slow_network_gets_time_up_to_a_bound() {
        let mut trips = RoundTrips::default();
        for _ in 0..50 {
            trips.on_answer(ms(30_000));
        }
        let patience = trips.patience(None);
        assert_eq!(patience.overdue, MAX_OVERDUE);
        assert_eq!(patience.expired, MAX_EXPIRY);
    }

    #[test]
    fn a_node_known_to_be_slow_is_waited_for() {
        let mut trips = RoundTrips::default();
        for _ in 0..50 {
            trips.on_answer(ms(20));
        }
        assert!(trips.patience(Some(ms(300))).overdue >= ms(450));
    }
}
