//! Words for the paths of a connection, and who watches them change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dhtnet::{ConnectionReport, Event, Events, PathEvent, PathReport};
use dhtnet_identity::DeviceId;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::session::Session;

/// `direct 203.0.113.7:4433`.
pub fn words(path: &PathReport) -> String {
    format!("{} {}", path.kind.as_str(), path.remote)
}

/// One path as an object of `--json`; times in milliseconds.
pub fn object(path: &PathReport) -> Value {
    json!({
        "path": path.kind.as_str(),
        "address": path.remote,
        "rtt": path.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        "in_use": path.in_use,
    })
}

/// The connection to a peer, if there is one.
pub fn connection_to(session: &Session, peer: &DeviceId) -> Option<ConnectionReport> {
    let connections = session.node.connections();
    connections.into_iter().find(|c| c.peer == *peer)
}

/// Silence that is over sooner is told with `-v` only: a program that was killed is known as gone by
/// then, which says more.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells the user that a peer is silent and that it is back, and with `-v` every change of a
/// path. Ends with the node; `events` are those from before the first connection.
pub async fn watch(session: Arc<Session>, mut events: Events) {
    let mut silences = Silences::default();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            peer = silences.due() => {
                let peer = session.name(peer);
                let words = format!("{peer} is silent; looking for another path");
                session.talk.note(words);
                continue;
            }
        };
        match event {
            Some(Event::PathChanged { peer, change }) => {
                tell(&session, &mut silences, (peer, &change));
            }
            Some(Event::Disconnected { peer, .. }) => {
                silences.end(&peer);
            }
            Some(_) => {}
            None => return,
        }
    }
}

fn tell(session: &Session, silences: &mut Silences, (id, change): (DeviceId, &PathEvent)) {
    let (peer, talk) = (session.name(id), &session.talk);
    let mut event = match change {
        PathEvent::Changed { path, reason } => {
            let (way, why) = (words(path), reason.as_str());
            talk.detail(format_args!("the path to {peer} is {way} now: {why}"));
            let mut event = object(path);
            event["event"] = "path".into();
            event["reason"] = why.into();
            event
        }
        PathEvent::Silent => {
            silences.begin(id);
            json!({"event": "silent"})
        }
        PathEvent::Back => {
            let way = connection_to(session, &id).and_then(|connection| connection.path);
            let way = way.map_or_else(String::new, |path| format!(" via {}", words(&path)));
            if silences.end(&id) == Told::Yes {
                talk.note(format_args!("{peer} is back{way}"));
            } else {
                talk.detail(format_args!("{peer} was silent and is back{way}"));
            }
            json!({"event": "back"})
        }
        _ => return,
    };
    event["peer"] = id.to_string().into();
    // A stdout that is gone ends the plan when it has something to say itself.
    let _ = session.report.event(&event);
}

/// Peers that are silent, and whether the user was told; as many as there are connections.
#[derive(Default)]
struct Silences {
    /// When the user is to be told; `None` when that was done.
    since: BTreeMap<DeviceId, Option<Instant>>,
}

/// Whether the user knows of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl Silences {
    fn begin(&mut self, peer: DeviceId) {
        self.since.insert(peer, Some(Instant::now() + PATIENCE));
    }

    fn end(&mut self, peer: &DeviceId) -> Told {
        match self.since.remove(peer) {
            Some(None) => Told::Yes,
            _ => Told::No,
        }
    }

    /// Waits until the user is to be told of a silence; for ever if there is none. Cancel-safe.
    async fn due(&mut self) -> DeviceId {
        let pending = self
            .since
            .iter()
            .filter_map(|(peer, at)| Some((*peer, (*at)?)));
        let Some((peer, at)) = pending.min_by_key(|(_, at)| *at) else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(at).await;
        self.since.insert(peer, None);
        peer
    }
}

#[cfg(test)]
mod tests {
    use dhtnet_identity::DeviceKey;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_told_when_it_lasts() {
        let peer = |seed| DeviceKey::from_seed(&[seed; 32]).id();
        let mut silences = Silences::default();
        silences.begin(peer(1));
        assert_eq!(silences.end(&peer(1)), Told::No);
        silences.begin(peer(1));
        silences.begin(peer(2));
        let begun = Instant::now();
        let mut told = [silences.due().await, silences.due().await];
        told.sort_unstable();
        let mut both = [peer(1), peer(2)];
        both.sort_unstable();
        assert_eq!(told, both);
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
        assert_eq!(silences.end(&peer(1)), Told::Yes);
        assert_eq!(silences.end(&peer(1)), Told::No);
    }
}
