//! Everything behind the node's one lock: the core, who listens, who waits, and what is told.

pub(crate) mod channels;
mod dials;
mod listeners;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use dhtnet_channel_mux::{self as mux, CloseCode, CloseReason, DeclineCode, DeclineReason};
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{Action, Decision, Policy};
use dhtnet_secure_transport::PeerIdentity;
use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, broadcast};

use self::channels::ChannelTable;
pub(crate) use self::dials::{DialFailure, Dials};
pub(crate) use self::listeners::{ActionOf, Listeners, Offer, default_action};
use crate::core::path::{Change, Route};
use crate::core::{ConnectionKey, Core, CoreEvent, DialError};
use crate::error::{EndReason, close_code};
use crate::events::Event;
use crate::hello::Hello;
use crate::peers::PeerTable;
use crate::report::{PathEvent, PathReason, PathReport};

/// What the driver and the handles share.
pub(crate) struct Shared {
    pub(crate) own: DeviceId,
    state: Mutex<State>,
    /// Wakes the driver after something was queued.
    pub(crate) wake: AtomicWaker,
    /// Wakes whoever waits for the shutdown to progress.
    pub(crate) quiet: Notify,
}

impl Shared {
    pub(crate) fn new(own: DeviceId, state: State) -> Self {
        Self {
            own,
            state: Mutex::new(state),
            wake: AtomicWaker::new(),
            quiet: Notify::new(),
        }
    }

    /// Locks the state. A panic of another holder is not spread: every change is made whole
    /// under one lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `action` under the lock and wakes the driver if it queued something.
    pub(crate) fn with<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = action(&mut state);
        let wake = state.core.take_wake();
        drop(state);
        if wake {
            self.wake.wake();
        }
        result
    }
}

/// The node's state.
pub(crate) struct State {
    pub(crate) core: Core,
    pub(crate) peers: PeerTable,
    pub(crate) channels: ChannelTable,
    pub(crate) listeners: Listeners,
    pub(crate) dials: Dials,
    pub(crate) policy: Arc<Policy>,
    pub(crate) events: broadcast::Sender<Event>,
    /// A shutdown has begun: nothing new.
    pub(crate) closing: bool,
    /// Nobody holds the node any more: the driver ends.
    pub(crate) abandoned: bool,
}

impl State {
    pub(crate) fn new(own: DeviceId, core: Core, policy: Arc<Policy>, events: usize) -> Self {
        Self {
            core,
            peers: PeerTable::new(own),
            channels: ChannelTable::default(),
            listeners: Listeners::default(),
            dials: Dials::default(),
            policy,
            events: broadcast::Sender::new(events),
            closing: false,
            abandoned: false,
        }
    }

    /// Handles all events of the core. The driver calls it after everything it did.
    /// The wall clock is read only when the policy has to be asked.
    pub(crate) fn pump(&mut self, now: Instant, wall_clock: fn() -> SystemTime) {
        while let Some(event) = self.core.poll_event() {
            match event {
                CoreEvent::Established {
                    key,
                    identity,
                    initiated,
                } => {
                    self.on_established(now, wall_clock(), key, &identity, initiated);
                }
                CoreEvent::Ended { key, reason } => self.on_ended(key, reason),
                CoreEvent::Path { key, change } => self.on_path_change(key, change),
                CoreEvent::Mux { key, event } => self.on_mux_event(now, wall_clock, key, event),
            }
        }
    }

    fn on_established(
        &mut self,
        now: Instant,
        wall: SystemTime,
        key: ConnectionKey,
        identity: &PeerIdentity,
        initiated: bool,
    ) {
        let peer = identity.id;
        if !initiated && !self.policy.admits_at(&peer, wall).is_allowed() {
            tracing::info!(peer = %peer.short(), "refused a connection: no rule allows this peer");
            self.tell(Event::Refused { peer, action: None });
            self.core.close(now, key, close_code::REFUSED);
            return;
        }
        let Some(hello) = Hello::decode(&identity.application) else {
            self.core.close(now, key, close_code::VERSION);
            return;
        };
        let retire = self
            .peers
            .on_established(now, peer, key, hello.instance, initiated);
        for duplicate in retire {
            tracing::debug!(peer = %peer.short(), "two connections to one peer: keeping one");
            self.core.retire(now, duplicate);
        }
        let path = self.core.get(key).and_then(|c| c.paths.current());
        tracing::debug!(peer = %peer.short(), ?path, initiated, "connected");
        self.tell(Event::Connected { peer, initiated });
        if self.closing {
            self.close_gracefully(now, key, CloseCode::Shutdown);
        }
        // Our own attempt is dropped only where it would lose against this connection; otherwise
        // the peer, which thinks the same, might drop this one at the same moment.
        let loses = !initiated && self.peers.prefers_theirs(&peer);
        if let Some(attempt) = self.dials.on_connected(&peer, key).filter(|_| loses) {
            self.core.close(now, attempt, close_code::DONE);
        }
    }

    fn on_ended(&mut self, key: ConnectionKey, reason: EndReason) {
        let Some(connection) = self.core.get(key) else {
            return;
        };
        let (peer, established) = (connection.peer, connection.established);
        if let Some(peer) = peer {
            self.peers.on_ended(&peer, key);
            self.dials.on_attempt_failed(&peer, key, &reason);
            self.channels.on_connection_ended(key, &reason);
            tracing::debug!(peer = %peer.short(), %reason, established, "disconnected");
            if established {
                self.tell(Event::Disconnected { peer, reason });
            }
        } else {
            tracing::debug!(%reason, "an incoming handshake failed");
        }
    }

