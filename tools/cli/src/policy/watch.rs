//! Reading the policy again when its files change.
//!
//! The files are looked at a few times a second: that sees editors which write a new file and rename
//! it, file systems without notifications, and files that appear. A change counts when it has stood
//! still from one look to the next, so that no half-written file is read.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use dhtnet::Node;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::LivePolicy;
use crate::Talk;

/// Time between two looks. Who is no longer allowed loses the connection within a second: two
/// looks, reading, and a flight over the network.
const LOOK: Duration = Duration::from_millis(200);

/// Looks between two tries to read files that are not in order: what was missing may lie in a file
/// that nobody named before.
const LOOKS_UNTIL_RETRY: u32 = 5;

/// Keeps a node at the policy of its files until it is dropped.
#[derive(Debug)]
pub struct PolicyWatch(JoinHandle<()>);

impl Drop for PolicyWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl PolicyWatch {
    pub(super) fn start(live: LivePolicy, node: Node, talk: Talk) -> Self {
        Self(tokio::spawn(Watching::new(live, node, talk).run()))
    }
}

/// What tells one state of a file from another.
type Look = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn look_at(files: &[PathBuf]) -> Vec<Look> {
    let one = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        Some((
            found.dev(),
            found.ino(),
            found.len(),
            (found.mtime(), found.mtime_nsec()),
            (found.ctime(), found.ctime_nsec()),
        ))
    };
    files.iter().map(one).collect()
}

struct Watching {
    live: LivePolicy,
    node: Node,
    talk: Talk,
    /// The files as they were read.
    seen: Vec<Look>,
    /// The files at the last look.
    stood: Vec<Look>,
    /// What was told about files that are not in order.
    trouble: Option<String>,
    looks: u32,
}

impl Watching {
    fn new(live: LivePolicy, node: Node, talk: Talk) -> Self {
        let seen = look_at(live.files());
        Self {
            live,
            node,
            talk,
            stood: seen.clone(),
            seen,
            trouble: None,
            looks: 0,
        }
    }

    async fn run(mut self) {
        let terminal = Terminal::at_start();
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => self.look(),
                Some(()) = hung_up => match terminal.is_gone() {
                    // As it would without us: the terminal was closed.
                    true => { let _ = kill_process(getpid(), Signal::TERM); }
                    false => self.read("SIGHUP: "),
                },
            }
        }
    }

    fn look(&mut self) {
        let now = look_at(self.live.files());
        let still = now == self.stood;
        self.looks = self.looks.wrapping_add(1);
        let changed = still && now != self.seen;
        let retry = self.trouble.is_some() && self.looks.is_multiple_of(LOOKS_UNTIL_RETRY);
        self.stood = now;
        if changed || retry {
            self.read("");
        }
    }

    /// Reads everything again. What is not in order is told, once, and changes nothing.
    fn read(&mut self, why: &str) {
        // Before the files are read: what changes meanwhile is a change.
        self.seen = look_at(self.live.files());
        let had_file = self.live.has_file();
        let loaded = self.live.source.load();
        let gone = || {
            let file = self.live.source.policy_file();
            format!("{} is gone", file.display())
        };
        let loaded = match loaded {
            Ok(loaded) if had_file && !loaded.has_file => Err(gone()),
            Ok(loaded) => Ok(loaded),
            Err(failure) => Err(failure.to_string()),
        };
        match loaded {
            Ok(loaded) => {
                let is_new = loaded.policy != self.live.loaded.policy;
                if loaded.files != self.live.loaded.files {
                    self.seen = look_at(&loaded.files);
                    self.stood.clone_from(&self.seen);
                }
                self.live.loaded = loaded;
                let was_broken = self.trouble.take().is_some();
                if is_new {
                    self.node.set_policy(self.live.policy());
                }
                if is_new || was_broken || !why.is_empty() {
                    self.talk.note(format_args!(
                        "{why}the policy was read again and is in force"
                    ));
                    if let Some(complaint) = self.live.complaint() {
                        self.talk.warn(complaint);
                    }
                }
            }
            Err(trouble) => {
                if self.trouble.as_ref() != Some(&trouble) || !why.is_empty() {
                    self.talk.warn(format_args!(
                        "{why}the policy of before stays in force: {trouble}"
                    ));
                }
                self.trouble = Some(trouble);
            }
        }
    }
}

/// SIGHUP says two things: that the terminal was closed, and, to those without one, that files are
/// to be read again.
struct Terminal {
    was_there: bool,
}

impl Terminal {
    fn at_start() -> Self {
        let was_there = is_there() && !ignores_hangup();
        Self { was_there }
    }

    fn is_gone(&self) -> bool {
        self.was_there && !is_there()
    }
}

