//! Reaching a peer again of which nothing is heard on a connection that this device began.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dhtnet_identity::{DeviceId, PeerAddress};

use super::{Attempt, Others};
use crate::discovery::Discovery;
use crate::state::Shared;

/// Time between two attempts, each of which asks all sources anew.
const BETWEEN: Duration = Duration::from_millis(500);

/// Looks for the peer until it is heard again, be it by the old connection or by a new one, or the
/// old one has ended. What is found is tried by the old connection first.
pub(crate) async fn reach_again(
    shared: Weak<Shared>,
    sources: Vec<Arc<dyn Discovery>>,
    peer: DeviceId,
) {
    loop {
        let joined = {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let mut state = shared.lock();
            if state.closing || !state.is_silent(&peer) {
                return;
            }
            let joined = state.dials.join(peer);
            drop(state);
            joined.map(|joined| (joined, shared))
        };
        if let Some((joined, shared)) = joined {
            if let Some(changed) = joined.lead {
                tracing::debug!(peer = %peer.short(), "looking for a silent peer");
                let attempt = Attempt {
                    shared,
                    sources: sources.clone(),
                    peer: PeerAddress::from(peer),
                    changed,
                    others: Others::LeftOut,
                };
                tokio::spawn(attempt.run());
            }
            if let Ok(Ok(_)) = joined.outcome.await {
                return;
            }
        }
        tokio::time::sleep(BETWEEN).await;
    }
}
