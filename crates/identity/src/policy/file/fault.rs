//! What can be wrong with a policy file.

use std::fmt;
use std::io;

use super::{MAX_ENTRIES, MAX_GRANTED, SCHEMA_VERSION};
use crate::capability::ParseCapabilityIdError;
use crate::certificate::{ParseNameError, PemError, TrustError};
use crate::contacts::UnknownAlias;
use crate::peer_address::ParseAliasError;
use crate::policy::{MAX_AUTHORITIES, ParsePermissionError};

/// A text that is no policy.
#[derive(Debug)]
pub struct ParsePolicyError {
    /// The line, counted from 1.
    pub line: usize,
    /// The key that it is about, if it is about one.
    pub key: Option<String>,
    /// What is wrong.
    pub fault: PolicyFault,
}

impl fmt::Display for ParsePolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "line {}, key {key:?}", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

impl std::error::Error for ParsePolicyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.fault)
    }
}

/// What is wrong with a line of a policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// It is not TOML.
    #[error("{message}")]
    Syntax {
        /// What the TOML parser said.
        message: String,
    },
    /// Another version of the schema.
    #[error("this program knows version {SCHEMA_VERSION} of the policy and no other")]
    Version,
    /// A key that means nothing here.
    #[error("unknown key {key:?} (known here: {known})")]
    UnknownKey {
        /// The key, shortened.
        key: String,
        /// The keys that are known in its place.
        known: String,
    },
    /// A table without a key that it needs.
    #[error("the key {key:?} is missing")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A value of the wrong type.
    #[error("it must be {wanted}")]
    Type {
        /// What it must be.
        wanted: &'static str,
    },
    /// A list that says nothing.
    #[error("the list is empty")]
    Empty,
    /// A time without its zone.
    #[error("a time is a date, the time of day and its zone, as in 2027-01-01T00:00:00Z")]
    Time,
    /// A bad name of a rule, a CA or a group.
    #[error("the name cannot be used")]
    Name(#[source] ParseNameError),
    /// A name with a character that separates names.
    #[error("the name of a CA has no \"/\"")]
    Slash,
    /// A name that another has.
    #[error("{name:?} is there twice (first in line {first})")]
    NameTwice {
        /// The name.
        name: String,
        /// The line of the first.
        first: usize,
    },
    /// A grant that is there already.
    #[error("{who:?} may {permission} already by line {first}")]
    GrantTwice {
        /// Who, as it stands there.
        who: String,
        /// What.
        permission: String,
        /// The line of the first.
        first: usize,
    },
    /// Neither an id nor a name nor one of the words for several.
    #[error("{found:?} is no peer (a contact, an id, ca:NAME, group:CA/GROUP, anyone)")]
    Who {
        /// The text, shortened.
        found: String,
        /// Why it is no contact's name.
        source: ParseAliasError,
    },
    /// A contact that is not in the book.
    #[error("the contact is not known")]
    Contact(#[source] UnknownAlias),
    /// A CA that the file does not define.
    #[error("there is no [[ca]] with the name {name:?}")]
    Authority {
        /// The name, shortened.
        name: String,
    },
    /// A group without its CA.
    #[error("a group is named with its CA: group:CA/GROUP")]
    GroupWithoutAuthority,
    /// Several peers where single ones are wanted.
    #[error("only contacts and ids can stand here, not {found:?}, which stands for several")]
    Several {
        /// The text.
        found: String,
    },
    /// Neither a CA nor a group.
    #[error("only ca:NAME and group:CA/GROUP can stand here")]
    NotMembership,
    /// A bad permission or action.
    #[error("{found:?} cannot be used")]
    Permission {
        /// The text, shortened.
        found: String,
        /// What is wrong.
        source: ParsePermissionError,
    },
    /// Neither `allow` nor `deny`.
    #[error("it must be \"allow\" or \"deny\"")]
    Expect,
    /// A bad serial of a capability.
    #[error("{found:?} is no capability")]
    Capability {
        /// The text, shortened.
        found: String,
        /// What is wrong.
        source: ParseCapabilityIdError,
    },
    /// A certificate or a revocation list that cannot be read.
    #[error("{file:?} cannot be read")]
    File {
        /// The file, as it is named there.
        file: String,
        /// What is wrong.
        source: io::Error,
    },
    /// A file that does not hold what it should.
    #[error("{file:?} cannot be used")]
    Pem {
        /// The file, as it is named there.
        file: String,
        /// What is wrong.
        source: PemError,
    },
    /// A certificate that is no CA's, or a list that is not by it.
    #[error("{file:?} cannot be trusted")]
    Trust {
        /// The file, as it is named there.
        file: String,
        /// What is wrong.
        source: TrustError,
    },
    /// Over [`MAX_AUTHORITIES`].
    #[error("more than {MAX_AUTHORITIES} CAs")]
    TooManyAuthorities,
    /// Over [`MAX_ENTRIES`].
    #[error("more than {MAX_ENTRIES} entries of one kind")]
    TooManyEntries,
    /// Over [`MAX_GRANTED`].
    #[error("the rules grant more than {MAX_GRANTED} permissions to peers")]
    TooManyGrants,
}
