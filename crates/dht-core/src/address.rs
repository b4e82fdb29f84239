//! Addresses as the DHT sees them: two families that never mix (BEP 32), and the networks in
//! which one party can easily hold many addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::id::Id;

/// One of the two DHTs, IPv4's and IPv6's (BEP 32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which they are asked.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`. An IPv4-mapped IPv6 address counts as IPv6: take addresses
    /// through [`canonical`] first.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// 0 for IPv4, 1 for IPv6.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// `address` with an IPv4-mapped IPv6 address turned back into the IPv4 address that it is, and
/// without flow label.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => {
                let mut v6 = v6;
                v6.set_flowinfo(0);
                SocketAddr::V6(v6)
            }
        },
        v4 => v4,
    }
}

/// The network that one party can easily fill: /24 of IPv4, /64 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet([u8; 8], Family);

impl Subnet {
    /// The network of `address`.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let mut prefix = [0; 8];
        match address {
            IpAddr::V4(v4) => {
                prefix[..3].copy_from_slice(&v4.octets()[..3]);
                Self(prefix, Family::V4)
            }
            IpAddr::V6(v6) => {
                prefix.copy_from_slice(&v6.octets()[..8]);
                Self(prefix, Family::V6)
            }
        }
    }
}

/// Whether many nodes behind `address` are normal rather than an attack: loopback, link-local and
/// private addresses. There the rule of one node per [`Subnet`] and secure ids (BEP 42) do not
/// apply.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unicast_link_local() || (v6.segments()[0] & 0xfe00) == 0xfc00
        }
    }
}

/// A node: its id and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contact {
    /// The id that it says it has.
    pub id: Id,
    /// Its UDP address.
    pub address: SocketAddr,
}

impl Contact {
    /// The node `id` at `address`.
    #[must_use]
    pub const fn new(id: Id, address: SocketAddr) -> Self {
        Self { id, address }
    }
}
