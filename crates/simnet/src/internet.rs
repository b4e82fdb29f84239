//! Hosts with many sockets, behind NATs, NATs behind NATs, and firewalls.
//!
//! Where a [`Network`](crate::Network) has 100,000 machines of one address each, an [`Internet`]
//! has a few hosts and is exact about what stands between them.

mod nat;
mod router;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub use self::nat::{NatFiltering, NatMapping, NatModel, NatPorts};
use self::router::Router;
pub use self::router::{RouterConfig, STREAM_PORT};
use crate::{NetworkConfig, Rng, Traffic};

/// Travel time between two hosts behind the same router.
const LOCAL_DELAY: Duration = Duration::from_millis(1);

/// A protocol without sockets and clocks, as an internet drives it. Each address and port of the
/// host is a socket.
pub trait Endpoint {
    /// A datagram from `source` came to the socket `local`.
    fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    );

    /// The instant of [`poll_timeout`](Self::poll_timeout) has come.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next datagram to send.
    fn poll_packet(&mut self, now: Instant) -> Option<Packet>;
}

/// A datagram to be sent from a socket of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The socket it leaves from.
    pub local: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A host of an [`Internet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(u32);

/// A router of an [`Internet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(u32);

/// Where a host or a router is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// On the open internet.
    Public,
    /// On the inner side of a router.
    Behind(RouterId),
}

#[derive(Debug)]
struct Datagram {
    source: SocketAddr,
    destination: SocketAddr,
    payload: Vec<u8>,
    /// Routers it has left through.
    passed: Vec<RouterId>,
}

/// Who has an address in a realm.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Host(HostId),
    Router(RouterId),
}

#[derive(Debug)]
struct Host<M> {
    endpoint: M,
    place: Place,
    traffic: Traffic,
}

/// A few hosts behind routers, on a virtual clock.
///
/// Translation happens at once when a datagram is sent, and when it arrives; between public
/// addresses it travels as the configuration says. The same calls and seed give the same run.
#[derive(Debug)]
pub struct Internet<M> {
    config: NetworkConfig,
    seed: u64,
    rng: Rng,
    start: Instant,
    now: u64,
    sequence: u64,
    hosts: Vec<Host<M>>,
    routers: Vec<Router>,
    realms: BTreeMap<Place, BTreeMap<IpAddr, Owner>>,
    arrivals: BinaryHeap<Reverse<(u64, u64)>>,
    travelling: BTreeMap<u64, (Place, Datagram)>,
}

impl<M: Endpoint> Internet<M> {
    /// An internet without hosts whose clock stands at `start`.
    #[must_use]
    pub fn new(start: Instant, config: NetworkConfig, seed: u64) -> Self {
        Self {
            config,
            seed,
            rng: Rng::new(seed),
            start,
            now: 0,
            sequence: 0,
            hosts: Vec::new(),
            routers: Vec::new(),
            realms: BTreeMap::new(),
            arrivals: BinaryHeap::new(),
            travelling: BTreeMap::new(),
        }
    }

    /// Puts a router at `place`, where its outer address is `address`.
    ///
    /// # Panics
    /// When the address is taken there.
    pub fn add_router(&mut self, place: Place, address: IpAddr, config: RouterConfig) -> RouterId {
        let id = RouterId(self.routers.len() as u32);
        self.own(place, address, Owner::Router(id));
        let seed = self.rng.next_u64();
        self.routers.push(Router::new(config, place, address, seed));
        id
    }

    /// Puts a host at `place`. Its IPv6 addresses are routed to it from outside.
    ///
    /// # Panics
    /// When one of the addresses is taken there.
    pub fn add_host(&mut self, place: Place, addresses: &[IpAddr], endpoint: M) -> HostId {
        let id = HostId(self.hosts.len() as u32);
        self.hosts.push(Host {
            endpoint,
            place,
            traffic: Traffic::default(),
        });
        self.attach(id, place, addresses);
        self.settle(id);
        id
    }

    /// Moves a host to another place and other addresses. What is on its way to the old ones is
    /// lost.
    ///
    /// # Panics
    /// When one of the addresses is taken there.
    pub fn move_host(&mut self, id: HostId, place: Place, addresses: &[IpAddr]) {
        for realm in self.realms.values_mut() {
            realm.retain(|_, owner| !matches!(owner, Owner::Host(other) if *other == id));
        }
        self.hosts[id.0 as usize].place = place;
        self.attach(id, place, addresses);
    }

    fn attach(&mut self, id: HostId, place: Place, addresses: &[IpAddr]) {
        for &address in addresses {
            self.own(place, address, Owner::Host(id));
            let mut at = place;
            while let (true, Place::Behind(router)) = (address.is_ipv6(), at) {
                at = self.routers[router.0 as usize].outer;
                self.own(at, address, Owner::Router(router));
            }
        }
    }

    fn own(&mut self, place: Place, address: IpAddr, owner: Owner) {
        let before = self.realms.entry(place).or_default().insert(address, owner);
        assert!(before.is_none(), "{address} is taken");
    }

    /// Forgets all mappings of a router, which goes on as `config` says.
    pub fn reboot(&mut self, router: RouterId, config: RouterConfig) {
        self.routers[router.0 as usize].reboot(config);
    }

    /// Opens `port` of a router for everybody, as a host asks for by UPnP: it leads to `inner` until
    /// the router starts again. Such entries are not counted.
    pub fn forward_port(&mut self, router: RouterId, port: u16, inner: SocketAddr) {
        self.routers[router.0 as usize].forward(port, inner);
    }

