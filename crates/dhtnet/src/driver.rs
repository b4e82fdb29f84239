//! The only task that knows sockets and the clock: moves datagrams and time into the core, and
//! what the core wants out again.

mod dht;
pub(crate) mod doctor;
mod outlet;
mod readiness;
mod relay_server;
mod relays;
mod sockets;
mod source;
mod timer;
mod traversal;

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use dhtnet_dht_core::krpc;
use dhtnet_nat_traversal::stun;
use quinn_proto::EcnCodepoint;

pub(crate) use self::dht::DhtDriver;
use self::dht::DhtSender;
use self::outlet::Outlet;
pub(crate) use self::readiness::{More, Readable};
pub(crate) use self::relay_server::RelayHost;
pub(crate) use self::sockets::{Mark, Sockets};
use self::sockets::{Received, SendState};
pub(crate) use self::source::source_towards;
use self::timer::Timer;
use self::traversal::SessionSender;
use crate::core::Outgoing;
use crate::core::path::{PathAddress, Via};
use crate::dht::DhtShared;
use crate::error::close_code;
use crate::relays::{Relays, Taken};
use crate::state::{Shared, State};
use crate::traversal::Sessions;

/// Batches received before what is to be sent gets its turn: 32 messages of up to 64 KiB.
const RECEIVE_ROUNDS: usize = 4;

/// Batches sent before what was received gets its turn.
const SEND_ROUNDS: usize = 16;

/// Runs a node until nobody holds it.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    outlet: Outlet,
    /// A batch that the socket could not take yet.
    unsent: Option<Outgoing>,
    buffer: Vec<u8>,
    timer: Timer,
    /// Whether the last round left the sending to this one.
    deferred: bool,
    /// The DHT node that shares the sockets.
    dht: Option<Arc<DhtShared>>,
    dht_sender: DhtSender,
    /// Calls through NATs.
    sessions: Arc<Sessions>,
    session_sender: SessionSender,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Whoever waits for the DHT is told.
        if let Some(dht) = &self.dht {
            dht.close();
        }
        self.sessions.close();
    }
}

impl Driver {
    /// Must be called inside a runtime.
    pub(crate) fn new(
        shared: Arc<Shared>,
        (sockets, relays): (Sockets, Arc<Relays>),
        dht: Option<Arc<DhtShared>>,
        sessions: Arc<Sessions>,
    ) -> io::Result<Self> {
        let timer = Timer::new()?;
        Ok(Self {
            shared,
            outlet: Outlet::new(sockets, relays),
            unsent: None,
            buffer: Vec::new(),
            timer,
            deferred: false,
            dht,
            dht_sender: DhtSender::default(),
            sessions,
            session_sender: SessionSender::default(),
        })
    }

    /// Ends when the last handle is gone and the peers were told.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before anything is looked at: a wake from here on is a new round.
        self.shared.wake.register(cx.waker());
        if let Some(dht) = &self.dht {
            dht.wake.register(cx.waker());
        }
        let mut busy = false;
        busy |= self.receive(cx);
        self.receive_relayed(cx);
        let now = Instant::now();
        let over = {
            let shared = self.shared.clone();
            let mut state = shared.lock();
            for host in self.outlet.sockets.take_refused() {
                state.core.handle_refused(now, host);
            }
            if state.poll_timeout().is_some_and(|at| at <= now) {
                state.handle_timeout(now, SystemTime::now);
            }
            state.core.drive_ready(now);
            state.pump(now, SystemTime::now);
            if state.abandoned {
                for key in state.core.keys() {
                    state.core.close(now, key, close_code::DONE);
                }
                state.pump(now, SystemTime::now);
                self.outlet.relays().close(now);
            }
            // What the events caused belongs to this round.
            state.core.take_wake();
            let readers_first = state.channels.take_woke() && !self.deferred && !state.abandoned;
            if readers_first {
                // Tasks that have something to read run before the acknowledgement is built, and
                // what they write goes with it.
                self.deferred = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.deferred = false;
            state.abandoned
        };
        // First, for somebody waits for it.
        let (more, blocked) = self.send(cx);
        let (dht_deadline, dht_more) = self.drive_dht(cx, now);
        let (session_deadline, sessions_more) = self.drive_sessions(cx, now);
        busy |= more | dht_more | sessions_more;
        // Last, for what was sent makes relays be asked for channels.
        let (relay_deadline, relays_more) = self.drive_relays(cx, now);
        busy |= relays_more;
        self.shared.quiet.notify_waiters();
        if over && !more && !blocked {
            return Poll::Ready(());
        }
        let (deadline, untold) = {
            let state = self.shared.lock();
            let deadlines = [dht_deadline, session_deadline, relay_deadline];
            let deadlines = deadlines.into_iter().chain([state.poll_timeout()]);
            (deadlines.flatten().min(), state.core.has_events())
        };
        if busy || untold || self.timer.poll(cx, deadline).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Takes what the sockets have. Returns whether there is more.
    fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..RECEIVE_ROUNDS {
            let mut intake = Intake {
                now: Instant::now(),
                shared: &self.shared,
                state: None,
                dht: self.dht.as_deref(),
                sessions: &self.sessions,
                relays: self.outlet.relays().clone(),
            };
            let received = self.outlet.poll_receive(cx, &mut intake);
            if let Some(state) = &mut intake.state {
                state.core.drive_ready(intake.now);
            }
            if received == Received::Nothing {
                return false;
            }
        }
        true
    }

