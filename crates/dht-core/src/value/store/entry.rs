//! One stored value, and the values under one key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use super::{Change, ENTRY_COST, ValueError};
use crate::value::query::{Subject, ValueQuery};
use crate::value::record::{Value, ValueKey};
use crate::value::source::Source;

/// What an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A value; after it has expired, its sequence number.
    Held,
    /// A removal; after it has expired, its sequence number.
    Removed,
}

/// A value, a removal, or the sequence number that either left behind.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) state: State,
    /// When this version of it came.
    pub(super) arrived: Instant,
    /// When the record expires.
    pub(super) expires: Instant,
    /// Until when an older version could be brought back: from `expires` on.
    pub(super) kept_until: Instant,
    /// Who put it last.
    pub(super) source: Source,
    /// As it came; empty once it has expired.
    pub(super) record: Box<[u8]>,
}

impl Entry {
    /// What it takes of the bytes of the store.
    pub(super) const fn cost(&self) -> usize {
        ENTRY_COST + self.record.len()
    }

    /// Whose it is, and what it takes.
    pub(super) fn charge(&self) -> (Source, usize) {
        (self.source, self.cost())
    }

    pub(super) fn forget_record(&mut self) {
        self.record = Box::default();
    }

    /// When something happens to it.
    pub(super) fn next_deadline(&self) -> Instant {
        if self.record.is_empty() {
            self.kept_until
        } else {
            self.expires
        }
    }

    /// The record as `query` selects it; none where it has expired.
    pub(super) fn selected(&self, now: Instant, query: &ValueQuery) -> Option<Cow<'_, [u8]>> {
        if self.expires <= now || self.record.is_empty() {
            return None;
        }
        let Some(select) = query.select else {
            return Some(Cow::Borrowed(&self.record));
        };
        if self.state == State::Removed {
            return None;
        }
        let value = Value::decode(&self.record).ok()?;
        Some(Cow::Owned(value.encode_selected(select)))
    }

    /// What `new`, which has the same key, is to this entry; with the value that it would edit.
    pub(super) fn compare(&self, new: &Value) -> Result<(Change, Option<Value>), ValueError> {
        let old = Value::decode(&self.record).ok();
        let is_same = old
            .as_ref()
            .is_some_and(|old| old.is_same_but_for_expiry(new));
        if is_same {
            let is_later = old.is_some_and(|old| new.expiry() > old.expiry());
            let change = if is_later {
                Change::Refreshed
            } else {
                Change::Unchanged
            };
            return Ok((change, None));
        }
        let (Some(stored), Some(seq)) = (self.subject.seq, new.seq()) else {
            return Err(ValueError::Taken);
        };
        // Its record has expired: the owner may bring the same version back, but not what it
        // removed.
        let is_return = self.record.is_empty()
            && self.state == State::Held
            && !new.is_removal()
            && seq == stored;
        if seq <= stored && !is_return {
            return Err(ValueError::SeqTooLow { stored });
        }
        let is_there = old.as_ref().is_some_and(|old| !old.is_removal());
        if is_there {
            Ok((Change::Edited, old))
        } else {
            Ok((Change::Added, None))
        }
    }
}

/// The values under one key.
#[derive(Debug)]
pub(super) struct Bucket {
    /// When to look at them: not later than something happens to one.
    pub(super) deadline: Instant,
    /// By ascending key. Most keys have one or two values, so a vector costs least.
    pub(super) entries: Vec<Entry>,
}

impl Bucket {
    pub(super) fn find(&self, key: &ValueKey) -> Option<&Entry> {
        self.position(key).ok().map(|at| &self.entries[at])
    }

    /// The entries from `key` on, or all.
    pub(super) fn from(&self, key: Option<&ValueKey>) -> &[Entry] {
        let start = key.map_or(0, |key| self.position(key).unwrap_or_else(|at| at));
        &self.entries[start..]
    }

    /// Puts `entry` in its place, and returns what stood there.
    pub(super) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        match self.position(&entry.subject.key) {
            Ok(at) => Some(std::mem::replace(&mut self.entries[at], entry)),
            Err(at) => {
                if self.entries.is_empty() {
                    self.entries.reserve_exact(1);
                }
                self.entries.insert(at, entry);
                None
            }
        }
    }

    /// The entry to go for one of `source`: of the source with most entries here, the one that
    /// expires first. None where `source` itself has as many.
    pub(super) fn most_crowded(&self, source: Source) -> Option<usize> {
        let mut counts: BTreeMap<Source, usize> = BTreeMap::new();
        for entry in &self.entries {
            *counts.entry(entry.source).or_default() += 1;
        }
        let own = counts.get(&source).copied().unwrap_or_default();
        let (crowd, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        if count <= own + 1 {
            return None;
        }
        let of_crowd = |at: &usize| self.entries[*at].source == crowd;
        (0..self.entries.len())
            .filter(of_crowd)
            .min_by_key(|at| self.entries[*at].expires)
    }

    fn position(&self, key: &ValueKey) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.subject.key.cmp(key))
    }
}
