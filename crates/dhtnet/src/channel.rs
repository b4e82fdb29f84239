//! A channel as its users hold it: bytes both ways with half-close, or datagrams.

mod datagrams;
mod recv;
mod send;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use bytes::Bytes;
use dhtnet_channel_mux::{
    ChannelDatagramError, ChannelReadError, ChannelRequest, ChannelWriteError, DeclineReason,
    reset_code,
};
use dhtnet_identity::DeviceId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::datagrams::DatagramBatch;
pub use self::recv::RecvHalf;
pub use self::send::SendHalf;
use crate::core::ChannelKey;
use crate::error::ChannelError;
use crate::node::Handle;
use crate::report::ConnectionReport;
use crate::state::State;
use crate::state::channels::{Cell, Interest};

/// Codes that this library gives when a half is dropped before its end.
pub(crate) mod code {
    /// The half was dropped: its user gave up.
    pub(crate) const CANCELLED: u32 = 0;
}

/// Removes the channel from the table when its last half is gone.
pub(crate) struct Held {
    pub(crate) handle: Handle,
    pub(crate) key: ChannelKey,
    pub(crate) peer: DeviceId,
    pub(crate) request: ChannelRequest,
}

impl Held {
    /// Registers a channel of the mux; `accepted` when no answer is awaited.
    pub(crate) fn register(
        state: &mut State,
        handle: Handle,
        key: ChannelKey,
        peer: DeviceId,
        request: ChannelRequest,
        accepted: bool,
    ) -> Arc<Self> {
        state.channels.insert(key, Cell::new(accepted));
        state.core.hold(key.connection);
        Arc::new(Self {
            handle,
            key,
            peer,
            request,
        })
    }

    fn failure(&self, state: &State) -> ChannelError {
        state
            .channels
            .get(self.key)
            .and_then(Cell::failure)
            .unwrap_or(ChannelError::Closed)
    }

    /// Waits for `interest`, unless nothing can come any more.
    fn wait<T>(
        &self,
        state: &mut State,
        interest: Interest,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, ChannelError>> {
        if let Some(cell) = state.channels.get_mut(self.key) {
            if let Some(failure) = cell.failure() {
                return Poll::Ready(Err(failure));
            }
            return cell.wait(interest, cx);
        }
        Poll::Ready(Err(ChannelError::Closed))
    }

    /// Waits for the peer's answer to the request.
    pub(crate) async fn answered(&self) -> Result<(), ChannelError> {
        poll_fn(|cx| {
            let mut state = self.handle.shared().lock();
            let accepted = state
                .channels
                .get(self.key)
                .is_none_or(|cell| cell.accepted);
            if accepted {
                return Poll::Ready(Ok(()));
            }
            self.wait(&mut state, Interest::Answer, cx)
        })
        .await
    }

    /// The most telling of what is known: a decline, the peer's own code, the connection's end.
    fn write_error(&self, state: &State, error: ChannelWriteError) -> ChannelError {
        let told = state.channels.get(self.key).and_then(|cell| cell.stopped);
        match (error, self.failure(state), told) {
            (ChannelWriteError::WrongKind, ..) => ChannelError::WrongKind,
            (_, declined @ ChannelError::Declined(_), _) => declined,
            (ChannelWriteError::Stopped(code), ..) | (_, _, Some(code)) => {
                cut_by_peer(code).unwrap_or(ChannelError::Stopped(code))
            }
            (_, failure, None) => failure,
        }
    }

    fn read_error(&self, state: &State, error: ChannelReadError) -> ChannelError {
        match (error, self.failure(state)) {
            (ChannelReadError::WrongKind, _) => ChannelError::WrongKind,
            (_, declined @ ChannelError::Declined(_)) => declined,
            (ChannelReadError::Reset(code), _) => {
                cut_by_peer(code).unwrap_or(ChannelError::Reset(code))
            }
            (_, failure) => failure,
        }
    }

    fn poll_send_datagram(
        &self,
        cx: &mut Context<'_>,
        datagram: &Bytes,
    ) -> Poll<Result<(), ChannelError>> {
        let now = self.handle.now();
        self.handle.shared().with(|state| {
            let sent = state.core.with_mux(self.key.connection, |mux, link| {
                mux.send_datagram(link, now, self.key.channel, datagram)
            });
            match sent {
                Some(Ok(())) => Poll::Ready(Ok(())),
                Some(Err(ChannelDatagramError::Blocked)) => self.wait(state, Interest::Write, cx),
                Some(Err(error)) => Poll::Ready(Err(self.datagram_error(state, error))),
                None => Poll::Ready(Err(self.failure(state))),
            }
        })
    }

    fn poll_recv_datagram(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ChannelError>> {
        let now = self.handle.now();
        self.handle.shared().with(|state| {
            let received = state.core.with_mux(self.key.connection, |mux, link| {
                mux.recv_datagram(link, now, self.key.channel)
            });
            match received {
                Some(Ok(datagram)) => Poll::Ready(Ok(datagram)),
                Some(Err(ChannelReadError::Blocked)) => self.wait(state, Interest::Read, cx),
                Some(Err(error)) => Poll::Ready(Err(self.read_error(state, error))),
                None => Poll::Ready(Err(self.failure(state))),
            }
        })
    }
}

/// What the peer's own code for the end of a channel says, if it took the channel back.
pub(crate) fn cut_by_peer(code: u32) -> Option<ChannelError> {
    reset_code::as_cut(code).map(|code| ChannelError::Declined(DeclineReason::from(code)))
}

impl Drop for Held {
    fn drop(&mut self) {
        self.handle.shared().with(|state| {
            state.channels.remove(self.key);
            state.core.release(self.key.connection);
        });
    }
}

/// A channel to a peer.
///
/// A stream channel is a pair of byte streams that end separately: [`SendHalf::finish`] says that
/// no more comes, and the other direction goes on. Dropping a half before its end tells the peer
/// that it was given up, never that it was complete.
pub struct Channel {
    send: SendHalf,
    recv: RecvHalf,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = &self.send.held;
        write!(
            f,
            "Channel({} {} {:?})",
            held.peer.short(),
            held.request.name,
            held.key.channel
        )
    }
}

impl Channel {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self {
            send: SendHalf::new(held.clone()),
            recv: RecvHalf::new(held),
        }
    }

    /// Waits for the peer's answer to the request.
    pub(crate) async fn answered(&self) -> Result<(), ChannelError> {
        self.send.held.answered().await
    }

    /// The device at the other end, proved by its key.
    pub fn peer(&self) -> DeviceId {
        self.send.held.peer
    }

    /// What was asked for when the channel was opened.
    pub fn request(&self) -> &ChannelRequest {
        &self.send.held.request
    }

    /// The connection under the channel; `None` after it was lost.
    pub fn connection(&self) -> Option<ConnectionReport> {
        self.send.connection()
    }

    /// Splits into the two directions, for two tasks.
    pub fn split(self) -> (SendHalf, RecvHalf) {
        (self.send, self.recv)
    }

    /// Sends one datagram; waits while the queue to the network is full. Datagrams may be lost
    /// and overtake each other, but are never damaged or repeated. Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`], for a datagram that is too large with the largest size that goes.
    pub async fn send_datagram(&self, datagram: Bytes) -> io::Result<()> {
        let held = &self.send.held;
        Ok(poll_fn(|cx| held.poll_send_datagram(cx, &datagram)).await?)
    }

    /// The next datagram; `None` when the peer finished. Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn recv_datagram(&self) -> io::Result<Option<Bytes>> {
        let held = &self.send.held;
        Ok(poll_fn(|cx| held.poll_recv_datagram(cx)).await?)
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
