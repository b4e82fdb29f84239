//! Who sends datagrams at the moment: a task each, bounded, the most silent one makes room.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

/// Datagrams that wait for one session; more are lost, as in any full queue of a network.
const MAX_WAITING: usize = 64;

/// Tasks for each session that there may be: one that made room goes on until its channel has opened or
/// failed, which takes as long as connecting may take. A flood of sources must not pile them up.
const ENDING_SHARE: usize = 2;

/// Sessions by what tells them apart. Dropping it ends them.
pub(crate) struct Sessions<K> {
    limit: usize,
    by_key: HashMap<K, Session>,
    tasks: JoinSet<(K, u64)>,
    /// Counts datagrams, for the order of use.
    turn: u64,
}

struct Session {
    sender: mpsc::Sender<Bytes>,
    /// The turn in which it began: tells it from a later one with the same key.
    began: u64,
    used: u64,
}

impl<K: Clone + Eq + Hash + Send + 'static> Sessions<K> {
    /// At most `limit` at the same time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            by_key: HashMap::new(),
            tasks: JoinSet::new(),
            turn: 0,
        }
    }

    /// Hands a datagram to its session; `begin` makes the work of a new one.
    pub(crate) fn deliver<F>(
        &mut self,
        key: &K,
        datagram: Bytes,
        begin: impl FnOnce(mpsc::Receiver<Bytes>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.turn += 1;
        let turn = self.turn;
        // A session that has ended by itself, and was not taken out yet, is as good as none.
        let is_over = |session: &Session| session.sender.is_closed();
        if self.by_key.get(key).is_none_or(is_over) {
            if self.tasks.len() >= ENDING_SHARE * self.limit {
                self.take_out_ended();
            }
            if self.tasks.len() >= ENDING_SHARE * self.limit {
                // Sessions that made room and wait for their channels: this datagram is lost.
                return;
            }
            self.make_room();
            let (sender, arrived) = mpsc::channel(MAX_WAITING);
            let work = begin(arrived);
            let ended = key.clone();
            self.tasks.spawn(async move {
                work.await;
                (ended, turn)
            });
            let session = Session {
                sender,
                began: turn,
                used: turn,
            };
            self.by_key.insert(key.clone(), session);
        }
        if let Some(session) = self.by_key.get_mut(key) {
            session.used = turn;
            let _ = session.sender.try_send(datagram);
        }
    }

    /// Ends the session that was silent longest, when there are as many as there may be.
    fn make_room(&mut self) {
        if self.by_key.len() < self.limit {
            return;
        }
        let oldest = self.by_key.iter().min_by_key(|(_, session)| session.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.by_key.remove(&key);
        }
    }

    /// Waits until one has ended, and takes it out; for ever while there is none. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(ended) => self.take_out(ended),
            None => std::future::pending().await,
        }
    }

    fn take_out_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.take_out(ended);
        }
    }

    fn take_out(&mut self, ended: Result<(K, u64), JoinError>) {
        let Ok((key, began)) = ended else {
            return;
        };
        let is_same = |session: &Session| session.began == began;
        if self.by_key.get(&key).is_some_and(is_same) {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use std::sync::{Arc, Mutex};

    use super::*;

    type Seen = Arc<Mutex<Vec<(u8, Bytes)>>>;

    /// Delivers a byte to the session `key`, which notes it.
    fn say(sessions: &mut Sessions<u8>, seen: &Seen, (key, byte): (u8, u8)) {
        let seen = seen.clone();
        sessions.deliver(
            &key,
            Bytes::copy_from_slice(&[byte]),
            |mut arrived| async move {
                while let Some(datagram) = arrived.recv().await {
                    seen.lock().unwrap().push((key, datagram));
                }
            },
        );
    }

    #[tokio::test]
    async fn one_past_the_limit_ends_the_session_that_was_silent_longest() {
        let (mut sessions, seen) = (Sessions::new(2), Seen::default());
        for pair in [(1, 10), (2, 20), (1, 11)] {
            say(&mut sessions, &seen, pair);
        }
        assert_eq!(sessions.by_key.len(), 2);
        say(&mut sessions, &seen, (3, 30));
        assert_eq!(sessions.by_key.len(), 2);
        assert!(!sessions.by_key.contains_key(&2));
        sessions.ended().await;
        // What had arrived for it is still carried.
        assert!(
            seen.lock()
                .unwrap()
                .contains(&(2, Bytes::from_static(&[20])))
        );
        assert_eq!(sessions.tasks.len(), 2);
    }

    #[tokio::test]
    async fn sessions_that_made_room_and_do_not_end_are_bounded_too() {
        let mut sessions = Sessions::new(2);
        let flood = |sessions: &mut Sessions<u8>, key| {
            sessions.deliver(&key, Bytes::new(), |_arrived| std::future::pending());
        };
        for key in 0..4 {
            flood(&mut sessions, key);
        }
        assert_eq!((sessions.tasks.len(), sessions.by_key.len()), (4, 2));
        flood(&mut sessions, 4);
        assert_eq!(sessions.tasks.len(), 4, "one past the bound");
        assert!(!sessions.by_key.contains_key(&4));
    }

    #[tokio::test]
    async fn a_full_queue_loses_the_newest() {
        let mut sessions = Sessions::new(1);
        let (taken, mut wait) = mpsc::channel(1);
        for _ in 0..=MAX_WAITING {
            let taken = taken.clone();
            sessions.deliver(&1_u8, Bytes::new(), |arrived| async move {
                taken.send(arrived).await.unwrap();
            });
        }
        let arrived = wait.recv().await.unwrap();
        assert_eq!(arrived.len(), MAX_WAITING);
    }

    #[tokio::test]
    async fn a_key_whose_session_has_ended_gets_a_new_one() {
        let mut sessions = Sessions::new(2);
        for _ in 0..2 {
            sessions.deliver(&1_u8, Bytes::new(), |arrived| async move { drop(arrived) });
            tokio::task::yield_now().await;
        }
        assert_eq!(sessions.tasks.len(), 2);
        sessions.ended().await;
        sessions.ended().await;
        assert!(sessions.by_key.is_empty());
    }
}
