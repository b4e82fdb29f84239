//! What the mux tells its driver: events, faults and the names of its deadlines.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::codec::DecodeError;
use crate::reason::{CloseReason, DeclineReason};
use crate::request::ChannelRequest;
use crate::stats::ChannelStats;

/// Names one channel of one [`Mux`](crate::Mux); never used twice by it, and its own: the peer
/// numbers its channels for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(crate) u64);

impl ChannelId {
    /// The number, for display and as a key.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// Which side of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Opened the connection; opens the control stream.
    Initiator,
    /// Accepted the connection.
    Responder,
}

/// What happened; drained with [`Mux::poll_event`](crate::Mux::poll_event) after every call.
///
/// For each channel, from [`Mux::open`](crate::Mux::open) or [`Event::Incoming`] on, exactly one
/// [`Event::Closed`] comes, after all others of that channel.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer asks for a channel; answer with [`Mux::accept`](crate::Mux::accept) or
    /// [`Mux::decline`](crate::Mux::decline) within
    /// [`ANSWER_TIMEOUT`](crate::limits::ANSWER_TIMEOUT).
    Incoming {
        /// The channel, if it is accepted.
        id: ChannelId,
        /// What the peer asks for.
        request: ChannelRequest,
    },
    /// The peer accepted our request.
    Accepted {
        /// Our channel.
        id: ChannelId,
    },
    /// The peer declined our request, or can no longer be asked; [`Event::Closed`] follows.
    Declined {
        /// Our channel.
        id: ChannelId,
        /// The peer's reason.
        reason: DeclineReason,
    },
    /// A stream channel may have bytes, its end or a reset to read: read until `Blocked`.
    Readable {
        /// The channel.
        id: ChannelId,
    },
    /// A channel takes payload again after `Blocked`.
    Writable {
        /// The channel.
        id: ChannelId,
    },
    /// Everything we sent, and its end, was acknowledged by the peer's connection.
    Finished {
        /// The channel.
        id: ChannelId,
    },
    /// The peer stopped reading: our direction is over.
    Stopped {
        /// The channel.
        id: ChannelId,
        /// The peer's code.
        code: u32,
    },
    /// A datagram channel has datagrams, its end or a reset: receive until `Blocked`.
    DatagramReadable {
        /// The channel.
        id: ChannelId,
    },
    /// Both directions ended; the id is no longer known to the mux.
    Closed {
        /// The channel.
        id: ChannelId,
        /// Its final counters.
        stats: Box<ChannelStats>,
    },
    /// A [`Mux::ping`](crate::Mux::ping) came back.
    Pong {
        /// What `ping` returned.
        nonce: u64,
        /// From `ping` to now; includes the time in both queues.
        rtt: Duration,
    },
    /// The program on the other side has sent these bytes beside all channels, see
    /// [`Mux::note`](crate::Mux::note).
    Note {
        /// At most [`MAX_NOTE`](crate::limits::MAX_NOTE).
        body: Bytes,
    },
    /// The peer closes gracefully: nothing new can be opened, what is open may go on.
    GoAway {
        /// The peer's reason.
        reason: CloseReason,
    },
    /// After a GoAway of either side, both sides have no channel left; close the connection now.
    /// Comes at most once.
    Drained,
    /// The peer broke the protocol of the control stream: close the connection now. Comes at most
    /// once, nothing but [`Event::Closed`] follows, and all calls fail from here on.
    Fault {
        /// What the peer did.
        fault: Fault,
    },
}

/// How the peer broke the protocol of the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// No Hello within [`HELLO_TIMEOUT`](crate::limits::HELLO_TIMEOUT).
    #[error("the peer sent no hello in time")]
    HelloTimeout,
    /// Something else before the Hello.
    #[error("the peer did not begin with a hello")]
    HelloExpected,
    /// A second Hello.
    #[error("the peer sent a second hello")]
    SecondHello,
    /// A version below the oldest one that is spoken here.
    #[error("the peer speaks version {theirs} of the channel protocol")]
    UnsupportedVersion {
        /// The peer's version.
        theirs: u16,
    },
    /// A frame longer than [`MAX_CONTROL_FRAME`](crate::limits::MAX_CONTROL_FRAME).
    #[error("the peer sent a control frame of {length} bytes")]
    FrameTooLong {
        /// Length that the frame claims, in bytes.
        length: usize,
    },
    /// A frame that does not decode.
    #[error("the peer sent a malformed control frame")]
    Malformed(#[from] DecodeError),
    /// The control stream was finished, reset or stopped.
    #[error("the peer closed the control stream")]
    ControlClosed,
}

impl Fault {
    /// A stable number for the connection's close code: 1 to 7, in the order of the variants.
    #[must_use]
    pub fn code(&self) -> u32 {
        match self {
            Self::HelloTimeout => 1,
            Self::HelloExpected => 2,
            Self::SecondHello => 3,
            Self::UnsupportedVersion { .. } => 4,
            Self::FrameTooLong { .. } => 5,
            Self::Malformed(_) => 6,
            Self::ControlClosed => 7,
        }
    }
}

/// What [`Mux::poll_timeout`](crate::Mux::poll_timeout) waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Deadline {
    /// The peer's Hello.
    Hello,
    /// The rest of a request of the peer.
    Request,
    /// The application's answer to a request of the peer.
    Answer,
}
