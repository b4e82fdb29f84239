//! `crtmgr`: keys, certificates, contacts and policy of a device.
//!
//! Each command is a function from its flags and the desk to an
//! answer. What was asked for goes to stdout, everything else to stderr; the exit codes are those of
//! [`dhtnet_cli::ExitCode`].

mod answer;
mod authority;
mod contact_book;
mod desk;
mod flags;
mod grant;
mod identities;
mod import;
mod moment;
mod policy;
mod qr;
mod setup;
mod show;
mod verify;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::time::SystemTime;

use clap::CommandFactory;
use dhtnet_cli::command_line::{self, Stop};
use dhtnet_cli::{ExitCode, Failure, Io, Talk};

use answer::Answer;
use desk::Desk;
use flags::{Command, Flags, SetupCommand};

const TOOL: &str = "crtmgr";

/// Runs the tool on the words of its command line, the first of which is its name.
pub fn run(words: &[OsString], io: Io) -> ExitCode {
    let Io {
        stdin,
        mut stdout,
        stderr,
    } = io;
    let talk = Talk::new(TOOL, stderr);
    let (text, failure) = match answer(words, stdin, &talk) {
        Ok(found) => found,
        Err(Stop::Text(text)) => (text.into_bytes(), None),
        Err(Stop::Failure(failure)) => (Vec::new(), Some(failure)),
    };
    match stdout.write_all(&text) {
        Ok(()) => {}
        // The reader had enough, as in `crtmgr peer list | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::Failed,
        Err(error) => {
            talk.error(format_args!("cannot write to stdout: {error}"));
            return ExitCode::Failed;
        }
    }
    match failure {
        None => ExitCode::Done,
        Some(failure) => {
            talk.error(&failure);
            failure.code()
        }
    }
}

/// What belongs on stdout, and what is wrong with it.
fn answer(
    words: &[OsString],
    stdin: File,
    talk: &Talk,
) -> Result<(Vec<u8>, Option<Failure>), Stop> {
    let parsed = command_line::parse::<Flags>(TOOL, words, &[])?;
    let flags = &parsed.flags;
    let talk = talk.with_verbosity(flags.output.verbosity());
    if let Some(Command::Pages(pages)) = &flags.command {
        let mut text = Vec::new();
        pages
            .print(Flags::command(), &mut text)
            .map_err(|error| Failure::failed(format!("cannot write the pages: {error}")))?;
        return Ok((text, None));
    }
    let desk = Desk {
        flags: &flags.home,
        home: parsed.home()?,
        talk: &talk,
        now: SystemTime::now(),
    };
    let answer = match (&flags.command, flags.interactive) {
        (Some(Command::Setup(SetupCommand { role })), _) => {
            setup::run(role.as_ref(), stdin, &desk)?
        }
        (None, true) => setup::run(None, stdin, &desk)?,
        (None, false) => {
            return Err(Failure::usage("a command is missing")
                .advise("see crtmgr --help")
                .into());
        }
        (Some(_), true) => {
            return Err(Failure::usage("-i goes with no command but setup")
                .advise("see crtmgr --help")
                .into());
        }
        (Some(command), false) => carry_out(command, &desk)?,
    };
    let text = match flags.json {
        true => format!("{}\n", answer.json),
        false => answer.text,
    };
    Ok((text.into_bytes(), answer.failure))
}

fn carry_out(command: &Command, desk: &Desk<'_>) -> Result<Answer, Failure> {
    match command {
        // Carried out before, as they take more than a desk.
        Command::Pages(_) | Command::Setup(_) => Ok(Answer::change(serde_json::Value::Null)),
        Command::Init(flags) => identities::init(flags, desk),
        Command::Id(flags) => identities::id(flags, desk),
        Command::Export(flags) => identities::export(flags, desk),
        Command::Import(flags) => import::run(flags, desk),
        Command::Peer(command) => contact_book::run(command, desk.home, desk.talk),
        Command::Ca(command) => authority::run(command, desk),
        Command::Renew(flags) => authority::renew(flags, desk),
        Command::Show { file } => show::run(file, desk),
        Command::Verify(flags) => verify::run(flags, desk),
        Command::Policy(command) => policy::run(command, desk),
        Command::Grant(flags) => grant::run(flags, desk),
    }
}
