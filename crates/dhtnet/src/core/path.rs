//! Which network addresses reach a peer: candidates race until one answers, then one is current.
//!
//! QUIC is told one constant address for every peer (see [`VIRTUAL_REMOTE`]); where the datagrams
//! really go is decided here, below it. Nothing that a peer or the network does to addresses can
//! therefore confuse the transport, and relays become just another kind of path.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// The address that QUIC believes every peer has (RFC 6666 discard prefix: never routed).
pub(crate) const VIRTUAL_REMOTE: SocketAddr = SocketAddr::V6(SocketAddrV6::new(
    Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1),
    1,
    0,
    0,
));

/// Most addresses that one connection attempt tries at once.
pub(crate) const MAX_CANDIDATES: usize = 32;

/// Most datagrams of the first flight that are kept to be repeated to late candidates.
const MAX_FIRST_FLIGHT: usize = 4;

/// A settled path must have been silent this long before authenticated packets from another
/// address move it: an attacker who copies packets to another source cannot steal a live path.
const SILENCE_BEFORE_MOVE: Duration = Duration::from_secs(1);

/// One way to a peer: its address, and the local address to send from when that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathAddress {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
}

impl PathAddress {
    pub(crate) fn to(remote: SocketAddr) -> Self {
        Self {
            remote,
            local_ip: None,
        }
    }
}

/// What a datagram from some address did to the paths.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PathChange {
    /// Nothing: the address was the current one, or is not to be followed.
    None,
    /// The race was won by this address.
    Settled,
    /// The peer moved to this address; what was measured on the old path is void.
    Moved,
}

/// The paths of one connection.
#[derive(Debug)]
pub(crate) enum Paths {
    /// No address has answered yet: every datagram goes to every candidate.
    Racing {
        candidates: Vec<PathAddress>,
        first_flight: Vec<Bytes>,
    },
    /// One address is in use.
    Settled {
        current: PathAddress,
        last_heard: Instant,
    },
}

impl Paths {
    /// Paths of a connection that we begin: nothing is known to work.
    pub(crate) fn racing() -> Self {
        Self::Racing {
            candidates: Vec::new(),
            first_flight: Vec::new(),
        }
    }

    /// Paths of a connection that began with a datagram from `from`.
    pub(crate) fn settled(from: PathAddress, now: Instant) -> Self {
        Self::Settled {
            current: from,
            last_heard: now,
        }
    }

    /// Adds a candidate. Returns the datagrams to repeat to it, none when it is known, when
    /// the race is over or when there are [`MAX_CANDIDATES`].
    pub(crate) fn add_candidate(&mut self, address: PathAddress) -> Vec<Bytes> {
        match self {
            Self::Racing {
                candidates,
                first_flight,
            } => {
                let known = candidates.iter().any(|c| c.remote == address.remote);
                if known || candidates.len() >= MAX_CANDIDATES {
                    return Vec::new();
                }
                candidates.push(address);
                first_flight.clone()
            }
            Self::Settled { .. } => Vec::new(),
        }
    }

    /// Remembers a datagram sent while racing, for candidates that come later.
    pub(crate) fn on_sent(&mut self, datagram: &[u8]) {
        if let Self::Racing { first_flight, .. } = self
            && first_flight.len() < MAX_FIRST_FLIGHT
        {
            first_flight.push(Bytes::copy_from_slice(datagram));
        }
    }

    /// Whether `from` is the address in use, so that nothing needs to be proved about it.
    pub(crate) fn is_current(&self, from: &PathAddress) -> bool {
        matches!(self, Self::Settled { current, .. } if current.remote == from.remote)
    }

    /// Notes a datagram from `from`; `authenticated` says that its AEAD was valid and fresh.
    pub(crate) fn on_received(
        &mut self,
        now: Instant,
        from: PathAddress,
        authenticated: bool,
    ) -> PathChange {
        match self {
            Self::Racing { .. } if authenticated => {
                *self = Self::settled(from, now);
                PathChange::Settled
            }
            Self::Racing { .. } => PathChange::None,
            Self::Settled {
                current,
                last_heard,
            } if current.remote == from.remote => {
                *current = from;
                *last_heard = now;
                PathChange::None
            }
            Self::Settled {
                current,
                last_heard,
            } if authenticated
                && now.saturating_duration_since(*last_heard) > SILENCE_BEFORE_MOVE =>
            {
                *current = from;
                *last_heard = now;
                PathChange::Moved
            }
            Self::Settled { .. } => PathChange::None,
        }
    }

    /// Where the next datagram goes: one address, or all candidates while racing.
    pub(crate) fn destinations(&self) -> &[PathAddress] {
        match self {
            Self::Racing { candidates, .. } => candidates,
            Self::Settled { current, .. } => std::slice::from_ref(current),
        }
    }

    /// The address in use.
    pub(crate) fn current(&self) -> Option<PathAddress> {
        match self {
            Self::Racing { .. } => None,
            Self::Settled { current, .. } => Some(*current),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> PathAddress {
        PathAddress::to(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn every_candidate_gets_the_first_flight_and_the_first_answer_wins() {
        let now = Instant::now();
        let mut paths = Paths::racing();
        assert!(paths.add_candidate(at(1)).is_empty());
        paths.on_sent(b"hello");
        assert_eq!(
            paths.add_candidate(at(2)),
            vec![Bytes::from_static(b"hello")]
        );
        assert_eq!(paths.destinations(), &[at(1), at(2)]);
        assert_eq!(paths.on_received(now, at(3), false), PathChange::None);
        assert_eq!(paths.on_received(now, at(2), true), PathChange::Settled);
        assert_eq!(paths.destinations(), &[at(2)]);
        assert!(paths.add_candidate(at(4)).is_empty());
    }

    #[test]
    fn a_known_candidate_and_the_one_past_the_bound_are_not_added() {
        let mut paths = Paths::racing();
        for port in 0..MAX_CANDIDATES as u16 {
            paths.add_candidate(at(port));
            paths.add_candidate(at(port));
        }
        assert_eq!(paths.destinations().len(), MAX_CANDIDATES);
        paths.add_candidate(at(9_999));
        assert_eq!(paths.destinations().len(), MAX_CANDIDATES);
    }

    #[test]
    fn a_live_path_is_not_moved_but_a_silent_one_is() {
        let start = Instant::now();
        let mut paths = Paths::settled(at(1), start);
        let soon = start + SILENCE_BEFORE_MOVE / 2;
        assert_eq!(paths.on_received(soon, at(2), true), PathChange::None);
        let late = start + SILENCE_BEFORE_MOVE * 2;
        assert_eq!(paths.on_received(late, at(2), false), PathChange::None);
        assert_eq!(paths.on_received(late, at(2), true), PathChange::Moved);
        assert_eq!(paths.current(), Some(at(2)));
    }

    #[test]
    fn the_first_flight_that_is_kept_is_bounded() {
        let mut paths = Paths::racing();
        for _ in 0..100 {
            paths.on_sent(b"datagram");
        }
        assert_eq!(paths.add_candidate(at(1)).len(), MAX_FIRST_FLIGHT);
    }
}
