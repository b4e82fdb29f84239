//! Hosts in network namespaces, and the cables between them.
//!
//! A [`Lab`] owns a temporary folder and hands out [`Host`]s. Each host is an unnamed network
//! namespace, so any number of labs run side by side, with no name or port in common, and the
//! kernel removes all of it when the process ends, however it ends.
//!
//! Host number `n` of a lab has the addresses `11.0.0.n/16` and `2001:db8::n/64` on `eth0`, once
//! it is joined to something. The IPv4 space looks public on purpose: real peers treat private
//! and documentation ranges specially.

mod host;
mod kernel;
mod lan;
mod link;
mod namespace;
mod process;
pub mod skip;
mod usage;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

pub use host::{Host, LinkState, namespace_is_populated};
pub use lan::Lan;
pub use link::{Link, LinkCounters, LinkSpec};
pub use process::{Command, Finished, Process, ProcessError};
pub use usage::Usage;

/// Name of the first interface of every joined host.
pub const INTERFACE: &str = "eth0";

/// MTU of cables and bridges unless told otherwise, bytes.
pub const DEFAULT_MTU: u32 = 1500;

/// Start of the names of labs' folders; the process id follows.
const FOLDER_PREFIX: &str = "dht-";

/// Which address families an interface carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 alone; IPv6 is switched off on the host.
    V4,
    /// IPv6 alone: a global and a link-local address, no IPv4 beside loopback.
    V6,
    /// Dual stack.
    Both,
}

impl Families {
    fn has_v4(self) -> bool {
        self != Self::V6
    }

    fn has_v6(self) -> bool {
        self != Self::V4
    }
}

/// Why a lab, a host or a cable could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The kernel refuses network namespaces: no root, or a kernel without them.
    #[error("make a network namespace (root is needed): {0}")]
    Namespace(#[source] io::Error),
    /// `ip` is missing or said no.
    #[error("set up the network: {0}")]
    Network(String),
    /// A TAP device cannot be made.
    #[error("open a TAP device: {0}")]
    Tap(#[source] io::Error),
    /// Files, threads.
    #[error("set up the lab: {0}")]
    Io(#[from] io::Error),
    /// More hosts than the address plan has room for.
    #[error("add a host: a lab holds {} at most", Lab::MAX_HOSTS)]
    TooManyHosts,
}

/// A place for hosts. Dropping it removes its folder; each host ends with its own value.
#[derive(Debug)]
pub struct Lab {
    folder: tempfile::TempDir,
    hosts: AtomicU8,
}

impl Lab {
    /// Hosts in one lab; the last byte of their addresses.
    pub const MAX_HOSTS: u8 = 250;

    /// Opens a lab, proving first that a namespace can be made and configured.
    ///
    /// # Errors
    /// [`LabError::Namespace`] without root, [`LabError::Network`] without `ip`.
    pub fn new() -> Result<Self, LabError> {
        remove_folders_of_the_dead();
        let prefix = format!("{FOLDER_PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let lab = Self {
            folder,
            hosts: AtomicU8::new(0),
        };
        Host::new("trial", Lab::MAX_HOSTS, lab.folder())?;
        Ok(lab)
    }

    /// Temporary folder of this lab, removed with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new host with loopback only. `name` is for messages and file names.
    ///
    /// # Errors
    /// As [`Lab::new`]; [`LabError::TooManyHosts`] past [`Lab::MAX_HOSTS`].
    pub fn host(&self, name: &str) -> Result<Host, LabError> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        if number >= Self::MAX_HOSTS {
            self.hosts.store(Self::MAX_HOSTS - 1, Ordering::Relaxed);
            return Err(LabError::TooManyHosts);
        }
        Host::new(name, number, self.folder())
    }

    /// Joins two hosts by a veth pair, `eth0` on both, MTU [`DEFAULT_MTU`].
    ///
    /// # Errors
    /// [`LabError::Network`] when one of them is already joined.
    pub fn cable(&self, a: &Host, b: &Host, families: Families) -> Result<(), LabError> {
        self.cable_with_mtu(a, b, families, DEFAULT_MTU)
    }

    /// As [`Lab::cable`] with an MTU in bytes.
    ///
    /// # Errors
    /// As [`Lab::cable`].
    pub fn cable_with_mtu(
        &self,
        a: &Host,
        b: &Host,
        families: Families,
        mtu: u32,
    ) -> Result<(), LabError> {
        a.ip(&format!(
            "link add {INTERFACE} mtu {mtu} type veth peer name {INTERFACE} mtu {mtu} netns {}",
            b.namespace_path()
        ))?;
        Self::bring_up(&[a, b], families)
    }

    fn bring_up(hosts: &[&Host], families: Families) -> Result<(), LabError> {
        hosts
            .iter()
            .try_for_each(|host| host.bring_up(INTERFACE, families))?;
        hosts
            .iter()
            .try_for_each(|host| host.await_ready(INTERFACE, families))
    }

    /// A bridge that hosts can be attached to.
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn lan(&self) -> Result<Lan, LabError> {
        Lan::new(self.folder())
    }

    /// Joins two hosts by an emulated link: delay, jitter, loss, rate and queue of `spec` in each
    /// direction, `eth0` on both.
    ///
    /// # Errors
    /// [`LabError::Tap`] without `/dev/net/tun`.
    pub fn link(
        &self,
        a: &Host,
        b: &Host,
        families: Families,
        spec: LinkSpec,
    ) -> Result<Link, LabError> {
        let link = Link::new(a, b, spec)?;
        Self::bring_up(&[a, b], families)?;
        Ok(link)
    }
}

/// Removes what labs left behind whose process was killed. All else of them went with the process.
fn remove_folders_of_the_dead() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(FOLDER_PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
