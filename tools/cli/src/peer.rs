//! A peer as the user named it.

use std::fmt;

use dhtnet_identity::PeerAddress;

/// Where a peer is and what the user calls it. `Display` is for messages: `home (7n4cxyzw…)`, or
/// the beginning of the id alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Id and address hints.
    pub address: PeerAddress,
    /// Its name in the contact book.
    pub name: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.address.id.short();
        match &self.name {
            Some(name) => write!(f, "{name} ({id}…)"),
            None => write!(f, "{id}…"),
        }
    }
}
