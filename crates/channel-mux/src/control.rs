//! The control stream: Hello, Ping, Pong, GoAway and Bye.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::codec::{self, ControlFrame, Hello, VERSION};
use crate::error::{NoteError, PingError};
use crate::event::Fault;
use crate::frame::{FrameError, FrameReader};
use crate::limits::{
    Limits, MAX_CONTROL_BACKLOG, MAX_CONTROL_FRAME, MAX_NOTE, MAX_PINGS, MIN_PENDING_REQUESTS,
};
use crate::link::{Link, StreamId, WriteError};

/// Above every channel, see [`Priority::link_priority`](crate::Priority::link_priority).
const CONTROL_PRIORITY: i32 = 100;

/// The control stream of one connection.
#[derive(Debug)]
pub(crate) struct Control {
    stream: Option<StreamId>,
    reader: FrameReader,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    hello: Hello,
    peer: Option<Hello>,
    pings: BTreeMap<u64, Instant>,
    next_nonce: u64,
}

impl Control {
    pub(crate) fn new(limits: &Limits) -> Self {
        let hello = Hello {
            version: VERSION,
            max_channels: u32::try_from(limits.channels()).unwrap_or(u32::MAX),
            max_pending_requests: u32::try_from(limits.pending_requests()).unwrap_or(u32::MAX),
        };
        Self {
            stream: None,
            reader: FrameReader::new(MAX_CONTROL_FRAME),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            hello,
            peer: None,
            pings: BTreeMap::new(),
            next_nonce: 0,
        }
    }

    /// Takes the stream and says Hello on it.
    pub(crate) fn start(&mut self, link: &mut dyn Link, stream: StreamId) -> Result<(), Fault> {
        self.stream = Some(stream);
        link.set_priority(stream, CONTROL_PRIORITY);
        self.backlog
            .push_front(codec::encode_control(&ControlFrame::Hello(self.hello)));
        self.backlog_bytes += self.backlog[0].len();
        self.flush(link)
    }

    pub(crate) fn is_started(&self) -> bool {
        self.stream.is_some()
    }

    pub(crate) fn is(&self, stream: StreamId) -> bool {
        self.stream == Some(stream)
    }

    pub(crate) fn peer_said_hello(&self) -> bool {
        self.peer.is_some()
    }

    /// How many of our requests the peer takes at once.
    pub(crate) fn max_awaiting_answer(&self) -> usize {
        self.peer.map_or(MIN_PENDING_REQUESTS, |peer| {
            let told = usize::try_from(peer.max_pending_requests).unwrap_or(usize::MAX);
            told.max(1)
        })
    }

    pub(crate) fn buffered(&self) -> usize {
        self.backlog_bytes + self.reader.buffered()
    }

    /// Queues a message; it goes out at once if the stream takes it. Before the stream is there
    /// it waits behind the Hello.
    pub(crate) fn send(
        &mut self,
        link: &mut dyn Link,
        message: &ControlFrame,
    ) -> Result<(), Fault> {
        let frame = codec::encode_control(message);
        self.backlog_bytes += frame.len();
        self.backlog.push_back(frame);
        self.flush(link)
    }

    /// Writes what the stream takes.
    pub(crate) fn flush(&mut self, link: &mut dyn Link) -> Result<(), Fault> {
        let Some(stream) = self.stream else {
            return Ok(());
        };
        while let Some(front) = self.backlog.front_mut() {
            match link.write(stream, std::slice::from_mut(front)) {
                Ok(written) => self.backlog_bytes -= written,
                Err(WriteError::Blocked) => return Ok(()),
                Err(WriteError::Stopped(_) | WriteError::Closed) => {
                    return Err(Fault::ControlClosed);
                }
            }
            if front.is_empty() {
                self.backlog.pop_front();
            }
        }
        Ok(())
    }

    /// The next message that the mux must act upon, Hello and its rules done. `None` when nothing
    /// is there, or when the peer must first read what waits for it.
    pub(crate) fn read(&mut self, link: &mut dyn Link) -> Result<Option<ControlFrame>, Fault> {
        let Some(stream) = self.stream else {
            return Ok(None);
        };
        if self.backlog_bytes > MAX_CONTROL_BACKLOG {
            return Ok(None);
        }
        let body = match self.reader.read(link, stream) {
            Ok(body) => body,
            Err(FrameError::Blocked) => return Ok(None),
            Err(FrameError::TooLong { length }) => return Err(Fault::FrameTooLong { length }),
            Err(FrameError::Ended | FrameError::Reset(_)) => return Err(Fault::ControlClosed),
        };
        let message = codec::decode_control(&body)?;
        match (&message, self.peer) {
            (ControlFrame::Hello(_), Some(_)) => return Err(Fault::SecondHello),
            (ControlFrame::Hello(hello), None) if hello.version < VERSION => {
                return Err(Fault::UnsupportedVersion {
                    theirs: hello.version,
                });
            }
            (ControlFrame::Hello(hello), None) => self.peer = Some(*hello),
            (_, None) => return Err(Fault::HelloExpected),
            (_, Some(_)) => {}
        }
        Ok(Some(message))
    }

    /// Sends a Ping.
    pub(crate) fn ping(
        &mut self,
        link: &mut dyn Link,
        now: Instant,
    ) -> Result<Result<u64, Fault>, PingError> {
        if !self.is_started() {
            return Err(PingError::NotConnected);
        }
        if self.pings.len() >= MAX_PINGS {
            return Err(PingError::TooManyPings { max: MAX_PINGS });
        }
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        self.pings.insert(nonce, now);
        Ok(self.send(link, &ControlFrame::Ping(nonce)).map(|()| nonce))
    }

    /// Sends a note.
    pub(crate) fn note(
        &mut self,
        link: &mut dyn Link,
        body: Bytes,
    ) -> Result<Result<(), Fault>, NoteError> {
        let found = body.len();
        if found > MAX_NOTE {
            return Err(NoteError::TooLong { found });
        }
        if !self.is_started() {
            return Err(NoteError::NotConnected);
        }
        if self.backlog_bytes + found > MAX_CONTROL_BACKLOG {
            return Err(NoteError::Blocked);
        }
        Ok(self.send(link, &ControlFrame::Note(body)))
    }

    /// The time since the Ping with this nonce, if it was not answered before.
    pub(crate) fn on_pong(&mut self, nonce: u64, now: Instant) -> Option<Duration> {
        let sent = self.pings.remove(&nonce)?;
        Some(now.saturating_duration_since(sent))
    }
}
