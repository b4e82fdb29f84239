//! A file that is not complete: `.NAME.dsh-part` beside its place, 0600, locked, and renamed when
//! its hash is right.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
    fchmod, flock, fstat, ftruncate, futimens, openat, renameat, statat, unlinkat,
};
use rustix::io::{Errno, pwrite};

use crate::content::{Sparse, hash_prefix};
use crate::frame::Meta;
use crate::hash::{Digest, FileHash};
use crate::name::Name;

/// How long another copy of the same file is waited for. A peer that was killed is noticed by the
/// other side after 30 s, and until then a copy of its holds the file.
const MAX_WAIT: Duration = Duration::from_secs(40);
const WAIT_STEP: Duration = Duration::from_millis(100);

/// How often a file that is exchanged under our hands is opened anew.
const MAX_TRIES: usize = 100;

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);
const OPEN: OFlags = OFlags::RDWR
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// An incomplete file, open and locked.
pub(super) struct Part {
    file: OwnedFd,
    name: Name,
    length: u64,
    hash: FileHash,
    /// Whether all of it is on disk: a hole at the end is not, before the size is set.
    is_sized: bool,
}

/// What is put on a complete file.
pub(super) struct Finish {
    pub(super) mode: u16,
    /// `None`: now.
    pub(super) time: Option<Meta>,
}

impl Part {
    /// What an earlier copy has left of `name`, of at most `longest` bytes, with its hash; `None`
    /// without any that could be used. One that another copy still has is waited for, if `watch`
    /// says so.
    pub(super) fn resume(
        directory: BorrowedFd<'_>,
        name: &Name,
        longest: u64,
        watch: &mut dyn FnMut(Watch) -> bool,
    ) -> Option<Self> {
        let name = name.part();
        let file = openat(directory, name.as_os_str(), OPEN, Mode::empty()).ok()?;
        if !is_ours(&fstat(&file).ok()?) {
            return None;
        }
        lock(&file, Instant::now() + MAX_WAIT, || watch(Watch::Locked)).ok()?;
        let stat = fstat(&file).ok()?;
        let length = u64::try_from(stat.st_size).ok()?;
        if length == 0 || length > longest || !is_still(directory, &name, &stat) {
            return None;
        }
        let on_verified = |bytes| {
            watch(Watch::Verified(bytes));
        };
        let hash = hash_prefix(&file, length, Sparse::of(&stat), on_verified).ok()??;
        Some(Self {
            file,
            name,
            length,
            hash,
            is_sized: true,
        })
    }

    /// An empty part of `name`. Waits for another copy that writes the same file; `on_wait` is
    /// called once before.
    pub(super) fn create(
        directory: BorrowedFd<'_>,
        name: &Name,
        mut on_wait: impl FnMut(),
    ) -> io::Result<Self> {
        let name = name.part();
        let deadline = Instant::now() + MAX_WAIT;
        for _ in 0..MAX_TRIES {
            let fresh = OPEN | OFlags::CREATE | OFlags::EXCL;
            let file = match openat(directory, name.as_os_str(), fresh, PRIVATE) {
                Err(Errno::EXIST) => {
                    match openat(directory, name.as_os_str(), OPEN, Mode::empty()) {
                        Err(Errno::NOENT) => continue,
                        // A link, or something that only looks like a part.
                        Err(Errno::LOOP | Errno::ACCESS) => {
                            unlinkat(directory, name.as_os_str(), AtFlags::empty())?;
                            continue;
                        }
                        other => other?,
                    }
                }
                other => other?,
            };
            let stat = fstat(&file)?;
            if !is_ours(&stat) {
                unlinkat(directory, name.as_os_str(), AtFlags::empty())?;
                continue;
            }
            lock(&file, deadline, || {
                on_wait();
                true
            })?;
            // Who held the lock may have put the file in its place.
            if !is_still(directory, &name, &stat) {
                continue;
            }
            ftruncate(&file, 0)?;
            fchmod(&file, PRIVATE)?;
            return Ok(Self {
                file,
                name,
                length: 0,
                hash: FileHash::default(),
                is_sized: true,
            });
        }
        Err(io::Error::other(
            "somebody keeps exchanging its partial file",
        ))
    }

