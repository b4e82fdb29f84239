//! The node without sockets, clock or tasks: QUIC connections, the channels on them, their paths.
//!
//! Datagrams and time come in by `handle_*`; datagrams, deadlines and events go out by `poll_*`.
//! The driver owns the only instance and the only lock around it.

mod connection;
mod event;
mod intake;
mod link;
pub(crate) mod path;
mod renewal;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dhtnet_channel_mux as mux;
use dhtnet_identity::DeviceId;
use dhtnet_secure_transport::{NoiseConfig, SettingsError, TransportSettings};
use quinn_proto::{ConnectionHandle, EcnCodepoint, VarInt};
use rand_chacha::ChaCha20Rng;

use self::connection::Tuning;
pub(crate) use self::connection::{Connection, Phase};
pub(crate) use self::event::CoreEvent;
use self::event::on_quic_event;
pub(crate) use self::link::QuicLink;
use self::path::{PathAddress, Paths, Route, VIRTUAL_REMOTE, Via};
use self::timers::Timers;
use crate::error::{EndReason, close_code};
use crate::hello::Hello;
use crate::report::DropReport;

/// Most connections of one node, in both directions and in any state.
pub(crate) const MAX_CONNECTIONS: usize = 4_096;

/// Most incoming connections whose handshake is not finished: what a flood of first packets
/// from someone who knows our id can occupy.
pub(crate) const MAX_PENDING_HANDSHAKES: usize = 256;

/// Most of those that one host may hold, by IPv4 address or IPv6 /64.
pub(crate) const MAX_PENDING_FROM_ONE_HOST: usize = 64;

/// Most replies waiting to be sent that belong to no connection.
const MAX_RESPONSES: usize = 64;

/// Largest batch handed to the kernel in one call, below the 65,507 bytes of an IPv4 datagram.
const MAX_BATCH_BYTES: usize = 65_000;

/// Names one connection for the life of the node; slots are used again, generations are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionKey {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
}

/// Names one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChannelKey {
    pub(crate) connection: ConnectionKey,
    pub(crate) channel: mux::ChannelId,
}

/// A batch of equal datagrams to send to each of some addresses.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Bytes of the buffer that are filled.
    pub(crate) len: usize,
    /// Length of each datagram but the last, when there are several.
    pub(crate) segment: Option<usize>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) destinations: Destinations,
}

/// Where a batch goes.
#[derive(Debug)]
pub(crate) enum Destinations {
    One(PathAddress),
    /// Every candidate, while none has answered.
    Many(Vec<PathAddress>),
}

impl Destinations {
    pub(crate) fn as_slice(&self) -> &[PathAddress] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Many(addresses) => addresses,
        }
    }
}

/// The sans-IO node.
pub(crate) struct Core {
    endpoint: quinn_proto::Endpoint,
    noise: Arc<NoiseConfig>,
    /// What is said in handshakes, once it is set, and since when this program runs.
    hello: Option<Hello>,
    began: Option<Instant>,
    settings: TransportSettings,
    tuning: Tuning,
    /// Boxed, so that room for more of them is small.
    slots: Vec<Option<Box<Connection>>>,
    /// Over for QUIC, but held: what had arrived can still be read.
    lingering: BTreeMap<ConnectionKey, Box<Connection>>,
    generation: u64,
    pending_handshakes: usize,
    /// Connections that may have something to send, each at most once.
    ready: VecDeque<ConnectionKey>,
    responses: VecDeque<(Bytes, PathAddress)>,
    /// Datagrams of a first flight for a candidate that came late, and checks.
    repeats: VecDeque<(Bytes, PathAddress)>,
    /// Which connection a check may be for.
    check_tags: BTreeSet<(u32, ConnectionKey)>,
    rng: ChaCha20Rng,
    timers: Timers,
    events: VecDeque<CoreEvent>,
    scratch: Vec<u8>,
    dropped: DropReport,
    wake: bool,
}

