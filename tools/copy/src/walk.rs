//! What there is to send, in the order in which it is announced.
//!
//! A source that was named is followed if it is a link; below it no link is followed. The entries of
//! a directory come in the order of their bytes, which is what lets a receiver see at no cost that no
//! name comes twice.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use crate::bounds::{MAX_DIRECTORY, MAX_PATH};
use crate::error::plain;
use crate::frame::Meta;
use crate::name::{Name, Trail, below_source, shown, shown_at};
use crate::place::{Cursor, DIRECTORY};

/// Where a file is: below which source.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) source: usize,
    pub(crate) trail: Trail,
    /// `None`: the source itself.
    pub(crate) name: Option<Name>,
}

/// The next thing to announce.
pub(crate) enum Item {
    Source(usize),
    Directory {
        place: Place,
        meta: Meta,
    },
    Leave,
    File {
        place: Place,
        size: u64,
        meta: Meta,
    },
    Link {
        place: Place,
        target: Vec<u8>,
        meta: Meta,
    },
    /// Not sent.
    Failed {
        path: String,
        reason: String,
    },
    /// Not sent, and no fault.
    Skipped {
        path: String,
        reason: String,
    },
}

/// The sources, and whether directories are among what is sent.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) paths: Arc<[PathBuf]>,
    pub(crate) is_recursive: bool,
}

/// Walks through all sources.
pub(crate) struct Walk {
    sources: Sources,
    /// The source that comes next, and whether it was announced.
    next: usize,
    is_announced: bool,
    levels: Vec<Level>,
}

struct Level {
    directory: OwnedFd,
    names: std::vec::IntoIter<Name>,
    trail: Trail,
}

impl Walk {
    pub(crate) fn new(sources: Sources) -> Self {
        Self {
            sources,
            next: 0,
            is_announced: false,
            levels: Vec::new(),
        }
    }