    /// Forgets what is in it.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        ftruncate(&self.file, 0)?;
        fchmod(&self.file, PRIVATE)?;
        self.length = 0;
        self.hash = FileHash::default();
        self.is_sized = true;
        Ok(())
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn digest(&self) -> Digest {
        self.hash.digest()
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        while !bytes.is_empty() {
            match pwrite(&self.file, bytes, self.length) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.length += written as u64;
                    bytes = &bytes[written..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.is_sized = true;
        Ok(())
    }

    /// The next `length` bytes are zeros and need no room.
    pub(super) fn hole(&mut self, length: u64) {
        self.hash.zeros(length);
        self.length += length;
        self.is_sized = false;
    }

    /// Puts the file into its place.
    pub(super) fn finish(
        self,
        directory: BorrowedFd<'_>,
        name: &Name,
        finish: &Finish,
    ) -> io::Result<()> {
        let placed = self.place(directory, name, finish);
        if placed.is_err() {
            self.remove(directory);
        }
        placed
    }

    fn place(&self, directory: BorrowedFd<'_>, name: &Name, finish: &Finish) -> io::Result<()> {
        if !self.is_sized {
            ftruncate(&self.file, self.length)?;
        }
        fchmod(&self.file, mode(finish.mode))?;
        if let Some(meta) = &finish.time {
            futimens(&self.file, &times(meta))?;
        }
        renameat(
            directory,
            self.name.as_os_str(),
            directory,
            name.as_os_str(),
        )?;
        Ok(())
    }

    pub(super) fn remove(self, directory: BorrowedFd<'_>) {
        let _ = unlinkat(directory, self.name.as_os_str(), AtFlags::empty());
    }
}

impl Drop for Part {
    /// What ends with a hole keeps it, so that a later copy goes on behind it.
    fn drop(&mut self) {
        if !self.is_sized {
            let _ = ftruncate(&self.file, self.length);
        }
    }
}

/// What happens while a part is looked at.
pub(super) enum Watch {
    /// Another copy has it; whether to wait.
    Locked,
    /// So many bytes more were read.
    Verified(u64),
}

/// Locks a file. When another copy has it, and `may_wait` says yes to that, once, waits.
fn lock(file: &OwnedFd, deadline: Instant, may_wait: impl FnOnce() -> bool) -> io::Result<()> {
    let mut may_wait = Some(may_wait);
    while let Err(error) = flock(file, FlockOperation::NonBlockingLockExclusive) {
        if !matches!(error, Errno::WOULDBLOCK | Errno::INTR) {
            return Err(error.into());
        }
        let is_refused = may_wait.take().is_some_and(|may_wait| !may_wait());
        if is_refused || Instant::now() >= deadline {
            return Err(io::Error::other("another copy is writing it"));
        }
        std::thread::sleep(WAIT_STEP);
    }
    Ok(())
}

/// Nobody else can have put this file here, or reach it under another name.
fn is_ours(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_nlink == 1
}

fn is_still(directory: BorrowedFd<'_>, name: &Name, stat: &Stat) -> bool {
    statat(directory, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|now| (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino))
}

/// Permission bits without set-user-id, set-group-id and sticky: a file changes its owner on the
/// way, and such a bit would then mean something else.
fn mode(bits: u16) -> Mode {
    Mode::from_raw_mode(u32::from(bits) & 0o777)
}

pub(super) fn times(meta: &Meta) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: meta.seconds,
            tv_nsec: meta.nanoseconds.into(),
        },
    }
}

/// Sets mode and time of something that is open.
pub(super) fn apply(file: impl AsFd, meta: &Meta) -> io::Result<()> {
    fchmod(&file, mode(meta.mode))?;
    Ok(futimens(&file, &times(meta))?)
}

/// The umask of this process. Asking the system for it sets it for a moment, for all threads; /proc
/// only tells.
pub(super) fn umask() -> u16 {
    const USUAL: u16 = 0o022;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|bits| u16::from_str_radix(bits.trim(), 8).ok())
        .unwrap_or(USUAL)
}
