//! What is changed on this machine while the network is up, and how all of it is undone.
//!
//! ```text
//! privilege::check()              before anything: the device, CAP_NET_ADMIN
//! Instance::claim(home, name)     one process for each name; undoes what a dead one left
//! instance.apply(&plan)           journal first, then the changes in order -> Applied
//! applied.change(&plan)           the difference alone
//! applied.undo(), or dropping it  all back, last change first
//! down(home, name)                ends the process, or undoes what it left
//! ```
//!
//! Changes: MTU, addresses and routes of the interface; routing rules and two tables of our own
//! that keep the node's packets out of the tunnel and lead all others into it; sysctls; a table in
//! nftables; the resolver. Nothing else is touched, and what somebody else has set since is left
//! to them. What several networks of one home need alike, the last of them puts back (`neighbours`).
//!
//! Calls block for milliseconds (`nft` is a program) and need no runtime: undoing also works while
//! the process unwinds. They act in the network namespace of the calling thread.

mod abrupt;
mod change;
mod down;
mod error;
mod firewall;
mod journal;
mod neighbours;
mod netlink;
mod overlap;
pub mod privilege;
mod resolver;
mod route;
mod schedule;
mod sysctl;

use std::io;
use std::path::{Path, PathBuf};

use dhtnet::TUNNEL_ALIAS;
use dhtnet_cli::Home;

pub use self::down::{Down, Present, down, instances};
pub use self::error::SystemError;
pub use self::resolver::present_servers;

use self::change::Change;
use self::journal::{Files, Journal};
use self::neighbours::{Neighbours, Turn};
use self::netlink::Netlink;
use self::schedule::{Schedule, There};
use crate::plan::Plan;

/// A name that this process has for itself, with a journal.
#[derive(Debug)]
pub struct Instance {
    journal: Journal,
}

/// What [`Instance::claim`] found.
#[derive(Debug)]
pub struct Claimed {
    /// The name, taken.
    pub instance: Instance,
    /// Whether a process of this name had ended without undoing what it changed, which has been
    /// done now.
    pub has_cleaned_up: bool,
}

impl Instance {
    /// Takes `name`; `control` is where the process will answer questions. What a dead process of
    /// the name left is undone first.
    ///
    /// # Errors
    /// [`SystemError::Running`] when another process has the name; what hinders undoing.
    pub fn claim(home: &Home, name: &str, control: &Path) -> Result<Claimed, SystemError> {
        let files = Files::of(home, name)?;
        let Some(lock) = files.lock()? else {
            let pid = files.read()?.map(|record| record.pid);
            return Err(SystemError::Running {
                name: name.to_owned(),
                pid,
            });
        };
        abrupt::undo_at_second_signal(&files);
        let stale = files.read()?;
        if let Some(record) = &stale {
            journal::undo_stale(&files, record)?;
        }
        Ok(Claimed {
            instance: Self {
                journal: Journal::begin(files, lock, control)?,
            },
            has_cleaned_up: stale.is_some_and(|record| !record.changes.is_empty()),
        })
    }

    /// Makes the system as `plan` says. The interface must be there.
    ///
    /// # Errors
    /// Whatever hinders; everything is then as it was before.
    pub fn apply(self, plan: &Plan) -> Result<Applied, SystemError> {
        self.apply_gated(plan, |_| Ok(()))
    }

    /// As [`Instance::apply`]; `gate` is asked before each change.
    fn apply_gated(
        self,
        plan: &Plan,
        gate: impl Fn(&Change) -> Result<(), SystemError>,
    ) -> Result<Applied, SystemError> {
        let mut applied = Applied {
            journal: self.journal,
            made: Vec::new(),
            warnings: Vec::new(),
            is_undone: false,
        };
        applied.move_to(plan, gate)?;
        Ok(applied)
    }
}

/// Everything is put back, and the name is free again.
impl Drop for Applied {
    fn drop(&mut self) {
        if let Err(error) = self.take_back() {
            tracing::error!(%error, "not everything is as it was before");
        }
    }
}

/// A system that is as the plan says, until this is dropped.
#[derive(Debug)]
pub struct Applied {
    journal: Journal,
    /// What has been done, in order.
    made: Vec<Change>,
    warnings: Vec<String>,
    is_undone: bool,
}

impl Applied {
    /// What the user should know: each a line.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where the process's log is kept when it has no terminal.
    pub fn name(&self) -> &str {
        &self.journal.files.name
    }

    /// Makes the system as another plan says. What both plans have stays untouched.
    ///
    /// # Errors
    /// Whatever hinders. When it was found out before anything was changed, the former plan stands
    /// ([`Applied::is_up`]); else everything is as it was before the first plan.
    pub fn change(&mut self, plan: &Plan) -> Result<(), SystemError> {
        self.move_to(plan, |_| Ok(()))
    }

