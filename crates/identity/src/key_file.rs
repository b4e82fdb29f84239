//! The file that holds a device key: PKCS#8 in PEM, readable by its owner alone.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::atomic_file;
use crate::device_key::{DeviceKey, KeyPemError, Passphrase};

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
    write(path.as_ref(), &key.to_pkcs8_pem())
}

/// The same under a passphrase; see [`DeviceKey::to_protected_pem`].
///
/// # Errors
/// Those of [`create`].
pub fn create_protected(
    path: impl AsRef<Path>,
    key: &DeviceKey,
    passphrase: &Passphrase,
    rng: &mut impl CryptoRng,
) -> Result<(), KeyFileError> {
    write(path.as_ref(), &key.to_protected_pem(passphrase, rng))
}

/// Reads the key at `path`. On Unix a file that others than its owner may read or write is
/// refused: who could read it may have the key.
///
/// # Errors
/// Every variant of [`KeyFileError`] but [`Exists`](KeyFileError::Exists); among them
/// [`Garbage`](KeyFileError::Garbage) with [`KeyPemError::Encrypted`] for a key under a
/// passphrase, which [`load_protected`] reads.
pub fn load(path: impl AsRef<Path>) -> Result<DeviceKey, KeyFileError> {
    load_by(path.as_ref(), DeviceKey::from_pkcs8_pem)
}

/// Reads the key at `path`, under this passphrase or under none.
///
/// # Errors
/// Those of [`load`].
pub fn load_protected(
    path: impl AsRef<Path>,
    passphrase: &Passphrase,
) -> Result<DeviceKey, KeyFileError> {
    load_by(path.as_ref(), |text| {
        DeviceKey::from_protected_pem(text, passphrase)
    })
}

fn write(path: &Path, pem: &str) -> Result<(), KeyFileError> {
    atomic_file::create_private_parent(path)
        .and_then(|()| atomic_file::create_new(path, pem.as_bytes(), KEY_FILE_MODE))
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

fn load_by(
    path: &Path,
    read: impl FnOnce(&str) -> Result<DeviceKey, KeyPemError>,
) -> Result<DeviceKey, KeyFileError> {
    let bytes = read_bounded(path)?;
    as_text(&bytes)
        .and_then(read)
        .map_err(|source| KeyFileError::Garbage {
            path: path.to_owned(),
            source,
        })
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
    /// Others than its owner may read or write it.
    #[error(
        "{path:?} lets other users at the key (mode {mode:04o}); if nobody did, run: chmod 600 {}",
        path.display()
    )]
    WidePermissions {
        /// The file.
        path: PathBuf,
        /// The permission bits, such as `0o644`.
        mode: u32,
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

fn read_bounded(path: &Path) -> Result<Bytes, KeyFileError> {
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
    if let Some(mode) = wide_permissions(&file.metadata().map_err(fail)?) {
        return Err(KeyFileError::WidePermissions {
            path: path.to_owned(),
            mode,
        });
    }
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
    Ok(bytes)
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

/// The bytes of a file, which may be anything.
fn as_text(bytes: &[u8]) -> Result<&str, KeyPemError> {
    // DER starts with the tag of a sequence, which is also the digit 0, but no text holds a zero
    // byte, and every key in DER does.
    if bytes.first() == Some(&0x30) && bytes.contains(&0) {
        return Err(KeyPemError::Der);
    }
    std::str::from_utf8(bytes).map_err(|_| KeyPemError::NotPem)
}

#[cfg(unix)]
fn wide_permissions(metadata: &fs::Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::MetadataExt::mode(metadata) & 0o7777;
    (mode & FOREIGN_BITS != 0).then_some(mode)
}

#[cfg(not(unix))]
fn wide_permissions(_metadata: &fs::Metadata) -> Option<u32> {
    let _ = FOREIGN_BITS;
    None
}
