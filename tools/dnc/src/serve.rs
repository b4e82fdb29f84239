//! `dnc -l --allow-target`: targets on this side for the peers that may ask for them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dhtnet::{Channel, ChannelRequest, DeclineCode, DeclineReason, Incoming};
use dhtnet_cli::failure::one_line;
use dhtnet_cli::open_files;
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_identity::policy::OwnedAction;
use dhtnet_identity::target::{HostPattern, PortPattern, Target, TargetPattern};
use serde_json::json;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::join::{Ending, JoinError, join};
use crate::session::{Report, Session, TARGET_CHANNEL};
use crate::stream::{StreamSink, StreamSource};

/// Connections to targets at the same time; the next is declined as busy. Each costs a file
/// descriptor and, when it is busy, two blocks of at most 256 KiB.
pub(crate) const MAX_TARGETS: usize = 4096;

/// How long a target may take to answer, all its addresses together. Shorter than the time the
/// peer waits by default, so that it learns the cause.
const TARGET_LIMIT: Duration = Duration::from_secs(15);

/// Serves until a signal comes.
pub(crate) async fn serve(
    session: Arc<Session>,
    targets: &[TargetPattern],
    ending: Ending,
    report: &mut Report,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    open_files::allow(MAX_TARGETS);
    let mut listener = session
        .node
        .listen_as(TARGET_CHANNEL, asked_action)
        .map_err(|error| Failure::failed(format!("cannot listen: {error}")))?;
    announce(&session, targets, report)?;
    let room = Arc::new(Semaphore::new(MAX_TARGETS));
    let mut connections = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = listener.accept() => incoming,
            Some(_) = connections.join_next() => continue,
            code = shutdown.requested() => return Ok(code),
        };
        let Some(incoming) = incoming else {
            return Err(Failure::failed("the node ended while listening"));
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            incoming.decline(DeclineReason::new(
                DeclineCode::Busy,
                "too many connections",
            ));
            continue;
        };
        let session = session.clone();
        connections.spawn(async move {
            serve_one(&session, incoming, ending).await;
            drop(permit);
        });
    }
}

fn announce(
    session: &Session,
    targets: &[TargetPattern],
    report: &mut Report,
) -> Result<(), Failure> {
    let example = targets.first().map(example).unwrap_or_default();
    let command = session.peer_command(&format!(" {example}"));
    session.talk.bare(&command);
    session.talk.release();
    report.event(&json!({
        "event": "listening",
        "id": session.node.id().to_string(),
        "addresses": session.node.reachable_addresses(),
        "targets": targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "command": command,
    }))
}

/// A target that the pattern allows, for the command to paste; what the user still has to choose
/// is in capitals.
fn example(pattern: &TargetPattern) -> String {
    match pattern {
        TargetPattern::Tcp { host, port } | TargetPattern::Udp { host, port } => {
            let host = match host {
                HostPattern::Name(name) => name.clone(),
                HostPattern::Address(std::net::IpAddr::V6(address)) => format!("[{address}]"),
                HostPattern::Address(address) => address.to_string(),
                _ => "HOST".to_owned(),
            };
            match port {
                PortPattern::Exactly(port) => format!("{host}:{port}"),
                _ => format!("{host}:PORT"),
            }
        }
        exact => exact.to_string(),
    }
}

/// What the policy is asked: may this peer have this target?
fn asked_action(request: &ChannelRequest) -> Result<OwnedAction, DeclineReason> {
    let target = asked_target(request)?;
    Ok(OwnedAction::with(TARGET_CHANNEL, target.to_string()))
}

fn asked_target(request: &ChannelRequest) -> Result<Target, DeclineReason> {
    let bad = |why: String| DeclineReason::new(DeclineCode::BadRequest, why);
    let text = std::str::from_utf8(&request.metadata)
        .map_err(|_| bad("the target is not text".to_owned()))?;
    let target: Target = text.parse().map_err(|error| bad(format!("{error}")))?;
    match target {
        Target::Udp { .. } => Err(bad("UDP targets are not served".to_owned())),
        target => Ok(target),
    }
}