    pub(crate) fn next_item(&mut self) -> Option<Item> {
        if let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.next() else {
                self.levels.pop();
                if self.levels.is_empty() {
                    self.next_source();
                }
                return Some(Item::Leave);
            };
            return Some(self.below(&name));
        }
        let path = self.sources.paths.get(self.next)?.clone();
        if !self.is_announced {
            self.is_announced = true;
            return Some(Item::Source(self.next));
        }
        let item = self.top(&path);
        if self.levels.is_empty() {
            self.next_source();
        }
        Some(item)
    }

    fn next_source(&mut self) {
        self.next += 1;
        self.is_announced = false;
    }

    fn top(&mut self, path: &Path) -> Item {
        let place = Place {
            source: self.next,
            trail: Arc::new([]),
            name: None,
        };
        let stat = match statat(CWD, path, AtFlags::empty()) {
            Ok(stat) => stat,
            Err(error) => return self.failed(&place, &error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => file(place, &stat),
            FileType::Directory if !self.sources.is_recursive => Item::Failed {
                path: self.shown(&place),
                reason: "a directory, and -r was not given".to_owned(),
            },
            FileType::Directory => {
                let directory = openat(CWD, path, DIRECTORY - OFlags::NOFOLLOW, Mode::empty());
                self.enter(directory.map_err(io::Error::from), place, &stat)
            }
            other => Item::Failed {
                path: self.shown(&place),
                reason: format!("{}, not a file", kind_of(other)),
            },
        }
    }

    fn below(&mut self, name: &Name) -> Item {
        let Some(level) = self.levels.last() else {
            return Item::Leave; // Asked only while there is a level.
        };
        let place = Place {
            source: self.next,
            trail: level.trail.clone(),
            name: Some(name.clone()),
        };
        let skipped = |reason: String| Item::Skipped {
            path: self.shown(&place),
            reason,
        };
        if name.is_part() {
            return skipped("left by a copy that was cut short".to_owned());
        }
        let stat = match statat(
            &level.directory,
            name.as_os_str(),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => stat,
            Err(error) => return self.failed(&place, &error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => file(place, &stat),
            FileType::Directory => {
                let opened = openat(&level.directory, name.as_os_str(), DIRECTORY, Mode::empty());
                self.enter(opened.map_err(io::Error::from), place, &stat)
            }
            FileType::Symlink => match readlinkat(&level.directory, name.as_os_str(), Vec::new()) {
                Ok(target) if target.as_bytes().len() <= MAX_PATH => Item::Link {
                    place,
                    target: target.into_bytes(),
                    meta: meta(&stat),
                },
                Ok(_) => self.failed(&place, &rustix::io::Errno::NAMETOOLONG.into()),
                Err(error) => self.failed(&place, &error.into()),
            },
            other => skipped(kind_of(other).to_owned()),
        }
    }

    fn enter(&mut self, directory: io::Result<OwnedFd>, place: Place, stat: &Stat) -> Item {
        let trail = match &place.name {
            None => Some(place.trail.clone()),
            Some(name) => below_source(&place.trail, name),
        };
        let Some(trail) = trail else {
            return Item::Failed {
                path: self.shown(&place),
                reason: "too many directories inside each other".to_owned(),
            };
        };
        let entered = directory.and_then(|directory| {
            let names = names_of(&directory)?.into_iter();
            Ok(Level {
                directory,
                names,
                trail,
            })
        });
        match entered {
            Ok(level) => {
                self.levels.push(level);
                Item::Directory {
                    place,
                    meta: meta(stat),
                }
            }
            Err(error) => self.failed(&place, &error),
        }
    }

    fn failed(&self, place: &Place, error: &io::Error) -> Item {
        Item::Failed {
            path: self.shown(place),
            reason: plain(error),
        }
    }

    fn shown(&self, place: &Place) -> String {
        self.sources.shown(place)
    }
}

impl Sources {
    /// The path of a place, for people.
    pub(crate) fn shown(&self, place: &Place) -> String {
        let source = &self.paths[place.source];
        let source = shown(source.as_os_str().as_encoded_bytes());
        shown_at(&source, &place.trail, place.name.as_ref())
    }
}

/// Opens what a [`Walk`] found, by the same steps.
pub(crate) struct Opener {
    sources: Sources,
    cursor: Option<(usize, Cursor)>,
}

impl Opener {
    pub(crate) fn new(sources: Sources) -> Self {
        Self {
            sources,
            cursor: None,
        }
    }

    /// Opens a regular file for reading.
    pub(crate) fn open(&mut self, place: &Place) -> io::Result<OwnedFd> {
        // A pipe that took the file's place must not hold us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let source = &self.sources.paths[place.source];
        let Some(name) = &place.name else {
            return Ok(openat(CWD, source, flags, Mode::empty())?);
        };
        let cursor = match &mut self.cursor {
            Some((number, cursor)) if *number == place.source => cursor,
            other => {
                let root = openat(CWD, source, DIRECTORY - OFlags::NOFOLLOW, Mode::empty())?;
                &mut other.insert((place.source, Cursor::new(root))).1
            }
        };
        let directory = cursor.at(&place.trail)?;
        Ok(openat(
            directory,
            name.as_os_str(),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )?)
    }
}

fn file(place: Place, stat: &Stat) -> Item {
    Item::File {
        place,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        meta: meta(stat),
    }
}

/// All names of a directory, sorted.
fn names_of(directory: impl AsFd) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        // Only `.` and `..` are no names here.
        if let Ok(name) = Name::new(entry?.file_name().to_bytes()) {
            if names.len() == MAX_DIRECTORY {
                let what = format!("more than {MAX_DIRECTORY} entries in one directory");
                return Err(io::Error::other(what));
            }
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What of a file's state travels.
pub(crate) fn meta(stat: &Stat) -> Meta {
    Meta {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec)
            .unwrap_or(0)
            .min(999_999_999),
    }
}

pub(crate) fn kind_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        _ => "something else",
    }
}

/// Regular files and their sizes, in all sources.
pub(crate) fn count(sources: Sources) -> (u64, u64) {
    let mut walk = Walk::new(sources);
    let (mut files, mut bytes) = (0, 0_u64);
    while let Some(item) = walk.next_item() {
        if let Item::File { size, .. } = item {
            files += 1;
            bytes = bytes.saturating_add(size);
        }
    }
    (files, bytes)
}
