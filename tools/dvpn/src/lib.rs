//! `dvpn`: a VPN by key.
//!
//! [`run`] makes a plan of the command line and the configuration, opens a node and a TUN
//! interface, and carries packets between them until a signal comes.

mod background;
mod client;
mod commands;
pub mod configuration;
pub mod control;
mod engine;
mod flags;
mod interface;
mod leases;
mod link;
pub mod names;
mod network;
pub mod plan;
mod resolution;
mod roster;
mod server;
mod session;
pub mod settings;
pub mod status;
pub mod system;

use std::ffi::OsString;
use std::io::Write;

use clap::CommandFactory;
use dhtnet_cli::command_line::{self, Parsed, Stop};
use dhtnet_cli::{ExitCode, Failure, Io, Shutdown, Talk};

use crate::flags::{CONFIGURABLE, Command, Flags};

const TOOL: &str = "dvpn";

/// Runs the tool on the words of its command line, the first of which is its name.
///
/// It ends when its work is done or `shutdown` is requested; the system is then as it was before.
pub async fn run(words: Vec<OsString>, io: Io, shutdown: Shutdown) -> ExitCode {
    let Io {
        mut stdout, stderr, ..
    } = io;
    let talk = Talk::new(TOOL, stderr);
    let ended = match command_line::parse::<Flags>(TOOL, &words, &CONFIGURABLE) {
        Ok(parsed) => {
            let talk = talk.with_verbosity(parsed.flags.output.verbosity());
            start(&parsed, &words, (&mut stdout, &talk), shutdown).await
        }
        Err(Stop::Text(text)) => print(&mut stdout, text.as_bytes()),
        Err(Stop::Failure(failure)) => Err(failure),
    };
    ended.unwrap_or_else(|failure| {
        talk.error(&failure);
        failure.code()
    })
}

fn print(stdout: &mut impl Write, text: &[u8]) -> Result<ExitCode, Failure> {
    stdout
        .write_all(text)
        .map(|()| ExitCode::Done)
        .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))
}

async fn start(
    parsed: &Parsed<Flags>,
    words: &[OsString],
    (stdout, talk): (&mut impl Write, &Talk),
    mut shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let flags = &parsed.flags;
    if let Some(Command::Pages(pages)) = &flags.command {
        let mut text = Vec::new();
        pages
            .print(Flags::command(), &mut text)
            .map_err(|error| Failure::failed(format!("cannot write the pages: {error}")))?;
        return print(stdout, &text);
    }
    let home = parsed.home()?;
    match &flags.command {
        Some(Command::Down(down)) => {
            return commands::down(home, down.name.as_deref(), talk, &mut shutdown).await;
        }
        Some(Command::Status(status)) => return commands::status(home, status, stdout, talk),
        Some(Command::Up(up)) if up.detached => background::detach(),
        Some(Command::Up(up)) if !up.foreground => {
            let limit = flags.network.connect_limit();
            let words = (words, limit);
            return background::start(home, &up.name, words, talk, &mut shutdown).await;
        }
        _ => {}
    }
    flags.output.start_log();
    network::run(flags, home, talk, &mut shutdown).await
}
