//! `dnc`: netcat by key.
//!
//! [`run`] makes a plan of the command line, opens a node, and does one of six things: join
//! stdin and stdout to a peer (as caller or as listener), serve targets, forward local ports,
//! probe, or ping. All bytes go through one function that joins a local stream to a channel: the end of
//! one side becomes the end of the other, a failure becomes a reset, and it returns when the peer
//! has acknowledged everything.
//!
//! ```text
//! dnc PEER                channel "dnc.pipe", accepted by `dnc -l` for one peer at a time
//! dnc PEER HOST:PORT      channel "dnc.target", metadata = the target's text form; the other
//! dnc -L PORT:HOST:PORT   side asks its policy, connects, and accepts or declines; of datagrams for
//! dnc -D PORT             a UDP target
//! dnc -R PORT:HOST:PORT   channel "dnc.bind", metadata = where to listen; while it lives, the other
//!                         side opens "dnc.reverse" for each connection that comes there
//! dnc -z PEER             channel "dnc.probe", which nobody accepts; so does dnc ping
//! ```
//! Exit codes and messages are those of [`dhtnet_cli`]. stdout carries the payload, or with
//! `--json` events where there is no payload; everything else goes to stderr.

mod flags;
mod ping;
mod pipe;
mod plan;
mod progress;
mod serve;

use std::ffi::OsString;
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use dhtnet_cli::command_line::{self, Stop};
use dhtnet_cli::own_identity::{load_contacts, resolve_peer};
use dhtnet_cli::policy::{LivePolicy, Place};
use dhtnet_cli::{ExitCode, Failure, Home, Io, Shutdown, Talk};
use dhtnet_forward::forward;
use dhtnet_forward::join::Ending;
use dhtnet_forward::report::Report;
use dhtnet_forward::stdio::AtEnd;
use dhtnet_forward::{Names, Opening, Session, paths, probe};
use dhtnet_identity::Contacts;
use dhtnet_identity::policy::{Grant, Policy, Subject};

use crate::flags::{CONFIGURABLE, Command, Flags};
use crate::pipe::{Stdio, Waiting};
use crate::plan::{Plan, Typed, plan};

const TOOL: &str = "dnc";

/// The channel that joins two `dnc` by their stdin and stdout.
const PIPE_CHANNEL: &str = "dnc.pipe";

/// The channels of targets and forwards (docs/wire-format.md).
const NAMES: Names = Names {
    target: "dnc.target",
    target_action: "dnc.target",
    bind: "dnc.bind",
    bind_action: "dnc.bind",
    reverse: "dnc.reverse",
    probe: "dnc.probe",
};

/// Runs the tool on the words of its command line, the first of which is its name.
///
/// It ends when its work is done or `shutdown` is requested; the node has then told its peers.
pub async fn run(words: Vec<OsString>, io: Io, shutdown: Shutdown) -> ExitCode {
    let Io {
        stdin,
        mut stdout,
        stderr,
    } = io;
    let mut talk = Talk::new(TOOL, stderr);
    let ended = match parse(&words) {
        Ok(parsed) => match &parsed.flags.command {
            Some(Command::Pages(pages)) => pages.put(Flags::command(), &mut stdout),
            None | Some(Command::Ping(_)) => {
                let io = Io {
                    stdin,
                    stdout,
                    stderr: Box::new(std::io::sink()),
                };
                talk = talk.with_verbosity(parsed.flags.output.verbosity());
                start(&parsed, io, &talk, shutdown).await
            }
        },
        Err(stop) => stop.put(&mut stdout),
    };
    ended.unwrap_or_else(|failure| {
        talk.error(&failure);
        failure.code()
    })
}

fn parse(words: &[OsString]) -> Result<command_line::Parsed<Flags>, Stop> {
    command_line::parse::<Flags>(TOOL, words, &CONFIGURABLE)
}

/// Opens what the plan needs, carries it out, and closes everything.
async fn start(
    parsed: &command_line::Parsed<Flags>,
    io: Io,
    talk: &Talk,
    shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let flags = &parsed.flags;
    let plan = plan(flags, typed(&parsed.matches))?;
    flags.output.start_log();
    let home: &Home = parsed.home()?;
    let contacts = load_contacts(home)?;
    let report = report(flags, &plan, &io)?;
    let listens = matches!(plan, Plan::Listen { .. } | Plan::Serve(_));
    if listens {
        flags.policy.demand_somebody(home)?;
    }
    let key = flags.home.load_or_create_key(home, talk)?;
    let (policy, live) = match listens {
        true => {
            let own = key.id();
            let live = listener_policy(flags, &plan, &Place { home, own }, talk)?;
            (live.policy(), Some(live))
        }
        false => (caller_policy(&plan, &contacts)?, None),
    };
    let opening = Opening {
        network: &flags.network,
        home,
        role: plan.role(),
        services: plan.services(),
        names: NAMES,
        report,
    };
    let session = Session::start(opening, (key, policy), contacts, talk).await?;
    let session = Arc::new(session);
    let watches = (
        live.map(|live| live.watch(&session.node, talk)),
        flags.network.follow_credentials(&session.node, home, talk),
    );
    // A ping tells of its paths itself.
    let watching = (!matches!(plan, Plan::Ping(_)))
        .then(|| tokio::spawn(paths::watch(session.clone(), session.node.events())));
    let ended = carry_out(plan, flags, &session, io, shutdown).await;
    drop(watches);
    if let Some(watching) = watching {
        watching.abort();
    }
    if let Err(failure) = &ended {
        // Said before the node says good-bye, which may take a moment.
        talk.error(failure);
    }
    session.node.shutdown().await;
    Ok(ended.unwrap_or_else(|failure| failure.code()))
}

