//! When each connection wants to be woken: an ordered table with one deadline a connection.

use std::collections::BTreeSet;
use std::time::Instant;

use super::ConnectionKey;

/// Deadlines of all connections, earliest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    ordered: BTreeSet<(Instant, ConnectionKey)>,
}

impl Timers {
    /// Replaces the deadline of `key`; `held` is where the connection keeps the one in force.
    pub(crate) fn set(
        &mut self,
        key: ConnectionKey,
        held: &mut Option<Instant>,
        deadline: Option<Instant>,
    ) {
        if *held == deadline {
            return;
        }
        if let Some(old) = held.take() {
            self.ordered.remove(&(old, key));
        }
        if let Some(new) = deadline {
            self.ordered.insert((new, key));
            *held = Some(new);
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.ordered.first().map(|(at, _)| *at)
    }

    /// A connection whose deadline is not after `now`.
    pub(crate) fn expired(&self, now: Instant) -> Option<ConnectionKey> {
        self.ordered
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_deadline_comes_first_and_a_replaced_one_is_gone() {
        let start = Instant::now();
        let (one, two) = (
            ConnectionKey {
                slot: 0,
                generation: 1,
            },
            ConnectionKey {
                slot: 1,
                generation: 2,
            },
        );
        let mut timers = Timers::default();
        let (mut held_one, mut held_two) = (None, None);
        timers.set(one, &mut held_one, Some(start + Duration::from_secs(2)));
        timers.set(two, &mut held_two, Some(start + Duration::from_secs(1)));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        timers.set(two, &mut held_two, Some(start + Duration::from_secs(3)));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(2)));
        assert_eq!(timers.expired(start + Duration::from_secs(1)), None);
        assert_eq!(timers.expired(start + Duration::from_secs(2)), Some(one));
        timers.set(one, &mut held_one, None);
        timers.set(two, &mut held_two, None);
        assert_eq!(timers.next(), None);
    }
}
