//! Homes that vanish, processes that end with the test, and a small network to talk to.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing in these tests takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A user: a fresh home.
pub(crate) struct Place(tempfile::TempDir);

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// What it printed, if it ended well.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        String::from_utf8(self.stdout).unwrap()
    }

    /// The same as JSON, one value a line.
    pub(crate) fn json(self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Its only line on stderr, if it ended with this code and printed nothing.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(
            (self.code, self.stdout.as_slice()),
            (Some(code), &b""[..]),
            "{}",
            self.stderr
        );
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        self.stderr.trim_end().to_owned()
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dhtnode"));
        command
            .args(words)
            .env_clear()
            .env("DHTNET_HOME", self.path("home"))
            .env("DHTNET_BIND", "127.0.0.1:0")
            .env("DHTNET_BOOTSTRAP", "none")
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end with nothing on stdin.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.run_with(words, b"")
    }

    /// Runs it to its end with these bytes on stdin.
    pub(crate) fn run_with(&self, words: &[&str], input: &[u8]) -> Ended {
        let mut child = self.command(words).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeding = thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = feeding.join().unwrap(); // The process may end without reading everything.
        Ended {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn start(&self, words: &[&str]) -> Running {
        Running::start(&mut self.command(words))
    }
}

/// A process that runs.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

/// Lines of a process as they come.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        let stream = BufReader::new(stream);
        thread::spawn(move || {
            stream
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self(lines)
    }

    pub(crate) fn next(&self) -> String {
        self.0.recv_timeout(LIMIT).expect("a line")
    }

    pub(crate) fn next_json(&self) -> Value {
        serde_json::from_str(&self.next()).unwrap()
    }

    /// The first line with `part` in it; those before are left out.
    pub(crate) fn until(&self, part: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        Self {
            stdout: Lines::of(child.stdout.take().unwrap()),
            stderr: Lines::of(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends a signal and waits for the end; the exit code.
    pub(crate) fn end(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A private network of some nodes in one process, and a user beside it.
pub(crate) struct Net {
    pub(crate) user: Place,
    _nodes: Running,
    pub(crate) addresses: Vec<String>,
    _home: Place,
}

/// The name of the network in these tests.
pub(crate) const NETWORK: &str = "it";

impl Net {
    pub(crate) fn of(count: usize) -> Self {
        let home = Place::new();
        let cluster = count.to_string();
        let nodes = home.start(&["--network", NETWORK, "--json", "run", "--cluster", &cluster]);
        let addresses = (0..count)
            .map(|_| {
                let line = nodes.stdout.next_json();
                assert_eq!(line["event"], "listening");
                line["addresses"][0].as_str().unwrap().to_owned()
            })
            .collect();
        Self {
            user: Place::new(),
            _nodes: nodes,
            addresses,
            _home: home,
        }
    }

    /// A command of the user, who enters by the first node.
    pub(crate) fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [&["--network", NETWORK, "-b", &self.addresses[0]], words].concat()
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.user.run(&self.words(words))
    }

    pub(crate) fn run_with(&self, words: &[&str], input: &[u8]) -> Ended {
        self.user.run_with(&self.words(words), input)
    }

    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.user.start(&self.words(words))
    }
}
