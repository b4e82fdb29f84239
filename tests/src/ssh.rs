//! A real `sshd` on a host, with keys made for the occasion.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::lab::{Command, Host, Process, ProcessError};

/// How long a server may serve: longer than any benchmark.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);
const START_LIMIT: Duration = Duration::from_secs(15);

static SERVERS: AtomicU64 = AtomicU64::new(0);

/// Why there is no ssh server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SshError {
    /// A program is not installed.
    #[error("find {0}: install openssh-server and openssh-client")]
    NotInstalled(&'static str),
    /// A key could not be made.
    #[error("make an ssh key: {0}")]
    Key(String),
    /// It did not start.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Files and processes.
    #[error("start sshd: {0}")]
    Io(#[from] io::Error),
}

/// A running `sshd` for the current user, and the key that it lets in.
#[derive(Debug)]
pub struct SshServer {
    folder: PathBuf,
    port: u16,
    /// The server's process.
    pub process: Process,
}

impl SshServer {
    /// Starts `sshd` on all addresses of `host`.
    ///
    /// # Errors
    /// [`SshError::NotInstalled`] without OpenSSH.
    pub fn start(host: &Host, port: u16) -> Result<Self, SshError> {
        let sshd = find("sshd").ok_or(SshError::NotInstalled("sshd"))?;
        find("ssh").ok_or(SshError::NotInstalled("ssh"))?;
        let serial = SERVERS.fetch_add(1, Ordering::Relaxed);
        let folder = host.folder().join(format!("ssh-{serial}-{}", host.name()));
        std::fs::create_dir_all(&folder)?;
        // sshd wants its privilege separation folder, whoever it serves.
        std::fs::create_dir_all("/run/sshd")?;
        for key in ["host", "user"] {
            let made = host
                .command("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .start()?
                .finish(START_LIMIT)?;
            if made.code() != Some(0) {
                return Err(SshError::Key(made.stderr));
            }
        }
        let path = |name: &str| folder.join(name).display().to_string();
        let mut process = host
            .command(sshd)
            .args([
                "-D",
                "-e",
                "-f",
                "/dev/null",
                "-p",
                &port.to_string(),
                "-h",
                &path("host"),
            ])
            .args([
                "-o",
                "UsePAM=no",
                "-o",
                "StrictModes=no",
                "-o",
                "PidFile=none",
            ])
            .args([
                "-o",
                "PasswordAuthentication=no",
                "-o",
                "PermitRootLogin=yes",
            ])
            .args(["-o", "Subsystem=sftp internal-sftp"])
            .args(["-o", &format!("AuthorizedKeysFile={}", path("user.pub"))])
            .lifetime(LIFETIME)
            .start()?;
        process.await_line("that it listens", START_LIMIT, |line| {
            line.contains("Server listening").then_some(())
        })?;
        Ok(Self {
            folder,
            port,
            process,
        })
    }

    /// `ssh` on `from`, ready for its destination and command: own key, no user configuration, no
    /// question asked.
    pub fn client(&self, from: &Host) -> Command {
        self.ready(from.command("ssh"), "-p")
    }

    /// `scp` on `from`, ready for its flags and paths, as [`SshServer::client`].
    pub fn copier(&self, from: &Host) -> Command {
        self.ready(from.command("scp"), "-P")
    }

    fn ready(&self, program: Command, port: &str) -> Command {
        program
            .args([
                "-F",
                "/dev/null",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .args([
                "-o",
                "IdentitiesOnly=yes",
                port,
                &self.port.to_string(),
                "-i",
            ])
            .arg(self.folder.join("user"))
    }
}

/// Finds a program in `PATH` or where system daemons are.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(|folder| Path::new(folder).to_owned()))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
