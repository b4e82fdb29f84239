//! `-R`: ports of the peer that lead to targets on this side.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dhtnet::{
    Channel, ChannelRequest, ConnectError, DeclineCode, DeclineReason, Incoming, Listener,
};
use dhtnet_cli::failure::one_line;
use dhtnet_cli::{Failure, Peer};
use dhtnet_identity::target::Target;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::bound::IN_USE;
use crate::carry::MAX_CONNECTIONS;
use crate::forward_spec::{Bind, Forward};
use crate::join::Ending;
use crate::serve::{asked_target, serve_one, with_room};
use crate::session::Session;

/// Ports that are tried for port 0 before it is given up.
const MAX_TRIES: usize = 16;

/// The first of the ports that are free for any use (RFC 6335, section 6).
const FIRST_DYNAMIC_PORT: u16 = 49_152;

/// Where the peer's connections lead, by the place that they came to.
type Targets = Arc<Mutex<BTreeMap<String, Target>>>;

/// The reverse forwards to one peer. Dropping it gives all places back.
pub(crate) struct Reverse {
    session: Arc<Session>,
    peer: Arc<Peer>,
    forwards: Vec<Forward>,
    targets: Targets,
    /// The channels that hold the places; each task ends when its place is lost.
    leases: JoinSet<()>,
    serving: JoinHandle<()>,
}

impl Drop for Reverse {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Reverse {
    /// Gets ready for connections that come by way of the peer; nothing is asked of it yet.
    pub(crate) fn new(
        session: &Arc<Session>,
        peer: &Arc<Peer>,
        forwards: &[Forward],
        ending: Ending,
    ) -> Result<Self, Failure> {
        let listener = session
            .node
            .listen_unannounced(session.names.reverse)
            .map_err(|error| Failure::failed(format!("cannot wait for the peer: {error}")))?;
        let targets = Targets::default();
        let serving = Serving {
            session: session.clone(),
            peer: peer.clone(),
            targets: targets.clone(),
            ending,
        };
        Ok(Self {
            session: session.clone(),
            peer: peer.clone(),
            forwards: forwards.to_vec(),
            targets,
            leases: JoinSet::new(),
            serving: tokio::spawn(serving.serve(listener)),
        })
    }

    /// Asks for all places anew and returns the forwards as they are, with the ports that were
    /// chosen. A port that was chosen once is asked for again.
    pub(crate) async fn ask_for_all(&mut self) -> Result<&[Forward], Failure> {
        self.leases.abort_all();
        while self.leases.join_next().await.is_some() {}
        self.lock().clear();
        for at in 0..self.forwards.len() {
            let forward = self.forwards[at].clone();
            let (bind, channel) = match forward.bind.port() {
                Some(0) => self.ask_for_any(&forward).await?,
                _ => (
                    forward.bind.clone(),
                    self.ask(&forward.bind, &forward).await?,
                ),
            };
            self.forwards[at].bind = bind;
            self.leases.spawn(hold(channel));
        }
        Ok(&self.forwards)
    }

    /// Waits until a place is lost; for ever if there is none. Cancel-safe.
    pub(crate) async fn lost(&mut self) {
        if self.leases.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Any port: chosen here, so that the peer's policy is asked about the one that it will be.
    async fn ask_for_any(&self, forward: &Forward) -> Result<(Bind, Channel), Failure> {
        let mut tries = 1;
        loop {
            let bind = forward.bind.with_port(any_port()?);
            match self.ask(&bind, forward).await {
                Ok(channel) => return Ok((bind, channel)),
                Err(failure) if tries < MAX_TRIES && failure.to_string().contains(IN_USE) => {
                    tries += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn ask(&self, bind: &Bind, forward: &Forward) -> Result<Channel, Failure> {
        let (peer, place) = (&self.peer, bind.to_string());
        // Before the peer listens: the first connection may be faster than its answer.
        self.lock().insert(place.clone(), forward.target.clone());
        let request = ChannelRequest::stream(self.session.names.bind).metadata(place.clone());
        let asked = self.session.connect(peer, request).await;
        asked.map_err(|error| {
            self.lock().remove(&place);
            match &error {
                ConnectError::Declined { reason, .. }
                    if reason.code() == DeclineCode::TargetFailed =>
                {
                    let why = one_line(reason.message());
                    Failure::failed(format!("{peer} cannot listen there: {why}"))
                        .advise("take another port, or 0 for a free one")
                }
                error => {
                    let asked = format!("to listen on {place}");
                    self.session.connect_failure(peer, &asked, error)
                }
            }
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds a place until it is lost or the task is aborted.
async fn hold(channel: Channel) {
    let (_send, mut recv) = channel.split();
    let mut blocks = [Bytes::new()];
    while let Ok(Some(_)) = recv.read_chunks(&mut blocks).await {}
}

fn any_port() -> Result<u16, Failure> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("cannot choose a port: {error}")))?;
    Ok(FIRST_DYNAMIC_PORT | u16::from_le_bytes(bytes))
}

/// Takes what comes by way of the peer.
struct Serving {
    session: Arc<Session>,
    peer: Arc<Peer>,
    targets: Targets,
    ending: Ending,
}

impl Serving {
    async fn serve(self, mut listener: Listener) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                incoming = listener.accept() => incoming,
                Some(_) = connections.join_next() => continue,
            };
            let Some(incoming) = incoming else {
                return;
            };
            let Some((incoming, permit)) = with_room(incoming, &room) else {
                continue;
            };
            match self.target_of(&incoming) {
                Ok(target) => {
                    let (session, ending) = (self.session.clone(), self.ending);
                    connections.spawn(async move {
                        serve_one(&session, incoming, &target, ending).await;
                        drop(permit);
                    });
                }
                Err(reason) => incoming.decline(reason),
            }
        }
    }

    /// Where a connection leads. The peer may name the places that it was asked for, and no target.
    fn target_of(&self, incoming: &Incoming) -> Result<Target, DeclineReason> {
        let place = asked_target(incoming.request())?;
        let unknown = || DeclineReason::new(DeclineCode::BadRequest, "no such forward");
        if incoming.peer() != self.peer.address.id {
            return Err(unknown());
        }
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.get(&place.to_string()).cloned().ok_or_else(unknown)
    }
}
