//! The receiving direction of a channel.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use dhtnet_channel_mux::ChannelReadError;
use tokio::io::{AsyncRead, ReadBuf};

use super::{Held, code};
use crate::error::ChannelError;
use crate::state::channels::Interest;

/// The receiving direction of a channel; see [`Channel::split`](crate::Channel::split).
pub struct RecvHalf {
    held: Arc<Held>,
    /// Left over when a reader's buffer was smaller than a block.
    rest: Bytes,
    ended: bool,
    failure: Option<ChannelError>,
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RecvHalf({:?}, ended: {})",
            self.held.key.channel, self.ended
        )
    }
}

impl RecvHalf {
    pub(super) fn new(held: Arc<Held>) -> Self {
        Self {
            held,
            rest: Bytes::new(),
            ended: false,
            failure: None,
        }
    }

    /// The next block of at most `max` bytes without copying it; `None` when the peer finished
    /// and everything was read. Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn read_chunk(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(self.rest.split_to(max.min(self.rest.len()))));
        }
        let mut chunk = [Bytes::new()];
        let filled = poll_fn(|cx| self.poll_read_chunks(cx, &mut chunk, max)).await?;
        Ok(filled.map(|_| std::mem::take(&mut chunk[0])))
    }

    /// Fills the front of `chunks` with the blocks that are there, waiting for the first.
    /// Returns how many were filled, `None` when the peer finished and everything was read.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn read_chunks(&mut self, chunks: &mut [Bytes]) -> io::Result<Option<usize>> {
        if !self.rest.is_empty() && !chunks.is_empty() {
            chunks[0] = std::mem::take(&mut self.rest);
            return Ok(Some(1));
        }
        Ok(poll_fn(|cx| self.poll_read_chunks(cx, chunks, usize::MAX)).await?)
    }

    fn poll_read_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
        max: usize,
    ) -> Poll<Result<Option<usize>, ChannelError>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Err(failure));
        }
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let Self {
            held,
            ended,
            failure,
            ..
        } = self;
        let now = held.handle.now();
        held.handle.shared().with(|state| {
            let mut filled = 0;
            let mut last = Ok(());
            let reached = state.core.with_mux(held.key.connection, |mux, link| {
                while filled < chunks.len() {
                    match mux.read(link, now, held.key.channel, max) {
                        Ok(Some(chunk)) => {
                            chunks[filled] = chunk;
                            filled += 1;
                        }
                        Ok(None) => {
                            *ended = true;
                            break;
                        }
                        Err(error) => {
                            last = Err(error);
                            break;
                        }
                    }
                }
            });
            let error = match (reached, last) {
                (None, _) => held.failure(state),
                (Some(()), Err(ChannelReadError::Blocked)) if filled == 0 => {
                    return held.wait(state, Interest::Read, cx);
                }
                (Some(()), Ok(()) | Err(ChannelReadError::Blocked)) => {
                    return Poll::Ready(Ok((filled > 0).then_some(filled)));
                }
                (Some(()), Err(error)) => held.read_error(state, error),
            };
            if filled == 0 {
                return Poll::Ready(Err(error));
            }
            // What was read before the error is handed out first.
            *failure = Some(error);
            Poll::Ready(Ok(Some(filled)))
        })
    }

    /// Gives this direction up: the peer is told to stop sending, with a code of the application.
    pub fn stop(&mut self, code: u32) {
        if !std::mem::replace(&mut self.ended, true) {
            let (now, key) = (self.held.handle.now(), self.held.key);
            self.held.handle.shared().with(|state| {
                state.core.with_mux(key.connection, |mux, link| {
                    // A channel that is gone sends nothing.
                    let _ = mux.stop(link, now, key.channel, code);
                });
            });
        }
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        self.stop(code::CANCELLED);
    }
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.rest.is_empty() {
            let mut chunk = [Bytes::new()];
            let filled = std::task::ready!(self.poll_read_chunks(cx, &mut chunk, usize::MAX))?;
            if filled.is_none() {
                return Poll::Ready(Ok(()));
            }
            self.rest = std::mem::take(&mut chunk[0]);
        }
        let len = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..len]);
        self.rest.advance(len);
        Poll::Ready(Ok(()))
    }
}
