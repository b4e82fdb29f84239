//! Which allocations can be used, and where they are.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::Relays;

impl Relays {
    /// An allocation that can be used, at a server that is not silent.
    pub(crate) fn standing(&self) -> Option<u16> {
        self.all_standing().into_iter().next()
    }

    /// All of those, the oldest first for as long as numbers are not used again.
    pub(crate) fn all_standing(&self) -> Vec<u16> {
        let inner = self.lock();
        let all = inner.entries.iter();
        all.filter(|(_, entry)| !entry.relayed().is_empty() && !entry.is_doubtful())
            .map(|(number, _)| *number)
            .collect()
    }

    /// Where an allocation is: its server's address and those that it was given.
    pub(crate) fn hosts(&self, number: u16) -> BTreeSet<IpAddr> {
        let inner = self.lock();
        let entry = inner.entries.get(&number);
        entry.map_or_else(BTreeSet::new, |entry| {
            let relayed = entry.relayed().iter().map(SocketAddr::ip);
            relayed.chain([entry.target.door.address.ip()]).collect()
        })
    }
}
