//! Who is let in: at the beginning of a connection, and when it has shown its credentials.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use dhtnet_channel_mux::{self as mux, ChannelRequest, DeclineCode, DeclineReason, Priority};
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{Action, Admission, Decision, Presented};

use super::credentials::Showing;
use super::{Offer, State, WANTED_CHANNEL};
use crate::core::{ChannelKey, ConnectionKey};
use crate::error::close_code;
use crate::events::Event;
use crate::hello::Hello;

/// The channel on which credentials are shown, opened by the one that shows. No application can
/// listen under this name.
pub(crate) const CREDENTIALS_CHANNEL: &str = "dhtnet.credentials";

/// Whether a channel of this name is between nodes, and none of an application.
pub(crate) fn is_reserved(name: &str) -> bool {
    name == CREDENTIALS_CHANNEL || name == WANTED_CHANNEL
}

/// How connecting is called where decisions are logged.
const CONNECT: &str = "connect";

/// Most bytes taken from the stream at once.
const BLOCK: usize = 16 * 1024;

/// Most bytes of an action that are written down: a peer may ask for a command of 56 KiB.
const MAX_LOGGED_ACTION: usize = 1024;

/// Writes a decision down: who, what, the verdict, and the rule that made it.
pub(crate) fn audit(peer: &DeviceId, action: &Action<'_>, decision: &Decision) {
    let mut action = action.to_string();
    if action.len() > MAX_LOGGED_ACTION {
        action.truncate(action.floor_char_boundary(MAX_LOGGED_ACTION));
        action.push('…');
    }
    tracing::info!(
        target: "dhtnet::policy",
        peer = %peer,
        %action,
        verdict = %decision.verdict,
        rule = decision.rule.as_deref().unwrap_or("none"),
        // Whole by itself, where fields are not shown beside it.
        "{decision}: {action} for {}…",
        peer.short()
    );
}

impl State {
    /// A connection is up: lets it in, turns it away, or waits for what the peer has to show.
    pub(super) fn admit(
        &mut self,
        (now, wall): (Instant, SystemTime),
        key: ConnectionKey,
        peer: DeviceId,
        (hello, initiated): (Hello, bool),
    ) {
        let admission = self.policy.admission(&peer, wall);
        let expects = hello.shows && self.policy.wants_credentials();
        self.showings
            .insert(key, Showing::new(peer, hello, initiated));
        if self.was_asked_too_early(key) {
            self.ask_to_show(now, key);
        }
        match admission {
            // Who was called may be here, whatever the policy; what it asks for is judged.
            Admission::MayShow | Admission::Refused(_) if initiated => {}
            Admission::MayShow if expects => {
                if self.showings.await_stranger(now, key) {
                    tracing::debug!(peer = %peer.short(), "may show its credentials");
                } else {
                    tracing::info!(peer = %peer.short(), "turned away: too many show their credentials");
                    self.showings.on_connection_ended(key);
                    self.core.close(now, key, close_code::BUSY);
                }
                return;
            }
            Admission::MayShow => {
                let decision = self.policy.admits_at(&peer, wall);
                return self.turn_away(now, key, (&peer, &decision));
            }
            Admission::Refused(decision) => {
                return self.turn_away(now, key, (&peer, &decision));
            }
            Admission::Admitted(decision) if !initiated => {
                audit(&peer, &Action::new(CONNECT), &decision);
            }
            Admission::Admitted(_) => {}
        }
        if expects {
            self.showings.await_admitted(now, key);
        }
        self.arm_review((now, wall), key);
        self.show(now, key);
        self.on_admitted(now, key, peer);
    }

    fn turn_away(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        (peer, decision): (&DeviceId, &Decision),
    ) {
        audit(peer, &Action::new(CONNECT), decision);
        let peer = *peer;
        self.showings.on_connection_ended(key);
        self.tell(Event::Refused { peer, action: None });
        self.core.close(now, key, close_code::REFUSED);
    }

    /// Shows the own credentials to a peer that wants them, if there are any.
    pub(super) fn show(&mut self, now: Instant, key: ConnectionKey) {
        let wanted = self.showings.get(key).is_some_and(|one| one.hello.wants);
        if !wanted || self.own_credentials.is_empty() {
            return;
        }
        let all = self.own_credentials.clone();
        self.say_once(now, (key, CREDENTIALS_CHANNEL), all);
    }

