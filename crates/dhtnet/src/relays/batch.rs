//! Wrapped datagrams on their way to a relay, joined as far as the kernel sends them at once.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Bytes of the largest batch, below the 65,507 of an IPv4 datagram.
const MAX_BATCH_BYTES: usize = 65_000;

/// Buffers kept for the next batches.
const MAX_SPARE: usize = 4;

/// How a relay is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leg {
    /// By datagrams to this address.
    Datagrams(SocketAddr),
    /// By the stream of this allocation.
    Stream(u16),
}

/// Datagrams of `segment` bytes, the last may be shorter; or bytes for a stream.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) leg: Leg,
    pub(crate) bytes: Vec<u8>,
    pub(crate) segment: usize,
    /// A shorter one was added: nothing can follow.
    full: bool,
}

/// What waits to be sent to relays.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    batches: VecDeque<Batch>,
    spare: Vec<Vec<u8>>,
}

impl Queue {
    /// Adds a datagram that `write` appends; to the last batch where it fits. Nothing is added
    /// when that fails.
    pub(super) fn append<E>(
        &mut self,
        leg: Leg,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let open = |last: &&mut Batch| last.leg == leg && !last.full;
        if self.batches.back_mut().filter(open).is_none() {
            self.begin(leg);
        }
        let Some(last) = self.batches.back_mut() else {
            return Ok(());
        };
        let start = last.bytes.len();
        let written = write(&mut last.bytes);
        let len = last.bytes.len() - start;
        if start == 0 {
            last.segment = len;
        }
        let too_long = len > last.segment && matches!(leg, Leg::Datagrams(_));
        if written.is_ok() && start > 0 && (too_long || last.bytes.len() > MAX_BATCH_BYTES) {
            let tail = last.bytes.split_off(start);
            last.full = true;
            self.begin(leg);
            if let Some(last) = self.batches.back_mut() {
                last.bytes.extend_from_slice(&tail);
                last.segment = len;
            }
        } else if written.is_ok() && len < last.segment {
            last.full = matches!(leg, Leg::Datagrams(_));
        }
        if self.batches.back().is_some_and(|b| b.bytes.is_empty()) {
            self.done();
        }
        written
    }

    /// Adds a message that nothing is joined to.
    pub(crate) fn push(&mut self, leg: Leg, message: &[u8]) {
        self.begin(leg);
        if let Some(last) = self.batches.back_mut() {
            last.bytes.extend_from_slice(message);
            last.segment = message.len();
            last.full = true;
        }
    }

    pub(crate) fn front(&self) -> Option<&Batch> {
        self.batches.front()
    }

    /// The first batch has left.
    pub(crate) fn pop(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.keep(batch.bytes);
        }
    }

    /// The last batch stays empty.
    fn done(&mut self) {
        if let Some(batch) = self.batches.pop_back() {
            self.keep(batch.bytes);
        }
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    fn begin(&mut self, leg: Leg) {
        let bytes = self.spare.pop().unwrap_or_default();
        self.batches.push_back(Batch {
            leg,
            bytes,
            segment: 0,
            full: false,
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn relay(port: u16) -> Leg {
        Leg::Datagrams(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    fn append(queue: &mut Queue, leg: Leg, len: usize) {
        let write = |bytes: &mut Vec<u8>| {
            bytes.resize(bytes.len() + len, 7);
            Ok::<(), ()>(())
        };
        queue.append(leg, write).unwrap();
    }

    /// Length and segment of each batch.
    fn batches(queue: &mut Queue) -> Vec<(usize, usize)> {
        std::iter::from_fn(|| {
            let batch = queue.front().map(|b| (b.bytes.len(), b.segment))?;
            queue.pop();
            Some(batch)
        })
        .collect()
    }

    #[test]
    fn equal_datagrams_are_joined_and_a_shorter_one_ends_the_batch() {
        let mut queue = Queue::default();
        for len in [100, 100, 100, 60, 60, 80] {
            append(&mut queue, relay(1), len);
        }
        assert_eq!(batches(&mut queue), [(360, 100), (60, 60), (80, 80)]);
        append(&mut queue, relay(1), 100);
        append(&mut queue, relay(2), 100);
        assert_eq!(batches(&mut queue), [(100, 100), (100, 100)]);
    }

    #[test]
    fn a_batch_takes_its_bound_and_not_one_more() {
        let mut queue = Queue::default();
        for _ in 0..66 {
            append(&mut queue, relay(1), 1_000);
        }
        assert_eq!(batches(&mut queue), [(65_000, 1_000), (1_000, 1_000)]);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let mut queue = Queue::default();
        assert_eq!(queue.append(relay(1), |_| Err(())), Err(()));
        assert!(queue.front().is_none());
        append(&mut queue, relay(1), 10);
        assert_eq!(queue.append(relay(1), |_| Err(())), Err(()));
        append(&mut queue, relay(1), 10);
        assert_eq!(batches(&mut queue).iter().map(|b| b.0).sum::<usize>(), 20);
        queue.push(Leg::Stream(3), b"request");
        append(&mut queue, Leg::Stream(3), 9);
        assert_eq!(batches(&mut queue), [(7, 7), (9, 9)]);
    }
}
