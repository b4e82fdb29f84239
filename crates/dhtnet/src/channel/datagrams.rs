//! Datagrams in batches, without a copy and with one lock for all.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use dhtnet_channel_mux::{ChannelDatagramError, ChannelReadError};

use super::{Channel, Held};
use crate::error::ChannelError;
use crate::state::State;
use crate::state::channels::Interest;

/// Memory is taken in pieces of this size, so that a batch costs an allocation in some forty
/// datagrams; a piece lives as long as a datagram in it. The most that the kernel joins.
const PIECE: usize = 64 << 10;

/// Datagrams handed over under one lock, so that the driver and other channels get their turn.
const MAX_UNDER_LOCK: usize = 256;

/// Datagrams of one channel on their way out, in memory that they share; made by
/// [`Channel::datagram_batch`].
#[derive(Debug)]
pub struct DatagramBatch {
    prefix: Vec<u8>,
    memory: BytesMut,
    queue: VecDeque<Bytes>,
}

impl DatagramBatch {
    /// Adds the datagram that `write` appends to the memory it is given, which is of `len` bytes
    /// or so; more or fewer are no error. What stands there before must be left alone.
    pub fn push(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) {
        let needed = self.prefix.len() + len;
        if self.memory.capacity() < needed {
            self.memory.reserve(needed.max(PIECE));
        }
        self.memory.extend_from_slice(&self.prefix);
        write(&mut self.memory);
        self.queue.push_back(self.memory.split().freeze());
    }

    /// Datagrams that were not sent yet.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether all were sent.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Forgets what was not sent; returns how many that were.
    pub fn clear(&mut self) -> usize {
        let len = self.queue.len();
        self.queue.clear();
        len
    }
}

impl Held {
    fn poll_send_datagrams(
        &self,
        cx: &mut Context<'_>,
        batch: &mut DatagramBatch,
    ) -> Poll<Result<(), ChannelError>> {
        loop {
            let sent = self.try_send_datagrams(batch);
            match sent {
                Ok(()) if batch.is_empty() => return Poll::Ready(Ok(())),
                Ok(()) => {}
                Err(ChannelDatagramError::Blocked) => {
                    // Room may have come since the lock was given back.
                    let mut state = self.handle.shared().lock();
                    match self.wait(&mut state, Interest::Write, cx) {
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(())) | Poll::Pending => {}
                    }
                    drop(state);
                    match self.try_send_datagrams(batch) {
                        Err(ChannelDatagramError::Blocked) => return Poll::Pending,
                        Ok(()) => {}
                        Err(error) => return Poll::Ready(Err(self.told(error))),
                    }
                }
                Err(error) => return Poll::Ready(Err(self.told(error))),
            }
        }
    }

    /// Sends what there is room for. A datagram that is too large is taken out of the batch.
    fn try_send_datagrams(&self, batch: &mut DatagramBatch) -> Result<(), ChannelDatagramError> {
        let now = self.handle.now();
        let channel = self.key.channel;
        self.handle.shared().with(|state| {
            let sent = state.core.with_mux(self.key.connection, |mux, link| {
                for _ in 0..MAX_UNDER_LOCK {
                    let Some(datagram) = batch.queue.front() else {
                        return Ok(());
                    };
                    let sent = mux.send_prefixed_datagram(link, now, channel, datagram.clone());
                    if !matches!(sent, Err(ChannelDatagramError::Blocked)) {
                        batch.queue.pop_front();
                    }
                    sent?;
                }
                Ok(())
            });
            sent.unwrap_or(Err(ChannelDatagramError::Closed))
        })
    }

    pub(super) fn datagram_error(
        &self,
        state: &State,
        error: ChannelDatagramError,
    ) -> ChannelError {
        match error {
            ChannelDatagramError::TooLarge { max } => ChannelError::DatagramTooLarge { max },
            ChannelDatagramError::Unsupported => ChannelError::DatagramsUnsupported,
            ChannelDatagramError::Stopped(code) => {
                super::cut_by_peer(code).unwrap_or(ChannelError::Stopped(code))
            }
            ChannelDatagramError::WrongKind => ChannelError::WrongKind,
            _ => self.failure(state),
        }
    }

    fn told(&self, error: ChannelDatagramError) -> ChannelError {
        self.datagram_error(&self.handle.shared().lock(), error)
    }

    fn poll_recv_datagrams(
        &self,
        cx: &mut Context<'_>,
        (into, max): (&mut Vec<Bytes>, usize),
    ) -> Poll<Result<usize, ChannelError>> {
        let now = self.handle.now();
        let before = into.len();
        self.handle.shared().with(|state| {
            let received = state.core.with_mux(self.key.connection, |mux, link| {
                while into.len() - before < max {
                    match mux.recv_datagram(link, now, self.key.channel)? {
                        Some(datagram) => into.push(datagram),
                        None => break,
                    }
                }
                Ok(())
            });
            let taken = into.len() - before;
            match received {
                // What comes after them is told when they are gone.
                _ if taken > 0 => Poll::Ready(Ok(taken)),
                Some(Ok(())) => Poll::Ready(Ok(0)),
                Some(Err(ChannelReadError::Blocked)) => self.wait(state, Interest::Read, cx),
                Some(Err(error)) => Poll::Ready(Err(self.read_error(state, error))),
                None => Poll::Ready(Err(self.failure(state))),
            }
        })
    }
}

