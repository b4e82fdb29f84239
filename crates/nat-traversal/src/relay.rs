//! A relay for others: a TURN server with quotas (RFC 8656).
//!
//! Devices prove themselves by their keys: the user name is a device's id and the password what
//! [`DeviceKey::password_at_relay`](dhtnet_identity::DeviceKey::password_at_relay) derives, so
//! nothing is set up between a relay and its clients. Which ids may use it, an [`Admission`] says.
//!
//! ```text
//!              ┌───────────────── Relay ─────────────────┐
//! datagrams ──►│ stranger: 401 with a nonce that says    │──► answers
//! streams   ──►│   that the address is his, then the     │──► open and close sockets
//!              │   password, admission and quotas        │
//!              │ client: what he asks for is checked     │
//! peers     ──►│   and counted, then a TURN server of    │──► payloads to peers
//!              │   his own does it (turn-server-proto)   │
//!              └──────────────────────────────────────────┘
//! ```
//! Each client has a protocol machine of its own, so that clients cannot reach each other's state,
//! the cost of a datagram does not grow with their number, and everything of a client goes with
//! him. Before the first request is verified nothing is stored for anybody. What turn-server-proto
//! does not do is done here: quotas, addresses that are not relayed to, one channel number for one
//! peer, an answer once more to a request that came twice, framing and padding on streams.
//!
//! Relayed payloads between two clients of one relay do not leave it.
//!
//! Left out: relaying of TCP (RFC 6062), reserved ports, MESSAGE-INTEGRITY-SHA256 (such requests
//! are refused), ICMP reports. Nonces and hash keys inside the protocol machines come from the
//! system's generator. The first request of a client costs one round trip more than elsewhere
//! (438 after 401).

mod address;
mod client;
mod gate;
mod judge;
mod quota;
mod realm;
mod server;
mod streams;
mod wire;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use dhtnet_identity::DeviceId;

pub use realm::{realm, relay_of};
pub use server::{Relay, Stats};

/// Bytes of the longest payload that is relayed, either way: what fits a frame of Ethernet.
pub const MAX_PAYLOAD: usize = 1500;

/// Streams that have shown no allocation, and those that have one, together.
pub const MAX_STREAMS: usize = 512;

/// Clients at once, whatever [`Limits`] say: each has a socket, and hosts commonly allow a process
/// 1024 descriptors.
pub const MAX_CLIENTS: usize = 1024;

/// Bytes of the answer that asks a stranger for credentials (401 and 438), with the relay's realm.
pub const CHALLENGE_LEN: usize = 116;

/// How much longer than a stranger's request our answer may be: a forged sender gains little by
/// it. Our own clients ask with 40 bytes or more.
pub const MAX_AMPLIFICATION: usize = 3;

/// Answers to strangers in a second, all together: [`CHALLENGE_LEN`] bytes each. A flood of
/// forged senders makes us send no more than 24 kB/s.
pub const CHALLENGES_PER_SECOND: u32 = 200;

/// Of these, those to requests so short that the answer is more than [`MAX_AMPLIFICATION`] times
/// as long, up to 5.8 times: some clients of others ask like this. 2.3 kB/s.
pub const LONG_CHALLENGES_PER_SECOND: u32 = 20;

/// Passwords derived in a second, all together: each costs a multiplication on Curve25519.
pub const DERIVATIONS_PER_SECOND: u32 = 200;

/// Requests of one client in a second; further ones are dropped, and come again.
pub const REQUESTS_PER_SECOND: u32 = 50;

/// Default of [`Limits::clients`].
pub const DEFAULT_CLIENTS: usize = 64;

/// Default of [`Limits::clients_per_id`]: an old one that has not expired, over UDP and over TCP,
/// and the one in use.
pub const DEFAULT_CLIENTS_PER_ID: usize = 3;

/// Default of [`Limits::permissions`]: candidates of a few peers.
pub const DEFAULT_PERMISSIONS: usize = 32;

/// Default of [`Limits::channels`].
pub const DEFAULT_CHANNELS: usize = 32;