    /// Moves time and datagrams of the DHT. Returns when to come again, and whether there is
    /// more to send.
    fn drive_dht(&mut self, cx: &mut Context<'_>, now: Instant) -> (Option<Instant>, bool) {
        let Some(dht) = &self.dht else {
            return (None, false);
        };
        let deadline = dht.on_time(now);
        let outlet = &mut self.outlet;
        let send =
            |outgoing: &Outgoing, payload: &[u8]| outlet.poll_send_dht(cx, outgoing, payload);
        let more = self.dht_sender.send(dht, send);
        (deadline, more)
    }

    /// Sends what the core has. Returns whether there is more, and whether a socket is full.
    fn send(&mut self, cx: &mut Context<'_>) -> (bool, bool) {
        for _ in 0..SEND_ROUNDS {
            if self.unsent.is_none() {
                let now = Instant::now();
                let segments = self.outlet.sockets.max_segments();
                self.unsent =
                    self.shared
                        .lock()
                        .core
                        .poll_transmit(now, segments, &mut self.buffer);
            }
            let Some(outgoing) = &self.unsent else {
                return (false, false);
            };
            if self.outlet.poll_send(cx, outgoing, &self.buffer) == SendState::Full {
                return (false, true);
            }
            self.unsent = None;
        }
        (true, false)
    }
}

/// Takes datagrams, however they came.
struct Intake<'a> {
    now: Instant,
    shared: &'a Shared,
    /// Locked when it is first needed.
    state: Option<MutexGuard<'a, State>>,
    dht: Option<&'a DhtShared>,
    sessions: &'a Sessions,
    relays: Arc<Relays>,
}

impl Intake<'_> {
    /// From a socket: perhaps from a relay, which may have wrapped a peer's.
    fn take(&mut self, from: PathAddress, ecn: Option<EcnCodepoint>, datagram: BytesMut) {
        if self.relays.is_empty() {
            return self.take_unwrapped(from, ecn, datagram);
        }
        match self.relays.on_datagram(self.now, from.remote, datagram) {
            Taken::NotOurs(datagram) => self.take_unwrapped(from, ecn, datagram),
            Taken::Consumed => {}
            Taken::Payload {
                number,
                peer,
                payload,
            } => self.take_unwrapped(PathAddress::relayed(number, peer), None, payload),
        }
    }

    fn take_unwrapped(&mut self, from: PathAddress, ecn: Option<EcnCodepoint>, datagram: BytesMut) {
        // QUIC never begins like this: connection ids of ours have their top bit set.
        if let Some(dht) = self.dht
            && krpc::looks_like_message(&datagram)
        {
            if !matches!(from.via, Via::Relay(_)) {
                self.relays.reach().on_heard();
            }
            dht.on_datagram(self.now, from.remote, from.local_ip, &datagram);
            return;
        }
        if !self.sessions.may_use(from.via) {
            return;
        }
        // Nor like this: QUIC sets one of the two top bits, STUN neither (RFC 9443).
        if stun::is_stun(&datagram) {
            if !self.sessions.on_datagram(self.now, &from, &datagram) {
                let state = self.state.get_or_insert_with(|| self.shared.lock());
                if !state.core.handle_check(self.now, from, &datagram) {
                    state.core.handle_greeting(from, &datagram);
                }
            }
            return;
        }
        let state = self.state.get_or_insert_with(|| self.shared.lock());
        state.core.handle_datagram(self.now, from, ecn, datagram);
    }
}
