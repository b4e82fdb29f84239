//! One channel: its phase and the two directions, which end on their own.

use std::time::Instant;

use bytes::Bytes;

use crate::error::{ChannelReadError, ChannelWriteError};
use crate::event::ChannelId;
use crate::frame::FrameReader;
use crate::inbox::Inbox;
use crate::limits::LARGE_REQUEST;
use crate::link::{Link, StreamId, WriteError};
use crate::request::{ChannelKind, ChannelRequest};
use crate::stats::{ChannelState, ChannelStats, DatagramStats, OpenedBy};

/// Where a channel is in its life. Changed by [`Table::move_to`](crate::table::Table) alone.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Ours: waits for a stream.
    Queued,
    /// Ours: the request is on its way, the answer is awaited.
    Requested(Box<FrameReader>),
    /// The peer's: the request is arriving; the application knows nothing yet.
    Receiving(Box<FrameReader>),
    /// The peer's: the application is asked.
    Offered,
    /// Accepted.
    Open,
    /// The peer's: declined, waits until the answer is acknowledged.
    Declining,
}

/// Our sending direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendSide {
    Open,
    /// Finished by us, not acknowledged yet; with what was written before it possibly still here.
    Finishing,
    Finished,
    Reset,
    Stopped(u32),
}

/// Our receiving direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecvSide {
    Open,
    /// Of a datagram channel: the peer ended it; the application has not seen that yet.
    Ending(Ending),
    Finished,
    Reset(u32),
    Stopped,
}

/// How the peer ended its direction of a datagram channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished,
    Reset(u32),
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) request: ChannelRequest,
    pub(crate) number: Option<u64>,
    pub(crate) opened_by: OpenedBy,
    pub(crate) phase: Phase,
    /// The application knows of it, and is owed a `Closed`.
    pub(crate) announced: bool,
    pub(crate) stream: Option<StreamId>,
    pub(crate) send: SendSide,
    pub(crate) recv: RecvSide,
    /// What is left of our first frame; goes before all payload.
    pub(crate) preface: Bytes,
    /// Our `stop`, held back until the answer was read.
    pub(crate) held_stop: Option<u32>,
    pub(crate) inbox: Inbox,
    pub(crate) datagrams: DatagramStats,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) opened_at: Instant,
    pub(crate) last_activity: Instant,
}

impl Channel {
    /// Whether it is a request of the peer that has no answer yet and more bytes than most.
    pub(crate) fn is_large_request(&self) -> bool {
        match &self.phase {
            Phase::Receiving(reader) => reader.announced() > LARGE_REQUEST,
            Phase::Offered => self.request.metadata.len() > LARGE_REQUEST,
            _ => false,
        }
    }

    pub(crate) fn new(
        id: ChannelId,
        request: ChannelRequest,
        opened_by: OpenedBy,
        phase: Phase,
        now: Instant,
    ) -> Self {
        Self {
            id,
            request,
            number: None,
            opened_by,
            phase,
            announced: opened_by == OpenedBy::Local,
            stream: None,
            send: SendSide::Open,
            recv: RecvSide::Open,
            preface: Bytes::new(),
            held_stop: None,
            inbox: Inbox::default(),
            datagrams: DatagramStats::default(),
            sent: 0,
            received: 0,
            opened_at: now,
            last_activity: now,
        }
    }

    /// Both directions ended.
    pub(crate) fn is_over(&self) -> bool {
        let sent = matches!(
            self.send,
            SendSide::Finished | SendSide::Reset | SendSide::Stopped(_)
        );
        let received = matches!(
            self.recv,
            RecvSide::Finished | RecvSide::Reset(_) | RecvSide::Stopped
        );
        sent && received
    }

    /// The stream to write payload to, as far as the state of the channel goes.
    pub(crate) fn writable(&self, kind: ChannelKind) -> Result<StreamId, ChannelWriteError> {
        if self.request.kind != kind {
            return Err(ChannelWriteError::WrongKind);
        }
        match self.send {
            SendSide::Open => {}
            SendSide::Stopped(code) => return Err(ChannelWriteError::Stopped(code)),
            _ => return Err(ChannelWriteError::Ended),
        }
        match (&self.phase, self.stream) {
            (Phase::Open | Phase::Requested(_), Some(stream)) => Ok(stream),
            (Phase::Queued, _) => Err(ChannelWriteError::Blocked),
            (Phase::Offered, _) => Err(ChannelWriteError::NotAccepted),
            _ => Err(ChannelWriteError::Closed),
        }
    }

    /// The stream to read payload from; `Ok(None)` when the peer's end was read before.
    pub(crate) fn readable(&self, kind: ChannelKind) -> Result<Option<StreamId>, ChannelReadError> {
        if self.request.kind != kind {
            return Err(ChannelReadError::WrongKind);
        }
        match self.recv {
            RecvSide::Open | RecvSide::Ending(_) => {}
            RecvSide::Finished => return Ok(None),
            RecvSide::Reset(code) => return Err(ChannelReadError::Reset(code)),
            RecvSide::Stopped => return Err(ChannelReadError::Stopped),
        }
        match (&self.phase, self.stream) {
            (_, _) if self.held_stop.is_some() => Err(ChannelReadError::Stopped),
            (Phase::Open, Some(stream)) => Ok(Some(stream)),
            (Phase::Queued | Phase::Requested(_), _) => Err(ChannelReadError::Blocked),
            (Phase::Offered, _) => Err(ChannelReadError::NotAccepted),
            _ => Err(ChannelReadError::Closed),
        }
    }

    /// Hands the rest of our first frame to the link, and the end after it if we finished.
    ///
    /// # Errors
    /// What the link says; the rest is kept when it is `Blocked`.
    pub(crate) fn flush(&mut self, link: &mut dyn Link) -> Result<(), WriteError> {
        let Some(stream) = self.stream else {
            return Err(WriteError::Blocked);
        };
        if self.preface.is_empty() {
            return Ok(());
        }
        while !self.preface.is_empty() {
            let mut chunk = [std::mem::take(&mut self.preface)];
            let result = link.write(stream, &mut chunk);
            let [rest] = chunk;
            self.preface = rest;
            result?;
        }
        if self.send == SendSide::Finishing {
            link.finish(stream);
        }
        Ok(())
    }

    /// Bytes that the mux itself holds for the channel.
    pub(crate) fn buffered(&self) -> usize {
        let partial = match &self.phase {
            Phase::Requested(reader) | Phase::Receiving(reader) => reader.buffered(),
            _ => 0,
        };
        partial + self.preface.len() + self.inbox.bytes()
    }

    /// `None` while the application does not know of the channel.
    pub(crate) fn stats(&self) -> Option<ChannelStats> {
        let state = match self.phase {
            Phase::Queued => ChannelState::Queued,
            Phase::Requested(_) => ChannelState::Requested,
            Phase::Offered => ChannelState::Offered,
            Phase::Open => ChannelState::Open,
            Phase::Declining => ChannelState::Declining,
            Phase::Receiving(_) => return None,
        };
        self.announced.then(|| ChannelStats {
            id: self.id,
            name: self.request.name.clone(),
            kind: self.request.kind,
            priority: self.request.priority,
            opened_by: self.opened_by,
            state,
            sent: self.sent,
            received: self.received,
            datagrams: DatagramStats {
                queued: self.inbox.len(),
                queued_bytes: self.inbox.bytes(),
                ..self.datagrams
            },
            opened_at: self.opened_at,
            last_activity: self.last_activity,
        })
    }
}
