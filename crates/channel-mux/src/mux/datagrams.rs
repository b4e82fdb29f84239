//! Payload of datagram channels, and the stream that stands for the life of each.

use std::time::Instant;

use bytes::Bytes;

use crate::channel::{Ending, Phase, RecvSide, SendSide};
use crate::codec;
use crate::error::{ChannelDatagramError, ChannelReadError};
use crate::event::{ChannelId, Event};
use crate::link::{Link, ReadError, SendDatagramError};
use crate::mux::Mux;
use crate::request::ChannelKind;
use crate::reset_code;
use crate::varint;

impl Mux {
    /// Sends one datagram, which may be lost. Copies the payload once, behind the channel number.
    ///
    /// # Errors
    /// See [`ChannelDatagramError`]; after `Blocked`,
    /// [`Event::Writable`](crate::Event::Writable) follows.
    pub fn send_datagram(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), ChannelDatagramError> {
        let payload = payload.as_ref();
        let number = self.datagram_number(id)?;
        let prefix = varint::encoded_len(number);
        let mut datagram = Vec::with_capacity(prefix + payload.len());
        varint::encode(number, &mut datagram);
        datagram.extend_from_slice(payload);
        self.send_checked(link, now, (id, prefix), datagram.into())
    }

    /// Appends to `buffer` what the datagrams of a channel begin with, for
    /// [`Mux::send_prefixed_datagram`].
    ///
    /// # Errors
    /// As [`Mux::send_datagram`].
    pub fn datagram_prefix(
        &mut self,
        id: ChannelId,
        buffer: &mut Vec<u8>,
    ) -> Result<(), ChannelDatagramError> {
        let number = self.datagram_number(id)?;
        varint::encode(number, buffer);
        Ok(())
    }

    /// As [`Mux::send_datagram`], without a copy: `datagram` begins with the channel's
    /// [prefix](Mux::datagram_prefix).
    ///
    /// # Errors
    /// As [`Mux::send_datagram`]; `Closed` for the prefix of another channel.
    pub fn send_prefixed_datagram(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
        datagram: Bytes,
    ) -> Result<(), ChannelDatagramError> {
        let number = self.datagram_number(id)?;
        match codec::decode_datagram_prefix(&datagram) {
            Some((found, prefix)) if found == number => {
                self.send_checked(link, now, (id, prefix), datagram)
            }
            _ => Err(ChannelDatagramError::Closed),
        }
    }

    /// Number of a channel that may send a datagram now.
    fn datagram_number(&mut self, id: ChannelId) -> Result<u64, ChannelDatagramError> {
        let channel = self
            .table
            .channel_mut(id)
            .ok_or(ChannelDatagramError::Closed)?;
        channel
            .writable(ChannelKind::Datagrams)
            .inspect_err(|error| {
                if *error == crate::ChannelWriteError::Blocked {
                    self.datagrams_blocked.insert(id);
                }
            })?;
        channel.number.ok_or(ChannelDatagramError::Closed)
    }

    fn send_checked(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        (id, prefix): (ChannelId, usize),
        datagram: Bytes,
    ) -> Result<(), ChannelDatagramError> {
        let len = (datagram.len() - prefix) as u64;
        if let Err(error) = link.send_datagram(datagram) {
            if error == SendDatagramError::Blocked {
                self.datagrams_blocked.insert(id);
            }
            return Err(ChannelDatagramError::from_link(error, prefix));
        }
        if let Some(channel) = self.table.channel_mut(id) {
            channel.sent += len;
            channel.datagrams.sent += 1;
            channel.last_activity = now;
        }
        self.stats.sent += len;
        Ok(())
    }

