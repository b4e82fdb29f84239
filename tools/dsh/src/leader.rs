//! The process that becomes a session: this program again, which takes on the user, the terminal,
//! the limits and the environment of the session, and is then replaced by the user's shell.
//!
//! It is a program of its own between fork and exec, so that all of that is done by ordinary
//! calls in a process with one thread, and that a shell that is missing is told on the session's
//! own standard error, with the status that a shell would give.

use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{Gid, Uid, initgroups, setgid, setuid};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, ioctl_tiocsctty, setrlimit, setsid, umask};
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::server::copying;
use crate::warden;

/// The first word of the command line of such a process.
pub(crate) const SESSION_WORD: &str = "__session";

/// What the variables of the session begin with until it starts, so that none has an effect on
/// this program, which may have the rights of root.
pub(crate) const VARIABLE_PREFIX: &str = "DSH_SESSION_";

/// Exit statuses of a shell for a program that is missing, and for one that cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;

/// What the process is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Whether standard input is to be the terminal of the session.
    pub(crate) terminal: bool,
    pub(crate) account: Account,
    /// Whether to change to that user, or to be it already.
    pub(crate) switch: bool,
    /// Open files at once, as it was before the server raised it for itself.
    pub(crate) open_files: Option<u64>,
    /// No shell: files are copied over the standard streams.
    pub(crate) copy: bool,
}

/// When the command line says so, becomes a session (or its warden) and does not return.
pub(crate) fn become_if_asked() {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == SESSION_WORD => {
            std::process::exit(begin(words.next(), words.next()));
        }
        Some(word) if word == warden::WARDEN_WORD => std::process::exit(warden::watch()),
        _ => {}
    }
}

/// Returns only if it failed, with the exit status. Behind the orders stands the command for the
/// shell, as it is: as a part of them it could grow beyond what one word may have.
fn begin(orders: Option<OsString>, command: Option<OsString>) -> i32 {
    let orders = orders.and_then(|orders| orders.into_string().ok());
    let orders: Option<Orders> = orders.and_then(|orders| serde_json::from_str(&orders).ok());
    let Some(orders) = orders else {
        tell("this is no command for people");
        return 2;
    };
    if let Err((step, error)) = prepare(&orders) {
        if orders.copy {
            dhtnet_copy::refuse(io::stdout(), &format!("cannot {step}: {error}"));
        }
        tell(&format!("cannot {step}: {error}"));
        return NOT_RUNNABLE;
    }
    if orders.copy {
        return copying::serve();
    }
    let error = shell(&orders, command).exec();
    let shell = orders.account.shell.display();
    tell(&format!("cannot start {shell}: {error}"));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUNNABLE,
    }
}

type Step = (&'static str, io::Error);

fn prepare(orders: &Orders) -> Result<(), Step> {
    setsid().map_err(|error| ("begin a session", error.into()))?;
    if orders.terminal {
        ioctl_tiocsctty(io::stdin()).map_err(|error| ("have the terminal", error.into()))?;
    }
    close_other_files();
    limit_files(orders.open_files);
    if orders.switch {
        become_user(&orders.account)
            .map_err(|error| ("become the user", io::Error::from(error)))?;
        umask(Mode::from_bits_truncate(0o022));
    }
    let home = &orders.account.home;
    if let Err(error) = std::env::set_current_dir(home) {
        tell(&format!("cannot go to {}: {error}", home.display()));
        std::env::set_current_dir("/").map_err(|error| ("go to /", error))?;
    }
    Ok(())
}

/// The groups first: afterwards there is no right to do so.
fn become_user(account: &Account) -> nix::Result<()> {
    let name = CString::new(account.name.as_str()).map_err(|_| nix::Error::EINVAL)?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    initgroups(&name, gid)?;
    setgid(gid)?;
    setuid(uid)?;
    // A way back would be a fault of the system that nobody may pass over.
    if !uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(nix::Error::EPERM);
    }
    Ok(())
}

/// What the server was started with and did not open itself has no mark that closes it at exec.
fn close_other_files() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others: Vec<i32> = numbers.filter(|number| *number > 2).collect();
    for number in others {
        // The directory itself is among them, and closed by now.
        let _ = nix::unistd::close(number);
    }
}

fn limit_files(soft: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: soft,
        maximum,
    };
    // It was a valid limit before.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A login shell if there is no command.
fn shell(orders: &Orders, command: Option<OsString>) -> Command {
    let path = &orders.account.shell;
    let name = Path::new(path.file_name().unwrap_or(path.as_os_str()));
    let mut shell = Command::new(path);
    match command {
        Some(command) => shell.arg0(name).arg("-c").arg(command),
        None => shell.arg0(PathBuf::from(format!("-{}", name.display()))),
    };
    shell.env_clear();
    for (variable, value) in std::env::vars_os() {
        let name = variable
            .to_str()
            .and_then(|name| name.strip_prefix(VARIABLE_PREFIX));
        if let Some(name) = name {
            shell.env(name, value);
        }
    }
    shell
}

/// On the session's standard error, which is a terminal as often as not.
fn tell(what: &str) {
    let _ = writeln!(io::stderr(), "dsh: {what}");
}
