//! An iterative lookup: whom to ask next, and when the answer is known.
//!
//! The lookup keeps candidates in order of distance and runs along disjoint paths (S/Kademlia):
//! what a node tells is followed only on the path that asked it, so one liar spoils one path. A
//! path is through when its nearest [`K`] candidates have answered; the lookup is decided when
//! every path is. Nodes that are silent stop counting long before they are forgotten.
//!
//! Three kinds of candidates cannot take all the places near a target: nodes whose id does not
//! follow from their address (BEP 42) come after all others, a network (/24, /64) has one place,
//! and a region that should be empty, judged by the size of the network, has half of them.

mod candidate;

use std::net::SocketAddr;

use self::candidate::{Candidate, Place, Places, State};
use crate::address::Contact;
use crate::id::{Distance, Id};
use crate::secure_id::is_secure;

/// Nodes that hold a key, and entries of a bucket (BEP 5).
pub(crate) const K: usize = 8;

/// Disjoint paths. Two double the messages of the last steps only, and a third adds as much again
/// for less.
pub(crate) const PATHS: usize = 2;

/// Queries that a path may wait for at once, without those that are overdue.
const MAX_PARALLEL: usize = 3;

/// Candidates that a path remembers: its nearest [`K`], several times over. Each path has its own,
/// so that one that was told of many nearer nodes does not push out what the other knows.
pub(crate) const MAX_CANDIDATES: usize = 48;

/// Nodes taken from one answer. [`K`] of each family are normal, some nodes give twice that.
pub(crate) const MAX_TOLD: usize = 2 * K;

/// Queries that a lookup may make; an honest one needs a few dozen.
pub(crate) const MAX_QUERIES: u16 = 256;

/// Bits beyond the logarithm of the network's size from which on nodes are unexpectedly near:
/// there should be one node in 16 lookups.
const DEEP_BITS: u32 = 4;

/// Networks smaller than this are too small for an estimate.
const MIN_ESTIMATE: u64 = 128;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The network, step by step.
    Network,
    /// The first candidates and nobody else.
    Given,
}

/// A node to be asked, its id only if known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) address: SocketAddr,
    pub(crate) id: Option<Id>,
}

/// The state of one lookup in one family.
#[derive(Debug)]
pub(crate) struct Lookup {
    target: Id,
    reach: Reach,
    /// Nearest first.
    candidates: Vec<Candidate>,
    /// Nodes sharing at least this many bits with the target are unexpectedly near.
    deep: Option<usize>,
    /// The path whose turn it is.
    turn: usize,
    /// [`PATHS`], and one for an outsider.
    paths: usize,
    queries: u16,
    hops: u8,
}

impl Lookup {
    /// A lookup of `target` in a network of about `network_size` nodes.
    pub(crate) fn new(target: Id, reach: Reach, network_size: u64) -> Self {
        let deep =
            (network_size >= MIN_ESTIMATE).then(|| (network_size.ilog2() + DEEP_BITS) as usize);
        Self {
            target,
            reach,
            candidates: Vec::new(),
            deep,
            turn: 0,
            paths: PATHS,
            queries: 0,
            hops: 0,
        }
    }

    pub(crate) fn target(&self) -> Id {
        self.target
    }

    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    /// Queries made so far.
    pub(crate) fn queries(&self) -> u16 {
        self.queries
    }

    /// The longest chain of nodes that told of each other, up to one that answered.
    pub(crate) fn hops(&self) -> u8 {
        self.hops
    }

    /// Adds a node that is known before anybody was asked. The paths take turns.
    pub(crate) fn add_seed(&mut self, contact: Contact) {
        let path = self.candidates.len() % PATHS;
        self.insert(contact, Some(contact.id), 1 << path, 0);
    }

    /// Adds a node with a path of its own: it is asked, and those of whom it tells, however near
    /// the nodes of the own table are.
    pub(crate) fn add_outsider(&mut self, address: SocketAddr, id: Option<Id>) {
        self.paths = PATHS + 1;
        let contact = Contact::new(id.unwrap_or_default(), address);
        self.insert(contact, id, 1 << PATHS, 0);
    }

