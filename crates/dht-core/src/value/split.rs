//! Bodies that do not fit into a record, as BEP 44 immutable items that any node can hold.
//!
//! A body is cut into leaves of [`LEAF_LEN`] bytes, the last one shorter, each stored as a
//! bencoded byte string. A record names up to [`MAX_DIRECT_PARTS`] leaves itself. For more it
//! names index items: byte strings of up to [`HASHES_IN_INDEX`] targets of leaves. The length
//! alone decides which, so a record and its items can be joined in one way only: there is no
//! depth to choose and no cycle to follow.

mod joiner;

use crate::id::{ID_LEN, Id};

pub use self::joiner::{JoinError, Joiner};
use super::record::MAX_BODY_LEN;

/// Bytes of the longest item, bencoded (BEP 44).
pub const MAX_ITEM_LEN: usize = 1000;

/// Bytes of a leaf: [`MAX_ITEM_LEN`] without the `996:` in front.
pub const LEAF_LEN: usize = MAX_ITEM_LEN - 4;

/// Targets in a full index item: as many as fit.
pub const HASHES_IN_INDEX: usize = LEAF_LEN / ID_LEN;

/// Leaves that a record names itself: with them the longest signed record stays below
/// [`MAX_RECORD_LEN`](super::MAX_RECORD_LEN).
pub const MAX_DIRECT_PARTS: usize = 32;

/// An immutable item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is stored: the SHA-1 of [`encoded`](Self::encoded).
    pub target: Id,
    /// The item's `v`: a bencoded byte string of at most [`MAX_ITEM_LEN`] bytes.
    pub encoded: Vec<u8>,
}

impl Item {
    fn of(bytes: &[u8]) -> Self {
        let mut encoded = bytes.len().to_string().into_bytes();
        encoded.push(b':');
        encoded.extend_from_slice(bytes);
        Self {
            target: Id::hash_of(&encoded),
            encoded,
        }
    }
}

/// A body in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of the body.
    pub len: u32,
    /// What the record names: leaves or index items.
    pub parts: Vec<Id>,
    /// Everything to be stored, leaves first, each item once.
    pub items: Vec<Item>,
}

/// A body that cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a body in parts has 1 to {MAX_BODY_LEN} bytes, not {found}")]
pub struct SplitError {
    /// Bytes found.
    pub found: usize,
}

/// Cuts `body` into items.
///
/// # Errors
/// [`SplitError`] when it is empty or longer than [`MAX_BODY_LEN`].
pub fn split(body: &[u8]) -> Result<Parts, SplitError> {
    let shape = Shape::of(body.len()).ok_or(SplitError { found: body.len() })?;
    let mut items: Vec<Item> = Vec::new();
    let mut leaves = Vec::with_capacity(shape.leaves);
    for leaf in body.chunks(LEAF_LEN) {
        leaves.push(keep(&mut items, Item::of(leaf)));
    }
    let parts = if shape.has_index {
        let mut parts = Vec::with_capacity(shape.parts());
        for hashes in leaves.chunks(HASHES_IN_INDEX) {
            let index = hashes.iter().flat_map(Id::as_bytes).copied();
            let index: Vec<u8> = index.collect();
            parts.push(keep(&mut items, Item::of(&index)));
        }
        parts
    } else {
        leaves
    };
    Ok(Parts {
        len: body.len() as u32,
        parts,
        items,
    })
}

/// Adds `item` unless it is there; a body of at most 66 leaves is searched in no time.
fn keep(items: &mut Vec<Item>, item: Item) -> Id {
    let target = item.target;
    if items.iter().all(|known| known.target != target) {
        items.push(item);
    }
    target
}

/// How a body of some length is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    len: usize,
    leaves: usize,
    has_index: bool,
}

impl Shape {
    fn of(len: usize) -> Option<Self> {
        let leaves = len.div_ceil(LEAF_LEN);
        (1..=MAX_BODY_LEN).contains(&len).then_some(Self {
            len,
            leaves,
            has_index: leaves > MAX_DIRECT_PARTS,
        })
    }

    /// Targets in the record.
    fn parts(&self) -> usize {
        if self.has_index {
            self.leaves.div_ceil(HASHES_IN_INDEX)
        } else {
            self.leaves
        }
    }

    /// Bytes of leaf number `at`.
    fn leaf_len(&self, at: usize) -> usize {
        (self.len - at * LEAF_LEN).min(LEAF_LEN)
    }

    /// Leaves named by index item number `at`.
    fn hashes_in(&self, at: usize) -> usize {
        (self.leaves - at * HASHES_IN_INDEX).min(HASHES_IN_INDEX)
    }
}

/// Whether a record may name `parts` targets for a body of `len` bytes.
pub(super) fn is_shape(len: u32, parts: usize) -> bool {
    Shape::of(len as usize).is_some_and(|shape| shape.parts() == parts)
}

#[cfg(test)]
mod tests;
