//! Shells on another host: `dsh` beside ssh, and mosh where it applies.

pub(super) mod cat;
pub(super) mod memory;
pub(super) mod prediction;
pub(super) mod start;
mod terminal;
pub(super) mod typing;

use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use super::BenchError;
use super::report::Table;
use super::stage::{DNC_PORT, Peer, Stage, address_of};
use crate::device::{Device, as_oneself};
use crate::lab::{Command, Process};
use crate::ssh::{SshServer, find};

/// Row of ssh with AES-128-GCM.
const SSH: &str = "ssh aes128-gcm";
const DSH: &str = "dsh";
const MOSH: &str = "mosh";

/// Longest a process of a measurement may live.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// How long a terminal may take until the far program answers.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Says that it is there, and then echoes each key by itself.
const ECHO: &str = "stty raw -echo; echo ready; exec cat";

/// A server, and how its clients are started.
enum Shell {
    Ssh(SshServer),
    Dsh(Box<Dsh>),
}

/// Both sides of `dsh`; the server ends with it.
pub(super) struct Dsh {
    pub(super) near: Device,
    pub(super) far: Device,
    _server: Process,
}

impl Dsh {
    /// A server on the far host that lets the near one in.
    pub(super) fn start(stage: &Stage) -> Result<Box<Self>, BenchError> {
        let (near, far) = stage.devices()?;
        let bind = format!("[::]:{DNC_PORT}");
        let server = far.dsh().args(["-l", "--no-mdns", "--bind", &bind]);
        let server = server
            .args(["--allow", near.id()])
            .args(as_oneself())
            .lifetime(LIFETIME);
        let server = far.listen(server)?;
        Ok(Box::new(Self {
            near,
            far,
            _server: server,
        }))
    }
}

impl Shell {
    fn ssh(stage: &Stage) -> Result<Self, BenchError> {
        stage.ssh_server(Peer::SshAes).map(Self::Ssh)
    }

    fn dsh(stage: &Stage) -> Result<Self, BenchError> {
        Dsh::start(stage).map(Self::Dsh)
    }

    /// Those that can be had; the others are noted under the table.
    fn all(stage: &Stage, table: &mut Table) -> Vec<Self> {
        let mut shells = Vec::new();
        for made in [Self::ssh(stage), Self::dsh(stage)] {
            match made {
                Ok(shell) => shells.push(shell),
                Err(error) => table.note(error.to_string()),
            }
        }
        shells
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Ssh(_) => SSH,
            Self::Dsh(_) => DSH,
        }
    }

    /// The client, with flags that both of them know, for a command line of the far shell.
    fn remote(&self, stage: &Stage, flags: &[&str], command: &str) -> Command {
        let client = match self {
            Self::Ssh(server) => server
                .client(&stage.near)
                .args(["-c", Peer::SshAes.cipher()])
                .args(flags)
                .arg(stage.far.ipv4().to_string()),
            Self::Dsh(dsh) => dsh
                .near
                .dsh()
                .arg("--no-mdns")
                .args(flags)
                .arg(address_of(&dsh.far)),
        };
        let client = client.env("TERM", "xterm-256color");
        client.arg(command).lifetime(LIFETIME)
    }
}

/// When mosh shows what is typed before the echo, in its own words.
const MOSH_NEVER: &str = "never";
const MOSH_ADAPTIVE: &str = "adaptive";

/// A mosh server that waits for its client, and the client, ready to be started.
///
/// # Errors
/// [`BenchError::Missing`] when it is not installed.
fn mosh(stage: &Stage, prediction: &str, command: &str) -> Result<(Process, Command), BenchError> {
    for program in ["mosh-server", "mosh-client"] {
        if find(program).is_none() {
            return Err(BenchError::Missing {
                peer: MOSH.to_owned(),
                reason: format!("{program} is not installed"),
            });
        }
    }
    let far = stage.far.ipv4().to_string();
    let server = stage.far.command("mosh-server").env("LC_ALL", "C.UTF-8");
    let server = server.args(["new", "-i", &far, "--", "sh", "-c", command]);
    // The process ends at once; what stays of it is in its group, and ends with its value.
    let mut server = server.lifetime(LIFETIME).stdout_pipe().start()?;
    let stdout = server.take_stdout().map(BufReader::new);
    let mut lines = stdout
        .into_iter()
        .flat_map(BufRead::lines)
        .map_while(Result::ok);
    let found = lines.find_map(|line| Some(line.strip_prefix("MOSH CONNECT ")?.to_owned()));
    let Some((port, key)) = found.as_deref().and_then(|words| words.split_once(' ')) else {
        let said = format!("{MOSH} did not begin: {}", server.stderr().trim());
        return Err(io::Error::other(said).into());
    };
    let client = stage.near.command("mosh-client").args([&far, port]);
    let client = client
        .env("MOSH_KEY", key.trim())
        .env("MOSH_PREDICTION_DISPLAY", prediction)
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "xterm-256color");
    Ok((server, client.lifetime(LIFETIME)))
}

/// The samples' `share` quantile into a column; samples are milliseconds.
fn add_quantile(table: &mut Table, row: &str, (column, share): (usize, f64), samples: &[f64]) {
    if let Some(value) = super::report::quantile(samples, share) {
        table.add(row, column, value);
    }
}
