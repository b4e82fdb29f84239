//! How many queries wait for their asker to answer a ping, and for whom.

use std::net::IpAddr;

use crate::store::source::{Charges, Source};

/// Queries that wait until their asker has answered a ping. At the bound the answer is left out:
/// 256 datagrams of at most 4 KiB, and each waits for a few seconds.
pub(crate) const MAX_DEFERRED: usize = 256;

/// Of these for one address or IPv6 /64: it takes 16 to keep others from waiting. A node that
/// reads a long value piece by piece asks a few times at once before it is proved.
pub(crate) const MAX_DEFERRED_PER_SOURCE: usize = MAX_DEFERRED / 16;

/// The queries that wait.
#[derive(Debug)]
pub(crate) struct Deferrals {
    count: usize,
    charges: Charges,
}

impl Deferrals {
    pub(crate) const fn new() -> Self {
        Self {
            count: 0,
            charges: Charges::new(),
        }
    }

    /// Whether one more query from this address may wait.
    pub(crate) fn has_room(&self, from: IpAddr) -> bool {
        self.count < MAX_DEFERRED
            && self
                .charges
                .has_room(Source::of(from), MAX_DEFERRED_PER_SOURCE)
    }

    /// One more waits.
    pub(crate) fn begin(&mut self, from: IpAddr) {
        self.count += 1;
        self.charges.add(Source::of(from));
    }

    /// One waits no longer, answered or not.
    pub(crate) fn end(&mut self, from: IpAddr) {
        self.count -= 1;
        self.charges.remove(Source::of(from));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn ip(n: usize) -> IpAddr {
        IpAddr::from([11, 0, (n / 256) as u8, (n % 256) as u8])
    }

    #[test]
    fn one_address_waits_up_to_its_share_and_all_up_to_the_bound() {
        let mut deferrals = Deferrals::new();
        for _ in 0..MAX_DEFERRED_PER_SOURCE {
            assert!(deferrals.has_room(ip(0)));
            deferrals.begin(ip(0));
        }
        assert!(!deferrals.has_room(ip(0)));
        for n in MAX_DEFERRED_PER_SOURCE..MAX_DEFERRED {
            assert!(deferrals.has_room(ip(n)));
            deferrals.begin(ip(n));
        }
        assert!(!deferrals.has_room(ip(1_000)));
        deferrals.end(ip(0));
        assert!(deferrals.has_room(ip(0)) && deferrals.has_room(ip(1_000)));
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_have_one_share() {
        let mut deferrals = Deferrals::new();
        for n in 0..MAX_DEFERRED_PER_SOURCE {
            deferrals.begin(format!("2001:db8::{n:x}").parse().unwrap());
        }
        assert!(!deferrals.has_room("2001:db8::ffff".parse().unwrap()));
        assert!(deferrals.has_room("2001:db8:0:1::1".parse().unwrap()));
    }
}
