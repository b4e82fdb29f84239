//! Files of certificates, revocation lists and requests, and those of a CA.

use std::io;
use std::path::{Path, PathBuf};

use rand_core::CryptoRng;

use super::{
    Authority, Certificate, IssueError, MAX_PEM_LEN, PemError, Request, RevocationList, TrustError,
    TrustedAuthority,
};
use crate::device_key::Passphrase;
use crate::key_file::KeyFileError;
use crate::{atomic_file, key_file, text_file};

/// Certificates are no secret.
const PUBLIC_MODE: u32 = 0o644;

impl Certificate {
    /// Reads the first certificate in the file at `path`.
    ///
    /// # Errors
    /// [`CertificateFileError::Read`], [`CertificateFileError::Content`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateFileError> {
        load(path.as_ref(), Self::from_pem)
    }

    /// Writes the certificate to a new file at `path`, atomically.
    ///
    /// # Errors
    /// [`CertificateFileError::Exists`] when something is there, which is never overwritten;
    /// [`CertificateFileError::Write`].
    pub fn create_file(&self, path: impl AsRef<Path>) -> Result<(), CertificateFileError> {
        create(path.as_ref(), &self.to_pem())
    }

    /// Writes the certificate to `path`, atomically, in the place of an earlier one: for renewal.
    ///
    /// # Errors
    /// [`CertificateFileError::Write`]; the old file is then untouched.
    pub fn replace_file(&self, path: impl AsRef<Path>) -> Result<(), CertificateFileError> {
        replace(path.as_ref(), &self.to_pem())
    }
}

impl RevocationList {
    /// Reads the first revocation list in the file at `path`.
    ///
    /// # Errors
    /// [`CertificateFileError::Read`], [`CertificateFileError::Content`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateFileError> {
        load(path.as_ref(), Self::from_pem)
    }

    /// Writes the list to `path`, atomically, in the place of an earlier one.
    ///
    /// # Errors
    /// [`CertificateFileError::Write`]; the old file is then untouched.
    pub fn replace_file(&self, path: impl AsRef<Path>) -> Result<(), CertificateFileError> {
        replace(path.as_ref(), &self.to_pem())
    }
}

impl Request {
    /// Reads the first certificate request in the file at `path`.
    ///
    /// # Errors
    /// [`CertificateFileError::Read`], [`CertificateFileError::Content`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateFileError> {
        load(path.as_ref(), Self::from_pem)
    }
}

impl TrustedAuthority {
    /// Where the revocation list of the CA at `certificate` is looked for: beside it, with the
    /// ending `crl`.
    pub fn list_beside(certificate: impl AsRef<Path>) -> PathBuf {
        certificate.as_ref().with_extension("crl")
    }

    /// Trusts the CA whose certificate is at `path`, with its revocation list if there is one
    /// [beside it](Self::list_beside). On Unix files that everybody may change are refused.
    ///
    /// # Errors
    /// [`CertificateFileError::Read`], [`CertificateFileError::Content`],
    /// [`CertificateFileError::Trust`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateFileError> {
        let path = path.as_ref();
        let trust = |path: &Path, source| CertificateFileError::Trust {
            path: path.to_owned(),
            source,
        };
        let certificate = load_trusted(path, Certificate::from_pem)?;
        let trusted = Self::new(certificate).map_err(|source| trust(path, source))?;
        let beside = Self::list_beside(path);
        match load_trusted(&beside, RevocationList::from_pem) {
            Ok(list) => trusted
                .with_revocation_list(list)
                .map_err(|source| trust(&beside, source)),
            Err(CertificateFileError::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(trusted)
            }
            Err(error) => Err(error),
        }
    }
}

/// Where a CA is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityFiles {
    /// The key, mode 0600.
    pub key: PathBuf,
    /// The certificate, for everybody.
    pub certificate: PathBuf,
    /// The revocation list, for everybody.
    pub revocation_list: PathBuf,
}

impl AuthorityFiles {
    /// `ca.key`, `ca.crt` and `ca.crl` in a folder.
    pub fn in_folder(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        Self {
            key: folder.join("ca.key"),
            certificate: folder.join("ca.crt"),
            revocation_list: folder.join("ca.crl"),
        }
    }

