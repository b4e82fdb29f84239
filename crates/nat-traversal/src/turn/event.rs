//! What an allocation tells its owner.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::AllocationError;

/// What a datagram was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// Not from this server, or not TURN: somebody else should look at it.
    NotOurs,
    /// An answer to us.
    Consumed,
    /// A peer's payload.
    Payload {
        /// Who sent it.
        peer: SocketAddr,
        /// Where it lies in the datagram.
        range: Range<usize>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is a relayed address. Once for each family.
    Allocated {
        /// The address.
        relayed: SocketAddr,
    },
    /// A peer's address is admitted.
    Permitted {
        /// The address.
        peer: IpAddr,
    },
    /// A peer's address is not admitted, or no longer.
    Refused {
        /// The address.
        peer: IpAddr,
    },
    /// The allocation ended, against our will.
    Failed(AllocationError),
    /// The allocation was deleted.
    Closed,
}
