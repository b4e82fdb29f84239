//! The deadlines of a mux as one table with names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::event::{ChannelId, Deadline};

/// Whose deadline it is: a channel's, or the connection's.
type Owner = Option<ChannelId>;

/// At most one deadline for each owner.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Instant, Deadline, Owner)>,
    by_owner: BTreeMap<Owner, (Instant, Deadline)>,
}

impl Deadlines {
    /// Sets the owner's deadline, in place of one that it had.
    pub(crate) fn set(&mut self, owner: Owner, deadline: Deadline, at: Instant) {
        self.clear(owner);
        self.by_time.insert((at, deadline, owner));
        self.by_owner.insert(owner, (at, deadline));
    }

    /// Forgets the owner's deadline, if it has one.
    pub(crate) fn clear(&mut self, owner: Owner) {
        if let Some((at, deadline)) = self.by_owner.remove(&owner) {
            self.by_time.remove(&(at, deadline, owner));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Deadline, Instant)> {
        self.by_time
            .first()
            .map(|(at, deadline, _)| (*deadline, *at))
    }

    /// Takes out the earliest deadline if it is over.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Deadline, Owner)> {
        let (at, deadline, owner) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(owner);
        Some((deadline, owner))
    }

    pub(crate) fn clear_all(&mut self) {
        self.by_time.clear();
        self.by_owner.clear();
    }
}
