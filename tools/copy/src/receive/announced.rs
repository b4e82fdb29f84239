//! Entries as they are announced: what is there already decides what is wanted.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, mkdirat, openat, readlinkat, renameat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::contents::{Active, Basis, Wanted};
use super::directories::State;
use super::part::{Part, Watch, apply, times};
use super::{Level, Receiving, Spot};
use crate::CopyError;
use crate::bounds::{MAX_IN_FLIGHT, MAX_RESUMED};
use crate::content::{Sparse, hash_prefix};
use crate::error::plain;
use crate::frame::{Ending, Frame, Have, Meta};
use crate::name::{Name, below, shown_at};
use crate::report::Event;
use crate::walk::{kind_of, meta};

/// Where an announced entry belongs.
enum Entry {
    At(Spot),
    /// Into the landing itself: the source has no name of its own.
    Landing,
    /// Below a directory that failed.
    Dropped {
        parent: Option<u64>,
    },
}

impl<W: Write> Receiving<'_, W> {
    /// Checks the name of an entry against everything that a sender could do with it.
    fn entry(&mut self, name: &[u8]) -> Result<Entry, CopyError> {
        let Some(level) = self.levels.last_mut() else {
            let source = self.source.take();
            let source = source.ok_or(CopyError::Violation("an entry of no source"))?;
            if !name.is_empty() {
                return Err(CopyError::Violation("a source with a name of its own"));
            }
            return Ok(match self.landing.name(source) {
                None => Entry::Landing,
                Some(name) => Entry::At(Spot {
                    parent: None,
                    trail: [].into(),
                    name: name.clone(),
                }),
            });
        };
        let name = Name::new(name).map_err(|_| CopyError::Violation("a name that is none"))?;
        if level.last.as_ref().is_some_and(|last| *last >= name) {
            return Err(CopyError::Violation("a name twice, or out of order"));
        }
        level.last = Some(name.clone());
        let id = level.id;
        self.directories.entry_begun(id);
        let parent = Some(id);
        match self.directories.get(id) {
            Some(directory) if directory.state.is_open() => Ok(Entry::At(Spot {
                parent,
                trail: directory.trail.clone(),
                name,
            })),
            _ => Ok(Entry::Dropped { parent }),
        }
    }

    pub(super) fn on_directory(&mut self, name: &[u8], wanted: Meta) -> Result<(), CopyError> {
        if !self.options.recursive {
            return Err(CopyError::Violation("a directory that was not asked for"));
        }
        let id = self.take_id();
        let (parent, trail, state) = match self.entry(name)? {
            Entry::Dropped { parent } => (parent, [].into(), State::Dropped),
            // Its own mode and time are not the sender's to change.
            Entry::Landing => (None, [].into(), State::Open { wanted: None }),
            Entry::At(spot) => {
                let trail = below(&spot.trail, &spot.name).ok_or(CopyError::Violation(
                    "too many directories inside each other",
                ))?;
                let state = match self.make_directory(&spot) {
                    Ok(()) => State::Open {
                        wanted: self.options.preserve.then_some(wanted),
                    },
                    Err(error) => {
                        self.failed(id, &spot, &plain(&error))?;
                        State::Failed
                    }
                };
                (spot.parent, trail, state)
            }
        };
        self.directories.add(id, parent, trail, state)?;
        self.levels.push(Level { id, last: None });
        Ok(())
    }

    fn make_directory(&mut self, spot: &Spot) -> io::Result<()> {
        // With modes to be kept it gets its own at its end; until then nobody else looks in.
        let mode = if self.options.preserve { 0o700 } else { 0o777 };
        let at = self.announced.at(&spot.trail)?;
        match mkdirat(at, spot.name.as_os_str(), Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
        let there = statat(at, spot.name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(there.st_mode) {
            FileType::Directory => Ok(()),
            other => Err(in_the_way(other)),
        }
    }

    pub(super) fn on_leave(&mut self) -> Result<(), CopyError> {
        let level = self.levels.pop();
        let level = level.ok_or(CopyError::Violation("it leaves where it never entered"))?;
        self.entry_done(Some(level.id))
    }

    pub(super) fn on_link(
        &mut self,
        name: &[u8],
        target: &[u8],
        wanted: Meta,
    ) -> Result<(), CopyError> {
        const NO_SOURCE: CopyError = CopyError::Violation("a link in the place of a source");
        // A source that is a link is followed; one in its place would lead whoever uses the copy.
        if self.levels.is_empty() {
            return Err(NO_SOURCE);
        }
        let id = self.take_id();
        let spot = match self.entry(name)? {
            Entry::At(spot) => spot,
            Entry::Landing => return Err(NO_SOURCE),
            Entry::Dropped { parent } => {
                self.done(id, Ending::Dropped)?;
                return self.entry_done(parent);
            }
        };
        match self.make_link(&spot, target, &wanted) {
            Ok(ending) => {
                let sum = &mut self.report.summary;
                match ending {
                    Ending::Unchanged => sum.unchanged += 1,
                    _ => sum.links += 1,
                }
                self.done(id, ending)?;
            }
            Err(error) => self.failed(id, &spot, &plain(&error))?,
        }
        self.entry_done(spot.parent)
    }

    /// Makes a link that is never followed here, wherever it leads.
    fn make_link(&mut self, spot: &Spot, target: &[u8], wanted: &Meta) -> io::Result<Ending> {
        self.takeable(spot)?;
        let is_preserving = self.options.preserve;
        let at = self.announced.at(&spot.trail)?;
        let name = spot.name.as_os_str();
        if readlinkat(at, name, Vec::new()).is_ok_and(|there| there.as_bytes() == target) {
            return Ok(Ending::Unchanged);
        }
        if let Ok(there) = statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
            && let kind @ FileType::Directory = FileType::from_raw_mode(there.st_mode)
        {
            return Err(in_the_way(kind));
        }
        let part = spot.name.part();
        let part = part.as_os_str();
        match symlinkat(target, at, part) {
            Err(Errno::EXIST) => {
                unlinkat(at, part, AtFlags::empty())?;
                symlinkat(target, at, part)?;
            }
            other => other?,
        }
        if is_preserving {
            utimensat(at, part, &times(wanted), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Err(error) = renameat(at, part, at, name) {
            let _ = unlinkat(at, part, AtFlags::empty());
            return Err(error.into());
        }
        Ok(Ending::Stored)
    }

    /// Refuses names that files and links cannot have here.
    fn takeable(&self, spot: &Spot) -> io::Result<()> {
        if spot.name.is_part() {
            return Err(io::Error::other("the name of a partial file"));
        }
        if spot.parent.is_none() && self.landing.needs_directory() {
            return Err(io::Error::other("no such directory"));
        }
        Ok(())
    }

    pub(super) fn on_file(
        &mut self,
        name: &[u8],
        size: u64,
        wanted: Meta,
    ) -> Result<(), CopyError> {
        let id = self.take_id();
        let spot = match self.entry(name)? {
            Entry::At(spot) => spot,
            Entry::Landing => {
                return Err(CopyError::Violation("a file in the place of a directory"));
            }
            Entry::Dropped { parent } => {
                self.done(id, Ending::Dropped)?;
                return self.entry_done(parent);
            }
        };
        match self.look(&spot, size, &wanted) {
            Ok(Look::Same) => {
                self.report.on(Event::Unchanged { size });
                self.done(id, Ending::Unchanged)?;
                self.entry_done(spot.parent)
            }
            Ok(Look::Wanted {
                basis,
                existing_mode,
            }) => self.want(Wanted {
                id,
                spot,
                size,
                meta: wanted,
                existing_mode,
                basis,
            }),
            Err(error) => {
                self.failed(id, &spot, &plain(&error))?;
                self.entry_done(spot.parent)
            }
        }
    }

    fn want(&mut self, wanted: Wanted) -> Result<(), CopyError> {
        if self.wanted.len() >= MAX_IN_FLIGHT {
            return Err(CopyError::Violation("too many entries at a time"));
        }
        let have = match &wanted.basis {
            Basis::Nothing => None,
            Basis::Part(part) => Some(Have {
                length: part.length(),
                digest: part.digest(),
            }),
            Basis::Whole(digest) => Some(Have {
                length: wanted.size,
                digest: *digest,
            }),
        };
        let id = wanted.id;
        self.out.send(&Frame::Want { id, have })?;
        self.wanted.push_back(wanted);
        Ok(())
    }

    /// What is there of a file.
    fn look(&mut self, spot: &Spot, size: u64, wanted: &Meta) -> io::Result<Look> {
        self.takeable(spot)?;
        let at = self.announced.at(&spot.trail)?;
        let there = match statat(at, spot.name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Some(there),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error.into()),
        };
        let mut existing_mode = None;
        let mut same_size = None;
        if let Some(there) = &there {
            match FileType::from_raw_mode(there.st_mode) {
                FileType::RegularFile => {
                    existing_mode = Some(meta(there).mode);
                    same_size = (u64::try_from(there.st_size) == Ok(size)).then_some(there);
                }
                FileType::Symlink => {} // Replaced, never followed.
                other => return Err(in_the_way(other)),
            }
        }
        if let Some(there) = same_size
            && (size == 0 || (!self.options.checksum && is_same_time(&meta(there), wanted)))
        {
            if self.options.preserve && meta(there) != *wanted {
                apply(open(at, &spot.name)?, wanted)?;
            }
            return Ok(Look::Same);
        }
        Ok(Look::Wanted {
            basis: self.basis(spot, size, same_size)?,
            existing_mode,
        })
    }

    /// What can be used of what is there: the part of an earlier copy, or a file of the same size.
    fn basis(&mut self, spot: &Spot, size: u64, same_size: Option<&Stat>) -> io::Result<Basis> {
        let at = self.announced.at(&spot.trail)?;
        let (report, out) = (&mut self.report, &mut self.out);
        let (wanted_before, active) = (&self.wanted, &self.active);
        let shown = || shown_at(&self.landing.shown, &spot.trail, Some(&spot.name));
        let mut watch = |what| match what {
            Watch::Verified(bytes) => {
                report.on(Event::Verified(bytes));
                true
            }
            // That other copy may be this one: two sources of one name.
            Watch::Locked => {
                let before = wanted_before
                    .iter()
                    .chain(active.iter().map(Active::wanted));
                let is_own = before.into_iter().any(|other| other.spot.is_at(spot));
                if !is_own {
                    let path = shown();
                    // A stream that is broken is noticed by the next read.
                    let frame = Frame::Waiting {
                        path: path.as_bytes(),
                    };
                    let _ = out.send(&frame).and_then(|()| out.flush());
                    report.on(Event::Waiting { path });
                }
                !is_own
            }
        };
        let mut basis = Basis::Nothing;
        if self.resumed < MAX_RESUMED
            && size > 0
            && let Some(part) = Part::resume(at, &spot.name, size, &mut watch)
        {
            self.resumed += 1;
            basis = Basis::Part(Box::new(part));
        } else if let Some(there) = same_size
            && let Ok(file) = open(at, &spot.name)
            && let Ok(Some(hash)) = hash_prefix(file, size, Sparse::of(there), |bytes| {
                watch(Watch::Verified(bytes));
            })
        {
            basis = Basis::Whole(hash.digest());
        }
        Ok(basis)
    }
}

enum Look {
    Same,
    Wanted {
        basis: Basis,
        existing_mode: Option<u16>,
    },
}

/// Opens a file that is there, for reading.
pub(super) fn open(at: impl std::os::fd::AsFd, name: &Name) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(at, name.as_os_str(), flags, Mode::empty())?)
}

/// File systems that keep whole seconds make no file look changed.
fn is_same_time(there: &Meta, wanted: &Meta) -> bool {
    there.seconds == wanted.seconds
        && (there.nanoseconds == wanted.nanoseconds || there.nanoseconds == 0)
}

fn in_the_way(kind: FileType) -> io::Error {
    let what = match kind {
        FileType::RegularFile => "a file",
        other => kind_of(other),
    };
    io::Error::other(format!("{what} is in the way"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_whole_seconds_makes_nothing_look_changed() {
        let at = |nanoseconds| Meta {
            mode: 0,
            seconds: 7,
            nanoseconds,
        };
        assert!(is_same_time(&at(0), &at(5)));
        assert!(is_same_time(&at(5), &at(5)));
        assert!(!is_same_time(&at(4), &at(5)));
        assert!(!is_same_time(
            &Meta {
                seconds: 8,
                ..at(5)
            },
            &at(5)
        ));
    }
}
