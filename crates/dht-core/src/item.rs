//! Immutable and mutable items (BEP 44): where they lie, how they are signed, and what makes one
//! acceptable.
//!
//! A value is any bencoded value of at most [`MAX_VALUE_LEN`] bytes and is handled in its encoded
//! form throughout: that is what is hashed, signed, stored and sent, byte for byte.

mod signer;

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use sha1::{Digest, Sha1};

pub use self::signer::ItemSigner;
use crate::bencode;
use crate::id::Id;
use crate::krpc::{ErrorCode, ItemReply, MutablePut, Put};

/// Longest bencoded value, in bytes (BEP 44).
pub const MAX_VALUE_LEN: usize = 1000;

/// Longest salt, in bytes (BEP 44).
pub const MAX_SALT_LEN: usize = 64;

/// A public Ed25519 key, 32 bytes: the name of a mutable item, with its salt.
pub type ItemKey = [u8; 32];

/// Where the immutable item `value` lies: the SHA-1 of the bencoded value. A value that someone
/// answered with is the one asked for only if this gives the target asked for.
#[must_use]
pub fn immutable_target(value: &[u8]) -> Id {
    Id::hash_of(value)
}

/// Where the mutable item of `key` and `salt` lies: the SHA-1 of one after the other. An empty
/// salt is no salt.
#[must_use]
pub fn mutable_target(key: &ItemKey, salt: &[u8]) -> Id {
    let hash = Sha1::new().chain_update(key).chain_update(salt).finalize();
    Id::from_bytes(hash.into())
}

/// Where the item that `put` carries lies.
#[must_use]
pub fn target_of(put: &Put<'_>) -> Id {
    match &put.mutable {
        Some(mutable) => mutable_target(mutable.key, mutable.salt),
        None => immutable_target(put.value),
    }
}

/// Why something is no item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The value is longer than [`MAX_VALUE_LEN`].
    #[error("the encoded value is longer than {MAX_VALUE_LEN} bytes")]
    TooBig,
    /// The salt is longer than [`MAX_SALT_LEN`].
    #[error("the salt is longer than {MAX_SALT_LEN} bytes")]
    SaltTooBig,
    /// The value is not exactly one bencoded value in canonical form. In another form it would not
    /// survive a node that decodes and encodes it.
    #[error("the value is not bencoded")]
    NotBencoded,
    /// The sequence number is negative.
    #[error("the sequence number is negative")]
    NegativeSeq,
    /// The signature was not made by the key over this value, number and salt.
    #[error("the signature is wrong")]
    BadSignature,
    /// The key is no point of the curve, or one of small order.
    #[error("the key is not a usable Ed25519 key")]
    BadKey,
}

impl ItemError {
    /// The code that a `put` with this fault is answered with.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooBig => ErrorCode::TooBig,
            Self::SaltTooBig => ErrorCode::SaltTooBig,
            Self::NotBencoded | Self::NegativeSeq => ErrorCode::Protocol,
            // With such a key no signature is valid.
            Self::BadSignature | Self::BadKey => ErrorCode::BadSignature,
        }
    }
}

/// Checks what immutable and mutable items have in common: length, and one whole bencoded value
/// in canonical form.
///
/// # Errors
/// [`ItemError::TooBig`] or [`ItemError::NotBencoded`].
pub fn check_value(value: &[u8]) -> Result<(), ItemError> {
    if value.len() > MAX_VALUE_LEN {
        return Err(ItemError::TooBig);
    }
    bencode::validate(value).map_err(|_| ItemError::NotBencoded)
}

/// Checks everything of a mutable item but its signature, which costs the most.
pub(crate) fn check_unsigned(salt: &[u8], seq: i64, value: &[u8]) -> Result<(), ItemError> {
    if salt.len() > MAX_SALT_LEN {
        return Err(ItemError::SaltTooBig);
    }
    if seq < 0 {
        return Err(ItemError::NegativeSeq);
    }
    check_value(value)
}

