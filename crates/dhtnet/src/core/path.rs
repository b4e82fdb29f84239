//! Which network addresses reach a peer: candidates race until one answers, then one is current.
//!
//! QUIC is told one constant address for every peer (see [`VIRTUAL_REMOTE`]); where the datagrams
//! really go is decided here, below it. Nothing that a peer or the network does to addresses can
//! therefore confuse the transport, and relays become just another kind of path.

use std::collections::BTreeSet;
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

/// A port must stay closed this long, with nothing heard, before the peer counts as gone: a
/// program that is started again has its port back by then.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// Which of the node's own ends a datagram uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Via {
    /// The socket of the family, shared by everything.
    Shared,
    /// A socket opened to punch a hole, by its number.
    Extra(u16),
    /// An allocation at a relay, by its number. The remote address is the peer's as the relay sees
    /// it.
    Relay(u16),
}

/// One way to a peer: its address, the end of ours, and the local address to send from when that
/// is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathAddress {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) via: Via,
}

impl PathAddress {
    pub(crate) fn to(remote: SocketAddr) -> Self {
        Self {
            remote,
            local_ip: None,
            via: Via::Shared,
        }
    }

    /// Whether both lead the same way; the local address is the system's choice.
    pub(crate) fn is_same_path(&self, other: &Self) -> bool {
        self.remote == other.remote && self.via == other.via
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

/// Reports of a host that nobody has its port. Anybody on the way can forge one, so they count
/// only together with silence.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Refusals {
    first: Option<Instant>,
    hosts: BTreeSet<IpAddr>,
}

impl Refusals {
    fn note(&mut self, now: Instant, host: IpAddr) {
        self.first.get_or_insert(now);
        if self.hosts.len() < MAX_CANDIDATES {
            self.hosts.insert(host);
        }
    }
}

#[derive(Debug)]
enum Stage {
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

/// The paths of one connection.
#[derive(Debug)]
pub(crate) struct Paths {
    stage: Stage,
    refusals: Refusals,
}

impl Paths {
    /// Paths of a connection that we begin: nothing is known to work.
    pub(crate) fn racing() -> Self {
        let stage = Stage::Racing {
            candidates: Vec::new(),
            first_flight: Vec::new(),
        };
        Self {
            stage,
            refusals: Refusals::default(),
        }
    }

    /// Paths of a connection that began with a datagram from `from`.
    pub(crate) fn settled(from: PathAddress, now: Instant) -> Self {
        let stage = Stage::Settled {
            current: from,
            last_heard: now,
        };
        Self {
            stage,
            refusals: Refusals::default(),
        }
    }

    /// Adds a candidate. Returns the datagrams to repeat to it, none when it is known, when
    /// the race is over or when there are [`MAX_CANDIDATES`].
    pub(crate) fn add_candidate(&mut self, address: PathAddress) -> Vec<Bytes> {
        match &mut self.stage {
            Stage::Racing {
                candidates,
                first_flight,
            } => {
                let known = candidates.iter().any(|c| c.is_same_path(&address));
                if known || candidates.len() >= MAX_CANDIDATES {
                    return Vec::new();
                }
                candidates.push(address);
                first_flight.clone()
            }
            Stage::Settled { .. } => Vec::new(),
        }
    }

    /// Remembers a datagram sent while racing, for candidates that come later.
    pub(crate) fn on_sent(&mut self, datagram: &[u8]) {
        if let Stage::Racing { first_flight, .. } = &mut self.stage
            && first_flight.len() < MAX_FIRST_FLIGHT
        {
            first_flight.push(Bytes::copy_from_slice(datagram));
        }
    }

    /// Whether `from` is the address in use, so that nothing needs to be proved about it.
    pub(crate) fn is_current(&self, from: &PathAddress) -> bool {
        self.current()
            .is_some_and(|current| current.is_same_path(from))
    }

    /// Notes a datagram from `from`; `authenticated` says that its AEAD was valid and fresh.
    pub(crate) fn on_received(
        &mut self,
        now: Instant,
        from: PathAddress,
        authenticated: bool,
    ) -> PathChange {
        let change = match &self.stage {
            Stage::Settled { current, .. } if current.is_same_path(&from) => PathChange::None,
            Stage::Racing { .. } if authenticated => PathChange::Settled,
            Stage::Settled { last_heard, .. }
                if authenticated
                    && now.saturating_duration_since(*last_heard) > SILENCE_BEFORE_MOVE =>
            {
                PathChange::Moved
            }
            Stage::Racing { .. } | Stage::Settled { .. } => return PathChange::None,
        };
        self.stage = Stage::Settled {
            current: from,
            last_heard: now,
        };
        self.refusals = Refusals::default();
        change
    }

    /// Notes that `host` reports a closed port.
    pub(crate) fn on_refused(&mut self, now: Instant, host: IpAddr) {
        if self.destinations().iter().any(|to| to.remote.ip() == host) {
            self.refusals.note(now, host);
        }
    }

    /// Whether nobody is there any more: every address has reported its port closed, and nothing
    /// was heard since for [`REFUSAL_PATIENCE`].
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now)
    }

    /// When [`Paths::is_dead`] becomes true, if nothing is heard until then.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let refused = |to: &PathAddress| self.refusals.hosts.contains(&to.remote.ip());
        let all = self.destinations().iter().all(refused);
        self.refusals
            .first
            .filter(|_| all)
            .map(|at| at + REFUSAL_PATIENCE)
    }

    /// Where the next datagram goes: one address, or all candidates while racing.
    pub(crate) fn destinations(&self) -> &[PathAddress] {
        match &self.stage {
            Stage::Racing { candidates, .. } => candidates,
            Stage::Settled { current, .. } => std::slice::from_ref(current),
        }
    }

    /// The address in use.
    pub(crate) fn current(&self) -> Option<PathAddress> {
        match &self.stage {
            Stage::Racing { .. } => None,
            Stage::Settled { current, .. } => Some(*current),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
    fn a_closed_port_kills_a_silent_path_only_and_not_at_once() {
        let start = Instant::now();
        let host = at(1).remote.ip();
        let mut paths = Paths::settled(at(1), start);
        paths.on_refused(start, "192.0.2.99".parse().unwrap());
        assert_eq!(paths.poll_timeout(), None);
        paths.on_refused(start, host);
        assert!(!paths.is_dead(start + REFUSAL_PATIENCE / 2));
        assert!(paths.is_dead(start + REFUSAL_PATIENCE));
        // The peer was heard after all.
        assert_eq!(paths.on_received(start, at(1), true), PathChange::None);
        assert!(!paths.is_dead(start + REFUSAL_PATIENCE * 10));
    }

    #[test]
    fn an_attempt_is_dead_only_when_every_candidate_refused() {
        let start = Instant::now();
        let mut paths = Paths::racing();
        let other = PathAddress::to("198.51.100.1:5".parse().unwrap());
        paths.add_candidate(at(1));
        paths.add_candidate(other);
        paths.on_refused(start, at(1).remote.ip());
        assert!(!paths.is_dead(start + REFUSAL_PATIENCE));
        paths.on_refused(start, other.remote.ip());
        assert!(paths.is_dead(start + REFUSAL_PATIENCE));
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
