//! A relay for others beside a DHT node: what it is to be, where it is announced, and what it
//! has done.
//!
//! A [`Dht`](crate::dht::Dht) with a socket of its own becomes a TURN relay (RFC 8656) with
//! [`DhtBuilder::relay`](crate::dht::DhtBuilder::relay). It shares the node's UDP sockets, so one
//! open port is both; streams are taken over TCP. Devices prove themselves by their keys, nothing
//! is set up for them, and what they send to each other through it is encrypted between them.
//!
//! A relay that is reachable announces itself in the DHT, where
//! [`Dht::find_relays`](crate::dht::Dht::find_relays) finds it.

mod announce;
mod directory;
mod per_second;
mod unsent;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use dhtnet_identity::{DeviceId, DeviceKey};
use dhtnet_nat_traversal::relay::Admission;
pub use dhtnet_nat_traversal::relay::{Limits, MAX_CLIENTS, MAX_STREAMS, Peers};

pub(crate) use self::announce::announce;
pub use self::directory::relay_directory;
pub(crate) use self::per_second::PerSecond;
pub(crate) use self::unsent::Unsent;

/// The TCP port that networks let out when they let out little.
pub const HTTPS_PORT: u16 = 443;

/// Addresses that can be told: [`RelaySettings::address`]. One of each family is used.
pub const MAX_TOLD_ADDRESSES: usize = 2;

/// What a relay is to be.
pub struct RelaySettings {
    pub(crate) key: DeviceKey,
    pub(crate) limits: Limits,
    pub(crate) peers: Peers,
    pub(crate) admission: Admission,
    pub(crate) tcp_ports: Option<Vec<u16>>,
    pub(crate) addresses: Vec<IpAddr>,
}

impl fmt::Debug for RelaySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySettings")
            .field("id", &self.key.id())
            .field("limits", &self.limits)
            .field("peers", &self.peers)
            .field("tcp_ports", &self.tcp_ports)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl RelaySettings {
    /// A relay with this device's key. Its id is told to everybody who asks.
    #[must_use]
    pub fn new(key: DeviceKey) -> Self {
        Self {
            key,
            limits: Limits::default(),
            peers: Peers::default(),
            admission: Box::new(|_| true),
            tcp_ports: None,
            addresses: Vec::new(),
        }
    }

    /// What it gives away. Default: [`Limits::default`], 64 clients and 50 Mbit/s.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Which addresses are relayed to. Default: [`Peers::Public`].
    #[must_use]
    pub fn peers(mut self, peers: Peers) -> Self {
        self.peers = peers;
        self
    }

    /// Who may use it; asked for each device after it has proved its key. Default: everybody,
    /// within the limits.
    #[must_use]
    pub fn admission(mut self, admission: impl FnMut(&DeviceId) -> bool + Send + 'static) -> Self {
        self.admission = Box::new(admission);
        self
    }

    /// TCP ports to listen at, which must then be free; none for UDP alone. Default: the number of
    /// the UDP port and [`HTTPS_PORT`], each where it can be had.
    #[must_use]
    pub fn tcp_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.tcp_ports = Some(ports.into_iter().collect());
        self
    }

    /// The address under which peers reach this host, where a NAT maps each of its ports to the
    /// same port there. One of each family. Default: the addresses of its interfaces.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.addresses
            .retain(|other| other.is_ipv4() != address.is_ipv4());
        self.addresses.push(address);
        self
    }
}

/// Whether a relay can be found by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Announcement {
    /// It is not known yet whether others reach it.
    #[default]
    Waiting,
    /// Others see this host under an address that is not its own, so they may not reach what it
    /// relays. It is not announced.
    Unreachable {
        /// The address that they see.
        seen: SocketAddr,
    },
    /// This many nodes keep the announcement.
    Stored {
        /// Nodes.
        nodes: usize,
    },
    /// No node took the announcement; it is tried again.
    NotStored,
}

/// How a relay is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayReport {
    /// UDP addresses where it listens.
    pub udp: Vec<SocketAddr>,
    /// TCP addresses where it listens.
    pub tcp: Vec<SocketAddr>,
    /// Whether it can be found.
    pub announcement: Announcement,
    /// What it has done.
    pub traffic: Traffic,
}

/// What a relay has done since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Clients at this moment.
    pub clients: usize,
    /// TCP connections at this moment, clients' included.
    pub streams: usize,
    /// Payloads relayed, either way.
    pub payloads: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Payloads dropped because a rate was exceeded.
    pub over_quota: u64,
    /// Requests refused for quotas, addresses or admission.
    pub refused: u64,
    /// Datagrams and frames that no socket took: full queues, slow readers.
    pub lost: u64,
    /// Binding requests (STUN) answered.
    pub stun_answers: u64,
}
