//! What comes to be known while a call is under way: a relay, a mapped port, another address. The
//! peer is told over the connection if there is one, else by the same way as the offer or answer.

use std::sync::Arc;
use std::time::Instant;

use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::offer::{SessionId, Wish};
use futures_util::future::BoxFuture;

use super::{By, Parts, Place};

impl Parts {
    /// Asks for an allocation now, so that it may stand before it is needed.
    pub(super) fn ask_for_relay(&self) {
        let finder = self.finder.clone();
        tokio::spawn(async move { finder.obtain().await });
    }

    /// Gives the allocations that stand to a session.
    pub(super) fn use_standing_relays(&self, id: SessionId) {
        for number in self.finder.relays().all_standing() {
            self.sessions.add_relay(Instant::now(), id, number);
        }
    }

    /// Adds to a session what comes to be known, and tells the peer, for as long as the session
    /// is of use.
    pub(super) fn keep_updated(self: &Arc<Self>, id: SessionId, place: Place, peer: DeviceId) {
        let parts = self.clone();
        tokio::spawn(async move {
            let work = async {
                tokio::join!(
                    parts.keep_relayed(id, place, peer),
                    parts.watch_ground(id, place, peer)
                )
            };
            tokio::select! {
                _ = work => {}
                () = parts.sessions.gone(id) => {}
            }
        });
    }

    /// Sees to it that the session has a relay, and another one when that ends. A session that has
    /// ended takes none: the peer is then called anew.
    async fn keep_relayed(self: &Arc<Self>, id: SessionId, place: Place, peer: DeviceId) {
        let mut had_one = false;
        loop {
            let Some(number) = self.finder.obtain().await else {
                self.finder.until_worth_asking().await;
                continue;
            };
            if had_one && self.sessions.is_ended(id) {
                return self.replace_relay(peer);
            }
            had_one = true;
            if self.sessions.add_relay(Instant::now(), id, number) {
                self.shared.wake.wake();
                self.tell(id, place, peer).await;
            }
            self.finder.until_ended(number).await;
        }
    }

    /// A relay has ended that a connection has in reserve, and there is another one: a call leads to
    /// a path through it. Where nothing is left to carry the call, the connection is looked after
    /// already (`upkeep`).
    fn replace_relay(self: &Arc<Self>, peer: DeviceId) {
        let has_path = {
            let state = self.shared.lock();
            let connection = state.heard(&peer).and_then(|key| state.core.get(key));
            connection.is_some_and(|connection| !connection.paths.is_lost())
        };
        if has_path {
            tracing::debug!(peer = %peer.short(), "a path through another relay is looked for");
            tokio::spawn(self.clone().call_anew(peer));
        }
    }

    /// Boxed, for a call keeps its relays itself.
    fn call_anew(self: Arc<Self>, peer: DeviceId) -> BoxFuture<'static, ()> {
        Box::pin(self.call(peer, By::Connection))
    }

    /// Looks again where this device stands, each time a router has mapped something else.
    async fn watch_ground(&self, id: SessionId, place: Place, peer: DeviceId) {
        let Some(mut mappings) = self.ground.mappings.clone() else {
            return;
        };
        while mappings.changed().await.is_ok() {
            if self.sessions.add_candidates(id, self.ground.candidates()) {
                self.shared.wake.wake();
                self.tell(id, place, peer).await;
            }
        }
    }

    /// Leaves an update for the peer.
    async fn tell(&self, id: SessionId, place: Place, peer: DeviceId) {
        if let Some(update) = self.sessions.offer(id, Wish::Update) {
            if self.tell_over_connection(&peer, &update) {
                return;
            }
            tracing::debug!(peer = %peer.short(), candidates = update.candidates.len(), "telling of another address");
            self.send(place, peer, update.encode(), self.rng()).await;
        }
    }
}
