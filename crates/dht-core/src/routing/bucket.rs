//! One bucket: its nodes, those that wait for a place, and who gives way to whom.

use std::cmp::Reverse;

use super::entry::{Entry, Seconds};
use super::{EXTENSION_PLACES, Insertion, K, NodeState};

/// Up to [`K`] nodes and up to [`K`] that wait.
#[derive(Debug)]
pub(super) struct Bucket<const LEN: usize> {
    nodes: Vec<Entry<LEN>>,
    waiting: Vec<Entry<LEN>>,
    /// When a node last came or answered here, or a refresh was started.
    touched: Seconds,
    /// Whether nodes were looked for here, rather than met by chance.
    sought: bool,
}

/// Pushes without the reserve that a vector takes by itself.
fn push<const LEN: usize>(entries: &mut Vec<Entry<LEN>>, entry: Entry<LEN>) {
    entries.reserve_exact(1);
    entries.push(entry);
}

impl<const LEN: usize> Bucket<LEN> {
    pub(super) fn new(touched: Seconds) -> Self {
        Self {
            nodes: Vec::new(),
            waiting: Vec::new(),
            touched,
            sought: false,
        }
    }

    pub(super) fn nodes(&self) -> &[Entry<LEN>] {
        &self.nodes
    }

    pub(super) fn nodes_mut(&mut self) -> &mut [Entry<LEN>] {
        &mut self.nodes
    }

    pub(super) fn waiting(&self) -> &[Entry<LEN>] {
        &self.waiting
    }

    pub(super) fn is_full(&self) -> bool {
        self.nodes.len() >= K
    }

    /// Whether there is nothing to win here for a node that has not answered.
    pub(super) fn is_closed_to_untested(&self) -> bool {
        self.is_full() && self.waiting.len() >= K && !self.nodes.iter().any(Entry::is_bad)
    }

    pub(super) fn touched(&self) -> Seconds {
        self.touched
    }

    /// Whether a look-up here should find more: nobody looked yet, and there is room.
    pub(super) fn is_unsought(&self) -> bool {
        !self.sought && !self.is_full()
    }

    pub(super) fn on_sought(&mut self, now: Seconds) {
        self.sought = true;
        self.touched = now;
    }

    pub(super) fn touch(&mut self, now: Seconds) {
        self.touched = now;
    }

