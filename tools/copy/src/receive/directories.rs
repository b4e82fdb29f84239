//! Directories that are not finished: somebody may still write into them.

use std::collections::BTreeMap;

use crate::CopyError;
use crate::bounds::MAX_IN_FLIGHT;
use crate::frame::Meta;
use crate::name::Trail;

/// One of them.
pub(super) struct Directory {
    pub(super) parent: Option<u64>,
    pub(super) trail: Trail,
    pub(super) state: State,
    /// Entries that are not finished, and one for the announcing of further ones.
    open: usize,
}

/// What is to be done at its end.
pub(super) enum State {
    /// It is there, and gets this mode and time.
    Open { wanted: Option<Meta> },
    /// It could not be made, and the sender knows.
    Failed,
    /// That of a directory above.
    Dropped,
}

impl State {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// All of them, by number.
#[derive(Default)]
pub(super) struct Directories(BTreeMap<u64, Directory>);

impl Directories {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// At the bound: the sender announces further ahead than it may.
    pub(super) fn add(
        &mut self,
        id: u64,
        parent: Option<u64>,
        trail: Trail,
        state: State,
    ) -> Result<(), CopyError> {
        if self.0.len() >= MAX_IN_FLIGHT {
            return Err(CopyError::Violation("too many entries at a time"));
        }
        self.0.insert(
            id,
            Directory {
                parent,
                trail,
                state,
                open: 1,
            },
        );
        Ok(())
    }

    pub(super) fn get(&self, id: u64) -> Option<&Directory> {
        self.0.get(&id)
    }

    /// One entry more.
    pub(super) fn entry_begun(&mut self, id: u64) {
        if let Some(directory) = self.0.get_mut(&id) {
            directory.open += 1;
        }
    }

    /// One entry less, or the last one was announced; the directory, if that was all of it.
    pub(super) fn entry_done(&mut self, id: u64) -> Option<Directory> {
        let directory = self.0.get_mut(&id)?;
        directory.open -= 1;
        if directory.open > 0 {
            return None;
        }
        self.0.remove(&id)
    }
}