/// Where events go. Where stdout is the payload nothing else may hold it open; a ping writes its own
/// lines.
fn report(flags: &Flags, plan: &Plan, io: &Io) -> Result<Report, Failure> {
    if !flags.json || matches!(plan, Plan::Ping(_)) {
        return Ok(Report::default());
    }
    let stdout = io.stdout.try_clone();
    let stdout =
        stdout.map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))?;
    Ok(Report::on(stdout))
}

/// The policy of a listener: what the flags offer for whom they name, and policy.toml.
fn listener_policy(
    flags: &Flags,
    plan: &Plan,
    place: &Place<'_>,
    talk: &Talk,
) -> Result<LivePolicy, Failure> {
    let grants = match plan {
        Plan::Serve(offered) if offered.is_empty() => Vec::new(),
        Plan::Serve(offered) => vec![
            Grant::targets(NAMES.target_action, offered.targets.clone()),
            Grant::targets(NAMES.bind_action, offered.binds.clone()),
        ],
        _ => vec![Grant::action(PIPE_CHANNEL)],
    };
    let live = flags.policy.live(place, &grants)?;
    if grants.is_empty() && !live.has_file() {
        return Err(Failure::usage("-l with -N has nothing to serve").advise(
            "name targets with --allow-target HOST:PORT, or places with --allow-bind, or write \
             policy.toml",
        ));
    }
    // The command to paste comes first.
    talk.hold();
    if flags.policy.anonymous {
        talk.warn("anyone may connect (-a)");
    }
    if let Some(complaint) = live.complaint() {
        talk.warn(complaint);
    }
    Ok(live)
}

/// The policy of a caller lets nobody in, but for the connections that the peer of `-R` hands on.
fn caller_policy(plan: &Plan, contacts: &Contacts) -> Result<Policy, Failure> {
    match plan {
        Plan::Forward { peer, forwards, .. } if !forwards.reverse.is_empty() => {
            let peer = resolve_peer(contacts, peer)?;
            let grant = Grant::action(NAMES.reverse).named("-R");
            let policy = Policy::builder().grant(Subject::Peer(peer.address.id), grant);
            Ok(policy.build())
        }
        _ => Ok(Policy::deny_all()),
    }
}

async fn carry_out(
    plan: Plan,
    flags: &Flags,
    session: &Arc<Session>,
    io: Io,
    mut shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let half_close = flags.half_close && !flags.no_half_close;
    let ending = if half_close {
        Ending::Both
    } else {
        Ending::Either
    };
    let shutdown = &mut shutdown;
    match plan {
        Plan::Connect {
            peer,
            target,
            persistence,
        } => {
            let stdio = Stdio::new(io, &session.talk, half_close, AtEnd::Close);
            let asked = (&peer, target.as_ref());
            pipe::connect(session, asked, persistence, stdio, shutdown).await
        }
        Plan::Listen { keep_open, wait } => {
            let at_end = if keep_open {
                AtEnd::StayOpen
            } else {
                AtEnd::Close
            };
            let waiting = Waiting {
                keep_open,
                limit: wait,
            };
            pipe::listen(
                session,
                &waiting,
                Stdio::new(io, &session.talk, half_close, at_end),
                shutdown,
            )
            .await
        }
        Plan::Serve(offered) => serve::serve(session.clone(), &offered, ending, shutdown).await,
        Plan::Forward {
            peer,
            forwards,
            persistence,
        } => {
            let how = (ending, persistence);
            forward::forward(session.clone(), &peer, &forwards, how, shutdown).await
        }
        Plan::Probe { peer, target } => {
            probe::probe(session, &peer, target.as_ref(), shutdown).await
        }
        Plan::Ping(plan) => ping::ping(session.clone(), &plan, io.stdout, shutdown).await,
    }
}

fn typed(matches: &ArgMatches) -> Typed {
    let on_command_line = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    Typed {
        policy: on_command_line("allow")
            || on_command_line("allow_ca")
            || on_command_line("anonymous"),
        allow_target: on_command_line("allow_target"),
        allow_bind: on_command_line("allow_bind"),
        timeout: on_command_line("timeout"),
    }
}
