//! Walking down from a directory that is held open, one step at a time.
//!
//! Each step opens one name in the directory above it and follows no link, so that nothing below a
//! root, whoever changes it meanwhile, leads out of the root. This needs nothing newer than
//! `openat`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};

use crate::name::Name;

/// How a directory is opened that is only walked through.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The directories from a root to the one that was last asked for, held open: what is asked for in
/// the order of a tree costs one step each.
pub(crate) struct Cursor {
    root: OwnedFd,
    steps: Vec<(Name, OwnedFd)>,
}

impl Cursor {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self {
            root,
            steps: Vec::new(),
        }
    }

    /// The directory at the end of `trail`.
    ///
    /// # Errors
    /// The system's: a step is missing, a link, no directory, or not allowed.
    pub(crate) fn at(&mut self, trail: &[Name]) -> io::Result<BorrowedFd<'_>> {
        let shared = trail
            .iter()
            .zip(&self.steps)
            .take_while(|(wanted, (held, _))| wanted == &held)
            .count();
        self.steps.truncate(shared);
        for name in &trail[shared..] {
            let above = self.deepest();
            let step = openat(above, name.as_os_str(), DIRECTORY, Mode::empty())?;
            self.steps.push((name.clone(), step));
        }
        Ok(self.deepest())
    }

    fn deepest(&self) -> BorrowedFd<'_> {
        match self.steps.last() {
            Some((_, directory)) => directory.as_fd(),
            None => self.root.as_fd(),
        }
    }
}
