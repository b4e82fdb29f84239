//! The log in the journal of systemd: what a socket in its place hears, and when.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{Command, Families, Process};
use dhtnet_tests::ssh::find;

use crate::pair::{LIMIT, PORT, Pair, assert_done, pair};

/// How long it is listened for what must not come.
const A_WHILE: Duration = Duration::from_millis(500);

/// Largest entry that is read; others come as files, and none of ours is so large.
const MAX_ENTRY: usize = 64 * 1024;

/// One entry: names of fields with their values.
type Entry = BTreeMap<String, String>;

/// Reads an entry as <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/> has it: `NAME=value` on a line, or
/// the name, a length of eight bytes and as many bytes.
fn entry(mut rest: &[u8]) -> Entry {
    let mut fields = Entry::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        if let Some((name, value)) = line.split_once('=') {
            fields.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let (length, after) = rest.split_first_chunk().unwrap();
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
        let value = std::str::from_utf8(&after[..length]).unwrap();
        fields.insert(line.to_owned(), value.to_owned());
        assert_eq!(after[length], b'\n', "the end of {line}");
        rest = &after[length + 1..];
    }
    assert!(rest.is_empty(), "a line without an end");
    fields
}

/// A socket in the place of the journal's, for one process on `b`.
struct Journal {
    folder: PathBuf,
    socket: UnixDatagram,
}

impl Journal {
    fn at(pair: &Pair) -> Self {
        let folder = pair.lab.folder().join("journal");
        std::fs::create_dir(&folder).unwrap();
        let socket = UnixDatagram::bind(folder.join("socket")).unwrap();
        Self { folder, socket }
    }

    /// `dnc -l` on `b` that hears this journal and is told, as by a service manager, that the stream
    /// which `stream` prints is the journal.
    fn listener(&self, pair: &Pair, stream: &str, words: &[&str]) -> Process {
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
             mount --bind {} /run/systemd/journal && \
             JOURNAL_STREAM=$({stream}) exec \"$@\"",
            self.folder.display()
        );
        let bind = format!("0.0.0.0:{PORT}");
        let command = pair.b.with_home(pair.b.host().command("unshare"));
        let command = command
            .args(["--mount", "sh", "-c", &script, "sh"])
            .arg(pair.b.dnc_path())
            .args([
                "-l",
                "-k",
                "--no-mdns",
                "--bind",
                &bind,
                "--allow",
                pair.a.id(),
            ])
            .args(words)
            .stdout_file("/dev/null");
        pair.b.listen(command).unwrap()
    }

    /// The next entry that has this field, if it comes within the time.
    fn next_with(&self, field: &str, limit: Duration) -> Option<Entry> {
        let end = Instant::now() + limit;
        let mut buffer = vec![0; MAX_ENTRY];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Some(left).filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            let entry = entry(&buffer[..length]);
            if entry.contains_key(field) {
                return Some(entry);
            }
        }
    }
}

fn run(command: Command) -> Option<i32> {
    command.start().unwrap().finish(LIMIT).unwrap().code()
}

/// What stderr is, as systemd writes it.
const STDERR: &str = "stat -Lc %d:%i /proc/self/fd/2";

