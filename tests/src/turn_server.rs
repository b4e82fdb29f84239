//! A real TURN server, coturn, on a host of the lab.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::lab::{Families, Host, INTERFACE, Lab, LabError, Lan, Process, ProcessError};
use crate::ssh::find;

/// The only user.
pub const USER: &str = "alice";

/// The user's password.
pub const PASSWORD: &str = "wonderland";

/// The port of TURN (RFC 8656 section 4).
pub const PORT: u16 = 3478;

/// Longest that the server may take to listen.
const LIMIT: Duration = Duration::from_secs(15);

/// Longer than any test.
const LIFETIME: Duration = Duration::from_secs(300);

static SERVERS: AtomicU64 = AtomicU64::new(0);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnServerError {
    /// coturn is not on this machine.
    #[error("turnserver is missing: install coturn (cargo xtask setup)")]
    Missing,
    /// The network could not be set up.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// It did not get ready.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file or a process cannot be made.
    #[error("start the TURN server: {0}")]
    Io(#[from] io::Error),
}

/// A server with long-term credentials for UDP and TCP. The process ends first.
#[derive(Debug)]
pub struct TurnServer {
    /// Its process; what it says is its log.
    pub process: Process,
    host: Host,
    address: SocketAddrV4,
}

impl TurnServer {
    /// Number `number` (1 to 250) on `outside`, at `11.0.100.N`, with further lines of
    /// configuration.
    ///
    /// # Errors
    /// [`TurnServerError::Missing`] without coturn.
    pub fn start(
        lab: &Lab,
        outside: &Lan,
        (number, port): (u8, u16),
        more: &str,
    ) -> Result<Self, TurnServerError> {
        let program = find("turnserver").ok_or(TurnServerError::Missing)?;
        let host = lab.host("turn")?;
        outside.attach(&host, Families::V4)?;
        let address = SocketAddrV4::new(Ipv4Addr::new(11, 0, 100, number), port);
        let ip = address.ip();
        host.ip(&format!(
            "addr flush dev {INTERFACE}\naddr add {ip}/16 dev {INTERFACE}"
        ))?;
        let process = launch(&host, &program, address, more)?;
        Ok(Self {
            process,
            host,
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Its URI with the user, as the tools take it.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("turn:{USER}@{}", self.address)
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The host it runs on.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
}

fn launch(
    host: &Host,
    program: &std::path::Path,
    address: SocketAddrV4,
    more: &str,
) -> Result<Process, TurnServerError> {
    let serial = SERVERS.fetch_add(1, Ordering::Relaxed);
    let folder = host.folder().join(format!("turn-{serial}"));
    std::fs::create_dir_all(&folder)?;
    let file: PathBuf = folder.join("turn.conf");
    let (ip, port) = (address.ip(), address.port());
    let text = format!(
        "listening-ip={ip}\nrelay-ip={ip}\nlistening-port={port}\n\
         min-port=50000\nmax-port=50999\nrealm=lab\nlt-cred-mech\nuser={USER}:{PASSWORD}\n\
         fingerprint\nno-dtls\nno-cli\nuserdb={folder}/users\npidfile={folder}/pid\n\
         log-file=stdout\nsimple-log\nverbose\n{more}\n",
        folder = folder.display()
    );
    std::fs::write(&file, text)?;
    // Its log goes to the standard output; a test reads the other one.
    let run = r#"exec "$1" -c "$2" >&2"#;
    let command = host.command("sh").args(["-c", run, "sh"]);
    let command = command.arg(program).arg(&file);
    let mut process = command.lifetime(LIFETIME).start()?;
    process.await_line("that it listens", LIMIT, |line| {
        line.contains("(admin thread)").then_some(())
    })?;
    Ok(process)
}
