//! A DHT node: tables, stores and operations behind one set of `handle_*` and `poll_*`.
//!
//! The owner passes in datagrams and time, and takes out datagrams, events and the next deadline.
//! Nothing here blocks, reads a clock or draws randomness of its own.

mod answers;
pub(crate) mod config;
mod counters;
pub(crate) mod custody;
pub(crate) mod deferrals;
mod driving;
mod elapsed;
mod event;
mod intake;
mod known_values;
mod operation;
mod operations;
mod outsiders;
mod pushes;
pub(crate) mod reachability;
mod rendezvous;
mod republish;
pub(crate) mod side;
mod subscriptions;
mod upkeep;
pub(crate) mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub use self::config::{Config, Participation};
pub use self::counters::{Counters, METHODS};
use self::custody::Custody;
pub use self::event::{Event, Item, OperationId, Outcome, Pong, Refusal, Sample};
pub use self::operation::AnnouncePort;
use self::operation::Operation;
pub use self::operations::Scope;
use self::pushes::Pushes;
pub use self::reachability::Reachability;
use self::rendezvous::Rendezvous;
use self::republish::Republish;
pub use self::republish::{MAX_OWNERS, Publication};
use self::side::Side;
use self::subscriptions::Subscriptions;
use self::upkeep::Upkeep;
pub use self::wire::Transmit;
use self::wire::Wire;
use crate::address::{Contact, Family};
use crate::blocklist::Blocklist;
pub use crate::external_address::Mapping;
use crate::id::Id;
use crate::routing::NodeState;
use crate::server::{Moment, Server};
use crate::value::UnixTime;

/// Operations that may run at once. At the bound a new one ends at once with nothing found.
pub const MAX_OPERATIONS: usize = 1_024;

/// Operations that have ended and still store at nodes that answer late, each for five seconds at
/// most. At the bound an operation no longer waits for those.
pub(crate) const MAX_LINGERING: usize = 64;

/// Events that wait for the owner. At the bound the oldest are dropped: an owner that never
/// looks must not fill memory. One datagram makes a few at most.
const MAX_EVENTS: usize = 16_384;

/// The time at which the node began, on both clocks.
#[derive(Debug, Clone, Copy)]
struct Epoch {
    start: Instant,
    wall: UnixTime,
}

/// What a node knows of another, for statistics and for saving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNode {
    /// Where it is.
    pub contact: Contact,
    /// Whether it speaks the value layer.
    pub extension: bool,
    /// Whether it answered lately (BEP 5: good).
    pub good: bool,
    /// Its smoothed round trip, if it ever answered.
    pub round_trip: Option<Duration>,
}

/// How much a node keeps, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// Info hashes with at least one peer.
    pub info_hashes: usize,
    /// Peers over all info hashes.
    pub peers: usize,
    /// Items (BEP 44).
    pub items: usize,
    /// Values of the value layer.
    pub values: usize,
    /// Subscriptions of others.
    pub listeners: usize,
}

/// A node of the DHT.
#[derive(Debug)]
pub struct Node {
    config: Arc<Config>,
    epoch: Epoch,
    wire: Wire,
    sides: [Option<Side>; 2],
    server: Server,
    operations: BTreeMap<OperationId, Operation>,
    next_operation: u64,
    subscriptions: Subscriptions,
    republish: Republish,
    custody: Custody,
    pushes: Pushes,
    rendezvous: Rendezvous,
    upkeep: Upkeep,
    blocklist: Option<Arc<Blocklist>>,
    events: VecDeque<Event>,
}

impl Node {
    /// A node that knows nobody yet. `wall` is the time since 1970, by which values expire;
    /// `seed` is all the randomness it will ever use and must be secret and fresh.
    #[must_use]
    pub fn new(config: Arc<Config>, now: Instant, wall: Duration, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let sides = Family::ALL.map(|family| {
            config.families[family.index()].then(|| Side::new(family, Id::random(&mut rng), now))
        });
        let server = Server::new(config.types.clone(), &mut rng);
        let epoch = Epoch {
            start: now,
            wall: UnixTime(wall.as_secs()),
        };
        Self {
            epoch,
            sides,
            server,
            operations: BTreeMap::new(),
            next_operation: 1,
            subscriptions: Subscriptions::default(),
            republish: Republish::default(),
            custody: Custody::default(),
            pushes: Pushes::default(),
            rendezvous: Rendezvous::default(),
            upkeep: Upkeep::new(now, &config),
            blocklist: config.blocklist.clone(),
            events: VecDeque::new(),
            wire: Wire::new(config.clone(), rng),
            config,
        }
    }

    /// The node's id in a family (BEP 45: one for each address).
    #[must_use]
    pub fn id(&self, family: Family) -> Option<Id> {
        self.side(family).map(|side| side.table.own_id())
    }

