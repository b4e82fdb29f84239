//! The table of one family: which bucket, which conflicts, when to split.

use std::net::SocketAddr;
use std::time::Instant;

use super::bucket::{Bucket, outranks};
use super::entry::{Clock, Entry, Seconds, compact_node, write_address};
use super::upkeep::Upkeep;
use super::{Insertion, MAX_BUCKETS, MAX_PER_SUBNET, NodeState, Seen, Traits};
use crate::address::Contact;
use crate::id::{ID_LEN, Id};

/// Nodes whose compact form takes `LEN` bytes.
#[derive(Debug)]
pub(super) struct Table<const LEN: usize> {
    pub(super) own: Id,
    pub(super) clock: Clock,
    /// By common prefix with `own`; the last holds everything deeper.
    pub(super) buckets: Vec<Bucket<LEN>>,
    pub(super) upkeep: Upkeep,
}

impl<const LEN: usize> Table<LEN> {
    pub(super) fn new(own: Id, now: Instant) -> Self {
        Self {
            own,
            clock: Clock::new(now),
            buckets: Vec::new(),
            upkeep: Upkeep::new(),
        }
    }

    pub(super) fn own_id(&self) -> Id {
        self.own
    }

    pub(super) fn set_own_id(&mut self, now: Instant, own: Id) {
        if own == self.own {
            return;
        }
        let seconds = self.clock.seconds(now);
        let buckets = std::mem::take(&mut self.buckets);
        self.own = own;
        let mut entries: Vec<_> = buckets.into_iter().flat_map(Bucket::into_entries).collect();
        // The best first: where places are few, they keep them.
        entries.sort_by_key(|entry| (entry.state(seconds), std::cmp::Reverse(entry.answered())));
        for entry in entries {
            if entry.id() != own {
                self.insert(seconds, entry);
            }
        }
    }

    pub(super) fn observe(
        &mut self,
        now: Instant,
        contact: Contact,
        traits: Traits,
        seen: Seen,
    ) -> Insertion {
        if contact.id == self.own {
            return Insertion::Refused;
        }
        let seconds = self.clock.seconds(now);
        let Some(node) = compact_node::<LEN>(&contact) else {
            return Insertion::Refused;
        };
        if let Some(at) = self.bucket_of(&contact.id) {
            let bucket = &mut self.buckets[at];
            let is_it = |known: &Entry<LEN>| *known.node() == node;
            if let Some(known) = bucket.nodes_mut().iter_mut().find(|known| is_it(known)) {
                known.observe(seconds, traits, seen);
                if let Seen::Answered { .. } = seen {
                    bucket.touch(seconds);
                }
                return Insertion::Known;
            }
            if bucket.waiting().iter().any(is_it) {
                return self.observe_waiting(seconds, at, &node, (traits, seen));
            }
            // What anyone can send us a thousand times a second should cost little.
            let has_answered = matches!(seen, Seen::Answered { .. });
            if !has_answered && bucket.is_closed_to_untested() {
                return Insertion::Refused;
            }
        }
        let mut entry = Entry::new(node, contact.address.ip());
        entry.observe(seconds, traits, seen);
        match self.settle_conflicts(seconds, &entry) {
            Some(decided) => decided,
            None => self.insert(seconds, entry),
        }
    }

    /// A node that waits was seen again: perhaps there is a place for it now.
    fn observe_waiting(
        &mut self,
        now: Seconds,
        bucket: usize,
        node: &[u8; LEN],
        (traits, seen): (Traits, Seen),
    ) -> Insertion {
        let Some(mut entry) = self.buckets[bucket].take_waiting(&node[ID_LEN..]) else {
            return Insertion::Known;
        };
        entry.observe(now, traits, seen);
        match self.insert(now, entry) {
            Insertion::Cached => Insertion::Known,
            other => other,
        }
    }

