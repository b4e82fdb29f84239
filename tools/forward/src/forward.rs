//! `-L`, `-R` and `-D`: many forwards over one connection to one peer.

use std::net::SocketAddr;
use std::sync::Arc;

use dhtnet::{EndReason, Event, Events};
use dhtnet_cli::open_files;
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_identity::PeerArgument;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::carry::{self, MAX_CONNECTIONS, Over, Way};
use crate::datagrams;
use crate::forward_spec::{Bind, Forward};
use crate::join::Ending;
use crate::probe;
use crate::retry::{Backoff, may_pass};
use crate::reverse::Reverse;
use crate::session::Session;
use crate::socket::{Entry, bind_failure};
use crate::socks::{self, Socks};

/// What is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwards {
    /// From this side to targets behind the peer.
    pub local: Vec<Forward>,
    /// From the peer to targets on this side.
    pub reverse: Vec<Forward>,
    /// SOCKS servers on this side.
    pub socks: Vec<SocketAddr>,
}

/// What to do when the connection fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// End.
    Once,
    /// Try again for ever (`--retry`).
    ForEver,
}

/// What listens on this side, not yet in use.
enum Listening {
    Stream(Entry),
    Datagrams(UdpSocket),
}

/// Listens, connects, and forwards until a signal comes.
///
/// The peer is connected to at once, so that a wrong id or a refusal shows at the start; what
/// comes to a port meanwhile waits. When the connection is lost later, the next forwarded
/// connection makes a new one; places of the peer (`-R`) are lost with it, which ends the command
/// unless it is to try again.
pub async fn forward(
    session: Arc<Session>,
    peer: &PeerArgument,
    forwards: &Forwards,
    how: (Ending, Persistence),
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    open_files::allow(MAX_CONNECTIONS);
    let peer = Arc::new(session.resolve(peer)?);
    let mut listening = Vec::new();
    for forward in &forwards.local {
        listening.push((listen(&forward.bind).await?, forward));
    }
    let mut socks = Vec::new();
    for address in &forwards.socks {
        socks.push(socks::bind(*address).await?);
    }
    let mut run = Run {
        reverse: Reverse::new(&session, &peer, &forwards.reverse, how.0)?,
        wants_reverse: !forwards.reverse.is_empty(),
        events: session.node.events(),
        session,
        peer,
        ending: how.0,
        persistence: how.1,
        tasks: JoinSet::new(),
        room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    if let Err(code) = run.connect(shutdown).await? {
        return Ok(code);
    }
    for (listening, forward) in listening {
        run.begin_local(listening, forward)?;
    }
    for server in socks {
        run.begin_socks(server)?;
    }
    run.go_on(shutdown).await
}

async fn listen(bind: &Bind) -> Result<Listening, Failure> {
    let listening = match bind {
        Bind::Udp(address) => UdpSocket::bind(address).await.map(Listening::Datagrams),
        stream => Entry::open(stream).await.map(Listening::Stream),
    };
    listening.map_err(|error| bind_failure(bind, &error))
}

/// Forwards under way.
struct Run {
    session: Arc<Session>,
    peer: Arc<Peer>,
    events: Events,
    reverse: Reverse,
    wants_reverse: bool,
    ending: Ending,
    persistence: Persistence,
    tasks: JoinSet<()>,
    room: Arc<Semaphore>,
}

impl Run {
    /// Connects, and asks the peer for the places of `-R`; again and again if that is wanted. The
    /// exit code comes back when a signal ended it.
    async fn connect(&mut self, shutdown: &mut Shutdown) -> Result<Result<(), ExitCode>, Failure> {
        let mut backoff = Backoff::default();
        loop {
            let connected = tokio::select! {
                connected = self.try_connect() => connected,
                code = shutdown.requested() => return Ok(Err(code)),
            };
            match connected {
                Err(failure) if self.persistence == Persistence::ForEver && may_pass(&failure) => {
                    self.session
                        .report
                        .event(&json!({"event": "retrying", "reason": failure.to_string()}))?;
                    if let Err(code) = backoff.pause(&self.session, &failure, shutdown).await {
                        return Ok(Err(code));
                    }
                }
                connected => return connected.map(Ok),
            }
        }
    }

    async fn try_connect(&mut self) -> Result<(), Failure> {
        probe::reach(&self.session, &self.peer, None).await?;
        let (peer, talk) = (&self.peer, &self.session.talk);
        for Forward { bind, target } in self.reverse.ask_for_all().await? {
            talk.note(format_args!("{bind} of {peer} leads to {target} here"));
            self.session.report.event(&json!({
                "event": "forwarding",
                "direction": "reverse",
                "bind": bind.to_string(),
                "target": target.to_string(),
                "peer": peer.address.id.to_string(),
            }))?;
        }
        Ok(())
    }

    /// Waits for the end of it all, and connects again when that is needed and wanted.
    async fn go_on(&mut self, shutdown: &mut Shutdown) -> Result<ExitCode, Failure> {
        loop {
            let lost = tokio::select! {
                () = self.reverse.lost() => true,
                () = broken(&mut self.events, &self.peer) => false,
                Some(_) = self.tasks.join_next() => continue,
                code = shutdown.requested() => return Ok(code),
            };
            let peer = &self.peer;
            match (lost, self.persistence) {
                (true, Persistence::Once) => {
                    return Err(Failure::failed(format!("{peer} no longer listens for -R"))
                        .advise("check that it is still running; --retry tries again"));
                }
                // The next connection that comes makes a new one.
                (false, Persistence::Once) => continue,
                (false, Persistence::ForEver) if self.wants_reverse => continue,
                (_, Persistence::ForEver) => {}
            }
            let talk = &self.session.talk;
            talk.note(format_args!(
                "lost the connection to {peer}; connecting again"
            ));
            self.session
                .report
                .event(&json!({"event": "disconnected"}))?;
            if let Err(code) = self.connect(shutdown).await? {
                return Ok(code);
            }
            let (peer, talk) = (&self.peer, &self.session.talk);
            talk.note(format_args!("connected to {peer} again"));
            self.session.report.event(&json!({"event": "connected"}))?;
        }
    }

    fn begin_local(&mut self, listening: Listening, forward: &Forward) -> Result<(), Failure> {
        let bind = match &listening {
            Listening::Stream(entry) => entry.bind(),
            Listening::Datagrams(socket) => socket.local_addr().map(Bind::Udp),
        };
        let bind = bind.map_err(|error| bind_failure(&forward.bind, &error))?;
        let (peer, target) = (&self.peer, &forward.target);
        self.session
            .talk
            .note(format_args!("{bind} leads to {target} behind {peer}"));
        self.session.report.event(&json!({
            "event": "forwarding",
            "direction": "local",
            "bind": bind.to_string(),
            "target": target.to_string(),
            "peer": peer.address.id.to_string(),
        }))?;
        let way = Way {
            session: self.session.clone(),
            peer: peer.clone(),
            over: Over::Any,
            request: self.session.target_request(target),
            asked: target.to_string().into(),
            ending: self.ending,
        };
        match listening {
            Listening::Stream(entry) => {
                let room = self.room.clone();
                self.tasks.spawn(carry::accept_all(entry, way, room))
            }
            Listening::Datagrams(socket) => self.tasks.spawn(datagrams::forward_all(socket, way)),
        };
        Ok(())
    }

    fn begin_socks(&mut self, listener: tokio::net::TcpListener) -> Result<(), Failure> {
        let address = listener
            .local_addr()
            .map_err(|error| Failure::failed(format!("cannot listen for SOCKS: {error}")))?;
        let peer = &self.peer;
        self.session
            .talk
            .note(format_args!("{address} is a SOCKS5 server through {peer}"));
        self.session.report.event(&json!({
            "event": "forwarding",
            "direction": "socks",
            "bind": address.to_string(),
            "target": null,
            "peer": peer.address.id.to_string(),
        }))?;
        let socks = Socks {
            session: self.session.clone(),
            peer: peer.clone(),
            ending: self.ending,
        };
        self.tasks.spawn(socks.serve(listener, self.room.clone()));
        Ok(())
    }
}

/// Waits until the connection to a peer breaks; one that was merely closed, as an idle one is, is
/// made again by who needs it. Cancel-safe.
async fn broken(events: &mut Events, own: &Peer) {
    loop {
        match events.next().await {
            Some(Event::Disconnected { peer, reason })
                if peer == own.address.id && reason != EndReason::Closed =>
            {
                return;
            }
            Some(_) => {}
            None => return std::future::pending().await,
        }
    }
}
