//! Ends sessions: what belongs to one is asked to go, and then made to.
//!
//! The server does so itself when a client is gone. For the case that the server is killed, a
//! warden process knows the sessions and does it in its place.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, setsid};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

/// The first word of the command line of a warden.
pub(crate) const WARDEN_WORD: &str = "__warden";

/// This program, even if its file was replaced meanwhile.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

/// How long what was asked to go may take: a shell that writes its history needs less.
const GRACE: Duration = Duration::from_secs(2);

/// How often is looked whether all have gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Turns of killing what forks faster than it is found.
const MAX_TURNS: usize = 50;

/// Ends everything in the session of this leader: SIGHUP, and after a grace SIGKILL.
pub(crate) async fn end_session(leader: Pid) {
    let begun = Instant::now();
    ask_to_go(leader);
    let mut turns = 0;
    while is_populated(leader) && turns < MAX_TURNS {
        if begun.elapsed() >= GRACE {
            turns += 1;
            signal_all(leader, Signal::KILL);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn ask_to_go(leader: Pid) {
    signal_all(leader, Signal::HUP);
    // Who is stopped hears nothing.
    signal_all(leader, Signal::CONT);
}

fn signal_all(leader: Pid, signal: Signal) {
    for member in members(leader) {
        // It may have gone meanwhile.
        let _ = kill_process(member, signal);
    }
}

fn is_populated(leader: Pid) -> bool {
    !members(leader).is_empty()
}

/// The living processes of a session.
fn members(leader: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let found = entries.flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let session = session_of(&stat)?;
        (session == leader.as_raw_nonzero().get())
            .then(|| Pid::from_raw(pid))
            .flatten()
    });
    found.collect()
}

/// The session in `/proc/PID/stat` (proc(5)); none for a process that is dead already.
fn session_of(stat: &str) -> Option<i32> {
    // The name before may hold anything, blanks and parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok()?;
    (!["Z", "X"].contains(&state)).then_some(session)
}

/// The server's end of a warden process.
pub(crate) struct Warden {
    /// Ends by itself with the server.
    process: Child,
    orders: tokio::sync::Mutex<ChildStdin>,
}

impl Warden {
    /// Starts one.
    ///
    /// # Errors
    /// Those of starting a process.
    pub(crate) fn start() -> io::Result<Self> {
        let mut process = Command::new(OWN_PROGRAM)
            .arg0("dsh")
            .arg(WARDEN_WORD)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let orders = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            process,
            orders: tokio::sync::Mutex::new(orders),
        })
    }

    /// There is a session with this leader.
    pub(crate) async fn know(&self, leader: Pid) {
        self.say('+', leader).await;
    }

    /// That session is over.
    pub(crate) async fn forget(&self, leader: Pid) {
        self.say('-', leader).await;
    }

    /// There are no more sessions: waits until it has ended.
    pub(crate) async fn end(self) {
        let Self {
            mut process,
            orders,
        } = self;
        drop(orders);
        // One that hangs ends with its pipe, too.
        let _ = tokio::time::timeout(GRACE, process.wait()).await;
    }

    async fn say(&self, what: char, leader: Pid) {
        let line = format!("{what}{}\n", leader.as_raw_nonzero());
        // Without a warden the sessions are still ended by the server itself.
        let _ = self.orders.lock().await.write_all(line.as_bytes()).await;
    }
}

/// What the warden process does: it reads who begins and ends, and when the server is gone, ends
/// those that are left. Returns its exit status.
pub(crate) fn watch() -> i32 {
    // Signals for the server's terminal are not for it.
    let _ = setsid();
    let mut leaders = BTreeSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        note(&mut leaders, &line);
    }
    let leaders: Vec<Pid> = leaders.into_iter().filter_map(Pid::from_raw).collect();
    let begun = Instant::now();
    leaders.iter().copied().for_each(ask_to_go);
    let mut turns = 0;
    while leaders.iter().any(|leader| is_populated(*leader)) && turns < MAX_TURNS {
        if begun.elapsed() >= GRACE {
            turns += 1;
            for leader in &leaders {
                signal_all(*leader, Signal::KILL);
            }
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    0
}

fn note(leaders: &mut BTreeSet<i32>, line: &str) {
    if let Some(Ok(pid)) = line.strip_prefix('+').map(str::parse) {
        leaders.insert(pid);
    } else if let Some(Ok(pid)) = line.strip_prefix('-').map(str::parse) {
        leaders.remove(&pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_behind_any_name_and_not_in_the_dead() {
        assert_eq!(session_of("7 (sh) S 1 7 5 34816 7 0"), Some(5));
        assert_eq!(session_of("7 (a) b) (c) R 1 7 9 0"), Some(9));
        assert_eq!(session_of("7 (sh) Z 1 7 5 0"), None);
        assert_eq!(session_of("7 (sh"), None);
        assert_eq!(session_of(""), None);
    }

    #[test]
    fn the_warden_knows_who_is_left() {
        let mut leaders = BTreeSet::new();
        for line in ["+7", "+8", "-7", "nonsense", "+x", "-99"] {
            note(&mut leaders, line);
        }
        assert_eq!(leaders.into_iter().collect::<Vec<_>>(), [8]);
    }
}
