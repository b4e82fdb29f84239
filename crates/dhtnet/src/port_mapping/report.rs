//! Mappings as users of the library see them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::interfaces;

/// How a router was asked to let others in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MappingProtocol {
    /// Port Control Protocol (RFC 6887).
    Pcp,
    /// NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
    /// UPnP Internet Gateway Device: a port mapping for IPv4, a firewall pinhole for IPv6.
    Upnp,
}

impl MappingProtocol {
    /// `PCP`, `NAT-PMP` or `UPnP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        }
    }
}

impl fmt::Display for MappingProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A way in that a router grants to this node at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortMapping {
    /// How it was asked for.
    pub protocol: MappingProtocol,
    /// The address of the router at which this node is reached. In IPv6 it is the node's own.
    pub external: SocketAddr,
    /// When it ends, if it is not renewed before; `None` if it lasts until it is taken back.
    pub expires: Option<Instant>,
}

impl PortMapping {
    /// Whether the whole Internet can use it. A router that is itself behind a NAT has a private
    /// address (RFC 1918, RFC 6598); its mapping helps nobody beyond that NAT.
    pub fn is_public(&self) -> bool {
        interfaces::is_public(self.external.ip())
    }
}