    /// One id per address and one address per id. What `newcomer` contradicts is removed if it
    /// may be; otherwise the newcomer's fate is returned.
    fn settle_conflicts(&mut self, now: Seconds, newcomer: &Entry<LEN>) -> Option<Insertion> {
        if let Some((at, _)) = self.find(newcomer.address_bytes()) {
            let address = newcomer.address_bytes();
            // Only the address itself can say that another id lives there now: it is asked.
            if !newcomer.has_answered() {
                let mut nodes = self.buckets[at].nodes_mut().iter_mut();
                let old = nodes.find(|node| node.address_bytes() == address);
                return Some(match old.filter(|old| old.may_be_asked(now)) {
                    Some(old) => {
                        old.on_asked(now);
                        Insertion::Challenge(old.contact())
                    }
                    None => Insertion::Refused,
                });
            }
            self.buckets[at].remove_if(|node| node.address_bytes() == address);
            self.upkeep.recheck_pings();
        }
        let at = self.bucket_of(&newcomer.id())?;
        let bucket = &mut self.buckets[at];
        let is_namesake = |node: &Entry<LEN>| node.id_bytes() == newcomer.id_bytes();
        let mut namesakes = bucket.nodes().iter().chain(bucket.waiting());
        let old = namesakes.find(|node| is_namesake(node))?;
        if outranks(newcomer, old) {
            bucket.remove_if(is_namesake);
            self.upkeep.recheck_pings();
            return None;
        }
        let doubtful = old.state(now) == NodeState::Questionable && old.ping_due() <= now;
        if !doubtful || !newcomer.has_answered() {
            return Some(Insertion::Refused);
        }
        // Moved, or an impostor: the old address is asked first.
        let mut nodes = bucket.nodes_mut().iter_mut();
        let old = nodes.find(|node| is_namesake(node));
        Some(old.map_or(Insertion::Refused, |old| {
            old.on_asked(now);
            Insertion::Challenge(old.contact())
        }))
    }

    /// Gives a node that stands nowhere yet a place, if there is one for it.
    fn insert(&mut self, now: Seconds, mut entry: Entry<LEN>) -> Insertion {
        if self.buckets.is_empty() {
            self.buckets.reserve_exact(1);
            self.buckets.push(Bucket::new(now));
            self.upkeep.on_first_bucket(now);
        }
        let mut at = self.index_of(&entry.id());
        if self.buckets[at].is_closed_to(&entry) || !self.admits_neighbour(&entry) {
            return Insertion::Refused;
        }
        while entry.has_answered()
            && at + 1 == self.buckets.len()
            && at + 1 < MAX_BUCKETS
            && !self.buckets[at].has_room_for(&entry)
        {
            self.split_last();
            at = self.index_of(&entry.id());
        }
        let is_nearest = at + 1 == self.buckets.len() && at + 1 < MAX_BUCKETS;
        let bucket = &mut self.buckets[at];
        // Our neighbourhood has room for everybody who is really there: whoever says so is asked.
        let asks = is_nearest && bucket.is_full() && !entry.has_answered();
        let asks = asks && entry.may_be_asked(now);
        if asks {
            entry.on_asked(now);
        }
        let insertion = bucket.place(now, entry);
        if insertion == Insertion::Added {
            bucket.touch(now);
            self.upkeep.expect_ping(entry.ping_due());
        }
        if insertion == Insertion::Cached && asks {
            return Insertion::Challenge(entry.contact());
        }
        insertion
    }

    /// Whether the subnet of `entry` has fewer than [`MAX_PER_SUBNET`] nodes. A node that has
    /// answered pushes out one that has not.
    fn admits_neighbour(&mut self, entry: &Entry<LEN>) -> bool {
        let neighbours = || self.all().filter(|node| entry.is_neighbour(node));
        if neighbours().count() < MAX_PER_SUBNET {
            return true;
        }
        let Some(weaker) = neighbours().find(|node| outranks(entry, node)).copied() else {
            return false;
        };
        let at = self.index_of(&weaker.id());
        self.buckets[at].remove_if(|node| node.node() == weaker.node());
        self.upkeep.recheck_pings();
        true
    }

