//! Errors of the calls on a mux, one enum per operation.

use thiserror::Error;

use crate::link::SendDatagramError;
use crate::request::InvalidRequest;

/// Why a channel cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The request breaks a rule of the wire format.
    #[error("the request is not valid")]
    InvalidRequest(#[from] InvalidRequest),
    /// [`Limits::max_channels`](crate::Limits::max_channels) is reached.
    #[error("{max} channels are open")]
    TooManyChannels {
        /// The bound.
        max: usize,
    },
    /// [`Limits::max_queued_opens`](crate::Limits::max_queued_opens) is reached.
    #[error("{max} opens wait for a stream")]
    QueueFull {
        /// The bound.
        max: usize,
    },
    /// A datagram channel, and the connection carries no datagrams.
    #[error("the connection carries no datagrams")]
    DatagramsUnsupported,
    /// This side or the peer is closing the connection.
    #[error("the connection is closing")]
    ShuttingDown,
    /// The connection is lost or faulty.
    #[error("the connection is closed")]
    ConnectionClosed,
}

/// Why a request cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It was declined before, by the application or because the time for an answer was over, the
    /// opener withdrew it, or the id never was.
    #[error("the request is gone")]
    Gone,
    /// It was accepted before, or is a request of this side.
    #[error("the channel waits for no answer")]
    NotOffered,
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelWriteError {
    /// No room: [`Event::Writable`](crate::Event::Writable) follows.
    #[error("no room in the send window")]
    Blocked,
    /// The peer stopped reading with this code.
    #[error("the peer stopped reading with code {0}")]
    Stopped(u32),
    /// Our direction was finished or reset before.
    #[error("the direction was ended before")]
    Ended,
    /// A request of the peer that was not accepted yet.
    #[error("the channel is not accepted yet")]
    NotAccepted,
    /// Bytes for a datagram channel.
    #[error("the channel is not of this kind")]
    WrongKind,
    /// The channel ended, or never was.
    #[error("the channel is closed")]
    Closed,
}

/// Why nothing was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelReadError {
    /// Nothing there yet: [`Event::Readable`](crate::Event::Readable) or
    /// [`Event::DatagramReadable`](crate::Event::DatagramReadable) follows.
    #[error("nothing to read yet")]
    Blocked,
    /// The peer reset its direction with this code.
    #[error("the peer reset its direction with code {0}")]
    Reset(u32),
    /// We stopped reading before.
    #[error("reading was stopped before")]
    Stopped,
    /// A request of the peer that was not accepted yet.
    #[error("the channel is not accepted yet")]
    NotAccepted,
    /// Bytes from a datagram channel or datagrams from a stream.
    #[error("the channel is not of this kind")]
    WrongKind,
    /// The channel ended, or never was.
    #[error("the channel is closed")]
    Closed,
}

/// Why a datagram was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelDatagramError {
    /// Larger than the path carries now, the channel number counted.
    #[error("the datagram is larger than {max} bytes")]
    TooLarge {
        /// Largest payload that would go, in bytes.
        max: usize,
    },
    /// No room: [`Event::Writable`](crate::Event::Writable) follows.
    #[error("no room for datagrams")]
    Blocked,
    /// The peer takes no datagrams.
    #[error("the connection carries no datagrams")]
    Unsupported,
    /// The peer stopped receiving with this code.
    #[error("the peer stopped receiving with code {0}")]
    Stopped(u32),
    /// Our direction was finished or reset before.
    #[error("the direction was ended before")]
    Ended,
    /// A request of the peer that was not accepted yet.
    #[error("the channel is not accepted yet")]
    NotAccepted,
    /// A datagram for a stream channel.
    #[error("the channel is not of this kind")]
    WrongKind,
    /// The channel ended, or never was.
    #[error("the channel is closed")]
    Closed,
}

impl From<ChannelWriteError> for ChannelDatagramError {
    fn from(error: ChannelWriteError) -> Self {
        match error {
            ChannelWriteError::Blocked => Self::Blocked,
            ChannelWriteError::Stopped(code) => Self::Stopped(code),
            ChannelWriteError::Ended => Self::Ended,
            ChannelWriteError::NotAccepted => Self::NotAccepted,
            ChannelWriteError::WrongKind => Self::WrongKind,
            ChannelWriteError::Closed => Self::Closed,
        }
    }
}

impl ChannelDatagramError {
    /// The link's error, with the room for the channel number taken off the size.
    pub(crate) fn from_link(error: SendDatagramError, prefix: usize) -> Self {
        match error {
            SendDatagramError::TooLarge { max } => Self::TooLarge {
                max: max.saturating_sub(prefix),
            },
            SendDatagramError::Blocked => Self::Blocked,
            SendDatagramError::Unsupported => Self::Unsupported,
        }
    }
}

/// Why a note was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// More than [`MAX_NOTE`](crate::limits::MAX_NOTE) bytes.
    #[error("a note of {found} bytes is too long")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// The peer has not read the control messages before.
    #[error("the peer reads no control messages")]
    Blocked,
    /// The control stream is not there: not connected yet, or the connection is closed.
    #[error("the control stream is not open")]
    NotConnected,
}

/// Why a ping was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PingError {
    /// [`MAX_PINGS`](crate::limits::MAX_PINGS) wait for their Pong.
    #[error("{max} pings are not answered")]
    TooManyPings {
        /// The bound.
        max: usize,
    },
    /// The control stream is not there: not connected yet, or the connection is closed.
    #[error("the control stream is not open")]
    NotConnected,
}
