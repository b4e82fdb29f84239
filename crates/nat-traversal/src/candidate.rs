//! Addresses where a peer may be reached, and in which order they are tried (RFC 8445).
//!
//! Foundations and the frozen state (RFC 8445 section 6.1.2.6) are left out: they spare checks
//! where several streams share a path, and here there is one. A base that is bound to several
//! interfaces counts once: pairs are made of sockets, not of local addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Most host addresses that are kept and offered; machines with containers have dozens.
pub const MAX_HOST: usize = 6;

/// Most server-reflexive addresses: two families, and NATs that map each server differently.
pub const MAX_SERVER_REFLEXIVE: usize = 4;

/// Most mapped addresses: one protocol for each family.
pub const MAX_MAPPED: usize = 2;

/// Most relayed addresses: two relays with both families.
pub const MAX_RELAYED: usize = 4;

/// Most candidates that one side has, of all kinds that are offered.
pub const MAX_CANDIDATES: usize = MAX_HOST + MAX_SERVER_REFLEXIVE + MAX_MAPPED + MAX_RELAYED;

/// A local socket, as the driver numbers them.
///
/// An allocation at a relay counts as a socket too: what is sent "from" it goes through the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u16);

impl SocketId {
    /// The socket that DHT, STUN and QUIC share; for IPv4, where there are two.
    pub const MAIN: Self = Self(0);
}

/// How an address came to be known (RFC 8445 section 4), best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateKind {
    /// An interface's own address.
    Host,
    /// Opened at the router by UPnP, NAT-PMP or PCP.
    Mapped,
    /// Seen by the peer in a check.
    PeerReflexive,
    /// Seen by a STUN server, a DHT node or another peer.
    ServerReflexive,
    /// At a relay.
    Relayed,
}

impl CandidateKind {
    /// Type preference (RFC 8445 section 5.1.2.2 recommends 126, 110, 100 and 0). A mapped
    /// address is reached through the router like a reflexive one and needs no punching, so it
    /// stands between host and reflexive.
    #[must_use]
    pub const fn preference(self) -> u32 {
        match self {
            Self::Host => 126,
            Self::Mapped => 115,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed => 0,
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Host => MAX_HOST,
            Self::Mapped => MAX_MAPPED,
            Self::ServerReflexive => MAX_SERVER_REFLEXIVE,
            Self::Relayed => MAX_RELAYED,
            // What a peer sees belongs to a pair and is not offered.
            Self::PeerReflexive => 0,
        }
    }
}

impl fmt::Display for CandidateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Mapped => "mapped",
            Self::PeerReflexive => "peer-reflexive",
            Self::ServerReflexive => "server-reflexive",
            Self::Relayed => "relayed",
        })
    }
}

/// An address of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// How it is known.
    pub kind: CandidateKind,
    /// Where.
    pub address: SocketAddr,
}

impl Candidate {
    /// A candidate of this kind.
    #[must_use]
    pub const fn new(kind: CandidateKind, address: SocketAddr) -> Self {
        Self { kind, address }
    }

    /// Priority (RFC 8445 section 5.1.2.1) of the one at `index` in its side's list, for
    /// component 1. IPv6 comes before IPv4 of the same kind (RFC 8421), then the earlier in the
    /// list.
    #[must_use]
    pub fn priority(&self, index: usize) -> u32 {
        let family = if self.address.is_ipv6() { 0x8000 } else { 0 };
        let local = family + (0x7fff - index.min(0x7fff) as u32);
        (self.kind.preference() << 24) + (local << 8) + 255
    }

    /// Whether the address is one to tell a peer, or to believe from one.
    #[must_use]
    pub fn is_offerable(&self) -> bool {
        is_offerable(&self.address)
    }
}

/// The priority of a pair, the same on both sides (RFC 8445 section 6.1.2.3). Priorities are below
/// 2^31.
#[must_use]
pub fn pair_priority(controlling: u32, controlled: u32) -> u64 {
    let low = u64::from(controlling.min(controlled));
    let high = controlling.max(controlled);
    (low << 32) + 2 * u64::from(high) + u64::from(controlling > controlled)
}

/// Whether an address means the same host to a peer as to us: no loopback, link-local, multicast
/// or unspecified one, no port 0. Private addresses do, where both are in one network.
#[must_use]
pub fn is_offerable(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let fit = match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_broadcast() && v4.octets()[0] != 0,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    fit && address.port() != 0
        && !ip.is_loopback()
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && address.ip() == ip
}

/// Whether an address is for use inside a network only: RFC 1918, RFC 6598 and RFC 4193.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// The candidates of one side, each address once, with the socket it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    list: Vec<(Candidate, SocketId)>,
}

/// What became of a candidate that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// The address is known already; the better kind stays.
    Known,
    /// Not for a peer, see [`is_offerable`], or peer-reflexive.
    NotOffered,
    /// There are as many of this kind as there may be. The first ones stay: the driver gives the
    /// best first.
    Full,
}

