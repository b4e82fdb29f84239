//! `config.toml`: who may connect.

use std::fs;
use std::io;

use dhtnet_cli::Failure;
use dhtnet_identity::atomic_file;
use toml::{Table, Value};

use crate::desk::Desk;

const MODE: u32 = 0o600;

/// Writes a configuration that lets these contacts connect. One that is there is left as it is, and
/// has to name them already.
pub(super) fn allow(names: &[String], desk: &Desk<'_>) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let path = desk.home.configuration_file();
    let list: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let line = format!("allow = [{}]", list.join(", "));
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("cannot write {}: {error}", path.display()))
    };
    desk.home.prepare()?;
    let text = format!("# Who may connect: contacts and ids.\n{line}\n");
    match atomic_file::create_new(&path, text.as_bytes(), MODE) {
        Ok(()) => {
            desk.talk.note(format_args!("wrote {}", path.display()));
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(&error)),
    }
    let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
    let allowed = allowed(
        &text
            .parse::<Table>()
            .map_err(|error| failed(&error.message()))?,
    );
    if names.iter().all(|name| allowed.contains(name)) {
        return Ok(());
    }
    let mut all = allowed;
    all.extend(
        names
            .iter()
            .filter(|name| !all.contains(name))
            .cloned()
            .collect::<Vec<_>>(),
    );
    let all: Vec<String> = all.iter().map(|name| format!("{name:?}")).collect();
    Err(Failure::failed(format!(
        "{} is there already and is not overwritten",
        path.display()
    ))
    .advise(format!(
        "put this line at its top: allow = [{}]",
        all.join(", ")
    )))
}

fn allowed(table: &Table) -> Vec<String> {
    match table.get("allow") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}