    /// Adds an address whose id is not known.
    pub(crate) fn add_address(&mut self, address: SocketAddr) {
        let path = self.candidates.len() % PATHS;
        self.insert(Contact::new(Id::default(), address), None, 1 << path, 0);
    }

    /// Whether somebody is there to be asked, or was.
    pub(crate) fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The node to be asked now, counted as asked from here on.
    pub(crate) fn poll_query(&mut self) -> Option<Asked> {
        if self.queries >= MAX_QUERIES {
            return None;
        }
        for _ in 0..self.paths {
            let path = self.turn;
            self.turn = (path + 1) % self.paths;
            let Some(at) = self.next_on(path) else {
                continue;
            };
            let candidate = &mut self.candidates[at];
            candidate.state = State::Asked;
            candidate.asked_on = path as u8;
            self.queries += 1;
            return Some(Asked {
                address: candidate.contact.address,
                id: candidate.is_known().then_some(candidate.contact.id),
            });
        }
        None
    }

    fn next_on(&self, path: usize) -> Option<usize> {
        let waiting = |candidate: &&Candidate| {
            candidate.state == State::Asked && usize::from(candidate.asked_on) == path
        };
        if self.candidates.iter().filter(waiting).count() >= MAX_PARALLEL {
            return None;
        }
        // What is overdue may still be of the nearest, but is more likely dead: whoever would take
        // its place is asked meanwhile.
        self.nearest(move |candidate| {
            candidate.paths & (1 << path) != 0
                && candidate.state.is_live()
                && candidate.state != State::Overdue
        })
        .find(|&at| self.candidates[at].state == State::Unasked)
    }

    /// The nearest [`K`] candidates of a path that may still hold the answer.
    fn window(&self, path: usize) -> impl Iterator<Item = usize> {
        self.nearest(move |candidate| {
            candidate.paths & (1 << path) != 0 && candidate.state.is_live()
        })
    }

    /// The nearest [`K`] of the candidates that `eligible` lets through, after the rules about
    /// networks and unexpected nearness. Where too few are left, as in a small network, those
    /// that the rules held back follow.
    fn nearest(&self, eligible: impl Fn(&Candidate) -> bool) -> impl Iterator<Item = usize> {
        let mut places = Places::new(self.deep);
        let mut held_back = [None; K];
        let mut waiting = 0;
        for (at, candidate) in self.candidates.iter().enumerate() {
            if places.is_full() {
                break;
            }
            if !eligible(candidate) {
                continue;
            }
            if !places.admit(at, candidate) && waiting < K {
                held_back[waiting] = Some(at);
                waiting += 1;
            }
        }
        for at in held_back.into_iter().flatten() {
            places.take(at);
        }
        places.into_iter()
    }

    /// A node answered as `sender` and told of `nodes`.
    pub(crate) fn on_answer(
        &mut self,
        address: SocketAddr,
        sender: Id,
        token: Option<&[u8]>,
        nodes: impl Iterator<Item = Contact>,
    ) {
        let Some(at) = self.position(address) else {
            return;
        };
        let mut candidate = self.candidates.remove(at);
        candidate.contact.id = sender;
        candidate.place = self.place_of(&candidate.contact, true);
        candidate.state = State::Answered;
        candidate.token = token.map(Into::into);
        let (path, hop) = (candidate.asked_on, candidate.hop);
        self.hops = self.hops.max(hop.saturating_add(1));
        self.insert_candidate(candidate);
        if self.reach == Reach::Given {
            return;
        }
        for (turn, contact) in nodes.take(MAX_TOLD).enumerate() {
            // A path on which nobody is left takes part in what the others find.
            let mut paths = 1 << path;
            for idle in 0..self.paths {
                if idle != usize::from(path) && turn % PATHS == 1 && !self.is_alive(idle) {
                    paths = 1 << idle;
                }
            }
            self.insert(contact, Some(contact.id), paths, hop.saturating_add(1));
        }
    }

    fn is_alive(&self, path: usize) -> bool {
        self.candidates
            .iter()
            .any(|candidate| candidate.paths & (1 << path) != 0 && candidate.state.is_live())
    }

