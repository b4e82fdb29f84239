//! The nodes nearest to a target, without sorting the table.

use std::net::SocketAddr;
use std::time::Instant;

use super::bucket::Bucket;
use super::entry::{Entry, Seconds};
use super::table::{Table, address_bytes};
use super::{K, NodeState};
use crate::address::Contact;
use crate::id::{ID_LEN, Id};

/// What answers name: nodes that have answered us.
const FOR_OTHERS: [NodeState; 2] = [NodeState::Good, NodeState::Questionable];

/// What we ask ourselves.
const FOR_US: [NodeState; 3] = [
    NodeState::Good,
    NodeState::Questionable,
    NodeState::Untested,
];

/// A distance in two numbers, which compare faster than bytes.
type Rank = (u128, u32);

fn rank(id: &[u8; ID_LEN], target: &Id) -> Rank {
    let (id_head, id_tail) = halves(id);
    let (target_head, target_tail) = halves(target.as_bytes());
    (id_head ^ target_head, id_tail ^ target_tail)
}

fn halves(id: &[u8; ID_LEN]) -> (u128, u32) {
    let (mut head, mut tail) = ([0; 16], [0; 4]);
    head.copy_from_slice(&id[..16]);
    tail.copy_from_slice(&id[16..]);
    (u128::from_be_bytes(head), u32::from_be_bytes(tail))
}

impl<const LEN: usize> Table<LEN> {
    pub(super) fn closest(&self, now: Instant, target: &Id, out: &mut Vec<Contact>, count: usize) {
        let now = self.clock.seconds(now);
        let wanted = Wanted {
            now,
            target,
            count,
            states: &FOR_US,
        };
        self.nearest(&wanted, |_| true, |node| out.push(node.contact()));
    }

    pub(super) fn closest_extension(
        &self,
        now: Instant,
        target: &Id,
        out: &mut Vec<Contact>,
        count: usize,
    ) {
        let now = self.clock.seconds(now);
        let wanted = Wanted {
            now,
            target,
            count,
            states: &FOR_US,
        };
        self.nearest(&wanted, Entry::has_extension, |node| {
            out.push(node.contact());
        });
    }

    pub(super) fn write_closest(
        &self,
        now: Instant,
        target: &Id,
        out: &mut Vec<u8>,
        count: usize,
        exclude: &SocketAddr,
    ) {
        let now = self.clock.seconds(now);
        let wanted = Wanted {
            now,
            target,
            count,
            states: &FOR_OTHERS,
        };
        let asker = address_bytes::<LEN>(exclude);
        let is_asker =
            |node: &Entry<LEN>| asker.is_some_and(|asker| node.address_bytes() == &asker[ID_LEN..]);
        self.nearest(
            &wanted,
            |node| !is_asker(node),
            |node| out.extend_from_slice(node.node()),
        );
    }

    /// Hands up to `wanted.count` nodes that `fits` to `take`: state by state, within a state
    /// nearest first.
    fn nearest(
        &self,
        wanted: &Wanted<'_>,
        fits: impl Fn(&Entry<LEN>) -> bool,
        mut take: impl FnMut(&Entry<LEN>),
    ) {
        let mut left = wanted.count;
        for &state in wanted.states {
            for bucket in self.outward(wanted.target) {
                if left == 0 {
                    return;
                }
                let mut found: [(Rank, usize); K] = [((0, 0), 0); K];
                let mut len = 0;
                for (at, node) in bucket.nodes().iter().enumerate() {
                    if node.state(wanted.now) == state && fits(node) {
                        found[len] = (rank(node.id_bytes(), wanted.target), at);
                        len += 1;
                    }
                }
                let found = &mut found[..len];
                found.sort_unstable();
                for &(_, at) in found.iter().take(left) {
                    take(&bucket.nodes()[at]);
                }
                left = left.saturating_sub(len);
            }
        }
    }

    /// The buckets by their distance from `target`. Every node of one is nearer than every node of
    /// the next: where `target` and our id differ in bit `n`, bucket `n` has the target's bit and
    /// all deeper ones have ours; where they agree, it is the other way round.
    fn outward(&self, target: &Id) -> impl Iterator<Item = &Bucket<LEN>> {
        let distance = self.own.distance(target);
        let differs = move |bit: usize| distance.as_bytes()[bit / 8] & (0x80 >> (bit % 8)) != 0;
        let last = self.buckets.len().saturating_sub(1);
        let inward = (0..last).filter(move |&bit| differs(bit));
        let outward = (0..last).rev().filter(move |&bit| !differs(bit));
        let middle = self.buckets.last();
        let before = inward.map(|at| &self.buckets[at]);
        let after = outward.map(|at| &self.buckets[at]);
        before.chain(middle).chain(after)
    }

    /// Distances from our id of nodes that have answered and are not bad, from the deep end on, as
    /// shares of the key space: whole buckets, until there are `enough`.
    pub(super) fn near_shares(&self, now: Instant, enough: usize) -> Vec<f64> {
        let now = self.clock.seconds(now);
        let mut shares = Vec::new();
        for bucket in self.buckets.iter().rev() {
            if shares.len() >= enough {
                break;
            }
            let living = bucket.nodes().iter();
            let living = living.filter(|node| FOR_OTHERS.contains(&node.state(now)));
            shares.extend(living.map(|node| node.id().distance(&self.own).as_share()));
        }
        shares.sort_unstable_by(f64::total_cmp);
        shares
    }
}

/// What a search wants.
struct Wanted<'a> {
    now: Seconds,
    target: &'a Id,
    count: usize,
    states: &'a [NodeState],
}
