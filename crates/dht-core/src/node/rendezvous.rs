//! How nodes with the value layer find each other among many that do not speak it.
//!
//! They announce themselves as peers of one well-known info hash, which any Mainline node keeps,
//! and who knows few of them looks there. After that they meet more of them in lookups of the
//! value layer, beginning with one for their own neighbourhood.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::operation::Task;
use super::operations::Scope;
use super::wire::Purpose;
use super::{Node, OperationId};
use crate::address::{Contact, Family};
use crate::id::Id;
use crate::krpc::Method;
use crate::lookup::Asked;

/// What the info hash of the meeting place is the SHA-1 of: the value layer and its version.
const MEETING_PLACE: &[u8] = b"dhtnet extension 1";

/// Who knows fewer nodes with the value layer looks for more: half of what a key needs.
const FEW: usize = 4;

/// Between two announcements: peers are forgotten after half an hour.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Between two looks of a node that knows few.
const LOOK_INTERVAL: Duration = Duration::from_secs(2 * 60);

/// Between the last ping of a visit and the lookups through those that answered it.
const ANSWERS_TAKE: Duration = Duration::from_secs(2);

/// Peers of one look that are asked whether they are there; more of them know each other anyway.
const MAX_MET: usize = 16;

/// When to go there, and whom to ask.
#[derive(Debug, Default)]
pub(super) struct Rendezvous {
    due: Option<Instant>,
    announced: Option<Instant>,
    running: Option<OperationId>,
    met: Vec<SocketAddr>,
    /// When those that were met have answered, if they do.
    acquainted: Option<Instant>,
}

impl Rendezvous {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.due, self.acquainted].into_iter().flatten().min()
    }

    /// A family is ready.
    pub(super) fn on_ready(&mut self, now: Instant) {
        self.due.get_or_insert(now);
    }
}

impl Node {
    pub(super) fn on_rendezvous_due(&mut self, now: Instant) {
        if self.rendezvous.acquainted.is_some_and(|at| at <= now) {
            self.rendezvous.acquainted = None;
            self.find_extension(now);
        }
        if self.rendezvous.due.is_none_or(|due| due > now) {
            return;
        }
        self.rendezvous.due = Some(now + LOOK_INTERVAL);
        if !self.config.extension || self.rendezvous.running.is_some() {
            return;
        }
        let count = |count: fn(&super::Side) -> usize| -> usize {
            self.sides.iter().flatten().map(count).sum()
        };
        let extension = count(|side| side.table.extension_count());
        let mixed = count(|side| side.table.len()) > extension;
        let is_due = |at: Instant| now.saturating_duration_since(at) >= ANNOUNCE_INTERVAL;
        let announces = !self.wire.read_only && self.rendezvous.announced.is_none_or(is_due);
        if !mixed || (extension >= FEW && !announces) {
            return;
        }
        let task = if announces {
            self.rendezvous.announced = Some(now);
            Task::Meet
        } else {
            Task::LookForMeeting
        };
        let id = self.next_id();
        self.rendezvous.running = Some(id);
        self.begin_as(now, id, task, (meeting_place(), Scope::Network));
    }

    /// Peers of the meeting place were told: they are asked whether they are there.
    pub(super) fn on_met(&mut self, now: Instant, peers: &[SocketAddr]) {
        for &address in peers {
            let Some(side) = self.side(Family::of(&address)) else {
                continue;
            };
            let contact = Contact::new(Id::default(), address);
            if self.rendezvous.met.len() >= MAX_MET {
                return;
            }
            if self.rendezvous.met.contains(&address)
                || side.table.contains(&address)
                || !side.is_usable(&contact)
                || self.is_blocked(address.ip())
            {
                continue;
            }
            self.rendezvous.met.push(address);
            let asked = Asked { address, id: None };
            self.ask(now, asked, Method::Ping, Purpose::Courtesy);
        }
    }

    /// The visit is over.
    pub(super) fn on_meeting_over(&mut self, now: Instant, id: OperationId) {
        if self.rendezvous.running == Some(id) {
            self.rendezvous.running = None;
            self.rendezvous.met = Vec::new();
            self.rendezvous.acquainted = Some(now + ANSWERS_TAKE);
        }
    }

    /// Looks for nodes with the value layer near this one.
    fn find_extension(&mut self, now: Instant) {
        for family in Family::ALL {
            let Some(side) = self.side(family) else {
                continue;
            };
            if side.table.extension_count() > 0 {
                let target = side.table.own_id();
                let id = self.next_id();
                let task = Task::FindExtension { target, family };
                self.begin_as(now, id, task, (target, Scope::Network));
            }
        }
    }
}

/// The info hash under which nodes with the value layer announce themselves.
pub(super) fn meeting_place() -> Id {
    Id::hash_of(MEETING_PLACE)
}
