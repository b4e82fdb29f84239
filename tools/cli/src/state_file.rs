//! Which file a node remembers its network in, one process each.
//!
//! A node's id and what it stores for good are in that file, so two processes must not have the
//! same one. The first process of a home gets `NAME.state`, others that run beside it
//! `NAME+2.state` and so on. Which are taken is told by locks, which end with their process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dhtnet_identity::atomic_file;
use rustix::fs::{FlockOperation, flock};

use crate::{Failure, Home};

/// Files of one network that are tried: more nodes than a process opens sockets for.
const MAX_STATE_FILES: u32 = 1_000;

/// A file that belongs to this process as long as this lives.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    number: u32,
    _lock: File,
}

impl StateFile {
    /// Takes the first file of this name (without `.state`) that no other process has; the state
    /// directory is made if it is missing.
    ///
    /// # Errors
    /// Exit code 1 if the directory cannot be written.
    pub fn claim(home: &Home, name: &str) -> Result<Self, Failure> {
        claim_in(home.state(), name).map_err(|error| {
            Failure::failed(format!(
                "cannot keep the state of the DHT in {}: {error}",
                home.state().display()
            ))
            .advise("set DHTNET_HOME to a directory that can be written")
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the one that the next process will have as well.
    pub fn is_first(&self) -> bool {
        self.number == 1
    }
}

fn claim_in(directory: &Path, name: &str) -> io::Result<StateFile> {
    for number in 1..=MAX_STATE_FILES {
        let stem = match number {
            1 => name.to_owned(),
            _ => format!("{name}+{number}"),
        };
        let lock_path = directory.join(format!("{stem}.lock"));
        atomic_file::create_private_parent(&lock_path)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                return Ok(StateFile {
                    path: directory.join(format!("{stem}.state")),
                    number,
                    _lock: lock,
                });
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!(
        "{MAX_STATE_FILES} nodes have their state there already"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_holder_has_a_file_of_its_own_and_the_first_one_comes_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = claim_in(&state, "dht-lab").unwrap();
        let second = claim_in(&state, "dht-lab").unwrap();
        assert_eq!(first.path(), state.join("dht-lab.state"));
        assert_eq!(second.path(), state.join("dht-lab+2.state"));
        assert!(first.is_first() && !second.is_first());
        drop(first);
        assert!(claim_in(&state, "dht-lab").unwrap().is_first());
        assert!(claim_in(&state, "dht").unwrap().is_first());
    }
}
