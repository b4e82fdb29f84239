//! `dhtnode`: the DHT by hand.
//!
//! [`run`] does one of three things: it carries out one command and ends, reads commands from a
//! prompt (or from stdin, where there is no terminal), or serves as a daemon.
//!
//! ```text
//! words ──► flags ──► session (node, files) ──► verbs ──► output
//!                        ▲                        ▲
//!                     dht.rs                   prompt: a line, cut into words, is a verb
//! ```
//! `dht` alone knows the library's interface to the DHT; all else uses its plain values. Exit
//! codes and messages are those of [`dhtnet_cli`]. stdout carries what was asked for, as text or as
//! JSON, one object a line; everything else goes to stderr.

mod bencode;
mod blocklist;
mod crawl;
mod daemon;
mod dht;
mod doctor;
mod flags;
mod key;
mod keys;
mod output;
mod prompt;
mod relay;
mod reports;
mod session;
mod stats;
mod verbs;
mod words;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use clap::CommandFactory;
use dhtnet_cli::command_line::{self, Stop};
use dhtnet_cli::{ExitCode, Failure, Io, Shutdown, Talk};

use crate::dht::Network;
use crate::flags::{CONFIGURABLE, Command, Flags, Verb};
use crate::output::{Form, Halt, Output};
use crate::session::{Entry, How, Place, Session, settings};

const TOOL: &str = "dhtnode";

/// Longest value that is read from stdin, in bytes: the longest that the value layer carries.
const MAX_STDIN_VALUE_LEN: usize = 64 << 10;

/// Runs the tool on the words of its command line, the first of which is its name.
///
/// It ends when its work is done or `shutdown` is requested; the node has then saved what it knows.
pub async fn run(words: Vec<OsString>, io: Io, shutdown: Shutdown) -> ExitCode {
    let Io {
        stdin,
        stdout,
        stderr,
    } = io;
    let talk = Talk::new(TOOL, stderr);
    let output = Output::new(Arc::new(stdout), Form::Text);
    let ended = match command_line::parse::<Flags>(TOOL, &words, &CONFIGURABLE) {
        Ok(parsed) => {
            let talk = talk.with_verbosity(parsed.flags.output.verbosity());
            start(&parsed, stdin, &output, &talk, shutdown).await
        }
        Err(Stop::Text(text)) => output.write(text.as_bytes()).map(|()| ExitCode::Done),
        Err(Stop::Failure(failure)) => Err(failure.into()),
    };
    match ended {
        Ok(code) | Err(Halt::Quiet(code)) => code,
        Err(Halt::Failure(failure)) => {
            talk.error(&failure);
            failure.code()
        }
    }
}

async fn start(
    parsed: &command_line::Parsed<Flags>,
    stdin: File,
    output: &Output,
    talk: &Talk,
    mut shutdown: Shutdown,
) -> Result<ExitCode, Halt> {
    let flags = &parsed.flags;
    if let Some(Command::Pages(pages)) = &flags.command {
        let mut text = Vec::new();
        pages
            .print(Flags::command(), &mut text)
            .map_err(|error| Failure::failed(format!("cannot write the pages: {error}")))?;
        return output.write(&text).map(|()| ExitCode::Done);
    }
    flags.output.start_log();
    let output = output.in_form(Form::of_flag(flags.how.json));
    let place = Place {
        home: parsed.home()?.clone(),
        flags: flags.home.clone(),
    };
    match &flags.command {
        Some(Command::Run(run)) => {
            if flags.how.remote.is_some() {
                return Err(Failure::usage("--remote does not go with run").into());
            }
            daemon::run(flags, run, &place, &output, talk, &mut shutdown).await
        }
        // It opens no node: it has to work where none can be opened.
        Some(Command::Verb(Verb::Doctor(doctor))) => {
            let (how, entry) = (how(flags, &output), Entry::of(flags));
            tokio::select! {
                ended = doctor::doctor(doctor, (&entry, &place), &how, talk) => {
                    ended.map(|()| ExitCode::Done)
                }
                code = shutdown.requested() => Ok(code),
            }
        }
        Some(Command::Verb(verb)) => {
            let how = How {
                stdin: value_from_stdin(verb, stdin, &mut shutdown)
                    .await?
                    .map(Arc::from),
                ..how(flags, &output)
            };
            once(verb, flags, place, &how, talk, &mut shutdown).await
        }
        _ => {
            let session = open(flags, place, Company::Network, talk).await?;
            let ended = prompt::run(&session, stdin, &how(flags, &output), &mut shutdown).await;
            session.network.shutdown().await;
            ended
        }
    }
}

