//! Counters of a mux and of its channels.

use std::time::Instant;

use crate::event::ChannelId;
use crate::request::{ChannelKind, Priority};

/// Who asked for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenedBy {
    /// This side.
    Local,
    /// The peer.
    Remote,
}

/// Where a channel is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelState {
    /// Ours, waiting for a stream.
    Queued,
    /// Ours, waiting for the answer.
    Requested,
    /// The peer's, waiting for our answer.
    Offered,
    /// Accepted.
    Open,
    /// The peer's, declined; the answer is not acknowledged yet.
    Declining,
}

/// Datagrams of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DatagramStats {
    /// Handed to the connection, which may still lose them.
    pub sent: u64,
    /// Arrived, the dropped ones included.
    pub received: u64,
    /// Arrived, and dropped because the receive queue was full.
    pub dropped: u64,
    /// Waiting to be received by the application.
    pub queued: usize,
    /// Their bytes, overhead included.
    pub queued_bytes: usize,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// The channel.
    pub id: ChannelId,
    /// Name in the request.
    pub name: String,
    /// Stream or datagrams.
    pub kind: ChannelKind,
    /// Priority of what both sides send.
    pub priority: Priority,
    /// Who asked for it.
    pub opened_by: OpenedBy,
    /// Where it is in its life.
    pub state: ChannelState,
    /// Payload bytes handed to the connection.
    pub sent: u64,
    /// Payload bytes read by the application.
    pub received: u64,
    /// Datagram counters, zero for a stream channel.
    pub datagrams: DatagramStats,
    /// When the request was made or its stream seen.
    pub opened_at: Instant,
    /// When payload last went either way, or the application last ended a direction.
    pub last_activity: Instant,
}

/// One connection's channels. Counters run from the start of the connection, gauges (marked) say
/// what is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MuxStats {
    /// Gauge: channels of all states, incomplete requests included.
    pub channels: usize,
    /// Gauge: requests of the peer that are incomplete or unanswered.
    pub pending_requests: usize,
    /// Gauge: requests of ours that wait for the peer's answer.
    pub awaiting_answer: usize,
    /// Gauge: opens of ours that wait for a stream.
    pub queued_opens: usize,
    /// Gauge: bytes of partial frames, unsent frames and received datagrams that the mux holds.
    pub buffered_bytes: usize,
    /// Channels accepted, by either side.
    pub accepted: u64,
    /// Requests declined, by either side.
    pub declined: u64,
    /// Requests of the peer refused unread because a bound was reached.
    pub refused: u64,
    /// Streams of the peer reset because what came on them breaks the protocol.
    pub malformed: u64,
    /// Requests of the peer reset because they did not arrive whole in time.
    pub timed_out: u64,
    /// Payload bytes handed to the connection, datagrams included.
    pub sent: u64,
    /// Payload bytes read by the application, datagrams included.
    pub received: u64,
    /// Datagrams of no known channel, dropped.
    pub datagrams_unknown: u64,
    /// Datagrams without a readable channel number, dropped.
    pub datagrams_malformed: u64,
    /// Datagrams dropped because a queue was full.
    pub datagrams_dropped: u64,
    /// Control messages of kinds that are not known here, skipped.
    pub control_unknown: u64,
    /// Notes of the peer dropped because too many waited.
    pub notes_dropped: u64,
    /// Pongs that answer no outstanding ping, ignored.
    pub pongs_unknown: u64,
}
