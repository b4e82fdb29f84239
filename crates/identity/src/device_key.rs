//! The secret of a device: its Ed25519 key, with what is derived from it.
//!
//! The 32-byte seed (RFC 8032, section 5.1.5) is the only secret; the Noise key and every other
//! key come from it. Memory that held secrets is wiped, and nothing here prints them.

mod pem;
mod protected;

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::device_id::DeviceId;

pub use pem::KeyPemError;
pub(crate) use pem::algorithm_name;
pub use protected::{MAX_PASSPHRASE_LEN, Passphrase, PassphraseError};

/// Salt of [`DeviceKey::derive_secret`], which keeps these secrets apart from any other use of
/// the seed.
const DERIVE_SALT: &[u8] = b"dhtnet derived secret v1";

/// The Ed25519 key of a device.
///
/// It is wiped when dropped, `Debug` shows the id alone, and it is never printed in any other
/// way than by [`DeviceKey::to_pkcs8_pem`].
#[derive(Clone)]
pub struct DeviceKey {
    signing: SigningKey,
}

impl DeviceKey {
    /// A new key from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The key of a 32-byte seed (RFC 8032 calls it the private key). Every seed is valid.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            signing: SigningKey::from_bytes(seed),
        }
    }

    /// The id that belongs to this key.
    pub fn id(&self) -> DeviceId {
        DeviceId::of_own_key(&self.signing.verifying_key())
    }

    /// Signs `message` with plain Ed25519 (RFC 8032, section 5.1.6); the same message gives the
    /// same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// The private key of [`DeviceId::noise_static`]: the first half of SHA-512 of the seed, not
    /// clamped, as X25519 (RFC 7748, section 5) clamps what it is given.
    pub fn noise_static_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.signing.to_scalar_bytes())
    }

    /// A 32-byte secret for the purpose `label`: HKDF-SHA256 (RFC 5869) over the seed, with the
    /// label as its info. It is the same after each start; other labels tell nothing about it.
    pub fn derive_secret(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(DERIVE_SALT), self.signing.as_bytes())
            .expand(label.as_bytes(), secret.as_mut())
            .expect("32 bytes are within the 8160 that HKDF-SHA256 can give");
        secret
    }

    /// The key, for the builders of certificates.
    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The key as PKCS#8 (RFC 5958, RFC 8410) in PEM, readable by `openssl pkey`.
    ///
    /// It is version 1, without the public key: OpenSSL 3.0 cannot read version 2.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::encode(&self.signing)
    }

    /// Reads an unencrypted PKCS#8 Ed25519 key in PEM, version 1 or 2. Text around the block and
    /// other blocks, such as a certificate beside the key, are skipped.
    ///
    /// # Errors
    /// [`KeyPemError`] says what was found instead.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyPemError> {
        pem::decode(text).map(|signing| Self { signing })
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({}…, secret)", self.id().short())
    }
}
