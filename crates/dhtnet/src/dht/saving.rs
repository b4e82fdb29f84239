//! The state file: known nodes, ids and own publications, written whole or not at all.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::krpc::NetworkTag;
use dhtnet_dht_core::node::Publication;
use dhtnet_dht_core::saved::{MAX_SAVED_NODES, SavedError, SavedId, SavedNode, SavedState};
use dhtnet_dht_core::{Family, Node};
use dhtnet_identity::atomic_file;

use super::error::DhtError;
use super::shared::DhtShared;

/// How often known nodes are written: what is lost with a crash is a few minutes of them.
pub(super) const SAVE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The first writing after the start, when the first neighbours are known.
pub(super) const FIRST_SAVE: Duration = Duration::from_secs(15);

/// Larger files are not read: 200 nodes and 10,000 publications fit.
const MAX_FILE_LEN: u64 = 32 << 20;

/// What is kept between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nodes, ids and publications: the file of one node.
    Everything,
    /// Nodes: a file that several processes may share.
    Nodes,
}

/// Where a DHT's state lies.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    kept: Kept,
    network: Option<NetworkTag>,
    /// One writer at a time: an older state never replaces a newer one.
    writing: tokio::sync::Mutex<()>,
}

impl StateFile {
    pub(super) fn new(path: PathBuf, kept: Kept, network: Option<NetworkTag>) -> Self {
        Self {
            path,
            kept,
            network,
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// What was saved. A file that cannot be used is one warning and a clean start.
    pub(super) fn load(&self) -> Option<SavedState> {
        match read(&self.path, self.network) {
            Ok(Some(state)) => Some(self.trimmed(state)),
            Ok(None) => None,
            Err(reason) => {
                tracing::warn!(
                    file = %self.path.display(),
                    %reason,
                    "the saved DHT state is not used; starting without it"
                );
                None
            }
        }
    }

    fn trimmed(&self, state: SavedState) -> SavedState {
        match self.kept {
            Kept::Everything => state,
            Kept::Nodes => SavedState {
                ids: [None, None],
                permanent: Vec::new(),
                ..state
            },
        }
    }

    /// Writes the state of the node.
    pub(super) async fn save(&self, shared: &Arc<DhtShared>) -> Result<(), DhtError> {
        let _one = self.writing.lock().await;
        let state = snapshot(&shared.lock().node, Instant::now(), self.network);
        if self.kept == Kept::Nodes && state.nodes.is_empty() {
            // Nothing was learnt; what another process learnt stays.
            return Ok(());
        }
        let bytes = self.trimmed(state).encode();
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            atomic_file::create_private_parent(&path)?;
            atomic_file::replace(&path, &bytes, 0o600)
        })
        .await;
        let failed = |source| DhtError::Save {
            path: self.path.clone(),
            source,
        };
        match written {
            Ok(result) => result.map_err(failed),
            Err(error) => Err(failed(io::Error::other(error))),
        }
    }
}

fn read(path: &Path, network: Option<NetworkTag>) -> Result<Option<SavedState>, String> {
    let len = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if len > MAX_FILE_LEN {
        return Err(format!("{len} bytes are too many"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let state = SavedState::decode_for(&bytes, network);
    state
        .map(Some)
        .map_err(|error: SavedError| error.to_string())
}

/// Nodes that these files remember, at most `limit`. Files that cannot be used are passed over.
pub(crate) fn saved_nodes(
    files: &[PathBuf],
    network: Option<NetworkTag>,
    limit: usize,
) -> Vec<SocketAddr> {
    let states = files
        .iter()
        .filter_map(|file| read(file, network).ok().flatten());
    let mut found: Vec<SocketAddr> = Vec::new();
    for node in states.flat_map(|state| state.nodes) {
        if found.len() < limit && !found.contains(&node.contact.address) {
            found.push(node.contact.address);
        }
    }
    found
}

/// The state worth keeping: the best nodes first.
fn snapshot(node: &Node, now: Instant, network: Option<NetworkTag>) -> SavedState {
    let mut state = SavedState {
        network,
        ..SavedState::default()
    };
    for family in Family::ALL {
        let mut known: Vec<_> = node.nodes(now, family).collect();
        known.sort_by_key(|known| !known.good);
        let half = known.into_iter().take(MAX_SAVED_NODES / 2);
        state.nodes.extend(half.map(|known| SavedNode {
            contact: known.contact,
            extension: known.extension,
        }));
        state.ids[family.index()] = node.id(family).map(|id| SavedId {
            id,
            external: node.external_address(family).map(|address| address.ip()),
        });
    }
    let publications = node.publications();
    state.permanent = publications.map(|(_, one)| one.encode()).collect();
    state
}

/// Gives a new node what was saved.
pub(super) fn restore(node: &mut Node, now: Instant, state: &SavedState) {
    for family in Family::ALL {
        if let Some(saved) = &state.ids[family.index()] {
            node.set_id(now, family, saved.id);
        }
    }
    for saved in &state.nodes {
        node.add_saved_node(now, saved.contact);
    }
    for encoded in &state.permanent {
        match Publication::decode(encoded) {
            Some(publication) => {
                node.resume(now, publication);
            }
            None => tracing::warn!("a saved publication is not genuine and left out"),
        }
    }
}

#[cfg(test)]
mod tests;
