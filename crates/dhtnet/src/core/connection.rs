//! One connection: its QUIC state, its channels, its paths, and what it wants next.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dhtnet_channel_mux::{self as mux, CloseCode};
use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::offer::Credentials;
use dhtnet_nat_traversal::path::Load;
use dhtnet_nat_traversal::punch::Role;
use dhtnet_secure_transport::{export_keying_material, path_changed};
use quinn_proto::{ConnectionHandle, Dir, StreamEvent, VarInt};
use zeroize::Zeroizing;

use super::link::{QuicLink, from_quic};
use super::path::{Change, CheckKeys, Paths};
use super::{ConnectionKey, Destinations, MAX_BATCH_BYTES, Outgoing};

/// A connection with open channels sends at least this often, so that NAT mappings live (RFC 4787
/// section 4.3 asks for two minutes, real ones give 30 s) and a dead peer is noticed.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A connection without channels is closed after this time; the next channel makes a new one.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// The same for a duplicate: long enough for requests that were on their way.
const RETIRED_IDLE_LIMIT: Duration = Duration::from_secs(2);

/// A handshake that a peer began must be done within this time. QUIC's own limit is the idle
/// timeout, which would let who knows our id hold each of the few places for 30 s.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// What the keys of checks are derived with (TRANSPORT: exporter), and their bytes: a tag of four
/// and a password of sixteen for each side, the initiator's first.
const CHECK_LABEL: &[u8] = b"dhtnet 1 path checks";
const CHECK_BYTES: usize = 2 * (4 + 16);

/// Most that a peer may have in flight or unread on all streams of a connection, in bytes, however
/// many channels are open (96 MiB): room for 39 that nobody reads from and all of what a connection
/// begins with; browsers use up to 32 at once through one proxy.
pub(super) const MAX_CONNECTION_WINDOW: u64 = 96 << 20;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Handshaking,
    Established,
    /// Closed or lost; only what QUIC still has to say is sent.
    Ended,
}

/// What all connections of a node have in common.
#[derive(Debug)]
pub(super) struct Tuning {
    pub(super) limits: mux::Limits,
    /// Bytes that may be sent and unacknowledged.
    pub(super) send_window: u64,
    /// Bytes that the peer may have in flight or unread: on all streams at first, and on one.
    pub(super) receive_windows: (u64, u64),
}

/// One connection to one peer.
pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    pub(super) handle: ConnectionHandle,
    pub(super) quic: quinn_proto::Connection,
    pub(super) mux: mux::Mux,
    pub(crate) paths: Paths,
    pub(crate) phase: Phase,
    /// Known from the start when we dial, from the handshake otherwise.
    pub(crate) peer: Option<DeviceId>,
    pub(crate) initiated: bool,
    pub(crate) since: Instant,
    /// When the peer's program was started, if it says for how long it has run.
    pub(crate) peer_began: Option<Instant>,
    /// Whether the handshake was ever done.
    pub(crate) established: bool,
    /// Channels that somebody holds.
    pub(super) holders: usize,
    next_keepalive: Instant,
    retired: bool,
    /// When it ends, if the peer is not heard on it before: another connection reaches it.
    given_up: Option<Instant>,
    /// Whether it stands in the queue of those that may have something to send.
    pub(super) ready: bool,
    /// Which checks are for this connection; known when the handshake is done.
    pub(super) check_tag: Option<u32>,
    pub(super) deadline: Option<Instant>,
    interactive: BTreeSet<mux::StreamId>,
    send_window: u64,
    receive_windows: (u64, u64),
    /// Most channels that were open at once.
    most_channels: usize,
    wants_transmit: bool,
}

impl Connection {
    pub(super) fn new(
        now: Instant,
        key: ConnectionKey,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        paths: Paths,
        tuning: &Tuning,
    ) -> Self {
        Self {
            key,
            handle,
            mux: mux::Mux::new(side(quic.side()), tuning.limits.clone(), now),
            quic,
            paths,
            phase: Phase::Handshaking,
            peer: None,
            initiated: false,
            since: now,
            peer_began: None,
            established: false,
            holders: 0,
            next_keepalive: now + KEEPALIVE,
            retired: false,
            given_up: None,
            ready: false,
            check_tag: None,
            deadline: None,
            interactive: BTreeSet::new(),
            send_window: tuning.send_window,
            receive_windows: tuning.receive_windows,
            most_channels: 0,
            wants_transmit: true,
        }
    }

    /// Frames from packets that passed their AEAD: grows exactly when a packet was authentic.
    pub(super) fn authenticated_frames(&self) -> u64 {
        let rx = self.quic.stats().frame_rx;
        rx.acks
            + rx.crypto
            + rx.stream
            + rx.datagram
            + rx.ping
            + rx.connection_close
            + rx.immediate_ack
            + rx.max_data
            + rx.max_stream_data
            + rx.path_challenge
            + rx.path_response
            + rx.reset_stream
            + rx.stop_sending
    }

