//! A program inside a host: started with its output captured, waited for with a deadline, killed
//! when its value is dropped.
//!
//! Output goes to files of the lab's folder unless a pipe or another file is asked for, so nothing
//! blocks on a reader that is not there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::namespace::Namespace;
use super::usage::Usage;

/// How often an exit or a line of output is looked for.
const POLL: Duration = Duration::from_millis(2);

/// How long a process lives unless told otherwise. Whoever reads its pipe then sees the end.
const LIFETIME: Duration = Duration::from_secs(100);

/// Bytes of output that a message shows.
const SHOWN: usize = 4000;

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A process that did not do what was waited for.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It was still running at the deadline, and was killed.
    #[error("{name} was still running after {after:?}; it said: {said}")]
    StillRunning {
        /// Program name.
        name: String,
        /// How long it was given.
        after: Duration,
        /// End of its standard error.
        said: String,
    },
    /// It ended, or the deadline passed, before the awaited line came.
    #[error("{name} did not say {awaited:?} ({state}); it said: {said}")]
    NotSaid {
        /// Program name.
        name: String,
        /// What was waited for.
        awaited: String,
        /// Whether it ended, and how.
        state: String,
        /// End of its standard error.
        said: String,
    },
    /// Reading its files or its state failed.
    #[error("follow {name}: {source}")]
    Io {
        /// Program name.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// Tests print errors by `Debug`; the sentence says more than the fields.
impl std::fmt::Debug for ProcessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Debug)]
enum Input {
    Nothing,
    Pipe,
    Bytes(Vec<u8>),
    File(PathBuf),
    /// Standard output as well.
    Terminal(OwnedFd),
}

#[derive(Debug)]
enum Output {
    Captured,
    Pipe,
    File(PathBuf),
}

/// A program with its arguments, not started yet.
#[derive(Debug)]
pub struct Command {
    namespace: Arc<Namespace>,
    command: std::process::Command,
    name: String,
    folder: PathBuf,
    input: Input,
    output: Output,
    lifetime: Duration,
}

impl Command {
    pub(super) fn new(namespace: Arc<Namespace>, program: &OsStr, folder: &Path) -> Self {
        let name = Path::new(program)
            .file_name()
            .unwrap_or(program)
            .to_string_lossy()
            .into_owned();
        Self {
            namespace,
            command: std::process::Command::new(program),
            name,
            folder: folder.to_owned(),
            input: Input::Nothing,
            output: Output::Captured,
            lifetime: LIFETIME,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Takes an environment variable away.
    #[must_use]
    pub fn env_remove(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Standard input is these bytes, then the end. Default: the end at once.
    #[must_use]
    pub fn stdin_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Standard input is a file.
    #[must_use]
    pub fn stdin_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.input = Input::File(path.into());
        self
    }

    /// Standard input is a pipe, taken by [`Process::take_stdin`].
    #[must_use]
    pub fn stdin_pipe(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// Standard output is a pipe, taken by [`Process::take_stdout`]. Default: captured.
    #[must_use]
    pub fn stdout_pipe(mut self) -> Self {
        self.output = Output::Pipe;
        self
    }

    /// Standard output goes to a file, as by a shell's redirect.
    #[must_use]
    pub fn stdout_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.output = Output::File(path.into());
        self
    }

    /// Standard input and output are this terminal. Standard error stays apart, and the terminal
    /// does not control the process.
    #[must_use]
    pub fn at_terminal(mut self, terminal: OwnedFd) -> Self {
        self.input = Input::Terminal(terminal);
        self
    }

    /// It is killed after this long, whoever waits for it or for its output. Default 100 s.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Starts it in a process group of its own.
    ///
    /// # Errors
    /// When a file cannot be opened or the program cannot be run.
    pub fn start(self) -> io::Result<Process> {
        let Self {
            namespace,
            mut command,
            name,
            folder,
            input,
            output,
            lifetime,
        } = self;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let file = |stream: &str| folder.join(format!("{serial}-{name}.{stream}"));
        let stdout_path = match &output {
            Output::File(path) => path.clone(),
            Output::Captured | Output::Pipe => file("stdout"),
        };
        let stderr_path = file("stderr");
        command.stdout(match (&input, output) {
            (Input::Terminal(terminal), _) => Stdio::from(terminal.try_clone()?),
            (_, Output::Pipe) => Stdio::piped(),
            (_, Output::Captured | Output::File(_)) => Stdio::from(File::create(&stdout_path)?),
        });
        command.stderr(File::create(&stderr_path)?);
        command.stdin(match &input {
            Input::Nothing => Stdio::null(),
            Input::Pipe | Input::Bytes(_) => Stdio::piped(),
            Input::File(path) => Stdio::from(File::open(path)?),
            Input::Terminal(terminal) => Stdio::from(terminal.try_clone()?),
        });
        command.process_group(0);
        let mut child = namespace.start(command)?;
        let mut process = Process {
            watchdog: Some(watch(child.id(), lifetime)?),
            name,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
            stdout_path,
            stderr_path,
            ended: None,
        };
        if let Input::Bytes(bytes) = input
            && let Some(mut pipe) = process.take_stdin()
        {
            // A writer of its own: the program may answer before it has read everything.
            std::thread::Builder::new()
                .name("stdin".into())
                .spawn(move || {
                    let _ = pipe.write_all(&bytes);
                })?;
        }
        Ok(process)
    }
}

/// How a process ended and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output, when it was captured.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A running program. Dropping it kills it and its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stdout_path: PathBuf,
    stderr_path: PathBuf,
    ended: Option<ExitStatus>,
    /// Calls the watchdog off when it is dropped.
    watchdog: Option<mpsc::Sender<()>>,
}

/// Kills a process group after `lifetime`, unless the returned value is dropped before.
fn watch(pid: u32, lifetime: Duration) -> io::Result<mpsc::Sender<()>> {
    let (called_off, watching) = mpsc::channel();
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            if watching.recv_timeout(lifetime) == Err(mpsc::RecvTimeoutError::Timeout)
                && let Some(group) = Pid::from_raw(pid.cast_signed())
            {
                let _ = kill_process_group(group, Signal::KILL);
            }
        })?;
    Ok(called_off)
}

