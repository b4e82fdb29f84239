//! `dsh`: a remote shell by key.
//!
//! [`run`] makes a plan of the command line, opens a node, and either serves shells and commands or
//! asks a peer for one.
//!
//! ```text
//! dsh PEER            channel "dsh.shell", metadata = who, which terminal, which environment; its
//! dsh PEER COMMAND    bytes are stdin and stdout. "dsh.command" has the command line besides
//!                     channel "dsh.control", opened by the server on the same connection: window
//!                     sizes and signals one way, standard error and the exit status the other
//! dsh cp              channel "dsh.cp", metadata = who; its bytes are those of dhtnet-copy
//! dsh -L, -R, -D      channels "dsh.forward", "dsh.bind" and "dsh.reverse", as those of dnc
//! ```
//!
//! The process of a session is this program again ([`become_session_if_asked`]), which takes on the
//! user and the terminal and is then replaced by the user's shell; another one, the warden, ends
//! the sessions should the server be killed.

mod account;
mod client;
mod copy;
mod destination;
mod environment;
mod flags;
mod frames;
mod leader;
mod modes;
mod plan;
mod server;
mod session;
mod signals;
mod warden;
mod words;

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use dhtnet_cli::command_line::{self, Parsed};
use dhtnet_cli::own_identity::{load_contacts, resolve_peer};
use dhtnet_cli::policy::{LivePolicy, Place};
use dhtnet_cli::{ExitCode, Failure, Home, Io, Shutdown, Talk, services};
use dhtnet_forward::report::Report;
use dhtnet_forward::{Names, Opening, Session};
use dhtnet_identity::policy::{Grant, Permission, Policy, Subject};
use dhtnet_identity::{Contacts, PeerArgument};
use dhtnet_shell_wire::copy::COPY_CHANNEL;
use dhtnet_shell_wire::request::CONTROL_CHANNEL;

use crate::account::Account;
use crate::client::raw::RawAware;
use crate::flags::{CONFIGURABLE, Command, Flags};
use crate::plan::{Offered, Plan, Typed, plan};
use crate::server::{COMMAND_ACTION, SHELL_ACTION, USER_ACTION};
use crate::session::list::Form;

const TOOL: &str = "dsh";

/// The action for forwards through a shell's connection.
const FORWARD_ACTION: &str = "dsh.forward";

/// The channels of forwards (docs/wire-format.md).
const NAMES: Names = Names {
    target: "dsh.forward",
    target_action: FORWARD_ACTION,
    bind: "dsh.bind",
    bind_action: FORWARD_ACTION,
    reverse: "dsh.reverse",
    probe: "dsh.probe",
};

/// How dsh ends when the connection failed: what no command gives on purpose.
const CONNECTION_FAILED: u8 = 255;

/// When this process was started by a server to become a session, does so and does not return.
/// To be called before anything else.
pub fn become_session_if_asked() {
    leader::become_if_asked();
}

/// The exit status of the process: that of the remote command, or one of dsh's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u8);

impl From<Status> for u8 {
    fn from(status: Status) -> Self {
        status.0
    }
}

impl From<ExitCode> for Status {
    fn from(code: ExitCode) -> Self {
        Self(code.number())
    }
}

/// Runs the tool on the words of its command line, the first of which is its name.
///
/// It ends when its work is done or `shutdown` is requested; the node has then told its peers.
pub async fn run(words: Vec<OsString>, io: Io, shutdown: Shutdown) -> Status {
    let Io {
        stdin,
        mut stdout,
        stderr,
    } = io;
    let mut talk = Talk::new(TOOL, Box::new(RawAware(stderr)));
    let words = words::prepare(&Flags::command(), &words);
    let ended = match command_line::parse::<Flags>(TOOL, &words, &CONFIGURABLE) {
        Ok(parsed) => match &parsed.flags.subcommand {
            Some(Command::Pages(pages)) => {
                let put = pages.put(Flags::command(), &mut stdout);
                put.map(Status::from)
            }
            None | Some(Command::Cp(_)) => {
                let io = Io {
                    stdin,
                    stdout,
                    stderr: Box::new(std::io::sink()),
                };
                talk = talk.with_verbosity(parsed.flags.output.verbosity());
                start(&parsed, io, &talk, shutdown).await
            }
        },
        Err(stop) => stop.put(&mut stdout).map(Status::from),
    };
    ended.unwrap_or_else(|failure| {
        talk.error(&failure);
        failure.code().into()
    })
}

