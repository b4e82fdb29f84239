//! Checks that were not answered yet.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::candidate::SocketId;
use crate::stun::TransactionId;

/// Most checks that are waited for: all of a punch, and as much again.
pub const MAX_OUTSTANDING: usize = 2_048;

/// How long an answer is waited for: long enough for a path through two satellites.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A check that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// From where.
    pub socket: SocketId,
    /// To where.
    pub remote: SocketAddr,
    /// When.
    pub at: Instant,
}

/// The checks that are waited for. When there are too many, the oldest is given up.
#[derive(Debug, Default)]
pub struct Outstanding {
    sent: BTreeMap<TransactionId, Sent>,
    order: VecDeque<(Instant, TransactionId)>,
}

impl Outstanding {
    /// Notes a check.
    pub fn insert(&mut self, id: TransactionId, sent: Sent) {
        while self.order.front().is_some_and(|(at, _)| {
            self.order.len() >= MAX_OUTSTANDING || sent.at.saturating_duration_since(*at) > PATIENCE
        }) {
            if let Some((_, old)) = self.order.pop_front() {
                self.sent.remove(&old);
            }
        }
        self.sent.insert(id, sent);
        self.order.push_back((sent.at, id));
    }

    /// The check that an answer from `remote` to `socket` belongs to. An answer from elsewhere
    /// than the check went to counts for nothing (RFC 8445 section 7.2.5.2.1).
    pub fn take(
        &mut self,
        now: Instant,
        id: TransactionId,
        (socket, remote): (SocketId, SocketAddr),
    ) -> Option<Sent> {
        let sent = *self.sent.get(&id)?;
        let fresh = now.saturating_duration_since(sent.at) <= PATIENCE;
        if !fresh || sent.socket != socket || sent.remote != remote {
            return None;
        }
        self.sent.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use super::*;

    fn id(number: u16) -> TransactionId {
        let mut bytes = [0; 12];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        TransactionId::from_bytes(bytes)
    }

    fn sent(at: Instant) -> Sent {
        Sent {
            socket: SocketId::MAIN,
            remote: "192.0.2.1:9".parse().unwrap(),
            at,
        }
    }

    #[test]
    fn an_answer_counts_once_from_where_it_was_asked_and_in_time() {
        let now = Instant::now();
        let mut all = Outstanding::default();
        all.insert(id(1), sent(now));
        let there = (SocketId::MAIN, sent(now).remote);
        let elsewhere = (SocketId::MAIN, "192.0.2.1:8".parse().unwrap());
        assert_eq!(all.take(now, id(1), elsewhere), None);
        assert_eq!(all.take(now, id(1), (SocketId(1), there.1)), None);
        assert_eq!(all.take(now, id(2), there), None);
        assert_eq!(all.take(now, id(1), there), Some(sent(now)));
        assert_eq!(all.take(now, id(1), there), None);
        all.insert(id(3), sent(now));
        let late = now + PATIENCE + Duration::from_nanos(1);
        assert_eq!(all.take(late, id(3), there), None);
    }

    #[test]
    fn the_oldest_goes_when_one_past_the_bound_comes() {
        let now = Instant::now();
        let mut all = Outstanding::default();
        for number in 0..=MAX_OUTSTANDING as u16 {
            all.insert(id(number), sent(now));
        }
        assert_eq!(all.sent.len(), MAX_OUTSTANDING);
        assert_eq!(all.order.len(), MAX_OUTSTANDING);
        let there = (SocketId::MAIN, sent(now).remote);
        assert_eq!(all.take(now, id(0), there), None);
        assert!(all.take(now, id(1), there).is_some());
        all.insert(id(9_999), sent(now + PATIENCE * 2));
        assert_eq!((all.sent.len(), all.order.len()), (1, 1));
    }
}
