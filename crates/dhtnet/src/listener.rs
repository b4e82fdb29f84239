//! Waiting for channels that peers open.

use std::fmt;
use std::future::poll_fn;
use std::time::SystemTime;

use dhtnet_channel_mux::{ChannelRequest, DeclineCode, DeclineReason};
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{Action, Decision};

use crate::channel::{Channel, Held};
use crate::core::ChannelKey;
use crate::node::Handle;
use crate::state::Offer;

/// Requests for channels of one name; see [`Node::listen`](crate::Node::listen).
///
/// At most 256 requests wait; the next is declined as busy. Dropping the listener declines those
/// that wait.
pub struct Listener {
    handle: Handle,
    name: String,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.name)
    }
}

impl Listener {
    pub(crate) fn new(handle: Handle, name: String) -> Self {
        Self { handle, name }
    }

    /// The name it listens under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next request that the policy allows; `None` when the node shuts down. Cancel-safe.
    pub async fn accept(&mut self) -> Option<Incoming> {
        let offer = poll_fn(|cx| {
            self.handle
                .shared()
                .lock()
                .listeners
                .poll_offer(&self.name, cx)
        })
        .await?;
        Some(Incoming::unanswered(self.handle.clone(), offer))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let offers = self.handle.shared().lock().listeners.remove(&self.name);
        for offer in offers {
            drop(Incoming::unanswered(self.handle.clone(), offer));
        }
    }
}

/// One request, allowed by the policy, to be accepted or declined. Dropping it declines it.
pub struct Incoming {
    handle: Handle,
    offer: Option<Offer>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("offer", &self.offer)
            .finish_non_exhaustive()
    }
}

impl Incoming {
    pub(crate) fn unanswered(handle: Handle, offer: Offer) -> Self {
        Self {
            handle,
            offer: Some(offer),
        }
    }

    /// Who asks, proved by its key.
    pub fn peer(&self) -> DeviceId {
        self.offer().peer
    }

    /// What is asked for.
    pub fn request(&self) -> &ChannelRequest {
        &self.offer().request
    }

    /// Asks the policy whether the peer may do this, too, which the channel needs besides what the
    /// policy was asked already; the answer is logged. If it is allowed, the channel ends as soon as
    /// it is no longer, as it does for its own action.
    pub fn require(&self, action: &Action<'_>) -> Decision {
        let offer = self.offer();
        let key = ChannelKey {
            connection: offer.connection,
            channel: offer.id,
        };
        let mut state = self.handle.shared().lock();
        state.require(SystemTime::now(), (key, &offer.peer), action)
    }

    /// Whether [`Incoming::require`] would be allowed now. Nothing is logged and nothing is granted:
    /// for a choice between several actions, of which the chosen one is then required.
    pub fn would_allow(&self, action: &Action<'_>) -> bool {
        let offer = self.offer();
        let state = self.handle.shared().lock();
        state.would_allow(SystemTime::now(), offer.connection, action)
    }

    fn offer(&self) -> &Offer {
        // Taken only by the calls that consume the value.
        self.offer
            .as_ref()
            .expect("an unanswered request has its offer")
    }

    /// Opens the channel. If the peer has gone meanwhile, its first use tells so.
    pub fn accept(mut self) -> Channel {
        let offer = self
            .offer
            .take()
            .expect("an unanswered request has its offer");
        let key = ChannelKey {
            connection: offer.connection,
            channel: offer.id,
        };
        let now = self.handle.now();
        let handle = self.handle.clone();
        let held = self.handle.shared().with(|state| {
            let held = Held::register(state, handle, key, offer.peer, offer.request, true);
            state.core.with_mux(key.connection, |mux, link| {
                // A request that is gone shows at the first read.
                let _ = mux.accept(link, now, key.channel);
            });
            held
        });
        Channel::new(held)
    }

    /// Declines; the peer hears the reason.
    pub fn decline(mut self, reason: DeclineReason) {
        self.decline_with(reason);
    }

    fn decline_with(&mut self, reason: DeclineReason) {
        if let Some(offer) = self.offer.take() {
            let now = self.handle.now();
            self.handle.shared().with(|state| {
                state.core.with_mux(offer.connection, |mux, link| {
                    // A request that is gone needs no answer.
                    let _ = mux.decline(link, now, offer.id, reason);
                });
            });
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.decline_with(DeclineReason::from(DeclineCode::Busy));
    }
}