fn how(flags: &Flags, output: &Output) -> How {
    How {
        output: output.clone(),
        remote: flags.how.remote.clone(),
        limit: flags.dht.connect_limit(),
        stdin: None,
    }
}

/// Whom a node talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    /// It takes part in the network.
    Network,
    /// Only those that the command names; others are neither asked nor remembered.
    Named,
}

impl Company {
    /// What a command needs.
    fn of(verb: &Verb, flags: &Flags) -> Self {
        let asks_one =
            flags.how.remote.is_some() || matches!(verb, Verb::Ping { .. } | Verb::Sample { .. });
        if asks_one && !flags.wait && !matches!(verb, Verb::Crawl(_)) {
            Self::Named
        } else {
            Self::Network
        }
    }
}

/// The node of these flags.
async fn open(
    flags: &Flags,
    place: Place,
    company: Company,
    talk: &Talk,
) -> Result<Session, Failure> {
    let mut settings = settings(flags, &place, 0, talk)?;
    if company == Company::Named {
        settings.seeds.clear();
        settings.state_file = None;
    }
    settings.key = place.own_key_if_made()?;
    Ok(Session {
        network: Network::open(settings).await?,
        talk: talk.clone(),
        place,
        entry: Entry::of(flags),
    })
}

/// One command; then, with `--wait`, the node goes on serving.
async fn once(
    verb: &Verb,
    flags: &Flags,
    place: Place,
    how: &How,
    talk: &Talk,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Halt> {
    if let Some(done) = verbs::run_alone(verb, how, talk) {
        return done.map(|()| ExitCode::Done);
    }
    let session = open(flags, place, Company::of(verb, flags), talk).await?;
    let ended = tokio::select! {
        ended = verbs::run(verb, &session, how) => ended.map(|()| ExitCode::Done),
        code = shutdown.requested() => Ok(code),
    };
    if matches!(ended, Ok(ExitCode::Done)) && is_permanent(verb) && !flags.wait {
        talk.note("it is stored again while a node of this home runs: dhtnode run, or --wait");
    }
    let ended = match ended {
        Ok(ExitCode::Done) if flags.wait => {
            talk.note("serving the DHT; end with Ctrl-C");
            Ok(shutdown.requested().await)
        }
        ended => ended,
    };
    if let Err(Halt::Failure(failure)) = &ended {
        // Said before the node is closed, which may take a moment.
        talk.error(failure);
    }
    session.network.shutdown().await;
    match ended {
        Err(Halt::Failure(failure)) => Ok(failure.code()),
        ended => ended,
    }
}

fn is_permanent(verb: &Verb) -> bool {
    match verb {
        Verb::Put(flags) => flags.permanent,
        Verb::Announce(flags) => flags.permanent,
        _ => false,
    }
}

/// What stdin holds, if the VALUE is `-`.
async fn value_from_stdin(
    verb: &Verb,
    stdin: File,
    shutdown: &mut Shutdown,
) -> Result<Option<Vec<u8>>, Halt> {
    let (Verb::Put(flags::PutFlags { value, .. }) | Verb::Sign(flags::SignFlags { value, .. })) =
        verb
    else {
        return Ok(None);
    };
    if *value != ["-"] {
        return Ok(None);
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut value = Vec::new();
        stdin
            .take(MAX_STDIN_VALUE_LEN as u64 + 1)
            .read_to_end(&mut value)
            .map(|_| value)
    });
    let read = tokio::select! {
        read = read => read.map_err(|error| Failure::failed(format!("cannot read stdin: {error}")))?,
        code = shutdown.requested() => return Err(Halt::Quiet(code)),
    };
    let value = read.map_err(|error| Failure::failed(format!("cannot read stdin: {error}")))?;
    if value.len() > MAX_STDIN_VALUE_LEN {
        return Err(Failure::usage(format!(
            "the value on stdin is longer than {MAX_STDIN_VALUE_LEN} bytes"
        ))
        .advise("cut it into several values")
        .into());
    }
    Ok(Some(value))
}