/// Opens what the plan needs, carries it out, and closes everything.
async fn start(
    parsed: &Parsed<Flags>,
    io: Io,
    talk: &Talk,
    mut shutdown: Shutdown,
) -> Result<Status, Failure> {
    let flags = &parsed.flags;
    let plan = plan(flags, typed(&parsed.matches))?;
    flags.output.start_log();
    let home: &Home = parsed.home()?;
    let contacts = load_contacts(home)?;
    if matches!(plan, Plan::Serve(_)) {
        flags.policy.demand_somebody(home)?;
        demand_user(flags, home)?;
    }
    let key = flags.home.load_or_create_key(home, talk)?;
    let (policy, live) = match &plan {
        Plan::Serve(offered) => {
            let own = key.id();
            let live = server_policy(flags, offered, &Place { home, own }, talk)?;
            (live.policy(), Some(live))
        }
        plan => (client_policy(plan, &contacts)?, None),
    };
    let opening = Opening {
        network: &flags.network,
        home,
        role: plan.role(),
        services: &[services::DSH],
        names: NAMES,
        report: Report::default(),
    };
    let session = Session::start(opening, (key, policy), contacts, talk).await?;
    let session = Arc::new(session);
    let watches = (
        live.map(|live| live.watch(&session.node, talk)),
        flags.network.follow_credentials(&session.node, home, talk),
    );
    let is_session = matches!(plan, Plan::Connect { .. } | Plan::List { .. });
    let ended = match plan {
        Plan::Serve(offered) => {
            let ended = server::serve(session.clone(), offered, &mut shutdown).await;
            ended.map(Status::from)
        }
        Plan::List { peer, user, form } => {
            list_sessions(&session, (&peer, user, form), io.stdout).await
        }
        Plan::Connect {
            peer,
            job,
            forwards,
        } => {
            let asked = (&peer, job.as_ref(), &forwards);
            client::connect(&session, asked, io, &mut shutdown).await
        }
        Plan::Copy(wanted) => {
            let ended = copy::copy(&session, *wanted, io.stdout, &mut shutdown).await;
            ended.map(Status::from)
        }
    };
    drop(watches);
    if let Err(failure) = &ended {
        // Said before the node says good-bye, which may take a moment.
        talk.error(failure);
    }
    session.node.shutdown().await;
    Ok(ended.unwrap_or_else(|failure| match failure.code() {
        // Those of a session are the connection's, unless nothing was begun.
        code if is_session && code != ExitCode::Usage => Status(CONNECTION_FAILED),
        code => code.into(),
    }))
}

/// `dsh --list`.
async fn list_sessions(
    session: &Session,
    (peer, user, form): (&PeerArgument, Option<String>, Form),
    mut stdout: impl Write,
) -> Result<Status, Failure> {
    let peer = session.resolve(peer)?;
    let text = session::list::list(session, &peer, user, form).await?;
    stdout
        .write_all(text.as_bytes())
        .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))?;
    if text.is_empty() {
        let talk = &session.talk;
        talk.note(format_args!("there are no named sessions on {peer}"));
    }
    Ok(ExitCode::Done.into())
}

/// Nobody becomes root because nobody thought of it: a server that is root has to be told which user
/// the peers of its flags are, unless there is a policy that can map them.
fn demand_user(flags: &Flags, home: &Home) -> Result<(), Failure> {
    let has_policy = home.policy_file().symlink_metadata().is_ok();
    if flags.user.is_some() || has_policy || !Account::own().is_root() {
        return Ok(());
    }
    Err(
        Failure::usage("it runs as root, and no user is named for those who come").advise(
            "name the user with --user NAME (--user root makes them root), or map peers to users in \
             policy.toml with dsh.user NAME",
        ),
    )
}

/// The policy of a server: what it offers for whom the flags name, and policy.toml.
fn server_policy(
    flags: &Flags,
    offered: &Offered,
    place: &Place<'_>,
    talk: &Talk,
) -> Result<LivePolicy, Failure> {
    let own = Account::own();
    let live = flags.policy.live(place, &grants(offered, &own)?)?;
    // The command to paste comes first.
    talk.hold();
    if flags.policy.anonymous {
        match user_of_flags(offered, &own) {
            Some(user) => talk.warn(format_args!("anyone may connect (-a), and be {user}")),
            None => talk.warn("anyone may connect (-a)"),
        }
    }
    if let Some(complaint) = live.complaint() {
        talk.warn(complaint);
    }
    Ok(live)
}

/// The policy of a client lets nobody in, but for what the peer opens for the session that was
/// asked of it.
fn client_policy(plan: &Plan, contacts: &Contacts) -> Result<Policy, Failure> {
    let Plan::Connect { peer, .. } = plan else {
        return Ok(Policy::deny_all());
    };
    let peer = resolve_peer(contacts, peer)?;
    let grants = [CONTROL_CHANNEL, NAMES.reverse].map(Grant::action);
    let subject = Subject::Peer(peer.address.id);
    let builder = grants.into_iter().fold(Policy::builder(), |policy, grant| {
        policy.grant(subject.clone(), grant.named("the peer of the session"))
    });
    Ok(builder.build())
}

/// What the peers of `--allow` may do.
fn grants(offered: &Offered, own: &Account) -> Result<Vec<Grant>, Failure> {
    let mut grants = if offered.commands.is_empty() {
        [SHELL_ACTION, COMMAND_ACTION, FORWARD_ACTION, COPY_CHANNEL]
            .map(Grant::action)
            .to_vec()
    } else {
        vec![Grant::of(offered.commands.clone())]
    };
    let Some(user) = user_of_flags(offered, own) else {
        return Ok(grants);
    };
    if user != own.name && !own.is_root() {
        return Err(Failure::usage(format!(
            "--user {user}: only root can become another user"
        )));
    }
    let permission: Result<Permission, _> = format!("{USER_ACTION} {user}").parse();
    let permission =
        permission.map_err(|error| Failure::usage(format!("--user {user}: {error}")))?;
    grants.push(Grant::of(vec![permission]));
    Ok(grants)
}

/// The user that the peers of the flags are; `None` if that is left to policy.toml.
fn user_of_flags<'a>(offered: &'a Offered, own: &'a Account) -> Option<&'a str> {
    let own = (!own.is_root()).then_some(own.name.as_str());
    offered.user.as_deref().or(own)
}

fn typed(matches: &ArgMatches) -> Typed {
    let on_command_line = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    Typed {
        policy: on_command_line("allow")
            || on_command_line("allow_ca")
            || on_command_line("anonymous"),
        allow_command: on_command_line("allow_command"),
        user: on_command_line("user"),
        accept_env: on_command_line("accept_env"),
        record: on_command_line("record"),
        environment: on_command_line("environment"),
        escape: on_command_line("escape"),
    }
}
