//! Starting the process of a session, at a terminal or at three pipes.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use dhtnet::{DeclineCode, DeclineReason, DeviceId};
use dhtnet_shell_wire::request::{Request, Size, Terminal};
use rustix::fs::{Mode, Uid, fchmod, fchown};
use rustix::io::ioctl_fionbio;
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

use super::Host;
use crate::account::Account;
use crate::environment::accepted;
use crate::leader::{Orders, SESSION_WORD, VARIABLE_PREFIX};
use crate::modes;
use crate::warden::OWN_PROGRAM;

/// Where programs are: as for a login.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/games";
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The folder of users' mail boxes.
const MAIL_FOLDER: &str = "/var/mail";

/// Mode of a terminal: its user reads and writes, and its group (`tty`) may write to it.
const TERMINAL_MODE: u32 = 0o620;

/// What is asked for, by whom, and who they are here.
pub(crate) struct Begin<'r> {
    pub(crate) account: Account,
    pub(crate) peer: DeviceId,
    pub(crate) request: &'r Request,
    /// A copy of files, and no shell.
    pub(crate) copy: bool,
}

/// The process of a session.
pub(crate) struct Child {
    pub(crate) process: tokio::process::Child,
    /// The process, its group and its session.
    pub(crate) leader: Pid,
    pub(crate) streams: Streams,
}

/// How bytes get to the process and from it.
pub(crate) enum Streams {
    Terminal(Pty),
    Pipes {
        stdin: ChildStdin,
        stdout: ChildStdout,
        stderr: ChildStderr,
    },
}

/// This side of a terminal. Dropping it hangs up.
pub(crate) struct Pty {
    pub(crate) reader: pipe::Receiver,
    pub(crate) writer: pipe::Sender,
    pub(crate) control: OwnedFd,
}

impl Begin<'_> {
    /// Starts it.
    pub(crate) async fn spawn(self, host: &Host) -> Result<Child, DeclineReason> {
        let busy = |what: &str, error: io::Error| {
            let talk = &host.session.talk;
            talk.warn(format_args!("cannot {what} for a session: {error}"));
            DeclineReason::new(DeclineCode::Busy, format!("it cannot {what}: {error}"))
        };
        let warden = host
            .warden()
            .await
            .map_err(|error| busy("start a process", error))?;
        let mut command = self.command(host);
        let pty = match &self.request.terminal {
            Some(terminal) => {
                let owner = self.switches(host).then_some(self.account.uid);
                let opened = open_terminal(terminal, owner, &mut command);
                Some(opened.map_err(|error| busy("open a terminal", error))?)
            }
            None => {
                command
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                None
            }
        };
        let spawned = command.spawn();
        // The other side of the terminal is the process's alone, so that its end is seen here.
        drop(command);
        let mut process = spawned.map_err(|error| busy("start a process", error))?;
        let gone = || busy("start a process", io::ErrorKind::NotFound.into());
        let leader = process
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let leader = leader.ok_or_else(gone)?;
        warden.know(leader).await;
        let streams = match pty {
            Some(pty) => Streams::Terminal(pty),
            None => {
                let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
                Streams::Pipes {
                    stdin: stdin.ok_or_else(gone)?,
                    stdout: stdout.ok_or_else(gone)?,
                    stderr: process.stderr.take().ok_or_else(gone)?,
                }
            }
        };
        Ok(Child {
            process,
            leader,
            streams,
        })
    }

    fn switches(&self, host: &Host) -> bool {
        self.account.uid != host.own.uid
    }

    fn command(&self, host: &Host) -> Command {
        let orders = Orders {
            terminal: self.request.terminal.is_some(),
            account: self.account.clone(),
            switch: self.switches(host),
            open_files: host.open_files,
            copy: self.copy,
        };
        // Text, numbers and paths: paths that are no text show as a session that does not begin.
        let orders = serde_json::to_string(&orders).unwrap_or_default();
        let mut command = Command::new(OWN_PROGRAM);
        command
            .arg0("dsh")
            .arg(SESSION_WORD)
            .arg(orders)
            .args(&self.request.command)
            .env_clear();
        for (name, value) in self.environment(host) {
            command.env(format!("{VARIABLE_PREFIX}{name}"), value);
        }
        command
    }

    fn environment(&self, host: &Host) -> Vec<(String, OsString)> {
        let account = &self.account;
        let path = if account.is_root() { ROOT_PATH } else { PATH };
        let own: [(&str, OsString); 7] = [
            ("HOME", account.home.clone().into()),
            ("USER", account.name.clone().into()),
            ("LOGNAME", account.name.clone().into()),
            ("SHELL", account.shell.clone().into()),
            ("PATH", path.into()),
            ("MAIL", format!("{MAIL_FOLDER}/{}", account.name).into()),
            ("DSH_PEER", self.peer.to_string().into()),
        ];
        let terminal = self.request.terminal.as_ref();
        let term = terminal.map(|terminal| ("TERM".to_owned(), terminal.term.clone().into()));
        let sent = accepted(&self.request.environment, &host.accept_env)
            .map(|(name, value)| (name.clone(), value.into()));
        // What comes later stands: nobody changes who the user is.
        let own = own
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        sent.chain(own).chain(term).collect()
    }
}

/// A new terminal as the client's, with its other side as the streams of `command`.
fn open_terminal(
    terminal: &Terminal,
    owner: Option<u32>,
    command: &mut Command,
) -> io::Result<Pty> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let control = openpt(flags)?;
    unlockpt(&control)?;
    let other = ioctl_tiocgptpeer(&control, flags)?;
    if let Some(owner) = owner {
        fchown(&other, Some(Uid::from_raw(owner)), None)?;
        fchmod(&other, Mode::from_bits_truncate(TERMINAL_MODE))?;
    }
    let mut termios = tcgetattr(&other)?;
    modes::apply(&terminal.modes, &mut termios);
    tcsetattr(&other, OptionalActions::Now, &termios)?;
    resize(&control, terminal.size.or_usual())?;
    command
        .stdin(Stdio::from(other.try_clone()?))
        .stdout(Stdio::from(other.try_clone()?))
        .stderr(Stdio::from(other));
    ioctl_fionbio(&control, true)?;
    Ok(Pty {
        reader: pipe::Receiver::from_owned_fd_unchecked(control.try_clone()?)?,
        writer: pipe::Sender::from_owned_fd_unchecked(control.try_clone()?)?,
        control,
    })
}

/// Gives a terminal a size; whoever is in its foreground gets SIGWINCH.
pub(crate) fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: size.width,
        ws_ypixel: size.height,
    };
    Ok(tcsetwinsize(terminal, size)?)
}