    /// Frames sent that the peer has to answer.
    fn asking_frames(&self) -> u64 {
        let tx = self.quic.stats().frame_tx;
        tx.crypto
            + tx.stream
            + tx.datagram
            + tx.ping
            + tx.max_data
            + tx.max_stream_data
            + tx.reset_stream
            + tx.stop_sending
    }

    /// From now on paths are checked with keys that only the two ends know.
    fn open_paths(&mut self, now: Instant) {
        let mut material = Zeroizing::new([0; CHECK_BYTES]);
        if export_keying_material(&self.quic, CHECK_LABEL, b"", material.as_mut()).is_err() {
            return;
        }
        let (ours, theirs) = material.split_at(CHECK_BYTES / 2);
        let (ours, theirs, role) = match self.quic.side() {
            quinn_proto::Side::Client => (ours, theirs, Role::Controlling),
            quinn_proto::Side::Server => (theirs, ours, Role::Controlled),
        };
        let (ours, theirs) = (credentials(ours), credentials(theirs));
        self.check_tag = Some(ours.tag());
        let keys = CheckKeys::new(&ours, &theirs, role);
        self.paths.on_established(now, keys, self.quic.rtt());
        if !self.paths.is_measured() {
            path_changed(&mut self.quic, now);
            self.wants_transmit = true;
        }
    }

    /// Tells QUIC of another path. Returns what has happened to the paths.
    pub(super) fn poll_path_change(&mut self, now: Instant) -> Option<Change> {
        let change = self.paths.poll_change()?;
        if matches!(change, Change::Use(..) | Change::Found) {
            path_changed(&mut self.quic, now);
            self.wants_transmit = true;
        }
        Some(change)
    }

    pub(super) fn on_established(&mut self, now: Instant, peer: DeviceId) {
        self.open_paths(now);
        self.phase = Phase::Established;
        self.established = true;
        self.next_keepalive = now + KEEPALIVE;
        self.peer = Some(peer);
        self.since = now;
        self.on_link_event(now, mux::LinkEvent::Connected);
    }

    pub(super) fn on_stream_event(&mut self, now: Instant, event: &StreamEvent) {
        let event = match *event {
            StreamEvent::Opened { dir: Dir::Bi } => mux::LinkEvent::StreamOpened,
            StreamEvent::Available { dir: Dir::Bi } => mux::LinkEvent::StreamsAvailable,
            // The transport allows no one-way streams.
            StreamEvent::Opened { dir: Dir::Uni } | StreamEvent::Available { dir: Dir::Uni } => {
                return;
            }
            StreamEvent::Readable { id } => mux::LinkEvent::Readable(from_quic(id)),
            StreamEvent::Writable { id } => mux::LinkEvent::Writable(from_quic(id)),
            StreamEvent::Finished { id } => {
                self.interactive.remove(&from_quic(id));
                mux::LinkEvent::Finished(from_quic(id))
            }
            StreamEvent::Stopped { id, error_code } => mux::LinkEvent::Stopped(
                from_quic(id),
                u32::try_from(error_code.into_inner()).unwrap_or(u32::MAX),
            ),
        };
        self.on_link_event(now, event);
    }

    pub(super) fn on_link_event(&mut self, now: Instant, event: mux::LinkEvent) {
        self.with_link(|mux, link| mux.handle_link_event(link, now, event));
    }

