//! Two hosts joined by a veth pair, and everything that may forward between them.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::BenchError;
use super::pump::PumpServer;
use crate::device::{Device, Tools};
use crate::lab::{Command, Families, Host, Lab, Link, LinkSpec, Process};
use crate::ssh::{SshServer, find};

/// The pump's port on the server.
pub(super) const PUMP_PORT: u16 = 9000;
/// `dnc -l`'s UDP port on the server.
pub(super) const DNC_PORT: u16 = 7000;
const SSH_PORT: u16 = 2222;
const SOCAT_PORT: u16 = 9100;
const ENTRY_PORT: u16 = 9200;

/// How long a forward may take to get ready.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// How long a forward may serve: longer than any run.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// Who forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Nobody: straight over the cable.
    Raw,
    /// `socat`, plain, 64 KiB buffers.
    Socat,
    /// `ssh -L` with AES-128-GCM.
    SshAes,
    /// `ssh -L` with ChaCha20-Poly1305.
    SshChacha,
    /// `dnc -L`.
    Dnc,
}

impl Peer {
    /// Everyone, in the order of the tables.
    pub(super) const ALL: [Self; 5] = [
        Self::Raw,
        Self::Socat,
        Self::SshAes,
        Self::SshChacha,
        Self::Dnc,
    ];

    /// ssh's name of the cipher.
    pub(super) fn cipher(self) -> &'static str {
        match self {
            Self::SshChacha => "chacha20-poly1305@openssh.com",
            _ => "aes128-gcm@openssh.com",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raw => "raw TCP",
            Self::Socat => "socat",
            Self::SshAes => "ssh aes128-gcm",
            Self::SshChacha => "ssh chacha20",
            Self::Dnc => "dnc",
        })
    }
}

/// Where the pump client connects to, and what keeps that forward alive.
#[derive(Debug)]
pub(super) struct Forward {
    /// Who it is.
    pub(super) peer: Peer,
    /// Address on the client host.
    pub(super) entry: SocketAddr,
    /// Processes on the client host.
    pub(super) client: Vec<Process>,
    /// Processes on the server host that this forward alone uses.
    pub(super) server: Vec<Process>,
}

/// The two hosts. `near` is the client, `far` has the pump server.
#[derive(Debug)]
pub(super) struct Stage {
    /// Ends of the link; dropped before the hosts.
    _link: Option<Link>,
    /// The server side of the pump.
    pub(super) pump: PumpServer,
    /// Client host.
    pub(super) near: Host,
    /// Server host.
    pub(super) far: Host,
    _lab: Lab,
    tools: Option<Tools>,
}

impl Stage {
    /// Two hosts on a cable, MTU 1500.
    ///
    /// # Errors
    /// When the lab cannot be made.
    pub(super) fn on_cable(tools: Option<&Tools>) -> Result<Self, BenchError> {
        let lab = Lab::new()?;
        let (near, far) = (lab.host("near")?, lab.host("far")?);
        lab.cable(&near, &far, Families::Both)?;
        Self::set_up(lab, near, far, None, tools)
    }

    /// Two hosts on an emulated link.
    ///
    /// # Errors
    /// When the lab cannot be made.
    pub(super) fn on_link(tools: Option<&Tools>, spec: LinkSpec) -> Result<Self, BenchError> {
        let lab = Lab::new()?;
        let (near, far) = (lab.host("near")?, lab.host("far")?);
        let link = lab.link(&near, &far, Families::Both, spec)?;
        Self::set_up(lab, near, far, Some(link), tools)
    }

    fn set_up(
        lab: Lab,
        near: Host,
        far: Host,
        link: Option<Link>,
        tools: Option<&Tools>,
    ) -> Result<Self, BenchError> {
        for host in [&near, &far] {
            // Thousands of short connections must not run out of ports in TIME_WAIT.
            host.set_sysctl("net/ipv4/ip_local_port_range", "10000 65000")?;
            host.set_sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        }
        let pump = PumpServer::start(&far, PUMP_PORT)?;
        Ok(Self {
            _link: link,
            pump,
            near,
            far,
            _lab: lab,
            tools: tools.cloned(),
        })
    }

    /// The pump server's address on the cable.
    pub(super) fn direct(&self) -> SocketAddr {
        (self.far.ipv4(), PUMP_PORT).into()
    }

