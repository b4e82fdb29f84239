//! Ending a network of this device from outside, whether its process lives or not.

use std::thread;
use std::time::{Duration, Instant};

use dhtnet_cli::Home;
use rustix::process::{Pid, Signal, kill_process};

use super::journal::{Files, Record, undo_stale};
use super::{SystemError, interface_number};

/// How long a process may take to say good-bye and to undo what it changed.
const END_LIMIT: Duration = Duration::from_secs(15);

/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(20);

/// What [`down`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// It was up and has ended in order.
    Ended,
    /// Its process was gone; what it left has been undone.
    CleanedUp,
    /// It was not up.
    WasNotUp,
}

/// A network of this device that has a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its name.
    pub name: String,
    /// Where its process answers, if it lives.
    pub control: Option<std::path::PathBuf>,
}

/// Ends the network `name`, and puts back what its process did not. Blocks for at most 15 s.
///
/// # Errors
/// [`SystemError::DoesNotEnd`], or what could not be put back.
pub fn down(home: &Home, name: &str) -> Result<Down, SystemError> {
    let files = Files::of(home, name)?;
    let mut ended = Down::CleanedUp;
    let mut interface = None;
    let deadline = Instant::now() + END_LIMIT;
    let lock = loop {
        if let Some(lock) = files.lock()? {
            break lock;
        }
        if ended == Down::CleanedUp {
            let record = files.read()?;
            interface = record.as_ref().and_then(Record::interface);
            let pid = record.and_then(|record| Pid::from_raw(record.pid.cast_signed()));
            if let Some(pid) = pid {
                // A process that is just ending is gone in a moment.
                let _ = kill_process(pid, Signal::TERM);
                ended = Down::Ended;
            }
        }
        if Instant::now() >= deadline {
            let pid = files.read()?.map_or(0, |record| record.pid);
            return Err(SystemError::DoesNotEnd {
                name: name.to_owned(),
                pid,
            });
        }
        thread::sleep(POLL);
    };
    let found = match files.read()? {
        Some(record) => {
            undo_stale(&files, &record)?;
            ended
        }
        None if ended == Down::Ended => Down::Ended,
        None => Down::WasNotUp,
    };
    // The kernel takes it away when the process has closed it.
    while let Some(name) = &interface
        && interface_number(name).is_ok()
        && Instant::now() < deadline
    {
        thread::sleep(POLL);
    }
    drop(lock);
    Ok(found)
}

/// The networks of this device: those that are up, and those whose process died.
pub fn instances(home: &Home) -> Vec<Present> {
    Files::present(home)
        .into_iter()
        .filter_map(|name| {
            let files = Files::of(home, &name).ok()?;
            let record = files.read().ok()??;
            let is_alive = files.lock().ok()?.is_none();
            Some(Present {
                name,
                control: is_alive.then_some(record.control),
            })
        })
        .collect()
}
