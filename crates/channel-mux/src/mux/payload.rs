//! Payload of stream channels, and the end of either direction of any channel.

use std::time::Instant;

use bytes::Bytes;

use crate::channel::{Phase, RecvSide, SendSide};
use crate::error::{ChannelReadError, ChannelWriteError};
use crate::event::ChannelId;
use crate::link::{Link, ReadError, WriteError};
use crate::mux::Mux;
use crate::reason::DeclineCode;
use crate::request::ChannelKind;
use crate::reset_code;

impl Mux {
    /// Hands bytes to the connection: takes them from the front of `chunks`, leaves the rest
    /// there, returns how many it took. Copies nothing.
    ///
    /// # Errors
    /// See [`ChannelWriteError`]; after `Blocked`, [`Event::Writable`](crate::Event::Writable)
    /// follows.
    pub fn write(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
        chunks: &mut [Bytes],
    ) -> Result<usize, ChannelWriteError> {
        let channel = self
            .table
            .channel_mut(id)
            .ok_or(ChannelWriteError::Closed)?;
        let stream = channel.writable(ChannelKind::Stream)?;
        let written = match channel.flush(link) {
            Ok(()) => link.write(stream, chunks),
            Err(error) => Err(error),
        };
        match written {
            Ok(written) => {
                channel.sent += written as u64;
                channel.last_activity = now;
                self.stats.sent += written as u64;
                Ok(written)
            }
            Err(WriteError::Blocked) => Err(ChannelWriteError::Blocked),
            Err(WriteError::Stopped(code)) => {
                self.end_sending(link, id, SendSide::Stopped(code));
                self.settle(link, now);
                Err(ChannelWriteError::Stopped(code))
            }
            Err(WriteError::Closed) => {
                self.end_sending(link, id, SendSide::Reset);
                self.settle(link, now);
                Err(ChannelWriteError::Closed)
            }
        }
    }