    /// Starts the forward of one peer and waits until it takes connections.
    ///
    /// # Errors
    /// [`BenchError::Missing`] when the peer is not installed or not built.
    pub(super) fn forward(&self, peer: Peer) -> Result<Forward, BenchError> {
        let port = ENTRY_PORT + peer as u16;
        let entry = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut forward = Forward {
            peer,
            entry,
            client: Vec::new(),
            server: Vec::new(),
        };
        match peer {
            Peer::Raw => forward.entry = self.direct(),
            Peer::Socat => {
                let far = self.far.ipv4();
                forward.server.push(self.socat_server()?);
                let to = format!("TCP:{far}:{SOCAT_PORT},nodelay");
                let listen = format!("TCP-LISTEN:{port},fork,reuseaddr,backlog=512,nodelay");
                forward.client.push(
                    socat(&self.near)?
                        .args([&listen, &to])
                        .lifetime(LIFETIME)
                        .start()?,
                );
            }
            Peer::SshAes | Peer::SshChacha => {
                let server = self.ssh_server(peer)?;
                let spec = format!("127.0.0.1:{port}:127.0.0.1:{PUMP_PORT}");
                let client = server.client(&self.near);
                let client = client.args(["-N", "-c", peer.cipher(), "-L", &spec]);
                forward.client.push(
                    client
                        .arg(self.far.ipv4().to_string())
                        .lifetime(LIFETIME)
                        .start()?,
                );
                forward.server.push(server.process);
            }
            Peer::Dnc => {
                let (near, far) = self.devices()?;
                forward.server.push(dnc_server(&near, &far)?);
                let spec = format!("127.0.0.1:{port}:127.0.0.1:{PUMP_PORT}");
                let client = near.dnc().args(["-N", "--no-mdns", "-L", &spec]);
                let client = client.arg(address_of(&far)).lifetime(LIFETIME);
                forward.client.push(client.start()?);
            }
        }
        self.await_entry(&mut forward)?;
        Ok(forward)
    }

    /// A device on each host, with a home of their own each time.
    ///
    /// # Errors
    /// [`BenchError::Missing`] when the tools are not built.
    pub(super) fn devices(&self) -> Result<(Device, Device), BenchError> {
        let tools = self
            .tools
            .as_ref()
            .ok_or_else(|| missing("dnc", "the tools are not built"))?;
        Ok((
            Device::new(self.near.clone(), tools)?,
            Device::new(self.far.clone(), tools)?,
        ))
    }

    /// `socat` on the server, from its port to the pump.
    ///
    /// # Errors
    /// [`BenchError::Missing`] when it is not installed.
    pub(super) fn socat_server(&self) -> Result<Process, BenchError> {
        let listen = format!("TCP-LISTEN:{SOCAT_PORT},fork,reuseaddr,backlog=512,nodelay");
        let to = format!("TCP:127.0.0.1:{PUMP_PORT},nodelay");
        Ok(socat(&self.far)?
            .args([&listen, &to])
            .lifetime(LIFETIME)
            .start()?)
    }

    /// The address that [`Stage::socat_server`] listens on, in socat's words.
    pub(super) fn socat_target(&self) -> String {
        format!("TCP:{}:{SOCAT_PORT},nodelay", self.far.ipv4())
    }

    /// An ssh server on the server host.
    ///
    /// # Errors
    /// [`BenchError::Missing`] when it is not installed.
    pub(super) fn ssh_server(&self, peer: Peer) -> Result<SshServer, BenchError> {
        SshServer::start(&self.far, SSH_PORT + peer as u16)
            .map_err(|error| missing(peer, &error.to_string()))
    }

    fn await_entry(&self, forward: &mut Forward) -> Result<(), BenchError> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let entry = forward.entry;
            if self.near.run(|| TcpStream::connect(entry))?.is_ok() {
                return Ok(());
            }
            for process in &mut forward.client {
                if process.poll_exit()?.is_some() {
                    return Err(not_ready(forward.peer, &process.stderr()));
                }
            }
            if Instant::now() >= deadline {
                let said: String = forward.client.iter().map(Process::stderr).collect();
                return Err(not_ready(forward.peer, &said));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A forwarding `dnc -l` that lets `near` reach the pump.
///
/// # Errors
/// When it does not get ready.
pub(super) fn dnc_server(near: &Device, far: &Device) -> Result<Process, BenchError> {
    let command = far
        .dnc()
        .args(["-l", "--no-mdns", "--bind", &format!("[::]:{DNC_PORT}")]);
    let command = command.lifetime(LIFETIME);
    let target = format!("127.0.0.1:{PUMP_PORT}");
    Ok(far.listen(command.args(["--allow", near.id(), "--allow-target", &target]))?)
}

/// The id of the far device with its address: no look-up needed.
pub(super) fn address_of(far: &Device) -> String {
    format!("{}@{}:{DNC_PORT}", far.id(), far.host().ipv4())
}

/// `socat` with large buffers that waits for late answers after the end of input.
///
/// # Errors
/// [`BenchError::Missing`] when it is not installed.
pub(super) fn socat(host: &Host) -> Result<Command, BenchError> {
    let path = find("socat").ok_or_else(|| missing(Peer::Socat, "it is not installed"))?;
    Ok(host.command(path).args(["-b", "65536", "-t", "10"]))
}

fn missing(peer: impl fmt::Display, reason: &str) -> BenchError {
    BenchError::Missing {
        peer: peer.to_string(),
        reason: reason.trim().to_owned(),
    }
}

fn not_ready(peer: Peer, said: &str) -> BenchError {
    BenchError::Io(io::Error::other(format!(
        "{peer} did not get ready; it said: {}",
        said.trim()
    )))
}
