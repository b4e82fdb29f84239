//! Why a value was not stored.

use crate::krpc::ErrorCode;
use crate::value::policy::Refusal;
use crate::value::record::DecodeError;
use crate::value::signing::SignatureError;

/// Why a value was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ValueError {
    /// No record.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// The time at which it expires has passed.
    #[error("the value has expired")]
    Expired,
    /// It expires later than any value may.
    #[error("the value expires too far in the future")]
    TooFar,
    /// Longer than values of its type may be.
    #[error("the body has {found} bytes, values of this type at most {max}")]
    BodyTooLong {
        /// Bytes of the body.
        found: usize,
        /// Bytes allowed.
        max: u32,
    },
    /// Not signed by its owner for this key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// A newer version is stored, or this one with other contents.
    #[error("version {stored} is stored")]
    SeqTooLow {
        /// The stored sequence number.
        stored: u64,
    },
    /// A value without owner has this id and other contents.
    #[error("another value without owner has this id")]
    Taken,
    /// The policy of its type does not want it.
    #[error(transparent)]
    Policy(#[from] Refusal),
    /// The sender's address has its share of the store.
    #[error("this address stores too much already")]
    Quota,
    /// The key has as many values as one may have, and the sender's address its share of them.
    #[error("the key has too many values")]
    FullKey,
    /// The store is full of nearer keys.
    #[error("the store is full of nearer keys")]
    FullStore,
}

impl ValueError {
    /// What the sender is told.
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Record(DecodeError::TooLong { .. }) | Self::BodyTooLong { .. } => {
                ErrorCode::TooBig
            }
            Self::Record(_) => ErrorCode::Protocol,
            Self::Expired | Self::TooFar => ErrorCode::BadExpiry,
            Self::Signature(_) => ErrorCode::BadSignature,
            Self::SeqTooLow { .. } => ErrorCode::SeqTooLow,
            Self::Taken | Self::Policy(_) => ErrorCode::PolicyRefused,
            Self::Quota | Self::FullKey => ErrorCode::QuotaExceeded,
            Self::FullStore => ErrorCode::Server,
        }
    }
}
