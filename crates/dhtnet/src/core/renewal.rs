//! A connection of which nothing is heard, beside a new one to the same peer.

use std::net::IpAddr;
use std::time::Instant;

use dhtnet_nat_traversal::candidate::is_private;

use super::path::PathAddress;
use super::{ConnectionKey, Core};

impl Core {
    /// Ends a connection then, unless it is heard before: the peer was reached by another one.
    pub(crate) fn give_up_at(&mut self, now: Instant, at: Instant, key: ConnectionKey) {
        if let Some(connection) = self.get_mut(key) {
            connection.give_up_at(at);
        }
        self.drive(now, key);
        self.wake = true;
    }

    /// Whether the peer of the new connection was started after the old one was last heard: then it
    /// is in the place of the program that had the old one.
    pub(crate) fn began_after(&self, old: ConnectionKey, new: ConnectionKey) -> bool {
        let began = self.get(new).and_then(|connection| connection.peer_began);
        let heard = self.get(old).and_then(|c| c.paths.last_received());
        began.zip(heard).is_some_and(|(began, heard)| began > heard)
    }

    /// Whether one connection uses an address under which the peer of another one was known, or
    /// another port of the same host of this network: no router stands between, which might have
    /// forgotten the old port.
    pub(crate) fn have_common_host(&self, old: ConnectionKey, new: ConnectionKey) -> bool {
        let new = self.get(new).and_then(|c| c.paths.current());
        let old = self.get(old).map(|c| c.paths.destinations());
        let (Some(PathAddress { remote: new, .. }), Some(old)) = (new, old) else {
            return false;
        };
        let near = match new.ip() {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => true,
            ip => is_private(ip),
        };
        let is_common = |of: &PathAddress| of.remote == new || (near && of.remote.ip() == new.ip());
        old.iter().any(is_common)
    }
}
