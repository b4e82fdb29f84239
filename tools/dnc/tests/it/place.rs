//! Devices with homes of their own, and processes that end with the test.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing in these tests takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A device: a fresh home.
pub(crate) struct Device {
    dir: tempfile::TempDir,
    id: String,
}

impl Device {
    pub(crate) fn new() -> Self {
        let mut device = Self {
            dir: tempfile::tempdir().unwrap(),
            id: String::new(),
        };
        // Fails for want of a peer's answer, and makes the identity before.
        let ended = device.run(&["-w", "0.01", "-z", &some_id()]);
        let line = ended.stderr.lines().next().unwrap().to_owned();
        let id = line.strip_prefix("dnc: made a new identity: ");
        device.id = id.unwrap_or_else(|| panic!("{line}")).to_owned();
        device
    }

    /// Its 56 characters.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The first characters, as messages show them.
    pub(crate) fn short(&self) -> String {
        format!("{}…", &self.id[..8])
    }

    /// A path in its home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command with the network of these tests: 127.0.0.1 and no multicast.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_at("127.0.0.1:0", words)
    }

    /// The same with an address of its own.
    pub(crate) fn command_at(&self, bind: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dnc"));
        command
            .args(["--bind", bind, "--no-mdns"])
            .args(words)
            .env_clear()
            .env("DHTNET_HOME", self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and lets it run.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        Running::start(&mut self.command(words))
    }

    /// Runs it to its end with nothing on stdin.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.run_with(words, b"")
    }

    /// Runs it to its end with these bytes on stdin.
    pub(crate) fn run_with(&self, words: &[&str], input: &[u8]) -> Ended {
        let mut running = self.start(words);
        running.feed(input.to_vec());
        running.end()
    }

    /// Starts it at an address that was in use before, when that is free again.
    pub(crate) fn start_at(&self, bind: &str, words: &[&str]) -> Running {
        Running::start(&mut self.command_at(bind, words))
    }

    /// Starts a listener, and gives the argument under which peers reach it.
    pub(crate) fn listen(&self, words: &[&str]) -> (Running, String) {
        let running = self.start(&[&["-l"], words].concat());
        let command = running.next_line();
        let peer = command
            .strip_prefix("dnc ")
            .unwrap_or_else(|| panic!("{command}"));
        let peer = peer.split(' ').next().unwrap().to_owned();
        (running, peer)
    }
}

/// A valid id that no device of a test has: the test vector of seed [1; 32].
pub(crate) fn some_id() -> String {
    dhtnet_identity::DeviceKey::from_seed(&[1; 32])
        .id()
        .to_string()
}

/// A process with its streams.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    feeding: Option<JoinHandle<()>>,
    stdout: Option<Receiver<Vec<u8>>>,
    stderr: Receiver<String>,
}

/// What it left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, stderr_lines) = mpsc::channel();
        thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|l| lines.send(l))
        });
        let stdout = child.stdout.take().map(|mut stdout| {
            let (blocks, received) = mpsc::channel();
            thread::spawn(move || {
                let mut block = vec![0; 65_536];
                while let Ok(len @ 1..) = stdout.read(&mut block) {
                    if blocks.send(block[..len].to_vec()).is_err() {
                        break;
                    }
                }
            });
            received
        });
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            feeding: None,
            stdout,
            stderr: stderr_lines,
        }
    }

    /// The next line on stderr.
    pub(crate) fn next_line(&self) -> String {
        self.stderr.recv_timeout(LIMIT).expect("a line on stderr")
    }

    /// The next line on stderr that has this part.
    #[track_caller]
    pub(crate) fn next_line_with(&self, part: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let line = self.next_line();
            if line.contains(part) {
                return line;
            }
            assert!(Instant::now() < deadline, "no {part:?}");
        }
    }

    /// Writes to stdin and leaves it open. A process that has gone is no fault of the test.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    /// Writes to stdin beside the test, and closes it.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        let mut stdin = self.stdin.take().unwrap();
        self.feeding = Some(thread::spawn(move || {
            let _ = stdin.write_all(&bytes);
        }));
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Exactly this many bytes of stdout.
    pub(crate) fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            bytes.extend(self.read_some());
        }
        assert_eq!(bytes.len(), len);
        bytes
    }

    /// The next bytes of stdout.
    pub(crate) fn read_some(&mut self) -> Vec<u8> {
        self.stdout
            .as_ref()
            .unwrap()
            .recv_timeout(LIMIT)
            .expect("bytes on stdout")
    }

    /// Reads stdout until it has this word.
    #[track_caller]
    pub(crate) fn await_word(&mut self, word: &str) {
        let (deadline, mut said) = (Instant::now() + LIMIT, String::new());
        while !said.contains(word) {
            assert!(Instant::now() < deadline, "no {word:?} in {said}");
            said += std::str::from_utf8(&self.read_some()).unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; what was read before is not in the result.
    pub(crate) fn end(mut self) -> Ended {
        // stdout and stderr end with the process, or the time is over.
        let mut stdout = Vec::new();
        if let Some(blocks) = &self.stdout {
            loop {
                match blocks.recv_timeout(LIMIT) {
                    Ok(block) => stdout.extend(block),
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        panic!("still running: {:?}", self.said())
                    }
                }
            }
        }
        let mut stderr = String::new();
        loop {
            match self.stderr.recv_timeout(LIMIT) {
                Ok(line) => stderr += &format!("{line}\n"),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("still running: {stderr:?}"),
            }
        }
        let status: ExitStatus = self.child.wait().unwrap();
        if let Some(feeding) = self.feeding.take() {
            feeding.join().unwrap();
        }
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }

    fn said(&self) -> Vec<String> {
        self.stderr.try_iter().collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Asserts an exit code with exactly these lines on stderr and nothing on stdout.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, stderr: &str) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(code), stderr));
        assert!(self.stdout.is_empty(), "{:?}", self.stdout);
    }

    #[track_caller]
    pub(crate) fn assert_done(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
    }
}

/// A file that cannot be written to.
pub(crate) fn full_disk() -> File {
    File::options()
        .write(true)
        .open(Path::new("/dev/full"))
        .unwrap()
}

/// A TCP server that reads each connection to its end, and then answers with what it read, in
/// upper case, `times` times.
pub(crate) fn late_answerer(times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut question = Vec::new();
                stream.read_to_end(&mut question).unwrap();
                question.make_ascii_uppercase();
                let _ = stream.write_all(&question.repeat(times));
            });
        }
    });
    address
}

/// A port on which nothing listens.
pub(crate) fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Asks over TCP, ends the question, and reads the answer.
pub(crate) fn ask(address: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(question)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Bytes without a pattern that a mistake could hide in.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
