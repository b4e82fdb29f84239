//! Can this peer, or a target behind it, be reached?

use std::time::Instant;

use dhtnet::{ChannelRequest, ConnectError, ConnectionReport, DeclineCode};
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::Target;
use serde_json::json;

use crate::give_up::GiveUp;
use crate::paths;
use crate::session::Session;

/// Probes, and says on stderr how it went.
pub async fn probe(
    session: &Session,
    peer: &PeerArgument,
    target: Option<&Target>,
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
    session.report.event(&json!({
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
pub async fn reach(
    session: &Session,
    peer: &Peer,
    target: Option<&Target>,
) -> Result<Option<ConnectionReport>, Failure> {
    let begun = Instant::now();
    let Some(target) = target else {
        let connection = knock(session, peer).await?;
        session.tell_path(peer, connection.as_ref(), begun.elapsed());
        return Ok(connection);
    };
    match session.connect(peer, session.target_request(target)).await {
        Ok(channel) => {
            let connection = channel.connection();
            let (mut send, mut recv) = channel.split();
            send.finish();
            recv.stop(GiveUp::Done.code());
            Ok(connection)
        }
        Err(error) => Err(session.connect_failure(peer, &target.to_string(), &error)),
    }
}

/// As [`reach`] of the peer alone, telling the user nothing.
pub async fn knock(session: &Session, peer: &Peer) -> Result<Option<ConnectionReport>, Failure> {
    match ask_nothing(session, peer).await {
        Ok(()) => Ok(paths::connection_to(session, &peer.address.id)),
        Err(error) => Err(session.connect_failure(peer, "a connection", &error)),
    }
}

/// Asks for a channel that nobody listens for: that it is declined proves that the peer is there,
/// holds its key and lets this device connect, without taking its listener away from anyone. One that
/// stays open ends at once.
async fn ask_nothing(session: &Session, peer: &Peer) -> Result<(), ConnectError> {
    match session
        .open(peer, ChannelRequest::stream(session.names.probe))
        .await
    {
        Err(ConnectError::Declined { reason, .. })
            if matches!(reason.code(), DeclineCode::NoListener | DeclineCode::Policy) =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}