#[test]
fn decisions_are_in_the_journal_with_their_fields() {
    let name = "decisions_are_in_the_journal_with_their_fields";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    if !rustix::process::geteuid().is_root() || find("unshare").is_none() {
        return report(name, "root and unshare are needed");
    }
    let journal = Journal::at(&pair);

    // In a service, by itself and without -v.
    let listener = journal.listener(&pair, STDERR, &[]);
    assert_eq!(run(pair.client().stdin_bytes(*b"hello")), Some(0));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let Some(entry) = journal.next_with("DHTNET_VERDICT", LIMIT) else {
            panic!(
                "no decision in the journal: {seen:?}, {}",
                listener.stderr()
            );
        };
        assert_eq!(entry["DHTNET_PEER"], pair.a.id());
        assert_eq!(entry["DHTNET_VERDICT"], "allow");
        assert!(entry["DHTNET_RULE"].starts_with("--allow"), "{entry:?}");
        assert!(
            entry["MESSAGE"].starts_with("allowed by --allow"),
            "{entry:?}"
        );
        assert_eq!(entry["PRIORITY"], "5", "notice");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "dnc");
        assert_eq!(entry["TARGET"], "dhtnet::policy");
        seen.push(entry["DHTNET_ACTION"].clone());
    }
    assert_eq!(seen, ["connect", "dnc.pipe"]);
    assert_eq!(run(pair.client().args(["127.0.0.1:9", "-z"])), Some(4));
    let denied = loop {
        let entry = journal.next_with("DHTNET_VERDICT", LIMIT).unwrap();
        if entry["DHTNET_ACTION"] != "connect" {
            break entry;
        }
    };
    assert_eq!(denied["DHTNET_VERDICT"], "deny");
    assert!(
        denied["DHTNET_ACTION"].starts_with("dnc.target"),
        "{denied:?}"
    );
    assert!(
        !listener.stderr().contains("verdict"),
        "{}",
        listener.stderr()
    );
    drop(listener);

    // Another stream is the journal, as where a shell of a service starts a tool.
    let other = journal.listener(&pair, "echo 1:2", &["-v"]);
    assert_eq!(run(pair.client().stdin_bytes(*b"hello")), Some(0));
    assert!(
        other.stderr().contains("verdict=allow"),
        "{}",
        other.stderr()
    );
    assert_eq!(journal.next_with("MESSAGE", A_WHILE), None);
    drop(other);

    // Asked for, wherever stderr goes.
    let asked = journal.listener(&pair, "echo", &["--log-format", "journald"]);
    assert_eq!(run(pair.client().stdin_bytes(*b"hello")), Some(0));
    assert!(journal.next_with("DHTNET_VERDICT", LIMIT).is_some());
    drop(asked);
}

#[test]
fn without_a_journal_the_log_is_text_and_says_so() {
    let name = "without_a_journal_the_log_is_text_and_says_so";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    if std::path::Path::new("/run/systemd/journal/socket").exists() {
        return report(name, "this machine has a journal");
    }
    let command = pair.a.dnc().args(["--log-format", "journald", "--help"]);
    assert_done(&command.start().unwrap().finish(LIMIT).unwrap());
    let listener = pair.listener().args(["--log-format", "journald"]);
    let listener = pair.b.listen(listener).unwrap();
    assert_eq!(run(pair.client().stdin_bytes(*b"hello")), Some(0));
    let told = listener.stderr();
    assert!(told.contains("there is no journal to log to"), "{told}");
    assert!(told.contains("verdict=allow"), "{told}");
}

#[test]
fn a_decision_is_found_in_a_real_journal_by_its_peer() {
    let name = "a_decision_is_found_in_a_real_journal_by_its_peer";
    let Some(pair) = pair(name, Families::V4) else {
        return;
    };
    let journald = PathBuf::from("/lib/systemd/systemd-journald");
    if !rustix::process::geteuid().is_root()
        || !journald.exists()
        || find("journalctl").is_none()
        || find("unshare").is_none()
    {
        return report(name, "root, unshare and systemd's journal are needed");
    }
    let found = pair.lab.folder().join("found");
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal && \
         mount -t tmpfs none /var/log && {{ {} 2>/dev/null & }} && journal=$! && \
         until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done; \"$@\"; code=$?; \
         tries=0; until [ -s {found} ] || [ $tries = 100 ]; do sleep 0.1; tries=$((tries + 1)); \
         journalctl -q --directory /run/log/journal -o json DHTNET_PEER={} \
         DHTNET_ACTION=dnc.pipe > {found}; done; kill $journal; exit $code",
        journald.display(),
        pair.a.id(),
        found = found.display(),
    );
    let bind = format!("0.0.0.0:{PORT}");
    let command = pair.b.with_home(pair.b.host().command("unshare"));
    let command = command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(pair.b.dnc_path())
        .args(["-l", "--no-mdns", "--bind", &bind, "--allow", pair.a.id()])
        .args(["--log-format", "journald"]);
    let listener = pair.b.listen(command).unwrap();
    assert_eq!(run(pair.client().stdin_bytes(*b"hello")), Some(0));
    let finished = listener.finish(LIMIT).unwrap();
    assert_eq!(
        (finished.code(), finished.text().as_str()),
        (Some(0), "hello")
    );
    let told = std::fs::read_to_string(&found).unwrap();
    let lines: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert_eq!(lines[0]["DHTNET_VERDICT"], "allow");
    assert_eq!(lines[0]["SYSLOG_IDENTIFIER"], "dnc");
    assert_eq!(lines[0]["PRIORITY"], "5");
}
