//! A peer that has fallen silent and is reached by a new connection beside the old one.
//!
//! What leads to a silent peer may lead to the same program, which has moved, or to one that was
//! started again. The first still knows the connection and goes on with it; the second never will.
//! Each way is therefore tried by the old connection first, and a moment later by a new one.

use std::time::{Duration, Instant};

use dhtnet_identity::DeviceId;

use super::State;
use crate::core::path::Route;
use crate::core::{ConnectionKey, DialError};
use crate::hello::Instance;

/// What the old connection has to be heard again on a way, before a new one is begun there: three
/// checks are sent within it, or a round trip of 200 ms passes.
const REVIVAL: Duration = Duration::from_millis(250);

/// A program that was there before and is reached under another address may be a second one with
/// the same key, while the first one moves: that gets so much longer to be heard.
const OTHER_HOST_PATIENCE: Duration = Duration::from_millis(1_500);

impl State {
    /// The connection for new channels to a peer, if it is heard.
    pub(crate) fn heard(&self, peer: &DeviceId) -> Option<ConnectionKey> {
        let live = self.peers.primary(peer)?;
        (!self.is_lost(live)).then_some(live)
    }

    /// Whether there is a connection to a peer of which nothing is heard on any path.
    pub(crate) fn is_silent(&self, peer: &DeviceId) -> bool {
        let live = self.peers.primary(peer);
        live.is_some_and(|key| self.is_lost(key))
    }

    fn is_lost(&self, key: ConnectionKey) -> bool {
        let connection = self.core.get(key);
        connection.is_some_and(|connection| connection.paths.is_lost())
    }

    /// One more way to a peer that is connected. If nothing is heard of it and somebody waits, a
    /// new connection is begun there a moment later.
    pub(super) fn add_way(
        &mut self,
        now: Instant,
        (peer, live): (&DeviceId, ConnectionKey),
        route: Route,
    ) {
        self.core.add_candidate(now, live, route);
        if self.is_lost(live) {
            self.dials.set_aside(now + REVIVAL, peer, route);
        }
    }

    /// Begins a new connection on the ways that did not help the old one. Returns when to come
    /// again.
    ///
    /// # Errors
    /// [`DialError`] when there are too many connections.
    pub(crate) fn try_those_set_aside(
        &mut self,
        now: Instant,
        peer: &DeviceId,
    ) -> Result<Option<Instant>, DialError> {
        while let Some(route) = self.dials.take_due(now, peer) {
            self.race(now, peer, route)?;
        }
        Ok(self.dials.next_due(peer))
    }

    /// The old connection is heard again: who waits for a new one gets it.
    pub(super) fn on_heard_again(&mut self, now: Instant, peer: &DeviceId, key: ConnectionKey) {
        if self.peers.primary(peer) == Some(key)
            && let Some(attempt) = self.dials.on_connected(peer, key)
        {
            let done = crate::error::close_code::DONE;
            self.core.close(now, attempt, done);
        }
    }

    /// This device has connected anew. Connections to a program of the peer that is not heard any
    /// more end: at once where the new one has its host, or was started since then.
    pub(super) fn end_forgotten(
        &mut self,
        now: Instant,
        peer: &DeviceId,
        (key, instance): (ConnectionKey, &Instance),
    ) {
        for old in self.peers.of_other_programs(peer, instance) {
            if self.is_lost(old) {
                let in_its_place =
                    self.core.have_common_host(old, key) || self.core.began_after(old, key);
                let patience = if in_its_place {
                    Duration::ZERO
                } else {
                    OTHER_HOST_PATIENCE
                };
                self.core.give_up_at(now, now + patience, old);
            }
        }
    }
}
