//! `dsh PEER [COMMAND]`: a session on the peer, and forwards beside it.

pub(crate) mod escape;
pub(crate) mod raw;
mod streams;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet::{ChannelError, DeclineReason};
use dhtnet::{ChannelRequest, ConnectOptions, DeclineCode, Priority};
use dhtnet_cli::failure::one_line;
use dhtnet_cli::node::{channel_failure, connect_failure, decline_failure};
use dhtnet_cli::{ExitCode, Failure, Io, Peer, Shutdown, Verbosity};
use dhtnet_forward::forward::{Forwards, Persistence, forward};
use dhtnet_forward::join::Ending;
use dhtnet_forward::{Session, paths};
use dhtnet_identity::PeerArgument;
use dhtnet_shell_wire::request::{
    CONTROL_CHANNEL, MAX_TERM, Request, RequestError, Size, Terminal,
};

use self::raw::LocalTerminal;
use self::streams::Link;
use crate::environment::to_send;
use crate::plan::{InputWish, Job, TerminalWish};
use crate::session::client::Comeback;
use crate::{Status, modes, signals};

/// The kind of a terminal that has none.
const DUMB: &str = "dumb";

/// How the remote process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Exited(u8),
    /// By a signal of this name.
    Killed(String),
    /// The server could not go on with it.
    Failed(String),
    /// The user ended the connection.
    Disconnected,
    /// A signal ended this side; the exit status.
    Signalled(u8),
}

/// Carries a session or forwards, or both, to their end. Both end with the session.
pub(crate) async fn connect(
    session: &Arc<Session>,
    (argument, job, forwards): (&PeerArgument, Option<&Job>, &Forwards),
    io: Io,
    shutdown: &mut Shutdown,
) -> Result<Status, Failure> {
    let peer = session.resolve(argument)?;
    let has_forwards = *forwards != Forwards::default();
    let mut for_forwards = shutdown.clone();
    let named = job.and_then(|job| job.named.as_ref());
    let persistence = match named.map(|named| named.comeback) {
        Some(Comeback::Retry) => Persistence::ForEver,
        _ => Persistence::Once,
    };
    let how = (Ending::Both, persistence);
    let forwarding = async {
        if !has_forwards {
            return std::future::pending().await;
        }
        forward(session.clone(), argument, forwards, how, &mut for_forwards).await
    };
    let Some(job) = job else {
        return forwarding.await.map(Status::from);
    };
    let running = async {
        match named {
            Some(named) => {
                crate::session::client::run(session, &peer, (job, named), io, shutdown).await
            }
            None => run(session, &peer, job, io, shutdown).await,
        }
    };
    tokio::select! {
        ended = running => ended,
        // A signal is for the session to answer.
        failed = async {
            match forwarding.await {
                Ok(_) => std::future::pending().await,
                Err(failure) => failure,
            }
        } => Err(failed),
    }
}

/// Asks for a session and carries it to its end.
async fn run(
    session: &Arc<Session>,
    peer: &Peer,
    job: &Job,
    io: Io,
    shutdown: &mut Shutdown,
) -> Result<Status, Failure> {
    let Io { stdin, stdout, .. } = io;
    let stdin = match job.input {
        InputWish::Stdin => stdin,
        InputWish::Nothing => File::open("/dev/null")
            .map_err(|error| Failure::failed(format!("cannot open /dev/null: {error}")))?,
    };
    let local = LocalTerminal::at(&stdin);
    let request = request(session, job, local.as_ref())?;
    let metadata = request.encode().map_err(too_long)?;
    let is_interactive = request.terminal.is_some();
    let priority = if is_interactive {
        Priority::Interactive
    } else {
        Priority::Normal
    };
    let listener = session
        .node
        .listen_unannounced(CONTROL_CHANNEL)
        .map_err(|error| Failure::failed(format!("cannot wait for the peer: {error}")))?;
    let asked = ChannelRequest::stream(request.channel())
        .metadata(metadata)
        .priority(priority);
    let options = ConnectOptions::default()
        .timeout(session.connect_limit)
        .early(true);
    let begun = Instant::now();
    let connecting = session.node.connect_with(&peer.address, asked, options);
    let channel = tokio::select! {
        channel = connecting => channel
            .map_err(|error| connect_failure(peer, session.node.id(), what(job), &error))?,
        code = shutdown.requested() => return Ok(code.into()),
    };
    session.tell_path(peer, channel.connection().as_ref(), begun.elapsed());
    let watching = watches(session, is_interactive);
    let terminal = local.filter(|_| is_interactive);
    let has_screen = terminal.is_some();
    if let Some(terminal) = &terminal {
        terminal
            .make_raw()
            .map_err(|error| Failure::failed(format!("cannot use the terminal: {error}")))?;
    }
    let link = Link {
        session,
        peer,
        terminal,
        token: request.token,
        escape: job.escape,
    };
    let ended = tokio::select! {
        ended = link.carry(channel, (stdin, stdout), listener, shutdown) => ended,
        never = watching => match never {},
    };
    raw::restore();
    // What ends by itself ends its line, too.
    if has_screen && !matches!(ended, Ok(End::Exited(_))) {
        raw::end_line();
    }
    let ended = ended.map_err(|error| failure(session, peer, job, &error))?;
    status(session, peer, is_interactive, &ended)
}