    /// Entries of a router that are alive: pairs of an inner socket and a remote.
    pub fn entries(&mut self, router: RouterId) -> usize {
        self.routers[router.0 as usize].entries(self.now)
    }

    /// Most entries of a router that were alive at once.
    #[must_use]
    pub fn peak_entries(&self, router: RouterId) -> usize {
        self.routers[router.0 as usize].peak()
    }

    /// Changes what the paths are like from now on.
    pub fn reconfigure(&mut self, config: NetworkConfig) {
        self.config = config;
    }

    /// What is at a host.
    #[must_use]
    pub fn endpoint(&self, id: HostId) -> &M {
        &self.hosts[id.0 as usize].endpoint
    }

    /// What a host has sent and got.
    #[must_use]
    pub fn traffic(&self, id: HostId) -> Traffic {
        self.hosts[id.0 as usize].traffic
    }

    /// Lets `action` use what is at a host, and carries out what comes of it.
    pub fn drive<R>(&mut self, id: HostId, action: impl FnOnce(&mut M, Instant) -> R) -> R {
        let now = self.now();
        let result = action(&mut self.hosts[id.0 as usize].endpoint, now);
        self.settle(id);
        result
    }

    /// The virtual clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Lets everything happen for `time`.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time.as_nanos() as u64;
        while self.next_event().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets one event after the other happen while `condition` holds and less than `limit` has
    /// passed. False when it still holds at the end.
    pub fn run_while(&mut self, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit.as_nanos() as u64;
        while condition(self) {
            if self.next_event().is_none_or(|at| at > end) {
                self.now = end;
                return false;
            }
            self.step();
        }
        true
    }

    fn next_event(&self) -> Option<u64> {
        let arrival = self.arrivals.peek().map(|Reverse((at, _))| *at);
        let timer = self.next_timer().map(|(at, _)| at);
        arrival.into_iter().chain(timer).min()
    }

    fn next_timer(&self) -> Option<(u64, HostId)> {
        let due = |(index, host): (usize, &Host<M>)| {
            let at = host.endpoint.poll_timeout()?;
            let at = at.saturating_duration_since(self.start).as_nanos() as u64;
            Some((at.max(self.now), HostId(index as u32)))
        };
        self.hosts.iter().enumerate().filter_map(due).min()
    }

    fn step(&mut self) {
        let arrival = self.arrivals.peek().map(|Reverse(next)| *next);
        let timer = self.next_timer();
        match (timer, arrival) {
            (Some((at, id)), arrival) if arrival.is_none_or(|(arrives, _)| at < arrives) => {
                self.now = at;
                let now = self.now();
                self.hosts[id.0 as usize].endpoint.handle_timeout(now);
                self.settle(id);
            }
            (_, Some((at, number))) => {
                self.now = at;
                self.arrivals.pop();
                if let Some((place, datagram)) = self.travelling.remove(&number) {
                    self.arrive(place, datagram);
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self, id: HostId) {
        let now = self.now();
        while let Some(packet) = self.hosts[id.0 as usize].endpoint.poll_packet(now) {
            let host = &mut self.hosts[id.0 as usize];
            host.traffic.count_sent(packet.payload.len());
            let place = host.place;
            let datagram = Datagram {
                source: packet.local,
                destination: packet.destination,
                payload: packet.payload,
                passed: Vec::new(),
            };
            self.depart(place, datagram);
        }
    }

    /// Out through as many routers as it takes to find somebody with the address.
    fn depart(&mut self, mut place: Place, mut datagram: Datagram) {
        let destination = datagram.destination.ip();
        while self.owner(place, destination).is_none() {
            let Place::Behind(id) = place else { return };
            let router = &mut self.routers[id.0 as usize];
            if !router.outbound(self.now, id, &mut datagram) {
                return;
            }
            place = router.outer;
        }
        let travel = match place {
            Place::Behind(_) => Some(LOCAL_DELAY.as_nanos() as u64),
            Place::Public => {
                let source = datagram.source.ip();
                self.config
                    .travel(source, destination, self.seed, &mut self.rng)
            }
        };
        if let Some(travel) = travel {
            self.sequence += 1;
            self.arrivals
                .push(Reverse((self.now + travel, self.sequence)));
            self.travelling.insert(self.sequence, (place, datagram));
        }
    }

    /// In through as many routers as stand before the host.
    fn arrive(&mut self, mut place: Place, mut datagram: Datagram) {
        let now = self.now();
        loop {
            match self.owner(place, datagram.destination.ip()) {
                Some(Owner::Host(id)) => {
                    let host = &mut self.hosts[id.0 as usize];
                    host.traffic.count_received(datagram.payload.len());
                    let (to, from) = (datagram.destination, datagram.source);
                    host.endpoint
                        .handle_datagram(now, to, from, &datagram.payload);
                    return self.settle(id);
                }
                Some(Owner::Router(id)) => {
                    let router = &mut self.routers[id.0 as usize];
                    if !router.inbound(self.now, id, &mut datagram) {
                        return;
                    }
                    place = Place::Behind(id);
                }
                None => return,
            }
        }
    }

    fn owner(&self, place: Place, address: IpAddr) -> Option<Owner> {
        self.realms.get(&place)?.get(&address).copied()
    }
}
