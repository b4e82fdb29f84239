//! The file `policy.toml`: the schema, read strictly.
//!
//! ```toml
//! version = 1
//!
//! [[ca]]                              # a CA that rules may name
//! name = "home"
//! certificate = "home.crt"            # PEM; a relative path starts at this file
//! crl = "home.crl"                    # may be left out
//!
//! [[rule]]
//! name = "ssh"                        # may be left out; for logs
//! who = ["laptop", "jgaw…", "ca:home", "group:home/admins", "anyone"]
//! allow = ["dnc.target 127.0.0.1:22", "dsh.*"]
//! until = 2027-01-01T00:00:00Z        # may be left out
//!
//! [[ban]]
//! who = ["lost-phone"]                # contacts and ids
//!
//! [capabilities]
//! accept = true                       # those that this device signs; true unless said
//! issuers = ["laptop"]                # further devices whose capabilities count
//! revoked = ["00112233445566778899aabbccddeeff"]
//!
//! [[test]]
//! peer = "laptop"
//! member-of = ["group:home/admins"]   # as if it showed a certificate; may be left out
//! action = "dnc.target 127.0.0.1:22"
//! at = 2026-12-01T00:00:00Z           # the present unless said
//! expect = "allow"
//! ```
//! What permissions look like is told in [`permission`](super::permission). An unknown key, a bad
//! value, a name or a grant that is there twice, and a file that cannot be read are errors that
//! name line and key; nothing of the policy is then in force.

mod authorities;
mod entries;
mod fault;
mod place;
mod table;

use std::io;
use std::path::{Path, PathBuf};

use super::Policy;
use crate::contacts::Contacts;
use crate::device_id::DeviceId;
use crate::text_file;

pub use fault::{ParsePolicyError, PolicyFault};

/// The version of the schema.
pub const SCHEMA_VERSION: i64 = 1;
/// Bytes of the longest policy file.
pub const MAX_POLICY_FILE_LEN: usize = 1024 * 1024;
/// Entries of one kind (rules, bans, tests) that a file may hold.
pub const MAX_ENTRIES: usize = 4096;
/// Pairs of a subject and a permission that the rules of a file may grant: each rule grants
/// `who` × `allow`.
pub const MAX_GRANTED: usize = 64 * 1024;

/// What a policy file is read with.
pub struct Surroundings<'a> {
    /// The names of peers.
    pub contacts: &'a Contacts,
    /// The device whose policy it is: its own capabilities count, unless the file says otherwise.
    pub own: Option<DeviceId>,
}

/// A policy that was read, and the files that it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedPolicy {
    /// The policy.
    pub policy: Policy,
    /// The file itself, certificates and revocation lists: when one of them changes, the policy
    /// has to be read again.
    pub files: Vec<PathBuf>,
}

impl Policy {
    /// Reads the policy file at `path` and the certificates and revocation lists that it names. On
    /// Unix a file that everybody may change is refused.
    ///
    /// # Errors
    /// [`PolicyFileError`]; a bad line is named with its number and key.
    pub fn load(
        path: impl AsRef<Path>,
        surroundings: &Surroundings<'_>,
    ) -> Result<LoadedPolicy, PolicyFileError> {
        let path = path.as_ref();
        let text = text_file::read_trusted(path, MAX_POLICY_FILE_LEN).map_err(|source| {
            PolicyFileError::Read {
                path: path.to_owned(),
                source,
            }
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut files = vec![path.to_owned()];
        let mut read = |named: &Path, limit: usize| {
            let file = folder.join(named);
            files.push(file.clone());
            text_file::read_trusted(&file, limit)
        };
        let policy = entries::parse(&text, surroundings, &mut read);
        match policy {
            Ok(policy) => Ok(LoadedPolicy { policy, files }),
            Err(source) => Err(PolicyFileError::Parse {
                path: path.to_owned(),
                source: Box::new(source),
            }),
        }
    }

    /// Reads a policy from the text of its file. The certificates and revocation lists that it
    /// names come from `read`, which gets the path as it stands there.
    ///
    /// # Errors
    /// [`ParsePolicyError`] with line and key.
    pub fn from_toml(
        text: &str,
        surroundings: &Surroundings<'_>,
        mut read: impl FnMut(&Path) -> io::Result<String>,
    ) -> Result<Self, ParsePolicyError> {
        entries::parse(text, surroundings, &mut |path, _| read(path))
    }
}

/// Text files that a policy names, up to a limit in bytes.
type ReadNamed<'a, 'f> = &'a mut (dyn FnMut(&Path, usize) -> io::Result<String> + 'f);

/// Why a policy file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFileError {
    /// The system refused, the file is no text up to [`MAX_POLICY_FILE_LEN`], or everybody may
    /// change it.
    #[error("the policy {path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// A bad line.
    #[error("the policy {path:?} is not in order")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, key, and what is wrong.
        source: Box<ParsePolicyError>,
    },
}
