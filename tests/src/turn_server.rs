//! A real TURN server, coturn, on a host of the lab.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
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
    address: SocketAddr,
    file: PathBuf,
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
        let address = SocketAddr::from((Ipv4Addr::new(11, 0, 100, number), port));
        Self::start_at(lab, outside, address, more)
    }

    /// One with IPv6 alone, at `2001:db8::2:1` on `outside`; to the homes behind router 1 and 2
    /// that have IPv6 it finds its way.
    ///
    /// # Errors
    /// As [`TurnServer::start`].
    pub fn start_v6(lab: &Lab, outside: &Lan) -> Result<Self, TurnServerError> {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 2, 1);
        let server = Self::start_at(lab, outside, (ip, PORT).into(), "")?;
        server
            .host
            .ip("route add 2001:db8:0:1::/64 via 2001:db8::1:1
             route add 2001:db8:0:2::/64 via 2001:db8::1:2")?;
        Ok(server)
    }

    fn start_at(
        lab: &Lab,
        outside: &Lan,
        address: SocketAddr,
        more: &str,
    ) -> Result<Self, TurnServerError> {
        find("turnserver").ok_or(TurnServerError::Missing)?;
        let host = lab.host("turn")?;
        let (families, own) = match address {
            SocketAddr::V4(v4) => (Families::V4, format!("{}/16", v4.ip())),
            SocketAddr::V6(v6) => (Families::V6, format!("{}/64 nodad", v6.ip())),
        };
        outside.attach(&host, families)?;
        host.ip(&format!(
            "addr flush dev {INTERFACE} scope global\naddr add {own} dev {INTERFACE}"
        ))?;
        let file = write_configuration(&host, address, more)?;
        let process = launch(&host, &file)?;
        Ok(Self {
            process,
            host,
            address,
            file,
        })
    }

    /// Kills it, as a crash does, and starts it again with nothing of what it knew.
    ///
    /// # Errors
    /// As [`TurnServer::start`].
    pub fn restart(&mut self) -> Result<(), TurnServerError> {
        self.process.kill();
        self.process = launch(&self.host, &self.file)?;
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
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

fn write_configuration(host: &Host, address: SocketAddr, more: &str) -> io::Result<PathBuf> {
    let serial = SERVERS.fetch_add(1, Ordering::Relaxed);
    let folder = host.folder().join(format!("turn-{serial}"));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("turn.conf");
    let (ip, port) = (address.ip(), address.port());
    let text = format!(
        "listening-ip={ip}\nrelay-ip={ip}\nlistening-port={port}\n\
         min-port=50000\nmax-port=50999\nrealm=lab\nlt-cred-mech\nuser={USER}:{PASSWORD}\n\
         fingerprint\nno-dtls\nno-cli\nuserdb={folder}/users\npidfile={folder}/pid\n\
         log-file=stdout\nsimple-log\nverbose\n{more}\n",
        folder = folder.display()
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

fn launch(host: &Host, file: &Path) -> Result<Process, TurnServerError> {
    let program = find("turnserver").ok_or(TurnServerError::Missing)?;
    // Its log goes to the standard output; a test reads the other one.
    let run = r#"exec "$1" -c "$2" >&2"#;
    let command = host.command("sh").args(["-c", run, "sh"]);
    let command = command.arg(program).arg(file);
    let mut process = command.lifetime(LIFETIME).start()?;
    process.await_line("that it listens", LIMIT, |line| {
        line.contains("(admin thread)").then_some(())
    })?;
    Ok(process)
}
