//! `crtmgr`: keys and contacts of a device.
//!
//! `crtmgr init` makes the identity, `crtmgr id` prints its id, `crtmgr peer …` keeps the contact
//! book. What was asked for goes to stdout, everything else to stderr; the exit codes are those of
//! [`dhtnet_cli::ExitCode`].

mod contact_book;
mod flags;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::CommandFactory;
use dhtnet_cli::command_line::{self, Stop};
use dhtnet_cli::failure::chain;
use dhtnet_cli::own_identity::{load_contacts, new_key};
use dhtnet_cli::{ExitCode, Failure, Home, Io, Talk};
use dhtnet_identity::key_file;
use dhtnet_identity::{Alias, PeerAddress};
use serde_json::json;

use contact_book::Answer;
use flags::{Command, Flags};

const TOOL: &str = "crtmgr";

/// Runs the tool on the words of its command line, the first of which is its name.
pub fn run(words: &[OsString], io: Io) -> ExitCode {
    let Io {
        mut stdout, stderr, ..
    } = io;
    let talk = Talk::new(TOOL, stderr);
    let text = match answer(words, &talk) {
        Ok(text) => text,
        Err(Stop::Text(text)) => text.into_bytes(),
        Err(Stop::Failure(failure)) => {
            talk.error(&failure);
            return failure.code();
        }
    };
    match stdout.write_all(&text) {
        Ok(()) => ExitCode::Done,
        // The reader had enough, as in `crtmgr peer list | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::Failed,
        Err(error) => {
            talk.error(format_args!("cannot write to stdout: {error}"));
            ExitCode::Failed
        }
    }
}

/// What belongs on stdout.
fn answer(words: &[OsString], talk: &Talk) -> Result<Vec<u8>, Stop> {
    let parsed = command_line::parse::<Flags>(TOOL, words, &[])?;
    let flags = &parsed.flags;
    let talk = talk.with_verbosity(flags.output.verbosity());
    let answer = match &flags.command {
        Command::Pages(pages) => {
            let mut text = Vec::new();
            pages
                .print(Flags::command(), &mut text)
                .map_err(|error| Failure::failed(format!("cannot write the pages: {error}")))?;
            return Ok(text);
        }
        Command::Init { name } => init(flags, parsed.home()?, name.as_ref(), &talk)?,
        Command::Id => {
            let id = flags.home.load_or_create_key(parsed.home()?, &talk)?.id();
            Answer {
                text: format!("{id}\n"),
                json: json!({ "id": id.to_string() }),
            }
        }
        Command::Peer(command) => contact_book::run(command, parsed.home()?, &talk)?,
    };
    let text = if flags.json {
        format!("{}\n", answer.json)
    } else {
        answer.text
    };
    Ok(text.into_bytes())
}

/// A new identity, never over an old one.
fn init(flags: &Flags, home: &Home, name: Option<&Alias>, talk: &Talk) -> Result<Answer, Failure> {
    home.prepare()?;
    let path = flags.home.identity_path(home);
    let key = new_key()?;
    let id = key.id();
    // The name first: when it is taken, nothing has been made.
    let mut contacts = load_contacts(home)?;
    if let Some(name) = name {
        contact_book::add(&mut contacts, name, &PeerAddress::from(id))?;
    }
    key_file::create(&path, &key).map_err(|error| {
        let failure = Failure::new(
            ExitCode::Identity,
            format!("cannot make the identity: {}", chain(&error)),
        );
        match error {
            key_file::KeyFileError::Exists { .. } => {
                failure.advise("see its id with: crtmgr id; move the file away to get a new one")
            }
            _ => failure,
        }
    })?;
    if name.is_some() {
        contact_book::save(&contacts, home)?;
    }
    talk.note(format_args!("made a new identity in {}", path.display()));
    let called = name.map_or_else(|| "NAME".to_owned(), ToString::to_string);
    talk.note(format_args!(
        "others can name this device with: crtmgr peer add {called} {id}"
    ));
    let json =
        json!({ "id": id.to_string(), "identity": path, "name": name.map(ToString::to_string) });
    Ok(Answer {
        text: format!("{id}\n"),
        json,
    })
}
