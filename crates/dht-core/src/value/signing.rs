//! The owner's signature: what it covers, and the records that only the owner can make.
//!
//! ```text
//! signed   = "dhtnet 1 value"        ‖ key (20)                       ‖ record without `s`
//! in seals = "dhtnet 1 sealed value" ‖ key (20) ‖ recipient's id (32) ‖ record without `s`
//! ```
//! The key is in it so that a record cannot be moved to another key; the recipient, so that who
//! was sent a sealed value cannot pass it on as if it had been sent to somebody else.

use dhtnet_identity::device_id::{BadSignature, InvalidPublicKey};
use dhtnet_identity::{DeviceId, DeviceKey};

use super::record::{Body, Ownership, Value};
use super::time::UnixTime;
use crate::id::Id;

const OPEN_LABEL: &[u8] = b"dhtnet 1 value";
const SEALED_LABEL: &[u8] = b"dhtnet 1 sealed value";

/// The largest sequence number: that of BEP 44, a signed number of 64 bits.
pub(super) const MAX_SEQ: u64 = i64::MAX as u64;

/// Where a signed value may stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// Under this key, for everybody.
    Open(&'a Id),
    /// Under this key, sealed to this device.
    Sealed(&'a Id, &'a DeviceId),
}

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The owner is no device.
    #[error("the owner's key is not valid")]
    Owner(#[from] InvalidPublicKey),
    /// Not the owner's signature over this record under this key.
    #[error("the owner did not sign this record for this key")]
    Signature(#[from] BadSignature),
}

/// The value has no owner, or another one than the key that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotOwnedError {
    /// Unsigned: nobody can change or remove it.
    #[error("the value has no owner, so nobody can change or remove it")]
    NoOwner,
    /// Signed by somebody else.
    #[error("the value belongs to another device")]
    AnotherOwner,
    /// The sequence number is the last one there is.
    #[error("the value cannot change any more: its sequence number is the last one")]
    LastSeq,
}

impl Value {
    /// Checks the owner's signature for the key `target`. A value without owner passes.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, target: &Id) -> Result<(), SignatureError> {
        self.verify_at(Place::Open(target))
    }

    /// The signed removal of this value, to be put under the same key by its owner, `key`. It
    /// stands in the value's place until the value would have expired.
    ///
    /// # Errors
    /// [`NotOwnedError`].
    pub fn removed_by(&self, key: &DeviceKey, target: &Id) -> Result<Self, NotOwnedError> {
        let seq = self.owned_seq(key)?;
        if seq >= MAX_SEQ {
            return Err(NotOwnedError::LastSeq);
        }
        let removal = Self {
            body: Body::Removed,
            is_sealed: false,
            ..self.clone()
        };
        Ok(removal.signed_at(Place::Open(target), key, seq + 1))
    }

    /// The same version for longer, signed anew by its owner, `key`. An unsigned value is kept
    /// longer by anybody: `key` is none.
    ///
    /// # Errors
    /// [`NotOwnedError`].
    pub fn renewed(
        &self,
        target: &Id,
        expiry: UnixTime,
        key: Option<&DeviceKey>,
    ) -> Result<Self, NotOwnedError> {
        let renewed = Self {
            expiry,
            ..self.clone()
        };
        match (self.ownership, key) {
            (None, _) => Ok(renewed),
            (Some(_), None) => Err(NotOwnedError::AnotherOwner),
            (Some(_), Some(key)) => {
                let seq = self.owned_seq(key)?;
                Ok(renewed.signed_at(Place::Open(target), key, seq))
            }
        }
    }

    pub(super) fn signed_at(mut self, place: Place<'_>, key: &DeviceKey, seq: u64) -> Self {
        let mut ownership = Ownership {
            owner: key.id().into(),
            seq,
            signature: [0; 64],
        };
        self.ownership = Some(ownership);
        ownership.signature = key.sign(&self.signed_bytes(place));
        self.ownership = Some(ownership);
        self
    }

    pub(super) fn verify_at(&self, place: Place<'_>) -> Result<(), SignatureError> {
        let Some(ownership) = &self.ownership else {
            return Ok(());
        };
        let owner = ownership.owner.device_id()?;
        owner.verify(&self.signed_bytes(place), &ownership.signature)?;
        Ok(())
    }

    fn signed_bytes(&self, place: Place<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        match place {
            Place::Open(target) => {
                bytes.extend(OPEN_LABEL);
                bytes.extend(target.as_bytes());
            }
            Place::Sealed(target, recipient) => {
                bytes.extend(SEALED_LABEL);
                bytes.extend(target.as_bytes());
                bytes.extend(recipient.as_bytes());
            }
        }
        let mut fields = self.as_fields();
        fields.signature = None;
        fields.write(&mut bytes);
        bytes
    }

    fn owned_seq(&self, key: &DeviceKey) -> Result<u64, NotOwnedError> {
        let ownership = self.ownership.ok_or(NotOwnedError::NoOwner)?;
        if ownership.owner == key.id().into() {
            Ok(ownership.seq)
        } else {
            Err(NotOwnedError::AnotherOwner)
        }
    }
}
