//! Calls between two devices that are connected, to find a better path: the offer and the answer
//! go over the connection, in a round trip and without a packet to the DHT.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::offer::{Offer, ReplayWindow, SessionId, Wish};
use tokio::sync::mpsc::Receiver;

use super::Parts;
use super::calls::{Calls, MAX_CALLS_OF_PEERS};

/// By which way a call goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The connection that there is; the DHT when nobody answers there.
    Connection,
    /// The DHT.
    Dht,
}

/// Time without an answer over the connection after which a call goes through the DHT. An answer
/// takes a round trip; a peer of an earlier version gives none.
const BEFORE_DHT: Duration = Duration::from_secs(1);

/// Takes the offers and answers of connected peers, for as long as there are any.
pub(super) fn attend(parts: &Arc<Parts>, notes: Receiver<(DeviceId, Bytes)>) {
    tokio::spawn(take_all(Arc::downgrade(parts), notes));
}

async fn take_all(parts: Weak<Parts>, mut notes: Receiver<(DeviceId, Bytes)>) {
    let mut replays = ReplayWindow::default();
    let mut calls = Calls::at_most(MAX_CALLS_OF_PEERS);
    while let Some((sender, message)) = notes.recv().await {
        let Some(parts) = parts.upgrade() else {
            return;
        };
        if calls.may_call(Instant::now()) {
            parts.on_note(&mut replays, sender, &message);
        }
    }
}

impl Parts {
    /// Sends an offer or an answer over the connection. Returns whether it is on its way.
    pub(super) fn tell_over_connection(&self, peer: &DeviceId, offer: &Offer) -> bool {
        let body = offer.encode().into();
        let sent = self.shared.with(|state| state.send_note(peer, body));
        if sent {
            tracing::debug!(peer = %peer.short(), candidates = offer.candidates.len(), "telling over the connection");
        }
        sent
    }

    /// Waits until it is time to go through the DHT; for ever once the call was answered.
    pub(super) async fn until_unanswered(&self, id: SessionId) {
        tokio::time::sleep(BEFORE_DHT).await;
        if self.sessions.is_answered(id) {
            std::future::pending::<()>().await;
        }
    }

    /// A peer says something over its connection. That there is one means that the policy lets it
    /// in, or that this device has called it.
    fn on_note(self: &Arc<Self>, replays: &mut ReplayWindow, sender: DeviceId, message: &[u8]) {
        let offer = match Offer::decode(message) {
            Ok(offer) => offer,
            Err(error) => {
                tracing::debug!(peer = %sender.short(), %error, "a note that cannot be read");
                return;
            }
        };
        if offer.wish == Wish::Answer {
            if self.sessions.has(offer.session, &sender) {
                tracing::debug!(peer = %sender.short(), candidates = offer.candidates.len(), "the call was answered over the connection");
                self.sessions
                    .handle_offer(Instant::now(), offer.session, offer);
                self.shared.wake.wake();
            }
            return;
        }
        let is_known = self.sessions.has(offer.session, &sender);
        if offer.wish == Wish::Update && !is_known {
            return;
        }
        if let Err(refused) = replays.admit(SystemTime::now(), &sender, &offer) {
            tracing::debug!(peer = %sender.short(), %refused, "a call that is not answered");
            return;
        }
        self.answer(sender, offer, By::Connection);
    }
}