    pub(super) fn with_link<T>(
        &mut self,
        action: impl FnOnce(&mut mux::Mux, &mut QuicLink<'_>) -> T,
    ) -> T {
        let max_datagram = self.quic.datagrams().max_size();
        let mut link = QuicLink {
            quic: &mut self.quic,
            interactive: &mut self.interactive,
            send_window: self.send_window,
            transmit: &mut self.wants_transmit,
            max_datagram,
        };
        let returned = action(&mut self.mux, &mut link);
        self.grow_receive_window();
        returned
    }

    /// Gives the peer room for each channel on top of what it began with, so that channels that
    /// nobody reads from, a forward to a program that hangs, never hold back the others. It does
    /// not shrink: QUIC takes back no credit, and a channel opened over and over would win more
    /// each time.
    fn grow_receive_window(&mut self) {
        let open = self.mux.open_channels();
        if open <= self.most_channels {
            return;
        }
        self.most_channels = open;
        let (first, stream) = self.receive_windows;
        let channels = u64::try_from(open).unwrap_or(u64::MAX);
        let window = first
            .saturating_add(stream.saturating_mul(channels))
            .min(MAX_CONNECTION_WINDOW.max(first));
        if let Ok(window) = VarInt::from_u64(window) {
            self.quic.set_receive_window(window);
            self.wants_transmit = true;
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.quic.poll_timeout().is_some_and(|at| at <= now) {
            self.quic.handle_timeout(now);
            self.wants_transmit = true;
        }
        if self.phase != Phase::Established {
            return;
        }
        if self.mux.poll_timeout().is_some_and(|(_, at)| at <= now) {
            self.with_link(|mux, link| mux.handle_timeout(link, now));
        }
        if self.next_keepalive <= now {
            self.next_keepalive = now
                + if self.retired {
                    RETIRED_IDLE_LIMIT
                } else {
                    KEEPALIVE
                };
            match self.mux.idle_since() {
                None => {
                    self.quic.ping();
                    self.wants_transmit = true;
                }
                Some(since) if self.is_idle_too_long(now, since) => {
                    self.with_link(|mux, link| mux.close(link, now, CloseCode::Idle.into()));
                }
                Some(_) => {}
            }
        }
    }

    fn is_idle_too_long(&self, now: Instant, since: Instant) -> bool {
        let idle = now.saturating_duration_since(since);
        if self.retired {
            return idle >= RETIRED_IDLE_LIMIT;
        }
        // One side closes, so that the other's next channel meets no closing connection.
        self.initiated && idle >= IDLE_LIMIT
    }

    /// Takes no new channels, and ends when the last one did. Nothing is told: the peer retires
    /// the same connection by the same rule, and may have a request on its way on this one.
    pub(super) fn retire(&mut self, now: Instant) {
        self.retired = true;
        self.next_keepalive = now + RETIRED_IDLE_LIMIT;
    }

    /// Ends it at that time, see [`Connection::is_given_up`].
    pub(super) fn give_up_at(&mut self, at: Instant) {
        self.given_up = Some(at);
    }

    /// Whether its time is over and it is silent to the last.
    pub(super) fn is_given_up(&mut self, now: Instant) -> bool {
        let due = self.given_up.take_if(|at| *at <= now).is_some();
        due && self.phase == Phase::Established && self.paths.is_lost()
    }

    /// Whether a handshake that the other side began takes longer than any honest one.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.handshake_deadline().is_some_and(|at| at <= now)
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        let answering = self.phase == Phase::Handshaking && !self.initiated;
        answering.then_some(self.since + HANDSHAKE_LIMIT)
    }

    pub(super) fn deadline(&mut self) -> Option<Instant> {
        let established = self.phase == Phase::Established;
        let quic = self.quic.poll_timeout();
        let mux = self
            .mux
            .poll_timeout()
            .map(|(_, at)| at)
            .filter(|_| established);
        let keepalive = established.then_some(self.next_keepalive);
        let refused = self
            .paths
            .poll_timeout()
            .filter(|_| self.phase != Phase::Ended);
        let overdue = self.handshake_deadline();
        [quic, mux, keepalive, refused, overdue, self.given_up]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn take_transmit_wish(&mut self) -> bool {
        std::mem::take(&mut self.wants_transmit)
    }

    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        buffer: &mut Vec<u8>,
    ) -> Option<Outgoing> {
        if self.paths.destinations().is_empty() {
            return None;
        }
        let mtu = usize::from(self.quic.current_mtu()).max(1);
        let segments = max_segments.min(MAX_BATCH_BYTES / mtu).max(1);
        let needs_load = self.paths.needs_load(now);
        let asked = if needs_load { self.asking_frames() } else { 0 };
        let transmit = self.quic.poll_transmit(now, segments, buffer)?;
        if needs_load {
            let load = if self.asking_frames() == asked {
                Load::Idle
            } else {
                Load::Waiting
            };
            self.paths.on_sent(now, load);
        }
        let destinations = match self.paths.destinations() {
            [one] => Destinations::One(*one),
            many => Destinations::Many(many.to_vec()),
        };
        if self.paths.current().is_none() {
            let step = transmit.segment_size.unwrap_or(transmit.size).max(1);
            for datagram in buffer[..transmit.size].chunks(step) {
                self.paths.on_first_flight(datagram);
            }
        }
        Some(Outgoing {
            len: transmit.size,
            segment: transmit.segment_size,
            ecn: transmit.ecn,
            destinations,
        })
    }

    /// Traffic and path figures of QUIC.
    pub(crate) fn stats(&self) -> quinn_proto::ConnectionStats {
        self.quic.stats()
    }

    /// The channels.
    pub(crate) fn mux(&self) -> &mux::Mux {
        &self.mux
    }
}

fn credentials(material: &[u8]) -> Credentials {
    let (mut ufrag, mut password) = ([0; 4], [0; 16]);
    let (tag, rest) = material.split_at(ufrag.len());
    ufrag.copy_from_slice(tag);
    password.copy_from_slice(rest);
    Credentials::derived(ufrag, password)
}

fn side(side: quinn_proto::Side) -> mux::Side {
    match side {
        quinn_proto::Side::Client => mux::Side::Initiator,
        quinn_proto::Side::Server => mux::Side::Responder,
    }
}