    /// All of its nodes, those with a place first.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry<LEN>> {
        self.nodes.into_iter().chain(self.waiting)
    }

    /// Every node for which `leaves` holds, waiting or not; the best of those that wait take the
    /// places. Whether there was any.
    pub(super) fn remove_if(&mut self, leaves: impl Fn(&Entry<LEN>) -> bool) -> bool {
        let before = self.nodes.len() + self.waiting.len();
        self.nodes.retain(|node| !leaves(node));
        self.waiting.retain(|node| !leaves(node));
        let removed = self.nodes.len() + self.waiting.len() < before;
        self.fill();
        removed
    }

    /// The node at `address` that waits, taken out.
    pub(super) fn take_waiting(&mut self, address: &[u8]) -> Option<Entry<LEN>> {
        let at = self
            .waiting
            .iter()
            .position(|node| node.address_bytes() == address)?;
        Some(self.waiting.swap_remove(at))
    }

    /// Whether a node of the subnet of `entry` stands here that `entry` cannot push out.
    pub(super) fn is_closed_to(&self, entry: &Entry<LEN>) -> bool {
        self.neighbour(entry)
            .is_some_and(|at| !outranks(entry, &self.nodes[at]))
    }

    /// Whether `entry` would take an empty place or push out a neighbour.
    pub(super) fn has_room_for(&self, entry: &Entry<LEN>) -> bool {
        !self.is_full() || self.neighbour(entry).is_some()
    }

    fn neighbour(&self, entry: &Entry<LEN>) -> Option<usize> {
        self.nodes.iter().position(|node| entry.is_neighbour(node))
    }

    /// Gives `entry` a place if there is one for it; otherwise it may wait.
    pub(super) fn place(&mut self, now: Seconds, entry: Entry<LEN>) -> Insertion {
        if let Some(at) = self.neighbour(&entry) {
            if !outranks(&entry, &self.nodes[at]) {
                return Insertion::Refused;
            }
            self.nodes[at] = entry;
            return Insertion::Added;
        }
        if !self.is_full() {
            push(&mut self.nodes, entry);
            return Insertion::Added;
        }
        if let Some(at) = self.victim(now, &entry) {
            let old = std::mem::replace(&mut self.nodes[at], entry);
            if !old.is_bad() {
                self.wait(old);
            }
            return Insertion::Added;
        }
        if !self.wait(entry) {
            return Insertion::Refused;
        }
        match self.challenged(now).filter(|_| entry.has_answered()) {
            Some(at) => {
                self.nodes[at].on_asked(now);
                Insertion::Challenge(self.nodes[at].contact())
            }
            None => Insertion::Cached,
        }
    }

    /// Whose place the newcomer takes in a full bucket, if anyone's.
    fn victim(&self, now: Seconds, newcomer: &Entry<LEN>) -> Option<usize> {
        let bad = self.nodes.iter().position(Entry::is_bad);
        if bad.is_some() || !newcomer.has_answered() {
            return bad;
        }
        let untested = self.nodes.iter().position(|node| !node.has_answered());
        if untested.is_some() {
            return untested;
        }
        let willing = self
            .nodes
            .iter()
            .filter(|node| node.has_extension())
            .count();
        let gives_way = |node: &Entry<LEN>| {
            let extends = newcomer.has_extension() && !node.has_extension();
            if extends && willing < EXTENSION_PLACES {
                return true;
            }
            let keeps = node.has_extension() && !newcomer.has_extension();
            let protected = keeps && willing <= EXTENSION_PLACES;
            newcomer.is_secure() && !node.is_secure() && !protected
        };
        // Of those that may give way: the least secure, the longest unheard of, the slowest.
        (0..self.nodes.len())
            .filter(|&at| gives_way(&self.nodes[at]))
            .min_by_key(|&at| {
                let node = &self.nodes[at];
                let good = node.state(now) == NodeState::Good;
                let slowness = Reverse(node.round_trip_or_longest());
                (node.is_secure(), good, node.has_extension(), slowness)
            })
    }

    /// The questionable node that was not heard of for longest, unless one is being pinged.
    fn challenged(&self, now: Seconds) -> Option<usize> {
        (0..self.nodes.len())
            .filter(|&at| {
                let node = &self.nodes[at];
                node.state(now) == NodeState::Questionable && node.ping_due() <= now
            })
            .min_by_key(|&at| self.nodes[at].heard())
    }

    /// Lets `entry` wait for a place; false if others come first.
    fn wait(&mut self, entry: Entry<LEN>) -> bool {
        let neighbour = self
            .waiting
            .iter()
            .position(|node| entry.is_neighbour(node));
        let weakest = || {
            (0..self.waiting.len()).min_by_key(|&at| {
                let node = &self.waiting[at];
                (node.answered(), Reverse(node.round_trip_or_longest()))
            })
        };
        let at = match neighbour {
            Some(at) => at,
            None if self.waiting.len() < K => {
                push(&mut self.waiting, entry);
                return true;
            }
            None => match weakest() {
                Some(at) => at,
                None => return false,
            },
        };
        let old = &mut self.waiting[at];
        let stronger = match neighbour {
            Some(_) => outranks(&entry, old),
            None => entry.answered() > old.answered(),
        };
        if stronger {
            *old = entry;
        }
        stronger
    }

    /// The node at `address` failed. Whether it was here.
    pub(super) fn on_failure(&mut self, now: Seconds, address: &[u8]) -> bool {
        if self.take_waiting(address).is_some() {
            return true;
        }
        let is_there = |node: &Entry<LEN>| node.address_bytes() == address;
        let Some(at) = self.nodes.iter().position(is_there) else {
            return false;
        };
        self.nodes[at].on_failure(now);
        let bad = self.nodes[at].is_bad();
        if bad && (self.nodes[at].is_lost() || self.replacement(Some(at)).is_some()) {
            self.nodes.swap_remove(at);
            self.fill();
        }
        true
    }

    /// Gives free places to those that wait.
    pub(super) fn fill(&mut self) {
        while !self.is_full()
            && let Some(at) = self.replacement(None)
        {
            let entry = self.waiting.swap_remove(at);
            push(&mut self.nodes, entry);
        }
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
    }

    /// The best of those that wait and have no neighbour here, except the one that `leaves`.
    fn replacement(&self, leaves: Option<usize>) -> Option<usize> {
        let willing = self
            .nodes
            .iter()
            .filter(|node| node.has_extension())
            .count();
        let stands_beside = |entry: &Entry<LEN>| {
            let others = self.nodes.iter().enumerate();
            let mut others = others.filter(|(at, _)| Some(*at) != leaves);
            others.any(|(_, node)| entry.is_neighbour(node))
        };
        (0..self.waiting.len())
            .filter(|&at| !stands_beside(&self.waiting[at]))
            .max_by_key(|&at| {
                let node = &self.waiting[at];
                let wanted = node.has_extension() && willing < EXTENSION_PLACES;
                let quickness = Reverse(node.round_trip_or_longest());
                let tested = node.has_answered();
                (tested, wanted, node.is_secure(), node.answered(), quickness)
            })
    }

    /// Moves what belongs deeper than `prefix` common bits, as `is_deeper` says, to a new bucket.
    pub(super) fn split(&mut self, is_deeper: impl Fn(&Entry<LEN>) -> bool) -> Self {
        let mut deeper = Self::new(self.touched);
        let old = std::mem::replace(self, Self::new(self.touched));
        for entry in old.nodes {
            let side = if is_deeper(&entry) {
                &mut deeper
            } else {
                &mut *self
            };
            push(&mut side.nodes, entry);
        }
        for entry in old.waiting {
            let side = if is_deeper(&entry) {
                &mut deeper
            } else {
                &mut *self
            };
            push(&mut side.waiting, entry);
        }
        self.fill();
        deeper.fill();
        deeper
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        (self.nodes.capacity() + self.waiting.capacity()) * size_of::<Entry<LEN>>()
    }
}

/// Whether `newcomer` takes the place of `old` when only one of the two may stay: it has shown
/// that it is there, and `old` has not or is gone.
pub(super) fn outranks<const LEN: usize>(newcomer: &Entry<LEN>, old: &Entry<LEN>) -> bool {
    newcomer.has_answered() && (!old.has_answered() || old.is_bad())
}
