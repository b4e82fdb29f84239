//! A relay, clients of it and peers, on a virtual clock.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_identity::DeviceKey;
use dhtnet_nat_traversal::relay::{
    Action, Admission, Config, Family, Limits, NoSocket, Peers, Relay, StreamId,
};
use dhtnet_nat_traversal::stun::{Message, Ownership, is_stun, respond};
use dhtnet_nat_traversal::turn::{self, Allocation, Event, Handled, Link};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

pub(crate) const DELAY: Duration = Duration::from_millis(20);

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn relay_key() -> DeviceKey {
    DeviceKey::from_seed(&[200; 32])
}

pub(crate) fn client_key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

pub(crate) fn relay_address() -> SocketAddr {
    address("198.51.100.1:3478")
}

pub(crate) struct Client {
    pub(crate) allocation: Allocation,
    pub(crate) address: SocketAddr,
    stream: Option<StreamId>,
    pub(crate) received: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) events: Vec<(Duration, Event)>,
    /// Bytes sent to the relay, the last packet.
    pub(crate) last_sent: usize,
    /// Messages to the relay that carry no payload.
    pub(crate) messages: usize,
    silent: bool,
}

enum Packet {
    ToRelay(usize, Vec<u8>),
    ToClient(usize, Vec<u8>),
    Disconnected(usize),
    FromPeer(SocketAddr, SocketAddr, Vec<u8>),
}

pub(crate) struct World {
    pub(crate) begin: Instant,
    pub(crate) now: Instant,
    limits: Limits,
    pub(crate) relay: Relay,
    pub(crate) relay_is_dead: bool,
    pub(crate) has_v6: bool,
    /// Until then requests for an allocation are refused as coturn does while it holds one for the
    /// same port: without a signature, and for a second after it has deleted that one.
    pub(crate) in_use_until: Instant,
    pub(crate) clients: Vec<Client>,
    /// What peers received: relayed address, peer, payload.
    pub(crate) at_peers: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    pub(crate) sockets: BTreeSet<SocketAddr>,
    /// Packets to clients that are lost, from now on.
    pub(crate) lose_to_clients: usize,
    /// Bytes in one piece of a stream.
    pub(crate) chunk: usize,
    packets: BTreeMap<(Instant, u64), Packet>,
    sequence: u64,
    next_port: u16,
    rng: ChaCha20Rng,
}

pub(crate) fn config(limits: Limits) -> Config {
    Config {
        listen: relay_address(),
        own: vec![relay_address().ip(), ip("2001:db8::1")],
        peers: Peers::Public,
        limits,
    }
}

