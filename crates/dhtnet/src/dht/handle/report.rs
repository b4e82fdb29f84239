//! What the verbs of a DHT give back, for people and programs.

use std::net::SocketAddr;
use std::time::Duration;

use dhtnet_dht_core::node::{Counters, Outcome, Refusal, Stored as StoredHere};
use dhtnet_dht_core::{Contact, Family, Id};

/// What was stored, and what the nodes said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it lies.
    pub target: Id,
    /// Nodes that acknowledged. 0: it is not stored.
    pub acknowledged: usize,
    /// Nodes that refused, with their reasons.
    pub refused: Vec<Refusal>,
    /// Nodes that said nothing.
    pub silent: usize,
    /// This node is among the nearest and keeps it too.
    pub stored_here: bool,
    /// From the call to the end.
    pub elapsed: Duration,
}

impl Stored {
    pub(super) fn new(target: Id, outcome: Outcome) -> Self {
        Self {
            target,
            acknowledged: outcome.acknowledged,
            refused: outcome.refused,
            silent: outcome.silent,
            stored_here: outcome.stored_here,
            elapsed: outcome.elapsed,
        }
    }
}

/// What a lookup found and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupReport {
    /// The nearest nodes that answered, nearest first: at most 8 of each family.
    pub closest: Vec<Contact>,
    /// The longest chain of nodes that told of each other.
    pub hops: u8,
    /// Queries made.
    pub queries: u32,
    /// Queries answered.
    pub answers: u32,
    /// From the call to the end.
    pub elapsed: Duration,
}

/// One family's part of [`Stats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsOfFamily {
    /// Which.
    pub family: Family,
    /// The node's id in it.
    pub id: Option<Id>,
    /// Whether lookups work.
    pub ready: bool,
    /// The address under which others see this node.
    pub external: Option<SocketAddr>,
    /// Nodes in the table.
    pub nodes: usize,
    /// Those of them that answered lately.
    pub good: usize,
    /// Those of them that speak the value layer.
    pub extension: usize,
    /// About how many nodes the network has.
    pub estimated_size: u64,
}

/// How a DHT node is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Each family that is in use.
    pub families: Vec<StatsOfFamily>,
    /// What was counted since the start.
    pub counters: Counters,
    /// What is kept for others.
    pub stored: StoredHere,
    /// What this node stores again and again.
    pub publications: usize,
    /// Whether the node only asks (BEP 43).
    pub read_only: bool,
    /// Since the start.
    pub uptime: Duration,
}
