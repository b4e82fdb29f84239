//! Who brought how much: so that no single address fills a store.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::address::is_local;

/// The address that entries are charged to: an IPv4 address, or the /64 of an IPv6 address, as the
/// other half of that is the host's to choose (RFC 4291, section 2.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// IPv4.
    V4([u8; 4]),
    /// The first half of an IPv6 address.
    V6([u8; 8]),
}

impl Source {
    /// Whom entries from `address` are charged to; nobody for addresses that [`is_local`], where
    /// many nodes of one address are normal. For those the store's own bounds have to do.
    pub(crate) fn of(address: IpAddr) -> Option<Self> {
        let address = address.to_canonical();
        (!is_local(address)).then(|| match address {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&v6.octets()[..8]);
                Self::V6(prefix)
            }
        })
    }
}

/// How many entries each source has in a store. Its size is bounded by the number of entries.
#[derive(Debug)]
pub(crate) struct Charges(BTreeMap<Source, u32>);

impl Charges {
    /// Nothing charged, and no memory.
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether `source` may have one more entry where each may have `quota`.
    pub(crate) fn has_room(&self, source: Option<Source>, quota: usize) -> bool {
        source.is_none_or(|source| {
            self.0
                .get(&source)
                .is_none_or(|&held| (held as usize) < quota)
        })
    }

    /// Charges one entry.
    pub(crate) fn add(&mut self, source: Option<Source>) {
        if let Some(source) = source {
            *self.0.entry(source).or_insert(0) += 1;
        }
    }

    /// Gives one entry back.
    pub(crate) fn remove(&mut self, source: Option<Source>) {
        let Some(source) = source else { return };
        let held = self.0.get_mut(&source);
        debug_assert!(held.is_some(), "what is given back was charged");
        match held {
            Some(held) if *held > 1 => *held -= 1,
            _ => {
                self.0.remove(&source);
            }
        }
    }

    /// How many entries are charged to anyone.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.0.values().map(|&held| held as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn source(address: &str) -> Option<Source> {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn a_host_is_one_source_with_all_its_ipv6_addresses() {
        assert_eq!(source("2001:db8:1:2::3"), source("2001:db8:1:2:ffff::1"));
        assert_ne!(source("2001:db8:1:2::3"), source("2001:db8:1:3::3"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn local_addresses_are_charged_to_nobody() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "::1",
            "fe80::1",
            "fd00::1",
        ] {
            assert_eq!(source(address), None, "{address}");
        }
    }

    #[test]
    fn a_source_has_room_up_to_its_quota_and_again_when_something_goes() {
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut charges = Charges::new();
        charges.add(one);
        assert!(charges.has_room(one, 2));
        charges.add(one);
        assert!(!charges.has_room(one, 2));
        assert!(charges.has_room(other, 2) && charges.has_room(None, 2));
        charges.remove(one);
        assert!(charges.has_room(one, 2));
        charges.remove(one);
        assert!(charges.0.is_empty());
    }
}
