//! Which sessions there are, and how many there may be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dhtnet::{DeclineCode, DeclineReason, DeviceId};
use dhtnet_shell_wire::session::attach::Attach;
use dhtnet_shell_wire::session::name::SessionName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::live::{Facts, Order};
use crate::session::list::Listed;

/// Named sessions of all peers together. Each may hold `MAX_SCROLLBACK_BYTES` (8 MiB) beside its
/// screen: half a gigabyte at the very worst.
pub(crate) const MAX_NAMED: usize = 64;

/// Named sessions of one peer, as all of its users: more than a person keeps apart.
pub(crate) const MAX_NAMED_OF_PEER: usize = 16;

/// Bytes of a command that the list shows: enough to know it by.
const MAX_LISTED_COMMAND: usize = 1024;

/// Bytes of input that wait for a program that does not read: a large paste goes piece by piece.
pub(super) const MAX_INPUT: usize = 64 * 1024;

/// Whose session of what name. Another peer, or the same as another user, has names of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) peer: DeviceId,
    pub(super) user: String,
    pub(super) name: SessionName,
}

/// The way to a session that runs.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) orders: mpsc::Sender<Order>,
    facts: Arc<Mutex<Facts>>,
    input: Arc<Semaphore>,
    begun: u64,
    command: Option<String>,
}

impl Entry {
    /// Waits until there is room for so many bytes of input; they occupy it until they are dropped.
    pub(super) async fn input_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(MAX_INPUT)).ok()?;
        self.input.clone().acquire_many_owned(bytes).await.ok()
    }
}

fn listed_command(command: &str) -> String {
    command[..command.floor_char_boundary(MAX_LISTED_COMMAND)].to_owned()
}

/// The sessions of a server.
#[derive(Default)]
pub(crate) struct Store {
    sessions: BTreeMap<Key, Entry>,
}

impl Store {
    /// The session, if it still runs.
    pub(super) fn find(&self, key: &Key) -> Option<Entry> {
        let entry = self.sessions.get(key)?;
        (!entry.orders.is_closed()).then(|| entry.clone())
    }

    /// Whether this peer may have another one.
    pub(super) fn check_room(&self, peer: &DeviceId) -> Result<(), DeclineReason> {
        let own = self.sessions.keys().filter(|key| key.peer == *peer).count();
        let why = if own >= MAX_NAMED_OF_PEER {
            format!("there are {own} named sessions already; end one")
        } else if self.sessions.len() >= MAX_NAMED {
            "there are as many named sessions as there may be".to_owned()
        } else {
            return Ok(());
        };
        Err(DeclineReason::new(DeclineCode::Busy, why))
    }

    pub(super) fn insert(
        &mut self,
        key: Key,
        (orders, facts): (mpsc::Sender<Order>, Arc<Mutex<Facts>>),
        attach: &Attach,
    ) -> Entry {
        let begun = SystemTime::now().duration_since(UNIX_EPOCH);
        let entry = Entry {
            orders,
            facts,
            input: Arc::new(Semaphore::new(MAX_INPUT)),
            begun: begun.unwrap_or_default().as_secs(),
            command: attach.request.command.as_deref().map(listed_command),
        };
        self.sessions.insert(key, entry.clone());
        entry
    }

    /// Takes one out that has ended.
    pub(super) fn remove(&mut self, key: &Key) {
        if self
            .sessions
            .get(key)
            .is_some_and(|entry| entry.orders.is_closed())
        {
            self.sessions.remove(key);
        }
    }

    /// The sessions of a peer as a user, by name.
    pub(super) fn listed(&self, peer: &DeviceId, user: &str) -> Vec<Listed> {
        let own = self.sessions.iter().filter(|(key, entry)| {
            key.peer == *peer && key.user == user && !entry.orders.is_closed()
        });
        own.map(|(key, entry)| {
            let facts = entry.facts.lock().unwrap_or_else(PoisonError::into_inner);
            Listed {
                name: key.name.to_string(),
                begun: entry.begun,
                attached: facts.attached,
                viewers: facts.viewers,
                columns: facts.size.0,
                rows: facts.size.1,
                lines: facts.lines,
                title: facts.title.clone(),
                command: entry.command.clone(),
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use dhtnet::DeviceKey;

    use super::*;

    fn key(peer: u8, number: usize) -> Key {
        Key {
            peer: DeviceKey::from_seed(&[peer; 32]).id(),
            user: "user".to_owned(),
            name: format!("s{number}").parse().unwrap(),
        }
    }

    fn add(store: &mut Store, key: Key) -> mpsc::Receiver<Order> {
        let (orders, received) = mpsc::channel(1);
        let entry = Entry {
            orders,
            facts: Arc::default(),
            input: Arc::new(Semaphore::new(MAX_INPUT)),
            begun: 0,
            command: None,
        };
        store.sessions.insert(key, entry);
        received
    }

    #[test]
    fn one_peer_has_sixteen_and_all_have_sixty_four() {
        let mut store = Store::default();
        let mut alive = Vec::new();
        for number in 0..MAX_NAMED_OF_PEER {
            store.check_room(&key(1, 0).peer).unwrap();
            alive.push(add(&mut store, key(1, number)));
        }
        store.check_room(&key(1, 0).peer).unwrap_err();
        let mut peer = 2;
        while alive.len() < MAX_NAMED {
            store.check_room(&key(peer, 0).peer).unwrap();
            for number in 0..MAX_NAMED_OF_PEER {
                alive.push(add(&mut store, key(peer, number)));
            }
            peer += 1;
        }
        store.check_room(&key(99, 0).peer).unwrap_err();
    }

    #[test]
    fn a_long_command_is_cut_in_the_list_at_a_character() {
        let at = "x".repeat(MAX_LISTED_COMMAND);
        assert_eq!(listed_command(&at), at);
        assert_eq!(listed_command(&format!("{at}y")), at, "one past the bound");
        let wide = format!("x{}", "ä".repeat(MAX_LISTED_COMMAND / 2));
        assert_eq!(listed_command(&wide).len(), MAX_LISTED_COMMAND - 1);
    }

    #[test]
    fn a_session_is_seen_by_its_peer_and_user_only_and_while_it_runs() {
        let mut store = Store::default();
        let alive = add(&mut store, key(1, 1));
        let (one, other) = (key(1, 1), key(2, 1));
        assert!(store.find(&one).is_some());
        assert!(store.find(&other).is_none());
        assert_eq!(store.listed(&one.peer, "user").len(), 1);
        assert!(store.listed(&one.peer, "root").is_empty());
        assert!(store.listed(&other.peer, "user").is_empty());
        store.remove(&one);
        assert!(store.find(&one).is_some(), "it runs");
        drop(alive);
        assert!(store.find(&one).is_none() && store.listed(&one.peer, "user").is_empty());
        store.remove(&one);
        assert!(store.sessions.is_empty());
    }
}
