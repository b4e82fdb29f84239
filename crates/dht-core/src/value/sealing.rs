//! Values that only one device can read: signed first, then encrypted, as OpenDHT's putEncrypted
//! does.
//!
//! The body of the outer value is the inner value's record, sealed to the recipient with the key
//! it lies under as context. The outer record names neither author nor recipient.

use dhtnet_identity::sealed::{MAX_PLAINTEXT_LEN, OpenError, Purpose, SealError};
use dhtnet_identity::{DeviceId, DeviceKey};
use rand_core::CryptoRng;

use super::record::{DecodeError, Value};
use super::signing::{Place, SignatureError};
use crate::id::Id;

const DOMAIN: &str = "dhtnet 1 value";

fn purpose(target: &Id) -> Purpose<'_> {
    Purpose {
        domain: DOMAIN,
        context: target.as_bytes(),
    }
}

pub(super) fn seal(
    inner: &Value,
    target: &Id,
    recipient: &DeviceId,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, SealError> {
    let record = inner.encode();
    recipient.seal(&purpose(target), &record, rng)
}

impl Value {
    /// The value inside this sealed one, found under `target`. `body` is the body, inline or
    /// joined. The author's signature is checked; without an author anyone can have sealed it.
    ///
    /// The expiry inside is what the author said; that of the sealed value can be put off by
    /// anybody, so what must not be heard twice carries a mark of its own.
    ///
    /// # Errors
    /// [`OpenValueError`].
    pub fn open(&self, key: &DeviceKey, target: &Id, body: &[u8]) -> Result<Self, OpenValueError> {
        if !self.is_sealed {
            return Err(OpenValueError::NotSealed);
        }
        let record = key.open(&purpose(target), body)?;
        let inner = Self::decode_up_to(&record, MAX_PLAINTEXT_LEN)?;
        if inner.id != self.id || inner.kind != self.kind || inner.is_sealed {
            return Err(OpenValueError::Mismatch);
        }
        inner.verify_at(Place::Sealed(target, &key.id()))?;
        Ok(inner)
    }
}

/// Why a sealed value could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenValueError {
    /// Its body is not sealed.
    #[error("the value is not sealed")]
    NotSealed,
    /// Sealed to somebody else or under another key, or changed since.
    #[error("the body cannot be opened")]
    Seal(#[from] OpenError),
    /// What was sealed is no record.
    #[error("the sealed body is no record")]
    Record(#[from] DecodeError),
    /// Somebody put the sealed body into a record of his own.
    #[error("the sealed value has another id or type than the record around it")]
    Mismatch,
    /// The author inside did not sign it for this key and recipient.
    #[error("the author's signature inside does not hold")]
    Author(#[from] SignatureError),
}
