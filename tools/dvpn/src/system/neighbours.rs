//! Other networks of this home on this machine: what two of them share, and who puts it back.
//!
//! Forwarding is one switch for all interfaces. The first network that needs it finds what it was
//! before; those that come later take that over from the first one's journal, and the last one that
//! ends puts it back, whatever the order in which they end. Changes are made and undone by one network
//! at a time, so that of two that end at once one is the last.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use super::SystemError;
use super::change::Change;
use super::journal::{Files, Record};
use super::resolver::Resolver;
use super::schedule::TUNNEL_PRIORITY;
use super::sysctl::Sysctl;

/// How long another network may take to change the system. Programs that it calls (`nft`,
/// `resolvconf`) take milliseconds.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// As long as this lives, no other network of the home changes the system.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits for the others, for at most 10 s.
    ///
    /// # Errors
    /// [`SystemError::Busy`], or when the lock's file cannot be opened.
    pub(super) fn take(files: &Files) -> Result<Self, SystemError> {
        let deadline = Instant::now() + TURN_LIMIT;
        loop {
            if let Some(lock) = files.lock_system()? {
                return Ok(Self { _lock: lock });
            }
            if Instant::now() >= deadline {
                return Err(SystemError::Busy);
            }
            thread::sleep(POLL);
        }
    }
}

/// The journals of the other networks, also of those whose process died: what they changed is still
/// to be undone.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    all: Vec<(String, Record)>,
}

impl Neighbours {
    /// Those beside `files`, in this network namespace. A journal that cannot be read counts for
    /// nothing: its own `dvpn down` tells of it.
    pub(super) fn of(files: &Files) -> Self {
        let others = files.others().into_iter();
        let read = others.filter_map(|other| {
            let record = other.read().ok()??;
            record.is_of_this_kernel().then_some((other.name, record))
        });
        Self {
            all: read.collect(),
        }
    }

    fn changes(&self) -> impl Iterator<Item = (&str, &Change)> {
        self.all.iter().flat_map(|(name, record)| {
            let changes = record.changes.iter();
            changes.map(move |change| (name.as_str(), change))
        })
    }

    /// Knobs that they have set, and that still are as they set them.
    pub(super) fn sysctls(&self) -> impl Iterator<Item = &Sysctl> {
        self.changes().filter_map(|(_, change)| match change {
            Change::Sysctl(set) if set.is_in_force() => Some(set),
            _ => None,
        })
    }

    /// Undoes a change, unless one of them needs it as it is: that one undoes it.
    pub(super) fn undo(&self, change: &Change) -> Result<(), SystemError> {
        match change {
            Change::Sysctl(own) if self.holds(own) => Ok(()),
            change => change.undo(),
        }
    }

    fn holds(&self, own: &Sysctl) -> bool {
        let is_same = |other: &Sysctl| other.knob == own.knob && other.after == own.after;
        self.changes()
            .any(|(_, change)| matches!(change, Change::Sysctl(other) if is_same(other)))
    }

    /// Who leads all packets of this machine into its tunnel.
    pub(super) fn full_tunnel(&self) -> Option<&str> {
        self.who(|change| matches!(change, Change::Rule(rule) if rule.priority == TUNNEL_PRIORITY))
    }

    /// Who has rewritten the resolver's file.
    pub(super) fn rewriter(&self) -> Option<&str> {
        self.who(|change| matches!(change, Change::Resolver(Resolver::File { .. })))
    }

    fn who(&self, is_it: impl Fn(&Change) -> bool) -> Option<&str> {
        self.changes()
            .find_map(|(name, change)| is_it(change).then_some(name))
    }
}
