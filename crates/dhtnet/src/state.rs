//! Everything behind the node's one lock: the core, who listens, who waits, and what is told.

mod admission;
pub(crate) mod channels;
mod credentials;
mod dials;
mod listeners;
mod notes;
mod renewal;
mod request_to_show;
mod review;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use dhtnet_channel_mux::{self as mux, CloseCode, CloseReason, DeclineCode, DeclineReason};
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{Action, Cause, Decision, OwnedAction, Policy, Presented};
use dhtnet_secure_transport::PeerIdentity;
use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, broadcast};

pub(crate) use self::admission::is_reserved;
use self::admission::{CREDENTIALS_CHANNEL, audit};
use self::channels::ChannelTable;
use self::credentials::Showings;
pub(crate) use self::dials::{DialFailure, Dials};
pub(crate) use self::listeners::{ActionOf, Listeners, Offer, default_action};
use self::request_to_show::WANTED_CHANNEL;
use crate::core::path::{Change, Route};
use crate::core::{ChannelKey, ConnectionKey, Core, CoreEvent, DialError};
use crate::error::{EndReason, close_code};
use crate::events::Event;
use crate::hello::{Hello, Instance};
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
    pub(crate) notes: notes::Notes,
    pub(crate) listeners: Listeners,
    pub(crate) dials: Dials,
    pub(crate) policy: Arc<Policy>,
    pub(crate) showings: Showings,
    /// What this device shows, encoded; empty if it has nothing.
    own_credentials: bytes::Bytes,
    instance: Instance,
    /// When the policy last began to want credentials while this node ran.
    wants_since: Option<Instant>,
    next_review: Option<review::Review>,
    pub(crate) events: broadcast::Sender<Event>,
    /// A shutdown has begun: nothing new.
    pub(crate) closing: bool,
    /// Nobody holds the node any more: the driver ends.
    pub(crate) abandoned: bool,
}

impl State {
    pub(crate) fn new(
        (own, instance): (DeviceId, Instance),
        core: Core,
        (policy, credentials): (Policy, &Presented),
        events: usize,
    ) -> Self {
        let mut state = Self {
            core,
            peers: PeerTable::new(own),
            channels: ChannelTable::default(),
            notes: notes::Notes::default(),
            listeners: Listeners::default(),
            dials: Dials::default(),
            policy: Arc::new(policy),
            showings: Showings::default(),
            own_credentials: review::encode(credentials),
            instance,
            wants_since: None,
            next_review: None,
            events: broadcast::Sender::new(events),
            closing: false,
            abandoned: false,
        };
        state.core.set_hello(state.hello());
        state
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
                CoreEvent::Path { key, change } => self.on_path_change(now, key, change),
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
        let Some(hello) = Hello::decode(&identity.application) else {
            self.core.close(now, key, close_code::VERSION);
            return;
        };
        self.admit((now, wall), key, identity.id, (hello, initiated));
    }

    /// A connection is let in: it serves whoever waits for this peer.
    fn on_admitted(&mut self, now: Instant, key: ConnectionKey, peer: DeviceId) {
        let Some(showing) = self.showings.get(key) else {
            return;
        };
        let (hello, initiated) = (showing.hello, showing.initiated);
        let retire = self
            .peers
            .on_established(now, peer, key, hello.instance, initiated);
        for duplicate in retire {
            tracing::debug!(peer = %peer.short(), "two connections to one peer: keeping one");
            self.core.retire(now, duplicate);
        }
        if initiated {
            self.end_forgotten(now, &peer, (key, &hello.instance));
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
        self.showings.on_connection_ended(key);
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

    fn on_path_change(&mut self, now: Instant, key: ConnectionKey, change: Change) {
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
                self.on_heard_again(now, &peer, key);
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
        if self.on_credentials_event((now, wall_clock), key, &event) {
            return;
        }
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
            mux::Event::Note { body } => self.on_note(key, body),
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
        if request.name == CREDENTIALS_CHANNEL {
            return self.on_credentials_request(now, key, id);
        }
        if request.name == WANTED_CHANNEL {
            return self.on_request_to_show(now, key, id);
        }
        // Of a connection that was turned away nothing is judged any more.
        let Some(showing) = self.showings.get_mut(key) else {
            return;
        };
        if !showing.is_awaited() {
            return self.answer_request((now, wall), (key, peer), (id, request));
        }
        if showing.hold(id, request).is_err() {
            let reason = DeclineReason::from(DeclineCode::Busy);
            let _ = self
                .core
                .with_mux(key, |mux, link| mux.decline(link, now, id, reason));
        }
    }

    /// Asks the policy about a peer with all that it has shown on any of its connections, and
    /// logs what it says.
    pub(crate) fn decide(
        &self,
        wall: SystemTime,
        peer: &DeviceId,
        action: &Action<'_>,
    ) -> Decision {
        let mut decision = self.policy.evaluate(peer, action, wall);
        for key in self.peers.keys(peer) {
            if decision.is_allowed() {
                break;
            }
            let Some(showing) = self.showings.get(key) else {
                continue;
            };
            let better = showing.decide(&self.policy, action, wall);
            if better.is_allowed() || better.cause == Cause::Ended {
                decision = better;
            }
        }
        audit(peer, action, &decision);
        decision
    }

    /// Asks the policy about something more that a channel needs, with what was shown on its own
    /// connection. If it is allowed, the channel ends as well when it no longer is.
    pub(crate) fn require(
        &mut self,
        wall: SystemTime,
        (key, peer): (ChannelKey, &DeviceId),
        action: &Action<'_>,
    ) -> Decision {
        let Some(showing) = self.showings.get_mut(key.connection) else {
            // The connection is gone, and with it the channel.
            return self.decide(wall, peer, action);
        };
        let decision = showing.decide(&self.policy, action, wall);
        if decision.is_allowed() {
            showing.require(key.channel, action);
        }
        audit(peer, action, &decision);
        decision
    }

    /// What [`State::require`] would say, without a word in the log and without an effect. A peer
    /// whose connection is gone gets nothing.
    pub(crate) fn would_allow(
        &self,
        wall: SystemTime,
        connection: ConnectionKey,
        action: &Action<'_>,
    ) -> bool {
        let showing = self.showings.get(connection);
        showing.is_some_and(|showing| showing.decide(&self.policy, action, wall).is_allowed())
    }

    /// Asks the policy about a request. Nothing is handed over before this says yes.
    fn judge(
        &mut self,
        wall: SystemTime,
        (key, peer): (ConnectionKey, &DeviceId),
        request: &mux::ChannelRequest,
    ) -> Result<OwnedAction, DeclineReason> {
        let action = self.listeners.action_of(request).inspect_err(|reason| {
            if reason.code() == DeclineCode::Policy {
                let why = reason.message().escape_debug();
                // The listener knows no action for it: the channel is named instead.
                let action = request.name.escape_debug();
                tracing::info!(target: "dhtnet::policy", %peer, %action, verdict = "deny", rule = "none", "{why}");
            }
        })?;
        let Some(showing) = self.showings.get(key) else {
            return Err(DeclineReason::from(DeclineCode::Policy));
        };
        let decision = showing.decide(&self.policy, &action.as_action(), wall);
        audit(peer, &action.as_action(), &decision);
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
        Ok(action)
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
            self.add_way(now, (peer, live), route);
            return Ok(());
        }
        self.race(now, peer, route)
    }

    fn race(&mut self, now: Instant, peer: &DeviceId, route: Route) -> Result<(), DialError> {
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

#[cfg(test)]
mod tests;
