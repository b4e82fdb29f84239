//! `dnc -L`: local ports that lead to targets behind the peer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dhtnet_cli::open_files;
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::Target;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::join::Ending;
use crate::local_forward::LocalForward;
use crate::probe;
use crate::serve::join_tcp;
use crate::session::{Report, Session, target_request};

/// Forwarded connections at the same time, all ports together; more wait in the system's queue.
pub(crate) const MAX_CONNECTIONS: usize = 4096;

/// How long to wait when the system has no file descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens, connects, and forwards until a signal comes.
///
/// The peer is connected to at once, so that a wrong id or a refusal shows at the start. When the
/// connection is lost later, the next forwarded connection makes a new one.
pub(crate) async fn forward(
    session: Arc<Session>,
    peer: &PeerArgument,
    forwards: &[LocalForward],
    ending: Ending,
    report: &mut Report,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    open_files::allow(MAX_CONNECTIONS);
    let peer = Arc::new(session.resolve(peer)?);
    let mut listeners = Vec::new();
    for forward in forwards {
        listeners.push((bind(forward).await?, forward));
    }
    tokio::select! {
        reached = probe::reach(&session, &peer, None) => reached.map(drop)?,
        code = shutdown.requested() => return Ok(code),
    }
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut accepting = JoinSet::new();
    for (listener, forward) in listeners {
        let address = listener.local_addr().map_err(|error| {
            Failure::failed(format!("cannot listen on {}: {error}", forward.bind))
        })?;
        let target = Arc::new(forward.target.clone());
        session
            .talk
            .note(format_args!("{address} leads to {target} behind {peer}"));
        report.event(&json!({
            "event": "forwarding",
            "bind": address,
            "target": target.to_string(),
            "peer": peer.address.id.to_string(),
        }))?;
        let way = Way {
            session: session.clone(),
            peer: peer.clone(),
            target,
            ending,
        };
        accepting.spawn(accept_all(listener, way, room.clone()));
    }
    Ok(shutdown.requested().await)
}

async fn bind(forward: &LocalForward) -> Result<TcpListener, Failure> {
    TcpListener::bind(forward.bind).await.map_err(|error| {
        let failure = Failure::failed(format!("cannot listen on {}: {error}", forward.bind));
        match error.kind() {
            io::ErrorKind::AddrInUse => failure.advise("take another port, or 0 for a free one"),
            io::ErrorKind::PermissionDenied => failure.advise("take a port above 1023"),
            _ => failure,
        }
    })
}

/// Where one local port leads.
#[derive(Clone)]
struct Way {
    session: Arc<Session>,
    peer: Arc<Peer>,
    target: Arc<Target>,
    ending: Ending,
}

/// Takes connections while there is room. Ends only by being dropped, with all its connections.
async fn accept_all(listener: TcpListener, way: Way, room: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                Some(_) = connections.join_next() => {}
            }
        };
        match accepted {
            Ok((stream, _)) => {
                let way = way.clone();
                connections.spawn(async move {
                    way.carry(stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // A connection that died in the queue, or no file descriptors: others may do.
                way.session
                    .talk
                    .warn(format_args!("cannot take a connection: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Way {
    /// Carries one connection. What the program sends first travels with the request.
    async fn carry(&self, stream: TcpStream) {
        let Self {
            session,
            peer,
            target,
            ending,
        } = self;
        let why = match session.connect(peer, target_request(target), true).await {
            Ok(channel) => match join_tcp(stream, channel, *ending).await {
                Ok(()) => return,
                Err(error) => session.forward_trouble(peer, target, &error),
            },
            Err(error) => {
                // A reset: the program must not take this for an empty answer.
                let _ = stream.set_zero_linger();
                session
                    .connect_failure(peer, Some(target), &error)
                    .to_string()
            }
        };
        session
            .talk
            .warn(format_args!("a connection to {target}: {why}"));
    }
}
