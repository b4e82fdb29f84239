//! Received datagrams of one channel, bounded in bytes; the oldest go first.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::DATAGRAM_OVERHEAD;

/// The queue. Each entry counts its payload and [`DATAGRAM_OVERHEAD`].
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: VecDeque<Bytes>,
    bytes: usize,
}

impl Inbox {
    /// Queues a datagram and drops the oldest ones until no more than `max` bytes are queued.
    /// Returns how many were dropped, the new one among them if it does not fit by itself.
    pub(crate) fn push(&mut self, payload: Bytes, max: usize) -> usize {
        let cost = cost(&payload);
        if cost > max {
            return 1;
        }
        let mut dropped = 0;
        while self.bytes + cost > max && self.pop().is_some() {
            dropped += 1;
        }
        self.bytes += cost;
        self.queue.push_back(payload);
        dropped
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let payload = self.queue.pop_front()?;
        self.bytes -= cost(&payload);
        Some(payload)
    }

    /// Forgets all and gives back the memory.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(payload: &Bytes) -> usize {
    payload.len() + DATAGRAM_OVERHEAD
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_queue_at_its_bound_keeps_all_and_one_byte_past_it_drops_the_oldest() {
        let mut inbox = Inbox::default();
        let max = 2 * (10 + DATAGRAM_OVERHEAD);
        assert_eq!(inbox.push(Bytes::from_static(&[1; 10]), max), 0);
        assert_eq!(inbox.push(Bytes::from_static(&[2; 10]), max), 0);
        assert_eq!((inbox.len(), inbox.bytes()), (2, max));
        assert_eq!(inbox.push(Bytes::from_static(&[]), max), 1);
        assert_eq!(inbox.pop().unwrap(), [2; 10][..]);
        assert_eq!(inbox.pop().unwrap(), [][..]);
        assert_eq!((inbox.len(), inbox.bytes()), (0, 0));
    }

    #[test]
    fn a_datagram_that_never_fits_leaves_the_others_alone() {
        let mut inbox = Inbox::default();
        let max = 10 + DATAGRAM_OVERHEAD;
        assert_eq!(inbox.push(Bytes::from_static(&[1; 10]), max), 0);
        assert_eq!(inbox.push(Bytes::from_static(&[2; 11]), max), 1);
        assert_eq!(inbox.pop().unwrap(), [1; 10][..]);
    }
}
