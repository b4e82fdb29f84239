//! Who wants to be told of changes under which key, and what each has not been told yet.
//!
//! A listener has one push on its way at a time. What changes meanwhile waits by key, so that a
//! value that changes often is pushed once with its last state; a listener that falls too far
//! behind is told to get everything anew. How a push is repeated and given up is the caller's.
//!
//! A key or a node that is full makes room for a source that has less there than the one with most, at
//! the cost of that one: otherwise one host could keep a device from being called.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeBounds;
use std::time::{Duration, Instant};

use super::query::{Subject, ValueQuery};
use super::record::ValueKey;
use super::source::Source;
use crate::id::Id;
use crate::krpc::ErrorCode;

/// How long a subscription lasts unless it is renewed: as long as a write token is taken (BEP 5).
pub(crate) const LISTEN_TTL: Duration = Duration::from_secs(10 * 60);

/// Subscriptions at one node: about 1 KiB each when everything is pending.
const MAX_LISTENERS: usize = 4096;

/// Subscriptions of one source (an IPv4 address, a /64): a sixteenth of all.
const MAX_LISTENERS_PER_SOURCE: u32 = 256;

/// Subscriptions to one key: a change is at most so many pushes.
const MAX_LISTENERS_PER_KEY: u32 = 256;

/// Changes that wait for one listener; with more it is told to get everything anew.
const MAX_PENDING: usize = 16;

/// Names a subscription: the asker's address and number are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListenerKey {
    pub(crate) target: Id,
    pub(crate) address: SocketAddr,
    pub(crate) id: u64,
}

/// Why a subscription was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ListenError {
    /// The sender's address has its share.
    #[error("this address has too many subscriptions")]
    Source,
    /// The key has as many as a key may have, shared as fairly as it can be.
    #[error("the key has too many subscriptions")]
    Key,
    /// The node has as many as it may have, shared as fairly as it can be.
    #[error("the node has too many subscriptions")]
    Node,
}

impl ListenError {
    /// What the sender is told.
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::Source | Self::Key => ErrorCode::QuotaExceeded,
            Self::Node => ErrorCode::Server,
        }
    }
}

/// What one listener is to be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push {
    pub(crate) to: ListenerKey,
    /// What it asked for: select the records by it.
    pub(crate) query: ValueQuery,
    /// Values that changed or went; the store knows which. Empty: changes were dropped, and the
    /// listener is to get everything anew, which a push without records and keys tells it.
    pub(crate) changed: Vec<ValueKey>,
}

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    /// The listener answered.
    Answered,
    /// It did not, or refused: it is gone.
    Lost,
}

/// Whether a listener can be pushed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing to tell.
    Idle,
    /// In the queue.
    Ready,
    /// A push is on its way.
    Busy,
}

#[derive(Debug)]
struct Subscription {
    query: ValueQuery,
    expires: Instant,
    line: Line,
    pending: Vec<ValueKey>,
    has_dropped: bool,
}

impl Subscription {
    fn has_news(&self) -> bool {
        self.has_dropped || !self.pending.is_empty()
    }

    fn remember(&mut self, key: ValueKey) {
        if self.has_dropped || self.pending.contains(&key) {
            return;
        }
        if self.pending.len() == MAX_PENDING {
            self.pending = Vec::new();
            self.has_dropped = true;
        } else {
            self.pending.push(key);
        }
    }
}

/// The subscriptions at this node.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    subscriptions: BTreeMap<ListenerKey, Subscription>,
    deadlines: BTreeSet<(Instant, ListenerKey)>,
    per_source: BTreeMap<Source, u32>,
    /// Those with news and no push on its way, longest waiting first.
    ready: VecDeque<ListenerKey>,
}

impl Listeners {
    /// Subscribes, or renews a subscription with what it asks for now. Returns for how long.
    pub(crate) fn listen(
        &mut self,
        now: Instant,
        key: ListenerKey,
        query: ValueQuery,
    ) -> Result<Duration, ListenError> {
        self.expire(now);
        let expires = now + LISTEN_TTL;
        if let Some(known) = self.subscriptions.get_mut(&key) {
            self.deadlines.remove(&(known.expires, key));
            self.deadlines.insert((expires, key));
            known.expires = expires;
            known.query = query;
            return Ok(LISTEN_TTL);
        }
        let source = Source::of(key.address.ip());
        let of_source = self.per_source.get(&source).copied().unwrap_or_default();
        if of_source >= MAX_LISTENERS_PER_SOURCE {
            return Err(ListenError::Source);
        }
        self.make_room(&key.target, source)?;
        *self.per_source.entry(source).or_default() += 1;
        self.deadlines.insert((expires, key));
        let subscription = Subscription {
            query,
            expires,
            line: Line::Idle,
            pending: Vec::new(),
            has_dropped: false,
        };
        self.subscriptions.insert(key, subscription);
        Ok(LISTEN_TTL)
    }

    /// Whether there is this subscription.
    pub(crate) fn contains(&self, key: &ListenerKey) -> bool {
        self.subscriptions.contains_key(key)
    }

