//! What a NAT or a firewall does, in the terms of RFC 4787, and what it remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::Rng;

/// How much of the remote address decides which mapping an inner socket uses (RFC 4787, 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatMapping {
    /// One outer port for all remotes.
    EndpointIndependent,
    /// One outer port for each remote address.
    AddressDependent,
    /// One outer port for each remote address and port.
    AddressAndPortDependent,
}

/// Who may send to an outer port (RFC 4787, 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatFiltering {
    /// Everybody.
    EndpointIndependent,
    /// Remotes whose address the inner socket has sent to.
    AddressDependent,
    /// Remotes whose address and port the inner socket has sent to.
    AddressAndPortDependent,
}

/// How the outer port of a new mapping is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NatPorts {
    /// The inner port, or the next free one above it.
    Kept,
    /// Any of `low` to `high`, by chance. A narrow range is a port block.
    Random {
        /// The lowest port.
        low: u16,
        /// The highest port.
        high: u16,
    },
    /// One after the other from `low` to `high`, then from `low` again.
    Sequential {
        /// From one to the next.
        step: u16,
        /// The lowest port.
        low: u16,
        /// The highest port.
        high: u16,
    },
}

/// What a NAT does. Begin with one of the named kinds and change what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatModel {
    pub(super) mapping: NatMapping,
    pub(super) filtering: NatFiltering,
    pub(super) ports: NatPorts,
    pub(super) expiry: Duration,
    pub(super) hairpin: bool,
}

/// The lowest port that NATs give out: what Linux takes for inner ports that are not privileged.
const LOWEST_PORT: u16 = 1024;

/// What RFC 4787 (REQ-5) recommends, and twice its least.
const EXPIRY: Duration = Duration::from_secs(300);

impl NatModel {
    /// Endpoint-independent mapping and filtering, port kept: "full cone".
    #[must_use]
    pub const fn full_cone() -> Self {
        Self::port_restricted().with_filtering(NatFiltering::EndpointIndependent)
    }

    /// Endpoint-independent mapping, address-dependent filtering, port kept.
    #[must_use]
    pub const fn address_restricted() -> Self {
        Self::port_restricted().with_filtering(NatFiltering::AddressDependent)
    }

    /// Endpoint-independent mapping, address-and-port-dependent filtering, port kept.
    #[must_use]
    pub const fn port_restricted() -> Self {
        Self {
            mapping: NatMapping::EndpointIndependent,
            filtering: NatFiltering::AddressAndPortDependent,
            ports: NatPorts::Kept,
            expiry: EXPIRY,
            hairpin: false,
        }
    }

    /// Address-and-port-dependent mapping and filtering, outer ports by chance from 1024 up:
    /// "symmetric".
    #[must_use]
    pub const fn symmetric() -> Self {
        let ports = NatPorts::Random {
            low: LOWEST_PORT,
            high: u16::MAX,
        };
        Self::port_restricted()
            .with_mapping(NatMapping::AddressAndPortDependent)
            .with_ports(ports)
    }

    /// The same with another mapping.
    #[must_use]
    pub const fn with_mapping(mut self, mapping: NatMapping) -> Self {
        self.mapping = mapping;
        self
    }

    /// The same with another filtering.
    #[must_use]
    pub const fn with_filtering(mut self, filtering: NatFiltering) -> Self {
        self.filtering = filtering;
        self
    }

    /// The same with outer ports chosen otherwise.
    #[must_use]
    pub const fn with_ports(mut self, ports: NatPorts) -> Self {
        self.ports = ports;
        self
    }

    /// Forgets a mapping, and who may send to it, this long after the last datagram out.
    /// Default: 300 s.
    #[must_use]
    pub const fn with_expiry(mut self, expiry: Duration) -> Self {
        self.expiry = expiry;
        self
    }

    /// Lets inner hosts reach each other by their outer addresses. Default: not.
    #[must_use]
    pub const fn with_hairpin(mut self) -> Self {
        self.hairpin = true;
        self
    }
}

/// What a mapping belongs to: an inner socket, and as much of the remote as the kind looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct MappingKey {
    inner: SocketAddr,
    address: Option<IpAddr>,
    port: Option<u16>,
}

#[derive(Debug)]
struct MappingState {
    outer: u16,
    /// Remotes sent to, and until when that counts.
    sessions: BTreeMap<SocketAddr, u64>,
}

/// The state of a NAT towards one of its outer addresses. Times are nanoseconds of the clock of
/// the simulation.
#[derive(Debug)]
pub(super) struct Translation {
    model: NatModel,
    mappings: BTreeMap<MappingKey, MappingState>,
    /// Who uses an outer port. Several may when their remotes differ.
    users: BTreeMap<u16, BTreeSet<MappingKey>>,
    next_port: u16,
    sessions: usize,
    peak: usize,
    /// No session ends before this.
    first_expiry: u64,
}