    fn on_path_change(&mut self, key: ConnectionKey, change: Change) {
        let Some(connection) = self.core.get(key) else {
            return;
        };
        let (Some(peer), kind) = (connection.peer, connection.paths.kind()) else {
            return;
        };
        let change = match change {
            Change::Use(path, reason) => {
                let path = PathReport::bare(&path, kind);
                let reason = PathReason::of(reason);
                tracing::debug!(peer = %peer.short(), to = %path.remote, kind = path.kind.as_str(), why = reason.as_str(), "another path");
                PathEvent::Changed { path, reason }
            }
            Change::Lost => {
                tracing::warn!(peer = %peer.short(), "the peer is silent on every path; trying all that are known");
                PathEvent::Silent
            }
            Change::Found => {
                tracing::info!(peer = %peer.short(), "the peer answers again");
                PathEvent::Back
            }
        };
        self.tell(Event::PathChanged { peer, change });
    }

    fn on_mux_event(
        &mut self,
        now: Instant,
        wall_clock: fn() -> SystemTime,
        key: ConnectionKey,
        event: mux::Event,
    ) {
        match event {
            mux::Event::Incoming { id, request } => {
                self.on_request(now, wall_clock(), key, id, request);
            }
            mux::Event::GoAway { reason } => {
                if let Some(peer) = self.core.get(key).and_then(|c| c.peer) {
                    tracing::debug!(peer = %peer.short(), message = reason.message(), "the peer closes");
                    self.peers.retire(&peer, key);
                }
            }
            mux::Event::Drained => self.core.close(now, key, close_code::DONE),
            mux::Event::Fault { fault } => {
                tracing::warn!(%fault, "closing a connection that breaks the protocol");
                self.core.close(now, key, close_code::FAULT + fault.code());
            }
            mux::Event::Pong { nonce, rtt } => self.channels.on_pong(key, nonce, rtt),
            event => self.channels.on_event(key, event),
        }
    }

    fn on_request(
        &mut self,
        now: Instant,
        wall: SystemTime,
        key: ConnectionKey,
        id: mux::ChannelId,
        request: mux::ChannelRequest,
    ) {
        let Some(peer) = self.core.get(key).and_then(|c| c.peer) else {
            return;
        };
        let verdict = self.judge(wall, &peer, &request);
        let declined = match verdict {
            Ok(()) if self.closing => Err(DeclineReason::from(DeclineCode::ShuttingDown)),
            Ok(()) => self.listeners.offer(Offer {
                connection: key,
                id,
                peer,
                request,
            }),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = declined {
            // The request may be gone by now; then there is nobody to tell.
            let _ = self
                .core
                .with_mux(key, |mux, link| mux.decline(link, now, id, reason));
        }
    }

    /// Asks the policy, and logs what it says.
    pub(crate) fn decide(
        &self,
        wall: SystemTime,
        peer: &DeviceId,
        action: &Action<'_>,
    ) -> Decision {
        let decision = self.policy.evaluate(peer, action, wall);
        tracing::info!(peer = %peer.short(), %action, %decision, "policy");
        decision
    }

    /// Asks the policy about a request. Nothing is handed over before this says yes.
    fn judge(
        &mut self,
        wall: SystemTime,
        peer: &DeviceId,
        request: &mux::ChannelRequest,
    ) -> Result<(), DeclineReason> {
        let action = self.listeners.action_of(request)?;
        let decision = self.decide(wall, peer, &action.as_action());
        if !decision.is_allowed() {
            let message = format!("{action} is not allowed");
            self.tell(Event::Refused {
                peer: *peer,
                action: Some(action),
            });
            return Err(DeclineReason::new(DeclineCode::Policy, message));
        }
        if !self.listeners.has(&request.name) {
            let message = format!("the peer is up, but not waiting for {}", request.name);
            return Err(DeclineReason::new(DeclineCode::NoListener, message));
        }
        Ok(())
    }

    /// Tries a way to a peer that somebody waits for: begins the handshake with the first, adds
    /// the others to the race. Of a peer that is connected it becomes one more path.
    pub(crate) fn try_path(
        &mut self,
        now: Instant,
        peer: &DeviceId,
        route: Route,
    ) -> Result<(), DialError> {
        if let Some(live) = self.peers.primary(peer) {
            self.core.add_candidate(now, live, route);
            return Ok(());
        }
        if !self.dials.contains(peer) {
            return Ok(());
        }
        let attempt = match self.dials.on_address(peer, route.path.remote) {
            Some(attempt) => attempt,
            None => {
                let attempt = self.core.dial(now, peer)?;
                self.dials.set_attempt(peer, attempt);
                attempt
            }
        };
        self.core.add_candidate(now, attempt, route);
        Ok(())
    }

    /// Lets a connection end when its last channel does, and takes no new ones on it.
    pub(crate) fn close_gracefully(&mut self, now: Instant, key: ConnectionKey, code: CloseCode) {
        if let Some(peer) = self.core.get(key).and_then(|c| c.peer) {
            self.peers.retire(&peer, key);
        }
        let closed = self.core.with_mux(key, |mux, link| {
            mux.close(link, now, CloseReason::from(code));
        });
        if closed.is_none() {
            self.core.close(now, key, close_code::DONE);
        }
    }

    /// Tells an event to whoever subscribed; nobody listening is no error.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
