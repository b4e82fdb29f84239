//! `dvpn up NAME`: the network runs in a process of its own, and the command returns when it is up
//! or cannot be.
//!
//! The process says when it is ready as a service says it to its manager (sd_notify(3)): the command
//! that started it is its manager until then. What it has to say goes to `STATE/vpn/NAME.log`.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dhtnet_cli::{ExitCode, Failure, Home, Shutdown, Talk};
use dhtnet_identity::atomic_file;
use rustix::process::{Pid, Signal, kill_process, setsid};

use crate::system;

/// The flag of the process behind the command, which no user types.
pub(crate) const DETACHED: &str = "--detached";

/// Beside the time limit for connecting: making the interface, and everything on it.
const START_LIMIT: Duration = Duration::from_secs(15);

/// How often it is looked whether the process has ended.
const POLL: Duration = Duration::from_millis(50);

/// What of the log of a failed start is shown, bytes from its end.
const SHOWN: u64 = 4_096;

/// Leaves the terminal, for good.
pub(crate) fn detach() {
    // It fails for a leader of a process group, who has no terminal to lose.
    let _ = setsid();
}

/// Starts `words` (this command line) again in the background, and waits until it is up.
///
/// # Errors
/// As the process itself ended; exit code 3 when it is not up after `limit`.
pub(crate) async fn start(
    home: &Home,
    name: &str,
    (words, limit): (&[OsString], Duration),
    talk: &Talk,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let failed = |what: &str, error: io::Error| {
        Failure::failed(format!(
            "cannot start {name} in the background: {what}: {error}"
        ))
    };
    let log = system::log_file(home, name)?;
    let others = system::instances(home);
    if others
        .iter()
        .any(|one| one.name == name && one.control.is_some())
    {
        return Err(Failure::usage(format!("{name} is up already"))
            .advise(format!("end it with: dvpn down {name}")));
    }
    let socket = Socket::bind(home, name).map_err(|error| failed("make a socket", error))?;
    let output = open_log(&log).map_err(|error| failed("make a log", error))?;
    let program = std::env::current_exe().map_err(|error| failed("find this program", error))?;
    let mut child = Command::new(program)
        .args(words.get(1..).unwrap_or_default())
        .arg(DETACHED)
        .env("NOTIFY_SOCKET", &socket.path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .map_err(|error| failed("start this program", error))?;
    let deadline = Instant::now() + limit + START_LIMIT;
    loop {
        if socket.is_ready() {
            talk.note(format_args!("{name} is up; its log is {}", log.display()));
            return Ok(ExitCode::Done);
        }
        if let Some(status) = child
            .try_wait()
            .map_err(|error| failed("wait for it", error))?
        {
            show(&log);
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(code
                .and_then(ExitCode::of_number)
                .unwrap_or(ExitCode::Failed));
        }
        if Instant::now() >= deadline {
            end(&mut child).await;
            show(&log);
            let what = format!(
                "{name} was not up after {} s",
                (limit + START_LIMIT).as_secs()
            );
            return Err(Failure::new(ExitCode::Unreachable, what).advise("try a longer -w"));
        }
        tokio::select! {
            code = shutdown.requested() => {
                end(&mut child).await;
                return Ok(code);
            }
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Where the process tells that it is ready.
struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Socket {
    fn bind(home: &Home, name: &str) -> io::Result<Self> {
        let folder = home.runtime().join("vpn");
        let path = folder.join(format!("{name}.{}.ready", std::process::id()));
        atomic_file::create_private_parent(&path)?;
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path })
    }

    fn is_ready(&self) -> bool {
        let mut buffer = [0; 64];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            if buffer[..length].starts_with(b"READY=1") {
                return true;
            }
        }
        false
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    atomic_file::create_private_parent(path)?;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// What the process said, on our own stderr: it has begun each line with the tool's name.
fn show(log: &Path) {
    let text = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        io::Seek::seek(&mut file, io::SeekFrom::Start(length.saturating_sub(SHOWN)))?;
        let mut bytes = Vec::new();
        file.take(SHOWN).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    if let Ok(text) = text() {
        // A stderr that is closed is no reason to fail in another way.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// SIGTERM, and time to undo what it did.
async fn end(child: &mut Child) {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + START_LIMIT;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
    let _ = child.kill();
}
