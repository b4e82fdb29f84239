//! The peer's requests, from the stream that appears to the request that is complete.

use std::time::Instant;

use bytes::Bytes;
use tracing::debug;

use crate::channel::{Channel, Phase, RecvSide, SendSide};
use crate::codec::{self, AnswerFrame, DecodeError, RequestFrame};
use crate::event::{ChannelId, Deadline, Event, Side};
use crate::frame::{FrameError, FrameReader};
use crate::limits::{ANSWER_TIMEOUT, MAX_LARGE_REQUESTS, MAX_REQUEST_FRAME, REQUEST_TIMEOUT};
use crate::link::{Link, StreamId};
use crate::mux::Mux;
use crate::reason::{DeclineCode, DeclineReason};
use crate::request::ChannelRequest;
use crate::reset_code;
use crate::stats::OpenedBy;

impl Mux {
    /// Takes all streams that the peer opened. The initiator's first one is the control stream.
    pub(super) fn on_streams_opened(&mut self, link: &mut dyn Link, now: Instant) {
        while let Some(stream) = link.accept_stream() {
            if self.side == Side::Responder && !self.control.is_started() {
                let started = self.control.start(link, stream);
                self.check(started);
                self.read_control(link, now);
            } else {
                self.on_stream_opened(link, now, stream);
            }
            if self.dead {
                return;
            }
        }
    }

    fn on_stream_opened(&mut self, link: &mut dyn Link, now: Instant, stream: StreamId) {
        let busy = self.table.len() >= self.limits.channels()
            || self.table.pending_requests() >= self.limits.pending_requests();
        if busy {
            self.stats.refused += 1;
            return refuse(link, stream, DeclineCode::Busy);
        }
        let id = self.next_channel_id();
        let request = ChannelRequest::stream(String::new());
        let phase = Phase::Receiving(Box::new(FrameReader::new(MAX_REQUEST_FRAME)));
        let mut channel = Channel::new(id, request, OpenedBy::Remote, phase, now);
        channel.stream = Some(stream);
        self.table.insert(channel);
        self.deadlines
            .set(Some(id), Deadline::Request, now + REQUEST_TIMEOUT);
        self.read_request(link, now, id);
    }

    pub(super) fn read_request(&mut self, link: &mut dyn Link, now: Instant, id: ChannelId) {
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        let (Phase::Receiving(reader), Some(stream)) = (&mut channel.phase, channel.stream) else {
            return;
        };
        match reader.read(link, stream) {
            Ok(body) => self.on_request(link, now, id, &body),
            Err(FrameError::Blocked) => self.bound_large_requests(link, id),
            Err(FrameError::Reset(_)) => {
                let code = reset_code::for_decline(DeclineCode::Unanswered);
                self.drop_incoming(link, id, code);
            }
            Err(FrameError::Ended | FrameError::TooLong { .. }) => {
                self.stats.malformed += 1;
                self.drop_incoming(link, id, reset_code::MALFORMED);
            }
        }
    }

    /// Declines a request on its way that is large, when there are as many as there may be.
    fn bound_large_requests(&mut self, link: &mut dyn Link, id: ChannelId) {
        if self.is_one_large_too_many(id) {
            self.decline_with(link, id, &DeclineCode::Busy.into());
        }
    }

    fn is_one_large_too_many(&self, id: ChannelId) -> bool {
        let is_large = self
            .table
            .channel(id)
            .is_some_and(Channel::is_large_request);
        let all = || self.table.iter().filter(|c| c.is_large_request()).count();
        is_large && all() > MAX_LARGE_REQUESTS
    }

