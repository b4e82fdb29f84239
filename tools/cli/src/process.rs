//! From `main` into a tool's `run`: streams, signals, panics, the exit code.

use std::ffi::OsString;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use rustix::stdio::{dup2_stdin, dup2_stdout};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{ExitCode, Failure, Shutdown, ShutdownTrigger, Talk, failure::one_line};

/// The three streams of a tool. Files rather than locks, so that a test can give pipes, and
/// unbuffered: who writes, writes whole lines or large blocks.
pub struct Io {
    /// The payload that goes out.
    pub stdin: File,
    /// The payload that comes in, or what was asked for; nothing else.
    pub stdout: File,
    /// Everything else.
    pub stderr: Box<dyn Write + Send>,
}

impl Io {
    /// Takes the streams of this process over: the numbers 0 and 1 lead to `/dev/null` from then
    /// on, so that dropping a file closes the stream and nothing else can write to stdout.
    ///
    /// # Errors
    /// Exit code 1 if the process has no file descriptors left.
    pub fn of_process() -> Result<Self, Failure> {
        let duplicate = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map(File::from);
        let streams = || -> io::Result<Self> {
            let taken = Self {
                stdin: duplicate(&io::stdin())?,
                stdout: duplicate(&io::stdout())?,
                stderr: Box::new(duplicate(&io::stderr())?),
            };
            let nowhere = File::options().read(true).write(true).open("/dev/null")?;
            dup2_stdin(&nowhere)?;
            dup2_stdout(&nowhere)?;
            Ok(taken)
        };
        streams()
            .map_err(|error| Failure::failed(format!("cannot use the standard streams: {error}")))
    }
}

/// Runs a tool that needs no runtime, and ends the process with its exit code.
pub fn start(tool: &'static str, run: impl FnOnce(&[OsString], Io) -> ExitCode) -> ! {
    let code = guarded(tool, || with_io(tool, |io| run(&words(), io).number()));
    std::process::exit(code.into())
}

/// Runs a tool on a runtime of one thread, and ends the process with its exit code or status.
///
/// One thread, because a single stream is faster without the hand-over between threads. SIGINT and
/// SIGTERM reach the tool as [`Shutdown`]; the second one ends the process at once.
pub fn start_async<F, C>(
    tool: &'static str,
    run: impl FnOnce(Vec<OsString>, Io, Shutdown) -> F,
) -> !
where
    F: Future<Output = C> + Send + 'static,
    C: Into<u8> + Send + 'static,
{
    let code = guarded(tool, || {
        with_io(tool, |mut io| {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = writeln!(io.stderr, "{tool}: cannot start: {error}");
                    return ExitCode::Failed.into();
                }
            };
            let code: u8 = runtime.block_on(async {
                let (trigger, shutdown) = Shutdown::pair();
                // Before anything else happens: a signal that comes now must end us in order.
                match (
                    signal(SignalKind::interrupt()),
                    signal(SignalKind::terminate()),
                ) {
                    (Ok(interrupt), Ok(terminate)) => {
                        tokio::spawn(pass_signals_on(interrupt, terminate, trigger));
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        let _ = writeln!(io.stderr, "{tool}: cannot watch for signals: {error}");
                        return ExitCode::Failed.into();
                    }
                }
                // A task: what the runtime polls itself comes after all tasks and one more look at
                // the descriptors, on the way of every byte.
                match tokio::spawn(run(words(), io, shutdown)).await {
                    Ok(code) => code.into(),
                    Err(failed) => panic::resume_unwind(failed.into_panic()),
                }
            });
            // A name look-up that still waits for its server must not hold the process.
            runtime.shutdown_background();
            code
        })
    });
    std::process::exit(code.into())
}

/// What has to be undone even if the process is ended at once: by a second signal, or by a panic.
static ABRUPT_END: Mutex<Option<fn()>> = Mutex::new(None);

/// Calls `undo` when the process ends without having come to its end: a terminal is not left in
/// raw mode. Only the last one that was given counts.
pub fn on_abrupt_end(undo: fn()) {
    *ABRUPT_END.lock().unwrap_or_else(PoisonError::into_inner) = Some(undo);
}

fn end_abruptly() {
    // A panic within would find the lock taken: then nothing is undone, and nothing waits.
    if let Ok(undo) = ABRUPT_END.try_lock()
        && let Some(undo) = *undo
    {
        undo();
    }
}

/// The command line, the name of the program first.
fn words() -> Vec<OsString> {
    std::env::args_os().collect()
}

fn with_io(tool: &'static str, run: impl FnOnce(Io) -> u8) -> u8 {
    match Io::of_process() {
        Ok(io) => run(io),
        Err(failure) => {
            Talk::new(tool, Box::new(io::stderr())).error(&failure);
            failure.code().into()
        }
    }
}

/// A panic is a fault of ours: one line, no dump, exit code 1.
fn guarded(tool: &'static str, run: impl FnOnce() -> u8) -> u8 {
    panic::set_hook(Box::new(move |panic| {
        end_abruptly();
        let place = panic
            .location()
            .map(|at| format!(" at {}:{}", at.file(), at.line()));
        let cause = panic.payload_as_str().unwrap_or("unknown cause");
        let _ = writeln!(
            io::stderr(),
            "{tool}: internal error{}: {}; this is a defect, please report it",
            place.unwrap_or_default(),
            one_line(cause)
        );
    }));
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(ExitCode::Failed.into())
}

async fn pass_signals_on(mut interrupt: Signal, mut terminate: Signal, trigger: ShutdownTrigger) {
    loop {
        let code = tokio::select! {
            _ = interrupt.recv() => ExitCode::Interrupted,
            _ = terminate.recv() => ExitCode::Terminated,
        };
        if code == ExitCode::Interrupted && trigger.divert_interrupt() {
            continue;
        }
        if trigger.is_requested() {
            end_abruptly();
            std::process::exit(code.number().into());
        }
        trigger.request(code);
    }
}
