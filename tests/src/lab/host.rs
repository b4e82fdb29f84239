//! One host: a namespace with loopback, its addresses, and ways to work inside it.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use super::process::Command;
use super::{Families, INTERFACE, LabError};

/// Longest an interface may take to come up; the kernel may put it off for a second.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A host of a [`Lab`](super::Lab). Dropping its last clone kills every process inside.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    number: u8,
    folder: PathBuf,
    namespace: Arc<Namespace>,
}

impl Host {
    pub(super) fn new(name: &str, number: u8, folder: &Path) -> Result<Self, LabError> {
        let namespace = Arc::new(Namespace::new().map_err(LabError::Namespace)?);
        let host = Self {
            name: name.to_owned(),
            number,
            folder: folder.to_owned(),
            namespace,
        };
        // Without this an IPv6 address is unusable for the first second or two.
        for scope in ["all", "default"] {
            host.set_sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        // Answers of a router or a prober may come from anywhere; each host may ping.
        host.set_sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The name given to [`Lab::host`](super::Lab::host).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// IPv4 address of `eth0` when it carries IPv4.
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(11, 0, 0, self.number)
    }

    /// IPv6 address of `eth0` when it carries IPv6.
    pub fn ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, self.number.into())
    }

    /// Temporary folder shared by the hosts of the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program to be started inside this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        Command::new(Arc::clone(&self.namespace), program.as_ref(), &self.folder)
    }

    /// Runs `work` on a thread inside this host and waits for its result: sockets made there
    /// belong to the host for good.
    ///
    /// # Errors
    /// When the kernel refuses to enter the namespace.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        self.namespace.run(work)
    }

    /// Starts a thread inside this host.
    ///
    /// # Errors
    /// When the thread cannot be started; a namespace that cannot be entered is the thread's own
    /// result.
    pub fn thread<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<R>>> {
        let namespace = Arc::clone(&self.namespace);
        std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || namespace.run(work))
    }

    /// Writes a sysctl of this host, given with slashes: `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel has no such knob or does not let namespaces set it.
    pub fn set_sysctl(&self, knob: &str, value: &str) -> Result<(), LabError> {
        self.run(|| std::fs::write(format!("/proc/sys/{knob}"), value))?
            .map_err(|error| LabError::Network(format!("set {knob} to {value}: {error}")))
    }

    /// Runs lines of `ip -batch` inside this host and returns what they print.
    ///
    /// # Errors
    /// [`LabError::Network`] with what `ip` said.
    pub fn ip(&self, batch: &str) -> Result<String, LabError> {
        let fail = |what: String| LabError::Network(format!("ip on {}: {what}", self.name));
        let mut command = std::process::Command::new("ip");
        command
            .args(["-oneline", "-batch", "-"])
            .stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self
            .namespace
            .start(command)
            .map_err(|error| fail(format!("cannot run it: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            writeln!(stdin, "{batch}")?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(fail(format!(
            "{batch}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }

    /// Takes `eth0` down (pulls the cable) or up again.
    ///
    /// # Errors
    /// [`LabError::Network`] when the host is not joined.
    pub fn set_link(&self, state: LinkState) -> Result<(), LabError> {
        let state = match state {
            LinkState::Up => "up",
            LinkState::Down => "down",
        };
        self.ip(&format!("link set {INTERFACE} {state}")).map(drop)
    }

    /// Ids of the processes that live in this host.
    pub fn processes(&self) -> Vec<u32> {
        self.namespace.processes()
    }

    /// The kernel's number for the host's network namespace.
    pub fn namespace_number(&self) -> u64 {
        self.namespace.inode()
    }

    pub(super) fn namespace_path(&self) -> String {
        self.namespace.path()
    }

    /// Gives `interface` this host's addresses and default routes, and takes it up.
    pub(super) fn bring_up(&self, interface: &str, families: Families) -> Result<(), LabError> {
        let mut batch = String::new();
        if families.has_v4() {
            batch += &format!("addr add {}/16 brd + dev {interface}\n", self.ipv4());
        }
        if families.has_v6() {
            batch += &format!("addr add {}/64 dev {interface} nodad\n", self.ipv6());
        } else {
            self.set_sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1")?;
        }
        batch += &format!("link set {interface} up\n");
        self.ip(&batch).map(drop)
    }

    /// Waits until `interface` carries frames and its addresses may be used: the kernel gets
    /// there a little after `up`, and what is sent before is lost.
    pub(super) fn await_ready(&self, interface: &str, families: Families) -> Result<(), LabError> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let link = self.ip(&format!("link show {interface}"))?;
            // A TAP device has no state of its own; it is ready with its carrier and its queue.
            let active = ["state UP", "state UNKNOWN"]
                .iter()
                .any(|state| link.contains(state));
            let up = active && link.contains("LOWER_UP") && !link.contains("qdisc noop ");
            if up && (!families.has_v6() || self.has_usable_ipv6(interface)?) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!(
                    "{interface} of {} is not up after {READY_LIMIT:?}",
                    self.name
                );
                return Err(LabError::Network(what));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether `interface` has a link-local address and none that is still tentative.
    fn has_usable_ipv6(&self, interface: &str) -> io::Result<bool> {
        /// `IFA_F_TENTATIVE` of rtnetlink.
        const TENTATIVE: u32 = 0x40;
        let table = self.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6"))??;
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|row: &Vec<&str>| row.last() == Some(&interface))
            .collect();
        let usable = |row: &Vec<&str>| {
            let flags = row
                .get(4)
                .and_then(|flags| u32::from_str_radix(flags, 16).ok());
            flags.is_some_and(|flags| flags & TENTATIVE == 0)
        };
        let link_local = rows.iter().any(|row| row[0].starts_with("fe80"));
        Ok(link_local && rows.iter().all(usable))
    }

    /// The address of `eth0` in one family, for a test that runs in either.
    pub fn address(&self, families: Families) -> IpAddr {
        match families {
            Families::V6 => self.ipv6().into(),
            Families::V4 | Families::Both => self.ipv4().into(),
        }
    }
}

/// Whether a cable is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Plugged in.
    Up,
    /// Pulled out.
    Down,
}

/// True when some process of the machine lives in network namespace `number`.
pub fn namespace_is_populated(number: u64) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return false;
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .any(|pid| super::namespace::inode_of(pid) == Some(number))
}