/// Default of [`Limits::bytes_per_second`]: 10 Mbit/s, a video call or a large file in minutes.
pub const DEFAULT_BYTES_PER_SECOND: u32 = 1_250_000;

/// Default of [`Limits::total_bytes_per_second`]: 50 Mbit/s.
pub const DEFAULT_TOTAL_BYTES_PER_SECOND: u32 = 6_250_000;

/// What the relay gives away. Payload bytes count once, on their way in, whichever the direction;
/// what exceeds a rate is dropped. A burst of one second's bytes is let through after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients at once, at most [`MAX_CLIENTS`]. One client has one IPv4 address and one IPv6
    /// address at most. Default: [`DEFAULT_CLIENTS`].
    pub clients: usize,
    /// Clients with the same id. Default: [`DEFAULT_CLIENTS_PER_ID`].
    pub clients_per_id: usize,
    /// Addresses that may send to one client. Default: [`DEFAULT_PERMISSIONS`].
    pub permissions: usize,
    /// Channels of one client. Default: [`DEFAULT_CHANNELS`].
    pub channels: usize,
    /// Of one client. Default: [`DEFAULT_BYTES_PER_SECOND`].
    pub bytes_per_second: u32,
    /// Of all clients. Default: [`DEFAULT_TOTAL_BYTES_PER_SECOND`].
    pub total_bytes_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: DEFAULT_CLIENTS,
            clients_per_id: DEFAULT_CLIENTS_PER_ID,
            permissions: DEFAULT_PERMISSIONS,
            channels: DEFAULT_CHANNELS,
            bytes_per_second: DEFAULT_BYTES_PER_SECOND,
            total_bytes_per_second: DEFAULT_TOTAL_BYTES_PER_SECOND,
        }
    }
}

/// Which addresses are relayed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peers {
    /// Addresses of the public internet: no private, loopback, link-local or multicast ones, and
    /// none that hides one of these (IPv4 in IPv6, 6to4, NAT64).
    #[default]
    Public,
    /// All but multicast, broadcast and unspecified ones. For networks of one's own and for tests:
    /// a relay on the internet with this opens the network it stands in.
    DangerPrivateToo,
}

/// What a relay needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients reach it. Its port is relayed to on the relay's own addresses too: what is
    /// there is open to everybody, and a client without UDP reaches the relay's DHT node so.
    pub listen: SocketAddr,
    /// The relay's own addresses. They are not relayed to, but for ports that are relayed
    /// addresses of this relay, and the port where it listens.
    pub own: Vec<IpAddr>,
    /// Which addresses are relayed to.
    pub peers: Peers,
    /// Quotas.
    pub limits: Limits,
}

/// Says which ids may use the relay. Asked after the password was checked.
pub type Admission = Box<dyn FnMut(&DeviceId) -> bool + Send>;

/// Names a stream; given by the driver, not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names a socket that is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketRequest(pub(crate) u64);

/// Address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Why the driver has no socket for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoSocket {
    /// This host has no address of the family.
    FamilyUnavailable,
    /// No port, no descriptor, no memory.
    Exhausted,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a datagram from the listening socket.
    Send {
        /// To a client.
        to: SocketAddr,
        /// Its payload.
        payload: Bytes,
    },
    /// Write to a stream.
    Write {
        /// Which.
        stream: StreamId,
        /// What.
        payload: Bytes,
    },
    /// Close a stream; it is forgotten.
    Disconnect {
        /// Which.
        stream: StreamId,
    },
    /// Open a UDP socket for a client, and answer with [`Relay::handle_socket`].
    Open {
        /// To be given back.
        request: SocketRequest,
        /// Its family.
        family: Family,
    },
    /// Close the socket of a relayed address.
    Close {
        /// Which, as it was given to [`Relay::handle_socket`].
        relayed: SocketAddr,
    },
    /// Send a datagram from the socket of a relayed address.
    Relay {
        /// Which socket.
        relayed: SocketAddr,
        /// To a peer.
        to: SocketAddr,
        /// Its payload.
        payload: Bytes,
    },
}