/// Checks the signature of a mutable item, strictly: no key and no R of small order, S reduced.
pub(crate) fn check_signature(
    key: &ItemKey,
    salt: &[u8],
    seq: i64,
    value: &[u8],
    signature: &[u8; 64],
) -> Result<(), ItemError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| ItemError::BadKey)?;
    if key.is_weak() {
        return Err(ItemError::BadKey);
    }
    key.verify_strict(
        &signed_bytes(salt, seq, value),
        &Signature::from_bytes(signature),
    )
    .map_err(|_| ItemError::BadSignature)
}

/// What the owner signs: `salt` if there is one, `seq` and `v`, as they would stand in a bencoded
/// dictionary.
fn signed_bytes(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(salt.len() + value.len() + 40);
    if !salt.is_empty() {
        bytes.extend_from_slice(format!("4:salt{}:", salt.len()).as_bytes());
        bytes.extend_from_slice(salt);
    }
    bytes.extend_from_slice(format!("3:seqi{seq}e1:v").as_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// A value that its owner can replace, with a valid signature: there is no way to make one
/// without.
#[derive(Clone, PartialEq, Eq)]
pub struct MutableItem {
    key: ItemKey,
    salt: Box<[u8]>,
    seq: i64,
    value: Box<[u8]>,
    signature: [u8; 64],
}

impl MutableItem {
    /// Signs the bencoded `value` as number `seq` of `signer`'s item `salt` (empty: none).
    ///
    /// # Errors
    /// Everything of [`ItemError`] but a bad key or signature.
    pub fn sign(
        signer: &ItemSigner,
        salt: &[u8],
        seq: i64,
        value: &[u8],
    ) -> Result<Self, ItemError> {
        check_unsigned(salt, seq, value)?;
        Ok(Self {
            key: signer.key(),
            salt: salt.into(),
            seq,
            value: value.into(),
            signature: signer.sign(&signed_bytes(salt, seq, value)),
        })
    }

    /// Takes an item that came from elsewhere, if its signature is valid. Whether it is the item
    /// that was asked for is another question: compare [`Self::target`].
    ///
    /// # Errors
    /// [`ItemError`] with what is wrong with it.
    pub fn verified(
        key: &ItemKey,
        salt: &[u8],
        seq: i64,
        value: &[u8],
        signature: &[u8; 64],
    ) -> Result<Self, ItemError> {
        check_unsigned(salt, seq, value)?;
        check_signature(key, salt, seq, value, signature)?;
        Ok(Self {
            key: *key,
            salt: salt.into(),
            seq,
            value: value.into(),
            signature: *signature,
        })
    }

    /// The owner's public key.
    #[must_use]
    pub fn key(&self) -> &ItemKey {
        &self.key
    }

    /// Which of the owner's items; empty where there is no salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The sequence number, 0 or more: the higher replaces the lower.
    #[must_use]
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// The bencoded value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The owner's signature over salt, number and value.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Where the item lies.
    #[must_use]
    pub fn target(&self) -> Id {
        mutable_target(&self.key, &self.salt)
    }

    /// Whether a reader that has `other` should take this one instead: it is the same item with a
    /// higher number.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        self.key == other.key && self.salt == other.salt && self.seq > other.seq
    }

    /// The arguments of the `put` that stores this item; with `cas`, only over that number.
    #[must_use]
    pub fn as_put<'a>(&'a self, token: &'a [u8], cas: Option<i64>) -> Put<'a> {
        Put {
            token,
            value: &self.value,
            mutable: Some(MutablePut {
                key: &self.key,
                signature: &self.signature,
                seq: self.seq,
                salt: &self.salt,
                cas,
            }),
        }
    }

    /// The item as it stands in the answer to a `get`; its number goes beside it.
    #[must_use]
    pub fn as_reply(&self) -> ItemReply<'_> {
        ItemReply {
            value: &self.value,
            signed: Some((&self.key, &self.signature)),
        }
    }
}

impl fmt::Debug for MutableItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutableItem")
            .field("target", &self.target())
            .field("seq", &self.seq)
            .field("value_len", &self.value.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
