//! What goes wrong with the DHT, by whose fault it is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use dhtnet_dht_core::item::ItemError;

use crate::error::BuildError;

/// Why a DHT node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DhtBuildError {
    /// The socket or the runtime.
    #[error(transparent)]
    Node(#[from] BuildError),
    /// A TCP port of the relay that was asked for.
    #[error("the relay cannot listen at TCP {address}")]
    RelayPort {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

/// Why an operation of the DHT failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DhtError {
    /// Nobody of those that should help in answered.
    #[error(
        "nobody in the DHT answered: {asked} bootstrap address(es) asked for {seconds} s; check the network, and that the bootstrap address and its port are right"
    )]
    NobodyAnswered {
        /// Addresses that were asked.
        asked: usize,
        /// For how long.
        seconds: u64,
    },
    /// None of the bootstrap names could be looked up.
    #[error("no bootstrap name could be looked up ({names}): {reason}; check the name and the DNS")]
    NoAddress {
        /// The names.
        names: String,
        /// What the system says.
        reason: String,
    },
    /// One node was asked and said nothing.
    #[error("{0} did not answer; is a DHT node of this network running there?")]
    NoAnswer(std::net::SocketAddr),
    /// The value itself is at fault.
    #[error(transparent)]
    Item(#[from] ItemError),
    /// The value itself is at fault.
    #[error("{0}")]
    Value(String),
    /// What is to last could not be written to the state file.
    #[error("could not save {}: {source}", path.display())]
    Save {
        /// The state file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The DHT was shut down.
    #[error("the DHT is shut down")]
    Closed,
}