    fn on_request(&mut self, link: &mut dyn Link, now: Instant, id: ChannelId, body: &Bytes) {
        let frame = match codec::decode_request(body) {
            Ok(frame) => frame,
            Err(error @ (DecodeError::Invalid | DecodeError::NotCanonical)) => {
                debug!(%error, "malformed channel request");
                self.stats.malformed += 1;
                return self.drop_incoming(link, id, reset_code::MALFORMED);
            }
            // Understood so far that the peer deserves a reason.
            Err(error) => {
                let reason = DeclineReason::new(DeclineCode::BadRequest, error.to_string());
                return self.decline_with(link, id, &reason);
            }
        };
        let RequestFrame { request, number } = frame;
        if self.closing.is_ours() {
            return self.decline_with(link, id, &DeclineCode::ShuttingDown.into());
        }
        if let Some(number) = number
            && !(self.is_of_peer(number) && self.table.bind_number(id, number))
        {
            let reason = DeclineReason::new(DeclineCode::BadRequest, "channel number in use");
            return self.decline_with(link, id, &reason);
        }
        if let Some(channel) = self.table.channel_mut(id) {
            if let Some(stream) = channel.stream {
                link.set_priority(stream, request.priority.link_priority());
            }
            channel.request = request.clone();
        }
        self.table.move_to(id, Phase::Offered);
        if self.is_one_large_too_many(id) {
            return self.decline_with(link, id, &DeclineCode::Busy.into());
        }
        if let Some(channel) = self.table.channel_mut(id) {
            channel.announced = true;
        }
        self.deadlines
            .set(Some(id), Deadline::Answer, now + ANSWER_TIMEOUT);
        self.events.push_back(Event::Incoming { id, request });
    }

    /// Initiators number their datagram channels even, responders odd.
    fn is_of_peer(&self, number: u64) -> bool {
        number.is_multiple_of(2) == (self.side == Side::Responder)
    }

    /// Answers no, in words; the channel stays until the answer is acknowledged.
    pub(super) fn decline_with(
        &mut self,
        link: &mut dyn Link,
        id: ChannelId,
        reason: &DeclineReason,
    ) {
        self.stats.declined += 1;
        self.deadlines.clear(Some(id));
        self.table.move_to(id, Phase::Declining);
        self.drop_inbox(id);
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        channel.preface = codec::encode_answer(&AnswerFrame::Declined(reason.clone()));
        channel.send = SendSide::Finishing;
        channel.recv = RecvSide::Stopped;
        channel.request.metadata = Bytes::new();
        if let Some(stream) = channel.stream {
            link.stop(stream, reset_code::for_decline(reason.code()));
        }
        self.flush(link, id);
    }

    /// Ends a request without a word.
    pub(super) fn drop_incoming(&mut self, link: &mut dyn Link, id: ChannelId, code: u32) {
        if let Some(stream) = self.table.channel(id).and_then(|channel| channel.stream) {
            link.reset(stream, code);
            link.stop(stream, code);
        }
        self.remove(id);
    }

    /// The opener no longer wants what it asked for.
    pub(super) fn abandon_incoming(&mut self, link: &mut dyn Link, id: ChannelId) {
        if let Some(stream) = self.table.channel(id).and_then(|channel| channel.stream) {
            link.stop(stream, reset_code::for_decline(DeclineCode::Unanswered));
        }
        self.remove(id);
    }

    pub(super) fn on_request_overdue(&mut self, link: &mut dyn Link, id: ChannelId) {
        self.stats.timed_out += 1;
        self.drop_incoming(link, id, reset_code::for_decline(DeclineCode::BadRequest));
    }

    pub(super) fn on_answer_overdue(&mut self, link: &mut dyn Link, id: ChannelId) {
        self.decline_with(link, id, &DeclineCode::Unanswered.into());
    }
}

/// Answers a stream with no, without keeping anything of it. If the answer does not go out at
/// once, the reset code says as much.
fn refuse(link: &mut dyn Link, stream: StreamId, code: DeclineCode) {
    let answer = codec::encode_answer(&AnswerFrame::Declined(code.into()));
    let mut chunks = [answer];
    let _ = link.write(stream, &mut chunks);
    if chunks[0].is_empty() {
        link.finish(stream);
    } else {
        link.reset(stream, reset_code::for_decline(code));
    }
    link.stop(stream, reset_code::for_decline(code));
}
