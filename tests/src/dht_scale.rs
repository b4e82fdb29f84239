//! The DHT at scale: tens of thousands of production nodes on a virtual clock, in one process.
//!
//! A [`Plan`] says how many nodes and which seed; [`run`] plays one of the [`SCENARIOS`] and
//! tells what it measured. Every figure but memory and running time follows from the plan alone,
//! to the byte: [`Report::fingerprint`] is taken over all deliveries.
//!
//! The nodes are `dhtnet_dht_core::node::Node`, unchanged; the network is
//! `dhtnet_simnet::Network` with 10 to 150 ms one way by pair, 5 ms of jitter and 1 % of loss.
//! Each node has an address in a /24 of its own, begins with a random id and knows one other
//! node. Hostile nodes are written for the purpose.

mod addresses;
mod census;
mod content;
mod honest;
mod hostile;
mod memory;
mod participant;
mod report;
mod scenario;
mod world;

pub use self::report::{Figure, Report};
pub use self::scenario::{SCENARIOS, run};

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Nodes at the beginning, hostile ones included.
    pub nodes: usize,
    /// What all chances are drawn from.
    pub seed: u64,
    /// Values stored and lookups made in each measurement.
    pub samples: usize,
}
