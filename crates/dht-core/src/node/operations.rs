//! The verbs of a node's owner, and whom their operations ask first.

use std::net::SocketAddr;
use std::time::Instant;

use super::operation::{AnnouncePort, Operation, Task};
use super::{MAX_OPERATIONS, Node, OperationId};
use crate::address::{Family, canonical};
use crate::id::Id;
use crate::item::{self, MutableItem};
use crate::lookup::{K, Lookup, Reach};
use crate::value::{Value, ValueQuery};

/// Nodes of the own table that a lookup begins with. The nearest [`K`] are asked first; the rest
/// stands in where many have died, as what the living tell is full of the dead too.
const SEEDS: usize = 3 * K;

/// Nodes gone silent that are asked when nobody else is left: some may have come back.
const MAX_LOST_ASKED: usize = 32;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The network, by lookups in all families.
    Network,
    /// One node and nobody else.
    Node(SocketAddr),
}

impl Node {
    /// Asks one node whether it is there. [`Event::Pong`](super::Event::Pong) if it is.
    pub fn ping(&mut self, now: Instant, address: SocketAddr) -> OperationId {
        self.begin(now, Task::Ping, Id::default(), Scope::Node(address))
    }

    /// Finds the nodes nearest to `target` ([`Event::Done`](super::Event::Done)); of one node asked alone what it
    /// tells ([`Event::Nodes`](super::Event::Nodes)).
    pub fn find_node(&mut self, now: Instant, target: Id, scope: Scope) -> OperationId {
        self.begin(now, Task::FindNode { target }, target, scope)
    }

    /// Finds peers of an info hash: [`Event::Peers`](super::Event::Peers) as they come.
    pub fn find_peers(&mut self, now: Instant, info_hash: Id, scope: Scope) -> OperationId {
        self.begin(now, Task::FindPeers { info_hash }, info_hash, scope)
    }

    /// Says that this host is a peer of an info hash. The storing nodes forget it after half an
    /// hour.
    pub fn announce(
        &mut self,
        now: Instant,
        info_hash: Id,
        port: AnnouncePort,
        scope: Scope,
    ) -> OperationId {
        self.begin(now, Task::Announce { info_hash, port }, info_hash, scope)
    }

    /// Fetches the item at `target` (BEP 44): [`Event::Item`](super::Event::Item). An immutable one ends the
    /// operation; of a mutable one newer versions may follow until the end. `salt` is needed to
    /// check a mutable item that was stored with one.
    pub fn find_item(
        &mut self,
        now: Instant,
        target: Id,
        salt: &[u8],
        scope: Scope,
    ) -> OperationId {
        let task = Task::FindItem {
            target,
            salt: salt.into(),
            newest: None,
        };
        self.begin(now, task, target, scope)
    }

    /// Stores an immutable item: any bencoded value of at most 1,000 bytes.
    ///
    /// # Errors
    /// [`item::ItemError`] when it is too large or not bencoded.
    pub fn put_immutable(
        &mut self,
        now: Instant,
        value: &[u8],
        scope: Scope,
    ) -> Result<OperationId, item::ItemError> {
        item::check_value(value)?;
        let target = item::immutable_target(value);
        let task = Task::PutImmutable {
            target,
            value: value.into(),
        };
        Ok(self.begin(now, task, target, scope))
    }

    /// Stores a mutable item. With `cas`, only where that `seq` is stored now.
    pub fn put_mutable(
        &mut self,
        now: Instant,
        item: MutableItem,
        cas: Option<i64>,
        scope: Scope,
    ) -> OperationId {
        let target = item.target();
        let item = Box::new(item);
        self.begin(now, Task::PutMutable { item, cas }, target, scope)
    }

    /// Asks one node for a sample of the info hashes it keeps (BEP 51): [`Event::Sample`](super::Event::Sample).
    pub fn sample(&mut self, now: Instant, address: SocketAddr, target: Id) -> OperationId {
        self.begin(now, Task::Sample { target }, target, Scope::Node(address))
    }

    /// Fetches the values under a key: [`Event::Value`](super::Event::Value) as they come.
    pub fn find_values(
        &mut self,
        now: Instant,
        target: Id,
        query: ValueQuery,
        scope: Scope,
    ) -> OperationId {
        let encoded = encode_query(&query);
        let task = Task::FindValues {
            target,
            query,
            encoded,
        };
        self.begin(now, task, target, scope)
    }

