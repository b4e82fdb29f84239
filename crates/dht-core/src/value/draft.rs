//! Making values.

use std::time::Duration;

use dhtnet_identity::sealed::{MAX_PLAINTEXT_LEN, SealError};
use dhtnet_identity::{DeviceId, DeviceKey};
use rand_core::CryptoRng;

use super::policy::DEFAULT_TTL;
use super::record::{Body, MAX_BODY_LEN, MAX_RECORD_LEN, Value, ValueId, ValueType};
use super::sealing;
use super::signing::{MAX_SEQ, Place};
use super::split::{self, Item};
use super::time::UnixTime;
use crate::id::Id;

/// The shortest life of a value: times are whole seconds.
pub const MIN_TTL: Duration = Duration::from_secs(1);

/// The longest life of a value, 7 days. What shall stay longer is put anew by its owner, so that
/// what nobody wants any more goes away.
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Bytes that a record adds to its body at most when it is sealed: the fields with the longest
/// numbers take 192.
const MAX_SEALED_FIELDS_LEN: usize = 256;

/// Bytes of the longest body of a sealed value: it travels in one Noise message.
pub const MAX_SEALED_BODY_LEN: usize = MAX_PLAINTEXT_LEN - MAX_SEALED_FIELDS_LEN;

/// A value to be made, and the items that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// To be put under the key.
    pub value: Value,
    /// The parts of a long body: immutable items to be put first. Empty for a short one.
    pub items: Vec<Item>,
}

/// A value to be made: type 0 and [`DEFAULT_TTL`] unless said otherwise.
///
/// ```
/// use dhtnet_dht_core::Id;
/// use dhtnet_dht_core::value::{Draft, UnixTime, Value, ValueId};
/// use dhtnet_identity::DeviceKey;
///
/// let (key, target) = (DeviceKey::from_seed(&[7; 32]), Id::hash_of(b"a place"));
/// let draft = Draft::new(target, ValueId(1), b"text".to_vec());
/// let made = draft.signed(UnixTime(1_800_000_000), &key, 0)?;
/// let read = Value::decode(&made.value.encode())?;
/// assert_eq!(read.verify(&target), Ok(()));
/// assert!(read.verify(&Id::hash_of(b"another place")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    target: Id,
    id: ValueId,
    kind: ValueType,
    ttl: Duration,
    body: Vec<u8>,
}

impl Draft {
    /// A value `id` with this body, to be put under `target`.
    #[must_use]
    pub const fn new(target: Id, id: ValueId, body: Vec<u8>) -> Self {
        Self {
            target,
            id,
            kind: ValueType(0),
            ttl: DEFAULT_TTL,
            body,
        }
    }

    /// Sets the type.
    #[must_use]
    pub const fn with_kind(mut self, kind: ValueType) -> Self {
        self.kind = kind;
        self
    }

    /// Sets how long it lives from when it is made: [`MIN_TTL`] to [`MAX_TTL`], whole seconds.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Makes a value without owner: nobody can change it, anybody can keep it longer.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn unsigned(self, now: UnixTime) -> Result<Prepared, DraftError> {
        self.check(MAX_BODY_LEN)?;
        self.fit(now, |value| value)
    }

    /// Makes a value that its owner, `key`, can replace by one with a higher `seq`.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn signed(self, now: UnixTime, key: &DeviceKey, seq: u64) -> Result<Prepared, DraftError> {
        self.check(MAX_BODY_LEN)?;
        check_seq(seq)?;
        let target = self.target;
        self.fit(now, |value| value.signed_at(Place::Open(&target), key, seq))
    }

    /// Makes a value that only `recipient` can read, signed by `author` (with a sequence number)
    /// or anonymous. Others see its id, type and expiry; they neither see the author nor the
    /// recipient. It is unsigned to them: it cannot be changed. To keep it longer, renew the
    /// value: sealing anew gives another one.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn sealed_for(
        self,
        now: UnixTime,
        recipient: &DeviceId,
        author: Option<(&DeviceKey, u64)>,
        rng: &mut impl CryptoRng,
    ) -> Result<Prepared, DraftError> {
        self.check(MAX_SEALED_BODY_LEN)?;
        let target = self.target;
        let mut inner = self.value(now, Body::Inline(self.body.clone()));
        if let Some((key, seq)) = author {
            check_seq(seq)?;
            inner = inner.signed_at(Place::Sealed(&target, recipient), key, seq);
        }
        let body = sealing::seal(&inner, &target, recipient, rng)?;
        Self { body, ..self }.fit(now, |mut value| {
            value.is_sealed = true;
            value
        })
    }

    fn check(&self, max: usize) -> Result<(), DraftError> {
        if !(MIN_TTL..=MAX_TTL).contains(&self.ttl) {
            return Err(DraftError::Ttl { found: self.ttl });
        }
        let found = self.body.len();
        if found > max {
            return Err(DraftError::BodyTooLong { found, max });
        }
        Ok(())
    }

    fn value(&self, now: UnixTime, body: Body) -> Value {
        Value {
            id: self.id,
            kind: self.kind,
            expiry: now.plus(self.ttl),
            body,
            is_sealed: false,
            ownership: None,
        }
    }

    /// The value with its body inline where the record is short enough, else in parts.
    fn fit(
        mut self,
        now: UnixTime,
        finish: impl Fn(Value) -> Value,
    ) -> Result<Prepared, DraftError> {
        let body = std::mem::take(&mut self.body);
        if body.len() <= MAX_RECORD_LEN {
            let value = finish(self.value(now, Body::Inline(body.clone())));
            if value.encode().len() <= MAX_RECORD_LEN {
                let items = Vec::new();
                return Ok(Prepared { value, items });
            }
        }
        let parts = split::split(&body).map_err(|error| DraftError::BodyTooLong {
            found: error.found,
            max: MAX_BODY_LEN,
        })?;
        let body = Body::Split {
            len: parts.len,
            parts: parts.parts,
        };
        Ok(Prepared {
            value: finish(self.value(now, body)),
            items: parts.items,
        })
    }
}

fn check_seq(seq: u64) -> Result<(), DraftError> {
    if seq > MAX_SEQ {
        return Err(DraftError::Seq { found: seq });
    }
    Ok(())
}

/// Why a value was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// A life of less than a second or more than 7 days.
    #[error("a value lives between 1 second and 7 days, not {} seconds", found.as_secs_f64())]
    Ttl {
        /// What was asked for.
        found: Duration,
    },
    /// More than [`MAX_BODY_LEN`], or [`MAX_SEALED_BODY_LEN`] when it is sealed.
    #[error("the body of this value has at most {max} bytes, not {found}")]
    BodyTooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Beyond the largest sequence number, 2^63 - 1.
    #[error("a sequence number is at most {MAX_SEQ}, not {found}")]
    Seq {
        /// What was asked for.
        found: u64,
    },
    /// It could not be sealed.
    #[error("the value could not be sealed")]
    Seal(#[from] SealError),
}
