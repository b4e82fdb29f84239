//! Whether datagrams come through at all: in some networks TCP alone does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Without any answer for so long after the first question, datagrams count as blocked: a node
/// across the world answers in half of it, and several are asked. Who is wrong has asked a few
/// relays by TCP in vain.
pub(crate) const BLOCKED_AFTER: Duration = Duration::from_millis(800);

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// When the DHT first asked somebody.
    asked: Mutex<Option<Instant>>,
    /// Something was answered.
    heard: AtomicBool,
    changed: Notify,
}

impl Reach {
    /// The DHT asks somebody.
    pub(crate) fn on_asked(&self, now: Instant) {
        if self.is_open() {
            return;
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_none() {
            *asked = Some(now);
            drop(asked);
            self.changed.notify_waiters();
        }
    }

    /// A message of the DHT came in on a socket.
    pub(crate) fn on_heard(&self) {
        if !self.is_open() {
            self.heard.store(true, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
    }

    /// What was heard was heard by another network: the next question begins the wait anew.
    pub(crate) fn on_network_change(&self) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = None;
        self.heard.store(false, Ordering::Relaxed);
        drop(asked);
        self.changed.notify_waiters();
    }

    /// Whether datagrams have come through.
    pub(crate) fn is_open(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// When datagrams count as blocked, if nothing is heard until then.
    fn blocked_at(&self) -> Option<Instant> {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .filter(|_| !self.is_open())
            .map(|at| at + BLOCKED_AFTER)
    }

    /// Waits until datagrams count as blocked.
    pub(crate) async fn blocked(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.blocked_at() {
                None => changed.await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn silence_after_the_first_question_counts_and_any_answer_ends_it() {
        let now = Instant::now();
        let reach = Reach::default();
        assert_eq!(reach.blocked_at(), None, "nobody was asked");
        reach.on_asked(now);
        reach.on_asked(now + Duration::from_secs(1));
        assert_eq!(reach.blocked_at(), Some(now + BLOCKED_AFTER));
        reach.on_heard();
        assert_eq!(reach.blocked_at(), None);
        assert!(reach.is_open());
    }

    #[test]
    fn in_another_network_datagrams_are_judged_anew() {
        let now = Instant::now();
        let reach = Reach::default();
        reach.on_asked(now);
        reach.on_heard();
        reach.on_network_change();
        assert!(!reach.is_open());
        assert_eq!(reach.blocked_at(), None, "nobody was asked since");
        let later = now + Duration::from_secs(9);
        reach.on_asked(later);
        assert_eq!(reach.blocked_at(), Some(later + BLOCKED_AFTER));
    }
}
