//! Nodes on a virtual clock, joined by links with delay, loss and NATs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::node::{Counters, Outcome, Transmit};
use dhtnet_dht_core::{Config, Event, Family, Node, OperationId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The time of day at which every test starts.
pub(crate) const WALL: Duration = Duration::from_secs(1_800_000_000);

/// Steps at one instant: more means that a node wants to be called again and again for nothing.
const MAX_STEPS_AT_ONCE: usize = 100_000;

/// How long a busy machine may let a node wait.
const TURN: Duration = Duration::from_millis(100);

/// A datagram that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) from: SocketAddr,
    pub(crate) transmit: Transmit,
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    /// One way, between any two.
    pub(crate) delay: Duration,
    /// One way on top, from and to this node.
    pub(crate) slow: BTreeMap<usize, Duration>,
    /// Per cent of all datagrams.
    pub(crate) loss: u32,
    /// Per cent of a node's [`TURN`]s in which its machine lets it wait.
    pub(crate) busy: u32,
    nodes: Vec<Node>,
    by_address: BTreeMap<SocketAddr, usize>,
    dead: BTreeSet<usize>,
    /// Nodes that hear only from addresses they sent to; they are seen at these.
    behind_nat: BTreeMap<usize, BTreeSet<SocketAddr>>,
    /// Pairs that do not hear each other.
    cut: BTreeSet<(usize, usize)>,
    in_flight: BTreeMap<(Instant, u64), (SocketAddr, Transmit)>,
    sequence: u64,
    events: BTreeMap<usize, Vec<Event>>,
    /// What was sent since this was set.
    pub(crate) log: Option<Vec<Sent>>,
    rng: ChaCha20Rng,
}

/// A public address of its own /24.
pub(crate) fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([11, (index >> 8) as u8, index as u8, 1], 6881))
}

/// A public address of its own /64.
pub(crate) fn address6(index: usize) -> SocketAddr {
    let ip = Ipv6Addr::new(0x2a01, 0x4f8, 0, index as u16, 0, 0, 0, 1);
    SocketAddr::from((ip, 6881))
}

