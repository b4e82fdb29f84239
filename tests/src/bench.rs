//! The harness behind `cargo xtask bench`.
//!
//! Two hosts in network namespaces, peers in turns within one run, medians over the rounds, and
//! ratios to raw TCP of the same run: absolute figures of a shared machine drift, ratios hold. A
//! peer that is not installed is named as skipped under its table.

mod connections;
mod copy;
pub mod dht;
mod first_byte;
mod forward;
mod latency;
mod long_link;
mod memory;
mod pipe;
mod pump;
mod relay;
pub mod report;
mod shell;
mod stage;
mod vpn;
mod vpn_peers;

use std::io;
use std::time::Duration;

use self::report::Table;
use self::stage::{Forward, Peer, Stage};
use crate::device::{DeviceError, Tools};
use crate::dht_peers::PeerError;
use crate::lab::{LabError, ProcessError};

/// Why a measurement has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A peer is not there.
    #[error("{peer} skipped: {reason}")]
    Missing {
        /// Who.
        peer: String,
        /// Why.
        reason: String,
    },
    /// No lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A tool failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A node of a DHT failed.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A pump failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What to measure, and how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of a bulk transfer.
    pub size: u64,
    /// Rounds of each measurement.
    pub rounds: usize,
    /// Bytes over the long link.
    pub long_link_size: u64,
    /// Requests of one latency round.
    pub requests: usize,
    /// Keys typed into a terminal in one round.
    pub strokes: usize,
    /// Span of one connection-rate round.
    pub span: Duration,
    /// Channels held open for the memory figure.
    pub channels: usize,
    /// What is done in networks of the DHT.
    pub dht: dht::Effort,
    /// Tools to measure; `None` leaves dnc out.
    pub tools: Option<Tools>,
}

impl Options {
    /// The figures of docs/bench.md: 1 GiB, 3 rounds.
    pub fn full(tools: Option<Tools>) -> Self {
        Self {
            size: 1 << 30,
            rounds: 3,
            long_link_size: 128 << 20,
            requests: 5000,
            strokes: 500,
            span: Duration::from_secs(2),
            channels: 1000,
            dht: dht::Effort::FULL,
            tools,
        }
    }

    /// A minute or so: 64 MiB, 1 round.
    pub fn quick(tools: Option<Tools>) -> Self {
        Self {
            size: 64 << 20,
            rounds: 1,
            long_link_size: 32 << 20,
            requests: 1000,
            strokes: 100,
            span: Duration::from_millis(500),
            dht: dht::Effort::QUICK,
            ..Self::full(tools)
        }
    }
}

type Suite = fn(&Options) -> Result<Table, BenchError>;

/// Every measurement by name.
pub const SUITES: [(&str, Suite); 25] = [
    ("forward", forward::run),
    ("latency", latency::run),
    ("connections", connections::run),
    ("first-byte", first_byte::run),
    ("memory", memory::run),
    ("long-link", long_link::run),
    ("pipe", pipe::run),
    ("copy", copy::run),
    ("shell-start", shell::start::run),
    ("shell-typing", shell::typing::run),
    ("shell-typing-far", shell::typing::run_far),
    ("shell-prediction", shell::prediction::run),
    ("shell-cat", shell::cat::run),
    ("shell-memory", shell::memory::run),
    ("relay", relay::run),
    ("path-change", relay::run_changes),
    ("vpn", vpn::run),
    ("vpn-ping", vpn::run_ping),
    ("vpn-peers", vpn_peers::run),
    ("dht-32", dht::well_32),
    ("dht-128", dht::well_128),
    ("dht-256", dht::well_256),
    ("dht-32-dead", dht::dead_32),
    ("dht-128-dead", dht::dead_128),
    ("dht-256-dead", dht::dead_256),
];

/// Starts the forwards of all peers; those that fail are noted under the table.
fn start_forwards(stage: &Stage, table: &mut Table) -> Vec<Forward> {
    let mut forwards = Vec::new();
    for peer in Peer::ALL {
        match stage.forward(peer) {
            Ok(forward) => forwards.push(forward),
            Err(error) => table.note(error.to_string()),
        }
    }
    forwards
}

fn mib_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / crate::payload::MIB as f64 / time.as_secs_f64()
}
