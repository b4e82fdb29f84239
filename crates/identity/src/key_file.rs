//! The file that holds a device key: PKCS#8 in PEM, readable by its owner alone.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::atomic_file;
use crate::device_key::{DeviceKey, KeyPemError};

/// Bytes of the longest file that is read: a key of ours takes 119, and this leaves room for a
/// certificate chain beside it.
pub const MAX_KEY_FILE_LEN: usize = 16 * 1024;

const KEY_FILE_MODE: u32 = 0o600;
/// Permission bits of everybody but the owner.
const FOREIGN_BITS: u32 = 0o077;

/// Writes `key` to a new file at `path`, atomically, with mode 0600. Missing directories are made
/// with mode 0700.
///
/// # Errors
/// [`KeyFileError::Exists`] when something is there, which is never overwritten;
/// [`KeyFileError::Io`].
pub fn create(path: impl AsRef<Path>, key: &DeviceKey) -> Result<(), KeyFileError> {
    let path = path.as_ref();
    atomic_file::create_private_parent(path)
        .and_then(|()| atomic_file::create_new(path, key.to_pkcs8_pem().as_bytes(), KEY_FILE_MODE))
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists {
                path: path.to_owned(),
            },
            _ => KeyFileError::Io {
                path: path.to_owned(),
                source,
            },
        })
}

/// Reads the key at `path`.
///
/// # Errors
/// Every variant of [`KeyFileError`] but [`Exists`](KeyFileError::Exists). Permissions that are
/// too wide are no error: see [`LoadedKey::warning`].
pub fn load(path: impl AsRef<Path>) -> Result<LoadedKey, KeyFileError> {
    let path = path.as_ref();
    let (bytes, warning) = read_bounded(path)?;
    parse(&bytes)
        .map(|key| LoadedKey { key, warning })
        .map_err(|source| KeyFileError::Garbage {
            path: path.to_owned(),
            source,
        })
}

/// A key that was read, and what is wrong with its file.
#[derive(Debug, Clone)]
pub struct LoadedKey {
    /// The key.
    pub key: DeviceKey,
    /// Set when others than the owner may use the file. Always `None` where there are no Unix
    /// permissions.
    pub warning: Option<WidePermissions>,
}

/// A key file that others than its owner may read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WidePermissions {
    /// The permission bits, such as `0o644`.
    pub mode: u32,
}

impl fmt::Display for WidePermissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its mode {:04o} lets other users at the key (chmod 600 closes it)",
            self.mode
        )
    }
}

/// Why a key file could not be created or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Nothing is there.
    #[error("there is no key file {path:?}")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// Something is there already.
    #[error("{path:?} is there already and is not overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A directory, a pipe or a device.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// More than [`MAX_KEY_FILE_LEN`] bytes.
    #[error("{path:?} is no key file: it is longer than {MAX_KEY_FILE_LEN} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else than a device key.
    #[error("{path:?} holds no device key")]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What it holds.
        source: KeyPemError,
    },
    /// The system refused.
    #[error("{path:?} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

type Bytes = Zeroizing<Vec<u8>>;

fn read_bounded(path: &Path) -> Result<(Bytes, Option<WidePermissions>), KeyFileError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::NotFound {
            path: path.to_owned(),
        },
        _ => KeyFileError::Io {
            path: path.to_owned(),
            source,
        },
    };
    // Asked by name first: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(KeyFileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(fail)?;
    let warning = wide_permissions(&file.metadata().map_err(fail)?);
    // One byte more than allowed tells a file that is too long; the vector never moves, so no
    // copy of the secret is left behind.
    let limit = MAX_KEY_FILE_LEN + 1;
    let mut bytes = Zeroizing::new(vec![0; limit]);
    let len = read_up_to(&file, &mut bytes).map_err(fail)?;
    if len == limit {
        return Err(KeyFileError::TooLarge {
            path: path.to_owned(),
        });
    }
    bytes.truncate(len);
    Ok((bytes, warning))
}

fn read_up_to(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// The key in the bytes of a file, which may be anything.
fn parse(bytes: &[u8]) -> Result<DeviceKey, KeyPemError> {
    // DER starts with the tag of a sequence, which is also the digit 0, but no text holds a zero
    // byte, and every key in DER does.
    if bytes.first() == Some(&0x30) && bytes.contains(&0) {
        return Err(KeyPemError::Der);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| KeyPemError::NotPem)?;
    DeviceKey::from_pkcs8_pem(text)
}

#[cfg(unix)]
fn wide_permissions(metadata: &fs::Metadata) -> Option<WidePermissions> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o7777;
    (mode & FOREIGN_BITS != 0).then_some(WidePermissions { mode })
}

#[cfg(not(unix))]
fn wide_permissions(_metadata: &fs::Metadata) -> Option<WidePermissions> {
    let _ = FOREIGN_BITS;
    None
}