    /// Writes a new CA: both files or none, and never over one that is there. The key is under a
    /// passphrase if one is given.
    ///
    /// # Errors
    /// [`CertificateFileError::Key`], [`CertificateFileError::Exists`],
    /// [`CertificateFileError::Write`].
    pub fn create(
        &self,
        authority: &Authority,
        passphrase: Option<&Passphrase>,
        rng: &mut impl CryptoRng,
    ) -> Result<(), CertificateFileError> {
        // The certificate first: whoever finds it has nothing, and a key without a certificate
        // would stand in the way of the next try.
        authority.certificate().create_file(&self.certificate)?;
        let key = authority.key();
        let written = match passphrase {
            Some(word) => key_file::create_protected(&self.key, key, word, rng),
            None => key_file::create(&self.key, key),
        };
        written.map_err(|error| {
            // It is ours and of no use. If it cannot be removed, the error below still stands.
            let _ = std::fs::remove_file(&self.certificate);
            CertificateFileError::Key(error)
        })
    }

    /// Reads a CA.
    ///
    /// # Errors
    /// [`CertificateFileError::Key`], [`CertificateFileError::Read`],
    /// [`CertificateFileError::Content`], [`CertificateFileError::Authority`].
    pub fn load(&self, passphrase: Option<&Passphrase>) -> Result<Authority, CertificateFileError> {
        let key = match passphrase {
            Some(word) => key_file::load_protected(&self.key, word),
            None => key_file::load(&self.key),
        };
        let key = key.map_err(CertificateFileError::Key)?;
        let certificate = Certificate::load(&self.certificate)?;
        Authority::of(key, certificate).map_err(|source| CertificateFileError::Authority {
            path: self.certificate.clone(),
            source,
        })
    }
}

fn load<T>(
    path: &Path,
    read: impl FnOnce(&str) -> Result<T, PemError>,
) -> Result<T, CertificateFileError> {
    let text = text_file::read(path, MAX_PEM_LEN).map_err(|source| CertificateFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    read(&text).map_err(|source| CertificateFileError::Content {
        path: path.to_owned(),
        source,
    })
}

/// The same of a file that not everybody may change.
fn load_trusted<T>(
    path: &Path,
    from_pem: impl FnOnce(&str) -> Result<T, PemError>,
) -> Result<T, CertificateFileError> {
    match text_file::read_trusted(path, MAX_PEM_LEN) {
        Ok(text) => from_pem(&text).map_err(|source| CertificateFileError::Content {
            path: path.to_owned(),
            source,
        }),
        Err(source) => Err(CertificateFileError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn create(path: &Path, pem: &str) -> Result<(), CertificateFileError> {
    let written = atomic_file::create_private_parent(path)
        .and_then(|()| atomic_file::create_new(path, pem.as_bytes(), PUBLIC_MODE));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => CertificateFileError::Exists {
            path: path.to_owned(),
        },
        _ => write_error(path, source),
    })
}

fn replace(path: &Path, pem: &str) -> Result<(), CertificateFileError> {
    atomic_file::create_private_parent(path)
        .and_then(|()| atomic_file::replace(path, pem.as_bytes(), PUBLIC_MODE))
        .map_err(|source| write_error(path, source))
}

fn write_error(path: &Path, source: io::Error) -> CertificateFileError {
    CertificateFileError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Why a file of certificates could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFileError {
    /// The system refused to read, or the file is no text up to [`MAX_PEM_LEN`].
    #[error("{path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path:?} cannot be used")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PemError,
    },
    /// Something is there already.
    #[error("{path:?} is there already and is not overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refused to write.
    #[error("{path:?} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key of a CA could not be read or written.
    #[error("the key of the CA cannot be used")]
    Key(#[source] KeyFileError),
    /// It is no CA that can be trusted, or the revocation list beside it is not its own.
    #[error("{path:?} cannot be trusted")]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TrustError,
    },
    /// The certificate is not that of a CA, or of another.
    #[error("{path:?} is not the certificate of this CA")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: IssueError,
    },
}
