//! Two hosts on a virtual clock and a network whose weather is chosen.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use dhtnet_identity::{DeviceId, DeviceKey};
use dhtnet_secure_transport::{
    Aead, ConnectionFault, NoiseConfig, TransportSettings, accepts_version, may_answer,
};
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, DatagramEvent, Endpoint, Event, Incoming, VarInt,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use std::sync::Arc;

pub(crate) const INITIATOR: usize = 0;
pub(crate) const RESPONDER: usize = 1;

pub(crate) fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The configuration of the device with key `key(seed)`.
pub(crate) fn config(seed: u8, application: &'static [u8]) -> Arc<NoiseConfig> {
    let application = Bytes::from_static(application);
    NoiseConfig::new(&key(seed), application, Box::new(rng(seed.into()))).unwrap()
}

pub(crate) fn config_with(seed: u8, aeads: &[Aead]) -> Arc<NoiseConfig> {
    let application = Bytes::from_static(b"");
    NoiseConfig::with_aeads(
        &key(seed),
        application,
        aeads.to_vec(),
        Box::new(rng(seed.into())),
    )
    .unwrap()
}

/// The only place where the tests look at a clock: an `Instant` cannot be made up.
#[allow(clippy::disallowed_methods, reason = "an Instant cannot be made up")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// One endpoint with all its connections.
pub(crate) struct Host {
    pub(crate) config: Arc<NoiseConfig>,
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) connections: BTreeMap<usize, Connection>,
    pub(crate) connected: Vec<usize>,
    pub(crate) faults: BTreeMap<usize, ConnectionFault>,
    pub(crate) accept_errors: Vec<ConnectionError>,
    /// When true, announced connections are put aside instead of accepted.
    pub(crate) holds_incoming: bool,
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) sent_bytes: usize,
}

impl Host {
    pub(crate) fn new(
        config: Arc<NoiseConfig>,
        address: &str,
        settings: &TransportSettings,
    ) -> Self {
        Self {
            endpoint: endpoint(&config, settings),
            config,
            address: address.parse().unwrap(),
            connections: BTreeMap::new(),
            connected: Vec::new(),
            faults: BTreeMap::new(),
            accept_errors: Vec::new(),
            holds_incoming: false,
            incoming: Vec::new(),
            sent_bytes: 0,
        }
    }

    /// The only connection, when there is one.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        assert_eq!(self.connections.len(), 1);
        self.connections.values_mut().next().unwrap()
    }

    pub(crate) fn fault(&self) -> Option<&ConnectionFault> {
        self.faults.values().next()
    }

    /// What the driver does with a datagram. Returns what is sent at once.
    pub(crate) fn handle(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        if !accepts_version(bytes) {
            return sent;
        }
        let mut buf = Vec::new();
        match self
            .endpoint
            .handle(now, from, None, None, BytesMut::from(bytes), &mut buf)
        {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(connection) = self.connections.get_mut(&handle.0) {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) if self.holds_incoming => {
                self.incoming.push(incoming);
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                sent.extend(self.accept(now, incoming));
            }
            Some(DatagramEvent::Response(transmit)) => sent.push(buf[..transmit.size].to_vec()),
            None => {}
        }
        self.sent_bytes += sent.iter().map(Vec::len).sum::<usize>();
        sent
    }

    fn accept(&mut self, now: Instant, incoming: Incoming) -> Option<Vec<u8>> {
        let mut buf = Vec::new();
        match self.endpoint.accept(incoming, now, &mut buf, None) {
            Ok((handle, connection)) => {
                self.connections.insert(handle.0, connection);
                None
            }
            Err(error) => {
                let answer = may_answer(&error.cause);
                self.accept_errors.push(error.cause);
                error
                    .response
                    .filter(|_| answer)
                    .map(|transmit| buf[..transmit.size].to_vec())
            }
        }
    }

    /// Timers, events and packets of all connections, until nothing is left to do now.
    pub(crate) fn drive(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let handles: Vec<usize> = self.connections.keys().copied().collect();
        for handle in handles {
            let mut drained = false;
            let connection = self.connections.get_mut(&handle).unwrap();
            if connection.poll_timeout().is_some_and(|due| due <= now) {
                connection.handle_timeout(now);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                drained |= event.is_drained();
                if let Some(event) = self.endpoint.handle_event(ConnectionHandle(handle), event) {
                    connection.handle_event(event);
                }
            }
            let mut buf = Vec::new();
            while let Some(transmit) = connection.poll_transmit(now, 1, &mut buf) {
                sent.push(buf[..transmit.size].to_vec());
                buf.clear();
            }
            while let Some(event) = connection.poll() {
                match event {
                    Event::Connected => self.connected.push(handle),
                    Event::ConnectionLost { reason } => {
                        self.faults.insert(handle, reason.into());
                    }
                    _ => {}
                }
            }
            if drained {
                self.connections.remove(&handle);
            }
        }
        self.sent_bytes += sent.iter().map(Vec::len).sum::<usize>();
        sent
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.connections
            .values_mut()
            .filter_map(Connection::poll_timeout)
            .min()
    }
}

pub(crate) fn endpoint(config: &NoiseConfig, settings: &TransportSettings) -> Endpoint {
    let server_config = config.server_config(settings).unwrap();
    Endpoint::new(config.endpoint_config(), Some(server_config), true, None)
}

