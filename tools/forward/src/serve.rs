//! The listening side of forwards: targets on this side for the peers that may ask for them, and
//! places where they may listen.

use std::sync::Arc;

use dhtnet::{
    Channel, ChannelKind, ChannelRequest, DeclineCode, DeclineReason, Incoming, Listener,
};
use dhtnet_cli::failure::one_line;
use dhtnet_cli::open_files;
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_identity::policy::OwnedAction;
use dhtnet_identity::target::{Target, TargetPattern};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::asked::{self, Carries, NotAsked};
use crate::bound::Bounds;
use crate::datagrams::{self, Connected, Oversized};
use crate::join::{Ending, JoinError};
use crate::session::Session;
use crate::socket::Socket;
use crate::target::{self, Trouble};

/// Connections to targets at the same time; the next is declined as busy. Each costs a file
/// descriptor and, when it is busy, two blocks of at most 256 KiB.
pub const MAX_TARGETS: usize = 4096;

/// What peers may ask for: nothing beyond it, whatever the policy allows. Nothing at all leaves it
/// to the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// Targets on this side.
    pub targets: Vec<TargetPattern>,
    /// Where they may listen.
    pub binds: Vec<TargetPattern>,
}

impl Offered {
    /// Whether it is left to the policy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.binds.is_empty()
    }

    /// What the policy is asked about a target, if it is within these bounds.
    fn target(&self, action: &str, target: &Target) -> Result<OwnedAction, DeclineReason> {
        self.within(
            &self.targets,
            OwnedAction::with(action, target.to_string()),
            target,
        )
    }

    /// The same of a place to listen.
    fn bind(&self, action: &str, place: &Target) -> Result<OwnedAction, DeclineReason> {
        self.within(
            &self.binds,
            OwnedAction::with(action, place.to_string()),
            place,
        )
    }

    fn within(
        &self,
        patterns: &[TargetPattern],
        action: OwnedAction,
        target: &Target,
    ) -> Result<OwnedAction, DeclineReason> {
        if self.is_empty() || patterns.iter().any(|pattern| pattern.matches(target)) {
            return Ok(action);
        }
        let message = format!("{action} is not allowed");
        Err(DeclineReason::new(DeclineCode::Policy, message))
    }
}

/// Waits for requests for targets and for places to listen. Dropping it ends what it serves.
pub struct Server {
    session: Arc<Session>,
    ending: Ending,
    targets: Listener,
    binds: Listener,
}

impl Server {
    /// Listens from now on.
    ///
    /// # Errors
    /// Exit code 1 if something of this node listens under these names already.
    pub fn listen(
        session: &Arc<Session>,
        ending: Ending,
        offered: &Offered,
    ) -> Result<Self, Failure> {
        open_files::allow(MAX_TARGETS);
        let failed = |error| Failure::failed(format!("cannot listen: {error}"));
        let (node, names) = (&session.node, session.names);
        let (for_targets, for_binds) = (offered.clone(), offered.clone());
        let targets = node.listen_as(names.target, move |request| {
            for_targets.target(names.target_action, &asked_target(request)?)
        });
        let binds = node.listen_as(names.bind, move |request| {
            for_binds.bind(names.bind_action, &asked_place(request)?)
        });
        Ok(Self {
            session: session.clone(),
            ending,
            targets: targets.map_err(failed)?,
            binds: binds.map_err(failed)?,
        })
    }

    /// Serves until a signal comes.
    ///
    /// # Errors
    /// Exit code 1 if the node ends.
    pub async fn run(mut self, shutdown: &mut Shutdown) -> Result<ExitCode, Failure> {
        let (session, ending) = (self.session, self.ending);
        let room = Arc::new(Semaphore::new(MAX_TARGETS));
        let mut bounds = Bounds::new(session.clone(), ending);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                incoming = accept(&mut self.targets) => {
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
                incoming = accept(&mut self.binds) => bounds.open(incoming?).await,
                () = bounds.ended() => {}
                Some(_) = connections.join_next() => {}
                code = shutdown.requested() => return Ok(code),
            }
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

/// The target that a request names.
pub(crate) fn asked_target(request: &ChannelRequest) -> Result<Target, DeclineReason> {
    asked::target(&request.metadata, carries(request)).map_err(|why| bad_request(&why))
}

/// The place to listen that a request names.
pub(crate) fn asked_place(request: &ChannelRequest) -> Result<Target, DeclineReason> {
    asked::place(&request.metadata, carries(request)).map_err(|why| bad_request(&why))
}

fn carries(request: &ChannelRequest) -> Carries {
    match request.kind {
        ChannelKind::Datagrams => Carries::Datagrams,
        _ => Carries::Stream,
    }
}

fn bad_request(why: &NotAsked) -> DeclineReason {
    DeclineReason::new(DeclineCode::BadRequest, why.to_string())
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
    fn the_policy_is_asked_about_the_normal_form_of_the_target() {
        let asked = |metadata: &'static [u8]| {
            asked_target(&ChannelRequest::stream("x").metadata(metadata))
                .map(|target| target.to_string())
        };
        assert_eq!(asked(b"LocalHost:22").unwrap(), "localhost:22");
        assert_eq!(asked(b"[::ffff:127.0.0.1]:22").unwrap(), "127.0.0.1:22");
        let datagrams = |metadata: &'static [u8]| ChannelRequest::datagrams("x").metadata(metadata);
        let target = asked_target(&datagrams(b"udp:h:53")).unwrap();
        assert_eq!(target.to_string(), "udp:h:53");
        asked_target(&datagrams(b"h:53")).unwrap_err();
        asked_place(&datagrams(b"udp:127.0.0.1:53")).unwrap_err();
        let place = ChannelRequest::stream("x").metadata("udp:127.0.0.1:53");
        assert_eq!(asked_place(&place).unwrap().to_string(), "udp:127.0.0.1:53");
        for wrong in [&b""[..], b"\xff", b"nothing", b"udp:h:53", b"h:0"] {
            let reason = asked(wrong).unwrap_err();
            assert_eq!(reason.code(), DeclineCode::BadRequest, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_offered_is_declined_before_the_policy_is_asked() {
        let offered = Offered {
            targets: vec!["127.0.0.1:*".parse().unwrap()],
            binds: Vec::new(),
        };
        let here: Target = "127.0.0.1:22".parse().unwrap();
        let elsewhere: Target = "127.0.0.2:22".parse().unwrap();
        let asked = offered.target("dnc.target", &here).unwrap();
        assert_eq!(asked, OwnedAction::with("dnc.target", "127.0.0.1:22"));
        for refused in [
            offered.target("dnc.target", &elsewhere),
            offered.bind("dnc.bind", &here),
        ] {
            assert_eq!(refused.unwrap_err().code(), DeclineCode::Policy);
        }
        let left_to_it = Offered::default();
        left_to_it.target("dnc.target", &elsewhere).unwrap();
        left_to_it.bind("dnc.bind", &here).unwrap();
    }
}
