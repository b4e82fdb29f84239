//! The relay: strangers, clients, quotas.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet_identity::{DeviceId, DeviceKey};
use rand_core::Rng;

use super::client::{Asked, Client, Link, Output, Wish};
use super::gate::{Gate, NotProven};
use super::judge::{Reach, Verdict, judge, transport_reason};
use super::quota::Bucket;
use super::streams::Streams;
use super::wire::{Class, Parsed, Shown, code, kind, kind_of, method, refusal};
use super::{
    Action, Admission, Config, MAX_CLIENTS, MAX_PAYLOAD, MAX_STREAMS, NoSocket, SocketRequest,
    StreamId,
};
use crate::stun::{IntegrityKey, Message, Ownership, is_stun, respond, verify};
use crate::turn::{channel_payload_len, padded};

/// Bytes of the longest frame of a client: a payload, and the headers of a Send indication.
const MAX_FRAME: usize = MAX_PAYLOAD + 64;

/// Bytes of the longest request. A full one has less than 400.
const MAX_REQUEST: usize = 1000;

/// Silence after which an allocation gives way to another one of the same device. Two keepalives
/// of [`turn::KEEPALIVE`](crate::turn::KEEPALIVE) are then missing.
const ABANDONED: Duration = Duration::from_secs(35);

/// Silence after which an allocation gives way to any other device when there is no place left: a
/// client that is alive asks for its permissions again every five minutes (RFC 8656 section 9).
const FORGOTTEN: Duration = Duration::from_secs(5 * 60 + 10);

/// What was done, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Payloads relayed, either way.
    pub payloads: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Payloads dropped because a rate was exceeded.
    pub over_quota: u64,
    /// Requests refused for quotas, addresses or admission.
    pub refused: u64,
}

