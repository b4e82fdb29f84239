//! Queries that wait for an answer. An answer counts only if it carries the transaction id of an
//! outstanding query and comes from the address that was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;

use crate::id::Id;
use crate::round_trip::Patience;

/// Queries that may be outstanding at once: the whole work of a node with dozens of lookups. At
/// the bound new queries count as unanswered at once.
pub(crate) const MAX_OUTSTANDING: usize = 4_096;

/// Bytes of a transaction id of ours: a blind guess hits one outstanding query in 2^32.
pub(crate) const TRANSACTION_LEN: usize = 4;

/// A query under way.
#[derive(Debug, Clone)]
pub(crate) struct Outstanding<P> {
    /// Who was asked.
    pub(crate) address: SocketAddr,
    /// The id we think it has; none for a bare address.
    pub(crate) id: Option<Id>,
    pub(crate) sent: Instant,
    /// What the answer is for.
    pub(crate) purpose: P,
    patience: Patience,
    stage: Stage,
}

/// How far a query's time has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Waiting,
    Overdue,
    GivenUp,
    Expired,
}

impl<P> Outstanding<P> {
    fn deadline(&self) -> Instant {
        self.sent
            + match self.stage {
                Stage::Waiting => self.patience.overdue,
                Stage::Overdue => self.patience.given_up,
                Stage::GivenUp | Stage::Expired => self.patience.expired,
            }
    }
}

/// What a deadline brought.
#[derive(Debug)]
pub(crate) enum Elapsed<P> {
    /// The query reached a stage and still waits.
    Reached(Stage, SocketAddr, P),
    /// It is forgotten.
    Expired(Outstanding<P>),
}

/// All queries under way. `P` says what an answer is for.
#[derive(Debug)]
pub(crate) struct Transactions<P> {
    outstanding: BTreeMap<u32, Outstanding<P>>,
    deadlines: BTreeSet<(Instant, u32)>,
}

impl<P> Default for Transactions<P> {
    fn default() -> Self {
        Self {
            outstanding: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }
}

impl<P: Clone> Transactions<P> {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// Registers a query and gives its transaction id; none when too many are under way.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        to: (SocketAddr, Option<Id>),
        patience: Patience,
        purpose: P,
        rng: &mut impl Rng,
    ) -> Option<[u8; TRANSACTION_LEN]> {
        if self.outstanding.len() >= MAX_OUTSTANDING {
            return None;
        }
        let mut key = rng.next_u32();
        while self.outstanding.contains_key(&key) {
            key = key.wrapping_add(1);
        }
        let query = Outstanding {
            address: to.0,
            id: to.1,
            sent: now,
            purpose,
            patience,
            stage: Stage::Waiting,
        };
        self.deadlines.insert((query.deadline(), key));
        self.outstanding.insert(key, query);
        Some(key.to_be_bytes())
    }

    /// Takes the query that this answer belongs to, with its round trip. None for an answer that
    /// nobody asked for, or that comes from elsewhere.
    pub(crate) fn on_answer(
        &mut self,
        now: Instant,
        source: SocketAddr,
        transaction: &[u8],
    ) -> Option<(Outstanding<P>, Duration)> {
        let key = u32::from_be_bytes(transaction.try_into().ok()?);
        if self.outstanding.get(&key)?.address != source {
            return None;
        }
        let query = self.remove(key)?;
        let round_trip = now.saturating_duration_since(query.sent);
        Some((query, round_trip))
    }

    fn remove(&mut self, key: u32) -> Option<Outstanding<P>> {
        let query = self.outstanding.remove(&key)?;
        self.deadlines.remove(&(query.deadline(), key));
        Some(query)
    }

    /// The next thing that time brought, until there is none.
    pub(crate) fn poll_elapsed(&mut self, now: Instant) -> Option<Elapsed<P>> {
        let &(at, key) = self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.pop_first();
        let query = self.outstanding.get_mut(&key)?;
        query.stage = match query.stage {
            Stage::Waiting => Stage::Overdue,
            Stage::Overdue => Stage::GivenUp,
            Stage::GivenUp | Stage::Expired => Stage::Expired,
        };
        if query.stage == Stage::Expired {
            return self.outstanding.remove(&key).map(Elapsed::Expired);
        }
        self.deadlines.insert((query.deadline(), key));
        Some(Elapsed::Reached(
            query.stage,
            query.address,
            query.purpose.clone(),
        ))
    }

    /// When [`Transactions::poll_elapsed`] has something next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::round_trip::RoundTrips;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([11, 0, 0, 1], port))
    }

    fn begin(all: &mut Transactions<u8>, now: Instant, rng: &mut ChaCha20Rng) -> Option<[u8; 4]> {
        let patience = RoundTrips::default().patience(None);
        all.begin(now, (address(1), None), patience, 7, rng)
    }

    #[test]
    fn an_answer_counts_once_and_only_from_the_address_that_was_asked() {
        let (now, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(1));
        let mut all = Transactions::default();
        let key = begin(&mut all, now, &mut rng).unwrap();
        assert!(
            all.on_answer(now, address(2), &key).is_none(),
            "from elsewhere"
        );
        assert!(
            all.on_answer(now, address(1), &key[..3]).is_none(),
            "too short"
        );
        let later = now + Duration::from_millis(30);
        let (query, round_trip) = all.on_answer(later, address(1), &key).unwrap();
        assert_eq!((query.purpose, round_trip), (7, Duration::from_millis(30)));
        assert!(all.on_answer(later, address(1), &key).is_none(), "twice");
        assert_eq!(all.poll_timeout(), None);
    }

    #[test]
    fn time_passes_through_the_stages_in_order() {
        let (mut now, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(1));
        let mut all = Transactions::default();
        begin(&mut all, now, &mut rng).unwrap();
        let mut seen = Vec::new();
        while let Some(at) = all.poll_timeout() {
            assert!(all.poll_elapsed(at - Duration::from_nanos(1)).is_none());
            now = at;
            match all.poll_elapsed(now).unwrap() {
                Elapsed::Reached(stage, ..) => seen.push(stage),
                Elapsed::Expired(query) => seen.push(query.stage),
            }
        }
        assert_eq!(seen, [Stage::Overdue, Stage::GivenUp, Stage::Expired]);
        assert_eq!(all.len(), 0);
    }

    #[test]
    fn outstanding_queries_are_bounded() {
        let (now, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(1));
        let mut all = Transactions::default();
        for _ in 0..MAX_OUTSTANDING {
            assert!(begin(&mut all, now, &mut rng).is_some());
        }
        assert!(begin(&mut all, now, &mut rng).is_none());
    }
}
