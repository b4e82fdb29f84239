//! What is at the hosts: the peers, the relay, and the reflectors that tell where they are asked from.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::behavior::{Allocation, Mapping};
use dhtnet_nat_traversal::candidate::SocketId;
use dhtnet_nat_traversal::offer::NatProfile;
use dhtnet_nat_traversal::punch::{Budget, Need};
use dhtnet_nat_traversal::session::{Event, PathKind, Session, Why};
use dhtnet_simnet::{Endpoint, Packet, Rng, STREAM_PORT};

use crate::kinds::Kind;

pub(super) const MAIN_PORT: u16 = 4_000;
const RELAY_PORT: u16 = 4_002;
pub(super) const MAIN_6: SocketId = SocketId(1);
pub(super) const RELAYED: SocketId = SocketId(2);
const FIRST_PUNCHED: u16 = 100;
const FIRST_PUNCHED_PORT: u16 = 10_000;

pub(super) const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(11, 0, 100, 1));
pub(super) const FIRST_ALLOCATION: u16 = 50_000;
pub(super) const REFLECTOR_PORT: u16 = 3_478;

/// A peer's other traffic, which takes ports of its NAT: a new remote so often.
const BACKGROUND: Duration = Duration::from_millis(200);

/// What is at a host.
pub(super) enum Actor {
    Peer(Box<Peer>),
    Relay(Relay),
    Reflector(VecDeque<Packet>),
}

/// One side.
pub(super) struct Peer {
    pub(super) v4: IpAddr,
    pub(super) v6: Option<IpAddr>,
    pub(super) session: Option<Session>,
    budget: Budget,
    pub(super) outbox: VecDeque<Packet>,
    /// By the reflector that told it: in the order of asking, not of answers.
    pub(super) samples: BTreeMap<IpAddr, SocketAddr>,
    rng: Rng,
    pub(super) background_at: Option<Instant>,
    background_left: u32,
    pub(super) open_sockets: Vec<SocketId>,
    opened: u16,
    pub(super) sent_at: Vec<Instant>,
    pub(super) most_sockets: usize,
    pub(super) works: Vec<(Instant, PathKind)>,
    pub(super) gave_up: Option<(Instant, Why)>,
}

impl Peer {
    pub(super) fn new(v4: IpAddr, v6: Option<IpAddr>, seed: u64) -> Self {
        Self {
            v4,
            v6,
            session: None,
            budget: Budget::default(),
            outbox: VecDeque::new(),
            samples: BTreeMap::new(),
            rng: Rng::new(seed),
            background_at: None,
            background_left: 30,
            open_sockets: Vec::new(),
            opened: 0,
            sent_at: Vec::new(),
            most_sockets: 0,
            works: Vec::new(),
            gave_up: None,
        }
    }

    pub(super) fn local(&self, socket: SocketId) -> SocketAddr {
        match socket {
            SocketId::MAIN => SocketAddr::new(self.v4, MAIN_PORT),
            MAIN_6 => SocketAddr::new(self.v6.unwrap(), MAIN_PORT),
            RELAYED => SocketAddr::new(self.v4, RELAY_PORT),
            SocketId(number) => {
                let port = FIRST_PUNCHED_PORT + (number - FIRST_PUNCHED);
                SocketAddr::new(self.v4, port)
            }
        }
    }

    fn socket_at(&self, local: SocketAddr) -> SocketId {
        match local.port() {
            MAIN_PORT if local.is_ipv6() => MAIN_6,
            MAIN_PORT => SocketId::MAIN,
            RELAY_PORT => RELAYED,
            port => SocketId(FIRST_PUNCHED + (port - FIRST_PUNCHED_PORT)),
        }
    }

    /// What the reflectors have shown; filtering is taken for granted.
    pub(super) fn profile(&self, kind: Kind) -> NatProfile {
        let ports: Vec<u16> = self.samples.values().map(SocketAddr::port).collect();
        let same = ports.windows(2).all(|two| two[0] == two[1]);
        let mapping = if same {
            Mapping::EndpointIndependent
        } else {
            Mapping::AddressAndPortDependent
        };
        NatProfile {
            mapping: (ports.len() > 1).then_some(mapping),
            filtering: kind.filtering(),
            allocation: Allocation::of(&ports),
            samples: ports,
        }
    }

    /// Takes what the session has to say.
    pub(super) fn drain(&mut self, now: Instant) {
        let Some(session) = &mut self.session else {
            return;
        };
        while let Some(need) = session.poll_need() {
            match need {
                Need::Sockets(count) => {
                    let first = FIRST_PUNCHED + self.opened;
                    self.opened += count;
                    let new: Vec<SocketId> = (first..first + count).map(SocketId).collect();
                    self.open_sockets.extend(&new);
                    self.most_sockets = self.most_sockets.max(self.open_sockets.len());
                    session.add_sockets(&new);
                }
                Need::Release(socket) => self.open_sockets.retain(|open| *open != socket),
            }
        }
        while let Some(event) = session.poll_event() {
            match event {
                Event::PathWorks { kind, .. } => self.works.push((now, kind)),
                Event::GaveUp { why } => self.gave_up = Some((now, why)),
                _ => {}
            }
        }
    }

