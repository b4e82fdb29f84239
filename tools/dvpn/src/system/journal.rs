//! What was changed, on disk before it is changed.
//!
//! `STATE/vpn/NAME.journal` is written and synced before the first change and names everything that
//! is to be undone, so whoever finds it after a crash can undo all of it: undoing what was never
//! done does nothing. `STATE/vpn/NAME.lock` is locked as long as the process lives; the kernel lets
//! go of it whatever way the process ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dhtnet_cli::Home;
use dhtnet_identity::atomic_file;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::SystemError;
use super::change::Change;
use super::neighbours::{Neighbours, Turn};
use super::privilege::check_name;

/// Version of the journal's form.
const VERSION: u32 = 1;

/// What the kernel calls the present boot; sysctls, rules and tables do not outlive it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The network namespace of this thread.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// The content of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// Process that is responsible.
    pub(super) pid: u32,
    boot: String,
    /// Network namespace: changes elsewhere cannot be undone here.
    namespace: u64,
    /// Where the process listens for questions.
    pub(super) control: PathBuf,
    /// In the order in which they are made.
    pub(super) changes: Vec<Change>,
}

/// What is true of the kernel that this process runs on.
fn boot() -> String {
    fs::read_to_string(BOOT_ID)
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn namespace() -> u64 {
    fs::metadata(NAMESPACE).map_or(0, |meta| meta.ino())
}

impl Record {
    /// The interface that was taken up.
    pub(super) fn interface(&self) -> Option<String> {
        self.changes.iter().find_map(|change| match change {
            Change::Link { name, .. } => Some(name.clone()),
            _ => None,
        })
    }

    /// Whether changes to the kernel's state are there to be undone.
    pub(super) fn is_of_this_kernel(&self) -> bool {
        self.boot == boot() && self.namespace == namespace()
    }
}

/// The files of one network of this device.
#[derive(Debug, Clone)]
pub(super) struct Files {
    folder: PathBuf,
    pub(super) name: String,
}

impl Files {
    pub(super) fn of(home: &Home, name: &str) -> Result<Self, SystemError> {
        check_name(name)?;
        Ok(Self {
            folder: home.state().join("vpn"),
            name: name.to_owned(),
        })
    }

    /// Names of all networks that have a journal.
    pub(super) fn present(home: &Home) -> Vec<String> {
        names_in(&home.state().join("vpn"))
    }

    /// Those of the other networks that have a journal.
    pub(super) fn others(&self) -> Vec<Self> {
        let names = names_in(&self.folder).into_iter();
        let others = names.filter(|name| *name != self.name);
        let files = others.map(|name| Self {
            folder: self.folder.clone(),
            name,
        });
        files.collect()
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join(format!("{}.journal", self.name))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// The lock, if nobody has it.
    pub(super) fn lock(&self) -> Result<Option<File>, SystemError> {
        lock(self.folder.join(format!("{}.lock", self.name)))
    }

    /// The lock of who is changing the system, if nobody is. No network has such a name.
    pub(super) fn lock_system(&self) -> Result<Option<File>, SystemError> {
        lock(self.folder.join(".system.lock"))
    }

    /// What stands in the journal; `None` without one.
    pub(super) fn read(&self) -> Result<Option<Record>, SystemError> {
        let path = self.journal();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|source| failed(&path, source))?,
        };
        let strange = |source| SystemError::StrangeJournal {
            path: path.clone(),
            source,
        };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| strange(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        if record.version != VERSION {
            let why = format!("version {} is not known here", record.version);
            return Err(strange(io::Error::other(why)));
        }
        Ok(Some(record))
    }

    fn remove(&self) -> Result<(), SystemError> {
        let path = self.journal();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }
}

/// Networks that have a journal in a folder.
fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".journal").map(str::to_owned)
        })
        .filter(|name| check_name(name).is_ok())
        .collect();
    names.sort();
    names
}

/// The lock of a file, which is made where it is not there; `None` when somebody has it.
fn lock(path: PathBuf) -> Result<Option<File>, SystemError> {
    let taken = || -> io::Result<Option<File>> {
        atomic_file::create_private_parent(&path)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    taken().map_err(|source| SystemError::Journal { path, source })
}

/// A journal that is open for writing: this process has the lock.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) files: Files,
    pub(super) record: Record,
    _lock: File,
}

impl Journal {
    /// Takes `lock`, and writes a journal of no changes.
    pub(super) fn begin(files: Files, lock: File, control: &Path) -> Result<Self, SystemError> {
        let journal = Self {
            record: Record {
                version: VERSION,
                pid: std::process::id(),
                boot: boot(),
                namespace: namespace(),
                control: control.to_owned(),
                changes: Vec::new(),
            },
            files,
            _lock: lock,
        };
        journal.write()?;
        Ok(journal)
    }

    /// Makes `changes` what is to be undone. It is on disk when this returns.
    pub(super) fn set(&mut self, changes: Vec<Change>) -> Result<(), SystemError> {
        self.record.changes = changes;
        self.write()
    }

    fn write(&self) -> Result<(), SystemError> {
        let path = self.files.journal();
        let bytes = serde_json::to_vec_pretty(&self.record)
            .map_err(|error| failed(&path, io::Error::other(error)))?;
        atomic_file::replace(&path, &bytes, 0o600).map_err(|source| failed(&path, source))
    }

    /// Nothing is left to be undone.
    pub(super) fn end(&self) -> Result<(), SystemError> {
        self.files.remove()
    }
}

/// A journal of nothing is of no use to anybody.
impl Drop for Journal {
    fn drop(&mut self) {
        if self.record.changes.is_empty() {
            let _ = self.files.remove();
        }
    }
}

/// Undoes what a journal without a process says, and removes it. The caller has the lock.
///
/// Where the machine was started anew since, or for another namespace, only files can have stayed.
pub(super) fn undo_stale(files: &Files, record: &Record) -> Result<(), SystemError> {
    // Undoing out of turn is better than not at all.
    let _turn = Turn::take(files);
    let neighbours = Neighbours::of(files);
    let here = record.is_of_this_kernel();
    let mut first = None;
    for change in record.changes.iter().rev() {
        if (here || change.is_of_files())
            && let Err(error) = neighbours.undo(change)
        {
            first.get_or_insert(error);
        }
    }
    // Nobody answers there any more.
    let socket = fs::symlink_metadata(&record.control);
    if socket.is_ok_and(|meta| meta.file_type().is_socket()) {
        let _ = fs::remove_file(&record.control);
    }
    match first {
        Some(error) => Err(error),
        None => files.remove(),
    }
}

fn failed(path: &Path, source: io::Error) -> SystemError {
    SystemError::Journal {
        path: path.to_owned(),
        source,
    }
}
