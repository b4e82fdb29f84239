//! What keeps the table true: pings of nodes in doubt, refreshes of quiet buckets, and what the
//! table says about the size of the network.

use std::time::{Duration, Instant};

use rand_core::Rng;

use super::K;
use super::bucket::Bucket;
use super::entry::{NEVER, Seconds};
use super::table::Table;
use crate::address::Contact;
use crate::id::Id;

/// After how long without a change a bucket is refreshed (BEP 5).
const REFRESH_AFTER: u32 = 15 * 60;

/// Between two pings: a full table that fell silent at once is asked over minutes, not in one burst.
const PING_PAUSE: u32 = 1;

/// Between two refreshes, each a look-up of dozens of queries.
const REFRESH_PAUSE: u32 = 10;

/// When work is due at the earliest; what is noted here may be too early, never too late.
#[derive(Debug)]
pub(super) struct Upkeep {
    ping_due: Seconds,
    ping_pause_ends: Seconds,
    refresh_due: Seconds,
    refresh_pause_ends: Seconds,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        Self {
            ping_due: Seconds::MAX,
            ping_pause_ends: NEVER,
            refresh_due: Seconds::MAX,
            refresh_pause_ends: NEVER,
        }
    }

    pub(super) fn expect_ping(&mut self, due: Seconds) {
        self.ping_due = self.ping_due.min(due);
    }

    /// The first bucket was made.
    pub(super) fn on_first_bucket(&mut self, now: Seconds) {
        self.refresh_due = now.saturating_add(REFRESH_AFTER);
    }

    pub(super) fn recheck_pings(&mut self) {
        self.ping_due = NEVER;
    }

    pub(super) fn recheck_refreshes(&mut self) {
        self.refresh_due = NEVER;
    }

    fn next(&self) -> Seconds {
        let ping = self.ping_due.max(self.ping_pause_ends);
        ping.min(self.refresh_due.max(self.refresh_pause_ends))
    }
}

impl<const LEN: usize> Table<LEN> {
    pub(super) fn questionable(&mut self, now: Instant) -> Option<Contact> {
        let now = self.clock.seconds(now);
        if now < self.upkeep.ping_due.max(self.upkeep.ping_pause_ends) {
            return None;
        }
        let nodes = self
            .buckets
            .iter_mut()
            .flat_map(|bucket| bucket.nodes_mut());
        let Some(oldest) = nodes.min_by_key(|node| (node.ping_due(), node.heard())) else {
            self.upkeep.ping_due = Seconds::MAX;
            return None;
        };
        self.upkeep.ping_due = oldest.ping_due();
        if oldest.ping_due() > now {
            return None;
        }
        oldest.on_asked(now);
        let contact = oldest.contact();
        self.upkeep.recheck_pings();
        self.upkeep.ping_pause_ends = now.saturating_add(PING_PAUSE);
        Some(contact)
    }

    pub(super) fn refresh_due(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Id> {
        let now = self.clock.seconds(now);
        if now < self.upkeep.refresh_due.max(self.upkeep.refresh_pause_ends) {
            return None;
        }
        let unsought = self.unsought();
        let Some(at) = unsought.or_else(|| self.quietest()) else {
            self.upkeep.refresh_due = Seconds::MAX;
            return None;
        };
        let bucket = &mut self.buckets[at];
        let due = bucket.touched().saturating_add(REFRESH_AFTER);
        if due > now && Some(at) != unsought {
            self.upkeep.refresh_due = due;
            return None;
        }
        bucket.on_sought(now);
        self.upkeep.refresh_due = NEVER;
        self.upkeep.refresh_pause_ends = now.saturating_add(REFRESH_PAUSE);
        Some(self.own.random_at(at, rng))
    }

    /// The farthest bucket that was never filled. The last one is our own neighbourhood, which a
    /// look-up for our own id fills.
    fn unsought(&self) -> Option<usize> {
        let (_, others) = self.buckets.split_last()?;
        others.iter().position(Bucket::is_unsought)
    }

    fn quietest(&self) -> Option<usize> {
        let buckets = self.buckets.iter().enumerate();
        let quietest = buckets.min_by_key(|(_, bucket)| bucket.touched());
        quietest.map(|(at, _)| at)
    }

    pub(super) fn next_due(&self, now: Instant) -> Instant {
        let latest = now + Duration::from_secs(u64::from(REFRESH_AFTER));
        self.clock.instant(self.upkeep.next()).min(latest)
    }

    pub(super) fn estimated_size(&self, now: Instant) -> u64 {
        // The deepest buckets that are not full hold every node of their part of the network.
        let complete = self
            .buckets
            .iter()
            .rev()
            .take_while(|bucket| !bucket.is_full());
        let complete: usize = complete.map(|bucket| bucket.nodes().len()).sum();
        let shares = self.near_shares(now, complete.max(K));
        if complete >= self.len() {
            return shares.len() as u64 + 1;
        }
        // The n-th nearest of N random nodes is n / (N + 1) away on average; (n - 1) / distance
        // is the estimate of N without bias.
        let nth = complete.max(K).min(shares.len());
        match shares.get(nth.wrapping_sub(1)) {
            Some(&share) if share > 0.0 => ((nth - 1) as f64 / share) as u64 + 1,
            _ => shares.len() as u64 + 1,
        }
    }
}