    pub(super) fn first_path(&self, wanted: impl Fn(PathKind) -> bool) -> Option<Instant> {
        let mut all = self.works.iter();
        all.find(|(_, kind)| wanted(*kind)).map(|(at, _)| *at)
    }
}

impl Endpoint for Actor {
    fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    ) {
        match self {
            Self::Reflector(answers) => answers.push_back(Packet {
                local,
                destination: source,
                payload: write(source, b"reflected"),
            }),
            Self::Relay(relay) => relay.forward(local, source, payload),
            Self::Peer(peer) => {
                if source.port() == REFLECTOR_PORT {
                    peer.samples.insert(source.ip(), read(payload).0);
                    return;
                }
                let socket = peer.socket_at(local);
                let punched = socket.0 >= FIRST_PUNCHED;
                if punched && !peer.open_sockets.contains(&socket) {
                    return;
                }
                let (remote, payload) = if socket == RELAYED {
                    read(payload)
                } else {
                    (source, payload)
                };
                if let Some(session) = &mut peer.session {
                    session.handle_datagram(now, (socket, remote), payload);
                    peer.drain(now);
                }
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let Self::Peer(peer) = self else { return };
        if let Some(at) = peer.background_at.filter(|at| *at <= now) {
            peer.background_left -= 1;
            peer.background_at = (peer.background_left > 0).then_some(at + BACKGROUND);
            let host = 0x0bc8_0000 + (peer.rng.next_u64() & 0xffff) as u32;
            let destination = SocketAddr::from((Ipv4Addr::from(host), 6_881));
            let local = peer.local(SocketId::MAIN);
            let payload = b"elsewhere".to_vec();
            peer.outbox.push_back(Packet {
                local,
                destination,
                payload,
            });
        }
        if let Some(session) = &mut peer.session {
            session.handle_timeout(now);
            peer.drain(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let Self::Peer(peer) = self else { return None };
        let session = peer.session.as_ref().and_then(Session::poll_timeout);
        session.into_iter().chain(peer.background_at).min()
    }

    fn poll_packet(&mut self, now: Instant) -> Option<Packet> {
        match self {
            Self::Reflector(answers) => answers.pop_front(),
            Self::Relay(relay) => relay.outbox.pop_front(),
            Self::Peer(peer) => {
                if let Some(packet) = peer.outbox.pop_front() {
                    return Some(packet);
                }
                let session = peer.session.as_mut()?;
                let transmit = session.poll_transmit(now, &mut peer.budget)?;
                peer.sent_at.push(now);
                let (mut destination, mut payload) =
                    (transmit.destination, transmit.payload.to_vec());
                if transmit.socket == RELAYED {
                    payload = write(destination, &payload);
                    destination = SocketAddr::new(RELAY, STREAM_PORT);
                }
                Some(Packet {
                    local: peer.local(transmit.socket),
                    destination,
                    payload,
                })
            }
        }
    }
}

/// Forwards between its clients' addresses and the rest.
#[derive(Default)]
pub(super) struct Relay {
    clients: Vec<SocketAddr>,
    outbox: VecDeque<Packet>,
}

impl Relay {
    fn forward(&mut self, local: SocketAddr, source: SocketAddr, payload: &[u8]) {
        let packet = if local.port() == STREAM_PORT {
            let known = self.clients.iter().position(|client| *client == source);
            let index = known.unwrap_or_else(|| {
                self.clients.push(source);
                self.clients.len() - 1
            });
            let (destination, payload) = read(payload);
            Packet {
                local: SocketAddr::new(RELAY, FIRST_ALLOCATION + index as u16),
                destination,
                payload: payload.to_vec(),
            }
        } else {
            let index = usize::from(local.port() - FIRST_ALLOCATION);
            Packet {
                local: SocketAddr::new(RELAY, STREAM_PORT),
                destination: self.clients[index],
                payload: write(source, payload),
            }
        };
        self.outbox.push_back(packet);
    }
}

/// An address in a line before the payload.
pub(super) fn write(address: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut framed = format!("{address}\n").into_bytes();
    framed.extend(payload);
    framed
}

fn read(framed: &[u8]) -> (SocketAddr, &[u8]) {
    let end = framed.iter().position(|byte| *byte == b'\n').unwrap();
    let address = std::str::from_utf8(&framed[..end]).unwrap();
    (address.parse().unwrap(), &framed[end + 1..])
}
