//! A node in a lookup.

use super::K;
use crate::address::{Contact, Subnet, is_local};
use crate::id::Distance;

/// How far the asking of a candidate has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Known by name.
    Unasked,
    /// Asked; its answer may come any moment.
    Asked,
    /// Asked; it takes longer than expected, so somebody else is asked meanwhile.
    Overdue,
    /// Asked; the lookup no longer waits for it.
    GivenUp,
    /// It answered.
    Answered,
    /// It refused, or its query expired.
    Failed,
}

impl State {
    /// Whether it may still be among the nearest that answer.
    pub(crate) const fn is_live(self) -> bool {
        !matches!(self, Self::GivenUp | Self::Failed)
    }
}

/// The order of candidates: those with a secure id first, then by distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) insecure: bool,
    pub(crate) distance: Distance,
}

/// A node that a lookup knows of.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) contact: Contact,
    pub(crate) place: Place,
    pub(crate) state: State,
    /// The write token that came with its answer.
    pub(crate) token: Option<Box<[u8]>>,
    /// The paths that were told of it, a bit for each.
    pub(crate) paths: u8,
    /// The path that asked it.
    pub(crate) asked_on: u8,
    /// Nodes between the first candidates and this one.
    pub(crate) hop: u8,
}

impl Candidate {
    /// Whether its id is known.
    pub(crate) fn is_known(&self) -> bool {
        self.place.distance != Distance::MAX
    }
}

/// Places for nodes that are much nearer than the size of the network explains.
const MAX_DEEP: usize = K / 2;

/// Gives out the [`K`] places near the target, nearest candidate first.
#[derive(Debug)]
pub(crate) struct Places {
    taken: [usize; K],
    subnets: [Option<Subnet>; K],
    count: usize,
    /// Nodes sharing at least this many bits with the target are unexpectedly near.
    deep: Option<usize>,
    deep_taken: usize,
}

impl Places {
    pub(crate) const fn new(deep: Option<usize>) -> Self {
        Self {
            taken: [0; K],
            subnets: [None; K],
            count: 0,
            deep,
            deep_taken: 0,
        }
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.count == K
    }

    /// Gives the candidate at `at` a place if there is one and the rules allow it.
    pub(crate) fn admit(&mut self, at: usize, candidate: &Candidate) -> bool {
        let ip = candidate.contact.address.ip();
        let subnet = (!is_local(ip)).then(|| Subnet::of(ip));
        if subnet.is_some() && self.subnets[..self.count].contains(&subnet) {
            return false;
        }
        let shared = candidate.place.distance.leading_zeros();
        if self.deep.is_some_and(|deep| shared >= deep) {
            if self.deep_taken == MAX_DEEP {
                return false;
            }
            self.deep_taken += 1;
        }
        if !self.is_full() {
            self.subnets[self.count] = subnet;
        }
        self.take(at);
        true
    }

    /// Gives a place whatever the rules say, if there is one.
    pub(crate) fn take(&mut self, at: usize) {
        if !self.is_full() {
            self.taken[self.count] = at;
            self.count += 1;
        }
    }

    /// The candidates that got a place.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = usize> {
        self.taken.into_iter().take(self.count)
    }
}
