//! Many machines that send each other datagrams.

mod config;
mod counters;
mod fingerprint;
mod flight;
mod nat;
mod timers;

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use self::config::NetworkConfig;
pub use self::counters::{NetworkStats, Traffic};
use self::fingerprint::Fingerprint;
use self::flight::{Datagram, Flights};
use self::nat::Filter;
pub use self::nat::Nat;
use self::timers::Timers;
use crate::Rng;

/// Time-outs in a row, all of one machine and none of them later than the one before, after
/// which the machine counts as stuck. One that works asks for a later time-out each time.
const MAX_TIMEOUTS_IN_A_ROW: u32 = 10_000;

/// A protocol without sockets and clocks, as a network drives it.
///
/// After each `handle_*` the network takes all that [`poll_transmit`](Self::poll_transmit) gives
/// and reads [`poll_timeout`](Self::poll_timeout) once.
pub trait Machine {
    /// A datagram came in from `source`.
    fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]);

    /// The instant of [`poll_timeout`](Self::poll_timeout) has come.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`handle_timeout`](Self::handle_timeout) is due; an instant that has passed means at
    /// once.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next datagram to send.
    fn poll_transmit(&mut self) -> Option<Transmit>;
}

/// A datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A machine of one network, dead or alive. Ids count up from 0 in the order of
/// [`Network::add`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(u32);

impl MachineId {
    /// The number of the machine.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The order of all events: by time in nanoseconds, then in the order they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    at: u64,
    sequence: u64,
}

/// A place with an address, and the machine there while it lives.
#[derive(Debug)]
struct Host<M> {
    /// Boxed: a dead machine leaves no hole of its size, and hosts stay small to move.
    machine: Option<Box<M>>,
    address: SocketAddr,
    filter: Option<Box<Filter>>,
    traffic: Traffic,
    group: u16,
}

/// A network of machines on a virtual clock.
///
/// Events happen one after the other, ordered by time and then by the order in which they came
/// to be; the same machines, calls and seed give the same run to the byte, which
/// [`fingerprint`](Self::fingerprint) proves.
///
/// ```
/// use std::net::SocketAddr;
/// use std::time::{Duration, Instant};
/// use dhtnet_simnet::{Machine, Network, NetworkConfig, Transmit};
///
/// /// Sends back what it gets, and counts.
/// struct Echo { got: u32, reply: Option<Transmit> }
///
/// impl Machine for Echo {
///     fn handle_datagram(&mut self, _: Instant, source: SocketAddr, datagram: &[u8]) {
///         self.got += 1;
///         self.reply = Some(Transmit { destination: source, payload: datagram.to_vec() });
///     }
///     fn handle_timeout(&mut self, _: Instant) {}
///     fn poll_timeout(&self) -> Option<Instant> { None }
///     fn poll_transmit(&mut self) -> Option<Transmit> { self.reply.take() }
/// }
///
/// let one_way = Duration::from_millis(20);
/// let config = NetworkConfig::default()
///     .with_delay(one_way, one_way)
///     .with_jitter(Duration::ZERO);
/// let mut network = Network::new(Instant::now(), config, 7);
/// let a = network.add(SocketAddr::from(([192, 0, 2, 1], 1)), Echo { got: 0, reply: None });
/// let b = network.add(SocketAddr::from(([192, 0, 2, 2], 1)), Echo { got: 0, reply: None });
/// let destination = network.address(b);
/// network.drive(a, |echo, _now| {
///     echo.reply = Some(Transmit { destination, payload: b"ping".to_vec() });
/// });
///
/// network.run_for(Duration::from_millis(100)); // There at 20, 60, 100 ms; back at 40, 80 ms.
/// assert_eq!(network.machine(b).map(|echo| echo.got), Some(3));
/// assert_eq!(network.machine(a).map(|echo| echo.got), Some(2));
/// assert_eq!(network.stats().traffic.received_bytes, 5 * 4);
/// ```
#[derive(Debug)]
pub struct Network<M> {
    config: NetworkConfig,
    seed: u64,
    rng: Rng,
    start: Instant,
    now: u64,
    sequence: u64,
    hosts: Vec<Host<M>>,
    /// A hasher with fixed keys: nothing ambient, and nobody here attacks it.
    addresses: HashMap<SocketAddr, u32, BuildHasherDefault<DefaultHasher>>,
    flights: Flights,
    timers: Timers,
    stats: NetworkStats,
    fingerprint: Fingerprint,
    last_timeout: LastTimeout,
}

/// Time-outs since something else happened.
#[derive(Debug, Default)]
struct LastTimeout {
    machine: u32,
    at: u64,
    in_a_row: u32,
}

