//! Moves the allocations at relays: their messages, their time, and the streams to them.

mod connect;

pub(super) use self::connect::connect;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Driver, Intake, Mark};
use crate::core::path::{PathAddress, Via};
use crate::relays::{Order, Relays};

/// Bytes of datagrams that may wait for a stream: a fifth of a second at 10 Mbit/s. What comes
/// then is dropped, as on any path that is full.
const MAX_WAITING: usize = 256 << 10;

/// Bytes taken from a stream at once.
const READ_LEN: usize = 64 << 10;

/// Times that a stream is read before others get their turn.
const READ_ROUNDS: usize = 4;

/// Messages to relays in one round; more than all allocations together have.
const MESSAGE_ROUNDS: usize = 256;

/// A stream of bytes, encrypted or not.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

enum Stage {
    Connecting(Connecting),
    Open(Box<dyn Wire>),
}

struct Stream {
    stage: Stage,
    waiting: BytesMut,
}

/// The streams to relays, by the number of the allocation.
pub(super) struct Streams {
    mark: Mark,
    all: BTreeMap<u16, Stream>,
    buffer: Vec<u8>,
}

impl Streams {
    /// No streams yet; each will carry `mark`.
    pub(super) fn new(mark: Mark) -> Self {
        Self {
            mark,
            all: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Datagrams, which are dropped when too much waits.
    pub(super) fn write_datagrams(&mut self, number: u16, bytes: &[u8]) {
        if let Some(stream) = self.all.get_mut(&number)
            && stream.waiting.len() + bytes.len() <= MAX_WAITING
        {
            stream.waiting.extend_from_slice(bytes);
        }
    }

    /// A message, which is not repeated and so must not be dropped. There are few.
    pub(super) fn write_message(&mut self, number: u16, bytes: &[u8]) {
        if let Some(stream) = self.all.get_mut(&number) {
            stream.waiting.extend_from_slice(bytes);
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Disconnect(number) => {
                self.all.remove(&number);
            }
            Order::Connect { number, to } => {
                let stream = Stream {
                    stage: Stage::Connecting(Box::pin(connect(to, self.mark))),
                    waiting: BytesMut::new(),
                };
                self.all.insert(number, stream);
            }
        }
    }

    /// Moves all streams. Returns whether bytes came in.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant, relays: &Relays) -> bool {
        if self.all.is_empty() {
            return false;
        }
        self.buffer.resize(READ_LEN, 0);
        let mut received = false;
        let buffer = &mut self.buffer;
        self.all.retain(|number, stream| {
            let moved = stream.poll(cx, (now, *number), relays, buffer);
            match moved {
                Ok(some) => received |= some,
                Err(error) => {
                    relays.on_disconnected(now, *number, &error);
                    received = true;
                    return false;
                }
            }
            true
        });
        received
    }
}

impl Stream {
    /// Returns whether bytes came in.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (now, number): (Instant, u16),
        relays: &Relays,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        if let Stage::Connecting(connecting) = &mut self.stage {
            let Poll::Ready(wire) = connecting.as_mut().poll(cx) else {
                return Ok(false);
            };
            self.stage = Stage::Open(wire?);
            relays.on_connected(now, number);
        }
        let Stage::Open(wire) = &mut self.stage else {
            return Ok(false);
        };
        let mut received = false;
        for _ in 0..READ_ROUNDS {
            let mut into = ReadBuf::new(buffer);
            match Pin::new(&mut *wire).poll_read(cx, &mut into) {
                Poll::Pending => break,
                Poll::Ready(result) => result?,
            }
            if into.filled().is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            relays.on_stream(now, number, into.filled());
            received = true;
        }
        if received {
            // There may be more than was read.
            cx.waker().wake_by_ref();
        }
        self.poll_write(cx)?;
        Ok(received)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Stage::Open(wire) = &mut self.stage else {
            return Ok(());
        };
        let mut wire = Pin::new(wire);
        while !self.waiting.is_empty() {
            match wire.as_mut().poll_write(cx, &self.waiting) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.waiting.advance(written?),
            }
        }
        match wire.poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}

impl Driver {
    /// Takes what came in on streams.
    pub(super) fn receive_relayed(&mut self, cx: &mut Context<'_>) {
        let relays = self.outlet.relays().clone();
        let now = Instant::now();
        if !self.outlet.streams.poll(cx, now, &relays) {
            return;
        }
        let mut intake = Intake {
            now,
            shared: &self.shared,
            state: None,
            dht: self.dht.as_deref(),
            sessions: &self.sessions,
            relays: relays.clone(),
        };
        while let Some((number, peer, payload)) = relays.poll_payload() {
            let from = PathAddress::relayed(number, peer);
            intake.take_unwrapped(from, None, BytesMut::from(&payload[..]));
        }
        if let Some(state) = &mut intake.state {
            state.core.drive_ready(now);
        }
    }

    /// Returns when to come again, and whether there is more to do.
    pub(super) fn drive_relays(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> (Option<Instant>, bool) {
        let relays = self.outlet.relays().clone();
        if relays.is_empty() {
            return (None, false);
        }
        if relays.poll_timeout().is_some_and(|due| due <= now) {
            relays.on_time(now);
        }
        if relays.is_untidy(now) {
            // Asked before: sessions ask the relays under their lock.
            let used = self.sessions.relays_in_use();
            relays.tidy(now, |number| used.contains(&number));
        }
        let mut more = false;
        while let Some(order) = relays.poll_order() {
            self.outlet.streams.follow(order);
            more = true;
        }
        for _ in 0..MESSAGE_ROUNDS {
            let Some((leg, message)) = relays.poll_transmit(now) else {
                break;
            };
            self.outlet.push(leg, &message);
        }
        while let Some(number) = relays.poll_gone() {
            self.on_relay_gone(now, number);
            more = true;
        }
        self.outlet.poll_flush(cx);
        self.outlet.streams.poll_write(cx);
        (relays.poll_timeout(), more)
    }

    /// An allocation that could be used has ended: nothing leaves through it any more.
    fn on_relay_gone(&mut self, now: Instant, number: u16) {
        let via = Via::Relay(number);
        tracing::debug!(?via, "a relay is gone");
        self.sessions.on_relay_gone(now, number);
        self.shared.lock().core.on_via_gone(now, via);
    }
}

impl Streams {
    /// Writes what waits.
    fn poll_write(&mut self, cx: &mut Context<'_>) {
        for stream in self.all.values_mut() {
            // A broken stream is noticed when it is read from.
            let _ = stream.poll_write(cx);
        }
    }
}
