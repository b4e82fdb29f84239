//! Where a copy lands: the directory that nothing leaves, and what each source is called in it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};

use crate::CopyError;
use crate::error::plain;
use crate::name::{Name, NameError, shown};
use crate::place::{Cursor, DIRECTORY};

/// See the module.
pub(crate) struct Landing {
    cursors: Option<(Cursor, Cursor)>,
    /// The directory, for people: before a slash and the names below it.
    pub(crate) shown: String,
    /// `None`: what is in the source goes into the directory itself.
    names: Vec<Option<Name>>,
    /// The destination ends with a slash and is not there: a file cannot take its name.
    needs_directory: bool,
}

/// How a destination is written.
#[derive(Clone, Copy)]
enum End {
    Plain,
    /// It is to be a directory.
    Slash,
}

impl Landing {
    /// A directory takes the sources under their own `names`. Anything else is the new name of the
    /// one source.
    pub(crate) fn new(destination: &Path, names: Vec<Option<Name>>) -> Result<Self, CopyError> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.iter().flatten().find(|name| !seen.insert(*name)) {
            return Err(CopyError::SameName(shown(twice.as_bytes())));
        }
        let fail = |error: io::Error| CopyError::Destination {
            path: shown(destination.as_os_str().as_bytes()),
            reason: plain(&error),
        };
        let refuse = |reason: &str| CopyError::Destination {
            path: shown(destination.as_os_str().as_bytes()),
            reason: reason.to_owned(),
        };
        let is_directory = match statat(CWD, destination, AtFlags::empty()) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(rustix::io::Errno::NOENT) => false,
            // `file/`: the system says that it is no directory.
            Err(error) => return Err(fail(error.into())),
        };
        if is_directory {
            return Self::into(destination, names, End::Plain).map_err(fail);
        }
        if names.len() != 1 {
            return Err(refuse("not a directory, and there are several sources"));
        }
        let end = match destination.as_os_str().as_bytes() {
            [.., b'/'] => End::Slash,
            _ => End::Plain,
        };
        let name = match base_name(destination.as_os_str().as_bytes()) {
            Ok(Some(name)) => name,
            Ok(None) => return Err(refuse("no such directory")),
            Err(error) => return Err(refuse(&error.to_string())),
        };
        if name.is_part() {
            return Err(refuse("the name of a partial file"));
        }
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Self::into(parent, vec![Some(name)], end).map_err(fail)
    }

    fn into(root: &Path, names: Vec<Option<Name>>, end: End) -> io::Result<Self> {
        let open = || -> io::Result<OwnedFd> {
            let flags = DIRECTORY - OFlags::NOFOLLOW;
            Ok(openat(CWD, root, flags, Mode::empty())?)
        };
        let shown = match shown(root.as_os_str().as_bytes()) {
            here if here == "." => String::new(),
            root => root,
        };
        Ok(Self {
            cursors: Some((Cursor::new(open()?), Cursor::new(open()?))),
            shown,
            names,
            needs_directory: matches!(end, End::Slash),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, source: usize) -> Option<&Name> {
        self.names.get(source).and_then(Option::as_ref)
    }

    pub(crate) fn needs_directory(&self) -> bool {
        self.needs_directory
    }

    /// The two walks through the directory.
    ///
    /// # Panics
    /// The second time.
    pub(crate) fn take_cursors(&mut self) -> (Cursor, Cursor) {
        self.cursors.take().expect("a copy lands once")
    }
}

/// The last name of a path; none for `.`, `..`, `/` and nothing at all.
pub(crate) fn base_name(path: &[u8]) -> Result<Option<Name>, NameError> {
    let mut path = path;
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match Name::new(last) {
        Ok(name) => Ok(Some(name)),
        Err(NameError::Special) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    #[test]
    fn the_last_name_of_a_path_is_what_a_copy_is_called() {
        let name = |path: &str| {
            let name = base_name(path.as_bytes()).unwrap();
            name.map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap())
        };
        assert_eq!(name("a/b").as_deref(), Some("b"));
        assert_eq!(name("/a/b//").as_deref(), Some("b"));
        assert_eq!(name("b").as_deref(), Some("b"));
        for nameless in ["", "/", ".", "..", "a/.", "a/../"] {
            assert_eq!(name(nameless), None, "{nameless}");
        }
        assert!(base_name(&[b'x'; 256]).is_err());
    }

    #[test]
    fn a_directory_takes_sources_and_anything_else_is_a_new_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let name = |name: &str| Some(Name::new(name.as_bytes()).unwrap());
        let land = |to: &str, names: Vec<_>| Landing::new(&dir.path().join(to), names);
        let into = land("", vec![name("a"), name("b")]).unwrap();
        assert_eq!(into.name(1), name("b").as_ref());
        let renamed = land("file", vec![name("a")]).unwrap();
        assert_eq!(renamed.name(0), name("file").as_ref());
        let new = land("new/", vec![name("a")]).unwrap();
        assert!(new.needs_directory() && new.name(0) == name("new").as_ref());
        for (to, names) in [
            ("new", vec![name("a"), name("b")]),
            ("file", vec![name("a"), name("b")]),
            ("no/where", vec![name("a")]),
            ("file/", vec![name("a")]),
            ("file/x", vec![name("a")]),
            (".x.dsh-part", vec![name("a")]),
            ("", vec![name("a"), name("a")]),
        ] {
            assert!(land(to, names).is_err(), "{to}");
        }
    }
}