    fn split_last(&mut self) {
        let prefix = self.buckets.len() - 1;
        let own = self.own;
        let is_deeper = |node: &Entry<LEN>| node.id().common_prefix(&own) > prefix;
        let deeper = self.buckets[prefix].split(is_deeper);
        self.buckets.reserve_exact(1);
        self.buckets.push(deeper);
        self.upkeep.recheck_pings();
        self.upkeep.recheck_refreshes();
    }

    pub(super) fn on_failure(&mut self, now: Instant, address: &SocketAddr) {
        let seconds = self.clock.seconds(now);
        let Some(bytes) = address_bytes::<LEN>(address) else {
            return;
        };
        let address = &bytes[ID_LEN..];
        if let Some((at, _)) = self.find(address) {
            self.buckets[at].on_failure(seconds, address);
            self.upkeep.recheck_pings();
        }
    }

    pub(super) fn on_silence(&mut self, now: Instant, address: &SocketAddr, sent: Instant) {
        let sent = self.clock.seconds(sent);
        let bytes = address_bytes::<LEN>(address);
        let known = bytes.and_then(|bytes| self.find(&bytes[ID_LEN..]));
        if known.is_some_and(|(_, node)| !node.has_failed_since(sent)) {
            self.on_failure(now, address);
        }
    }

    pub(super) fn remove(&mut self, address: &SocketAddr) {
        let Some(bytes) = address_bytes::<LEN>(address) else {
            return;
        };
        let address = &bytes[ID_LEN..];
        if let Some((at, _)) = self.find(address) {
            self.buckets[at].remove_if(|node| node.address_bytes() == address);
            self.upkeep.recheck_pings();
        }
    }

    /// The bucket of `id`, if there is any.
    fn bucket_of(&self, id: &Id) -> Option<usize> {
        (!self.buckets.is_empty()).then(|| self.index_of(id))
    }

    fn index_of(&self, id: &Id) -> usize {
        id.common_prefix(&self.own).min(self.buckets.len() - 1)
    }

    /// The node at `address` with its bucket, waiting or not.
    fn find(&self, address: &[u8]) -> Option<(usize, &Entry<LEN>)> {
        self.buckets.iter().enumerate().find_map(|(at, bucket)| {
            let mut entries = bucket.nodes().iter().chain(bucket.waiting());
            Some((at, entries.find(|node| node.address_bytes() == address)?))
        })
    }

    /// Every node, waiting or not.
    fn all(&self) -> impl Iterator<Item = &Entry<LEN>> {
        self.buckets
            .iter()
            .flat_map(|bucket| bucket.nodes().iter().chain(bucket.waiting()))
    }

    /// The node at `address` that has a place.
    pub(super) fn placed(&self, address: &SocketAddr) -> Option<&Entry<LEN>> {
        let bytes = address_bytes::<LEN>(address)?;
        self.iter()
            .find(|node| node.address_bytes() == &bytes[ID_LEN..])
    }

    pub(super) fn state(&self, now: Instant, address: &SocketAddr) -> Option<NodeState> {
        let seconds = self.clock.seconds(now);
        self.placed(address).map(|node| node.state(seconds))
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.nodes().len()).sum()
    }

    #[cfg(test)]
    pub(super) fn cached_count(&self) -> usize {
        self.buckets
            .iter()
            .map(|bucket| bucket.waiting().len())
            .sum()
    }

    /// Every node that has a place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<LEN>> {
        self.buckets.iter().flat_map(Bucket::nodes)
    }

    pub(super) fn states(&self, now: Instant) -> impl Iterator<Item = (Contact, NodeState)> {
        let seconds = self.clock.seconds(now);
        self.iter()
            .map(move |node| (node.contact(), node.state(seconds)))
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let buckets = self.buckets.capacity() * size_of::<Bucket<LEN>>();
        buckets + self.buckets.iter().map(Bucket::heap_bytes).sum::<usize>()
    }
}

/// The compact address where a compact node has it; None for the other family.
pub(super) fn address_bytes<const LEN: usize>(address: &SocketAddr) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    write_address(address, &mut bytes[ID_LEN..])?;
    Some(bytes)
}