impl World {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with(config(limits), Box::new(|_| true))
    }

    pub(crate) fn with(config: Config, admission: Admission) -> Self {
        let begin = Instant::now();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        Self {
            begin,
            limits: config.limits,
            now: begin,
            relay: Relay::new(begin, config, relay_key(), admission, &mut rng),
            relay_is_dead: false,
            has_v6: true,
            in_use_until: begin,
            clients: Vec::new(),
            at_peers: Vec::new(),
            sockets: BTreeSet::new(),
            lose_to_clients: 0,
            chunk: usize::MAX,
            packets: BTreeMap::new(),
            sequence: 0,
            next_port: 50_000,
            rng,
        }
    }

    /// A device with its right password.
    pub(crate) fn client(&mut self, seed: u8) -> usize {
        self.client_with(seed, |config| config)
    }

    pub(crate) fn client_with(
        &mut self,
        seed: u8,
        change: impl FnOnce(turn::Config) -> turn::Config,
    ) -> usize {
        let key = client_key(seed);
        let password = key.password_at_relay(&relay_key().id());
        let config = turn::Config::new(relay_address(), &key.id().to_string(), &password);
        self.client_of(&change(config), Link::Datagrams)
    }

    pub(crate) fn client_over_stream(&mut self, seed: u8) -> usize {
        let key = client_key(seed);
        let password = key.password_at_relay(&relay_key().id());
        let config = turn::Config::new(relay_address(), &key.id().to_string(), &password);
        self.client_of(&config.link(Link::Stream), Link::Stream)
    }

    pub(crate) fn client_of(&mut self, config: &turn::Config, link: Link) -> usize {
        let index = self.clients.len();
        let address = SocketAddr::from(([203, 0, 113, 5], 10_000 + index as u16));
        let stream = (link == Link::Stream).then_some(StreamId(index as u64));
        if let Some(stream) = stream {
            assert!(self.relay.handle_connected(self.now, stream, address));
        }
        self.clients.push(Client {
            allocation: Allocation::new(self.now, config, &mut self.rng),
            address,
            stream,
            received: Vec::new(),
            events: Vec::new(),
            last_sent: 0,
            messages: 0,
            silent: false,
        });
        index
    }

    /// A client with an allocation that admits this peer.
    pub(crate) fn ready(&mut self, seed: u8, peer: &str) -> (usize, SocketAddr) {
        let client = self.client(seed);
        let relayed = self.allocated(client);
        self.permit(client, peer);
        (client, relayed)
    }

    /// The relay is ended and started again: it has forgotten everything, also what it made its
    /// nonces with.
    pub(crate) fn restart_relay(&mut self) {
        let config = config(self.limits);
        let admission = Box::new(|_: &_| true);
        self.relay = Relay::new(self.now, config, relay_key(), admission, &mut self.rng);
        self.sockets.clear();
    }

    /// The process of this client is killed, and another one asks from the same address.
    pub(crate) fn restart_client(&mut self, seed: u8, index: usize) {
        let again = self.client(seed);
        let mut client = self.clients.remove(again);
        client.address = self.clients[index].address;
        self.clients[index] = client;
    }

    /// From now on nothing comes from this client.
    pub(crate) fn silence(&mut self, client: usize) {
        self.clients[client].silent = true;
    }

    /// Waits for the allocation.
    pub(crate) fn allocated(&mut self, client: usize) -> SocketAddr {
        self.run(Duration::from_secs(1));
        let found = self.clients[client].allocation.relayed();
        *found
            .first()
            .unwrap_or_else(|| panic!("{:?}", self.clients[client].events))
    }

    pub(crate) fn permit(&mut self, client: usize, peer: &str) {
        let now = self.now;
        self.clients[client]
            .allocation
            .permit(now, ip(peer))
            .unwrap();
        self.run(Duration::from_secs(1));
    }

    pub(crate) fn send(&mut self, client: usize, peer: &str, payload: &[u8]) {
        let now = self.now;
        let sent = self.clients[client]
            .allocation
            .send_to(now, address(peer), payload);
        let sent = sent.unwrap();
        assert_eq!(sent.destination, relay_address());
        self.clients[client].last_sent = sent.payload.len();
        self.push(Packet::ToRelay(client, sent.payload.to_vec()));
    }

    pub(crate) fn send_from_peer(&mut self, relayed: SocketAddr, peer: &str, payload: &[u8]) {
        self.push(Packet::FromPeer(relayed, address(peer), payload.to_vec()));
    }

    pub(crate) fn events(&mut self, client: usize) -> Vec<Event> {
        let events = std::mem::take(&mut self.clients[client].events);
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// Lets this much time pass, everything happening at its moment.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.flush();
            let packet = self.packets.first_key_value().map(|((at, _), _)| *at);
            let clients = self
                .clients
                .iter()
                .filter_map(|client| client.allocation.poll_timeout());
            let relay = self.relay.poll_timeout().filter(|_| !self.relay_is_dead);
            let next = clients.chain(packet).chain(relay).min();
            let Some(next) = next.filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if packet.is_some_and(|at| at <= self.now) {
                let (_, packet) = self.packets.pop_first().unwrap();
                self.deliver(packet);
                continue;
            }
            if !self.relay_is_dead {
                self.relay.handle_timeout(self.now);
            }
            for client in &mut self.clients {
                client.allocation.handle_timeout(self.now);
            }
        }
        self.now = until;
        self.flush();
    }

    fn push(&mut self, packet: Packet) {
        self.sequence += 1;
        self.packets
            .insert((self.now + DELAY, self.sequence), packet);
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::ToRelay(..) | Packet::FromPeer(..) if self.relay_is_dead => {}
            Packet::ToRelay(client, _) if self.clients[client].silent => {}
            Packet::ToRelay(client, bytes) => self.at_relay(client, &bytes),
            Packet::FromPeer(relayed, peer, payload) => {
                self.relay
                    .handle_peer_datagram(self.now, relayed, peer, &payload);
            }
            Packet::Disconnected(client) => {
                self.clients[client].allocation.handle_disconnected();
            }
            Packet::ToClient(client, bytes) => {
                let now = self.now;
                let client = &mut self.clients[client];
                if client.stream.is_some() {
                    for piece in bytes.chunks(self.chunk.min(bytes.len())) {
                        client.allocation.handle_stream(now, piece).unwrap();
                    }
                    while let Some((peer, payload)) = client.allocation.poll_payload() {
                        client.received.push((peer, payload.to_vec()));
                    }
                } else {
                    let handled = client
                        .allocation
                        .handle_datagram(now, relay_address(), &bytes);
                    if let Handled::Payload { peer, range } = handled {
                        client.received.push((peer, bytes[range].to_vec()));
                    }
                }
            }
        }
    }

    fn at_relay(&mut self, client: usize, bytes: &[u8]) {
        if bytes.starts_with(&[0, 3]) && self.now < self.in_use_until {
            // An error response with ERROR-CODE 437 and nothing else.
            let mut refusal = vec![0x01, 0x13, 0, 8];
            refusal.extend(&bytes[4..20]);
            refusal.extend([0, 9, 0, 4, 0, 0, 4, 37]);
            return self.push(Packet::ToClient(client, refusal));
        }
        let (from, stream) = (self.clients[client].address, self.clients[client].stream);
        if let Some(stream) = stream {
            for piece in bytes.chunks(self.chunk.min(bytes.len())) {
                self.relay.handle_stream(self.now, stream, piece);
            }
            return;
        }
        let ownership = self.relay.handle_datagram(self.now, from, bytes);
        if ownership == Ownership::NotOurs
            && is_stun(bytes)
            && let Ok(Message::Request(request)) = Message::decode(bytes)
        {
            self.push(Packet::ToClient(client, respond(&request, from)));
        }
    }

    fn flush(&mut self) {
        for client in 0..self.clients.len() {
            while let Some(transmit) = self.clients[client].allocation.poll_transmit() {
                assert_eq!(transmit.destination, relay_address());
                self.clients[client].messages += 1;
                self.push(Packet::ToRelay(client, transmit.payload.to_vec()));
            }
            while let Some(event) = self.clients[client].allocation.poll_event() {
                let at = self.now - self.begin;
                self.clients[client].events.push((at, event));
            }
        }
        while let Some(action) = self.relay.poll_action() {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { to, payload } => {
                let client = self.clients.iter().position(|client| client.address == to);
                if self.lose_to_clients > 0 {
                    self.lose_to_clients -= 1;
                } else if let Some(client) = client {
                    self.push(Packet::ToClient(client, payload.to_vec()));
                }
            }
            Action::Write { stream, payload } => {
                self.push(Packet::ToClient(stream.0 as usize, payload.to_vec()));
            }
            Action::Disconnect { stream } => self.push(Packet::Disconnected(stream.0 as usize)),
            Action::Open { request, family } => {
                let ip = match family {
                    Family::V4 => Ok(relay_address().ip()),
                    Family::V6 if self.has_v6 => Ok(ip("2001:db8::1")),
                    Family::V6 => Err(NoSocket::FamilyUnavailable),
                };
                self.next_port += 1;
                let socket = ip.map(|ip| SocketAddr::new(ip, self.next_port));
                self.sockets.extend(socket);
                self.relay.handle_socket(self.now, request, socket);
            }
            Action::Close { relayed } => assert!(self.sockets.remove(&relayed)),
            Action::Relay {
                relayed,
                to,
                payload,
            } => {
                assert!(self.sockets.contains(&relayed));
                self.at_peers.push((relayed, to, payload.to_vec()));
            }
        }
    }
}