/// What the network does to a datagram, in per cent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) loss: u32,
    pub(crate) duplication: u32,
    /// Datagrams that take up to four times as long.
    pub(crate) reordering: u32,
    /// Datagrams that arrive with one bit flipped.
    pub(crate) corruption: u32,
}

pub(crate) const FAIR: Weather = Weather {
    loss: 0,
    duplication: 0,
    reordering: 0,
    corruption: 0,
};

const LATENCY: Duration = Duration::from_millis(10);

pub(crate) struct Pair {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) hosts: [Host; 2],
    pub(crate) weather: Weather,
    /// Every datagram each host sent, in order.
    pub(crate) sent: [Vec<Vec<u8>>; 2],
    in_flight: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
    rng: ChaCha20Rng,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(config(1, b"initiator"), config(2, b"responder"))
    }

    pub(crate) fn with(initiator: Arc<NoiseConfig>, responder: Arc<NoiseConfig>) -> Self {
        let settings = TransportSettings::default();
        let start = epoch();
        Self {
            start,
            now: start,
            hosts: [
                Host::new(initiator, "192.0.2.1:1000", &settings),
                Host::new(responder, "192.0.2.2:2000", &settings),
            ],
            weather: FAIR,
            sent: [Vec::new(), Vec::new()],
            in_flight: BTreeMap::new(),
            count: 0,
            rng: rng(99),
        }
    }

    pub(crate) fn seeded(mut self, seed: u64, weather: Weather) -> Self {
        self.rng = rng(seed);
        self.weather = weather;
        self
    }

    /// Starts a connection to the responder's address, expecting `peer` there.
    pub(crate) fn connect_to(&mut self, peer: &DeviceId, settings: &TransportSettings) -> usize {
        let address = self.hosts[RESPONDER].address;
        let initiator = &mut self.hosts[INITIATOR];
        let config = initiator.config.client_config(peer, settings).unwrap();
        let (handle, connection) = initiator
            .endpoint
            .connect(self.now, config, address, &peer.to_string())
            .unwrap();
        initiator.connections.insert(handle.0, connection);
        handle.0
    }

    pub(crate) fn connect(&mut self) -> usize {
        let peer = self.hosts[RESPONDER].config.id();
        self.connect_to(&peer, &TransportSettings::default())
    }

    /// Connects and runs until both sides are established.
    pub(crate) fn establish(&mut self) {
        self.connect();
        assert!(self.run(Duration::from_secs(5), |pair| pair.is_established()));
    }

    pub(crate) fn is_established(&self) -> bool {
        self.hosts.iter().all(|host| !host.connected.is_empty())
    }

    /// The first datagram of a new connection to the responder, which is not delivered.
    pub(crate) fn first_datagram(&mut self) -> Vec<u8> {
        self.connect();
        let now = self.now;
        self.hosts[INITIATOR].drive(now).swap_remove(0)
    }

    /// Hands `bytes` to the responder as if they came from `from`; returns how much it then sends
    /// within five seconds.
    pub(crate) fn probe(&mut self, from: &str, bytes: &[u8]) -> usize {
        let responder = &mut self.hosts[RESPONDER];
        let before = responder.sent_bytes;
        responder.handle(self.now, from.parse().unwrap(), bytes);
        for second in 0..5 {
            responder.drive(self.now + Duration::from_secs(second));
        }
        responder.sent_bytes - before
    }

    /// Runs until `done`, at most for `limit` of virtual time. Returns whether `done` came true.
    pub(crate) fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drive();
            if done(self) {
                return true;
            }
            // What `done` wrote leaves now.
            self.drive();
            let next_delivery = self.in_flight.keys().next().map(|(due, _)| *due);
            let timeouts = self.hosts.iter_mut().filter_map(Host::next_timeout).min();
            match next_delivery.into_iter().chain(timeouts).min() {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => {
                    self.now = end;
                    return false;
                }
            }
            self.deliver();
        }
    }

    fn drive(&mut self) {
        for side in [INITIATOR, RESPONDER] {
            for datagram in self.hosts[side].drive(self.now) {
                self.send(side, datagram);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.in_flight.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, bytes) = entry.remove();
            let from = self.hosts[1 - to].address;
            for reply in self.hosts[to].handle(self.now, from, &bytes) {
                self.send(to, reply);
            }
        }
    }

    fn send(&mut self, from: usize, datagram: Vec<u8>) {
        if !self.happens(self.weather.loss) {
            let copies = 1 + u32::from(self.happens(self.weather.duplication));
            for _ in 0..copies {
                self.carry(1 - from, datagram.clone());
            }
        }
        self.sent[from].push(datagram);
    }

    fn carry(&mut self, to: usize, mut datagram: Vec<u8>) {
        let late = if self.happens(self.weather.reordering) {
            self.rng.next_u32() % 30
        } else {
            0
        };
        if self.happens(self.weather.corruption) {
            let bit = self.rng.next_u32() as usize % (datagram.len() * 8);
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
        let due = self.now + LATENCY + Duration::from_millis(late.into());
        self.count += 1;
        self.in_flight.insert((due, self.count), (to, datagram));
    }

    fn happens(&mut self, per_cent: u32) -> bool {
        per_cent > 0 && self.rng.next_u32() % 100 < per_cent
    }
}

/// An error code of the application.
pub(crate) fn code(code: u32) -> VarInt {
    VarInt::from_u32(code)
}
