//! What the mux needs of a connection: streams, datagrams and the events they give rise to.
//!
//! The shapes follow QUIC (RFC 9000 sections 2 and 3, RFC 9221), so that an implementation over a
//! QUIC state machine is a few lines for each function, but nothing here is tied to it.

use bytes::Bytes;
use thiserror::Error;

/// Names one bidirectional stream of a [`Link`]; opaque to the mux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// One connection, as the mux uses it.
///
/// What an implementation owes the mux:
///
/// - Streams are bidirectional, reliable and ordered within themselves; between streams there is
///   no order, save that [`Link::accept_stream`] hands out the peer's streams in the order in
///   which the peer opened them.
/// - Readiness is edge-triggered: after `Blocked` from [`Link::write`], [`Link::read`] or
///   [`Link::send_datagram`] the matching [`LinkEvent`] follows as soon as a retry is worthwhile.
///   A short write is not `Blocked`; the next call says so.
/// - No function blocks, and none calls back into the mux.
pub trait Link {
    /// Opens a bidirectional stream. `None` while the peer's stream limit is reached;
    /// [`LinkEvent::StreamsAvailable`] follows when it is raised.
    fn open_stream(&mut self) -> Option<StreamId>;

    /// The next stream that the peer opened, in the peer's order; `None` when there is none.
    fn accept_stream(&mut self) -> Option<StreamId>;

    /// Queues bytes for sending: takes them from the front of `chunks`, leaves the rest there,
    /// and returns how many bytes it took.
    ///
    /// # Errors
    /// `Blocked` when not one byte fits, `Stopped` when the peer no longer reads, `Closed` when
    /// the stream does not take data any more.
    fn write(&mut self, id: StreamId, chunks: &mut [Bytes]) -> Result<usize, WriteError>;

    /// Takes at most `max` received bytes, in order. `Ok(None)`: the peer finished, and all of it
    /// was read.
    ///
    /// # Errors
    /// `Blocked` when nothing is there yet, `Reset` when the peer gave up the direction,
    /// `Closed` when the stream has nothing to read any more.
    fn read(&mut self, id: StreamId, max: usize) -> Result<Option<Bytes>, ReadError>;

    /// Ends the sending direction after what was written. [`LinkEvent::Finished`] follows when
    /// the peer acknowledged all of it.
    fn finish(&mut self, id: StreamId);

    /// Gives up the sending direction; what was not yet delivered may be lost.
    fn reset(&mut self, id: StreamId, code: u32);

    /// Gives up the receiving direction and asks the peer to stop sending.
    fn stop(&mut self, id: StreamId, code: u32);

    /// Sets the sending priority: streams with the larger number go first.
    fn set_priority(&mut self, id: StreamId, priority: i32);

    /// Queues one unreliable datagram.
    ///
    /// # Errors
    /// See [`SendDatagramError`]. After `Blocked`, [`LinkEvent::DatagramsUnblocked`] follows.
    fn send_datagram(&mut self, datagram: Bytes) -> Result<(), SendDatagramError>;

    /// The next received datagram.
    fn recv_datagram(&mut self) -> Option<Bytes>;

    /// Largest datagram that can be sent now, in bytes; `None` when the peer takes none.
    fn max_datagram_size(&self) -> Option<usize>;
}

/// Something that happened on the connection; the driver hands each to
/// [`Mux::handle_link_event`](crate::Mux::handle_link_event).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// The handshake is over; streams can be opened.
    Connected,
    /// The peer raised the number of streams that may be opened.
    StreamsAvailable,
    /// The peer opened at least one stream.
    StreamOpened,
    /// The stream has data, its end, or a reset to read.
    Readable(StreamId),
    /// The stream takes data again.
    Writable(StreamId),
    /// Everything sent on the stream, its end included, was acknowledged.
    Finished(StreamId),
    /// The peer stopped reading the stream, with this code.
    Stopped(StreamId, u32),
    /// At least one datagram arrived.
    DatagramReceived,
    /// Datagrams can be sent again.
    DatagramsUnblocked,
    /// The connection is gone, for whatever reason: every channel ends at once.
    Lost,
}

/// Why [`Link::write`] took nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// No room in a window or buffer.
    #[error("no room in the send window")]
    Blocked,
    /// The peer stopped reading with this code.
    #[error("the peer stopped reading with code {0}")]
    Stopped(u32),
    /// Finished, reset, or unknown to the link.
    #[error("the stream is closed")]
    Closed,
}

/// Why [`Link::read`] returned nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Nothing there yet.
    #[error("nothing to read yet")]
    Blocked,
    /// The peer reset its direction with this code.
    #[error("the peer reset the stream with code {0}")]
    Reset(u32),
    /// Stopped, read to its end before, or unknown to the link.
    #[error("the stream is closed")]
    Closed,
}

/// Why [`Link::send_datagram`] did not queue the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendDatagramError {
    /// Larger than the path carries now.
    #[error("the datagram is larger than {max} bytes")]
    TooLarge {
        /// Largest datagram that would go, in bytes.
        max: usize,
    },
    /// The send buffer is full.
    #[error("no room for datagrams")]
    Blocked,
    /// The peer takes no datagrams, or the connection is gone.
    #[error("the connection carries no datagrams")]
    Unsupported,
}