impl<M: Machine> Network<M> {
    /// A network without machines whose clock stands at `start`. All its chances are drawn from
    /// `seed`.
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
            addresses: HashMap::default(),
            flights: Flights::default(),
            timers: Timers::default(),
            stats: NetworkStats::default(),
            fingerprint: Fingerprint::new(),
            last_timeout: LastTimeout::default(),
        }
    }

    /// Puts `machine` at `address`, reachable by all.
    ///
    /// # Panics
    /// When another machine, dead or alive, has that address.
    pub fn add(&mut self, address: SocketAddr, machine: M) -> MachineId {
        self.place(address, None, machine)
    }

    /// Puts `machine` behind a NAT whose outer address is `address`: it is reached by those to
    /// whom it has sent.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    pub fn add_behind_nat(&mut self, address: SocketAddr, nat: Nat, machine: M) -> MachineId {
        self.place(address, Some(Box::new(Filter::new(nat))), machine)
    }

    fn place(&mut self, address: SocketAddr, filter: Option<Box<Filter>>, machine: M) -> MachineId {
        let index = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        match self.addresses.entry(address) {
            Entry::Vacant(entry) => entry.insert(index),
            Entry::Occupied(_) => panic!("{address} is taken"),
        };
        self.hosts.push(Host {
            machine: Some(Box::new(machine)),
            address,
            filter,
            traffic: Traffic::default(),
            group: 0,
        });
        self.settle(index);
        MachineId(index)
    }

    /// Takes the machine out: its timers do not ring, what is sent to it vanishes. None if it is
    /// dead already.
    pub fn kill(&mut self, id: MachineId) -> Option<M> {
        self.timers.silence(id.0);
        self.hosts[id.index()]
            .machine
            .take()
            .map(|machine| *machine)
    }

    /// Puts `machine`, the old or a new one, at the place of a dead one. A machine that still
    /// lives there is replaced.
    pub fn revive(&mut self, id: MachineId, machine: M) {
        self.timers.silence(id.0);
        self.hosts[id.index()].machine = Some(Box::new(machine));
        self.settle(id.0);
    }

    /// Moves a machine into a group. Only machines of the same group reach each other; all begin
    /// in group 0.
    pub fn set_group(&mut self, id: MachineId, group: u16) {
        self.hosts[id.index()].group = group;
    }

    /// The group of a machine.
    #[must_use]
    pub fn group(&self, id: MachineId) -> u16 {
        self.hosts[id.index()].group
    }

    /// Moves all machines into group 0.
    pub fn heal(&mut self) {
        for host in &mut self.hosts {
            host.group = 0;
        }
    }

    /// Changes what the paths are like for datagrams sent from now on.
    pub fn reconfigure(&mut self, config: NetworkConfig) {
        self.config = config;
    }

    /// Lets `action` use a machine, as an application would, and carries out what comes of it.
    /// None if the machine is dead.
    pub fn drive<R>(
        &mut self,
        id: MachineId,
        action: impl FnOnce(&mut M, Instant) -> R,
    ) -> Option<R> {
        let now = self.now();
        let machine = self.hosts[id.index()].machine.as_mut()?;
        let result = action(machine, now);
        self.settle(id.0);
        Some(result)
    }

    /// The machine, unless it is dead.
    #[must_use]
    pub fn machine(&self, id: MachineId) -> Option<&M> {
        self.hosts[id.index()].machine.as_deref()
    }

    /// The living machines.
    pub fn machines(&self) -> impl Iterator<Item = (MachineId, &M)> {
        let hosts = self.hosts.iter().enumerate();
        hosts.filter_map(|(index, host)| Some((MachineId(index as u32), host.machine.as_deref()?)))
    }

    /// All ids, also those of the dead.
    pub fn ids(&self) -> impl Iterator<Item = MachineId> + use<M> {
        (0..self.hosts.len() as u32).map(MachineId)
    }

    /// Where the machine is.
    #[must_use]
    pub fn address(&self, id: MachineId) -> SocketAddr {
        self.hosts[id.index()].address
    }

    /// Which machine is at `address`, dead or alive.
    #[must_use]
    pub fn at(&self, address: &SocketAddr) -> Option<MachineId> {
        self.addresses.get(address).copied().map(MachineId)
    }

    /// What the machine sent and got, in all its lives.
    #[must_use]
    pub fn traffic(&self, id: MachineId) -> Traffic {
        self.hosts[id.index()].traffic
    }

    /// Counters since the network was made.
    #[must_use]
    pub fn stats(&self) -> NetworkStats {
        self.stats
    }

    /// Datagrams under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// A number over all deliveries so far: time, source, destination and bytes of each.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.value()
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

    /// Lets everything happen up to `instant`, which included, and leaves the clock there.
    pub fn run_until(&mut self, instant: Instant) {
        let end = self.nanos(instant);
        while self.next_event().is_some_and(|next| next <= end) {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// As [`run_until`](Self::run_until), for a time from now.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Lets one event after the other happen while `condition` holds, which is asked before each.
    /// False when nothing is left to happen and it still holds.
    pub fn run_while(&mut self, mut condition: impl FnMut(&Self) -> bool) -> bool {
        while condition(self) {
            if !self.step() {
                return false;
            }
        }
        true
    }

    /// Lets the next delivery or time-out happen; false when there is none.
    pub fn step(&mut self) -> bool {
        let timer = self.timers.next();
        let arrival = self.flights.next();
        match (timer, arrival) {
            (Some((ring, machine)), arrival) if arrival.is_none_or(|arrival| ring < arrival) => {
                self.now = self.now.max(ring.at);
                self.ring(machine);
                true
            }
            (_, Some(arrival)) => {
                self.now = self.now.max(arrival.at);
                if let Some(datagram) = self.flights.arrive() {
                    self.deliver(&datagram);
                }
                true
            }
            _ => false,
        }
    }

    fn next_event(&self) -> Option<u64> {
        let timer = self.timers.next().map(|(moment, _)| moment.at);
        let arrival = self.flights.next().map(|moment| moment.at);
        timer.into_iter().chain(arrival).min()
    }

    /// The alarm of a machine rings, which may be before its time-out is due.
    fn ring(&mut self, index: u32) {
        let now = self.now();
        let host = &mut self.hosts[index as usize];
        let due = host
            .machine
            .as_ref()
            .and_then(|machine| machine.poll_timeout());
        let (Some(machine), Some(due)) = (&mut host.machine, due) else {
            self.timers.silence(index);
            return;
        };
        if due > now {
            let moment = self.moment(self.nanos(due));
            self.timers.postpone_next(moment);
            return;
        }
        self.stats.timeouts += 1;
        machine.handle_timeout(now);
        self.timers.silence(index);
        self.notice_stuck(index);
        self.settle(index);
    }

    fn notice_stuck(&mut self, machine: u32) {
        let last = &mut self.last_timeout;
        if last.machine == machine && last.at == self.now {
            last.in_a_row += 1;
            let address = self.hosts[machine as usize].address;
            assert!(
                last.in_a_row < MAX_TIMEOUTS_IN_A_ROW,
                "the machine at {address} asks for a time-out at once, again and again"
            );
        } else {
            *last = LastTimeout {
                machine,
                at: self.now,
                in_a_row: 1,
            };
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let now = self.now();
        let host = &mut self.hosts[datagram.to as usize];
        let Some(machine) = &mut host.machine else {
            self.stats.vanished += 1;
            return;
        };
        if datagram.group != host.group {
            self.stats.partitioned += 1;
            return;
        }
        let filter = host.filter.as_deref();
        if filter.is_some_and(|filter| !filter.admits(self.now, &datagram.source)) {
            self.stats.filtered += 1;
            return;
        }
        self.fingerprint.word(self.now);
        self.fingerprint.word(address_word(datagram.source));
        self.fingerprint.word(u64::from(datagram.to));
        self.fingerprint.bytes(&datagram.payload);
        host.traffic.count_received(datagram.payload.len());
        self.stats.traffic.count_received(datagram.payload.len());
        machine.handle_datagram(now, datagram.source, &datagram.payload);
        self.settle(datagram.to);
    }

    /// Takes what a machine has to send and when it wants to be called.
    fn settle(&mut self, index: u32) {
        loop {
            let machine = self.hosts[index as usize].machine.as_mut();
            let Some(transmit) = machine.and_then(|machine| machine.poll_transmit()) else {
                break;
            };
            self.send(index, transmit);
        }
        let machine = self.hosts[index as usize].machine.as_ref();
        if let Some(due) = machine.and_then(|machine| machine.poll_timeout()) {
            let moment = self.moment(self.nanos(due).max(self.now));
            self.timers.ring_by(index, moment);
        }
    }

    fn send(&mut self, from: u32, transmit: Transmit) {
        let host = &mut self.hosts[from as usize];
        host.traffic.count_sent(transmit.payload.len());
        self.stats.traffic.count_sent(transmit.payload.len());
        if let Some(filter) = &mut host.filter {
            filter.on_sent(self.now, transmit.destination);
        }
        let (source, group) = (host.address, host.group);
        let (a, b) = (source.ip(), transmit.destination.ip());
        let Some(travel) = self.config.travel(a, b, self.seed, &mut self.rng) else {
            self.stats.lost += 1;
            return;
        };
        let Some(&to) = self.addresses.get(&transmit.destination) else {
            self.stats.vanished += 1;
            return;
        };
        if self.hosts[to as usize].group != group {
            self.stats.partitioned += 1;
            return;
        }
        let arrival = self.moment(self.now + travel);
        let payload = transmit.payload;
        self.flights.depart(
            arrival,
            Datagram {
                source,
                group,
                to,
                payload,
            },
        );
    }

    fn moment(&mut self, at: u64) -> Moment {
        self.sequence += 1;
        Moment {
            at,
            sequence: self.sequence,
        }
    }

    /// `instant` on the clock of the network; 0 for what was before its start.
    fn nanos(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.start).as_nanos() as u64
    }
}

/// An address as a number, for the fingerprint.
fn address_word(address: SocketAddr) -> u64 {
    let host = match address {
        SocketAddr::V4(v4) => u64::from(v4.ip().to_bits()),
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            bits as u64 ^ ((bits >> 64) as u64).rotate_left(17)
        }
    };
    host.rotate_left(16) ^ u64::from(address.port())
}
