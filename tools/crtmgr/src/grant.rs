//! `crtmgr grant`: capabilities, made and passed on.

use std::path::Path;

use dhtnet_cli::Failure;
use dhtnet_cli::failure::chain;
use dhtnet_identity::Capability;
use dhtnet_identity::capability::{TEXT_PREFIX, Terms};

use crate::answer::Answer;
use crate::desk::{Desk, cannot, generator, identity};
use crate::flags::Grant;
use crate::{moment, show};

/// Signs with the identity of this device.
pub(crate) fn run(flags: &Grant, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let until = flags
        .until
        .after(desk.now)
        .ok_or_else(|| Failure::usage("--until is beyond what a clock can say"))?;
    if until <= desk.now {
        return Err(Failure::usage(format!(
            "--until {} is past",
            moment::text(until)
        )));
    }
    let holder = desk.peer(&flags.peer)?;
    let key = desk.key()?;
    let terms = Terms {
        permissions: flags.permissions.clone(),
        until,
        delegable: flags.delegable,
    };
    let mut rng = generator()?;
    let made = match &flags.from {
        None => Capability::grant(&key, holder, &terms, &mut rng),
        Some(from) => read(from)?.delegate(&key, holder, &terms, &mut rng),
    };
    let made = made.map_err(|error| Failure::usage(format!("cannot grant: {}", chain(&error))))?;
    desk.talk.note(format_args!(
        "{} holds it until {}; its serial, to take it back: {}",
        flags.peer,
        moment::text(made.until()),
        made.id()
    ));
    let mut json = show::capability_json(&made);
    json["capability"] = made.to_string().into();
    Ok(Answer::new(format!("{made}\n"), json))
}

/// A capability as its text, or in a file.
pub(crate) fn read(text: &str) -> Result<Capability, Failure> {
    let of_file;
    let text = if text.trim_start().starts_with(TEXT_PREFIX) || !Path::new(text).exists() {
        text
    } else {
        of_file = show::read(Path::new(text))?;
        of_file.as_str()
    };
    text.parse().map_err(|error| match error {
        error @ dhtnet_identity::capability::ParseCapabilityError::Prefix { .. } => {
            identity(format!("cannot use the capability: {error}"))
        }
        error => cannot("use the capability", &error),
    })
}
