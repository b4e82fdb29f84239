//! The sending direction of a channel.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dhtnet_channel_mux::{ChannelRequest, ChannelWriteError};
use tokio::io::AsyncWrite;

use super::{Channel, Held, code, cut_by_peer};
use crate::connect::{self, ConnectOptions};
use crate::error::{ChannelError, ConnectError};
use crate::report::ConnectionReport;
use crate::state::channels::Interest;

/// Most bytes copied by one `poll_write`, so that one call cannot hold the lock for long.
const MAX_COPY: usize = 256 * 1024;

/// The sending direction of a channel; see [`Channel::split`](crate::Channel::split).
pub struct SendHalf {
    pub(super) held: Arc<Held>,
    ended: bool,
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SendHalf({:?}, ended: {})",
            self.held.key.channel, self.ended
        )
    }
}

impl SendHalf {
    pub(super) fn new(held: Arc<Held>) -> Self {
        Self { held, ended: false }
    }

    /// Sends a block without copying it. Waits for room, so that a fast writer is slowed to the
    /// speed of the path and the reader. Not cancel-safe: part of the block may have been sent.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn write_chunk(&mut self, chunk: Bytes) -> io::Result<()> {
        let mut chunks = [chunk];
        poll_fn(|cx| self.poll_write_all(cx, &mut chunks)).await
    }

    /// Sends all blocks of the queue, front first, without copying. Cancel-safe: what is left in
    /// the queue was not sent.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn write_chunks(&mut self, chunks: &mut VecDeque<Bytes>) -> io::Result<()> {
        poll_fn(|cx| {
            let result = self.poll_write_all(cx, chunks.make_contiguous());
            while chunks.front().is_some_and(Bytes::is_empty) {
                chunks.pop_front();
            }
            result
        })
        .await
    }

    fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<()>> {
        let mut from = 0;
        loop {
            while chunks.get(from).is_some_and(Bytes::is_empty) {
                from += 1;
            }
            if from == chunks.len() {
                return Poll::Ready(Ok(()));
            }
            std::task::ready!(self.poll_write_some(cx, &mut chunks[from..]))?;
        }
    }

    fn poll_write_some(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<usize, ChannelError>> {
        if self.ended {
            return Poll::Ready(Err(ChannelError::Closed));
        }
        let held = &self.held;
        let now = held.handle.now();
        held.handle.shared().with(|state| {
            let written = state.core.with_mux(held.key.connection, |mux, link| {
                mux.write(link, now, held.key.channel, chunks)
            });
            match written {
                Some(Ok(bytes)) => Poll::Ready(Ok(bytes)),
                Some(Err(ChannelWriteError::Blocked)) => held.wait(state, Interest::Write, cx),
                Some(Err(error)) => Poll::Ready(Err(held.write_error(state, error))),
                None => Poll::Ready(Err(held.failure(state))),
            }
        })
    }

    /// Ends this direction after all that was written; the peer reads an orderly end. The other
    /// direction goes on.
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let (now, key) = (self.held.handle.now(), self.held.key);
            self.held.handle.shared().with(|state| {
                let finished = state.core.with_mux(key.connection, |mux, link| {
                    mux.finish(link, now, key.channel)
                });
                // A channel that is gone has nothing left to finish.
                if let Some(Ok(())) = finished {
                    state.channels.begin_flush(key);
                }
            });
        }
    }

    /// Gives this direction up with a code of the application; the peer reads an error.
    pub fn reset(&mut self, code: u32) {
        if !std::mem::replace(&mut self.ended, true) {
            let (now, key) = (self.held.handle.now(), self.held.key);
            self.held.handle.shared().with(|state| {
                state.core.with_mux(key.connection, |mux, link| {
                    let _ = mux.reset(link, now, key.channel, code);
                });
            });
        }
    }

    /// After [`SendHalf::finish`]: waits until the peer has acknowledged every byte and the end.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`] when the peer stopped reading or the connection was lost before.
    pub async fn flushed(&mut self) -> io::Result<()> {
        let held = &self.held;
        Ok(poll_fn(|cx| {
            held.handle.shared().with(|state| {
                let Some(cell) = state.channels.get(held.key) else {
                    return Poll::Ready(Err(ChannelError::Closed));
                };
                match (cell.finished, cell.stopped) {
                    (true, _) => Poll::Ready(Ok(())),
                    (false, Some(code)) => {
                        let cut = cut_by_peer(code);
                        Poll::Ready(Err(cut.unwrap_or(ChannelError::Stopped(code))))
                    }
                    (false, None) => held.wait(state, Interest::Finish, cx),
                }
            })
        })
        .await?)
    }

    /// Waits until the peer no longer reads this direction: the code it gave, or `None` when
    /// everything up to the end was acknowledged. Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`] when the connection is lost.
    pub async fn stopped(&mut self) -> io::Result<Option<u32>> {
        match self.flushed().await {
            Ok(()) => Ok(None),
            Err(error) => match ChannelError::from_io(&error) {
                Some(ChannelError::Stopped(code)) => Ok(Some(*code)),
                _ => Err(error),
            },
        }
    }

    /// Waits until the channel is lost as a whole: the policy here takes it back, or the connection
    /// ends. An end that the peer gives one direction is none. For who neither reads nor writes for
    /// a while. One task of a channel may wait so; the future does not borrow the half.
    pub fn lost(&self) -> impl Future<Output = ChannelError> + Send + use<> {
        let held = self.held.clone();
        async move {
            let lost = poll_fn(|cx| {
                let mut state = held.handle.shared().lock();
                held.wait::<std::convert::Infallible>(&mut state, Interest::Loss, cx)
            });
            match lost.await {
                Ok(never) => match never {},
                Err(error) => error,
            }
        }
    }

    /// Opens another channel on the same connection. Unlike
    /// [`Node::connect_with`](crate::Node::connect_with) it never reaches another program of the
    /// peer, and makes no new connection.
    ///
    /// # Errors
    /// [`ConnectError`]: as there, and when the connection is over or closing.
    pub async fn open_beside(
        &self,
        request: &ChannelRequest,
        options: ConnectOptions,
    ) -> Result<Channel, ConnectError> {
        connect::open_beside(&self.held, request, options).await
    }

    /// The connection under the channel; `None` after it was lost.
    pub fn connection(&self) -> Option<ConnectionReport> {
        ConnectionReport::of(
            &self.held.handle.shared().lock(),
            self.held.key.connection,
            self.held.handle.now(),
        )
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        self.reset(code::CANCELLED);
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let copy = &bytes[..bytes.len().min(MAX_COPY)];
        let mut chunks = [Bytes::copy_from_slice(copy)];
        self.poll_write_some(cx, &mut chunks)
            .map_err(io::Error::from)
    }

    /// What was written is on its way without a flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The same as [`SendHalf::finish`].
    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}
