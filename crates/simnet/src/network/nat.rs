//! A NAT in front of one machine, as far as the others notice it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Remotes remembered before the expired ones are looked for.
const FIRST_SWEEP: usize = 64;

/// What a NAT does (RFC 4787): its mapping is endpoint-independent, so the machine has one
/// address for all; its filtering is address-and-port-dependent, so only those come in to whom
/// the machine has sent within the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    expiry: Duration,
}

impl Default for Nat {
    /// Lets answers in for 120 s, the least that RFC 4787 (REQ-5) allows.
    fn default() -> Self {
        Self::with_expiry(Duration::from_secs(120))
    }
}

impl Nat {
    /// A NAT that lets a remote in for `expiry` after the last datagram sent to it.
    #[must_use]
    pub const fn with_expiry(expiry: Duration) -> Self {
        Self { expiry }
    }
}

/// The state of a NAT: who may come in, and until when.
#[derive(Debug)]
pub(super) struct Filter {
    expiry: u64,
    open_until: BTreeMap<SocketAddr, u64>,
    sweep_at: usize,
}

impl Filter {
    pub(super) fn new(nat: Nat) -> Self {
        Self {
            expiry: nat.expiry.as_nanos() as u64,
            open_until: BTreeMap::new(),
            sweep_at: FIRST_SWEEP,
        }
    }

    /// The machine sends to `remote`. What expired is forgotten whenever twice as much is
    /// remembered as was alive at the last look.
    pub(super) fn on_sent(&mut self, now: u64, remote: SocketAddr) {
        self.open_until.insert(remote, now + self.expiry);
        if self.open_until.len() >= self.sweep_at {
            self.open_until.retain(|_, until| *until > now);
            self.sweep_at = FIRST_SWEEP.max(self.open_until.len() * 2);
        }
    }

    /// Whether a datagram of `remote` comes in.
    pub(super) fn admits(&self, now: u64, remote: &SocketAddr) -> bool {
        self.open_until
            .get(remote)
            .is_some_and(|&until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_until_the_expiry_and_not_another_port() {
        let mut filter = Filter::new(Nat::with_expiry(Duration::from_nanos(100)));
        let remote = SocketAddr::from(([192, 0, 2, 1], 1));
        assert!(!filter.admits(0, &remote));
        filter.on_sent(0, remote);
        assert!(filter.admits(99, &remote));
        assert!(!filter.admits(100, &remote));
        assert!(!filter.admits(50, &SocketAddr::from(([192, 0, 2, 1], 2))));
        filter.on_sent(90, remote);
        assert!(filter.admits(189, &remote));
    }

    #[test]
    fn remembers_no_more_than_twice_what_is_alive() {
        let mut filter = Filter::new(Nat::with_expiry(Duration::from_nanos(100)));
        for at in 0..10_000u64 {
            let remote = SocketAddr::from(([192, 0, 2, 1], at as u16));
            filter.on_sent(at, remote);
            assert!(filter.open_until.len() < 2 * 100 + FIRST_SWEEP);
        }
    }
}