    /// Takes at most `max` received bytes, without a copy. `Ok(None)`: the peer finished its
    /// direction and all of it was read.
    ///
    /// # Errors
    /// See [`ChannelReadError`]; after `Blocked`, [`Event::Readable`](crate::Event::Readable)
    /// follows.
    pub fn read(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
        max: usize,
    ) -> Result<Option<Bytes>, ChannelReadError> {
        let channel = self.table.channel_mut(id).ok_or(ChannelReadError::Closed)?;
        let Some(stream) = channel.readable(ChannelKind::Stream)? else {
            return Ok(None);
        };
        let (end, result) = match link.read(stream, max) {
            Ok(Some(bytes)) => {
                channel.received += bytes.len() as u64;
                channel.last_activity = now;
                self.stats.received += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            Err(ReadError::Blocked) => return Err(ChannelReadError::Blocked),
            Ok(None) => (RecvSide::Finished, Ok(None)),
            Err(ReadError::Reset(code)) => {
                (RecvSide::Reset(code), Err(ChannelReadError::Reset(code)))
            }
            Err(ReadError::Closed) => (RecvSide::Stopped, Err(ChannelReadError::Closed)),
        };
        channel.recv = end;
        self.remove_if_over(id);
        self.settle(link, now);
        result
    }

    /// Ends our direction after all that was written; [`Event::Finished`](crate::Event::Finished)
    /// follows when the peer's connection has all of it. Nothing happens if it ended before.
    ///
    /// # Errors
    /// `NotAccepted` before the answer to a request of the peer, `Closed` if there is no such
    /// channel.
    pub fn finish(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
    ) -> Result<(), ChannelWriteError> {
        let channel = self
            .table
            .channel_mut(id)
            .ok_or(ChannelWriteError::Closed)?;
        match channel.phase {
            Phase::Offered => return Err(ChannelWriteError::NotAccepted),
            Phase::Receiving(_) | Phase::Declining => return Err(ChannelWriteError::Closed),
            Phase::Queued | Phase::Requested(_) | Phase::Open => {}
        }
        if channel.send != SendSide::Open {
            return Ok(());
        }
        channel.send = SendSide::Finishing;
        channel.last_activity = now;
        self.datagrams_blocked.remove(&id);
        // With our first frame still here, its flush finishes the stream after it.
        if let (Some(stream), true) = (channel.stream, channel.preface.is_empty()) {
            link.finish(stream);
        }
        Ok(())
    }

    /// Gives up our direction with a code below [`RESERVED`](crate::reset_code::RESERVED); what
    /// the peer has not read yet may be lost. An open that still waits for its stream is
    /// withdrawn. Nothing happens if the direction ended before.
    ///
    /// # Errors
    /// `NotAccepted` before the answer to a request of the peer, `Closed` if there is no such
    /// channel.
    pub fn reset(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
        code: u32,
    ) -> Result<(), ChannelWriteError> {
        let channel = self
            .table
            .channel_mut(id)
            .ok_or(ChannelWriteError::Closed)?;
        match (&channel.phase, channel.stream) {
            (Phase::Offered, _) => return Err(ChannelWriteError::NotAccepted),
            (Phase::Receiving(_) | Phase::Declining, _) => return Err(ChannelWriteError::Closed),
            (Phase::Queued, _) | (_, None) => self.remove(id),
            (Phase::Requested(_) | Phase::Open, Some(stream)) => {
                if !matches!(channel.send, SendSide::Open | SendSide::Finishing) {
                    return Ok(());
                }
                link.reset(stream, code);
                // With both directions given up, the answer is of no interest either.
                if let Some(code) = channel.held_stop.take() {
                    channel.recv = RecvSide::Stopped;
                    link.stop(stream, code);
                }
                self.end_sending(link, id, SendSide::Reset);
            }
        }
        self.settle(link, now);
        Ok(())
    }

    /// Gives up the peer's direction with a code below
    /// [`RESERVED`](crate::reset_code::RESERVED), and throws away what was not read of it. While
    /// our request waits for its answer the stop waits too, unless our own direction was reset
    /// before: then both together withdraw the request. Nothing happens if the direction ended
    /// before.
    ///
    /// # Errors
    /// `NotAccepted` before the answer to a request of the peer, `Closed` if there is no such
    /// channel.
    pub fn stop(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
        code: u32,
    ) -> Result<(), ChannelReadError> {
        let channel = self.table.channel_mut(id).ok_or(ChannelReadError::Closed)?;
        if !matches!(channel.recv, RecvSide::Open | RecvSide::Ending(_)) {
            return Ok(());
        }
        channel.last_activity = now;
        let withdrawn = channel.send == SendSide::Reset;
        match (&channel.phase, channel.stream) {
            (Phase::Offered, _) => return Err(ChannelReadError::NotAccepted),
            (Phase::Receiving(_) | Phase::Declining, _) => return Err(ChannelReadError::Closed),
            (Phase::Requested(_), _) if !withdrawn => channel.held_stop = Some(code),
            (Phase::Requested(_) | Phase::Open, Some(stream)) => {
                channel.recv = RecvSide::Stopped;
                link.stop(stream, code);
                self.drop_inbox(id);
                self.remove_if_over(id);
            }
            (Phase::Queued, _) | (_, None) => channel.held_stop = Some(code),
        }
        self.settle(link, now);
        Ok(())
    }

    /// Ends a channel of any state at once: resets our direction and stops the peer's, withdraws
    /// a request that was not answered, drops one of the peer's. What was written or finished and
    /// not acknowledged yet may be lost: to keep it, `finish` and `stop` instead. [`Event::Closed`] follows at
    /// once. Nothing happens if there is no such channel, or if it was declined.
    ///
    /// [`Event::Closed`]: crate::Event::Closed
    pub fn abandon(&mut self, link: &mut impl Link, now: Instant, id: ChannelId, code: u32) {
        let Some(channel) = self.table.channel(id) else {
            return;
        };
        if matches!(channel.phase, Phase::Declining | Phase::Receiving(_)) {
            return;
        }
        if let Some(stream) = channel.stream {
            if matches!(channel.send, SendSide::Open | SendSide::Finishing) {
                link.reset(stream, code);
            }
            if matches!(channel.recv, RecvSide::Open) {
                link.stop(stream, code);
            }
        }
        self.remove(id);
        self.settle(link, now);
    }

    /// Ends a channel at once, as [`abandon`](Self::abandon) does, and lets the peer know why:
    /// [`as_cut`](crate::reset_code::as_cut) tells it there. For channels that are no longer
    /// allowed.
    pub fn cut(&mut self, link: &mut impl Link, now: Instant, id: ChannelId, why: DeclineCode) {
        self.abandon(link, now, id, reset_code::for_decline(why));
    }
}
