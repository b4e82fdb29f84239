//! What a node tells its owner.

use std::net::SocketAddr;
use std::time::Duration;

use crate::address::{Contact, Family};
use crate::id::Id;
use crate::item::MutableItem;
use crate::value::{FieldRecord, Value, ValueKey};

/// An operation of this node, from the call that began it to its [`Event::Done`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub(crate) u64);

/// An item that was found and verified (BEP 44).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The bencoded value whose hash was asked for.
    Immutable(Vec<u8>),
    /// A signed value.
    Mutable(MutableItem),
}

/// Why a node did not store something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who refused.
    pub address: SocketAddr,
    /// The code of its error (BEP 5, BEP 44, docs/wire-format/dht-messages.md).
    pub code: i64,
    /// Its words, at most 120 bytes of them, unprintable ones replaced.
    pub text: String,
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The nearest nodes that answered, nearest first: at most 8 of each family.
    pub closest: Vec<Contact>,
    /// Nodes that stored what was to be stored.
    pub acknowledged: usize,
    /// Nodes that refused.
    pub refused: Vec<Refusal>,
    /// Nodes that were asked to store and said nothing.
    pub silent: usize,
    /// This node is among the nearest and stored it too.
    pub stored_here: bool,
    /// Queries that were made.
    pub queries: u32,
    /// Nodes that answered.
    pub answers: u32,
    /// The longest chain of nodes that told of each other.
    pub hops: u8,
    /// From the call to the end.
    pub elapsed: Duration,
}

/// What one node says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// Who answered.
    pub contact: Contact,
    /// From the question to the answer.
    pub round_trip: Duration,
    /// `v`: its software.
    pub version: Option<Vec<u8>>,
    /// `ip`: our address as it saw it.
    pub external: Option<SocketAddr>,
    /// `dn`: the version of the value layer that it speaks.
    pub extension: Option<u32>,
}

/// What a node answers to `sample_infohashes` (BEP 51).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Who answered.
    pub contact: Contact,
    /// Info hashes it keeps.
    pub samples: Vec<Id>,
    /// How long to wait before asking it again.
    pub interval: Duration,
    /// How many it keeps.
    pub count: u64,
    /// Nodes near the target.
    pub nodes: Vec<Contact>,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node knows its neighbourhood: lookups in this family work from here on.
    Ready(Family),
    /// Nobody of those that were to help in answered; the node keeps trying.
    BootstrapFailed(Family),
    /// Several nodes agree on this address of ours.
    ExternalAddress(SocketAddr),
    /// A node answered a ping.
    Pong(OperationId, Pong),
    /// A node told of others, in answer to a question to it alone.
    Nodes(OperationId, Vec<Contact>),
    /// Peers of the info hash that was asked for; those told before may come again.
    Peers(OperationId, Vec<SocketAddr>),
    /// An item was found; of a mutable one, newer than those before.
    Item(OperationId, Item),
    /// Info hashes of a node.
    Sample(OperationId, Sample),
    /// A value under the key was found or came in, new or changed.
    Value(OperationId, Value),
    /// A value that was told is no more: expired, or removed by its owner.
    Gone(OperationId, ValueKey),
    /// Selected fields of a value, told by one node and not verified: several nodes may tell the
    /// same.
    Fields(OperationId, FieldRecord),
    /// The nearest nodes were asked to tell of changes; how many took it is in `acknowledged`.
    Listening(OperationId, Outcome),
    /// The operation is over.
    Done(OperationId, Outcome),
}

impl Event {
    /// The operation that this is about.
    #[must_use]
    pub const fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Ready(_) | Self::BootstrapFailed(_) | Self::ExternalAddress(_) => None,
            Self::Pong(id, _)
            | Self::Nodes(id, _)
            | Self::Peers(id, _)
            | Self::Item(id, _)
            | Self::Sample(id, _)
            | Self::Value(id, _)
            | Self::Gone(id, _)
            | Self::Fields(id, _)
            | Self::Listening(id, _)
            | Self::Done(id, _) => Some(*id),
        }
    }
}
