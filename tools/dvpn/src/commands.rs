//! `dvpn down` and `dvpn status`: about networks that other processes of this device run.

use std::io::Write;

use dhtnet_cli::{ExitCode, Failure, Home, Shutdown, Talk};

use crate::control;
use crate::flags::StatusFlags;
use crate::status::{Status, metrics, text};
use crate::system::{self, Down};

/// Ends a network: the one that is named, else the only one that there is. Who gives up waiting has
/// asked it to end all the same.
pub(crate) async fn down(
    home: &Home,
    name: Option<&str>,
    talk: &Talk,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let present = system::instances(home).into_iter().map(|one| one.name);
    let name = match (name, present.collect::<Vec<_>>().as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, [name]) => name.clone(),
        (None, []) => {
            talk.note("no network is up");
            return Ok(ExitCode::Done);
        }
        (None, several) => return Err(which(several)),
    };
    let (home, own_name) = (home.clone(), name.clone());
    let ending = tokio::task::spawn_blocking(move || system::down(&home, &own_name));
    let ended = tokio::select! {
        code = shutdown.requested() => return Ok(code),
        ended = ending => ended,
    };
    let ended = ended.map_err(|error| Failure::failed(format!("cannot end {name}: {error}")))?;
    match ended? {
        Down::Ended => talk.note(format_args!("{name} is down")),
        Down::CleanedUp => talk.note(format_args!(
            "{name} had ended by itself; what it left has been undone"
        )),
        Down::WasNotUp => talk.note(format_args!("{name} is not up")),
    }
    Ok(ExitCode::Done)
}

/// Prints how the networks stand: one, or all.
pub(crate) fn status(
    home: &Home,
    flags: &StatusFlags,
    stdout: &mut impl Write,
    talk: &Talk,
) -> Result<ExitCode, Failure> {
    let mut all = Vec::new();
    let present = system::instances(home);
    if let Some(name) = &flags.name
        && !present
            .iter()
            .any(|one| one.name == *name && one.control.is_some())
    {
        return Err(not_up(name, present.iter().any(|one| one.name == *name)));
    }
    for one in present {
        if flags.name.as_ref().is_some_and(|name| *name != one.name) {
            continue;
        }
        match one.control {
            Some(path) => all.push(control::ask(&path).map_err(|error| {
                Failure::failed(format!("{} does not answer: {error}", one.name))
                    .advise("it may be starting or ending; try again")
            })?),
            None => talk.warn(not_up(&one.name, true)),
        }
    }
    let shown = show(&all, flags)
        .map_err(|error| Failure::failed(format!("cannot write the status: {error}")))?;
    stdout
        .write_all(shown.as_bytes())
        .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))?;
    if all.is_empty() {
        talk.note("no network is up");
    }
    Ok(ExitCode::Done)
}

fn show(all: &[Status], flags: &StatusFlags) -> serde_json::Result<String> {
    Ok(match (flags.json, flags.metrics) {
        (true, _) => format!("{}\n", serde_json::to_string(all)?),
        (_, true) => metrics(all),
        _ => text(all),
    })
}

fn which(names: &[String]) -> Failure {
    let names = names.join(", ");
    Failure::usage(format!("there are several networks: {names}"))
        .advise("say which: dvpn down NAME")
}

fn not_up(name: &str, has_left_something: bool) -> Failure {
    match has_left_something {
        true => Failure::failed(format!("{name} was killed and has left changes"))
            .advise(format!("undo them with: dvpn down {name}")),
        false => Failure::failed(format!("{name} is not up"))
            .advise(format!("start it with: dvpn up {name}")),
    }
}