    /// Opens a channel of the node's own and says one thing on it.
    pub(super) fn say_once(
        &mut self,
        now: Instant,
        (key, name): (ConnectionKey, &'static str),
        what: Bytes,
    ) {
        let request = ChannelRequest::stream(name).priority(Priority::Interactive);
        let opened = self
            .core
            .with_mux(key, |mux, link| mux.open(link, now, request).ok());
        if let Some(Some(channel)) = opened {
            let connection = key;
            let channel = ChannelKey {
                connection,
                channel,
            };
            self.send_own(now, channel, what);
        }
    }

    pub(super) fn send_own(&mut self, now: Instant, key: ChannelKey, rest: Bytes) {
        let mut chunks = [rest];
        let sent = self.core.with_mux(key.connection, |mux, link| {
            while !chunks[0].is_empty() {
                match mux.write(link, now, key.channel, &mut chunks) {
                    Ok(_) => {}
                    Err(mux::ChannelWriteError::Blocked) => return false,
                    Err(_) => return true,
                }
            }
            // One that is gone, or is not wanted, has nothing left to finish.
            let _ = mux.finish(link, now, key.channel);
            let _ = mux.stop(link, now, key.channel, 0);
            true
        });
        if sent == Some(false) {
            let [rest] = chunks;
            self.showings.keep_unsent(key, rest);
        }
    }

    /// Takes an event of a channel on which credentials are shown. Whether it was one.
    pub(super) fn on_credentials_event(
        &mut self,
        (now, wall): (Instant, fn() -> SystemTime),
        key: ConnectionKey,
        event: &mux::Event,
    ) -> bool {
        use mux::Event as E;
        let (E::Readable { id } | E::Writable { id } | E::Accepted { id } | E::Closed { id, .. }) =
            *event
        else {
            return false;
        };
        let channel = ChannelKey {
            connection: key,
            channel: id,
        };
        if let Some(rest) = self.showings.take_unsent(channel) {
            if !matches!(event, E::Closed { .. }) {
                self.send_own(now, channel, rest);
            }
            return true;
        }
        let Some(showing) = self.showings.get_mut(key) else {
            return false;
        };
        if !showing.arrives_on(id) {
            if matches!(event, E::Closed { .. }) {
                showing.on_closed(id);
            }
            return false;
        }
        match event {
            E::Closed { .. } => {
                showing.finish();
            }
            _ => self.read_credentials((now, wall()), channel),
        }
        true
    }

    /// The peer wants to show something.
    pub(super) fn on_credentials_request(
        &mut self,
        now: Instant,
        key: ConnectionKey,
        id: mux::ChannelId,
    ) {
        let wanted = self.policy.wants_credentials();
        let begun = match self.showings.get_mut(key) {
            Some(showing) if wanted => showing
                .begin(id)
                .map_err(|_| DeclineReason::from(DeclineCode::Busy)),
            _ => Err(DeclineReason::from(DeclineCode::NoListener)),
        };
        // The request may be gone by now; then there is nobody to tell.
        self.core.with_mux(key, |mux, link| match begun {
            Ok(()) => mux.accept(link, now, id),
            Err(reason) => mux.decline(link, now, id, reason),
        });
    }

    fn read_credentials(&mut self, (now, wall): (Instant, SystemTime), key: ChannelKey) {
        loop {
            let read = self.core.with_mux(key.connection, |mux, link| {
                mux.read(link, now, key.channel, BLOCK)
            });
            let Some(showing) = self.showings.get_mut(key.connection) else {
                return;
            };
            let complete = match read {
                Some(Ok(Some(part))) if showing.push(&part) => continue,
                Some(Err(mux::ChannelReadError::Blocked)) => return,
                Some(Ok(None)) => true,
                // Too much of it, or broken off.
                _ => false,
            };
            let bytes = showing.finish();
            self.core.with_mux(key.connection, |mux, link| {
                let _ = mux.stop(link, now, key.channel, 0);
                let _ = mux.finish(link, now, key.channel);
            });
            self.on_shown((now, wall), key.connection, complete.then_some(&bytes[..]));
            return;
        }
    }

    /// All that a peer shows has come; `None` if that was too much, or broken off.
    fn on_shown(
        &mut self,
        (now, wall): (Instant, SystemTime),
        key: ConnectionKey,
        bytes: Option<&[u8]>,
    ) {
        let Some(showing) = self.showings.get_mut(key) else {
            return;
        };
        let peer = *showing.credentials.peer();
        match bytes.map(Presented::decode) {
            Some(Ok(presented)) => {
                showing.present(presented);
                showing.examine(&self.policy, wall);
                for rejected in showing.credentials.rejected() {
                    let why = std::error::Error::source(rejected).map(ToString::to_string);
                    tracing::info!(target: "dhtnet::policy", %peer, why, "{rejected}");
                }
            }
            Some(Err(error)) => {
                tracing::info!(target: "dhtnet::policy", %peer, why = %error, "credentials that cannot be used");
            }
            None => {
                tracing::info!(target: "dhtnet::policy", %peer, "credentials that did not come whole");
            }
        }
        self.judge_awaited((now, wall), key);
        self.review_connection((now, wall), key);
        self.arm_review((now, wall), key);
        self.tell(Event::PolicyChanged);
    }

    /// The waiting for a peer is over: lets it in by what it has shown, or turns it away, and
    /// judges what it asked for meanwhile.
    pub(super) fn judge_awaited(&mut self, (now, wall): (Instant, SystemTime), key: ConnectionKey) {
        let Some(awaited) = self.showings.take_awaited(key) else {
            return;
        };
        let Some(showing) = self.showings.get(key) else {
            return;
        };
        let peer = *showing.credentials.peer();
        if awaited.stranger {
            let decision = self.policy.admits_with(&showing.credentials, wall);
            if !decision.is_allowed() {
                return self.turn_away(now, key, (&peer, &decision));
            }
            audit(&peer, &Action::new(CONNECT), &decision);
            self.show(now, key);
            self.on_admitted(now, key, peer);
        }
        for (id, request) in awaited.held {
            self.answer_request((now, wall), (key, peer), (id, request));
        }
    }

    /// Judges a request and hands it to its listener, or declines.
    pub(super) fn answer_request(
        &mut self,
        (now, wall): (Instant, SystemTime),
        (key, peer): (ConnectionKey, DeviceId),
        (id, request): (mux::ChannelId, ChannelRequest),
    ) {
        let declined = match self.judge(wall, (key, &peer), &request) {
            Ok(_) if self.closing => Err(DeclineReason::from(DeclineCode::ShuttingDown)),
            Ok(action) => {
                if let Some(showing) = self.showings.get_mut(key) {
                    showing.grant(id, action);
                }
                self.listeners.offer(Offer {
                    connection: key,
                    id,
                    peer,
                    request,
                })
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = declined {
            // The request may be gone by now; then there is nobody to tell.
            let _ = self
                .core
                .with_mux(key, |mux, link| mux.decline(link, now, id, reason));
        }
    }
}