fn is_there() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether the process was started by `nohup` or the like.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use dhtnet::identity::policy::Action;
    use dhtnet_identity::{DeviceId, DeviceKey};

    use super::super::Place;
    use super::*;
    use crate::flags::PolicyFlags;
    use crate::talk::Captured;
    use crate::{Home, Verbosity};

    fn id(seed: u8) -> DeviceId {
        DeviceKey::from_seed(&[seed; 32]).id()
    }

    fn allowing(seed: u8) -> String {
        format!(
            "version = 1\n[[rule]]\nwho = [\"{}\"]\nallow = [\"test\"]\n",
            id(seed)
        )
    }

    struct Device {
        dir: tempfile::TempDir,
        watching: Watching,
        said: Captured,
    }

    impl Device {
        async fn new(policy: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("policy.toml"), policy).unwrap();
            let home = Home::in_folder(dir.path());
            let place = Place {
                home: &home,
                own: id(1),
            };
            let live = PolicyFlags::default().live(&place, &[]).unwrap();
            let node = Node::builder(DeviceKey::from_seed(&[1; 32]))
                .bind("127.0.0.1:0".parse().unwrap())
                .mdns(false)
                .policy(live.policy())
                .build()
                .await
                .unwrap();
            let said = Captured::default();
            let talk = Talk::new("dnc", Box::new(said.clone())).with_verbosity(Verbosity::Normal);
            let watching = Watching::new(live, node, talk);
            Self {
                dir,
                watching,
                said,
            }
        }

        fn write(&self, text: &str) {
            fs::write(self.dir.path().join("policy.toml"), text).unwrap();
        }

        fn may(&self, seed: u8) -> bool {
            let decision = self.watching.node.decide(&id(seed), &Action::new("test"));
            decision.is_allowed()
        }

        fn looks(&mut self, count: u32) {
            for _ in 0..count {
                self.watching.look();
            }
        }
    }

    #[tokio::test]
    async fn a_change_counts_when_it_stands_still() {
        let mut device = Device::new(&allowing(2)).await;
        assert!(device.may(2) && !device.may(3));
        device.write(&allowing(3));
        device.looks(1);
        assert!(device.may(2), "it may not be whole yet");
        device.looks(1);
        assert!(!device.may(2) && device.may(3));
        assert_eq!(
            device.said.text(),
            "dnc: the policy was read again and is in force\n"
        );
        device.looks(10);
        assert_eq!(device.said.text().lines().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_renamed_into_place_is_seen_and_so_are_contacts() {
        let mut device = Device::new(&allowing(2)).await;
        let new = device.dir.path().join("new");
        fs::write(&new, allowing(4)).unwrap();
        fs::rename(&new, device.dir.path().join("policy.toml")).unwrap();
        device.looks(2);
        assert!(device.may(4));
        device.write("version = 1\n[[rule]]\nwho = [\"laptop\"]\nallow = [\"test\"]\n");
        device.looks(2);
        assert!(device.may(4), "the contact is not known yet");
        let line = device.said.text().lines().last().unwrap().to_owned();
        assert!(
            line.contains("stays in force") && line.contains("laptop"),
            "{line}"
        );
        let contacts = format!("[[peer]]\nname = \"laptop\"\nid = \"{}\"\n", id(5));
        fs::write(device.dir.path().join("contacts.toml"), contacts).unwrap();
        device.looks(2);
        assert!(device.may(5), "{}", device.said.text());
    }

    #[tokio::test]
    async fn a_broken_or_missing_file_keeps_the_policy_of_before_and_is_told_once() {
        let mut device = Device::new(&allowing(2)).await;
        device.write("version = 1\nnonsense");
        device.looks(20);
        fs::remove_file(device.dir.path().join("policy.toml")).unwrap();
        device.looks(20);
        assert!(device.may(2));
        let said = device.said.text();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(
            said.lines().all(|line| line.contains("stays in force")),
            "{said}"
        );
        device.write(&allowing(3));
        device.looks(6);
        assert!(device.may(3) && !device.may(2));
        assert!(device.said.text().ends_with("is in force\n"));
    }

    #[tokio::test]
    async fn a_ca_that_appears_later_mends_a_policy_that_names_it() {
        let mut device = Device::new(&allowing(2)).await;
        let ca = "[[ca]]\nname = \"home\"\ncertificate = \"home.crt\"\n";
        device.write(&format!("{}{ca}", allowing(3)));
        device.looks(2);
        assert!(device.may(2));
        fs::write(device.dir.path().join("home.crt"), "not a certificate").unwrap();
        device.looks(10);
        assert!(device.may(2));
        device.write(&allowing(3));
        device.looks(10);
        assert!(device.may(3));
    }

    #[tokio::test]
    async fn what_is_asked_for_is_read_even_if_nothing_changed() {
        let mut device = Device::new(&allowing(2)).await;
        device.watching.read("SIGHUP: ");
        assert_eq!(
            device.said.text(),
            "dnc: SIGHUP: the policy was read again and is in force\n"
        );
    }
}