impl Core {
    pub(crate) fn new(
        noise: Arc<NoiseConfig>,
        settings: TransportSettings,
        (send_window, limits): (u32, mux::Limits),
        rng: ChaCha20Rng,
    ) -> Result<Self, SettingsError> {
        let settings = settings.send_window(send_window);
        let server = noise.server_config(&settings)?;
        let endpoint =
            quinn_proto::Endpoint::new(noise.endpoint_config(), Some(server), true, None);
        Ok(Self {
            endpoint,
            noise,
            hello: None,
            began: None,
            tuning: Tuning {
                limits,
                send_window: u64::from(send_window),
                receive_windows: settings.receive_windows(),
            },
            settings,
            slots: Vec::new(),
            lingering: BTreeMap::new(),
            generation: 0,
            pending_handshakes: 0,
            ready: VecDeque::new(),
            responses: VecDeque::new(),
            repeats: VecDeque::new(),
            check_tags: BTreeSet::new(),
            rng,
            timers: Timers::default(),
            events: VecDeque::new(),
            scratch: Vec::new(),
            dropped: DropReport::default(),
            wake: false,
        })
    }

    /// Begins a connection to `peer`; it has no address yet, see [`Core::add_candidate`].
    pub(crate) fn dial(
        &mut self,
        now: Instant,
        peer: &DeviceId,
    ) -> Result<ConnectionKey, DialError> {
        if self.connections().count() >= MAX_CONNECTIONS {
            return Err(DialError::TooManyConnections);
        }
        self.introduce(now);
        let config = self
            .noise
            .client_config(peer, &self.settings)
            .map_err(|error| DialError::Configuration(error.to_string()))?;
        let (handle, quic) = self
            .endpoint
            .connect(now, config, VIRTUAL_REMOTE, &peer.to_string())
            .map_err(|error| DialError::Configuration(error.to_string()))?;
        let key = self.insert(now, handle, quic, Paths::racing());
        if let Some(connection) = self.get_mut(key) {
            connection.initiated = true;
            connection.peer = Some(*peer);
        }
        Ok(key)
    }

    /// Adds an address at which the peer of a connection may be reached.
    pub(crate) fn add_candidate(&mut self, now: Instant, key: ConnectionKey, route: Route) {
        let Some(connection) = self.get_mut(key) else {
            return;
        };
        let repeats = connection.paths.add_candidate(now, route);
        let repeats = repeats.into_iter().map(|datagram| (datagram, route.path));
        self.repeats.extend(repeats);
        self.wake = true;
        self.drive(now, key);
    }

    /// The addresses or routes of this machine have changed: all paths are asked whether they live.
    pub(crate) fn on_network_change(&mut self, now: Instant) {
        for key in self.keys() {
            if let Some(connection) = self.get_mut(key) {
                connection.paths.on_network_change(now);
            }
            self.drive(now, key);
        }
        self.wake = true;
    }

    /// A socket or an allocation of ours is gone, and the paths through it.
    pub(crate) fn on_via_gone(&mut self, now: Instant, via: Via) {
        for key in self.keys() {
            if let Some(connection) = self.get_mut(key) {
                connection.paths.on_via_gone(now, via);
            }
            self.drive(now, key);
        }
        self.wake = true;
    }

    fn insert(
        &mut self,
        now: Instant,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        paths: Paths,
    ) -> ConnectionKey {
        self.generation += 1;
        let key = ConnectionKey {
            slot: handle.0,
            generation: self.generation,
        };
        if self.slots.len() <= handle.0 {
            self.slots.resize_with(handle.0 + 1, || None);
        }
        let connection = Connection::new(now, key, handle, quic, paths, &self.tuning);
        self.slots[handle.0] = Some(Box::new(connection));
        key
    }

    /// A host reports that nobody has the port that something was sent to.
    pub(crate) fn handle_refused(&mut self, now: Instant, host: IpAddr) {
        for key in self.keys() {
            if let Some(connection) = self.get_mut(key) {
                connection.paths.on_refused(now, host);
            }
            self.drive(now, key);
        }
    }