    /// A value that one subscription has not been told of.
    pub(crate) fn owe(&mut self, key: &ListenerKey, subject: &Subject) {
        if let Some(subscription) = self.subscriptions.get_mut(key)
            && subscription.query.filter.matches(subject)
        {
            subscription.remember(subject.key);
            if subscription.line == Line::Idle {
                subscription.line = Line::Ready;
                self.ready.push_back(*key);
            }
        }
    }

    /// Ends a subscription of another source, if one of `source` to `target` needs its place.
    fn make_room(&mut self, target: &Id, source: Source) -> Result<(), ListenError> {
        let mut at_key: BTreeMap<Source, u32> = BTreeMap::new();
        for (key, _) in self.subscriptions.range(all_under(target)) {
            *at_key.entry(Source::of(key.address.ip())).or_default() += 1;
        }
        let victim = if at_key.values().sum::<u32>() >= MAX_LISTENERS_PER_KEY {
            let crowd = crowd(&at_key, source).ok_or(ListenError::Key)?;
            self.soonest_of(crowd, all_under(target))
        } else if self.subscriptions.len() >= MAX_LISTENERS {
            let crowd = crowd(&self.per_source, source).ok_or(ListenError::Node)?;
            self.soonest_of(crowd, ..)
        } else {
            None
        };
        if let Some(victim) = victim {
            self.cancel(&victim);
        }
        Ok(())
    }

    /// The subscription of `source` that ends first.
    fn soonest_of(
        &self,
        source: Source,
        range: impl RangeBounds<ListenerKey>,
    ) -> Option<ListenerKey> {
        let all = self.subscriptions.range(range);
        let of_source = all.filter(|(key, _)| Source::of(key.address.ip()) == source);
        let soonest = of_source.min_by_key(|(_, subscription)| subscription.expires);
        soonest.map(|(key, _)| *key)
    }

    /// Ends a subscription. Returns whether there was one.
    pub(crate) fn cancel(&mut self, key: &ListenerKey) -> bool {
        let Some(ended) = self.subscriptions.remove(key) else {
            return false;
        };
        self.deadlines.remove(&(ended.expires, *key));
        if ended.line == Line::Ready {
            self.ready.retain(|ready| ready != key);
        }
        let source = Source::of(key.address.ip());
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
        true
    }

    /// A value under `target` was added, edited, removed, or expired.
    pub(crate) fn on_change(&mut self, now: Instant, target: &Id, subject: &Subject) {
        if self.subscriptions.is_empty() {
            return;
        }
        for (key, subscription) in self.subscriptions.range_mut(all_under(target)) {
            let wants = subscription.query.filter.matches(subject);
            if !wants || subscription.expires <= now {
                continue;
            }
            subscription.remember(subject.key);
            if subscription.line == Line::Idle {
                subscription.line = Line::Ready;
                self.ready.push_back(*key);
            }
        }
    }

    /// What to push next. The listener gets nothing more until [`on_pushed`](Self::on_pushed).
    pub(crate) fn poll_push(&mut self) -> Option<Push> {
        let to = self.ready.pop_front()?;
        let subscription = self.subscriptions.get_mut(&to)?;
        subscription.line = Line::Busy;
        subscription.has_dropped = false;
        Some(Push {
            to,
            query: subscription.query,
            changed: std::mem::take(&mut subscription.pending),
        })
    }

    /// A push has ended. A lost listener is forgotten.
    pub(crate) fn on_pushed(&mut self, to: &ListenerKey, outcome: PushOutcome) {
        if outcome == PushOutcome::Lost {
            self.cancel(to);
            return;
        }
        let Some(subscription) = self.subscriptions.get_mut(to) else {
            return;
        };
        if subscription.line != Line::Busy {
            return;
        }
        if subscription.has_news() {
            subscription.line = Line::Ready;
            self.ready.push_back(*to);
        } else {
            subscription.line = Line::Idle;
        }
    }

    /// When [`expire`](Self::expire) is to be called next.
    #[cfg(test)]
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Forgets the subscriptions that were not renewed.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((_, key)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            let key = *key;
            self.cancel(&key);
        }
    }

    /// Subscriptions.
    pub(crate) fn len(&self) -> usize {
        self.subscriptions.len()
    }
}

/// The source with most subscriptions, unless `source` would have as many with one more.
fn crowd(counts: &BTreeMap<Source, u32>, source: Source) -> Option<Source> {
    let own = counts.get(&source).copied().unwrap_or_default();
    let (crowd, count) = counts.iter().max_by_key(|(_, count)| **count)?;
    (*count > own + 1).then_some(*crowd)
}

/// Every subscription to one key.
fn all_under(target: &Id) -> std::ops::RangeInclusive<ListenerKey> {
    let first = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    // IPv6 addresses sort behind those of IPv4, and scopes behind addresses.
    let last = std::net::SocketAddrV6::new(Ipv6Addr::from(u128::MAX), u16::MAX, u32::MAX, u32::MAX);
    ListenerKey {
        target: *target,
        address: first,
        id: 0,
    }..=ListenerKey {
        target: *target,
        address: last.into(),
        id: u64::MAX,
    }
}

#[cfg(test)]
mod tests;
