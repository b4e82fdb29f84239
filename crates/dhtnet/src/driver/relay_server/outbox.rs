//! What one round of the relay sends: joined to batches while the relay is locked, sent after.

use std::net::SocketAddr;
use std::sync::Arc;

use super::streams::Outlet;
use crate::driver::sockets::{Sender, SendsBatches, SingleSocket, Way};

/// Bytes that one call of the kernel takes: a length of IPv4, less the headers.
const MAX_BATCH_LEN: usize = 65_000;

/// Where something leaves.
#[derive(Clone)]
pub(super) enum Exit {
    /// A shared socket, to a client.
    Shared(Arc<Sender>, Way),
    /// A client's socket, to a peer.
    Relayed(Arc<SingleSocket>, SocketAddr),
    /// A stream, to a client.
    Stream(Arc<Outlet>),
}

impl Exit {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Shared(a, to), Self::Shared(b, too)) => Arc::ptr_eq(a, b) && to == too,
            (Self::Relayed(a, to), Self::Relayed(b, too)) => Arc::ptr_eq(a, b) && to == too,
            (Self::Stream(a), Self::Stream(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    fn max_segments(&self) -> usize {
        match self {
            Self::Shared(socket, _) => socket.max_segments(),
            Self::Relayed(socket, _) => socket.max_segments(),
            Self::Stream(_) => usize::MAX,
        }
    }
}

/// Payloads with one way.
struct Batch {
    exit: Exit,
    bytes: Vec<u8>,
    /// Where each payload ends.
    ends: Vec<usize>,
}

impl Batch {
    /// Whether one more payload of this length can go in the same call. All but the last are of
    /// one length, except in streams.
    fn has_room(&self, len: usize) -> bool {
        if self.bytes.len() + len > MAX_BATCH_LEN || self.ends.len() >= self.exit.max_segments() {
            return false;
        }
        let Some(&segment) = self.ends.first() else {
            return true;
        };
        matches!(self.exit, Exit::Stream(_))
            || len <= segment && self.bytes.len() == segment * self.ends.len()
    }

    /// Returns how many payloads were lost.
    fn send(&self) -> usize {
        let segment = self.ends.first().copied().unwrap_or_default();
        let gone = match &self.exit {
            Exit::Shared(socket, way) => socket.try_send(*way, segment, &self.bytes),
            Exit::Relayed(socket, to) => {
                let way = Way {
                    to: *to,
                    from: None,
                };
                socket.try_send(way, segment, &self.bytes)
            }
            Exit::Stream(outlet) => return outlet.write(&self.bytes, &self.ends),
        };
        if gone { 0 } else { self.ends.len() }
    }
}

/// What is to be sent, in order.
#[derive(Default)]
pub(in crate::driver) struct Outbox {
    batches: Vec<Batch>,
    /// Emptied ones, to be filled again.
    spare: Vec<(Vec<u8>, Vec<usize>)>,
}

/// Emptied batches that are kept: as many messages as are received at once.
const MAX_SPARE: usize = 32;

impl Outbox {
    pub(super) fn push(&mut self, exit: Exit, payload: &[u8]) {
        let last = self.batches.last_mut();
        let fitting =
            last.filter(|batch| batch.exit.is_same(&exit) && batch.has_room(payload.len()));
        let batch = match fitting {
            Some(batch) => batch,
            None => {
                let (bytes, ends) = self.spare.pop().unwrap_or_default();
                self.batches.push(Batch { exit, bytes, ends });
                let Some(batch) = self.batches.last_mut() else {
                    return;
                };
                batch
            }
        };
        batch.bytes.extend_from_slice(payload);
        batch.ends.push(batch.bytes.len());
    }

    /// Sends everything. Returns how many payloads were lost.
    pub(super) fn flush(&mut self) -> usize {
        let mut lost = 0;
        for mut batch in self.batches.drain(..) {
            lost += batch.send();
            if self.spare.len() < MAX_SPARE {
                batch.bytes.clear();
                batch.ends.clear();
                self.spare.push((batch.bytes, batch.ends));
            }
        }
        lost
    }
}
