//! Keys under a passphrase: encrypted PKCS#8 (RFC 5958, section 3), with PBES2 (RFC 8018).
//!
//! Written with scrypt (N = 2¹⁴, r = 8, p = 1: 16 MiB, the most that OpenSSL takes without being
//! told to) and AES-256-CBC; read with scrypt or PBKDF2 and AES. A wrong passphrase and a damaged
//! file look alike: the format has no tag of its own.

use std::fmt;

use pkcs8::der::SecretDocument;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::DeviceKey;
use super::pem::{self, KeyPemError};

const LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// Bytes of the longest passphrase: more than anybody types.
pub const MAX_PASSPHRASE_LEN: usize = 1024;
/// Memory that opening a key may take: sixteen times what is written, and what any machine has.
const MAX_SCRYPT_BYTES: u64 = 256 * 1024 * 1024;
/// Lanes of scrypt, each of which takes its time: sixteen times what is written.
const MAX_SCRYPT_LANES: u16 = 16;
/// Rounds of PBKDF2: sixteen times what is recommended today (600,000), a few seconds.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;

/// What a user types to open a key: wiped when dropped, never shown.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a text of 1 to [`MAX_PASSPHRASE_LEN`] bytes as it is.
    ///
    /// # Errors
    /// [`PassphraseError`].
    pub fn new(text: Zeroizing<String>) -> Result<Self, PassphraseError> {
        match text.len() {
            0 => Err(PassphraseError::Empty),
            1..=MAX_PASSPHRASE_LEN => Ok(Self(text)),
            _ => Err(PassphraseError::TooLong),
        }
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}

/// A text that is no passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// Nothing.
    #[error("the passphrase is empty")]
    Empty,
    /// Over [`MAX_PASSPHRASE_LEN`].
    #[error("the passphrase is longer than {MAX_PASSPHRASE_LEN} bytes")]
    TooLong,
}

impl DeviceKey {
    /// The key as encrypted PKCS#8 in PEM, which `openssl pkey` reads with the passphrase. Salt
    /// and initialisation vector come from `rng`.
    pub fn to_protected_pem(
        &self,
        passphrase: &Passphrase,
        rng: &mut impl CryptoRng,
    ) -> Zeroizing<String> {
        let plain = pem::to_document(&self.signing);
        let plain: PrivateKeyInfoRef<'_> = plain.decode_msg().expect("what was encoded decodes");
        Parameters::generate_scrypt(rng)
            .map_err(pkcs8::Error::from)
            .and_then(|how| plain.encrypt_with_params(how, passphrase.0.as_bytes()))
            .ok()
            .and_then(|document| document.to_pem(LABEL, LineEnding::LF).ok())
            .expect("48 bytes of DER always encrypt with parameters that fit")
    }

    /// Reads a key in PEM, under this passphrase or under none. Text around the block and other
    /// blocks are skipped.
    ///
    /// It takes as long and as much memory as the file asks for, within bounds: about a
    /// twentieth of a second and 16 MiB for a key that was written here.
    ///
    /// # Errors
    /// [`KeyPemError`], among them [`WrongPassphrase`](KeyPemError::WrongPassphrase),
    /// [`Protection`](KeyPemError::Protection) and [`TooCostly`](KeyPemError::TooCostly).
    pub fn from_protected_pem(text: &str, passphrase: &Passphrase) -> Result<Self, KeyPemError> {
        match Self::from_pkcs8_pem(text) {
            Err(KeyPemError::Encrypted) => {}
            other => return other,
        }
        let block = pem::find_block(text, LABEL)?;
        let (_, document) = SecretDocument::from_pem(block).map_err(|_| KeyPemError::Damaged)?;
        let protected: EncryptedPrivateKeyInfoRef<'_> =
            document.decode_msg().map_err(|_| KeyPemError::Protection)?;
        check_cost(&protected.encryption_algorithm)?;
        let plain = protected
            .decrypt(passphrase.0.as_bytes())
            .map_err(|error| match error {
                pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::UnsupportedAlgorithm {
                    ..
                }) => KeyPemError::Protection,
                _ => KeyPemError::WrongPassphrase,
            })?;
        // One wrong passphrase in 256 leaves something that looks padded.
        match pem::of_document(&plain) {
            Err(KeyPemError::Damaged) => Err(KeyPemError::WrongPassphrase),
            other => other.map(|signing| Self { signing }),
        }
    }
}

fn check_cost(scheme: &EncryptionScheme) -> Result<(), KeyPemError> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Err(KeyPemError::Protection);
    };
    let fits = match &parameters.kdf {
        Kdf::Pbkdf2(rounds) => rounds.iteration_count <= MAX_PBKDF2_ROUNDS,
        Kdf::Scrypt(scrypt) => {
            // RFC 7914, section 2: 128 · r · N bytes.
            let block = 128 * u64::from(scrypt.block_size);
            scrypt.parallelization <= MAX_SCRYPT_LANES
                && block.saturating_mul(scrypt.cost_parameter) <= MAX_SCRYPT_BYTES
        }
        _ => return Err(KeyPemError::Protection),
    };
    fits.then_some(()).ok_or(KeyPemError::TooCostly)
}