impl Translation {
    pub(super) fn new(model: NatModel, rng: &mut Rng) -> Self {
        let next_port = match model.ports {
            NatPorts::Kept => 0,
            NatPorts::Random { low, high } | NatPorts::Sequential { low, high, .. } => {
                draw(low, high, rng)
            }
        };
        Self {
            model,
            mappings: BTreeMap::new(),
            users: BTreeMap::new(),
            next_port,
            sessions: 0,
            peak: 0,
            first_expiry: u64::MAX,
        }
    }

    pub(super) fn hairpins(&self) -> bool {
        self.model.hairpin
    }

    /// Entries alive now: pairs of an inner socket and a remote, as Linux counts connections.
    pub(super) fn entries(&mut self, now: u64) -> usize {
        self.expire(now);
        self.sessions
    }

    /// Most entries that were alive at once.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }

    /// A datagram from `inner` goes out to `remote`: the outer port it leaves from, none when
    /// there is no port left.
    pub(super) fn outbound(
        &mut self,
        now: u64,
        inner: SocketAddr,
        remote: SocketAddr,
        rng: &mut Rng,
    ) -> Option<u16> {
        self.expire(now);
        let key = self.key(inner, remote);
        if !self.mappings.contains_key(&key) {
            let outer = self.allocate(&key, rng)?;
            self.users.entry(outer).or_default().insert(key);
            let sessions = BTreeMap::new();
            self.mappings.insert(key, MappingState { outer, sessions });
        }
        let until = now.saturating_add(self.model.expiry.as_nanos() as u64);
        let mapping = self.mappings.get_mut(&key)?;
        if mapping.sessions.insert(remote, until).is_none() {
            self.sessions += 1;
            self.peak = self.peak.max(self.sessions);
        }
        self.first_expiry = self.first_expiry.min(until);
        Some(mapping.outer)
    }

    /// A datagram from `remote` comes to the outer `port`: the inner socket it is let in to.
    pub(super) fn inbound(
        &mut self,
        now: u64,
        remote: SocketAddr,
        port: u16,
    ) -> Option<SocketAddr> {
        self.expire(now);
        let admits = |key: &&MappingKey| {
            let sessions = &self.mappings[key].sessions;
            match self.model.filtering {
                NatFiltering::EndpointIndependent => true,
                NatFiltering::AddressDependent => {
                    sessions.keys().any(|known| known.ip() == remote.ip())
                }
                NatFiltering::AddressAndPortDependent => sessions.contains_key(&remote),
            }
        };
        let users = self.users.get(&port)?;
        // The one that knows the remote comes first, where several share the port.
        let exact = |key: &&MappingKey| self.mappings[key].sessions.contains_key(&remote);
        let user = users.iter().find(exact).or(users.iter().find(admits))?;
        Some(user.inner)
    }

    fn key(&self, inner: SocketAddr, remote: SocketAddr) -> MappingKey {
        let (address, port) = match self.model.mapping {
            NatMapping::EndpointIndependent => (None, None),
            NatMapping::AddressDependent => (Some(remote.ip()), None),
            NatMapping::AddressAndPortDependent => (Some(remote.ip()), Some(remote.port())),
        };
        MappingKey {
            inner,
            address,
            port,
        }
    }

    fn allocate(&mut self, key: &MappingKey, rng: &mut Rng) -> Option<u16> {
        match self.model.ports {
            NatPorts::Kept => {
                let wanted = key.inner.port();
                let rest = (wanted..=u16::MAX).chain(LOWEST_PORT..wanted);
                rest.into_iter().find(|port| self.is_free(*port, key))
            }
            NatPorts::Random { low, high } => {
                let start = draw(low, high, rng);
                let mut all = (start..=high).chain(low..start);
                all.find(|port| self.is_free(*port, key))
            }
            NatPorts::Sequential { step, low, high } => {
                let size = u32::from(high - low) + 1;
                for _ in 0..size {
                    let port = self.next_port;
                    let along = (u32::from(port - low) + u32::from(step)) % size;
                    self.next_port = low + along as u16;
                    if self.is_free(port, key) {
                        return Some(port);
                    }
                }
                None
            }
        }
    }

    /// Whether the outer port can carry the mapping too: each pair of outer port and remote
    /// leads to one inner socket.
    fn is_free(&self, port: u16, key: &MappingKey) -> bool {
        let clashes = |other: &MappingKey| other.address == key.address && other.port == key.port;
        self.users
            .get(&port)
            .is_none_or(|users| !users.iter().any(clashes))
    }