/// Connects one request to its target and joins the two.
async fn serve_one(session: &Session, incoming: Incoming, ending: Ending) {
    let peer = session.name(incoming.peer());
    let target = match asked_target(incoming.request()) {
        Ok(target) => target,
        Err(reason) => return incoming.decline(reason),
    };
    match timeout(TARGET_LIMIT, open(&target)).await {
        Ok(Ok(stream)) => {
            session
                .talk
                .detail(format_args!("{peer} is connected to {target}"));
            let joined = stream.join(incoming.accept(), ending).await;
            tell_end(session, &peer, &target, &joined);
        }
        Ok(Err(error)) => decline(session, &peer, &target, incoming, &error.to_string()),
        Err(_) => decline(session, &peer, &target, incoming, "no answer in time"),
    }
}

fn decline(session: &Session, peer: &Peer, target: &Target, incoming: Incoming, why: &str) {
    let why = one_line(why);
    session
        .talk
        .warn(format_args!("{peer} asked for {target}: {why}"));
    incoming.decline(DeclineReason::new(
        DeclineCode::TargetFailed,
        format!("{target}: {why}"),
    ));
}

fn tell_end(session: &Session, peer: &Peer, target: &Target, joined: &Result<(), JoinError>) {
    match joined {
        Ok(()) => session
            .talk
            .detail(format_args!("{peer} is done with {target}")),
        Err(error) => {
            let why = session.forward_trouble(peer, target, error);
            session
                .talk
                .detail(format_args!("{target} for {peer}: {why}"));
        }
    }
}

/// A connection to a target.
enum TargetStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl TargetStream {
    async fn join(self, channel: Channel, ending: Ending) -> Result<(), JoinError> {
        match self {
            Self::Tcp(stream) => join_tcp(stream, channel, ending).await,
            Self::Unix(mut stream) => {
                let (reader, writer) = stream.split();
                let (mut send, mut recv) = channel.split();
                let (mut source, mut sink) = (StreamSource::new(reader), StreamSink::new(writer));
                join(&mut source, &mut sink, &mut send, &mut recv, ending)
                    .await
                    .map(drop)
            }
        }
    }
}

/// Joins a TCP connection to a channel. If it goes wrong the program at the other end of the
/// connection gets a reset, never an orderly end after a part of the data.
pub(crate) async fn join_tcp(
    mut stream: TcpStream,
    channel: Channel,
    ending: Ending,
) -> Result<(), JoinError> {
    // Small packets are not held back: the channel batches by itself.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.split();
    let (mut send, mut recv) = channel.split();
    let (mut source, mut sink) = (StreamSource::new(reader), StreamSink::new(writer));
    let joined = join(&mut source, &mut sink, &mut send, &mut recv, ending).await;
    if joined.is_err() {
        let _ = stream.set_zero_linger();
    }
    joined.map(drop)
}

/// Looks the target up here, and tries its addresses in order.
async fn open(target: &Target) -> io::Result<TargetStream> {
    match target {
        Target::Tcp { host, port } => {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in lookup_host((host.as_str(), *port)).await? {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(TargetStream::Tcp(stream)),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        Target::Unix(path) => UnixStream::connect(path).await.map(TargetStream::Unix),
        Target::Udp { .. } => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_to_paste_names_a_target_that_is_allowed() {
        for (pattern, expected) in [
            ("127.0.0.1:22", "127.0.0.1:22"),
            ("[::1]:80", "[::1]:80"),
            ("db.internal:*", "db.internal:PORT"),
            ("10.0.0.0/8:22", "HOST:22"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(example(&pattern.parse().unwrap()), expected);
        }
    }

    #[test]
    fn the_policy_is_asked_about_the_normal_form_of_the_target() {
        let asked = |metadata: &'static [u8]| {
            asked_action(&ChannelRequest::stream(TARGET_CHANNEL).metadata(metadata))
        };
        assert_eq!(
            asked(b"LocalHost:22").unwrap(),
            OwnedAction::with("dnc.target", "localhost:22")
        );
        assert_eq!(
            asked(b"[::ffff:127.0.0.1]:22").unwrap(),
            OwnedAction::with("dnc.target", "127.0.0.1:22")
        );
        for wrong in [&b""[..], b"\xff", b"nothing", b"udp:h:53", b"h:0"] {
            let reason = asked(wrong).unwrap_err();
            assert_eq!(reason.code(), DeclineCode::BadRequest, "{wrong:?}");
        }
    }
}
