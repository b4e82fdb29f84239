//! `dsh -l`: shells, commands and forwards for the peers that may have them.

pub(crate) mod copying;
pub(crate) mod recording;
mod room;
mod running;
pub(crate) mod spawn;
pub(crate) mod who;

use std::sync::{Arc, Mutex, PoisonError};

use dhtnet::{ChannelRequest, DeclineCode, DeclineReason, Incoming, Listener};
use dhtnet_cli::open_files;
use dhtnet_cli::{ExitCode, Failure, Shutdown};
use dhtnet_forward::Session;
use dhtnet_forward::join::Ending;
use dhtnet_forward::serve::{Offered as Targets, Server as Forwards};
use dhtnet_identity::policy::{Action, OwnedAction};
use dhtnet_shell_wire::copy::COPY_CHANNEL;
use dhtnet_shell_wire::request::{COMMAND_CHANNEL, Request, SHELL_CHANNEL, Terminal};
use dhtnet_shell_wire::session::{LIST_CHANNEL, SESSION_CHANNEL};
use rustix::process::{Pid, Resource, getrlimit};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

use self::recording::{Recorder, Recordings};
use self::room::{Permit, Room};
use self::running::Running;
use self::spawn::Begin;
use crate::account::Account;
use crate::environment::NamePattern;
use crate::plan::Offered;
use crate::session;
use crate::session::server::Store;
use crate::warden::Warden;

/// The action for a login shell, and for a terminal of any kind.
pub(crate) const SHELL_ACTION: &str = "dsh.shell";

/// The action for a command; its parameter is the command line.
pub(crate) const COMMAND_ACTION: &str = "dsh.command";

/// The action for being a user, where the server can choose; its parameter is the name.
pub(crate) const USER_ACTION: &str = "dsh.user";

/// Files that a session has open here at most: three pipes or a terminal and its copies.
const FILES_OF_SESSION: usize = 4;

/// Bytes of a command that are told of it.
const MAX_TOLD: usize = 256;

/// What all sessions of a server share.
pub(crate) struct Host {
    pub(crate) session: Arc<Session>,
    /// Whom the server runs as.
    pub(crate) own: Account,
    accept_env: Vec<NamePattern>,
    recordings: Option<Recordings>,
    /// The limit of open files before the server raised it for itself.
    open_files: Option<u64>,
    room: Room,
    attached: Room,
    /// Those that go on without a client.
    pub(crate) sessions: tokio::sync::Mutex<Store>,
    lives: Mutex<JoinSet<()>>,
    warden: OnceCell<Warden>,
    closing: watch::Receiver<()>,
}

impl Host {
    /// A place for one more session of a peer.
    pub(crate) fn enter(&self, peer: dhtnet::DeviceId) -> Option<Permit> {
        self.room.enter(peer)
    }

    /// A place for one more client of a peer at a named session.
    pub(crate) fn enter_attached(&self, peer: dhtnet::DeviceId) -> Option<Permit> {
        self.attached.enter(peer)
    }

    /// A recording of a terminal, if terminals are recorded.
    pub(crate) fn recorder(
        &self,
        terminal: &Terminal,
        command: Option<&str>,
    ) -> std::io::Result<Option<Recorder>> {
        let recordings = self.recordings.as_ref();
        recordings.map(|to| to.begin(terminal, command)).transpose()
    }

    /// The session of this leader is over.
    pub(crate) async fn forget(&self, leader: Pid) {
        if let Ok(warden) = self.warden().await {
            warden.forget(leader).await;
        }
    }

    /// Changes when the server ends.
    pub(crate) fn closing(&self) -> watch::Receiver<()> {
        self.closing.clone()
    }

    /// Runs a named session; the server waits for its end.
    pub(crate) fn spawn(&self, life: impl Future<Output = ()> + Send + 'static) {
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        while lives.try_join_next().is_some() {}
        lives.spawn(life);
    }

    /// The warden, started with the first session.
    async fn warden(&self) -> std::io::Result<&Warden> {
        let start = || async { Warden::start() };
        self.warden.get_or_try_init(start).await
    }
}

/// Asks the policy whether a peer may do this as well, as long as the channel is open; if not, says
/// why it is declined.
pub(crate) fn require(incoming: &Incoming, action: &Action<'_>) -> Result<(), DeclineReason> {
    if incoming.require(action).is_allowed() {
        return Ok(());
    }
    let message = format!("{action} is not allowed");
    Err(DeclineReason::new(DeclineCode::Policy, message))
}

