//! What a node counts.

use crate::krpc::Method;

/// The methods that are counted apart.
pub const METHODS: [&str; 13] = [
    "ping",
    "find_node",
    "get_peers",
    "announce_peer",
    "get",
    "put",
    "sample_infohashes",
    "dn_get",
    "dn_put",
    "dn_listen",
    "dn_cancel",
    "dn_push",
    "unknown",
];

/// The place of a method in [`METHODS`].
pub(crate) fn method_index(method: &Method<'_>) -> usize {
    match method {
        Method::Ping => 0,
        Method::FindNode { .. } => 1,
        Method::GetPeers { .. } => 2,
        Method::AnnouncePeer { .. } => 3,
        Method::Get { .. } => 4,
        Method::Put(_) | Method::HandOver { .. } => 5,
        Method::SampleInfohashes { .. } => 6,
        Method::ValueGet { .. } => 7,
        Method::ValuePut { .. } => 8,
        Method::ValueListen { .. } => 9,
        Method::ValueCancel { .. } => 10,
        Method::ValuePush { .. } => 11,
        Method::Unknown { .. } => 12,
    }
}

/// Counts since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams that came in, and their bytes.
    pub received: u64,
    /// Bytes of the datagrams that came in.
    pub received_bytes: u64,
    /// Datagrams that went out.
    pub sent: u64,
    /// Bytes of the datagrams that went out.
    pub sent_bytes: u64,
    /// Queries of others, by [`METHODS`].
    pub queries_in: [u64; METHODS.len()],
    /// Own queries, by [`METHODS`].
    pub queries_out: [u64; METHODS.len()],
    /// Answers to own queries.
    pub answers: u64,
    /// Own queries that were refused with an error.
    pub refusals: u64,
    /// Own queries that nobody answered.
    pub unanswered: u64,
    /// Dropped: not a message.
    pub malformed: u64,
    /// Dropped: an answer that nobody waits for, or from an address that was not asked.
    pub unsolicited: u64,
    /// Dropped: of another network.
    pub foreign: u64,
    /// Dropped: too many queries from one address.
    pub limited: u64,
    /// Dropped: from a blocked address.
    pub blocked: u64,
    /// Answers that waited until the asker had shown that it receives at its address.
    pub deferred: u64,
    /// Lookups that came to an end.
    pub lookups: u64,
}
