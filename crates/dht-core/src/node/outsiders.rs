//! The way back into a network that fell apart.
//!
//! Nodes whose table holds each other only are an island: every lookup is through, and finds
//! nobody else. A partition makes two, and so does one lost datagram, when a node that could not
//! reach its own helper is another's. So a node now and then looks for its own id through an
//! *outsider*: a node that is not, or no longer, in its table, which is a bootstrap node, a
//! saved one, or one that it lost and that answers again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Node;
use super::upkeep::Helper;
use super::wire::Purpose;
use crate::address::{Contact, Family};
use crate::krpc::Method;
use crate::lookup::{Asked, Lookup};

/// Lost nodes that are remembered, the oldest making room: in a partition half of them are alive,
/// and one is enough.
const MAX_LOST: usize = 8;

/// Between two pings of lost nodes: all are asked within ten minutes.
const ASK_INTERVAL: Duration = Duration::from_secs(60);

/// Between two lookups because a lost node answered: single nodes come back all the time.
const REUNION_PAUSE: Duration = Duration::from_secs(5 * 60);

/// Outsiders of both families.
#[derive(Debug, Default)]
pub(super) struct Outsiders {
    lost: VecDeque<Contact>,
    ask_at: Option<Instant>,
    /// Through whom the next lookup for the own id begins.
    via: [Option<Helper>; 2],
    reunited: [Option<Instant>; 2],
    turn: usize,
}

impl Outsiders {
    /// A node that answered before is silent.
    fn on_loss(&mut self, now: Instant, contact: Contact) {
        if self.lost.iter().any(|lost| lost.address == contact.address) {
            return;
        }
        if self.lost.len() >= MAX_LOST {
            self.lost.pop_front();
        } else {
            self.lost.reserve_exact(1);
        }
        self.lost.push_back(contact);
        self.ask_at.get_or_insert(now + ASK_INTERVAL);
    }

    /// When a lost node is asked next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ask_at
    }

    /// Lets a lookup for the own id begin with the outsider too, on a path that nobody else has.
    pub(super) fn open_path(&self, family: Family, lookup: &mut Lookup) {
        if let Some(via) = self.via[family.index()] {
            lookup.add_outsider(via.address, via.id);
        }
    }
}

impl Node {
    /// A query to this node, which answered earlier ones, ran out of time.
    pub(super) fn on_lost(&mut self, now: Instant, contact: Contact) {
        let side = self.side(Family::of(&contact.address));
        if side.is_some_and(|side| !side.table.is_living(now, &contact.address)) {
            self.upkeep.outsiders.on_loss(now, contact);
        }
    }

    /// Asks one of those that were lost, in turn.
    pub(super) fn ask_the_lost(&mut self, now: Instant) {
        if self.upkeep.outsiders.ask_at.is_none_or(|at| at > now) {
            return;
        }
        while let Some(contact) = self.upkeep.outsiders.lost.pop_front() {
            let side = self.side(Family::of(&contact.address));
            if side.is_none_or(|side| side.table.is_living(now, &contact.address)) {
                continue;
            }
            self.upkeep.outsiders.lost.push_back(contact);
            let asked = Asked {
                address: contact.address,
                id: Some(contact.id),
            };
            self.ask(now, asked, Method::Ping, Purpose::Upkeep);
            break;
        }
        let outsiders = &mut self.upkeep.outsiders;
        outsiders.ask_at = (!outsiders.lost.is_empty()).then(|| now + ASK_INTERVAL);
    }

    /// A ping was answered: perhaps by one that was lost.
    pub(super) fn on_back(&mut self, now: Instant, contact: Contact) {
        let outsiders = &mut self.upkeep.outsiders;
        let mut lost = outsiders.lost.iter();
        let Some(at) = lost.position(|lost| lost.address == contact.address) else {
            return;
        };
        outsiders.lost.remove(at);
        let index = Family::of(&contact.address).index();
        let is_early = |last: Instant| now.saturating_duration_since(last) < REUNION_PAUSE;
        if outsiders.reunited[index].is_some_and(is_early) {
            return;
        }
        outsiders.reunited[index] = Some(now);
        outsiders.via[index] = Some(Helper {
            address: contact.address,
            id: Some(contact.id),
        });
        self.upkeep.look_around(now, Family::of(&contact.address));
    }

    /// Before a lookup for the own id: whom to begin with besides the own table.
    pub(super) fn choose_outsider(&mut self, now: Instant, family: Family) {
        if self.upkeep.outsiders.via[family.index()].is_some() {
            return;
        }
        let Some(side) = self.side(family) else {
            return;
        };
        let is_outside = |helper: &&Helper| {
            Family::of(&helper.address) == family && !side.table.is_living(now, &helper.address)
        };
        let outside = || self.upkeep.known_helpers().filter(is_outside);
        let turn = self.upkeep.outsiders.turn % outside().count().max(1);
        let chosen = outside().nth(turn).copied();
        let outsiders = &mut self.upkeep.outsiders;
        outsiders.turn = turn + 1;
        outsiders.via[family.index()] = chosen;
    }

    /// The lookup has begun.
    pub(super) fn forget_outsider(&mut self, family: Family) {
        self.upkeep.outsiders.via[family.index()] = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use super::*;
    use crate::id::Id;

    fn contact(n: u16) -> Contact {
        let address = std::net::SocketAddr::from(([11, 0, n as u8, 1], 6881));
        Contact::new(Id::hash_of(&n.to_be_bytes()), address)
    }

    #[test]
    fn the_last_eight_lost_nodes_are_remembered_each_once() {
        let now = Instant::now();
        let mut outsiders = Outsiders::default();
        assert_eq!(outsiders.poll_timeout(), None);
        for n in 0..MAX_LOST as u16 {
            outsiders.on_loss(now, contact(n));
            outsiders.on_loss(now, contact(n));
        }
        assert_eq!(outsiders.lost.len(), MAX_LOST);
        assert_eq!(outsiders.lost[0], contact(0));
        outsiders.on_loss(now, contact(MAX_LOST as u16));
        assert_eq!(outsiders.lost.len(), MAX_LOST);
        assert_eq!(outsiders.lost[0], contact(1));
        assert_eq!(outsiders.poll_timeout(), Some(now + ASK_INTERVAL));
    }
}