/// Serves until a signal comes; the sessions end with it.
pub(crate) async fn serve(
    session: Arc<Session>,
    offered: Offered,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let open_before = getrlimit(Resource::Nofile).current;
    open_files::allow(FILES_OF_SESSION * room::MAX_SESSIONS);
    let mut shells = listen(&session, SHELL_CHANNEL, |_| OwnedAction::new(SHELL_ACTION))?;
    let mut commands = listen(&session, COMMAND_CHANNEL, |request| {
        let command = request.command.as_deref().unwrap_or_default();
        OwnedAction::with(COMMAND_ACTION, command)
    })?;
    let mut copies = copying::listen(&session)?;
    let mut attaching = listen_as(&session, SESSION_CHANNEL, session::server::attach_action)?;
    let mut listing = listen_as(&session, LIST_CHANNEL, session::server::list_action)?;
    let mut for_forwards = shutdown.clone();
    let forwards =
        Forwards::listen(&session, Ending::Both, &Targets::default())?.run(&mut for_forwards);
    let recordings = offered.record.map(Recordings::into).transpose()?;
    announce(&session);
    let (close, closing) = watch::channel(());
    let host = Arc::new(Host {
        session,
        own: Account::own(),
        accept_env: offered.accept_env,
        recordings,
        open_files: open_before,
        room: Room::of_sessions(),
        attached: Room::of_attached(),
        sessions: tokio::sync::Mutex::default(),
        lives: Mutex::default(),
        warden: OnceCell::new(),
        closing,
    });
    tokio::pin!(forwards);
    let mut sessions = JoinSet::new();
    let ended = loop {
        let incoming = tokio::select! {
            incoming = shells.accept() => incoming,
            incoming = commands.accept() => incoming,
            incoming = copies.accept() => incoming,
            Some(incoming) = attaching.accept() => {
                sessions.spawn(session::server::serve_attach(host.clone(), incoming));
                continue;
            }
            Some(incoming) = listing.accept() => {
                sessions.spawn(session::server::serve_list(host.clone(), incoming));
                continue;
            }
            ended = &mut forwards => break ended,
            Some(_) = sessions.join_next() => continue,
            code = shutdown.requested() => break Ok(code),
        };
        let Some(incoming) = incoming else {
            break Err(Failure::failed("the node ended while listening"));
        };
        match host.room.enter(incoming.peer()) {
            Some(permit) => drop(sessions.spawn(serve_one(host.clone(), incoming, permit))),
            None => {
                let why = "there are as many sessions as there may be";
                incoming.decline(DeclineReason::new(DeclineCode::Busy, why));
            }
        }
    };
    drop(close);
    while sessions.join_next().await.is_some() {}
    let mut lives = std::mem::take(&mut *host.lives.lock().unwrap_or_else(PoisonError::into_inner));
    while lives.join_next().await.is_some() {}
    if let Some(warden) = Arc::into_inner(host).and_then(|host| host.warden.into_inner()) {
        warden.end().await;
    }
    ended
}

/// Says how it is reached, and then what was kept back.
fn announce(session: &Session) {
    session.talk.bare(session.peer_command(""));
    session.talk.release();
}

/// Waits for requests; the policy is asked about the action that `action_of` makes of each.
fn listen(
    session: &Session,
    name: &'static str,
    action_of: fn(&Request) -> OwnedAction,
) -> Result<Listener, Failure> {
    listen_as(session, name, move |request| {
        Ok(action_of(&decode(request)?))
    })
}

fn listen_as(
    session: &Session,
    name: &'static str,
    action_of: impl Fn(&ChannelRequest) -> Result<OwnedAction, DeclineReason> + Send + Sync + 'static,
) -> Result<Listener, Failure> {
    let listening = session.node.listen_as(name, action_of);
    listening.map_err(|error| Failure::failed(format!("cannot listen: {error}")))
}

fn decode(request: &ChannelRequest) -> Result<Request, DeclineReason> {
    Request::decode(&request.name, &request.metadata)
        .map_err(|error| DeclineReason::new(DeclineCode::BadRequest, error.to_string()))
}

async fn serve_one(host: Arc<Host>, incoming: Incoming, _permit: Permit) {
    if incoming.request().name == COPY_CHANNEL {
        return copying::serve_one(&host, incoming).await;
    }
    let peer = host.session.name(incoming.peer());
    let talk = &host.session.talk;
    let begun = match begin(&host, &incoming).await {
        Ok(begun) => begun,
        Err(reason) => {
            talk.detail(format_args!("{peer} was declined: {}", reason.message()));
            return incoming.decline(reason);
        }
    };
    let (request, child, account) = begun;
    let what = what(&request);
    talk.detail(format_args!("{peer} runs {what} as {account}"));
    let priority = incoming.request().priority;
    let running = Running::new(&host, incoming.accept(), child);
    match running.run(&request, priority).await {
        Ok(how) => talk.detail(format_args!("{what} of {peer} {how}")),
        Err(error) => talk.detail(format_args!("{what} of {peer} was ended: {error}")),
    }
}

/// What runs, for the log: no more of a long command than a line has.
fn what(request: &Request) -> &str {
    let command = request.command.as_deref().unwrap_or("a shell");
    &command[..command.floor_char_boundary(MAX_TOLD)]
}

/// Makes the process of a session, if the policy allows all of it.
async fn begin(
    host: &Host,
    incoming: &Incoming,
) -> Result<(Request, spawn::Child, String), DeclineReason> {
    let request = decode(incoming.request())?;
    let peer = incoming.peer();
    if request.terminal.is_some() && request.command.is_some() {
        require(incoming, &Action::new(SHELL_ACTION))?;
    }
    let account = who::account(host, incoming, request.user.as_deref()).await?;
    let name = account.name.clone();
    let begin = Begin {
        account,
        peer,
        request: &request,
        copy: false,
    };
    let child = begin.spawn(host).await?;
    Ok((request, child, name))
}
