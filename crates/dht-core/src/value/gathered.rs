//! What several nodes say lies under one key, put together by who asked them.

use std::collections::BTreeMap;

use super::query::Filter;
use super::record::{DecodeError, Value, ValueKey};
use super::signing::SignatureError;
use super::time::UnixTime;
use crate::id::Id;

/// Values that are put together at most: four full keys. What comes then is left out, so that
/// one node cannot push out what the others said.
pub const MAX_GATHERED: usize = 4096;

/// The newest version of each value, from whichever node it came, with the removals that tell
/// which values are gone.
///
/// A value that a node serves although its owner removed it is not shown as soon as any node has
/// told of the removal.
#[derive(Debug, Clone)]
pub struct Gathered {
    target: Id,
    filter: Filter,
    values: BTreeMap<ValueKey, Value>,
}

/// What a record was to what is known already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gain {
    /// A value that was not known.
    New,
    /// A newer version of a known value.
    Newer,
    /// The owner has removed the value.
    Removed,
    /// A known version, for longer.
    Longer,
    /// Nothing.
    None,
}

/// Why a record was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// The node sent no record.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// The node sent a record that its owner did not sign for this key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The node sent what was not asked for.
    #[error("the value was not asked for")]
    NotAsked,
    /// It has expired, by our clock.
    #[error("the value has expired")]
    Expired,
    /// There are [`MAX_GATHERED`] values.
    #[error("there are {MAX_GATHERED} values already")]
    Full,
}

impl Gathered {
    /// Nothing yet of the values under `target` that `filter` asks for.
    #[must_use]
    pub const fn new(target: Id, filter: Filter) -> Self {
        Self {
            target,
            filter,
            values: BTreeMap::new(),
        }
    }

    /// Takes a record from a node: in an answer to `dn_get`, or in a `dn_push`.
    ///
    /// # Errors
    /// [`GatherError`].
    pub fn add(&mut self, wall: UnixTime, record: &[u8]) -> Result<Gain, GatherError> {
        let value = Value::decode(record)?;
        if !self.filter.matches(&value.subject()) {
            return Err(GatherError::NotAsked);
        }
        if value.expiry() <= wall {
            return Err(GatherError::Expired);
        }
        let key = value.key();
        let known = self.values.get(&key);
        if known.is_some_and(|known| !value.supersedes(known)) {
            return Ok(Gain::None);
        }
        if known.is_none() && self.values.len() >= MAX_GATHERED {
            return Err(GatherError::Full);
        }
        value.verify(&self.target)?;
        let gain = match known {
            Some(known) if value.is_same_but_for_expiry(known) => Gain::Longer,
            _ if value.is_removal() => Gain::Removed,
            Some(known) if !known.is_removal() => Gain::Newer,
            _ => Gain::New,
        };
        self.values.insert(key, value);
        Ok(gain)
    }

    /// The values, without those that are removed.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.values().filter(|value| !value.is_removal())
    }

    /// The value with this key, unless it is removed.
    #[must_use]
    pub fn value(&self, key: &ValueKey) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_removal())
    }

    /// Forgets what has expired; returns the keys of the values among it.
    pub fn expire(&mut self, wall: UnixTime) -> Vec<ValueKey> {
        let mut expired = Vec::new();
        self.values.retain(|key, value| {
            let lives = value.expiry() > wall;
            if !lives && !value.is_removal() {
                expired.push(*key);
            }
            lives
        });
        expired
    }
}
