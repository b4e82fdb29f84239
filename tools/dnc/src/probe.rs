//! `dnc -z`: can this peer, or a target behind it, be reached?

use std::time::Instant;

use dhtnet::{ChannelRequest, ConnectError, ConnectionReport, DeclineCode};
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::Target;
use serde_json::json;

use crate::give_up::GiveUp;
use crate::session::{Report, Session, target_request};

/// A channel that nobody listens for: that it is declined proves that the peer is there, holds its
/// key and lets this device connect, without taking its `dnc -l` away from anyone.
const PROBE_CHANNEL: &str = "dnc.probe";

/// Probes, and says on stderr how it went.
pub(crate) async fn probe(
    session: &Session,
    peer: &PeerArgument,
    target: Option<&Target>,
    report: &mut Report,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let peer = session.resolve(peer)?;
    let connection = tokio::select! {
        reached = reach(session, &peer, target) => reached?,
        code = shutdown.requested() => return Ok(code),
    };
    let took = begun.elapsed();
    let path = connection.as_ref().and_then(|connection| connection.path);
    let way = path.map(|path| format!(" via {} {}", path.kind.as_str(), path.remote));
    let what = target
        .map(|target| format!("{target} behind "))
        .unwrap_or_default();
    session.talk.note(format_args!(
        "{what}{peer} is reachable{} in {} ms",
        way.unwrap_or_default(),
        took.as_millis()
    ));
    report.event(&json!({
        "event": "reachable",
        "peer": peer.address.id.to_string(),
        "target": target.map(ToString::to_string),
        "path": path.map(|path| path.kind.as_str()),
        "address": path.map(|path| path.remote),
        "milliseconds": took.as_secs_f64() * 1000.0,
    }))?;
    Ok(ExitCode::Done)
}

/// Connects to the peer, and to the target if there is one, and lets go again.
pub(crate) async fn reach(
    session: &Session,
    peer: &Peer,
    target: Option<&Target>,
) -> Result<Option<ConnectionReport>, Failure> {
    let begun = Instant::now();
    let request = target.map_or_else(|| ChannelRequest::stream(PROBE_CHANNEL), target_request);
    let connection = match session.connect(peer, request, false).await {
        Ok(channel) => {
            let connection = channel.connection();
            let (mut send, mut recv) = channel.split();
            send.finish();
            recv.stop(GiveUp::Done.code());
            return Ok(connection);
        }
        Err(ConnectError::Declined { reason, .. })
            if target.is_none()
                && matches!(reason.code(), DeclineCode::NoListener | DeclineCode::Policy) =>
        {
            session
                .node
                .connections()
                .into_iter()
                .find(|c| c.peer == peer.address.id)
        }
        Err(error) => return Err(session.connect_failure(peer, target, &error)),
    };
    session.tell_path(peer, connection.as_ref(), begun.elapsed());
    Ok(connection)
}