    /// Sets the id: one that was saved, or one that a test needs. Keep ids that follow from the
    /// external address (BEP 42); the node takes a new one when several nodes agree on another
    /// address.
    pub fn set_id(&mut self, now: Instant, family: Family, id: Id) {
        if let Some(side) = &mut self.sides[family.index()] {
            side.table.set_own_id(now, id);
        }
    }

    /// The address under which several nodes see this one.
    #[must_use]
    pub fn external_address(&self, family: Family) -> Option<SocketAddr> {
        self.side(family)?.external.believed()
    }

    /// Our addresses as nodes in different networks report them, the oldest report first, believed
    /// or not; at most 16. Behind a NAT whose ports depend on the remote they differ.
    #[must_use]
    pub fn observed_addresses(&self, family: Family) -> Vec<SocketAddr> {
        self.side(family)
            .map_or_else(Vec::new, |side| side.external.observed().collect())
    }

    /// What the reports of others say about the NAT in between.
    #[must_use]
    pub fn mapping(&self, family: Family) -> Mapping {
        self.side(family)
            .map_or(Mapping::Unknown, |side| side.external.mapping())
    }

    /// The network changed: what was reported about the external addresses no longer holds.
    pub fn on_network_change(&mut self) {
        for side in self.sides.iter_mut().flatten() {
            side.external.on_network_change();
        }
    }

    /// Whether lookups in this family work: a neighbourhood is known.
    #[must_use]
    pub fn is_ready(&self, family: Family) -> bool {
        self.upkeep.is_ready(family)
    }

    /// Whether the node only asks (BEP 43).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.wire.read_only
    }

    /// Everything that was counted since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.wire.counters
    }

    /// How much is kept for others.
    #[must_use]
    pub fn stored(&self) -> Stored {
        Stored {
            info_hashes: self.server.peers.count(),
            peers: self.server.peers.peer_count(),
            items: self.server.items.count(),
            values: self.server.values.len(),
            listeners: self.server.listeners.len(),
        }
    }

    /// The nodes in the table of a family.
    pub fn nodes(&self, now: Instant, family: Family) -> impl Iterator<Item = KnownNode> {
        let side = self.side(family);
        side.into_iter()
            .flat_map(move |side| side.table.iter(now))
            .map(move |(contact, state)| KnownNode {
                contact,
                extension: side
                    .and_then(|side| side.table.traits(&contact.address))
                    .is_some_and(|traits| traits.extension),
                good: state == NodeState::Good,
                round_trip: side.and_then(|side| side.table.round_trip(&contact)),
            })
    }

    /// About how many nodes the network of a family has, by how near the nearest are.
    #[must_use]
    pub fn estimated_size(&self, now: Instant, family: Family) -> u64 {
        self.side(family)
            .map_or(0, |side| side.table.estimated_size(now))
    }

    /// Replaces the addresses that are never talked to.
    pub fn set_blocklist(&mut self, now: Instant, blocklist: Option<Arc<Blocklist>>) {
        if let Some(list) = &blocklist {
            for side in self.sides.iter_mut().flatten() {
                let blocked: Vec<SocketAddr> = side
                    .table
                    .iter(now)
                    .map(|(contact, _)| contact.address)
                    .filter(|address| list.contains(address.ip()))
                    .collect();
                for address in blocked {
                    side.table.remove(&address);
                }
            }
        }
        self.blocklist = blocklist;
    }

    /// The next datagram to be sent.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.wire.poll_transmit()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Node::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [
            self.wire.transactions.poll_timeout(),
            self.server.values.next_expiry(),
            self.subscriptions.poll_timeout(),
            self.republish.poll_timeout(),
            self.custody.poll_timeout(),
            self.rendezvous.poll_timeout(),
            Some(self.upkeep.poll_timeout()),
            self.upkeep.outsiders.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.on_elapsed(now);
        self.expire(now);
        self.on_upkeep_due(now);
        self.on_rendezvous_due(now);
        self.on_republish_due(now);
        self.on_custody_due(now);
        self.on_subscriptions_due(now);
    }

    fn side(&self, family: Family) -> Option<&Side> {
        self.sides[family.index()].as_ref()
    }

    /// The time of day, as it must be now if no clock was set since the start.
    fn moment(&self, now: Instant) -> Moment {
        let elapsed = now.saturating_duration_since(self.epoch.start);
        Moment {
            now,
            wall: self.epoch.wall.plus(elapsed),
        }
    }

    fn is_blocked(&self, ip: IpAddr) -> bool {
        self.blocklist
            .as_ref()
            .is_some_and(|list| list.contains(ip))
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
