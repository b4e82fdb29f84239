//! Two devices on a cable, and what every test says about how a process ends.

use std::time::Duration;

use dhtnet_tests::device::{Device, Tools};
use dhtnet_tests::lab::skip::lab_or_skip;
use dhtnet_tests::lab::{Command, Families, Finished, Lab, Process};

/// No process of a test runs longer, bulk transfers aside.
pub(crate) const LIMIT: Duration = Duration::from_secs(45);

/// UDP port of listeners whose address must be known.
pub(crate) const PORT: u16 = 7000;

/// Two devices, each with a home of its own; they know nothing of each other.
pub(crate) struct Pair {
    pub(crate) a: Device,
    pub(crate) b: Device,
    pub(crate) lab: Lab,
}

/// The built tools, or the end of the test with what to build.
pub(crate) fn tools() -> Tools {
    Tools::find().unwrap_or_else(|error| panic!("failed to {error}"))
}

/// Devices on the two ends of a veth pair; `None` where there can be no lab.
pub(crate) fn pair(name: &str, families: Families) -> Option<Pair> {
    let lab = lab_or_skip(name)?;
    let hosts = (lab.host("a").unwrap(), lab.host("b").unwrap());
    lab.cable(&hosts.0, &hosts.1, families).unwrap();
    let tools = tools();
    let a = Device::new(hosts.0, &tools).unwrap();
    let b = Device::new(hosts.1, &tools).unwrap();
    Some(Pair { a, b, lab })
}

impl Pair {
    /// `dnc -l` on `b` at [`PORT`] that lets `a` in, without mDNS. More words may follow.
    pub(crate) fn listener(&self) -> Command {
        let bind = format!("[::]:{PORT}");
        self.b
            .dnc()
            .args(["-l", "--no-mdns", "--bind", &bind, "--allow", self.a.id()])
    }

    /// Starts [`Pair::listener`] with these targets allowed, and waits until it is ready.
    pub(crate) fn serve_targets(&self, targets: &[&str]) -> Process {
        let command = targets.iter().fold(self.listener(), |command, target| {
            command.args(["--allow-target", target])
        });
        self.b.listen(command).unwrap()
    }

    /// How `a` names the listener of `b` without any look-up.
    pub(crate) fn address(&self) -> String {
        format!("{}@{}:{PORT}", self.b.id(), self.b.host().ipv4())
    }

    /// `dnc` on `a`, without mDNS, to the listener of `b`. Target or flags may follow.
    pub(crate) fn client(&self) -> Command {
        self.a.dnc().args(["--no-mdns", &self.address()])
    }

    /// Nothing that was started is left on either host.
    pub(crate) fn assert_no_process_left(&self) {
        assert_eq!(self.a.host().processes(), [0_u32; 0], "left on a");
        assert_eq!(self.b.host().processes(), [0_u32; 0], "left on b");
    }
}

/// How a command ends that ends by itself.
#[track_caller]
pub(crate) fn ended(command: Command) -> Finished {
    command.start().unwrap().finish(LIMIT).unwrap()
}

/// Ended well.
#[track_caller]
pub(crate) fn assert_done(finished: &Finished) {
    assert_eq!(
        finished.code(),
        Some(0),
        "{:?}: {}",
        finished.status,
        finished.stderr
    );
}

/// Ended with `code` and one line on standard error that has each of `words` (case aside), and
/// nothing on standard output.
#[track_caller]
pub(crate) fn assert_failed(finished: &Finished, code: i32, words: &[&str]) {
    let said = finished.stderr.trim();
    assert_eq!(finished.code(), Some(code), "{:?}: {said}", finished.status);
    assert_eq!(finished.text(), "", "standard output is for the payload");
    assert_eq!(
        said.lines().count(),
        1,
        "more or less than one line: {said}"
    );
    assert_words(said, words);
}

/// `said` has each of `words`, case aside; `a|b` is either.
#[track_caller]
pub(crate) fn assert_words(said: &str, words: &[&str]) {
    let lower = said.to_lowercase();
    for word in words {
        let found = word
            .split('|')
            .any(|word| lower.contains(&word.to_lowercase()));
        assert!(found, "no {word:?} in: {said}");
    }
}

/// Bytes of a bulk transfer: 64 MiB, or 1 GiB with `DHTNET_TEST_FULL=1`.
pub(crate) fn bulk_len() -> u64 {
    match std::env::var("DHTNET_TEST_FULL") {
        Ok(full) if full == "1" => 1 << 30,
        _ => 64 << 20,
    }
}

/// Time for a bulk transfer with unoptimised binaries on a loaded machine: 1 MiB/s.
pub(crate) fn bulk_limit(len: u64) -> Duration {
    LIMIT + Duration::from_secs(len >> 20)
}
