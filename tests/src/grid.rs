//! The grid: every kind of NAT with every other, real processes on both sides.
//!
//! One [`Trial`] is two devices behind NATs of two kinds, some nodes of the DHT outside, and one
//! transfer both ways by `dnc`; each device knows one address of the DHT, and the caller the
//! listener's id. [`Trial::run`] says what came of it ([`Measured`]). A [`Cell`] is all trials of
//! one pair, against the [`Goal`] that it has; [`run`] makes them all, two at a time.
//!
//! What is to be expected of each pair stands in one file for this grid and for the simulated one
//! of `crates/nat-traversal`: see [`expected`].
//!
//! `cargo xtask test --grid` is the whole; `tests/tests/it/grid.rs` has some telling pairs.

mod cell;
pub mod expected;
mod kind;
mod meter;
mod pool;
mod street;
pub mod table;
mod trial;

pub use cell::{Cell, Goal, Timed};
pub use kind::Kind;
pub use pool::{Place, Places, run};
pub use street::{ENTRY, NODES, RELAY, Street, WITHOUT_UDP};
pub use trial::{Measured, Trial, Way};

use std::io;

use crate::device::DeviceError;
use crate::dht_peers::PeerError;
use crate::home_router::RouterError;
use crate::lab::{LabError, ProcessError};

/// Whether the routers of a trial map ports for their devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortMapping {
    /// They do not, and nobody asks.
    Off,
    /// By UPnP, NAT-PMP and PCP, where there is a router.
    On,
}

/// Why a trial could not be made; what the devices did is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// There can be no lab here.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A router is missing or refuses.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// A device cannot be made.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A node of the DHT cannot be started.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A process did not do what it was made for.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file or a thread.
    #[error("run the grid: {0}")]
    Io(#[from] io::Error),
}
