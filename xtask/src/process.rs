//! Child processes that never outlive the task: each is the leader of a process group of its own,
//! which is ended when the handle goes, on success, failure and Ctrl-C alike.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{Failure, Outcome, Tried};

/// How often a child is looked at while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long a group may take to end by SIGTERM before SIGKILL; cargo-nextest itself waits for 10 s.
const STOP_GRACE: Duration = Duration::from_secs(12);

/// Whether Ctrl-C or SIGTERM has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the two signals set a flag instead of ending the process.
    pub(crate) fn watch() -> Outcome<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [Signal::INT, Signal::TERM] {
            signal_hook::flag::register(signal.as_raw(), Arc::clone(&flag))
                .tried(|| format!("watch for {signal:?}"))?;
        }
        Ok(Self(flag))
    }

    /// An error once a signal has arrived.
    pub(crate) fn check(&self) -> Outcome {
        if self.0.load(Ordering::Relaxed) {
            Err(Failure::interrupted())
        } else {
            Ok(())
        }
    }
}

/// A running child and its process group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts the command in a process group of its own; stdin, unless set, is the caller's choice.
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .tried(|| format!("start {name}"))?;
        Ok(Self {
            child,
            name,
            ended: None,
        })
    }

    /// The pipes of the child, if it was started with pipes.
    pub(crate) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The exit status once the child has ended.
    pub(crate) fn try_status(&mut self) -> Outcome<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self
                .child
                .try_wait()
                .tried(|| format!("wait for {}", self.name))?;
        }
        Ok(self.ended)
    }

    /// Waits for the end; ends the child itself on an interrupt or when `limit` is over.
    pub(crate) fn wait(
        &mut self,
        interrupt: &Interrupt,
        limit: Option<Duration>,
    ) -> Outcome<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_status()? {
                return Ok(status);
            }
            if let Err(interrupted) = interrupt.check() {
                self.stop();
                return Err(interrupted);
            }
            if limit.is_some_and(|limit| start.elapsed() > limit) {
                self.stop();
                return Err(Failure::new(format!(
                    "{} did not end within {} s",
                    self.name,
                    limit.unwrap_or_default().as_secs()
                )));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// SIGTERM to the group, then SIGKILL after a grace period.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < STOP_GRACE {
            if !matches!(self.try_status(), Ok(None)) {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.signal(Signal::KILL);
        self.ended = self.child.wait().ok();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.ended.is_none()) {
            // The only error is that the group is gone already, which is what is wanted.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.try_status(), Ok(None)) {
            self.stop();
        }
    }
}

/// Runs to the end with the terminal's stdout and stderr; a non-zero status is the caller's to judge.
pub(crate) fn run(command: &mut Command, interrupt: &Interrupt) -> Outcome<ExitStatus> {
    interrupt.check()?;
    Process::spawn(command.stdin(Stdio::null()))?.wait(interrupt, None)
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Its exit status.
    pub(crate) status: ExitStatus,
    /// Lines of stdout and stderr as they came.
    pub(crate) lines: Vec<String>,
}

/// Runs to the end, copying each line to `sink` and keeping it.
pub(crate) fn record(
    command: &mut Command,
    interrupt: &Interrupt,
    sink: impl Write + Send,
) -> Outcome<Recorded> {
    interrupt.check()?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(command)?;
    let pipes = (
        process.child_mut().stdout.take(),
        process.child_mut().stderr.take(),
    );
    let (Some(stdout), Some(stderr)) = pipes else {
        return Err(Failure::new("a child was started without pipes"));
    };
    let kept = std::sync::Mutex::new((sink, Vec::new()));
    let status = thread::scope(|scope| {
        scope.spawn(|| copy_lines(stdout, &kept));
        scope.spawn(|| copy_lines(stderr, &kept));
        process.wait(interrupt, None)
    })?;
    let (_, lines) = kept
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Recorded { status, lines })
}

fn copy_lines<W: Write>(pipe: impl Read, kept: &std::sync::Mutex<(W, Vec<String>)>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(pipe.read_until(b'\n', &mut line), Ok(count) if count > 0) {
        let text = String::from_utf8_lossy(&line)
            .trim_end_matches(['\n', '\r'])
            .to_owned();
        line.clear();
        let mut kept = kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // A closed terminal must not end the command under test.
        let _ = writeln!(kept.0, "{text}").and_then(|()| kept.0.flush());
        kept.1.push(text);
    }
}

/// Where a program is, in `PATH` and the system folders that a user's `PATH` may lack.
pub(crate) fn find_program(name: &str) -> io::Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is not installed")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn never() -> Interrupt {
        Interrupt(Arc::new(AtomicBool::new(false)))
    }

    #[test]
    fn both_streams_are_recorded_and_the_status_is_kept() {
        let mut sink = Vec::new();
        let recorded = record(
            &mut shell("echo out; echo err >&2; exit 3"),
            &never(),
            &mut sink,
        );
        let recorded = recorded.unwrap();
        assert_eq!(recorded.status.code(), Some(3));
        assert!(recorded.lines.contains(&"out".to_owned()));
        assert!(recorded.lines.contains(&"err".to_owned()));
        assert_eq!(sink.len(), "out\nerr\n".len());
    }

    #[test]
    fn an_interrupt_ends_the_child_and_what_it_started() {
        let interrupt = never();
        let mut process =
            Process::spawn(shell("sleep 1000 & echo $!; wait").stdout(Stdio::piped())).unwrap();
        let mut stdout = BufReader::new(process.child_mut().stdout.take().unwrap());
        let mut started = String::new();
        stdout.read_line(&mut started).unwrap();
        interrupt.0.store(true, Ordering::Relaxed);
        assert!(process.wait(&interrupt, None).unwrap_err().is_interrupt());
        // The grandchild holds the pipe: its end is the end of both.
        assert_eq!(stdout.read_line(&mut started).unwrap(), 0);
    }

    #[test]
    fn a_time_limit_ends_the_child_with_its_name_in_the_error() {
        let mut process = Process::spawn(&mut shell("exec sleep 1000")).unwrap();
        let failure = process.wait(&never(), Some(Duration::ZERO)).unwrap_err();
        assert!(
            failure.to_string().starts_with("sh did not end"),
            "{failure}"
        );
        assert!(process.try_status().unwrap().is_some());
    }
}
