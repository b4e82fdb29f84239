//! `crtmgr peer`: the contact book.

use std::fs::File;
use std::io;

use dhtnet_cli::failure::chain;
use dhtnet_cli::own_identity::load_contacts;
use dhtnet_cli::pages::RESERVED_NAMES;
use dhtnet_cli::{Failure, Home, Talk};
use dhtnet_identity::contacts::AddContactError;
use dhtnet_identity::{Alias, Contacts, PeerAddress};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::flags::PeerCommand;

/// Runs one command on the book of `home`.
pub(crate) fn run(command: &PeerCommand, home: &Home, talk: &Talk) -> Result<Answer, Failure> {
    let _lock = match command {
        PeerCommand::List => None,
        PeerCommand::Add { name: new, .. } | PeerCommand::Rename { to: new, .. } => {
            refuse_reserved(new)?;
            Some(lock(home)?)
        }
        PeerCommand::Rm { .. } => Some(lock(home)?),
    };
    let mut contacts = load_contacts(home)?;
    match command {
        PeerCommand::List => Ok(list(&contacts, talk)),
        PeerCommand::Add { name, address } => {
            add(&mut contacts, name, address)?;
            save(&contacts, home)?;
            talk.note(format_args!("{name} is {address}"));
            Ok(changed(name, address))
        }
        PeerCommand::Rm { name } => {
            let address = contacts
                .remove(name)
                .map_err(|error| Failure::usage(error.to_string()))?;
            save(&contacts, home)?;
            talk.note(format_args!("removed {name}, which was {address}"));
            Ok(changed(name, &address))
        }
        PeerCommand::Rename { from, to } => {
            contacts
                .rename(from, to.clone())
                .map_err(|error| Failure::usage(error.to_string()))?;
            save(&contacts, home)?;
            talk.note(format_args!("{from} is now called {to}"));
            let json = json!({ "from": from.to_string(), "to": to.to_string() });
            Ok(Answer::change(json))
        }
    }
}

/// Keeps other commands from changing the book until it is dropped: of two contacts that are added at
/// the same moment none may be lost.
pub(crate) fn lock(home: &Home) -> Result<File, Failure> {
    home.prepare()?;
    let folder = home.config();
    let locked = || {
        let folder = File::open(folder)?;
        folder.lock()?;
        Ok(folder)
    };
    locked().map_err(|error: io::Error| {
        Failure::failed(format!("cannot lock {}: {error}", folder.display()))
    })
}

/// Puts a contact into the book; the same contact again is no error.
pub(crate) fn add(
    contacts: &mut Contacts,
    name: &Alias,
    address: &PeerAddress,
) -> Result<(), Failure> {
    refuse_reserved(name)?;
    if contacts.iter().any(|known| known == (name, address)) {
        return Ok(());
    }
    contacts
        .add(name.clone(), address.clone())
        .map_err(|error| {
            let failure = Failure::failed(format!("cannot add the contact: {error}"));
            match error {
                AddContactError::Taken { .. } => failure.advise(format!(
                    "choose another name, or remove it with: crtmgr peer rm {name}"
                )),
                _ => failure,
            }
        })
}

/// Writes the book back.
pub(crate) fn save(contacts: &Contacts, home: &Home) -> Result<(), Failure> {
    home.prepare()?;
    contacts
        .save(home.contacts_file())
        .map_err(|error| Failure::failed(format!("cannot save the contacts: {}", chain(&error))))
}

/// A name that a tool would take for a command cannot be used as a PEER argument.
fn refuse_reserved(name: &Alias) -> Result<(), Failure> {
    let text = name.to_string();
    if RESERVED_NAMES.contains(&text.as_str()) {
        return Err(Failure::usage(format!("{text} is a command of the tools"))
            .advise("choose another name"));
    }
    Ok(())
}

fn list(contacts: &Contacts, talk: &Talk) -> Answer {
    if contacts.is_empty() {
        talk.note("there are no contacts yet; add one with: crtmgr peer add NAME ID");
    }
    let width = contacts
        .iter()
        .map(|(name, _)| name.to_string().len())
        .max()
        .unwrap_or(0);
    let text: String = contacts
        .iter()
        .map(|(name, address)| format!("{:width$}  {address}\n", name.to_string()))
        .collect();
    let json = contacts
        .iter()
        .map(|(name, address)| entry_json(name, address))
        .collect();
    Answer::new(text, json)
}

fn entry_json(name: &Alias, address: &PeerAddress) -> Value {
    json!({ "name": name.to_string(), "id": address.id.to_string(), "hints": address.hints })
}

fn changed(name: &Alias, address: &PeerAddress) -> Answer {
    Answer::change(entry_json(name, address))
}
