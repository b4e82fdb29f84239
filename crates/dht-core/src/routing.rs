//! The routing table (BEP 5): the nodes that we know, in buckets by distance from our own id.
//!
//! - Bucket `n` holds up to [`K`] nodes that share exactly `n` leading bits with our id; the last
//!   bucket holds all that share more. Only that one splits.
//! - Each bucket has a replacement cache of [`K`] nodes that wait for a place.
//! - A node is *good* when it answered within 15 minutes, or ever answered and asked us within 15
//!   minutes; *bad* after two failures in a row; *untested* until it answers once; otherwise
//!   *questionable*.
//! - Good nodes are never pushed out by newcomers, with two exceptions: a node whose id fits its
//!   address (BEP 42) may take the place of one whose id does not, and nodes with our extension
//!   may win [`EXTENSION_PLACES`] places of a bucket, so that they know each other in a network of
//!   strangers.
//! - One party gets few places: one node per [`Subnet`](crate::address::Subnet) in a bucket and in
//!   a cache, [`MAX_PER_SUBNET`] in the table, one id per address, one address per id. What anyone
//!   can forge (a query's source, an address told by others) never replaces a node that answered.
//!
//! **Invariant:** a node that has never answered is not handed to others.

mod bucket;
mod closest;
mod entry;
mod table;
mod upkeep;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;

use self::table::Table;
use crate::address::{Contact, Family};
use crate::id::{ID_BITS, Id};
use crate::krpc::compact_node_len;

/// Nodes in a bucket, and nodes in an answer (BEP 5).
pub(crate) const K: usize = 8;

/// Nodes of one subnet in the whole table. Half of a bucket: one network neither surrounds us nor
/// is shut out when it is large.
pub(crate) const MAX_PER_SUBNET: usize = 4;

/// Places of a bucket that nodes with our extension may win from nodes without. The other half
/// stays with the wide network, which every look-up for its content needs.
pub(crate) const EXTENSION_PLACES: usize = 4;

/// Buckets: one for each length of a common prefix.
pub(crate) const MAX_BUCKETS: usize = ID_BITS;

const V4_LEN: usize = compact_node_len(Family::V4);
const V6_LEN: usize = compact_node_len(Family::V6);

/// What we learnt about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traits {
    /// Whether it speaks our value layer.
    pub(crate) extension: bool,
}

/// How we came across a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It answered a query of ours.
    Answered {
        /// From the query to the answer.
        round_trip: Duration,
    },
    /// It asked us. The source may be forged.
    Queried,
    /// Another node told us of it.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "such nodes are asked before they are taken; the rule is tested"
        )
    )]
    Told,
}

/// What became of an observed node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// It has a place now.
    Added,
    /// It was there already, with a place or waiting for one.
    Known,
    /// It waits for a place.
    Cached,
    /// It was not taken.
    Refused,
    /// It waits; this node should be pinged: a questionable one, whose place the newcomer takes if
    /// that fails, or the newcomer itself, which gets a place by answering.
    Challenge(Contact),
}

/// How well a node is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeState {
    /// Answered within 15 minutes, or has ever answered and asked us within 15 minutes; and did
    /// not fail since.
    Good,
    /// Has answered, but not lately, or failed once since.
    Questionable,
    /// Has never answered.
    Untested,
    /// Failed twice in a row.
    Bad,
}

/// The nodes of one family.
#[derive(Debug)]
pub(crate) struct RoutingTable {
    #[cfg(test)]
    family: Family,
    nodes: Nodes,
}

/// Addresses take the bytes of their family.
#[derive(Debug)]
enum Nodes {
    V4(Table<V4_LEN>),
    V6(Table<V6_LEN>),
}

/// Evaluates an expression on the table of either family.
macro_rules! on_table {
    ($table:expr, $nodes:ident => $body:expr) => {
        match $table {
            Nodes::V4($nodes) => $body,
            Nodes::V6($nodes) => $body,
        }
    };
}

impl RoutingTable {
    /// An empty table around `own`. Allocates nothing until the first node.
    pub(crate) fn new(own: Id, family: Family, now: Instant) -> Self {
        let nodes = match family {
            Family::V4 => Nodes::V4(Table::new(own, now)),
            Family::V6 => Nodes::V6(Table::new(own, now)),
        };
        Self {
            #[cfg(test)]
            family,
            nodes,
        }
    }

    /// The family of every node in it.
    #[cfg(test)]
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// The id that it is arranged around.
    pub(crate) fn own_id(&self) -> Id {
        on_table!(&self.nodes, nodes => nodes.own_id())
    }

    /// Arranges the table around another id and keeps the nodes that still fit.
    pub(crate) fn set_own_id(&mut self, now: Instant, own: Id) {
        on_table!(&mut self.nodes, nodes => nodes.set_own_id(now, own));
    }