/// A relay. See the [module](super).
pub struct Relay {
    config: Config,
    gate: Gate,
    admission: Admission,
    bytes: Bucket,
    clients: BTreeMap<Link, Client>,
    streams: Streams,
    by_relayed: BTreeMap<SocketAddr, Link>,
    next_request: u64,
    actions: VecDeque<Action>,
    stats: Stats,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("clients", &self.clients.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay with this device's key.
    #[must_use]
    pub fn new(
        now: Instant,
        config: Config,
        key: DeviceKey,
        admission: Admission,
        rng: &mut impl Rng,
    ) -> Self {
        Self {
            gate: Gate::new(now, key, rng),
            bytes: Bucket::new(now, config.limits.total_bytes_per_second),
            config,
            admission,
            clients: BTreeMap::new(),
            streams: Streams::default(),
            by_relayed: BTreeMap::new(),
            next_request: 0,
            actions: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes a datagram of the listening socket. Not ours are Binding messages, which
    /// [`stun::respond`](crate::stun::respond) answers, answers to anybody, and what is no TURN.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Ownership {
        let link = Link::Datagrams(from);
        // Keepalives are answered elsewhere, and are signs of life.
        if let Some(client) = self.clients.get_mut(&link) {
            client.heard = now;
        }
        let ours = if is_stun(datagram) {
            kind_of(datagram).is_some_and(|(class, method)| {
                class != Class::Response
                    && (method::ALLOCATE..=method::CONNECTION_ATTEMPT).contains(&method)
            })
        } else {
            self.clients
                .get(&link)
                .is_some_and(|client| is_channel(client, datagram))
        };
        if !ours {
            return Ownership::NotOurs;
        }
        self.on_frame(now, (link, from), datagram);
        Ownership::Ours
    }

    /// A stream was accepted. When there are [`MAX_STREAMS`], one without an allocation makes
    /// room: the oldest of the host that has the most of them. `false` when all have one: the new
    /// stream is to be closed.
    #[must_use]
    pub fn handle_connected(&mut self, now: Instant, stream: StreamId, from: SocketAddr) -> bool {
        if self.streams.len() >= MAX_STREAMS {
            let clients = &self.clients;
            let is_idle = |stream| !clients.contains_key(&Link::Stream(stream));
            let Some(idle) = self.streams.least_wanted(is_idle) else {
                return false;
            };
            self.streams.remove(idle);
            self.actions.push_back(Action::Disconnect { stream: idle });
        }
        self.streams.insert(now, stream, from);
        true
    }

    /// Takes bytes of a stream. One that does not speak TURN is disconnected.
    pub fn handle_stream(&mut self, now: Instant, stream: StreamId, bytes: &[u8]) {
        self.streams.push(stream, bytes);
        loop {
            match self.streams.next_frame(stream, MAX_FRAME) {
                Ok(Some((from, frame))) => self.on_frame(now, (Link::Stream(stream), from), &frame),
                Ok(None) => return,
                Err(_) => {
                    self.handle_disconnected(stream);
                    self.actions.push_back(Action::Disconnect { stream });
                }
            }
        }
    }

    /// A stream ended; its allocation ends with it.
    pub fn handle_disconnected(&mut self, stream: StreamId) {
        self.streams.remove(stream);
        self.remove(Link::Stream(stream));
    }

    /// Answers [`Action::Open`] with the address that peers will see: behind a NAT not the one the
    /// socket is bound to. Datagrams and [`Action::Relay`] then name the socket by it.
    pub fn handle_socket(
        &mut self,
        now: Instant,
        request: SocketRequest,
        socket: Result<SocketAddr, NoSocket>,
    ) {
        let found = self.clients.iter_mut().find_map(|(link, client)| {
            let asked = client
                .asked
                .iter_mut()
                .find(|asked| asked.request == request.0)?;
            Some((*link, asked))
        });
        let Some((link, asked)) = found else {
            if let Ok(relayed) = socket {
                self.actions.push_back(Action::Close { relayed });
            }
            return;
        };
        asked.answer = Some(socket);
        if let Ok(relayed) = socket {
            self.by_relayed.insert(relayed, link);
        }
        if let Some(client) = self.clients.get_mut(&link) {
            client.tell_sockets(now);
        }
        self.drive(now, link);
    }

    /// Takes a datagram that came to a relayed address.
    pub fn handle_peer_datagram(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        from: SocketAddr,
        payload: &[u8],
    ) {
        let Some(&link) = self.by_relayed.get(&relayed) else {
            return;
        };
        let Some(client) = self.clients.get_mut(&link) else {
            return;
        };
        if payload.len() > MAX_PAYLOAD {
            return;
        }
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        // Without a permission nothing comes out, and nothing is counted.
        let Some(output) = client.on_peer(now, relayed, from, payload) else {
            return;
        };
        if self.admit_bytes(now, link, payload.len()) {
            self.send(link, output.payload);
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<Link> = self
            .clients
            .iter()
            .filter(|(_, client)| client.wake <= now)
            .map(|(link, _)| *link)
            .collect();
        for link in due {
            self.drive(now, link);
        }
        let clients = &self.clients;
        let is_idle = |stream| !clients.contains_key(&Link::Stream(stream));
        for stream in self.streams.overdue(now, is_idle) {
            self.handle_disconnected(stream);
            self.actions.push_back(Action::Disconnect { stream });
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let clients = self.clients.values().map(|client| client.wake);
        let is_idle = |stream| !self.clients.contains_key(&Link::Stream(stream));
        clients.chain(self.streams.due(is_idle)).min()
    }

    /// The relay's own addresses have changed: see [`Config::own`].
    pub fn set_own(&mut self, own: Vec<IpAddr>) {
        self.config.own = own;
    }

    /// Clients at this moment.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// What was done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn on_frame(&mut self, now: Instant, (link, from): (Link, SocketAddr), frame: &[u8]) {
        if !is_stun(frame) {
            return self.on_channel(now, link, frame);
        }
        let Some(parsed) = Parsed::new(frame) else {
            return;
        };
        match (parsed.class, parsed.method) {
            (Class::Request, method::BINDING) => {
                // A client's keepalive must not wait behind strangers.
                let may_answer = match self.clients.get_mut(&link) {
                    Some(client) => {
                        client.heard = now;
                        client.requests.take(now, 1)
                    }
                    None => self.gate.may_answer(now),
                };
                if let Ok(Message::Request(request)) = Message::decode(frame)
                    && may_answer
                {
                    self.send(link, respond(&request, from));
                }
            }
            (Class::Request, _) if frame.len() > MAX_REQUEST => {}
            (Class::Request, _) if self.clients.contains_key(&link) => {
                self.on_request(now, link, &parsed, frame);
            }
            (Class::Request, _) => self.on_stranger(now, (link, from), &parsed, frame),
            (Class::Indication, method::SEND) => self.on_send(now, link, &parsed, frame),
            _ => {}
        }
    }

    /// Somebody without an allocation.
    fn on_stranger(
        &mut self,
        now: Instant,
        (link, from): (Link, SocketAddr),
        parsed: &Parsed<'_>,
        frame: &[u8],
    ) {
        let proven = match self.gate.examine(now, from, parsed, frame) {
            Ok(proven) => proven,
            Err(NotProven::Challenge(answer)) => return self.send(link, answer),
            Err(NotProven::Silence) => return,
        };
        self.make_room(now, &proven.id);
        if let Some(code) = self.reason_against(&proven.id, parsed) {
            return self.refuse(link, parsed, code, &proven.key);
        }
        let addresses = (self.config.listen, from);
        let realm = self.gate.realm();
        let client = Client::new(now, addresses, proven, realm, &self.config.limits);
        self.clients.insert(link, client);
        self.forward(now, link, frame);
    }

    /// A device that comes from another address has left allocations behind. When it has as many
    /// as it may, the one that was silent for the longest goes, if that is [`ABANDONED`]; when
    /// there is no place at all, that of any device, if it is [`FORGOTTEN`].
    fn make_room(&mut self, now: Instant, id: &DeviceId) {
        let limits = &self.config.limits;
        let same = self.clients.iter().filter(|(_, client)| client.id == *id);
        let (oldest, silence) = if same.clone().count() >= limits.clients_per_id {
            (same.min_by_key(|(_, client)| client.heard), ABANDONED)
        } else if self.clients.len() >= limits.clients.min(MAX_CLIENTS) {
            let all = self.clients.iter();
            (all.min_by_key(|(_, client)| client.heard), FORGOTTEN)
        } else {
            return;
        };
        if let Some((&link, _)) = oldest.filter(|(_, client)| now >= client.heard + silence) {
            self.remove(link);
            if let Link::Stream(stream) = link {
                self.streams.remove(stream);
                self.actions.push_back(Action::Disconnect { stream });
            }
        }
    }

    /// Why a proven device gets no allocation.
    fn reason_against(&mut self, id: &DeviceId, parsed: &Parsed<'_>) -> Option<u16> {
        let limits = &self.config.limits;
        let same = self
            .clients
            .values()
            .filter(|client| client.id == *id)
            .count();
        if !(self.admission)(id) {
            Some(code::FORBIDDEN)
        } else if parsed.method != method::ALLOCATE {
            Some(code::ALLOCATION_MISMATCH)
        } else if parsed.attribute(kind::MESSAGE_INTEGRITY_SHA256).is_some() {
            Some(code::BAD_REQUEST)
        } else if same >= limits.clients_per_id {
            Some(code::QUOTA_REACHED)
        } else if self.clients.len() >= limits.clients.min(MAX_CLIENTS) {
            Some(code::INSUFFICIENT_CAPACITY)
        } else {
            transport_reason(parsed)
        }
    }

    /// A request of a client. It must be signed with his password, by the one algorithm that is
    /// checked here. Who comes without a signature is told what to sign with, as a stranger is: it
    /// is a process that was started anew on the same port.
    fn on_request(&mut self, now: Instant, link: Link, parsed: &Parsed<'_>, frame: &[u8]) {
        let Some(client) = self.clients.get_mut(&link) else {
            return;
        };
        if !client.requests.take(now, 1) {
            return;
        }
        let from = client.address();
        let key = client.key.clone();
        let by_sha1 = parsed.attribute(kind::MESSAGE_INTEGRITY).is_some();
        let by_sha256 = parsed.attribute(kind::MESSAGE_INTEGRITY_SHA256).is_some();
        if by_sha1 && verify(frame, &key).is_err() || !by_sha1 && !by_sha256 {
            let code = code::UNAUTHENTICATED;
            if let Some(answer) = self.gate.challenge(now, from, parsed, code) {
                self.send(link, answer);
            }
            return;
        }
        let verdict = if by_sha256 {
            Err(code::BAD_REQUEST)
        } else {
            {
                let reach = Reach {
                    config: &self.config,
                    relayed: &self.by_relayed,
                };
                judge(now, client, parsed, &reach)
            }
        };
        match verdict {
            Ok(Verdict::Forward) => self.forward(now, link, frame),
            Ok(Verdict::Again(reply)) => self.send(link, reply),
            Ok(Verdict::Drop) => {}
            Err(code) => self.refuse(link, parsed, code, &key),
        }
    }

    /// A payload in a Send indication.
    fn on_send(&mut self, now: Instant, link: Link, parsed: &Parsed<'_>, frame: &[u8]) {
        let Some(&[peer]) = parsed.peers().as_deref() else {
            return;
        };
        if self.reach().may_send_to(peer) {
            self.relay(now, link, frame);
        }
    }

    /// A payload in ChannelData.
    fn on_channel(&mut self, now: Instant, link: Link, frame: &[u8]) {
        let Some(number) = frame
            .first_chunk()
            .map(|number| u16::from_be_bytes(*number))
        else {
            return;
        };
        let peer = self
            .clients
            .get(&link)
            .and_then(|client| client.channel_peer(number));
        if peer.is_some_and(|peer| self.reach().may_send_to(peer)) {
            self.relay(now, link, frame);
        }
    }

    /// What a client sends to a peer. The machine checks the permission.
    fn relay(&mut self, now: Instant, link: Link, frame: &[u8]) {
        let output = self
            .clients
            .get_mut(&link)
            .and_then(|client| client.on_frame(now, frame));
        let Some(Output { from, to, payload }) = output else {
            return;
        };
        if payload.len() > MAX_PAYLOAD || !self.admit_bytes(now, link, payload.len()) {
            return;
        }
        if self.by_relayed.contains_key(&to) {
            self.handle_peer_datagram(now, to, from, &payload);
        } else {
            self.actions.push_back(Action::Relay {
                relayed: from,
                to,
                payload: Bytes::from(payload),
            });
        }
    }

    fn admit_bytes(&mut self, now: Instant, link: Link, len: usize) -> bool {
        let Some(client) = self.clients.get_mut(&link) else {
            return false;
        };
        let admitted = client.bytes.take(now, len) && self.bytes.take(now, len);
        if admitted {
            self.stats.payloads += 1;
            self.stats.bytes += len as u64;
        } else {
            self.stats.over_quota += 1;
        }
        admitted
    }

    fn reach(&self) -> Reach<'_> {
        Reach {
            config: &self.config,
            relayed: &self.by_relayed,
        }
    }

    /// Gives a frame to the client's machine, and does what it says.
    fn forward(&mut self, now: Instant, link: Link, frame: &[u8]) {
        let Some(client) = self.clients.get_mut(&link) else {
            return;
        };
        if let Some(output) = client.on_frame(now, frame) {
            client.keep_reply(&output.payload);
            self.send(link, output.payload);
        }
        self.drive(now, link);
    }

    /// Opens and closes sockets as the client's machine wants, and sends what it has to say.
    fn drive(&mut self, now: Instant, link: Link) {
        let Some(client) = self.clients.get_mut(&link) else {
            return;
        };
        for wish in client.wishes(now) {
            match wish {
                Wish::Open(family) => {
                    let request = self.next_request;
                    self.next_request += 1;
                    client.asked.push(Asked {
                        request,
                        family,
                        answer: None,
                    });
                    let request = SocketRequest(request);
                    self.actions.push_back(Action::Open { request, family });
                }
                Wish::Close(relayed) => {
                    client.on_closed(now, relayed);
                    self.by_relayed.remove(&relayed);
                    self.actions.push_back(Action::Close { relayed });
                }
            }
        }
        let mut answers = Vec::new();
        while let Some(output) = client.poll_output(now) {
            client.keep_reply(&output.payload);
            answers.push(output.payload);
        }
        client.watch_the_end();
        let over = client.is_over(now);
        for answer in answers {
            self.send(link, answer);
        }
        if over {
            self.remove(link);
        }
    }

    fn remove(&mut self, link: Link) {
        let Some(client) = self.clients.remove(&link) else {
            return;
        };
        let answered = client
            .asked
            .iter()
            .filter_map(|asked| asked.answer.and_then(Result::ok));
        for relayed in client.relayed.iter().copied().chain(answered) {
            self.by_relayed.remove(&relayed);
            self.actions.push_back(Action::Close { relayed });
        }
    }

    fn refuse(&mut self, link: Link, parsed: &Parsed<'_>, code: u16, key: &IntegrityKey) {
        self.stats.refused += 1;
        if let Some(answer) = refusal((parsed.method, parsed.id), code, Shown::Signed(key)) {
            self.send(link, answer);
        }
    }

    fn send(&mut self, link: Link, frame: Vec<u8>) {
        self.actions.push_back(match link {
            Link::Datagrams(to) => Action::Send {
                to,
                payload: Bytes::from(frame),
            },
            Link::Stream(stream) => Action::Write {
                stream,
                payload: Bytes::from(padded(frame)),
            },
        });
    }
}

/// Whether this is ChannelData of a channel that the client has bound. QUIC's short header begins
/// with the same bits; our own clients count channels from 0x4000, so their second byte is small,
/// where that of a QUIC packet is not.
fn is_channel(client: &Client, datagram: &[u8]) -> bool {
    channel_payload_len(datagram).is_some()
        && datagram
            .first_chunk()
            .map(|number| u16::from_be_bytes(*number))
            .is_some_and(|number| client.channel_peer(number).is_some())
}