    /// The next datagram of a channel, without a copy. `Ok(None)`: the peer finished its
    /// direction.
    ///
    /// # Errors
    /// See [`ChannelReadError`]; after `Blocked`,
    /// [`Event::DatagramReadable`](crate::Event::DatagramReadable) follows.
    pub fn recv_datagram(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        id: ChannelId,
    ) -> Result<Option<Bytes>, ChannelReadError> {
        let channel = self.table.channel_mut(id).ok_or(ChannelReadError::Closed)?;
        if channel.readable(ChannelKind::Datagrams)?.is_none() {
            return Ok(None);
        }
        let before = channel.inbox.bytes();
        if let Some(payload) = channel.inbox.pop() {
            self.datagram_bytes -= before - channel.inbox.bytes();
            channel.received += payload.len() as u64;
            channel.last_activity = now;
            self.stats.received += payload.len() as u64;
            return Ok(Some(payload));
        }
        let (end, result) = match channel.recv {
            RecvSide::Ending(Ending::Finished) => (RecvSide::Finished, Ok(None)),
            RecvSide::Ending(Ending::Reset(code)) => {
                (RecvSide::Reset(code), Err(ChannelReadError::Reset(code)))
            }
            _ => return Err(ChannelReadError::Blocked),
        };
        channel.recv = end;
        self.remove_if_over(id);
        self.settle(link, now);
        result
    }

    /// Largest payload that [`Mux::send_datagram`] takes on this channel now, in bytes; it
    /// changes with the path. `None` if the channel or the connection takes none.
    #[must_use]
    pub fn max_datagram_size(&self, link: &impl Link, id: ChannelId) -> Option<usize> {
        let number = self.table.channel(id)?.number?;
        link.max_datagram_size()?
            .checked_sub(varint::encoded_len(number))
    }

    pub(super) fn on_datagrams(&mut self, link: &mut dyn Link) {
        while let Some(datagram) = link.recv_datagram() {
            self.on_datagram(&datagram);
        }
    }

    fn on_datagram(&mut self, datagram: &Bytes) {
        let Some((number, prefix)) = codec::decode_datagram_prefix(datagram) else {
            self.stats.datagrams_malformed += 1;
            return;
        };
        let channel = self
            .table
            .by_number(number)
            .and_then(|id| self.table.channel_mut(id));
        let Some(channel) = channel else {
            self.stats.datagrams_unknown += 1;
            return;
        };
        if !matches!(
            channel.recv,
            RecvSide::Open | RecvSide::Ending(Ending::Finished)
        ) || channel.held_stop.is_some()
        {
            self.stats.datagrams_unknown += 1;
            return;
        }
        let before = channel.inbox.bytes();
        let room = self
            .limits
            .datagram_bytes_total()
            .saturating_sub(self.datagram_bytes)
            + before;
        let max = room.min(self.limits.datagram_bytes());
        let dropped = channel.inbox.push(datagram.slice(prefix..), max) as u64;
        self.datagram_bytes = self.datagram_bytes - before + channel.inbox.bytes();
        channel.datagrams.received += 1;
        channel.datagrams.dropped += dropped;
        self.stats.datagrams_dropped += dropped;
        // One event for a queue that was empty is enough: it is to be read until `Blocked`.
        if before == 0 && channel.inbox.bytes() > 0 && matches!(channel.phase, Phase::Open) {
            self.events
                .push_back(Event::DatagramReadable { id: channel.id });
        }
    }

    pub(super) fn on_datagrams_unblocked(&mut self) {
        for id in std::mem::take(&mut self.datagrams_blocked) {
            self.events.push_back(Event::Writable { id });
        }
    }

    /// Reads the stream of a datagram channel, on which nothing but its end may come.
    pub(super) fn read_lifeline(&mut self, link: &mut dyn Link, id: ChannelId) {
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        let (Some(stream), RecvSide::Open) = (channel.stream, channel.recv) else {
            return;
        };
        let ending = match link.read(stream, 1) {
            Err(ReadError::Blocked) => return,
            Ok(None) | Err(ReadError::Closed) => Ending::Finished,
            Err(ReadError::Reset(code)) => Ending::Reset(code),
            Ok(Some(_)) => {
                self.stats.malformed += 1;
                link.stop(stream, reset_code::MALFORMED);
                if matches!(channel.send, SendSide::Open | SendSide::Finishing) {
                    link.reset(stream, reset_code::MALFORMED);
                }
                return self.remove(id);
            }
        };
        channel.recv = RecvSide::Ending(ending);
        if matches!(ending, Ending::Reset(_)) {
            self.drop_inbox(id);
        }
        self.events.push_back(Event::DatagramReadable { id });
    }

    pub(super) fn drop_inbox(&mut self, id: ChannelId) {
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        self.datagram_bytes -= channel.inbox.bytes();
        channel.inbox.clear();
    }
}
