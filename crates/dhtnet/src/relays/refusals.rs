//! Which relays are not asked for a while, because they have failed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::turn::Fault;

use super::RelayError;

/// How long a relay that refused or was silent is not asked again: somebody has to do something
/// about it.
const REFUSAL_MEMORY: Duration = Duration::from_secs(60);

/// The same for one that was of use until just now, and then twice as long each time, up to
/// [`REFUSAL_MEMORY`]: a server that is restarted is back within seconds.
const LOST_RETRY: Duration = Duration::from_secs(1);

/// An allocation that lived shorter than this was of no use.
pub(super) const LEAST_LIFE: Duration = Duration::from_secs(1);

/// Relays whose failure is remembered; the one that may be asked first is forgotten.
const MAX_REMEMBERED: usize = 64;

/// What is remembered of them.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<String, Refusal>);

#[derive(Debug)]
struct Refusal {
    until: Instant,
    wait: Duration,
}

impl Refusals {
    /// A relay has failed that had served for as long as `life`.
    pub(super) fn add(&mut self, now: Instant, name: String, error: &RelayError, life: Duration) {
        self.forget(now);
        let wait = match self.0.get(&name) {
            _ if is_for_good(error) => REFUSAL_MEMORY,
            _ if life >= LEAST_LIFE => LOST_RETRY,
            Some(before) => (before.wait * 2).min(REFUSAL_MEMORY),
            None => REFUSAL_MEMORY,
        };
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&name) {
            let first = self.0.iter().min_by_key(|(_, refusal)| refusal.until);
            if let Some(name) = first.map(|(name, _)| name.clone()) {
                self.0.remove(&name);
            }
        }
        let until = now + wait;
        self.0.insert(name, Refusal { until, wait });
    }

    /// Whether a relay is not to be asked.
    pub(super) fn contains(&self, now: Instant, name: &str) -> bool {
        self.0.get(name).is_some_and(|refusal| refusal.until > now)
    }

    /// How long nothing can come of asking the relays that have failed.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let waits = self
            .0
            .values()
            .map(|r| r.until.saturating_duration_since(now));
        let least = waits.filter(|wait| !wait.is_zero()).min();
        least.unwrap_or(REFUSAL_MEMORY)
    }

    /// What could be asked for so long that its failure says nothing any more.
    fn forget(&mut self, now: Instant) {
        self.0
            .retain(|_, refusal| now < refusal.until + REFUSAL_MEMORY);
    }
}

/// Whether asking again does not help until somebody has changed something.
fn is_for_good(error: &RelayError) -> bool {
    match error {
        RelayError::Allocation(error) => error.fault() == Fault::Configuration,
        error => matches!(error, RelayError::NoPassword | RelayError::NotOurs),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use dhtnet_nat_traversal::turn::AllocationError;

    use super::*;

    const SILENT: RelayError = RelayError::Allocation(AllocationError::Silent);
    const WRONG: RelayError = RelayError::Allocation(AllocationError::WrongCredentials);

    /// Seconds until it may be asked, after failures one after the other, each as soon as it may be
    /// asked again.
    fn waits(failures: &[(RelayError, Duration)]) -> Vec<u64> {
        let (mut now, mut refusals) = (Instant::now(), Refusals::default());
        let wait = |(error, life): &(RelayError, Duration)| {
            assert!(!refusals.contains(now, "relay"));
            refusals.add(now, "relay".to_owned(), error, *life);
            assert!(refusals.contains(now, "relay"));
            let wait = refusals.wait(now);
            now += wait;
            wait.as_secs()
        };
        failures.iter().map(wait).collect()
    }

    #[test]
    fn a_relay_that_never_served_is_left_alone_for_a_minute() {
        let failures = [(SILENT, Duration::ZERO), (SILENT, Duration::ZERO)];
        assert_eq!(waits(&failures), [60, 60]);
        assert_eq!(Refusals::default().wait(Instant::now()), REFUSAL_MEMORY);
    }

    #[test]
    fn a_relay_that_served_is_asked_again_soon_and_then_less_and_less_often() {
        let mut failures = vec![(SILENT, LEAST_LIFE)];
        failures.extend((0..8).map(|_| (SILENT, Duration::ZERO)));
        failures.push((SILENT, LEAST_LIFE));
        assert_eq!(waits(&failures), [1, 2, 4, 8, 16, 32, 60, 60, 60, 1]);
        let short = LEAST_LIFE - Duration::from_millis(1);
        assert_eq!(waits(&[(SILENT, short)]), [60]);
    }

    #[test]
    fn a_password_that_has_become_wrong_is_not_tried_again_soon() {
        let failures = [(WRONG, LEAST_LIFE), (WRONG, Duration::ZERO)];
        assert_eq!(waits(&failures), [60, 60]);
    }

    #[test]
    fn failures_are_remembered_up_to_the_bound() {
        let (now, mut refusals) = (Instant::now(), Refusals::default());
        for number in 0..=MAX_REMEMBERED {
            let later = now + Duration::from_millis(number as u64);
            refusals.add(later, number.to_string(), &SILENT, Duration::ZERO);
        }
        assert_eq!(refusals.0.len(), MAX_REMEMBERED);
        assert!(!refusals.contains(now, "0"), "the oldest is forgotten");
        assert!(refusals.contains(now, "1"));
    }
}