    fn expire(&mut self, now: u64) {
        if now < self.first_expiry {
            return;
        }
        let mut first = u64::MAX;
        let mut alive = 0;
        for mapping in self.mappings.values_mut() {
            mapping.sessions.retain(|_, until| *until > now);
            alive += mapping.sessions.len();
            first = mapping.sessions.values().copied().fold(first, u64::min);
        }
        let users = &mut self.users;
        self.mappings.retain(|key, mapping| {
            let used = !mapping.sessions.is_empty();
            if !used && let Some(of_port) = users.get_mut(&mapping.outer) {
                of_port.remove(key);
            }
            used
        });
        self.users.retain(|_, of_port| !of_port.is_empty());
        self.first_expiry = first;
        self.sessions = alive;
    }
}

fn draw(low: u16, high: u16, rng: &mut Rng) -> u16 {
    let size = u64::from(high.saturating_sub(low)) + 1;
    low + (rng.next_u64() % size) as u16
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    const INNER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5_000);

    fn remote(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([11, 0, 0, host], port))
    }

    #[test]
    fn the_mapping_depends_on_as_much_of_the_remote_as_its_kind_says() {
        let outer = |mapping, to: SocketAddr| {
            let mut rng = Rng::new(4);
            let model = NatModel::symmetric().with_mapping(mapping);
            let mut nat = Translation::new(model, &mut rng);
            let first = nat.outbound(0, INNER, remote(1, 1), &mut rng).unwrap();
            nat.outbound(0, INNER, to, &mut rng).unwrap() == first
        };
        let kinds = [
            NatMapping::EndpointIndependent,
            NatMapping::AddressDependent,
            NatMapping::AddressAndPortDependent,
        ];
        assert_eq!(kinds.map(|k| outer(k, remote(1, 2))), [true, true, false]);
        assert_eq!(kinds.map(|k| outer(k, remote(2, 1))), [true, false, false]);
    }

    #[test]
    fn the_filter_lets_in_whom_its_kind_says() {
        let mut rng = Rng::new(1);
        let mut admits = |filtering, from: SocketAddr| {
            let model = NatModel::port_restricted().with_filtering(filtering);
            let mut nat = Translation::new(model, &mut rng);
            let port = nat.outbound(0, INNER, remote(1, 1), &mut rng).unwrap();
            assert_eq!(port, INNER.port(), "the port is kept");
            nat.inbound(1, from, port) == Some(INNER)
        };
        let kinds = [
            NatFiltering::EndpointIndependent,
            NatFiltering::AddressDependent,
            NatFiltering::AddressAndPortDependent,
        ];
        assert_eq!(kinds.map(|k| admits(k, remote(1, 1))), [true; 3]);
        let other_port = kinds.map(|k| admits(k, remote(1, 2)));
        assert_eq!(other_port, [true, true, false]);
        assert_eq!(kinds.map(|k| admits(k, remote(2, 1))), [true, false, false]);
    }

    #[test]
    fn sequential_ports_go_round_and_two_sockets_share_a_port_only_towards_different_remotes() {
        let mut rng = Rng::new(1);
        let ports = NatPorts::Sequential {
            step: 1,
            low: 40_000,
            high: 40_003,
        };
        let mut nat = Translation::new(NatModel::symmetric().with_ports(ports), &mut rng);
        let mut open = |inner: u16, to: u16| {
            let inner = SocketAddr::new(INNER.ip(), inner);
            nat.outbound(0, inner, remote(1, to), &mut rng)
        };
        let first: Vec<u16> = (0..4).map(|inner| open(inner, 1).unwrap()).collect();
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [40_000, 40_001, 40_002, 40_003]);
        assert_eq!(open(9, 1), None, "no port is left towards this remote");
        assert_eq!(open(9, 2), Some(first[0]));
    }

    #[test]
    fn entries_are_counted_while_they_live() {
        let mut rng = Rng::new(1);
        let model = NatModel::port_restricted().with_expiry(Duration::from_nanos(100));
        let mut nat = Translation::new(model, &mut rng);
        for port in 0..10 {
            nat.outbound(0, INNER, remote(1, port), &mut rng);
        }
        nat.outbound(50, INNER, remote(1, 3), &mut rng);
        assert_eq!(nat.entries(99), 10);
        assert_eq!(nat.entries(100), 1);
        assert!(nat.inbound(149, remote(1, 3), INNER.port()).is_some());
        assert!(nat.inbound(150, remote(1, 3), INNER.port()).is_none());
        assert_eq!((nat.entries(150), nat.peak()), (0, 10));
        assert!(nat.users.is_empty());
    }
}
