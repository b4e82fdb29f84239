//! The mux of one connection: what it holds, and what it does with events and deadlines.
//!
//! The verbs of the application are in the files below: opening, answering, payload, datagrams,
//! closing.

mod answer;
mod closing;
mod datagrams;
mod incoming;
mod open;
mod payload;

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use tracing::debug;

use crate::channel::{Channel, Phase, RecvSide, SendSide};
use crate::codec::ControlFrame;
use crate::control::Control;
use crate::deadlines::Deadlines;
use crate::error::{NoteError, PingError};
use crate::event::{ChannelId, Deadline, Event, Fault, Side};
use crate::limits::{HELLO_TIMEOUT, Limits, MAX_NOTES};
use crate::link::{Link, LinkEvent, StreamId, WriteError};
use crate::mux::closing::Closing;
use crate::request::ChannelKind;
use crate::stats::{ChannelStats, MuxStats};
use crate::table::Table;

/// The channels of one connection.
///
/// The driver hands in what happens ([`Mux::handle_link_event`], [`Mux::handle_timeout`]) and what
/// the application wants (the other functions), each with the [`Link`] and the time, and after each
/// call drains [`Mux::poll_event`] and asks [`Mux::poll_timeout`] for the next deadline.
#[derive(Debug)]
pub struct Mux {
    side: Side,
    limits: Limits,
    table: Table,
    control: Control,
    closing: Closing,
    deadlines: Deadlines,
    events: VecDeque<Event>,
    next_id: u64,
    next_number: u64,
    connected: bool,
    /// Faulty or lost: nothing works any more.
    dead: bool,
    /// Channels that met `Blocked` when sending a datagram.
    datagrams_blocked: BTreeSet<ChannelId>,
    /// Bytes in all inboxes.
    datagram_bytes: usize,
    /// Notes among the events.
    notes_waiting: usize,
    /// When the last channel ended, as long as there is none since.
    idle_since: Option<Instant>,
    stats: MuxStats,
}

impl Mux {
    /// A mux for a connection that is not up yet; [`LinkEvent::Connected`] says when it is.
    #[must_use]
    pub fn new(side: Side, limits: Limits, now: Instant) -> Self {
        Self {
            side,
            control: Control::new(&limits),
            limits,
            table: Table::default(),
            closing: Closing::default(),
            deadlines: Deadlines::default(),
            events: VecDeque::new(),
            next_id: 0,
            next_number: u64::from(side == Side::Responder),
            connected: false,
            dead: false,
            datagrams_blocked: BTreeSet::new(),
            datagram_bytes: 0,
            notes_waiting: 0,
            idle_since: Some(now),
            stats: MuxStats::default(),
        }
    }

    /// Takes in what happened on the connection.
    pub fn handle_link_event(&mut self, link: &mut impl Link, now: Instant, event: LinkEvent) {
        if self.dead {
            return;
        }
        match event {
            LinkEvent::Connected => {
                self.connected = true;
                if !self.control.peer_said_hello() {
                    self.deadlines
                        .set(None, Deadline::Hello, now + HELLO_TIMEOUT);
                }
                self.start_control(link);
            }
            LinkEvent::StreamsAvailable => self.start_control(link),
            LinkEvent::StreamOpened => self.on_streams_opened(link, now),
            LinkEvent::Readable(stream) => self.on_readable(link, now, stream),
            LinkEvent::Writable(stream) => self.on_writable(link, now, stream),
            LinkEvent::Finished(stream) => self.on_finished(stream),
            LinkEvent::Stopped(stream, code) => self.on_stopped(link, stream, code),
            LinkEvent::DatagramReceived => self.on_datagrams(link),
            LinkEvent::DatagramsUnblocked => self.on_datagrams_unblocked(),
            LinkEvent::Lost => self.on_lost(),
        }
        self.settle(link, now);
    }

    /// Does what is due at `now`; to be called at the time that [`Mux::poll_timeout`] names, or
    /// later.
    pub fn handle_timeout(&mut self, link: &mut impl Link, now: Instant) {
        while let Some((deadline, owner)) = self.deadlines.pop(now) {
            match (deadline, owner) {
                (Deadline::Hello, _) => self.on_fault(Fault::HelloTimeout),
                (Deadline::Request, Some(id)) => self.on_request_overdue(link, id),
                (Deadline::Answer, Some(id)) => self.on_answer_overdue(link, id),
                (Deadline::Request | Deadline::Answer, None) => {}
            }
        }
        self.settle(link, now);
    }

