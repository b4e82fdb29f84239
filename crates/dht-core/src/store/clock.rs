//! Ages of entries in four bytes each, and when to look for expired ones.

use std::time::{Duration, Instant};

/// Least time between two looks through a whole store, in seconds. Readers leave out what has
/// expired in between, so this decides only how long its memory stays taken.
pub(super) const SWEEP_EVERY: u32 = 60;

/// Counts whole seconds from one lifetime before the first entry on, so that older entries have
/// their time too: in 32 bits they last 136 years.
#[derive(Debug)]
pub(super) struct Clock {
    lifetime: u32,
    origin: Option<Instant>,
    sweep: Option<u32>,
}

impl Clock {
    /// The clock of a store whose entries live for `lifetime` seconds.
    pub(super) const fn new(lifetime: u32) -> Self {
        Self {
            lifetime,
            origin: None,
            sweep: None,
        }
    }

    /// `now` in seconds; before the first entry always 0.
    pub(super) fn seconds(&self, now: Instant) -> u32 {
        self.origin.map_or(0, |origin| {
            let passed = now.saturating_duration_since(origin).as_secs();
            u32::try_from(passed).unwrap_or(u32::MAX)
        })
    }

    /// `now` in seconds, for an entry that comes now: sees to it that its expiry is looked for.
    pub(super) fn stamp(&mut self, now: Instant) -> u32 {
        let before = Duration::from_secs(self.lifetime.into());
        self.origin
            .get_or_insert_with(|| now.checked_sub(before).unwrap_or(now));
        let seconds = self.seconds(now);
        self.sweep
            .get_or_insert(seconds.saturating_add(self.lifetime));
        seconds
    }

    /// As [`Self::stamp`], for an entry that was heard of `age` seconds ago.
    pub(super) fn stamp_aged(&mut self, now: Instant, age: u32) -> u32 {
        let seconds = self.stamp(now);
        let heard = seconds.saturating_sub(age);
        let expiry = heard.saturating_add(self.lifetime);
        let earliest = expiry.max(seconds.saturating_add(SWEEP_EVERY));
        self.sweep = self.sweep.map(|at| at.min(earliest));
        heard
    }

    /// Whether what was heard at `heard` has expired at `seconds`.
    pub(super) const fn has_expired(&self, heard: u32, seconds: u32) -> bool {
        seconds.saturating_sub(heard) >= self.lifetime
    }

    /// Whether it is time to look through the store.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.sweep.is_some_and(|at| self.seconds(now) >= at)
    }

    /// When that time comes; never while the store is empty.
    #[cfg(test)]
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        let seconds = Duration::from_secs(u64::from(self.sweep?));
        self.origin?.checked_add(seconds)
    }

    /// Notes that expired entries are gone at `seconds`, and the oldest of the others.
    pub(super) fn on_swept(&mut self, seconds: u32, oldest: Option<u32>) {
        self.sweep = oldest.map(|heard| {
            let expiry = heard.saturating_add(self.lifetime);
            expiry.max(seconds.saturating_add(SWEEP_EVERY))
        });
    }
}