    /// A query has waited for long.
    pub(crate) fn on_overdue(&mut self, address: SocketAddr) {
        self.change(address, State::Asked, State::Overdue);
    }

    /// A query has waited for too long to hold up the lookup. Where one node alone is asked,
    /// nothing is held up: there is no other answer.
    pub(crate) fn on_given_up(&mut self, address: SocketAddr) {
        if self.reach == Reach::Given {
            return;
        }
        self.change(address, State::Asked, State::GivenUp);
        self.change(address, State::Overdue, State::GivenUp);
    }

    /// A node refused, answered nonsense, or its query expired.
    pub(crate) fn on_failure(&mut self, address: SocketAddr) {
        if let Some(at) = self.position(address) {
            self.candidates[at].state = State::Failed;
        }
    }

    fn change(&mut self, address: SocketAddr, from: State, to: State) {
        if let Some(at) = self.position(address)
            && self.candidates[at].state == from
        {
            self.candidates[at].state = to;
        }
    }

    /// Whether the nearest nodes of every path have answered.
    pub(crate) fn is_decided(&self) -> bool {
        let exhausted = self.queries >= MAX_QUERIES;
        (0..self.paths).all(|path| {
            self.window(path).all(|at| match self.candidates[at].state {
                State::Unasked => exhausted,
                State::Asked | State::Overdue => false,
                State::Answered | State::GivenUp | State::Failed => true,
            })
        })
    }

    /// Those of the nearest that were given up and may still answer.
    pub(crate) fn stragglers(&self) -> usize {
        self.nearest(|candidate| candidate.state != State::Failed)
            .filter(|&at| self.candidates[at].state == State::GivenUp)
            .count()
    }

    /// The nearest nodes that answered, at most [`K`], nearest first, with their write tokens.
    pub(crate) fn closest(&self) -> impl Iterator<Item = (Contact, Option<&[u8]>)> {
        self.nearest(|candidate| candidate.state == State::Answered)
            .map(|at| &self.candidates[at])
            .map(|candidate| (candidate.contact, candidate.token.as_deref()))
    }

    /// Whether this node asked `address`, or was told of it.
    pub(crate) fn position(&self, address: SocketAddr) -> Option<usize> {
        self.candidates
            .iter()
            .position(|candidate| candidate.contact.address == address)
    }

    fn place_of(&self, contact: &Contact, is_known: bool) -> Place {
        if !is_known {
            return Place {
                insecure: true,
                distance: Distance::MAX,
            };
        }
        Place {
            insecure: !is_secure(&contact.id, contact.address.ip()),
            distance: contact.id.distance(&self.target),
        }
    }

    fn insert(&mut self, contact: Contact, id: Option<Id>, paths: u8, hop: u8) {
        if let Some(at) = self.position(contact.address) {
            self.candidates[at].paths |= paths;
        } else {
            let place = self.place_of(&contact, id.is_some());
            self.insert_candidate(Candidate {
                contact,
                place,
                state: State::Unasked,
                token: None,
                paths,
                asked_on: 0,
                hop,
            });
        }
        for path in (0..self.paths).filter(|path| paths & (1 << path) != 0) {
            self.bound(path);
        }
    }

    fn insert_candidate(&mut self, candidate: Candidate) {
        let at = self
            .candidates
            .partition_point(|other| other.place <= candidate.place);
        self.candidates.insert(at, candidate);
    }

    /// The farthest candidate of a full path that nobody waits for makes room.
    fn bound(&mut self, path: usize) {
        let is_on = |candidate: &Candidate| candidate.paths & (1 << path) != 0;
        if self.candidates.iter().filter(|each| is_on(each)).count() <= MAX_CANDIDATES {
            return;
        }
        let is_idle =
            |candidate: &Candidate| !matches!(candidate.state, State::Asked | State::Overdue);
        let last = |candidate: &Candidate| is_on(candidate) && is_idle(candidate);
        if let Some(at) = self.candidates.iter().rposition(last) {
            self.candidates[at].paths &= !(1 << path);
            if self.candidates[at].paths == 0 {
                self.candidates.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
