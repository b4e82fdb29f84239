//! `config.toml`: who may connect, and what is served to them.

use std::fs;
use std::io;

use dhtnet_cli::Failure;
use dhtnet_identity::atomic_file;
use toml::{Table, Value};

use crate::desk::Desk;

const MODE: u32 = 0o600;

/// What a configuration that is there has of what is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It names exactly these targets: `dnc -l` is enough.
    Configured,
    /// It does not, so that they have to be named to `dnc`.
    ToBeNamed,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) served: Served,
    /// Whether the home now lets anybody connect.
    pub(super) admits: bool,
}

/// Writes a configuration that lets these contacts connect and serves these targets; without contacts
/// none is made. One that is there is left as it is, and has to name the contacts already.
pub(super) fn write(
    names: &[String],
    targets: &[String],
    desk: &Desk<'_>,
) -> Result<Written, Failure> {
    let path = desk.home.configuration_file();
    if names.is_empty() && path.symlink_metadata().is_err() {
        return Ok(Written {
            served: Served::ToBeNamed,
            admits: desk.home.policy_file().exists(),
        });
    }
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("cannot write {}: {error}", path.display()))
    };
    desk.home.prepare()?;
    let text = format!(
        "# Who may connect: contacts and ids.\nallow = {}\n\n\
         [dnc]\n# What dnc -l serves to them, and nothing else. A pipe instead: dnc -l --pipe\n\
         allow-target = {}\n",
        list(names),
        list(targets)
    );
    match atomic_file::create_new(&path, text.as_bytes(), MODE) {
        Ok(()) => {
            desk.talk.note(format_args!("wrote {}", path.display()));
            return Ok(Written {
                served: Served::Configured,
                admits: true,
            });
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(&error)),
    }
    let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
    let table = text
        .parse::<Table>()
        .map_err(|error| failed(&error.message()))?;
    let mut allowed = texts(table.get("allow"));
    let configured = table.get("dnc").and_then(|dnc| dnc.get("allow-target"));
    let served = match texts(configured) == targets {
        true => Served::Configured,
        false => Served::ToBeNamed,
    };
    if names.iter().all(|name| allowed.contains(name)) {
        let others = table.contains_key("allow-ca") || desk.home.policy_file().exists();
        let anyone = table.get("anonymous") == Some(&Value::Boolean(true));
        let admits = !allowed.is_empty() || others || anyone;
        return Ok(Written { served, admits });
    }
    for name in names {
        if !allowed.contains(name) {
            allowed.push(name.clone());
        }
    }
    Err(Failure::failed(format!(
        "{} is there already and is not overwritten",
        path.display()
    ))
    .advise(format!(
        "put this line at its top: allow = {}",
        list(&allowed)
    )))
}

fn list(texts: &[String]) -> String {
    Value::from(texts.to_vec()).to_string()
}

/// A text, or a list of texts.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}