pub(crate) fn v4() -> Config {
    Config::default().families(&[Family::V4])
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Net {
    pub(crate) fn empty() -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            delay: ms(10),
            slow: BTreeMap::new(),
            loss: 0,
            busy: 0,
            nodes: Vec::new(),
            by_address: BTreeMap::new(),
            dead: BTreeSet::new(),
            behind_nat: BTreeMap::new(),
            cut: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            sequence: 0,
            events: BTreeMap::new(),
            log: None,
            rng: ChaCha20Rng::seed_from_u64(5),
        }
    }

    /// `count` nodes; each knows the first.
    pub(crate) fn new(count: usize) -> Self {
        Self::with_config(count, v4())
    }

    pub(crate) fn with_config(count: usize, config: Config) -> Self {
        let mut net = Self::empty();
        let config = Arc::new(config);
        for _ in 0..count {
            net.add(config.clone());
        }
        net
    }

    /// Adds a node that knows the first, if it is not that one.
    pub(crate) fn add(&mut self, config: Arc<Config>) -> usize {
        let index = self.add_alone(config);
        if index > 0 {
            let now = self.now;
            for address in [address(0), address6(0)] {
                self.nodes[index].add_bootstrap(now, address);
            }
        }
        index
    }

    /// Adds a node that knows nobody.
    pub(crate) fn add_alone(&mut self, config: Arc<Config>) -> usize {
        let index = self.nodes.len();
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
        self.nodes.push(Node::new(config, self.now, WALL, seed));
        self.by_address.insert(address(index), index);
        self.by_address.insert(address6(index), index);
        index
    }

    /// Starts a node anew that knows nobody, at the address of the old one.
    pub(crate) fn restart(&mut self, index: usize, config: Config) {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
        let wall = WALL + (self.now - self.start);
        self.nodes[index] = Node::new(Arc::new(config), self.now, wall, seed);
        self.dead.remove(&index);
        self.events.remove(&index);
    }

    pub(crate) fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    pub(crate) fn counters(&self, index: usize) -> Counters {
        self.nodes[index].counters()
    }

    pub(crate) fn kill(&mut self, index: usize) {
        self.dead.insert(index);
    }

    pub(crate) fn revive(&mut self, index: usize) {
        self.dead.remove(&index);
    }

    /// From now on a node hears only from whom it sent to.
    pub(crate) fn put_behind_nat(&mut self, index: usize) {
        self.behind_nat.insert(index, BTreeSet::new());
    }

    pub(crate) fn remove_nat(&mut self, index: usize) {
        self.behind_nat.remove(&index);
    }

    /// Two nodes no longer hear each other.
    pub(crate) fn cut(&mut self, one: usize, other: usize) {
        self.cut.insert((one.min(other), one.max(other)));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Runs one verb of a node.
    pub(crate) fn with<T>(
        &mut self,
        index: usize,
        verb: impl FnOnce(&mut Node, Instant) -> T,
    ) -> T {
        let now = self.now;
        let result = verb(&mut self.nodes[index], now);
        self.collect(index);
        result
    }

    fn collect(&mut self, index: usize) {
        while let Some(transmit) = self.nodes[index].poll_transmit() {
            let from = match Family::of(&transmit.destination) {
                Family::V4 => address(index),
                Family::V6 => address6(index),
            };
            if let Some(seen) = self.behind_nat.get_mut(&index) {
                seen.insert(transmit.destination);
            }
            if let Some(log) = &mut self.log {
                log.push(Sent {
                    at: self.now,
                    from,
                    transmit: transmit.clone(),
                });
            }
            if self.rng.next_u32() % 100 < self.loss {
                continue;
            }
            let to = self.by_address.get(&transmit.destination);
            let slow = |index: &usize| self.slow.get(index).copied().unwrap_or_default();
            let delay = self.delay + slow(&index) + to.map(slow).unwrap_or_default();
            let arrives = self.now + delay;
            let arrives = to.map_or(arrives, |to| self.attended(*to, arrives));
            self.sequence += 1;
            let key = (arrives, self.sequence);
            self.in_flight.insert(key, (from, transmit));
        }
        let events = self.events.entry(index).or_default();
        while let Some(event) = self.nodes[index].poll_event() {
            events.push(event);
        }
    }

    /// Loses what is on its way to a node.
    pub(crate) fn lose_all_to(&mut self, index: usize) {
        let to = |transmit: &Transmit| self.by_address.get(&transmit.destination);
        let keeps = |transmit: &Transmit| to(transmit) != Some(&index);
        self.in_flight.retain(|_, (_, transmit)| keeps(transmit));
    }

    /// When a node looks at what came at this time: later, where its machine has given the turn
    /// to somebody else.
    fn attended(&self, index: usize, arrives: Instant) -> Instant {
        let turns = (arrives - self.start).as_millis() / TURN.as_millis();
        let turn = self.start + TURN * turns as u32;
        let mut rng = ChaCha20Rng::seed_from_u64(((index as u64) << 32) + turns as u64);
        let is_busy = rng.next_u32() % 100 < self.busy;
        let back = turn + TURN * (20 + rng.next_u32() % 80) / 100;
        if is_busy { arrives.max(back) } else { arrives }
    }

    /// Lets a datagram arrive from anywhere.
    pub(crate) fn inject(&mut self, from: SocketAddr, index: usize, datagram: &[u8]) {
        let now = self.now;
        self.nodes[index].handle_datagram(now, from, None, datagram);
        self.collect(index);
    }

    /// Goes on for this long.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(end, |_| false);
    }

    /// Goes on until something holds, at most for this long. Whether it held.
    pub(crate) fn run_for(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + time;
        self.run_until(end, done)
    }

    fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        let mut steps = 0;
        loop {
            if done(self) {
                return true;
            }
            let alive = (0..self.nodes.len()).filter(|index| !self.dead.contains(index));
            let timer = alive
                .filter_map(|index| self.nodes[index].poll_timeout().map(|due| (due, index)))
                .min();
            let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
            let next = [timer.map(|(due, _)| due), arrival];
            let next = next.into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return false;
            };
            steps = if next > self.now { 0 } else { steps + 1 };
            assert!(steps < MAX_STEPS_AT_ONCE, "time stands still");
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.deliver();
            } else if let Some((_, index)) = timer {
                let now = self.now;
                self.nodes[index].handle_timeout(now);
                self.collect(index);
            }
        }
    }

    fn deliver(&mut self) {
        let (_, (from, transmit)) = self.in_flight.pop_first().unwrap();
        let Some(&to) = self.by_address.get(&transmit.destination) else {
            return;
        };
        let filter = self.behind_nat.get(&to);
        let sender = self.by_address.get(&from).copied().unwrap_or(usize::MAX);
        if self.dead.contains(&to)
            || filter.is_some_and(|seen| !seen.contains(&from))
            || self.cut.contains(&(to.min(sender), to.max(sender)))
        {
            return;
        }
        let local_ip = Some(transmit.destination.ip());
        let now = self.now;
        self.nodes[to].handle_datagram(now, from, local_ip, &transmit.payload);
        self.collect(to);
    }

    /// Everything that a node told.
    pub(crate) fn events(&self, index: usize) -> &[Event] {
        self.events.get(&index).map_or(&[], Vec::as_slice)
    }

    /// The events of one operation of a node.
    pub(crate) fn events_of(&self, index: usize, id: OperationId) -> Vec<Event> {
        let all = self.events(index).iter();
        all.filter(|event| event.operation() == Some(id))
            .cloned()
            .collect()
    }

    /// What an operation came to, if it is over.
    pub(crate) fn outcome_of(&self, index: usize, id: OperationId) -> Option<Outcome> {
        self.events(index).iter().find_map(|event| match event {
            Event::Done(of, outcome) | Event::Listening(of, outcome) if *of == id => {
                Some(outcome.clone())
            }
            _ => None,
        })
    }

    /// Runs until an operation is over, and gives what it came to.
    pub(crate) fn finish(&mut self, index: usize, id: OperationId) -> Outcome {
        self.run_for(secs(60), |net| net.outcome_of(index, id).is_some());
        self.outcome_of(index, id).expect("the operation is over")
    }

    /// Whether every node that lives is ready in a family.
    pub(crate) fn all_ready(&self, family: Family) -> bool {
        let mut alive = (0..self.nodes.len()).filter(|index| !self.dead.contains(index));
        alive.all(|index| self.nodes[index].is_ready(family))
    }
}
