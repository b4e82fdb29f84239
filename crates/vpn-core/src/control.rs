//! What client and server say on the stream of `dvpn.join`, and the request that opens it.
//!
//! Each message is `length (2, big endian) ‖ bincode`, where the first byte is the version. The
//! client says [`Join`] in the metadata of its request; the server answers with [`Message::Welcome`]
//! and [`Message::Peers`], and says either again whenever it changes. Both directions stay open as long as the
//! device takes part.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dhtnet_identity::DeviceId;
use dhtnet_identity::target::Network;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::address::NetworkName;

/// Version of the messages, their first byte.
pub const VERSION: u8 = 1;

/// Longest message, bytes: the list of [`MAX_PEERS`] with a few networks each.
pub const MAX_MESSAGE: usize = 60_000;

/// What reading a message may come to as bincode counts it: each number at its full size, which is
/// at most eight times what it takes in the message.
const MAX_COUNTED: usize = 8 * MAX_MESSAGE;

/// Longest [`Join`], bytes: what the metadata of a request holds (channel-mux).
pub const MAX_JOIN: usize = 4096;

/// Most peers in a list.
pub const MAX_PEERS: usize = 256;

/// Most networks that one device announces.
pub const MAX_ROUTES: usize = 64;

/// Most addresses of one kind in a message.
pub const MAX_ADDRESSES: usize = 8;

/// Longest name of a device or a domain, bytes (RFC 1035, section 2.3.4).
pub const MAX_NAME: usize = 253;

/// Bytes before a message.
pub const LENGTH: usize = 2;

/// What a device asks with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The network that it wants to join.
    pub network: NetworkName,
    /// Networks behind it.
    pub routes: Vec<Route>,
    /// Addresses under which others may reach it.
    pub hints: Vec<SocketAddr>,
}

/// A network on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its first address.
    pub address: IpAddr,
    /// Bits that its addresses share.
    pub len: u8,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Message {
    /// The device is in.
    Welcome(Welcome),
    /// All other devices that are in now.
    Peers(Vec<Peer>),
}

/// What a device is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Its IPv4 address, and the length of the network's prefix.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// The server's IPv4 address.
    pub server_ipv4: Option<Ipv4Addr>,
    /// Networks behind the server; all addresses if it is an exit that this device may use.
    pub routes: Vec<Route>,
    /// Resolvers to use.
    pub dns: Vec<IpAddr>,
    /// Domains that these resolvers know; empty for all.
    pub domains: Vec<String>,
}

/// Another device of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its key.
    pub id: [u8; 32],
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// How the server calls it.
    pub name: Option<String>,
    /// Networks behind it.
    pub routes: Vec<Route>,
    /// Where it may be reached.
    pub hints: Vec<SocketAddr>,
    /// Whether it is to be reached directly, or through the server.
    pub way: Way,
}

/// How one client reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// By a connection of their own; through the server until that is up.
    Direct,
    /// Through the server.
    Server,
}

/// Why a message is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is of another version.
    #[error("the other side speaks version {0}, this one version {VERSION}; update the older one")]
    Version(u8),
    /// It cannot be read.
    #[error("a message that cannot be read")]
    Malformed,
    /// It has more, or longer, entries than are taken.
    #[error("a message with too many or too long entries")]
    TooLarge,
}

impl Route {
    /// The network; `None` for what is none.
    pub fn network(&self) -> Option<Network> {
        format!("{}/{}", self.address, self.len).parse().ok()
    }
}

impl From<Network> for Route {
    fn from(network: Network) -> Self {
        Self {
            address: network.address(),
            len: network.prefix_len(),
        }
    }
}

impl Peer {
    /// Its id; `None` for what is no key.
    pub fn id(&self) -> Option<DeviceId> {
        DeviceId::from_bytes(&self.id).ok()
    }
}

impl Join {
    /// The metadata of the request.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads the metadata of a request.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let join: Self = decode::<_, MAX_JOIN>(bytes)?;
        let fits = join.routes.len() <= MAX_ROUTES && join.hints.len() <= MAX_ADDRESSES;
        check(fits && join.routes.iter().all(is_network))?;
        Ok(join)
    }
}

impl Message {
    /// The message with its length before it; `None` if it is longer than [`MAX_MESSAGE`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        let body = encode(self);
        let len = u16::try_from(body.len())
            .ok()
            .filter(|_| body.len() <= MAX_MESSAGE)?;
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend(body);
        Some(bytes)
    }

    /// Length of the message that follows these bytes.
    ///
    /// # Errors
    /// [`ControlError::TooLarge`] beyond [`MAX_MESSAGE`].
    pub fn decode_length(bytes: [u8; LENGTH]) -> Result<usize, ControlError> {
        let len = usize::from(u16::from_be_bytes(bytes));
        check(len <= MAX_MESSAGE)?;
        Ok(len)
    }

    /// Reads a message, its length not included.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let message: Self = decode::<_, MAX_MESSAGE>(bytes)?;
        match &message {
            Self::Welcome(welcome) => {
                let lists = welcome.routes.len() <= MAX_ROUTES
                    && welcome.dns.len() <= MAX_ADDRESSES
                    && welcome.domains.len() <= MAX_ADDRESSES;
                let names = welcome.domains.iter().all(|name| name.len() <= MAX_NAME);
                let prefix = welcome.ipv4.is_none_or(|(_, len)| len <= 32);
                check(lists && names && prefix && welcome.routes.iter().all(is_network))?;
            }
            Self::Peers(peers) => {
                check(peers.len() <= MAX_PEERS && peers.iter().all(is_bounded))?;
            }
        }
        Ok(message)
    }
}

fn is_bounded(peer: &Peer) -> bool {
    peer.routes.len() <= MAX_ROUTES
        && peer.hints.len() <= MAX_ADDRESSES
        && peer.name.as_ref().is_none_or(|name| name.len() <= MAX_NAME)
        && peer.routes.iter().all(is_network)
}

fn is_network(route: &Route) -> bool {
    route.network().is_some()
}

fn check(fits: bool) -> Result<(), ControlError> {
    fits.then_some(()).ok_or(ControlError::TooLarge)
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let config = bincode::config::standard();
    // Writing numbers, text and lists to memory cannot fail.
    if let Ok(body) = bincode::serde::encode_to_vec(message, config) {
        bytes.extend(body);
    }
    bytes
}

/// Strict: as many bytes as it was encoded to, and no others.
fn decode<T: DeserializeOwned + Serialize, const LIMIT: usize>(
    bytes: &[u8],
) -> Result<T, ControlError> {
    let (version, body) = bytes.split_first().ok_or(ControlError::Malformed)?;
    if *version != VERSION {
        return Err(ControlError::Version(*version));
    }
    check(bytes.len() <= LIMIT)?;
    let config = bincode::config::standard().with_limit::<MAX_COUNTED>();
    let (message, used): (T, usize) =
        bincode::serde::decode_from_slice(body, config).map_err(|_| ControlError::Malformed)?;
    // bincode takes numbers in more bytes than they need; two forms of one message are one too many.
    let is_exact = used == body.len() && encode(&message) == bytes;
    is_exact.then_some(message).ok_or(ControlError::Malformed)
}

#[cfg(test)]
mod tests;
