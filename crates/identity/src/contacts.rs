//! The contact book: short names for peers, kept in `contacts.toml`.
//!
//! ```toml
//! [[peer]]
//! name = "laptop"
//! id = "jgaw…"
//! hints = ["192.0.2.7:4433"]      # may be left out
//! ```
//! Saving writes the whole file anew, sorted by name; comments are not kept.

mod file;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::atomic_file;
use crate::device_id::DeviceId;
use crate::peer_address::{Alias, PeerAddress, PeerArgument};
use crate::suggestion;

pub use file::{ContactsFault, ParseContactsError};

/// Contacts that a book may hold: more than a person keeps, and a bound on what a file can cost.
pub const MAX_CONTACTS: usize = 4096;
/// Bytes of the longest file that is read or written.
pub const MAX_CONTACTS_FILE_LEN: usize = 1024 * 1024;

const CONTACTS_FILE_MODE: u32 = 0o600;

/// Names of peers. A name stands for one address; a device may have several names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contacts {
    by_name: BTreeMap<Alias, PeerAddress>,
}

impl Contacts {
    /// Reads the book at `path`. A missing file is an empty book.
    ///
    /// # Errors
    /// [`ContactsError`]; a bad line is named with its number and key.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ContactsError> {
        let path = path.as_ref();
        let fail = |source| ContactsError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(fail(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_CONTACTS_FILE_LEN as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        if bytes.len() > MAX_CONTACTS_FILE_LEN {
            return Err(ContactsError::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = String::from_utf8(bytes).map_err(|_| ContactsError::NotUtf8 {
            path: path.to_owned(),
        })?;
        Self::from_toml(&text).map_err(|source| ContactsError::Parse {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the book to `path`, atomically, with mode 0600. Missing directories are made with
    /// mode 0700.
    ///
    /// # Errors
    /// [`ContactsError::TooLarge`], [`ContactsError::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ContactsError> {
        let path = path.as_ref();
        let text = self.to_toml();
        if text.len() > MAX_CONTACTS_FILE_LEN {
            return Err(ContactsError::TooLarge {
                path: path.to_owned(),
            });
        }
        atomic_file::create_private_parent(path)
            .and_then(|()| atomic_file::replace(path, text.as_bytes(), CONTACTS_FILE_MODE))
            .map_err(|source| ContactsError::Write {
                path: path.to_owned(),
                source,
            })
    }

    /// Reads a book from the text of its file.
    ///
    /// # Errors
    /// [`ParseContactsError`] with the line.
    pub fn from_toml(text: &str) -> Result<Self, ParseContactsError> {
        file::parse(text)
    }

    /// The text of the book's file, sorted by name.
    pub fn to_toml(&self) -> String {
        file::write(self)
    }

    /// Adds a contact under a name that is not taken.
    ///
    /// # Errors
    /// [`AddContactError`]; the book is then unchanged.
    pub fn add(&mut self, name: Alias, address: PeerAddress) -> Result<(), AddContactError> {
        if let Some(known) = self.by_name.get(&name) {
            return Err(AddContactError::Taken { name, id: known.id });
        }
        if self.by_name.len() == MAX_CONTACTS {
            return Err(AddContactError::Full);
        }
        self.by_name.insert(name, address);
        Ok(())
    }

    /// Removes a contact and gives its address.
    ///
    /// # Errors
    /// [`UnknownAlias`].
    pub fn remove(&mut self, name: &Alias) -> Result<PeerAddress, UnknownAlias> {
        self.by_name.remove(name).ok_or_else(|| self.unknown(name))
    }

    /// Gives a contact another name.
    ///
    /// # Errors
    /// [`RenameContactError`]; the book is then unchanged.
    pub fn rename(&mut self, from: &Alias, to: Alias) -> Result<(), RenameContactError> {
        let Some(address) = self.by_name.get(from) else {
            return Err(self.unknown(from).into());
        };
        if let Some(known) = self.by_name.get(&to).filter(|_| *from != to) {
            return Err(RenameContactError::Taken {
                id: known.id,
                name: to,
            });
        }
        let address = address.clone();
        self.by_name.remove(from);
        self.by_name.insert(to, address);
        Ok(())
    }

    /// The address that an argument of a tool stands for.
    ///
    /// # Errors
    /// [`UnknownAlias`], with a name that may have been meant.
    pub fn resolve(&self, argument: &PeerArgument) -> Result<PeerAddress, UnknownAlias> {
        match argument {
            PeerArgument::Address(address) => Ok(address.clone()),
            PeerArgument::Alias(name) => match self.by_name.get(name) {
                Some(address) => Ok(address.clone()),
                None => Err(self.unknown(name)),
            },
        }
    }

    /// The name of a device: the first in order when it has several.
    pub fn alias_of(&self, id: &DeviceId) -> Option<&Alias> {
        self.iter()
            .find(|(_, address)| address.id == *id)
            .map(|(name, _)| name)
    }

    /// The contacts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Alias, &PeerAddress)> {
        self.by_name.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn unknown(&self, name: &Alias) -> UnknownAlias {
        let names = self.by_name.keys().map(Alias::as_str);
        let suggestion = suggestion::closest(name.as_str(), names);
        let suggestion = suggestion.and_then(|found| found.parse().ok());
        UnknownAlias {
            name: name.clone(),
            suggestion,
        }
    }
}

/// A name that is not in the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAlias {
    /// The name.
    pub name: Alias,
    /// The name of the book that is most like it, if one is like it at all.
    pub suggestion: Option<Alias>,
}

impl std::error::Error for UnknownAlias {}

impl std::fmt::Display for UnknownAlias {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no contact is called {}", self.name)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " (did you mean {suggestion}?)"),
            None => Ok(()),
        }
    }
}

/// Why a contact could not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddContactError {
    /// The name belongs to a contact already.
    #[error("the name {name} is taken by {}…", id.short())]
    Taken {
        /// The name.
        name: Alias,
        /// The device that has it.
        id: DeviceId,
    },
    /// The book holds [`MAX_CONTACTS`].
    #[error("there are {MAX_CONTACTS} contacts already")]
    Full,
}

/// Why a contact could not be renamed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenameContactError {
    /// Nobody has the old name.
    #[error(transparent)]
    Unknown(#[from] UnknownAlias),
    /// Somebody has the new name.
    #[error("the name {name} is taken by {}…", id.short())]
    Taken {
        /// The name.
        name: Alias,
        /// The device that has it.
        id: DeviceId,
    },
}

/// Why a contact book could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContactsError {
    /// The system refused to read.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused to write.
    #[error("{path:?} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More than [`MAX_CONTACTS_FILE_LEN`] bytes, there or to be written.
    #[error("{path:?} would be longer than the {MAX_CONTACTS_FILE_LEN} bytes of a contact book")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are no text.
    #[error("{path:?} is not UTF-8 text")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A bad line.
    #[error("{path:?} is not a contact book")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        source: ParseContactsError,
    },
}
