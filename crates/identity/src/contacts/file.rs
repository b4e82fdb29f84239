//! The text of `contacts.toml`, read strictly: each fault is named with its line and key.

use std::fmt::{self, Write};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{AddContactError, Contacts, MAX_CONTACTS};
use crate::device_id::{DeviceId, ParseDeviceIdError};
use crate::peer_address::{
    Alias, ParseAliasError, ParsePeerAddressError, PeerAddress, parse_hints, shorten,
};

const PEER: &str = "peer";
const NAME: &str = "name";
const ID: &str = "id";
const HINTS: &str = "hints";

const HEADER: &str = "# Contacts: names for peers. Written anew at every change.\n";

/// A text that is no contact book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}")]
pub struct ParseContactsError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub fault: ContactsFault,
}

/// What is wrong with a line of a contact book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContactsFault {
    /// It is not TOML.
    #[error("{message}")]
    Syntax {
        /// What the TOML parser said.
        message: String,
    },
    /// A key that means nothing here.
    #[error("unknown key {key:?} (known here: {known})")]
    UnknownKey {
        /// The key.
        key: String,
        /// The keys that are known in its place.
        known: &'static str,
    },
    /// A `[[peer]]` without a key that it needs.
    #[error("the key {key:?} is missing")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A value of the wrong type.
    #[error("{key:?} must be {wanted}")]
    Type {
        /// The key.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A bad `name`.
    #[error("bad {NAME:?}")]
    Name(#[source] ParseAliasError),
    /// A bad `id`.
    #[error("bad {ID:?}")]
    Id(#[source] ParseDeviceIdError),
    /// Bad `hints`.
    #[error("bad {HINTS:?}")]
    Hints(#[source] ParsePeerAddressError),
    /// A second contact of that name.
    #[error("the name {name} is there twice")]
    Twice {
        /// The name.
        name: Alias,
    },
    /// More than [`MAX_CONTACTS`].
    #[error("more than {MAX_CONTACTS} contacts")]
    TooMany,
}

pub(super) fn write(contacts: &Contacts) -> String {
    let mut text = String::from(HEADER);
    for (name, address) in contacts.iter() {
        // Names, ids and addresses hold nothing that TOML would want escaped.
        let _ = write!(
            text,
            "\n[[{PEER}]]\n{NAME} = \"{name}\"\n{ID} = \"{}\"\n",
            address.id
        );
        if !address.hints.is_empty() {
            let _ = writeln!(text, "{HINTS} = {}", QuotedList(&address.hints));
        }
    }
    text
}

struct QuotedList<'l, T>(&'l [T]);

impl<T: fmt::Display> fmt::Display for QuotedList<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            write!(f, "{}\"{item}\"", if index == 0 { "[" } else { ", " })?;
        }
        f.write_str("]")
    }
}

pub(super) fn parse(text: &str) -> Result<Contacts, ParseContactsError> {
    parse_table(text).map_err(|Fault { at, fault }| {
        let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ParseContactsError { line, fault }
    })
}

/// A fault and the byte at which it stands.
struct Fault {
    at: usize,
    fault: ContactsFault,
}

impl ContactsFault {
    fn at<T>(self, place: &Spanned<T>) -> Fault {
        Fault {
            at: place.span().start,
            fault: self,
        }
    }
}

fn parse_table(text: &str) -> Result<Contacts, Fault> {
    let table = DeTable::parse(text).map_err(|error| Fault {
        at: error.span().map_or(0, |span| span.start),
        fault: ContactsFault::Syntax {
            message: error.message().to_owned(),
        },
    })?;
    let mut contacts = Contacts::default();
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            PEER => {
                let wanted = ContactsFault::Type {
                    key: PEER,
                    wanted: "a list ([[peer]])",
                };
                let DeValue::Array(peers) = value.get_ref() else {
                    return Err(wanted.at(value));
                };
                for peer in peers {
                    add_peer(&mut contacts, peer)?;
                }
            }
            other => {
                let key_text = shorten(other);
                return Err(ContactsFault::UnknownKey {
                    key: key_text,
                    known: PEER,
                }
                .at(key));
            }
        }
    }
    Ok(contacts)
}

fn add_peer(contacts: &mut Contacts, place: &Spanned<DeValue<'_>>) -> Result<(), Fault> {
    let DeValue::Table(entry) = place.get_ref() else {
        return Err(ContactsFault::Type {
            key: PEER,
            wanted: "a table ([[peer]])",
        }
        .at(place));
    };
    for key in entry.keys() {
        if ![NAME, ID, HINTS].contains(&key.get_ref().as_ref()) {
            let known = "name, id, hints";
            let key_text = shorten(key.get_ref());
            return Err(ContactsFault::UnknownKey {
                key: key_text,
                known,
            }
            .at(key));
        }
    }
    let (name, name_place) = required(entry, NAME, place)?;
    let name: Alias = name
        .parse()
        .map_err(|e| ContactsFault::Name(e).at(name_place))?;
    let (id, id_place) = required(entry, ID, place)?;
    let id: DeviceId = id.parse().map_err(|e| ContactsFault::Id(e).at(id_place))?;
    let hints = match entry.get(HINTS) {
        None => Vec::new(),
        Some(list) => {
            let texts = texts(list)?;
            parse_hints(texts.into_iter()).map_err(|e| ContactsFault::Hints(e).at(list))?
        }
    };
    contacts
        .add(name, PeerAddress { id, hints })
        .map_err(|error| match error {
            AddContactError::Taken { name, .. } => ContactsFault::Twice { name }.at(name_place),
            AddContactError::Full => ContactsFault::TooMany.at(place),
        })
}

fn required<'t, 'i>(
    entry: &'t DeTable<'i>,
    key: &'static str,
    place: &Spanned<DeValue<'i>>,
) -> Result<(&'t str, &'t Spanned<DeValue<'i>>), Fault> {
    let value = entry
        .get(key)
        .ok_or_else(|| ContactsFault::MissingKey { key }.at(place))?;
    match value.get_ref() {
        DeValue::String(text) => Ok((text.as_ref(), value)),
        _ => Err(ContactsFault::Type {
            key,
            wanted: "a text",
        }
        .at(value)),
    }
}

fn texts<'t>(list: &'t Spanned<DeValue<'_>>) -> Result<Vec<&'t str>, Fault> {
    let wanted = || ContactsFault::Type {
        key: HINTS,
        wanted: "a list of texts",
    };
    let DeValue::Array(items) = list.get_ref() else {
        return Err(wanted().at(list));
    };
    items
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::String(text) => Ok(text.as_ref()),
            _ => Err(wanted().at(item)),
        })
        .collect()
}
