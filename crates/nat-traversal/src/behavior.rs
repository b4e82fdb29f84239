//! NAT behaviour (RFC 4787) as the socket in use meets it (RFC 5780).
//!
//! [`Discovery`] asks STUN servers from the one socket and ends with a [`Behavior`] within
//! [`TOTAL`], whether they answer or not:
//!
//! ```text
//! 0 s   who am I?          a Binding request to every server             at most 1 s
//! then  who may answer?    CHANGE-REQUEST to one that has another        at most 1 s
//!                          address (RFC 5780 section 4.4), and a packet
//!                          to our own mapped address (section 4.5)
//! then  who am I to them?  requests to the other addresses of each       at most 1 s
//!                          server (section 4.3)
//! ```
//! Filtering is asked before anything is sent to the other addresses, which would open it for
//! them. So a second run on the same socket, while the NAT still remembers the first, can find
//! filtering weaker than it is: run it once per network.
//!
//! Servers without another address show the mapping only, and that from two of them on. Packets
//! are at most [`MAX_PACKETS`]. A server that lies deceives us about our own NAT, and can make us
//! send a dozen packets of 28 to 36 bytes where it says.

mod allocation;
mod discovery;

use std::net::SocketAddr;
use std::time::Duration;

pub use allocation::{Allocation, MAX_STEP, MIN_SAMPLES};
pub use discovery::Discovery;

/// Servers that are asked; further ones are ignored. Four with two addresses each give sixteen
/// samples of a dependent mapping.
pub const MAX_SERVERS: usize = 4;

/// Everything is known after this time, or will not be.
pub const TOTAL: Duration = Duration::from_secs(3);

/// Packets of one discovery: three sendings of one request for each server, of two for filtering,
/// of three for each server's other addresses, and two to ourselves.
pub const MAX_PACKETS: usize = 3 * MAX_SERVERS + 3 * 2 + 3 * 3 * MAX_SERVERS + 2;

/// Whether one inside address has one outside address (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mapping {
    /// The same towards everybody.
    EndpointIndependent,
    /// Another one for each address outside.
    AddressDependent,
    /// Another one for each address and port outside.
    AddressAndPortDependent,
}

/// Who may send to a mapping (RFC 4787 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filtering {
    /// Everybody.
    EndpointIndependent,
    /// Addresses that were sent to, from any of their ports.
    AddressDependent,
    /// Addresses and ports that were sent to.
    AddressAndPortDependent,
}

/// What stands between the socket and the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Translation {
    /// Nothing came back: UDP is blocked, there is no network, or no server is alive.
    UdpBlocked,
    /// The outside address is one of ours. There may still be a firewall: see the filtering.
    None,
    /// A NAT.
    Nat,
}

/// Whether a host behind the NAT reaches another by its outside address (RFC 4787 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hairpin {
    /// A packet to our own mapped address came back.
    Works,
    /// It did not, twice.
    Fails,
    /// Not tried: nothing is translated, or UDP is blocked.
    NotTried,
}

/// One outside address, and who told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where the request went.
    pub asked: SocketAddr,
    /// Where it came from, as seen there.
    pub mapped: SocketAddr,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behavior {
    /// Whether there is a NAT.
    pub translation: Translation,
    /// The outside address towards the first server that answered.
    pub mapped: Option<SocketAddr>,
    /// `None` without answers from two addresses. When two servers with one port each see
    /// different addresses, the worse is assumed: `AddressAndPortDependent`.
    pub mapping: Option<Mapping>,
    /// `None` without a server that has another address and answers from it.
    pub filtering: Option<Filtering>,
    /// Whether the outside port is the inside one, towards the first server.
    pub port_kept: Option<bool>,
    /// Hairpinning.
    pub hairpin: Hairpin,
    /// How a dependent mapping takes its ports; `None` for an independent one and with fewer than
    /// [`MIN_SAMPLES`] samples.
    pub allocation: Option<Allocation>,
    /// The evidence: every outside address that was told, in the order of asking. At most four
    /// for each server.
    pub samples: Vec<Sample>,
}
