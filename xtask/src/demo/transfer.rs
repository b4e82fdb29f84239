//! One transfer of the demo: a listener, a caller, a file on one side and a file on the other.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::demo::device::Device;
use crate::demo::time_limit;
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{Interrupt, Process};

/// How often the received file is looked at for its first byte: the resolution of that figure.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How long a listener may take until it says where it can be reached.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Who sends what to whom.
pub(super) struct Transfer<'a> {
    pub(super) server: &'a Device,
    pub(super) client: &'a Device,
    pub(super) file: &'a Path,
    pub(super) received: &'a Path,
}

/// What one transfer showed.
pub(super) struct Measured {
    /// From the caller's start to the first byte in the received file.
    pub(super) first_byte: Duration,
    /// From the caller's start until both sides had ended.
    pub(super) took: Duration,
    /// The path that was used, in the caller's words.
    pub(super) path: String,
}

impl Transfer<'_> {
    /// The caller sends, the listener receives.
    pub(super) fn to_listener(&self, interrupt: &Interrupt) -> Outcome<Measured> {
        let listener = self.listen(Stdio::null(), create(self.received)?)?;
        self.call(listener, open(self.file)?, Stdio::null(), interrupt)
    }

    /// The listener sends, the caller receives.
    pub(super) fn to_caller(&self, interrupt: &Interrupt) -> Outcome<Measured> {
        let listener = self.listen(open(self.file)?, Stdio::null())?;
        self.call(listener, Stdio::null(), create(self.received)?, interrupt)
    }

    fn listen(&self, stdin: Stdio, stdout: Stdio) -> Outcome<Process> {
        let mut command = self.server.dnc(&["-l", "--allow", &self.client.id]);
        spawn(&mut command, stdin, stdout, self.server)
    }

    fn call(
        &self,
        mut listener: Process,
        stdin: Stdio,
        stdout: Stdio,
        interrupt: &Interrupt,
    ) -> Outcome<Measured> {
        self.wait_until_ready(&mut listener, interrupt)?;
        let size = fs::metadata(self.file)
            .tried(|| "read the file's size".to_owned())?
            .len();
        let start = Instant::now();
        let mut caller = spawn(
            &mut self.client.dnc(&[&self.server.id]),
            stdin,
            stdout,
            self.client,
        )?;
        let mut first_byte = None;
        while first_byte.is_none() && caller.try_status()?.is_none() {
            interrupt.check()?;
            if start.elapsed() > time_limit(size) {
                return Err(Failure::new(format!("no byte arrived; {}", self.said())));
            }
            thread::sleep(LOOK_INTERVAL);
            let arrived = fs::metadata(self.received).is_ok_and(|file| file.len() > 0);
            first_byte = arrived.then(|| start.elapsed());
        }
        for (name, process) in [("caller", &mut caller), ("listener", &mut listener)] {
            let status = process.wait(interrupt, Some(time_limit(size)))?;
            if !status.success() {
                return Err(Failure::new(format!(
                    "the {name} failed ({status}); {}",
                    self.said()
                )));
            }
        }
        let took = start.elapsed();
        Ok(Measured {
            first_byte: first_byte.unwrap_or(took),
            took,
            path: path_in(&read(self.client)).unwrap_or_else(|| "not told".to_owned()),
        })
    }

    /// The listener is ready once its first line, the command for the peer, names its id.
    fn wait_until_ready(&self, listener: &mut Process, interrupt: &Interrupt) -> Outcome {
        let start = Instant::now();
        while !read(self.server).contains(&self.server.id) {
            interrupt.check()?;
            if let Some(status) = listener.try_status()? {
                return Err(Failure::new(format!(
                    "the listener ended ({status}); {}",
                    self.said()
                )));
            }
            if start.elapsed() > READY_LIMIT {
                return Err(Failure::new(format!(
                    "the listener does not say its id; {}",
                    self.said()
                )));
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    /// The last words of both sides, for an error.
    fn said(&self) -> String {
        let last = |device| {
            read(device)
                .trim()
                .lines()
                .last()
                .unwrap_or("nothing")
                .to_owned()
        };
        format!(
            "listener said: {}; caller said: {}",
            last(self.server),
            last(self.client)
        )
    }
}

fn spawn(command: &mut Command, stdin: Stdio, stdout: Stdio, device: &Device) -> Outcome<Process> {
    let path = device.stderr_file();
    let stderr = File::create(&path).tried(|| format!("create {}", path.display()))?;
    Process::spawn(command.stdin(stdin).stdout(stdout).stderr(stderr))
}

fn create(path: &Path) -> Outcome<Stdio> {
    File::create(path)
        .map(Stdio::from)
        .tried(|| format!("create {}", path.display()))
}

fn open(path: &Path) -> Outcome<Stdio> {
    File::open(path)
        .map(Stdio::from)
        .tried(|| format!("open {}", path.display()))
}

fn read(device: &Device) -> String {
    fs::read_to_string(device.stderr_file()).unwrap_or_default()
}

/// What `dnc -v` says between "via" and "in": the kind of the path and the peer's address.
fn path_in(stderr: &str) -> Option<String> {
    stderr.lines().find_map(|line| {
        let (_, path) = line.split_once("connected to ")?.1.split_once(" via ")?;
        let path = path.split_once(" in ").map_or(path, |(path, _)| path);
        Some(path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_found_in_the_callers_words() {
        let stderr = "dnc: looking\ndnc: connected to 7n4c… via loopback 127.0.0.1:4000 in 8 ms\n";
        assert_eq!(path_in(stderr).as_deref(), Some("loopback 127.0.0.1:4000"));
        assert_eq!(path_in("dnc: connected\n"), None);
    }
}