impl Process {
    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe to its standard input; dropping it is the end of input.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// The pipe from its standard output.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        let bytes = std::fs::read(&self.stderr_path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it wrote to a captured standard output so far.
    pub fn stdout(&self) -> String {
        let bytes = std::fs::read(&self.stdout_path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Bytes it wrote to a captured standard output so far.
    pub fn stdout_len(&self) -> u64 {
        std::fs::metadata(&self.stdout_path).map_or(0, |meta| meta.len())
    }

    /// CPU time and memory now; `None` when it ended.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of_process(self.id())
    }

    /// Its exit status, when it ended.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn poll_exit(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|source| ProcessError::Io {
                name: self.name.clone(),
                source,
            })?;
        }
        if self.ended.is_some() {
            self.watchdog = None;
        }
        Ok(self.ended)
    }

    /// Waits for its end and returns what it wrote.
    ///
    /// # Errors
    /// [`ProcessError::StillRunning`] at the deadline; the process is killed then.
    pub fn finish(mut self, limit: Duration) -> Result<Finished, ProcessError> {
        self.stdin = None;
        let status = self.await_exit(limit)?;
        let stdout = std::fs::read(&self.stdout_path).unwrap_or_default();
        Ok(Finished {
            status,
            stdout,
            stderr: self.stderr(),
        })
    }

    /// Waits for its end without closing its standard input.
    ///
    /// # Errors
    /// [`ProcessError::StillRunning`] at the deadline.
    pub fn await_exit(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.poll_exit()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(ProcessError::StillRunning {
                    name: self.name.clone(),
                    after: limit,
                    said: self.last_words(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits for its end, and notices it at once; the end of its lifetime is the limit.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let status = match self.ended {
            Some(status) => status,
            None => self.child.wait().map_err(|source| ProcessError::Io {
                name: self.name.clone(),
                source,
            })?,
        };
        self.ended = Some(status);
        self.watchdog = None;
        Ok(status)
    }

    /// Waits for a line of standard error that `wanted` takes, and returns what it made of it.
    ///
    /// # Errors
    /// [`ProcessError::NotSaid`] at the deadline, or when the process ended without it.
    pub fn await_line<T>(
        &mut self,
        awaited: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ProcessError> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.poll_exit()?;
            let said = self.stderr();
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            if let Some(found) = whole.lines().find_map(&wanted) {
                return Ok(found);
            }
            if ended.is_some() || Instant::now() >= deadline {
                let state = match ended {
                    Some(status) => format!("{status}"),
                    None => format!("running for {limit:?}"),
                };
                return Err(ProcessError::NotSaid {
                    name: self.name.clone(),
                    awaited: awaited.to_owned(),
                    state,
                    said: self.last_words(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Some(pid) = Pid::from_raw(self.id().cast_signed())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it and waits.
    pub fn kill(&mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(group) = Pid::from_raw(self.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    fn last_words(&self) -> String {
        let said = self.stderr();
        let mut from = said.len().saturating_sub(SHOWN);
        while !said.is_char_boundary(from) {
            from += 1;
        }
        said[from..].trim().to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
