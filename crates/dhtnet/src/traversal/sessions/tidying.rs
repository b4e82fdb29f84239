//! Which sessions are of no use any more.

use std::time::Instant;

use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::offer::SessionId;

use super::{Entry, GRACE, Inner, Sessions, TIDY};

impl Sessions {
    /// Whether it is time to say who is connected; see [`Sessions::tidy`].
    pub(crate) fn is_untidy(&self, now: Instant) -> bool {
        self.lock().next_tidy.is_some_and(|due| due <= now)
    }

    /// Ends sessions that nobody waits for and no connection needs.
    pub(crate) fn tidy(&self, now: Instant, is_connected: impl Fn(&DeviceId) -> bool) {
        let mut inner = self.lock();
        let gone: Vec<SessionId> = inner
            .sessions
            .iter()
            .filter(|(id, entry)| {
                let fresh = entry
                    .found
                    .is_some_and(|at| now.saturating_duration_since(at) < GRACE);
                let in_use = entry.found.is_some()
                    && is_connected(&entry.peer)
                    && !inner.is_replaced(**id, entry);
                !fresh && !in_use && (entry.over || !entry.wanted)
            })
            .map(|(id, _)| *id)
            .collect();
        let some_ended = !gone.is_empty();
        for id in gone {
            inner.remove(id);
        }
        if some_ended {
            self.ended.notify_waiters();
        }
        inner.next_tidy = (!inner.sessions.is_empty()).then_some(now + TIDY);
    }
}

impl Inner {
    /// Whether a later session of the same peer keeps all that this one does: a connection that
    /// lives for long looks for better paths many times.
    fn is_replaced(&self, id: SessionId, entry: &Entry) -> bool {
        let mut all = self.sessions.values();
        let has_sockets = self.sockets.values().any(|of| *of == id);
        !has_sockets
            && all.any(|other| {
                other.peer == entry.peer
                    && other.serial > entry.serial
                    && other.found.is_some()
                    && other.relays.is_superset(&entry.relays)
            })
    }
}