    /// Whether the system is as a plan says: the last one that was applied without an error.
    pub fn is_up(&self) -> bool {
        !self.is_undone
    }

    /// Puts everything back. The name stays taken until this is dropped.
    ///
    /// # Errors
    /// The first thing that could not be put back; all others have been. The journal then stays for
    /// [`down`].
    pub fn undo(&mut self) -> Result<(), SystemError> {
        self.take_back()
    }

    fn move_to(
        &mut self,
        plan: &Plan,
        gate: impl Fn(&Change) -> Result<(), SystemError>,
    ) -> Result<(), SystemError> {
        let is_first = self.made.is_empty();
        let ready = Turn::take(&self.journal.files).and_then(|turn| {
            let neighbours = Neighbours::of(&self.journal.files);
            let there = There {
                made: &self.made,
                neighbours: &neighbours,
            };
            let schedule = schedule::schedule(plan, there)?;
            Ok((schedule, neighbours, turn))
        });
        let moved = match ready {
            Err(error) if !is_first => return Err(error),
            Err(error) => Err(error),
            Ok((schedule, neighbours, _turn)) => self.try_move_to(schedule, &neighbours, gate),
        };
        if moved.is_err()
            && let Err(error) = self.take_back()
        {
            tracing::error!(%error, "not everything is as it was before");
        }
        moved
    }

    fn try_move_to(
        &mut self,
        schedule: Schedule,
        neighbours: &Neighbours,
        gate: impl Fn(&Change) -> Result<(), SystemError>,
    ) -> Result<(), SystemError> {
        self.warnings = schedule.warnings;
        let next = schedule.changes;
        let all = self
            .made
            .iter()
            .chain(next.iter().filter(|c| !self.made.contains(c)));
        let all = all.cloned().collect();
        self.journal.set(all)?;
        for old in self.made.clone().iter().rev() {
            if !next.contains(old) && !next.iter().any(|new| old.is_replaced_by(new)) {
                neighbours.undo(old)?;
                self.made.retain(|made| made != old);
            }
        }
        for change in &next {
            if !self.made.contains(change) {
                gate(change)?;
                // Before it is tried: half of it may be done when it fails.
                self.made.retain(|made| !made.is_replaced_by(change));
                self.made.push(change.clone());
                change.make()?;
            }
        }
        self.made.clone_from(&next);
        self.journal.set(next)
    }

    fn take_back(&mut self) -> Result<(), SystemError> {
        if std::mem::replace(&mut self.is_undone, true) {
            return Ok(());
        }
        // Undoing out of turn is better than not at all.
        let _turn = Turn::take(&self.journal.files);
        let neighbours = Neighbours::of(&self.journal.files);
        let mut left = Vec::new();
        let mut first = None;
        for change in std::mem::take(&mut self.made).into_iter().rev() {
            if let Err(error) = neighbours.undo(&change) {
                left.insert(0, change);
                first.get_or_insert(error);
            }
        }
        match first {
            None => self.journal.end(),
            Some(error) => {
                self.journal.set(left)?;
                Err(error)
            }
        }
    }
}

/// Where the log of a process without a terminal is kept.
///
/// # Errors
/// [`SystemError::BadName`].
pub fn log_file(home: &Home, name: &str) -> Result<PathBuf, SystemError> {
    Ok(Files::of(home, name)?.log())
}

/// Whether this machine has the family of an address, which an interface can then have.
pub fn has_family(address: std::net::IpAddr) -> bool {
    address.is_ipv4() || sysctl::exists("net/ipv6")
}

/// Marks the new `interface` of the network `network`, so that no program over the library takes an
/// address of it for a way to a peer. The mark goes with the interface.
///
/// # Errors
/// [`SystemError::Netlink`] where the kernel refuses.
pub(crate) fn mark_tunnel(interface: &str, network: &str) -> Result<(), SystemError> {
    let number = interface_number(interface).map_err(|source| SystemError::NoInterface {
        name: interface.to_owned(),
        source,
    })?;
    let alias = format!("{TUNNEL_ALIAS}{network}");
    let marked = open_netlink()?.set_alias(number, &alias);
    marked.map_err(|source| netlink_failed(&format!("set the alias of {interface}"), source))
}

/// The kernel's number of an interface.
fn interface_number(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    Ok(rustix::net::netdevice::name_to_index(socket, name)?)
}

fn interface_name(number: u32) -> String {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    );
    socket
        .and_then(|socket| rustix::net::netdevice::index_to_name(socket, number))
        .unwrap_or_else(|_| format!("interface {number}"))
}

fn open_netlink() -> Result<Netlink, SystemError> {
    Netlink::open().map_err(|source| netlink_failed("ask the kernel", source))
}

#[cfg(test)]
mod tests;

fn netlink_failed(what: &str, source: io::Error) -> SystemError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => SystemError::NoPrivilege,
        _ => SystemError::Netlink {
            what: what.to_owned(),
            source,
        },
    }
}
