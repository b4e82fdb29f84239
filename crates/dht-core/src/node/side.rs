//! One of the two DHTs (BEP 32): its id, table, and what is known about the way to it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand_core::Rng;

use crate::address::{Contact, Family, canonical};
use crate::external_address::ExternalAddress;
use crate::id::Id;
use crate::lookup::Asked;
use crate::round_trip::{Patience, RoundTrips};
use crate::routing::RoutingTable;
use crate::secure_id::{is_secure, secure_id};

/// What the node knows in one family.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) family: Family,
    pub(crate) table: RoutingTable,
    pub(crate) external: ExternalAddress,
    pub(crate) round_trips: RoundTrips,
}

impl Side {
    pub(crate) fn new(family: Family, id: Id, now: Instant) -> Self {
        Self {
            family,
            table: RoutingTable::new(id, family, now),
            external: ExternalAddress::new(),
            round_trips: RoundTrips::default(),
        }
    }

    /// How long to wait for this node.
    pub(crate) fn patience(&self, asked: &Asked) -> Patience {
        let own = asked
            .id
            .and_then(|id| self.table.round_trip(&Contact::new(id, asked.address)));
        self.round_trips.patience(own)
    }

    /// Takes an id that follows from our address, unless it does already (BEP 42).
    pub(crate) fn adopt_address(&mut self, now: Instant, ip: IpAddr, rng: &mut impl Rng) {
        if !is_secure(&self.table.own_id(), ip) {
            self.table.set_own_id(now, secure_id(ip, rng));
        }
    }

    /// Whether a node that somebody told of may be asked: of this family, which an IPv4 address
    /// in IPv6's clothes is not, and not this node.
    pub(crate) fn is_usable(&self, contact: &Contact) -> bool {
        Family::of(&canonical(contact.address)) == self.family
            && contact.id != self.table.own_id()
            && !self.is_own_address(&contact.address)
    }

    fn is_own_address(&self, address: &SocketAddr) -> bool {
        self.external.believed().as_ref() == Some(address)
    }
}