impl Channel {
    /// An empty batch for [`Channel::send_datagrams`].
    ///
    /// # Errors
    /// [`ChannelError`], for a stream channel and for one that is over.
    pub fn datagram_batch(&self) -> io::Result<DatagramBatch> {
        let held = &self.send.held;
        let mut prefix = Vec::new();
        let known = held.handle.shared().with(|state| {
            let asked = state.core.with_mux(held.key.connection, |mux, _| {
                mux.datagram_prefix(held.key.channel, &mut prefix)
            });
            asked.unwrap_or(Err(ChannelDatagramError::Closed))
        });
        known.map_err(|error| held.told(error))?;
        Ok(DatagramBatch {
            prefix,
            memory: BytesMut::new(),
            queue: VecDeque::new(),
        })
    }

    /// Sends all datagrams of a batch of this channel, which is empty then; waits while the queue
    /// to the network is full. As [`Channel::send_datagram`] for each, at a fraction of the cost.
    /// Cancel-safe: what is left in the batch was not sent.
    ///
    /// # Errors
    /// [`ChannelError`]. After [`ChannelError::DatagramTooLarge`] the datagram is out of the batch,
    /// and the call can be repeated.
    pub async fn send_datagrams(&self, batch: &mut DatagramBatch) -> io::Result<()> {
        let held = &self.send.held;
        Ok(poll_fn(|cx| held.poll_send_datagrams(cx, batch)).await?)
    }

    /// As [`Channel::send_datagrams`], for those that there is room for now; the others stay in
    /// the batch.
    ///
    /// # Errors
    /// As [`Channel::send_datagrams`].
    pub fn try_send_datagrams(&self, batch: &mut DatagramBatch) -> io::Result<()> {
        let held = &self.send.held;
        while !batch.is_empty() {
            match held.try_send_datagrams(batch) {
                Ok(()) => {}
                Err(ChannelDatagramError::Blocked) => break,
                Err(error) => return Err(held.told(error).into()),
            }
        }
        Ok(())
    }

    /// Waits for datagrams and appends at most `max` of those that are there to `into`; returns
    /// how many. 0 when the peer finished. Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn recv_datagrams(&self, into: &mut Vec<Bytes>, max: usize) -> io::Result<usize> {
        let held = &self.send.held;
        Ok(poll_fn(|cx| held.poll_recv_datagrams(cx, (into, max))).await?)
    }

    /// Largest datagram that goes now, in bytes; it changes with the path. `None` if none goes.
    pub fn max_datagram_size(&self) -> Option<usize> {
        let held = &self.send.held;
        held.handle.shared().with(|state| {
            let size = state.core.with_mux(held.key.connection, |mux, link| {
                mux.max_datagram_size(&*link, held.key.channel)
            });
            size.flatten()
        })
    }
}
