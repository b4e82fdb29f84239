//! A box between two realms: a NAT for IPv4, a firewall for IPv6, or a wall.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::nat::{NatModel, Translation};
use super::{Datagram, Place, RouterId};
use crate::Rng;

/// The port that stays open where UDP is blocked. What goes there stands for TCP.
pub const STREAM_PORT: u16 = 443;

/// What a router does to IPv4, to IPv6, and to UDP altogether.
#[derive(Debug, Clone, Copy)]
pub struct RouterConfig {
    pub(super) nat: NatModel,
    pub(super) firewall: NatModel,
    pub(super) udp_blocked: bool,
}

impl RouterConfig {
    /// A NAT for IPv4 like `nat`; IPv6 keeps its addresses behind a stateful firewall that lets
    /// in the address and port that was sent to (RFC 6092).
    #[must_use]
    pub const fn new(nat: NatModel) -> Self {
        Self {
            nat,
            firewall: NatModel::port_restricted(),
            udp_blocked: false,
        }
    }

    /// Drops what goes to another port than [`STREAM_PORT`].
    #[must_use]
    pub const fn with_udp_blocked(mut self) -> Self {
        self.udp_blocked = true;
        self
    }
}

#[derive(Debug)]
pub(super) struct Router {
    config: RouterConfig,
    pub(super) outer: Place,
    address: IpAddr,
    nat: Translation,
    /// Ports that are open for good, as by UPnP, and the inner sockets they lead to.
    forwarded: BTreeMap<u16, SocketAddr>,
    /// Who came in through one of them: answers leave from it.
    came_through: BTreeMap<(SocketAddr, SocketAddr), u16>,
    /// One for each inner IPv6 address, which is its own outer one.
    firewalls: BTreeMap<IpAddr, Translation>,
    rng: Rng,
}

impl Router {
    pub(super) fn new(config: RouterConfig, outer: Place, address: IpAddr, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            config,
            outer,
            address,
            nat: Translation::new(config.nat, &mut rng),
            forwarded: BTreeMap::new(),
            came_through: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            rng,
        }
    }

    /// Forgets everything and goes on as `config` says.
    pub(super) fn reboot(&mut self, config: RouterConfig) {
        self.config = config;
        self.nat = Translation::new(config.nat, &mut self.rng);
        self.forwarded.clear();
        self.came_through.clear();
        self.firewalls.clear();
    }

    pub(super) fn forward(&mut self, port: u16, inner: SocketAddr) {
        self.forwarded.insert(port, inner);
    }

    pub(super) fn entries(&mut self, now: u64) -> usize {
        let walls = self.firewalls.values_mut().map(|wall| wall.entries(now));
        self.nat.entries(now) + walls.sum::<usize>()
    }

    pub(super) fn peak(&self) -> usize {
        let walls = self.firewalls.values().map(Translation::peak);
        self.nat.peak() + walls.sum::<usize>()
    }

    /// From inside to outside: false when it is dropped.
    pub(super) fn outbound(&mut self, now: u64, id: RouterId, datagram: &mut Datagram) -> bool {
        if self.config.udp_blocked && datagram.destination.port() != STREAM_PORT {
            return false;
        }
        let (source, remote) = (datagram.source, datagram.destination);
        datagram.passed.push(id);
        if source.is_ipv6() {
            let (rng, firewall) = (&mut self.rng, self.config.firewall);
            let wall = self
                .firewalls
                .entry(source.ip())
                .or_insert_with(|| Translation::new(firewall, rng));
            return wall.outbound(now, source, remote, rng).is_some();
        }
        let known = self.came_through.get(&(source, remote)).copied();
        let port = known.or_else(|| self.nat.outbound(now, source, remote, &mut self.rng));
        let Some(port) = port else { return false };
        datagram.source = SocketAddr::new(self.address, port);
        true
    }

    /// From outside to inside: false when it is dropped.
    pub(super) fn inbound(&mut self, now: u64, id: RouterId, datagram: &mut Datagram) -> bool {
        if datagram.passed.contains(&id) && !self.nat.hairpins() {
            return false;
        }
        let (remote, port) = (datagram.source, datagram.destination.port());
        let forwarded = self.forwarded.get(&port);
        if let (true, Some(&inner)) = (datagram.destination.is_ipv4(), forwarded) {
            self.came_through.insert((inner, remote), port);
            datagram.destination = inner;
            return true;
        }
        let translation = match datagram.destination.ip() {
            IpAddr::V4(_) => Some(&mut self.nat),
            inner @ IpAddr::V6(_) => self.firewalls.get_mut(&inner),
        };
        let inner = translation.and_then(|nat| nat.inbound(now, remote, port));
        let Some(inner) = inner else { return false };
        datagram.destination = inner;
        true
    }
}