impl Candidates {
    /// Adds one, up to [`MAX_CANDIDATES`] in all and the bound of its kind.
    pub fn add(&mut self, candidate: Candidate, socket: SocketId) -> Added {
        if !candidate.is_offerable() || candidate.kind == CandidateKind::PeerReflexive {
            return Added::NotOffered;
        }
        let known = |(known, _): &&mut (Candidate, SocketId)| known.address == candidate.address;
        if let Some((known, _)) = self.list.iter_mut().find(known) {
            known.kind = known.kind.min(candidate.kind);
            return Added::Known;
        }
        let of_kind = |(known, _): &&(Candidate, SocketId)| known.kind == candidate.kind;
        if self.list.iter().filter(of_kind).count() >= candidate.kind.most() {
            return Added::Full;
        }
        self.list.push((candidate, socket));
        Added::New
    }

    /// All, in the order of their arrival, which is part of their priority.
    pub fn iter(&self) -> impl Iterator<Item = &(Candidate, SocketId)> {
        self.list.iter()
    }

    /// Takes away what belongs to a socket that is gone.
    pub fn remove_socket(&mut self, socket: SocketId) {
        self.list.retain(|(_, of)| *of != socket);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn priorities_follow_the_formula_and_kinds_come_in_order() {
        let host = Candidate::new(CandidateKind::Host, at("192.0.2.1:9"));
        assert_eq!(host.priority(0), (126 << 24) + (0x7fff << 8) + 255);
        let v6 = Candidate::new(CandidateKind::Host, at("[2001:db8::1]:9"));
        assert!(v6.priority(5) > host.priority(0));
        assert!(host.priority(0) > host.priority(1));
        let order = [
            CandidateKind::Host,
            CandidateKind::Mapped,
            CandidateKind::PeerReflexive,
            CandidateKind::ServerReflexive,
            CandidateKind::Relayed,
        ];
        let of = |kind| Candidate::new(kind, at("192.0.2.1:9")).priority(0);
        assert!(order.windows(2).all(|two| of(two[0]) > of(two[1])));
        assert!(order.windows(2).all(|two| two[0] < two[1]));
    }

    #[test]
    fn a_pair_has_one_priority_seen_from_both_sides() {
        assert_eq!(pair_priority(7, 5), (5 << 32) + 14 + 1);
        assert_eq!(pair_priority(5, 7), (5 << 32) + 14);
        assert_eq!(
            pair_priority(0x7fff_ffff, 0x7fff_ffff),
            0x7fff_ffff_ffff_fffe
        );
    }

    #[test]
    fn only_addresses_that_mean_the_same_to_a_peer_are_offered() {
        let refused = [
            "127.0.0.1:1",
            "[::1]:1",
            "169.254.3.4:1",
            "[fe80::1]:1",
            "0.0.0.0:1",
            "0.1.2.3:1",
            "[::]:1",
            "224.0.0.1:1",
            "[ff02::1]:1",
            "255.255.255.255:1",
            "192.0.2.1:0",
            "[::ffff:192.0.2.1]:1",
        ];
        for text in refused {
            assert!(!is_offerable(&at(text)), "{text}");
        }
        for text in ["192.168.1.2:1", "10.0.0.1:1", "[fd00::1]:1", "11.0.0.1:1"] {
            assert!(is_offerable(&at(text)), "{text}");
        }
        assert!(is_private(at("100.64.0.1:1").ip()));
        assert!(!is_private(at("100.128.0.1:1").ip()));
    }

    #[test]
    fn an_address_is_kept_once_with_its_best_kind() {
        let mut all = Candidates::default();
        let reflexive = Candidate::new(CandidateKind::ServerReflexive, at("192.0.2.1:9"));
        assert_eq!(all.add(reflexive, SocketId::MAIN), Added::New);
        let host = Candidate::new(CandidateKind::Host, at("192.0.2.1:9"));
        assert_eq!(all.add(host, SocketId::MAIN), Added::Known);
        assert_eq!(all.iter().collect::<Vec<_>>(), [&(host, SocketId::MAIN)]);
    }

    #[test]
    fn each_kind_takes_its_bound_and_not_one_more() {
        let mut all = Candidates::default();
        let mut port = 0;
        for kind in [
            CandidateKind::Host,
            CandidateKind::Mapped,
            CandidateKind::ServerReflexive,
            CandidateKind::Relayed,
        ] {
            let mut add = || {
                port += 1;
                let address = SocketAddr::from(([192, 0, 2, 1], port));
                all.add(Candidate::new(kind, address), SocketId(port))
            };
            let fit: Vec<Added> = (0..kind.most()).map(|_| add()).collect();
            assert!(fit.iter().all(|added| *added == Added::New));
            assert_eq!(add(), Added::Full);
        }
        assert_eq!(all.iter().count(), MAX_CANDIDATES);
        all.remove_socket(SocketId(1));
        assert_eq!(all.iter().count(), MAX_CANDIDATES - 1);
    }
}