    /// The next deadline: what it is for and when [`Mux::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Deadline, Instant)> {
        self.deadlines.next()
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if matches!(event, Event::Note { .. }) {
            self.notes_waiting -= 1;
        }
        Some(event)
    }

    /// Which side of the connection this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// Asks the peer for a sign of life; [`Event::Pong`] with the returned nonce answers.
    ///
    /// # Errors
    /// See [`PingError`].
    pub fn ping(&mut self, link: &mut impl Link, now: Instant) -> Result<u64, PingError> {
        if self.dead {
            return Err(PingError::NotConnected);
        }
        match self.control.ping(link, now)? {
            Ok(nonce) => Ok(nonce),
            Err(fault) => {
                self.on_fault(fault);
                Err(PingError::NotConnected)
            }
        }
    }

    /// Sends bytes to the program on the other side, beside all channels and before their payload.
    /// They arrive in order while the connection lives, or are dropped there if too many wait; a
    /// peer of an earlier version drops all.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn note(&mut self, link: &mut impl Link, body: Bytes) -> Result<(), NoteError> {
        if self.dead {
            return Err(NoteError::NotConnected);
        }
        match self.control.note(link, body)? {
            Ok(()) => Ok(()),
            Err(fault) => {
                self.on_fault(fault);
                Err(NoteError::NotConnected)
            }
        }
    }

    /// Counters and gauges of the connection. Walks all channels for `buffered_bytes`.
    #[must_use]
    pub fn stats(&self) -> MuxStats {
        let channels: usize = self.table.iter().map(Channel::buffered).sum();
        MuxStats {
            channels: self.table.len(),
            pending_requests: self.table.pending_requests(),
            awaiting_answer: self.table.awaiting_answer(),
            queued_opens: self.table.queue().len(),
            buffered_bytes: channels + self.control.buffered(),
            ..self.stats
        }
    }

    /// All channels that the application knows of, in the order of their ids.
    pub fn channels(&self) -> impl Iterator<Item = ChannelStats> + '_ {
        self.table
            .ids()
            .into_iter()
            .filter_map(|id| self.channel(id))
    }

    /// One channel, `None` if it is closed.
    #[must_use]
    pub fn channel(&self, id: ChannelId) -> Option<ChannelStats> {
        self.table.channel(id)?.stats()
    }

    /// Channels that were accepted, by either side, and are not over.
    #[must_use]
    pub fn open_channels(&self) -> usize {
        self.table.open()
    }

    /// Since when the connection carries no channel, for drivers that close idle connections;
    /// `None` while it carries one.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        self.idle_since
    }

    /// What every call that may have ended a channel does last: uses the room that there is now,
    /// and sees whether the close is complete.
    fn settle(&mut self, link: &mut dyn Link, now: Instant) {
        if self.dead {
            return;
        }
        self.open_queued(link);
        self.idle_since = match self.table.len() {
            0 => self.idle_since.or(Some(now)),
            _ => None,
        };
        self.advance_closing(link);
    }

    /// Opens the control stream, as the initiator, as soon as there is a stream for it.
    fn start_control(&mut self, link: &mut dyn Link) {
        if self.side != Side::Initiator || self.control.is_started() || !self.connected {
            return;
        }
        if let Some(stream) = link.open_stream() {
            let started = self.control.start(link, stream);
            self.check(started);
        }
    }

    fn on_readable(&mut self, link: &mut dyn Link, now: Instant, stream: StreamId) {
        if self.control.is(stream) {
            return self.read_control(link, now);
        }
        let Some(id) = self.table.by_stream(stream) else {
            return;
        };
        let Some(channel) = self.table.channel(id) else {
            return;
        };
        match channel.phase {
            Phase::Receiving(_) => self.read_request(link, now, id),
            Phase::Requested(_) => self.read_answer(link, id),
            Phase::Open if channel.recv == RecvSide::Open => match channel.request.kind {
                ChannelKind::Stream => self.events.push_back(Event::Readable { id }),
                ChannelKind::Datagrams => self.read_lifeline(link, id),
            },
            Phase::Open | Phase::Queued | Phase::Offered | Phase::Declining => {}
        }
    }

    fn on_writable(&mut self, link: &mut dyn Link, now: Instant, stream: StreamId) {
        if self.control.is(stream) {
            let flushed = self.control.flush(link);
            self.check(flushed);
            return self.read_control(link, now);
        }
        let Some(id) = self.table.by_stream(stream) else {
            return;
        };
        self.flush(link, id);
    }

    /// Sends the rest of a channel's first frame, and says so once payload can follow.
    fn flush(&mut self, link: &mut dyn Link, id: ChannelId) {
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        match channel.flush(link) {
            Ok(()) => {
                if channel.writable(channel.request.kind).is_ok() {
                    self.events.push_back(Event::Writable { id });
                }
            }
            Err(WriteError::Blocked) => {}
            Err(WriteError::Stopped(code)) => self.end_sending(link, id, SendSide::Stopped(code)),
            Err(WriteError::Closed) => self.end_sending(link, id, SendSide::Reset),
        }
    }

    fn on_finished(&mut self, stream: StreamId) {
        let Some(id) = self.table.by_stream(stream) else {
            return;
        };
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        if channel.send != SendSide::Finishing {
            return;
        }
        channel.send = SendSide::Finished;
        if channel.announced && !matches!(channel.phase, Phase::Declining) {
            self.events.push_back(Event::Finished { id });
        }
        self.remove_if_over(id);
    }

    fn on_stopped(&mut self, link: &mut dyn Link, stream: StreamId, code: u32) {
        if self.control.is(stream) {
            return self.on_fault(Fault::ControlClosed);
        }
        let Some(id) = self.table.by_stream(stream) else {
            return;
        };
        self.end_sending(link, id, SendSide::Stopped(code));
    }

    fn read_control(&mut self, link: &mut dyn Link, now: Instant) {
        while !self.dead {
            match self.control.read(link) {
                Ok(Some(message)) => self.on_control(link, now, message),
                Ok(None) => return,
                Err(fault) => self.on_fault(fault),
            }
        }
    }

    fn on_control(&mut self, link: &mut dyn Link, now: Instant, message: ControlFrame) {
        match message {
            ControlFrame::Hello(_) => self.deadlines.clear(None),
            ControlFrame::Ping(nonce) => {
                let sent = self.control.send(link, &ControlFrame::Pong(nonce));
                self.check(sent);
            }
            ControlFrame::Pong(nonce) => match self.control.on_pong(nonce, now) {
                Some(rtt) => self.events.push_back(Event::Pong { nonce, rtt }),
                None => self.stats.pongs_unknown += 1,
            },
            ControlFrame::GoAway(reason) => self.on_go_away(link, reason),
            ControlFrame::Bye => self.on_bye(),
            ControlFrame::Note(_) if self.notes_waiting >= MAX_NOTES => {
                self.stats.notes_dropped += 1;
            }
            ControlFrame::Note(body) => {
                self.notes_waiting += 1;
                self.events.push_back(Event::Note { body });
            }
            ControlFrame::Unknown(_) => self.stats.control_unknown += 1,
        }
    }

    /// The channel's sending direction ends otherwise than by a finish.
    fn end_sending(&mut self, link: &mut dyn Link, id: ChannelId, end: SendSide) {
        let Some(channel) = self.table.channel_mut(id) else {
            return;
        };
        if !matches!(channel.send, SendSide::Open | SendSide::Finishing) {
            return;
        }
        channel.send = end;
        channel.preface.clear();
        self.datagrams_blocked.remove(&id);
        if let (SendSide::Stopped(code), Some(stream)) = (end, channel.stream) {
            // RFC 9000 section 3.5: who is asked to stop sending resets.
            link.reset(stream, code);
        }
        match (&channel.phase, end) {
            // The opener gave up before it had an answer.
            (Phase::Receiving(_) | Phase::Offered, _) => self.abandon_incoming(link, id),
            (Phase::Open, SendSide::Stopped(code)) => {
                self.events.push_back(Event::Stopped { id, code });
            }
            // Told after the answer; see `read_answer`.
            _ => {}
        }
        self.remove_if_over(id);
    }

    /// Removes a channel whose two directions ended.
    fn remove_if_over(&mut self, id: ChannelId) {
        if self.table.channel(id).is_some_and(Channel::is_over) {
            self.remove(id);
        }
    }

    /// Removes a channel and tells the application, if that knows of it.
    fn remove(&mut self, id: ChannelId) {
        let Some(channel) = self.table.channel(id) else {
            return;
        };
        self.datagram_bytes -= channel.inbox.bytes();
        if let Some(stats) = channel.stats() {
            self.events.push_back(Event::Closed {
                id,
                stats: Box::new(stats),
            });
        }
        self.datagrams_blocked.remove(&id);
        self.deadlines.clear(Some(id));
        self.table.remove(id);
    }

    fn check(&mut self, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.on_fault(fault);
        }
    }

    fn on_fault(&mut self, fault: Fault) {
        if self.dead {
            return;
        }
        debug!(%fault, "the peer broke the channel protocol");
        self.events.push_back(Event::Fault { fault });
        self.on_lost();
    }

    fn on_lost(&mut self) {
        self.dead = true;
        for id in self.table.ids() {
            self.remove(id);
        }
        self.deadlines.clear_all();
    }
}
