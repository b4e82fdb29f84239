//! From a device id to addresses: one trait, several sources that are asked at once.

mod dht;
mod hints;
mod mdns;

use std::net::SocketAddr;

use dhtnet_identity::{DeviceId, PeerAddress};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

pub(crate) use self::dht::{DhtDiscovery, newest_first};
pub(crate) use self::hints::Hints;
pub(crate) use self::mdns::Mdns;
use crate::service::Service;

/// Addresses of a peer as they are found. Ends when the source will find no more.
pub type Lookup = BoxStream<'static, SocketAddr>;

/// Other services of a peer, as signs of them are found.
pub type OtherServices = BoxStream<'static, Service>;

/// What a node tells about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Announcement {
    /// The device.
    pub id: DeviceId,
    /// The addresses its sockets are bound to, one for each family; unspecified ones stand for
    /// all interfaces.
    pub addresses: Vec<SocketAddr>,
    /// Which of the device's programs this is.
    pub service: Service,
}

impl Announcement {
    pub(crate) fn new(id: DeviceId, addresses: Vec<SocketAddr>, service: Service) -> Self {
        Self {
            id,
            addresses,
            service,
        }
    }
}

/// A source of addresses. None is trusted: a wrong address costs a datagram, and only the holder
/// of the peer's key can answer it.
pub trait Discovery: Send + Sync + 'static {
    /// The source's name, for messages: "the local network (mDNS)".
    fn name(&self) -> &'static str;

    /// Looks for a peer. Must not block; gives addresses as they come.
    fn lookup(&self, peer: &PeerAddress) -> Lookup;

    /// Looks for other programs of the peer than the one that is wanted, so that a failure can tell
    /// that the device is there. Asked when a lookup takes long. Must not block. Default: none.
    fn lookup_others(&self, _peer: &PeerAddress) -> OtherServices {
        futures_util::stream::empty().boxed()
    }

    /// Lets others find this device. Called when the first channel is listened for, and again
    /// when the addresses changed. Must not block.
    fn announce(&self, own: &Announcement);

    /// Takes announcements back. Called when the node shuts down. Must not block.
    fn close(&self);
}
