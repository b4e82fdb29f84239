//! Words for the paths of a connection, and who watches them change.

use std::sync::Arc;

use dhtnet::{ConnectionReport, Event, Events, PathEvent, PathReport};
use dhtnet_identity::DeviceId;
use serde_json::{Value, json};

use crate::session::Session;

/// `direct 203.0.113.7:4433`.
pub(crate) fn words(path: &PathReport) -> String {
    format!("{} {}", path.kind.as_str(), path.remote)
}

/// One path as an object of `--json`; times in milliseconds.
pub(crate) fn object(path: &PathReport) -> Value {
    json!({
        "path": path.kind.as_str(),
        "address": path.remote,
        "rtt": path.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        "in_use": path.in_use,
    })
}

/// The connection to a peer, if there is one.
pub(crate) fn connection_to(session: &Session, peer: &DeviceId) -> Option<ConnectionReport> {
    let connections = session.node.connections();
    connections.into_iter().find(|c| c.peer == *peer)
}

/// Tells the user that a peer is silent and that it is back, and with `-v` every change of a
/// path. Ends with the node; `events` are those from before the first connection.
pub(crate) async fn watch(session: Arc<Session>, mut events: Events) {
    let talk = &session.talk;
    while let Some(event) = events.next().await {
        let Event::PathChanged { peer, change } = event else {
            continue;
        };
        let peer = session.name(peer);
        match change {
            PathEvent::Changed { path, reason } => talk.detail(format_args!(
                "the path to {peer} is {} now: {}",
                words(&path),
                reason.as_str()
            )),
            PathEvent::Silent => {
                talk.note(format_args!("{peer} is silent; looking for another path"));
            }
            PathEvent::Back => {
                let way = connection_to(&session, &peer.address.id).and_then(|c| c.path);
                let way = way.map(|path| format!(" via {}", words(&path)));
                talk.note(format_args!("{peer} is back{}", way.unwrap_or_default()));
            }
            _ => {}
        }
    }
}
