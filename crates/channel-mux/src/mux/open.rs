//! Opening channels: the request, its place in the queue, and the peer's answer.

use std::time::Instant;

use crate::channel::{Channel, Phase, RecvSide, SendSide};
use crate::codec::{self, AnswerFrame, RequestFrame};
use crate::error::OpenError;
use crate::event::{ChannelId, Event};
use crate::frame::{FrameError, FrameReader};
use crate::limits::MAX_ANSWER_FRAME;
use crate::link::Link;
use crate::mux::Mux;
use crate::reason::{DeclineCode, DeclineReason};
use crate::request::{ChannelKind, ChannelRequest};
use crate::reset_code;
use crate::stats::OpenedBy;

impl Mux {
    /// Asks the peer for a channel and returns at once; [`Event::Accepted`] or
    /// [`Event::Declined`] tells the answer. Payload may be written before it comes, which saves a
    /// round trip, and is thrown away if it is a no.
    ///
    /// While the connection is not up, the peer's stream limit is reached, or the peer has as many
    /// of our requests as it takes, the open waits its turn and writes are `Blocked`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        &mut self,
        link: &mut impl Link,
        now: Instant,
        request: ChannelRequest,
    ) -> Result<ChannelId, OpenError> {
        if self.dead {
            return Err(OpenError::ConnectionClosed);
        }
        if self.closing.has_begun() {
            return Err(OpenError::ShuttingDown);
        }
        request.validate()?;
        let max = self.limits.channels();
        if self.table.len() >= max {
            return Err(OpenError::TooManyChannels { max });
        }
        let datagrams = request.kind == ChannelKind::Datagrams;
        if datagrams && self.connected && link.max_datagram_size().is_none() {
            return Err(OpenError::DatagramsUnsupported);
        }
        // With a place in the queue free, the channel may be on its way at once or wait there.
        let max = self.limits.queued_opens();
        if self.table.queue().len() >= max {
            return Err(OpenError::QueueFull { max });
        }
        let id = self.next_channel_id();
        let mut channel = Channel::new(id, request, OpenedBy::Local, Phase::Queued, now);
        if datagrams {
            channel.number = Some(self.next_number);
            self.next_number += 2;
        }
        self.table.insert(channel);
        self.settle(link, now);
        Ok(id)
    }

    pub(super) fn next_channel_id(&mut self) -> ChannelId {
        let id = ChannelId(self.next_id);
        self.next_id += 1;
        id
    }

    /// Gives queued opens their streams, as long as there are any.
    pub(super) fn open_queued(&mut self, link: &mut dyn Link) {
        if !self.connected || (self.side == crate::Side::Initiator && !self.control.is_started()) {
            return;
        }
        while let Some(&id) = self.table.queue().front() {
            if self.table.awaiting_answer() >= self.control.max_awaiting_answer() {
                return;
            }
            let Some(stream) = link.open_stream() else {
                return;
            };
            self.table.bind_stream(id, stream);
            self.table.move_to(
                id,
                Phase::Requested(Box::new(FrameReader::new(MAX_ANSWER_FRAME))),
            );
            if let Some(channel) = self.table.channel_mut(id) {
                link.set_priority(stream, channel.request.priority.link_priority());
                let request = channel.request.clone();
                let number = channel.number;
                channel.preface = codec::encode_request(&RequestFrame { request, number });
            }
            self.flush(link, id);
        }
    }

    pub(super) fn read_answer(&mut self, link: &mut dyn Link, id: ChannelId) {
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        let (Phase::Requested(reader), Some(stream)) = (&mut channel.phase, channel.stream) else {
            return;
        };
        let answer = match reader.read(link, stream) {
            Ok(body) => codec::decode_answer(&body).ok(),
            Err(FrameError::Blocked) => return,
            Err(FrameError::Reset(code)) => {
                let reason = DeclineReason::from(reset_code::as_decline(code));
                return self.on_declined(link, id, reason);
            }
            Err(FrameError::Ended) => {
                return self.on_declined(link, id, DeclineCode::Unanswered.into());
            }
            Err(FrameError::TooLong { .. }) => None,
        };
        match answer {
            Some(AnswerFrame::Accepted) => self.on_accepted(link, id),
            Some(AnswerFrame::Declined(reason)) => self.on_declined(link, id, reason),
            None => {
                self.stats.malformed += 1;
                let reason = DeclineReason::new(DeclineCode::Unanswered, "malformed answer");
                self.on_declined(link, id, reason);
            }
        }
    }

    fn on_accepted(&mut self, link: &mut dyn Link, id: ChannelId) {
        self.stats.accepted += 1;
        self.table.move_to(id, Phase::Open);
        self.events.push_back(Event::Accepted { id });
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        if let SendSide::Stopped(code) = channel.send {
            self.events.push_back(Event::Stopped { id, code });
        }
        if let (Some(code), Some(stream)) = (channel.held_stop.take(), channel.stream) {
            channel.recv = RecvSide::Stopped;
            link.stop(stream, code);
            return self.remove_if_over(id);
        }
        self.announce_received(link, id);
    }

    /// Ends our channel: the peer said no, or cannot be understood.
    pub(super) fn on_declined(
        &mut self,
        link: &mut dyn Link,
        id: ChannelId,
        reason: DeclineReason,
    ) {
        self.stats.declined += 1;
        if let Some(channel) = self.table.channel(id)
            && let Some(stream) = channel.stream
        {
            let code = reset_code::for_decline(reason.code());
            if matches!(channel.send, SendSide::Open | SendSide::Finishing) {
                link.reset(stream, code);
            }
            link.stop(stream, code);
        }
        self.events.push_back(Event::Declined { id, reason });
        self.remove(id);
    }
}
