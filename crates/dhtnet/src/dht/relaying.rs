//! The relay that shares a DHT node's sockets.

use std::sync::Arc;

use tokio::sync::watch;

use super::handle::Dht;
use crate::driver::RelayHost;
use crate::relay_server::{Announcement, RelayReport};

/// A relay on this node's sockets, and whether it is announced.
pub(super) struct Relaying {
    pub(super) host: Arc<RelayHost>,
    pub(super) announcement: watch::Receiver<Announcement>,
}

impl Dht {
    /// How the relay is doing; none where [`DhtBuilder::relay`](super::DhtBuilder::relay) was not
    /// asked for.
    #[must_use]
    pub fn relay_report(&self) -> Option<RelayReport> {
        let relay = self.inner.relay.as_ref()?;
        Some(RelayReport {
            udp: self.local_addresses(),
            tcp: relay.host.tcp_addresses().to_vec(),
            announcement: *relay.announcement.borrow(),
            traffic: relay.host.traffic(),
        })
    }
}
