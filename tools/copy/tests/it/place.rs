//! Two folders, and copies between them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dhtnet_copy::{CopyError, Event, Options, Pull, Push, Summary, serve};
use tempfile::TempDir;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Push,
    Pull,
}

pub(crate) const WAYS: [Way; 2] = [Way::Push, Way::Pull];

pub(crate) const TREE: Options = options(true, false);
pub(crate) const KEEP: Options = options(true, true);

const fn options(recursive: bool, preserve: bool) -> Options {
    Options {
        recursive,
        preserve,
        checksum: false,
        totals: false,
    }
}

/// A stream that breaks after so many bytes.
pub(crate) struct Cut {
    stream: UnixStream,
    left: usize,
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.left);
        if length == 0 {
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.left -= length;
        self.stream.write_all(&bytes[..length])?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a client saw of a copy.
pub(crate) struct Seen {
    pub(crate) result: Result<Summary, CopyError>,
    pub(crate) events: Vec<Event>,
}

impl Seen {
    pub(crate) fn summary(self) -> Summary {
        self.result.unwrap()
    }

    /// `path: reason` of everything that failed, paths without their folder.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failures = self.events.iter().filter_map(|event| match event {
            Event::Failed { path, reason, .. } => {
                let name = path.rsplit('/').next().unwrap();
                Some(format!("{name}: {reason}"))
            }
            _ => None,
        });
        failures.collect()
    }
}

/// `from/` with sources and `to/` for copies.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: a disk makes these tests wait for it.
        let memory = Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        fs::create_dir(folder.path().join("from")).unwrap();
        fs::create_dir(folder.path().join("to")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap()
    }

    pub(crate) fn copy(&self, way: Way, sources: &[&str], to: &str, options: Options) -> Seen {
        self.copy_cut(way, sources, to, (options, usize::MAX, usize::MAX))
    }

    /// A copy whose client and server may send so many bytes each before the connection breaks.
    pub(crate) fn copy_cut(
        &self,
        way: Way,
        sources: &[&str],
        to: &str,
        limits: (Options, usize, usize),
    ) -> Seen {
        self.copy_watched((way, sources, to), limits, |_| ())
    }

    /// The same, with something done at each event of the client.
    pub(crate) fn copy_watched(
        &self,
        (way, sources, to): (Way, &[&str], &str),
        (options, client, server): (Options, usize, usize),
        watch: impl Fn(&Event) + Send,
    ) -> Seen {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let cut = |stream: &UnixStream, left| Cut {
            stream: stream.try_clone().unwrap(),
            left,
        };
        let (to_server, to_client) = (cut(&ours, client), cut(&theirs, server));
        let served = std::thread::spawn(move || {
            let result = serve(theirs.try_clone().unwrap(), to_client);
            let _ = theirs.shutdown(std::net::Shutdown::Both);
            result.map(drop)
        });
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let mut observer = move |event| {
            watch(&event);
            seen.lock().unwrap().push(event);
        };
        let sources = sources.iter().map(|source| self.path(source));
        let hung_up = ours.try_clone().unwrap();
        let result = match way {
            Way::Push => Push {
                sources: sources.collect(),
                destination: self.path(to).as_os_str().as_bytes().to_vec(),
                options,
            }
            .run(ours, to_server, &mut observer),
            Way::Pull => Pull {
                sources: sources
                    .map(|source| source.as_os_str().as_bytes().to_vec())
                    .collect(),
                destination: self.path(to),
                options,
            }
            .run(ours, to_server, &mut observer),
        };
        let _ = hung_up.shutdown(std::net::Shutdown::Both);
        let _ = served.join().unwrap();
        let events = events.lock().unwrap().clone();
        Seen { result, events }
    }
}

/// One entry of a tree, as far as it is to be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    kind: &'static str,
    content: Vec<u8>,
    /// Permission bits and time, where they are kept.
    state: Option<(u32, i64, i64)>,
}

/// Everything below a folder by its path.
pub(crate) fn tree(root: &Path, options: Options) -> BTreeMap<Vec<u8>, Entry> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let is_link = meta.is_symlink();
            let (kind, content) = if is_link {
                let target = fs::read_link(&path).unwrap();
                ("link", target.as_os_str().as_bytes().to_vec())
            } else if meta.is_dir() {
                folders.push(path.clone());
                ("directory", Vec::new())
            } else {
                ("file", fs::read(&path).unwrap())
            };
            let state = options.preserve.then(|| {
                let bits = if is_link { 0 } else { meta.mode() & 0o777 };
                (bits, meta.mtime(), meta.mtime_nsec())
            });
            let name = path.strip_prefix(root).unwrap();
            let name = name.as_os_str().as_bytes().to_vec();
            let entry = Entry {
                kind,
                content,
                state,
            };
            found.insert(name, entry);
        }
    }
    found
}

/// Bytes that look the same nowhere.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn link(to: &str, at: &Path) {
    symlink(to, at).unwrap();
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