    /// Takes note of a node.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        contact: Contact,
        traits: Traits,
        seen: Seen,
    ) -> Insertion {
        on_table!(&mut self.nodes, nodes => nodes.observe(now, contact, traits, seen))
    }

    /// A query to `contact` that was `sent` then timed out. Those that were under way together
    /// count as one failure.
    pub(crate) fn on_silence(&mut self, now: Instant, contact: &Contact, sent: Instant) {
        on_table!(&mut self.nodes, nodes => nodes.on_silence(now, &contact.address, sent));
    }

    /// `contact` is not there. What counts is the address: whoever was expected there.
    pub(crate) fn on_failure(&mut self, now: Instant, contact: &Contact) {
        on_table!(&mut self.nodes, nodes => nodes.on_failure(now, &contact.address));
    }

    /// Forgets the node at `address`.
    pub(crate) fn remove(&mut self, address: &SocketAddr) {
        on_table!(&mut self.nodes, nodes => nodes.remove(address));
    }

    /// Appends up to `count` nodes to `out`: the good ones nearest to `target`, nearest first;
    /// where these are too few, questionable ones, then untested ones. Bad ones never.
    pub(crate) fn closest(&self, now: Instant, target: &Id, out: &mut Vec<Contact>, count: usize) {
        on_table!(&self.nodes, nodes => nodes.closest(now, target, out, count));
    }

    /// As [`closest`](Self::closest), only nodes that speak our value layer.
    pub(crate) fn closest_extension(
        &self,
        now: Instant,
        target: &Id,
        out: &mut Vec<Contact>,
        count: usize,
    ) {
        on_table!(&self.nodes, nodes => nodes.closest_extension(now, target, out, count));
    }

    /// Appends up to `count` compact nodes for an answer (BEP 5, BEP 32): the nearest good ones,
    /// then questionable ones. Untested and bad ones and the asker itself, `exclude`, are left out.
    pub(crate) fn write_closest(
        &self,
        now: Instant,
        target: &Id,
        out: &mut Vec<u8>,
        count: usize,
        exclude: &SocketAddr,
    ) {
        on_table!(&self.nodes, nodes => nodes.write_closest(now, target, out, count, exclude));
    }

    /// The smoothed round trip to a node that has answered.
    pub(crate) fn round_trip(&self, contact: &Contact) -> Option<Duration> {
        on_table!(&self.nodes, nodes => nodes.placed(&contact.address)?.round_trip())
    }

    /// What we learnt about the node at `address`.
    pub(crate) fn traits(&self, address: &SocketAddr) -> Option<Traits> {
        on_table!(&self.nodes, nodes => nodes.placed(address).map(|node| node.traits()))
    }

    /// Whether the node at `address` has a place.
    pub(crate) fn contains(&self, address: &SocketAddr) -> bool {
        on_table!(&self.nodes, nodes => nodes.placed(address).is_some())
    }

    /// Whether the node at `address` has a place and is not bad.
    pub(crate) fn is_living(&self, now: Instant, address: &SocketAddr) -> bool {
        let state = on_table!(&self.nodes, nodes => nodes.state(now, address));
        state.is_some_and(|state| state != NodeState::Bad)
    }

    /// Whether the node at `address` has a place and is good.
    #[cfg(test)]
    pub(crate) fn is_good(&self, now: Instant, address: &SocketAddr) -> bool {
        on_table!(&self.nodes, nodes => nodes.state(now, address) == Some(NodeState::Good))
    }

    /// Nodes that have a place.
    pub(crate) fn len(&self) -> usize {
        on_table!(&self.nodes, nodes => nodes.len())
    }

    /// Whether no node has a place.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a node has a place that is not bad.
    pub(crate) fn has_living(&self, now: Instant) -> bool {
        self.iter(now).any(|(_, state)| state != NodeState::Bad)
    }

    /// Nodes that wait for a place.
    #[cfg(test)]
    pub(crate) fn cached_count(&self) -> usize {
        on_table!(&self.nodes, nodes => nodes.cached_count())
    }

    /// Good nodes.
    #[cfg(test)]
    pub(crate) fn good_count(&self, now: Instant) -> usize {
        self.iter(now)
            .filter(|(_, state)| *state == NodeState::Good)
            .count()
    }

    /// Nodes with a place that speak our value layer.
    pub(crate) fn extension_count(&self) -> usize {
        on_table!(&self.nodes, nodes => nodes.iter().filter(|node| node.has_extension()).count())
    }

    /// Every node that has a place, the far buckets first.
    pub(crate) fn iter(&self, now: Instant) -> impl Iterator<Item = (Contact, NodeState)> + '_ {
        let (v4, v6) = match &self.nodes {
            Nodes::V4(nodes) => (Some(nodes.states(now)), None),
            Nodes::V6(nodes) => (None, Some(nodes.states(now))),
        };
        let v4 = v4.into_iter().flatten();
        v4.chain(v6.into_iter().flatten())
    }

    /// A random target in the bucket that went longest without a change, when that is 15 minutes
    /// or more (BEP 5). The bucket then counts as touched; buckets come one at a time, paced.
    pub(crate) fn refresh_due(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Id> {
        on_table!(&mut self.nodes, nodes => nodes.refresh_due(now, rng))
    }

    /// The next node worth a ping, longest unheard first. It then counts as asked and does not
    /// come again before its outcome or a pause; nodes come one at a time, paced.
    pub(crate) fn questionable(&mut self, now: Instant) -> Option<Contact> {
        on_table!(&mut self.nodes, nodes => nodes.questionable(now))
    }

    /// When [`refresh_due`](Self::refresh_due) or [`questionable`](Self::questionable) should be
    /// asked again. Constant time.
    pub(crate) fn next_due(&self, now: Instant) -> Instant {
        on_table!(&self.nodes, nodes => nodes.next_due(now))
    }

    /// Nodes in the network, ourselves included, judged by how densely those nearest to our id
    /// stand. Good for orders of magnitude.
    pub(crate) fn estimated_size(&self, now: Instant) -> u64 {
        on_table!(&self.nodes, nodes => nodes.estimated_size(now))
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        on_table!(&self.nodes, nodes => nodes.heap_bytes())
    }
}

#[cfg(test)]
mod tests;
