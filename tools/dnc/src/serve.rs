//! `dnc -l --allow-target` and `--allow-bind`: targets on this side for the peers that may ask for
//! them, and places where they may listen.

use std::sync::Arc;

use dhtnet::{
    Channel, ChannelKind, ChannelRequest, DeclineCode, DeclineReason, Incoming, Listener,
};
use dhtnet_cli::failure::one_line;
use dhtnet_cli::open_files;
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_identity::policy::OwnedAction;
use dhtnet_identity::target::{HostPattern, PortPattern, Target, TargetPattern};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::bound::Bounds;
use crate::datagrams::{self, Connected, Oversized};
use crate::join::{Ending, JoinError};
use crate::session::{BIND_CHANNEL, Session, TARGET_CHANNEL};
use crate::socket::Socket;
use crate::target::{self, Trouble};

/// Connections to targets at the same time; the next is declined as busy. Each costs a file
/// descriptor and, when it is busy, two blocks of at most 256 KiB.
pub(crate) const MAX_TARGETS: usize = 4096;

/// What peers may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) targets: Vec<TargetPattern>,
    /// Where they may listen.
    pub(crate) binds: Vec<TargetPattern>,
}

/// Serves until a signal comes.
pub(crate) async fn serve(
    session: Arc<Session>,
    offered: &Offered,
    ending: Ending,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    open_files::allow(MAX_TARGETS);
    let listen = |name: &'static str| {
        let listener = session.node.listen_as(name, asked_action);
        listener.map_err(|error| Failure::failed(format!("cannot listen: {error}")))
    };
    let mut targets = listen(TARGET_CHANNEL)?;
    let mut binds = listen(BIND_CHANNEL)?;
    announce(&session, offered)?;
    let room = Arc::new(Semaphore::new(MAX_TARGETS));
    let mut bounds = Bounds::new(session.clone(), ending);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = accept(&mut targets) => {
                let Some((incoming, permit)) = with_room(incoming?, &room) else {
                    continue;
                };
                let session = session.clone();
                connections.spawn(async move {
                    match asked_target(incoming.request()) {
                        Ok(target) => serve_one(&session, incoming, &target, ending).await,
                        Err(reason) => incoming.decline(reason),
                    }
                    drop(permit);
                });
            }
            incoming = accept(&mut binds) => bounds.open(incoming?).await,
            () = bounds.ended() => {}
            Some(_) = connections.join_next() => {}
            code = shutdown.requested() => return Ok(code),
        }
    }
}

/// The next request. Cancel-safe.
pub(crate) async fn accept(listener: &mut Listener) -> Result<Incoming, Failure> {
    let ended = || Failure::failed("the node ended while listening");
    listener.accept().await.ok_or_else(ended)
}

/// A place for a request; it is declined when there is none.
pub(crate) fn with_room(
    incoming: Incoming,
    room: &Arc<Semaphore>,
) -> Option<(Incoming, tokio::sync::OwnedSemaphorePermit)> {
    match room.clone().try_acquire_owned() {
        Ok(permit) => Some((incoming, permit)),
        Err(_) => {
            incoming.decline(DeclineReason::new(
                DeclineCode::Busy,
                "too many connections",
            ));
            None
        }
    }
}