/// Tells of silences and paths, unless that would go into the middle of a screen.
async fn watches(session: &Arc<Session>, is_interactive: bool) -> std::convert::Infallible {
    if !is_interactive || session.talk.verbosity() >= Verbosity::Verbose {
        paths::watch(session.clone(), session.node.events()).await;
    }
    std::future::pending().await
}

pub(crate) fn request(
    session: &Session,
    job: &Job,
    local: Option<&LocalTerminal>,
) -> Result<Request, Failure> {
    let wants_terminal = match job.terminal {
        TerminalWish::Never => false,
        TerminalWish::IfInput => local.is_some(),
        TerminalWish::Always => true,
    };
    if !wants_terminal && job.terminal != TerminalWish::Never {
        let talk = &session.talk;
        talk.detail("there is no terminal for the peer, since stdin is none; -tt makes one");
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut token = [0; 16];
    getrandom::fill(&mut token)
        .map_err(|error| Failure::failed(format!("the system gives no random bytes: {error}")))?;
    Ok(Request {
        token,
        user: job.user.clone(),
        command: job.command.clone(),
        terminal: wants_terminal.then(|| terminal(local)),
        environment: to_send(&job.environment, variables),
    })
}

/// A terminal as the local one; a plain one without it.
fn terminal(local: Option<&LocalTerminal>) -> Terminal {
    let term = std::env::var("TERM").ok().filter(|term| {
        !term.is_empty() && term.len() <= MAX_TERM && term.chars().all(|c| c.is_ascii_graphic())
    });
    Terminal {
        term: term.unwrap_or_else(|| DUMB.to_owned()),
        size: local.map_or(Size::USUAL, LocalTerminal::size),
        modes: local
            .and_then(|local| local.modes().ok())
            .map_or_else(Vec::new, |termios| modes::of(&termios)),
    }
}

fn too_long(error: RequestError) -> Failure {
    Failure::usage(error.to_string()).advise("send a long script on stdin: dsh PEER sh < script")
}

/// What was asked for, for messages.
pub(crate) fn what(job: &Job) -> &str {
    job.command.as_deref().unwrap_or("a shell")
}

/// The words for a session that failed on its way.
fn failure(session: &Session, peer: &Peer, job: &Job, error: &io::Error) -> Failure {
    let own = session.node.id();
    match ChannelError::from_io(error) {
        Some(ChannelError::Declined(reason)) if reason.code() == DeclineCode::TargetFailed => {
            declined(session, peer, job, reason)
        }
        Some(ChannelError::Declined(_) | ChannelError::ConnectionLost(_)) => {
            channel_failure(peer, own, what(job), error)
        }
        Some(ChannelError::Reset(_) | ChannelError::Stopped(_) | ChannelError::Closed) => {
            Failure::failed(format!("{peer} ended the session")).advise("see the messages there")
        }
        _ => Failure::failed(format!("the session with {peer} failed: {error}")),
    }
}

pub(crate) fn declined(
    session: &Session,
    peer: &Peer,
    job: &Job,
    reason: &DeclineReason,
) -> Failure {
    match reason.code() {
        // There is no target behind it: it is the peer itself that cannot.
        DeclineCode::TargetFailed => Failure::failed(format!(
            "{peer} cannot do that: {}",
            one_line(reason.message())
        )),
        _ => decline_failure(peer, session.node.id(), what(job), reason),
    }
}

/// The exit status for an end.
fn status(
    session: &Session,
    peer: &Peer,
    is_interactive: bool,
    end: &End,
) -> Result<Status, Failure> {
    let tell_closed = || {
        if is_interactive {
            session
                .talk
                .note(format_args!("the session on {peer} has ended"));
        }
    };
    match end {
        End::Exited(code) => {
            tell_closed();
            Ok(Status(*code))
        }
        End::Killed(signal) => {
            tell_closed();
            Ok(Status(signals::status_of(signal)))
        }
        End::Failed(why) => Err(Failure::failed(format!(
            "{peer} ended the session: {}",
            one_line(why)
        ))),
        End::Disconnected => Err(Failure::failed(format!("left the session on {peer}"))),
        End::Signalled(status) => {
            if is_interactive {
                session
                    .talk
                    .note(format_args!("left the session on {peer}"));
            }
            Ok(Status(*status))
        }
    }
}

/// How long a peer may take to confirm that it was told why the session ends.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// The exit status for a signal that ends this side.
fn status_of_code(code: ExitCode) -> u8 {
    code.number()
}
