//! The parts of a body, in whatever order they come, back into the body.

use std::collections::BTreeMap;

use super::{HASHES_IN_INDEX, LEAF_LEN, MAX_ITEM_LEN, Shape};
use crate::bencode::Reader;
use crate::id::{ID_LEN, Id};
use crate::value::record::MAX_BODY_LEN;

/// Why an item or a list of parts was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A body in parts has between 1 and [`MAX_BODY_LEN`] bytes and one number of parts for each
    /// length.
    #[error("{parts} parts cannot be a body of {len} bytes (at most {MAX_BODY_LEN})")]
    Shape {
        /// Bytes that the record says.
        len: u32,
        /// Parts that it names.
        parts: usize,
    },
    /// One index item twice: no body has that.
    #[error("the record names one index item twice")]
    DuplicateIndex,
    /// An index item that names an index item where a leaf must be.
    #[error("an index item names an index item instead of a part")]
    Loop,
    /// Not asked for, or here already.
    #[error("no part with this target is wanted")]
    Unwanted,
    /// The sender's fault: the item does not have this target. Another node may have it.
    #[error("the item does not have the target it was asked for by")]
    WrongHash,
    /// The author's fault: not a byte string of at most 1000 bytes.
    #[error("a part is not a byte string of at most {MAX_ITEM_LEN} bytes")]
    NotBytes,
    /// The author's fault: a part of another length than the body's length gives it.
    #[error("a part has {found} bytes where {expected} belong")]
    WrongLength {
        /// Bytes that belong there.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
}

impl JoinError {
    /// Whether the body can never be had: its author made it so. Otherwise one node sent
    /// something else, and the part may be had elsewhere.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Unwanted | Self::WrongHash)
    }
}

/// What an item that is still wanted will be.
#[derive(Debug, Clone)]
enum Role {
    /// Index item of this number.
    Index(usize),
    /// The leaf at these positions.
    Leaf(Vec<usize>),
}

/// Collects the items of one body. It holds at most the body and the targets of its leaves.
///
/// ```
/// use dhtnet_dht_core::value::split::{Joiner, split};
/// let parts = split(&[7; 5000]).unwrap();
/// let mut joiner = Joiner::new(parts.len, &parts.parts).unwrap();
/// while let Some(target) = joiner.next_wanted() {
///     let item = parts.items.iter().find(|item| item.target == target).unwrap();
///     joiner.feed(&target, &item.encoded).unwrap();
/// }
/// assert_eq!(joiner.into_body(), Some(vec![7; 5000]));
/// ```
#[derive(Debug, Clone)]
pub struct Joiner {
    shape: Shape,
    /// Empty until the first leaf comes.
    pub(super) body: Vec<u8>,
    wanted: BTreeMap<Id, Role>,
    /// Leaves that are here, each with one of its positions.
    placed: BTreeMap<Id, usize>,
    indexes: Vec<Id>,
}

impl Joiner {
    /// For the body of a record: its length, and the targets that the record names.
    ///
    /// # Errors
    /// [`JoinError::Shape`] or [`JoinError::DuplicateIndex`].
    pub fn new(len: u32, parts: &[Id]) -> Result<Self, JoinError> {
        let shape = Shape::of(len as usize)
            .filter(|shape| shape.parts() == parts.len())
            .ok_or(JoinError::Shape {
                len,
                parts: parts.len(),
            })?;
        let mut joiner = Self {
            shape,
            body: Vec::new(),
            wanted: BTreeMap::new(),
            placed: BTreeMap::new(),
            indexes: Vec::new(),
        };
        if shape.has_index {
            for (number, target) in parts.iter().enumerate() {
                let role = Role::Index(number);
                if joiner.wanted.insert(*target, role).is_some() {
                    return Err(JoinError::DuplicateIndex);
                }
            }
            joiner.indexes = parts.to_vec();
        } else {
            for (position, target) in parts.iter().enumerate() {
                joiner.want_leaf(*target, position)?;
            }
        }
        Ok(joiner)
    }

    /// The targets to be fetched next, each once. More may follow when index items come.
    pub fn wanted(&self) -> impl Iterator<Item = Id> + '_ {
        self.wanted.keys().copied()
    }

    /// One of the targets to be fetched; none when the body is whole.
    #[must_use]
    pub fn next_wanted(&self) -> Option<Id> {
        self.wanted.keys().next().copied()
    }

    /// Whether the body is whole.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Takes the item that was fetched from `target`: its `v` as it stood in the answer.
    ///
    /// # Errors
    /// [`JoinError`]. Unless it [is final](JoinError::is_final), the item is still wanted.
    pub fn feed(&mut self, target: &Id, encoded: &[u8]) -> Result<(), JoinError> {
        let role = self.wanted.get(target).ok_or(JoinError::Unwanted)?;
        if Id::hash_of(encoded) != *target {
            return Err(JoinError::WrongHash);
        }
        let bytes = byte_string(encoded).ok_or(JoinError::NotBytes)?;
        match role {
            Role::Index(number) => {
                let number = *number;
                self.take_index(number, bytes)?;
            }
            Role::Leaf(positions) => {
                let positions = positions.clone();
                for &position in &positions {
                    self.place(position, bytes)?;
                }
                self.placed.insert(*target, positions[0]);
            }
        }
        self.wanted.remove(target);
        Ok(())
    }

    /// The body, once it is whole.
    #[must_use]
    pub fn into_body(self) -> Option<Vec<u8>> {
        self.is_complete().then_some(self.body)
    }

    fn take_index(&mut self, number: usize, hashes: &[u8]) -> Result<(), JoinError> {
        let expected = self.shape.hashes_in(number) * ID_LEN;
        if hashes.len() != expected {
            let found = hashes.len();
            return Err(JoinError::WrongLength { expected, found });
        }
        for (at, hash) in hashes.chunks_exact(ID_LEN).enumerate() {
            if let Some(target) = Id::from_slice(hash) {
                self.want_leaf(target, number * HASHES_IN_INDEX + at)?;
            }
        }
        Ok(())
    }

    fn want_leaf(&mut self, target: Id, position: usize) -> Result<(), JoinError> {
        if self.indexes.contains(&target) {
            return Err(JoinError::Loop);
        }
        if let Some(&twin) = self.placed.get(&target) {
            let start = twin * LEAF_LEN;
            let bytes = self.body[start..start + self.shape.leaf_len(twin)].to_vec();
            return self.place(position, &bytes);
        }
        match self.wanted.get_mut(&target) {
            Some(Role::Leaf(positions)) => positions.push(position),
            Some(Role::Index(_)) => return Err(JoinError::Loop),
            None => {
                self.wanted.insert(target, Role::Leaf(vec![position]));
            }
        }
        Ok(())
    }

    fn place(&mut self, position: usize, bytes: &[u8]) -> Result<(), JoinError> {
        let expected = self.shape.leaf_len(position);
        if bytes.len() != expected {
            let found = bytes.len();
            return Err(JoinError::WrongLength { expected, found });
        }
        if self.body.is_empty() {
            self.body.resize(self.shape.len, 0);
        }
        let start = position * LEAF_LEN;
        self.body[start..start + expected].copy_from_slice(bytes);
        Ok(())
    }
}

/// The one byte string that `encoded` is.
fn byte_string(encoded: &[u8]) -> Option<&[u8]> {
    if encoded.len() > MAX_ITEM_LEN {
        return None;
    }
    let mut reader = Reader::new(encoded);
    let bytes = reader.bytes().ok()?;
    reader.finish().ok()?;
    Some(bytes)
}
