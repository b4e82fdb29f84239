//! The identity of this device: made, told, copied, taken over.

use std::path::Path;

use dhtnet_cli::Failure;
use dhtnet_cli::own_identity::{load_contacts, new_key};
use dhtnet_identity::certificate::{Certificate, Request};
use dhtnet_identity::device_key::{KeyPemError, Passphrase};
use dhtnet_identity::key_file::{self, KeyFileError};
use dhtnet_identity::{Alias, DeviceKey, PeerAddress};
use serde_json::json;

use crate::answer::Answer;
use crate::desk::{Desk, cannot, generator};
use crate::flags::{Export, Id, Import, Init};
use crate::{contact_book, qr, show};

/// A new identity, never over an old one.
pub(crate) fn init(flags: &Init, desk: &Desk<'_>) -> Result<Answer, Failure> {
    refuse_existing(desk)?;
    let word = match flags.passphrase {
        true => Some(desk.flags.new_passphrase()?),
        false => None,
    };
    let key = new_key()?;
    make(&key, word.as_ref(), flags.name.as_ref(), desk)?;
    let path = desk.flags.identity_path(desk.home);
    let id = key.id();
    desk.talk
        .note(format_args!("made a new identity in {}", path.display()));
    let called = flags
        .name
        .as_ref()
        .map_or_else(|| "NAME".to_owned(), ToString::to_string);
    desk.talk.note(format_args!(
        "others can name this device with: crtmgr peer add {called} {id}"
    ));
    let json = json!({ "id": id.to_string(), "identity": path,
                       "name": flags.name.as_ref().map(ToString::to_string) });
    Ok(Answer::new(format!("{id}\n"), json))
}

/// Writes the key into the home, and its name into the contacts.
pub(crate) fn make(
    key: &DeviceKey,
    passphrase: Option<&Passphrase>,
    name: Option<&Alias>,
    desk: &Desk<'_>,
) -> Result<(), Failure> {
    desk.home.prepare()?;
    // The name first: when it is taken, nothing has been made.
    let mut contacts = load_contacts(desk.home)?;
    if let Some(name) = name {
        contact_book::add(&mut contacts, name, &PeerAddress::from(key.id()))?;
    }
    create(&desk.flags.identity_path(desk.home), key, passphrase).map_err(in_the_way)?;
    if name.is_some() {
        contact_book::save(&contacts, desk.home)?;
    }
    Ok(())
}

/// Before anybody is asked for a passphrase; the writing itself refuses again.
fn refuse_existing(desk: &Desk<'_>) -> Result<(), Failure> {
    let path = desk.flags.identity_path(desk.home);
    match path.symlink_metadata() {
        Ok(_) => Err(in_the_way(KeyFileError::Exists { path })),
        Err(_) => Ok(()),
    }
}

fn create(path: &Path, key: &DeviceKey, word: Option<&Passphrase>) -> Result<(), KeyFileError> {
    match word {
        None => key_file::create(path, key),
        Some(word) => {
            let mut rng = generator().map_err(|failure| KeyFileError::Io {
                path: path.to_owned(),
                source: std::io::Error::other(failure.to_string()),
            })?;
            key_file::create_protected(path, key, word, &mut rng)
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // The shape that map_err wants.
fn in_the_way(error: KeyFileError) -> Failure {
    let failure = cannot("make the identity", &error);
    match error {
        KeyFileError::Exists { .. } => {
            failure.advise("see its id with: crtmgr id; move the file away to get a new one")
        }
        _ => failure,
    }
}

/// `crtmgr id`.
pub(crate) fn id(flags: &Id, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let id = match &flags.certificate {
        Some(path) => {
            let certificate =
                Certificate::load(path).map_err(|error| cannot("use the certificate", &error))?;
            show::warn_of_end(&certificate, desk);
            *certificate.key()
        }
        None => desk.flags.load_or_create_key(desk.home, desk.talk)?.id(),
    };
    let mut text = format!("{id}\n");
    let mut json = json!({ "id": id.to_string() });
    if flags.qr {
        let code = qr::text(&id.to_string())?;
        text.push_str(&code);
        json["qr"] = json!(code);
    }
    Ok(Answer::new(text, json))
}

/// `crtmgr export`: the key goes to a private file, and never to stdout.
pub(crate) fn export(flags: &Export, desk: &Desk<'_>) -> Result<Answer, Failure> {
    let key = desk.key()?;
    if let Some(name) = &flags.request {
        let pem = Request::new(&key, name).to_pem();
        let json = json!({ "id": key.id().to_string(), "name": name.as_str(), "pem": pem });
        return Ok(Answer::new(pem, json));
    }
    let Some(path) = &flags.output else {
        return Err(Failure::usage("the copy needs a file").advise("give -o FILE"));
    };
    let word = match flags.passphrase {
        true => Some(desk.flags.new_passphrase()?),
        false => None,
    };
    create(path, &key, word.as_ref()).map_err(|error| cannot("copy the identity", &error))?;
    desk.talk.note(format_args!(
        "{} is this device for whoever has it{}",
        path.display(),
        if flags.passphrase {
            " and the passphrase"
        } else {
            ""
        }
    ));
    let json = json!({ "id": key.id().to_string(), "file": path });
    Ok(Answer::new(format!("{}\n", path.display()), json))
}

/// `crtmgr import`.
pub(crate) fn import(flags: &Import, desk: &Desk<'_>) -> Result<Answer, Failure> {
    refuse_existing(desk)?;
    let read = read_key(&flags.file, desk)?;
    let word = match (read.passphrase, flags.passphrase) {
        (None, true) => Some(desk.flags.new_passphrase()?),
        (known, _) => known,
    };
    make(&read.key, word.as_ref(), None, desk)?;
    let path = desk.flags.identity_path(desk.home);
    let id = read.key.id();
    desk.talk.note(format_args!(
        "took over an identity into {}",
        path.display()
    ));
    let json = json!({ "id": id.to_string(), "identity": path });
    Ok(Answer::new(format!("{id}\n"), json))
}

/// A key that was read, with what opened it.
pub(crate) struct ReadKey {
    pub(crate) key: DeviceKey,
    pub(crate) passphrase: Option<Passphrase>,
}

/// Reads any key file, and asks for its passphrase if it has one.
pub(crate) fn read_key(path: &Path, desk: &Desk<'_>) -> Result<ReadKey, Failure> {
    let read = match key_file::load(path) {
        Err(KeyFileError::Garbage {
            source: KeyPemError::Encrypted,
            ..
        }) => {
            let word = desk.flags.passphrase_of(path)?;
            key_file::load_protected(path, &word).map(|key| ReadKey {
                key,
                passphrase: Some(word),
            })
        }
        read => read.map(|key| ReadKey {
            key,
            passphrase: None,
        }),
    };
    read.map_err(|error| cannot("use the key", &error))
}
