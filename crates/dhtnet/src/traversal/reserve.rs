//! A second relay for a connection that hangs on one: when that dies, the other path is there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use dhtnet_identity::DeviceId;

use super::{By, Traversal};
use crate::core::path::{PathKind, Via};
use crate::state::State;

impl Traversal {
    /// The relay on which all paths to a peer depend, by its addresses. `None` while one path needs
    /// no relay, and where there are several relays.
    pub(crate) fn only_relay(&self, state: &State, peer: &DeviceId) -> Option<BTreeSet<IpAddr>> {
        let connection = state.heard(peer).and_then(|key| state.core.get(key))?;
        let mut only: Option<BTreeSet<IpAddr>> = None;
        for standing in connection.paths.standings() {
            let hosts = match (standing.route.path.via, standing.route.kind) {
                (Via::Relay(number), _) => self.0.finder.relays().hosts(number),
                (_, PathKind::Relayed) => BTreeSet::from([standing.route.path.remote.ip()]),
                _ => return None,
            };
            match &mut only {
                Some(only) if only.is_disjoint(&hosts) => return None,
                Some(only) => only.extend(hosts),
                None => only = Some(hosts),
            }
        }
        only
    }

    /// Gets an allocation at another relay and a path through it.
    pub(crate) async fn prepare_reserve(&self, peer: DeviceId, others: BTreeSet<IpAddr>) {
        if let Some(number) = self.0.finder.obtain_beside(&others).await {
            tracing::debug!(peer = %peer.short(), relay = self.0.finder.relays().name(number), "a second relay as a reserve");
            self.call_once(peer, By::Connection).await;
        }
    }
}