fn announce(session: &Session, offered: &Offered) -> Result<(), Failure> {
    let rest = example_words(offered);
    let command = session.peer_command(&rest);
    session.talk.bare(&command);
    session.talk.release();
    let texts =
        |patterns: &[TargetPattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    session.report.event(&json!({
        "event": "listening",
        "id": session.node.id().to_string(),
        "addresses": session.node.reachable_addresses(),
        "targets": texts(&offered.targets),
        "binds": texts(&offered.binds),
        "command": command,
    }))
}

/// The words after the peer's name in the command to paste.
fn example_words(offered: &Offered) -> String {
    let udp = |pattern: &TargetPattern| match pattern {
        TargetPattern::Udp { .. } => " -u",
        _ => "",
    };
    match (offered.targets.first(), offered.binds.first()) {
        (Some(target @ TargetPattern::Udp { .. }), _) => format!(" -u -L 0:{}", example(target)),
        (Some(target), _) => format!(" {}", example(target)),
        (None, Some(bind)) => format!("{} -R {}:HOST:PORT", udp(bind), example(bind)),
        (None, None) => String::new(),
    }
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

/// What the policy is asked: may this peer have this target, or listen there? The action bears the
/// channel's name.
fn asked_action(request: &ChannelRequest) -> Result<OwnedAction, DeclineReason> {
    let target = asked_target(request)?;
    Ok(OwnedAction::with(request.name.clone(), target.to_string()))
}

/// The target, or the place to listen, that a request names.
pub(crate) fn asked_target(request: &ChannelRequest) -> Result<Target, DeclineReason> {
    let bad = |why: String| DeclineReason::new(DeclineCode::BadRequest, why);
    let text = std::str::from_utf8(&request.metadata)
        .map_err(|_| bad("the target is not text".to_owned()))?;
    let target: Target = text.parse().map_err(|error| bad(format!("{error}")))?;
    let is_udp = matches!(target, Target::Udp { .. });
    // A place to listen is held by a stream, whatever it carries.
    let datagrams = request.kind == ChannelKind::Datagrams;
    match (request.name == BIND_CHANNEL, is_udp == datagrams) {
        (true, _) if !datagrams => Ok(target),
        (false, true) => Ok(target),
        _ => Err(bad("the channel is of the wrong kind".to_owned())),
    }
}

/// A target that was reached.
enum Reached {
    Stream(Socket),
    Datagrams(UdpSocket),
}

impl Reached {
    async fn join(
        self,
        mut channel: Channel,
        session: &Session,
        ending: Ending,
    ) -> Result<(), JoinError> {
        match self {
            Self::Stream(socket) => socket.join(channel, ending).await,
            Self::Datagrams(socket) => {
                let (mut port, oversized) = (Connected::new(socket), Oversized::default());
                let counting = (&oversized, &session.talk);
                let ended = datagrams::exchange(&mut port, &mut channel, counting).await;
                oversized.tell(&session.talk);
                ended
            }
        }
    }
}

/// Connects one request to its target and joins the two.
pub(crate) async fn serve_one(
    session: &Session,
    incoming: Incoming,
    target: &Target,
    ending: Ending,
) {
    let peer = session.name(incoming.peer());
    let reached = match target {
        Target::Udp { host, port } => target::open_datagrams(host, *port)
            .await
            .map(Reached::Datagrams),
        stream => target::open_stream(stream).await.map(Reached::Stream),
    };
    match reached {
        Ok(reached) => {
            session
                .talk
                .detail(format_args!("{peer} is connected to {target}"));
            let joined = reached.join(incoming.accept(), session, ending).await;
            tell_end(session, &peer, target, &joined);
        }
        Err(trouble) => decline(session, &peer, target, incoming, &trouble),
    }
}

fn decline(session: &Session, peer: &Peer, target: &Target, incoming: Incoming, why: &Trouble) {
    let why = one_line(&why.to_string());
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
            let why = session.forward_trouble(peer, &target.to_string(), error);
            session
                .talk
                .detail(format_args!("{target} for {peer}: {why}"));
        }
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
    fn the_words_to_paste_fit_what_is_offered() {
        let words = |targets: &[&str], binds: &[&str]| {
            let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            example_words(&Offered {
                targets: parsed(targets),
                binds: parsed(binds),
            })
        };
        assert_eq!(words(&["h:1"], &["127.0.0.1:*"]), " h:1");
        assert_eq!(words(&["udp:h:53"], &[]), " -u -L 0:h:53");
        assert_eq!(words(&[], &["127.0.0.1:*"]), " -R 127.0.0.1:PORT:HOST:PORT");
        assert_eq!(words(&[], &["udp:[::1]:53"]), " -u -R [::1]:53:HOST:PORT");
        assert_eq!(words(&[], &["unix:/s"]), " -R unix:/s:HOST:PORT");
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
        let datagrams = |name: &str, metadata: &'static [u8]| {
            asked_action(&ChannelRequest::datagrams(name).metadata(metadata))
        };
        assert_eq!(
            datagrams(TARGET_CHANNEL, b"udp:h:53").unwrap(),
            OwnedAction::with("dnc.target", "udp:h:53")
        );
        datagrams(TARGET_CHANNEL, b"h:53").unwrap_err();
        datagrams(BIND_CHANNEL, b"udp:127.0.0.1:53").unwrap_err();
        let bind = ChannelRequest::stream(BIND_CHANNEL).metadata("udp:127.0.0.1:53");
        assert_eq!(
            asked_action(&bind).unwrap(),
            OwnedAction::with("dnc.bind", "udp:127.0.0.1:53")
        );
        for wrong in [&b""[..], b"\xff", b"nothing", b"udp:h:53", b"h:0"] {
            let reason = asked(wrong).unwrap_err();
            assert_eq!(reason.code(), DeclineCode::BadRequest, "{wrong:?}");
        }
    }
}