    /// Handles what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(key) = self.timers.expired(now) {
            let live = self.slots.get_mut(key.slot).and_then(Option::as_deref_mut);
            if let Some(connection) = live.filter(|connection| connection.key == key) {
                connection.handle_timeout(now);
                connection.paths.handle_timeout(now, &mut self.rng);
                if connection.phase != Phase::Ended && connection.paths.is_dead(now) {
                    self.end(now, key, close_code::DONE, EndReason::PortClosed);
                } else if connection.is_overdue(now) {
                    self.end(now, key, close_code::DONE, EndReason::TimedOut);
                } else if connection.is_given_up(now) {
                    self.end(now, key, close_code::DONE, EndReason::PeerRestarted);
                }
            }
            self.drive(now, key);
            // A deadline that stays in the past would spin: it is heard again after the next wake.
            if self.timers.expired(now) == Some(key) {
                break;
            }
        }
    }

    /// When [`Core::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next event, oldest first.
    pub(crate) fn poll_event(&mut self) -> Option<CoreEvent> {
        self.events.pop_front()
    }

    /// Whether [`Core::poll_event`] has something to tell.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Handles all that waits on connections marked ready, without sending.
    pub(crate) fn drive_ready(&mut self, now: Instant) {
        for index in 0..self.ready.len() {
            let key = self.ready[index];
            self.drive(now, key);
        }
    }

    /// The next batch to send, written to the start of `buffer`. `max_segments` is what the
    /// kernel takes in one call.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Outgoing> {
        buffer.clear();
        if let Some((datagram, to)) = self
            .responses
            .pop_front()
            .or_else(|| self.repeats.pop_front())
        {
            buffer.extend_from_slice(&datagram);
            return Some(Outgoing {
                len: datagram.len(),
                segment: None,
                ecn: None,
                destinations: Destinations::One(to),
            });
        }
        while let Some(key) = self.ready.pop_front() {
            let Some(connection) = self.get_mut(key) else {
                continue;
            };
            if let Some(outgoing) = connection.poll_transmit(now, max_segments, buffer) {
                // Behind the others: every connection gets its turn at the socket.
                self.ready.push_back(key);
                return Some(outgoing);
            }
            connection.ready = false;
            self.drive(now, key);
        }
        None
    }

    /// Runs the machines of one connection until they have nothing to tell each other.
    pub(crate) fn drive(&mut self, now: Instant, key: ConnectionKey) {
        let Some(connection) = self.slots.get_mut(key.slot).and_then(Option::as_deref_mut) else {
            return;
        };
        if connection.key != key {
            return;
        }
        let mut drained = false;
        while let Some(event) = connection.quic.poll_endpoint_events() {
            drained |= event.is_drained();
            if let Some(reply) = self.endpoint.handle_event(connection.handle, event) {
                connection.quic.handle_event(reply);
            }
        }
        let was_handshaking = connection.phase == Phase::Handshaking;
        while let Some(event) = connection.quic.poll() {
            on_quic_event(connection, now, event, &mut self.events);
        }
        if was_handshaking && connection.phase != Phase::Handshaking && !connection.initiated {
            self.pending_handshakes -= 1;
        }
        while let Some(event) = connection.mux.poll_event() {
            self.events.push_back(CoreEvent::Mux { key, event });
        }
        if was_handshaking && let Some(tag) = connection.check_tag {
            self.check_tags.insert((tag, key));
        }
        while let Some(change) = connection.poll_path_change(now) {
            self.events.push_back(CoreEvent::Path { key, change });
        }
        while let Some(check) = connection.paths.poll_check() {
            self.repeats.push_back(check);
        }
        if drained {
            self.remove(key);
            return;
        }
        let deadline = connection.deadline();
        self.timers.set(key, &mut connection.deadline, deadline);
        if connection.take_transmit_wish() {
            self.mark_ready(key);
        }
    }

    fn remove(&mut self, key: ConnectionKey) {
        let Some(mut connection) = self.slots[key.slot].take() else {
            return;
        };
        self.timers.set(key, &mut connection.deadline, None);
        if let Some(tag) = connection.check_tag {
            self.check_tags.remove(&(tag, key));
        }
        if connection.holders > 0 {
            self.lingering.insert(key, connection);
        }
    }

    /// Queues a connection to be asked for datagrams.
    pub(crate) fn mark_ready(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.get_mut(key)
            && !connection.ready
        {
            connection.ready = true;
            self.ready.push_back(key);
        }
    }

    /// Lets a duplicate end with its last channel.
    pub(crate) fn retire(&mut self, now: Instant, key: ConnectionKey) {
        if let Some(connection) = self.get_mut(key) {
            connection.retire(now);
        }
        self.drive(now, key);
    }

    /// Ends a connection now; the peer is told `code`.
    pub(crate) fn close(&mut self, now: Instant, key: ConnectionKey, code: u32) {
        self.end(now, key, code, EndReason::Closed);
    }

    /// What is said in the handshakes that begin from now on.
    pub(crate) fn set_hello(&mut self, hello: Hello) {
        self.hello = Some(hello);
    }

    /// Since when this program runs; it is said in handshakes.
    pub(crate) fn set_began(&mut self, at: Instant) {
        self.began = Some(at);
    }

    /// Says in the handshake that begins now who this is, and for how long it has run.
    fn introduce(&self, now: Instant) {
        let Some(hello) = self.hello else {
            return;
        };
        let age = self.began.map(|at| now.saturating_duration_since(at));
        let said = age.map_or_else(|| hello.encode(), |age| hello.encode_with_age(age));
        // A hello is far shorter than what a handshake carries.
        let _ = self.noise.set_application(Bytes::from(said));
    }

    /// The same; who asks here is told `reason`.
    pub(crate) fn end(&mut self, now: Instant, key: ConnectionKey, code: u32, reason: EndReason) {
        let Some(connection) = self.get_mut(key) else {
            return;
        };
        connection
            .quic
            .close(now, VarInt::from_u32(code), Bytes::new());
        self.mark_ready(key);
        self.drive(now, key);
        let Some(connection) = self.get_mut(key) else {
            return;
        };
        let was = std::mem::replace(&mut connection.phase, Phase::Ended);
        if was == Phase::Handshaking && !connection.initiated {
            self.pending_handshakes -= 1;
        }
        if was != Phase::Ended {
            self.events.push_back(CoreEvent::Ended { key, reason });
        }
    }

    /// Whether every connection has told its peer that it is over.
    pub(crate) fn is_quiet(&self) -> bool {
        self.responses.is_empty() && self.repeats.is_empty() && self.ready.is_empty()
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Connection> {
        let live = self
            .slots
            .get(key.slot)
            .and_then(Option::as_deref)
            .filter(|c| c.key == key);
        live.or_else(|| self.lingering.get(&key).map(Box::as_ref))
    }

    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        let live = self
            .slots
            .get_mut(key.slot)
            .and_then(Option::as_deref_mut)
            .filter(|c| c.key == key);
        live.or_else(|| self.lingering.get_mut(&key).map(Box::as_mut))
    }

    /// Every connection that QUIC still knows.
    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        self.connections().map(|c| c.key).collect()
    }

    /// Notes that somebody holds a channel of the connection.
    pub(crate) fn hold(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.get_mut(key) {
            connection.holders += 1;
        }
    }

    /// The opposite of [`Core::hold`]: the last one lets go of what lingers.
    pub(crate) fn release(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.get_mut(key) {
            connection.holders = connection.holders.saturating_sub(1);
            if connection.holders == 0 {
                self.lingering.remove(&key);
            }
        }
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten().map(Box::as_ref)
    }

    pub(crate) fn dropped(&self) -> DropReport {
        self.dropped
    }

    /// Calls `action` with the channels of a connection and the link they run on. `None` when
    /// the handshake is not done or the connection is gone; one that has ended can still be read
    /// from while somebody holds it. What follows from it is handled when the
    /// driver runs next; [`Core::take_wake`] says whether it has to.
    pub(crate) fn with_mux<T>(
        &mut self,
        key: ConnectionKey,
        action: impl FnOnce(&mut mux::Mux, &mut QuicLink<'_>) -> T,
    ) -> Option<T> {
        let live = self
            .slots
            .get_mut(key.slot)
            .and_then(Option::as_deref_mut)
            .filter(|c| c.key == key);
        let connection = live.or_else(|| self.lingering.get_mut(&key).map(Box::as_mut))?;
        if connection.phase == Phase::Handshaking {
            return None;
        }
        let result = connection.with_link(action);
        while let Some(event) = connection.mux.poll_event() {
            self.wake = true;
            self.events.push_back(CoreEvent::Mux { key, event });
        }
        if connection.take_transmit_wish() {
            self.wake = true;
            self.mark_ready(key);
        }
        Some(result)
    }

    /// Whether something was queued from outside the driver since this was last asked.
    pub(crate) fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.wake)
    }
}

/// Why a connection could not even be begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// [`MAX_CONNECTIONS`] are open.
    #[error("too many connections are open (at most {MAX_CONNECTIONS})")]
    TooManyConnections,
    /// The transport refused the parameters.
    #[error("{0}")]
    Configuration(String),
}

#[cfg(test)]
mod tests;