    /// Stores a value under a key; one that was removed by its owner removes it.
    pub fn put_value(
        &mut self,
        now: Instant,
        target: Id,
        value: &Value,
        scope: Scope,
    ) -> OperationId {
        self.end_older(&target, value);
        let record = value.encode().into();
        self.begin(now, Task::PutValue { target, record }, target, scope)
    }

    /// Ends an operation early. Nothing more is told about it.
    pub fn cancel(&mut self, now: Instant, operation: OperationId) {
        // One that has stored what it was to store is left to those that answer late.
        let found = self.operations.get(&operation);
        if !found.is_some_and(Operation::ends_by_itself) {
            self.operations.remove(&operation);
        }
        self.end_subscription(now, operation);
        self.republish.remove(operation);
    }

    pub(super) fn next_id(&mut self) -> OperationId {
        let id = OperationId(self.next_operation);
        self.next_operation += 1;
        id
    }

    fn begin(&mut self, now: Instant, task: Task, target: Id, scope: Scope) -> OperationId {
        let id = self.next_id();
        self.begin_as(now, id, task, (target, scope));
        id
    }

    /// Starts an operation under an id that exists already.
    pub(super) fn begin_as(
        &mut self,
        now: Instant,
        id: OperationId,
        task: Task,
        (target, scope): (Id, Scope),
    ) {
        // Where there are too many, this one ends at once with nobody asked.
        let count = self.operations.len();
        let has_room = count < MAX_OPERATIONS || count - self.lingering() < MAX_OPERATIONS;
        let lookups = match has_room {
            true => self.lookups(now, &task, target, scope),
            false => [None, None],
        };
        let operation = Operation::new(task, now, lookups);
        self.operations.insert(id, operation);
        if scope == Scope::Network {
            self.look_here(now, id);
        }
        self.drive(now, id);
    }

    fn lookups(&self, now: Instant, task: &Task, target: Id, scope: Scope) -> [Option<Lookup>; 2] {
        if let Scope::Node(address) = scope {
            let address = canonical(address);
            let mut lookup = Lookup::new(target, Reach::Given, 0);
            lookup.add_address(address);
            let mut lookups = [None, None];
            if self.side(Family::of(&address)).is_some() && !self.is_blocked(address.ip()) {
                lookups[Family::of(&address).index()] = Some(lookup);
            }
            return lookups;
        }
        Family::ALL.map(|family| {
            let side = self.side(family)?;
            if !self.concerns(task, family) {
                return None;
            }
            let mut lookup = Lookup::new(target, Reach::Network, side.table.estimated_size(now));
            if let Task::Refresh { family: own, .. } = task
                && *own == family
            {
                self.upkeep.outsiders.open_path(family, &mut lookup);
            }
            let mut seeds = Vec::new();
            if task.needs_extension() {
                side.table
                    .closest_extension(now, &target, &mut seeds, SEEDS);
            } else {
                side.table.closest(now, &target, &mut seeds, SEEDS);
            }
            for seed in seeds {
                lookup.add_seed(seed);
            }
            // A node that knows nobody asks those that were to help it in, and those that it lost.
            if lookup.is_empty() && !side.table.has_living(now) {
                for address in self.upkeep.helpers(family) {
                    lookup.add_address(address);
                }
                for (lost, _) in side.table.iter(now).take(MAX_LOST_ASKED) {
                    lookup.add_seed(lost);
                }
            }
            Some(lookup)
        })
    }

    /// Whether a task looks in this family: what a node does for one family's sake stays there,
    /// but a family without anybody is helped in by the other.
    fn concerns(&self, task: &Task, family: Family) -> bool {
        match task {
            Task::Refresh { family: own, .. } | Task::FindExtension { family: own, .. } => {
                *own == family || !self.upkeep.is_ready(*own)
            }
            _ => true,
        }
    }
}

/// The query as it travels; all values need none.
pub(super) fn encode_query(query: &ValueQuery) -> Option<Box<[u8]>> {
    (*query != ValueQuery::ALL).then(|| query.encode().into())
}
