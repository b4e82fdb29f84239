//! What an operation is about: the question of its lookup and what it stores.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::address::Family;
use crate::id::Id;
use crate::item::MutableItem;
use crate::krpc::{Method, Put};
use crate::node::custody::Told;
use crate::node::rendezvous::meeting_place;
use crate::value::ValueQuery;

/// The port under which peers are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnouncePort {
    /// The port from which the storing node sees the announcement come (`implied_port`).
    Implied,
    /// This one.
    Number(u16),
}

/// Padding of questions whose answer may hold a whole item: a third of the longest answer, so
/// that it fits into three times the question.
const ITEM_PADDING: u16 = 380;

/// A place after every value, in the order of values under a key.
const AFTER_ALL: &[u8] = &[0xff; 40];

/// What an operation does.
#[derive(Debug)]
pub(crate) enum Task {
    /// Asks one node whether it is there.
    Ping,
    /// Finds the nodes nearest to the target.
    FindNode { target: Id },
    /// The same, for the node's own sake.
    Refresh { target: Id, family: Family },
    /// Finds nodes with the value layer near the target, for the node's own sake.
    FindExtension { target: Id, family: Family },
    /// Finds nodes with the value layer at their meeting place.
    LookForMeeting,
    /// The same, and says that this node is one of them.
    Meet,
    /// Finds peers.
    FindPeers { info_hash: Id },
    /// Says that this host is a peer.
    Announce { info_hash: Id, port: AnnouncePort },
    /// Fetches an item.
    FindItem {
        target: Id,
        /// What a mutable item was stored with.
        salt: Box<[u8]>,
        /// The highest `seq` seen.
        newest: Option<i64>,
    },
    /// Stores an immutable item.
    PutImmutable { target: Id, value: Box<[u8]> },
    /// Stores a mutable item.
    PutMutable {
        item: Box<MutableItem>,
        cas: Option<i64>,
    },
    /// Asks one node for a sample of its info hashes.
    Sample { target: Id },
    /// Fetches values.
    FindValues {
        target: Id,
        query: ValueQuery,
        encoded: Option<Box<[u8]>>,
    },
    /// Stores a value.
    PutValue { target: Id, record: Box<[u8]> },
    /// Finds out who of the nearest lacks an item that is kept here.
    SurveyItem {
        target: Id,
        seq: Option<i64>,
        held_by: BTreeSet<SocketAddr>,
    },
    /// Finds out who of the nearest lacks which of the values that are kept here.
    SurveyValues {
        target: Id,
        encoded: Box<[u8]>,
        told: BTreeMap<SocketAddr, Told>,
    },
    /// Subscribes to a key.
    Subscribe {
        target: Id,
        listener: u64,
        encoded: Option<Box<[u8]>>,
    },
}

impl Task {
    /// The question of the lookup, and its padding.
    pub(crate) fn query(&self) -> (Method<'_>, u16) {
        match self {
            Self::Ping => (Method::Ping, 0),
            Self::FindNode { target } | Self::Refresh { target, .. } => {
                (Method::FindNode { target: *target }, 0)
            }
            Self::FindPeers { info_hash } | Self::Announce { info_hash, .. } => (
                Method::GetPeers {
                    info_hash: *info_hash,
                },
                0,
            ),
            Self::Meet | Self::LookForMeeting => (
                Method::GetPeers {
                    info_hash: meeting_place(),
                },
                0,
            ),
            Self::FindItem { target, newest, .. } => {
                let seq = *newest;
                (
                    Method::Get {
                        target: *target,
                        seq,
                    },
                    ITEM_PADDING,
                )
            }
            Self::SurveyItem { target, seq, .. } => {
                let (target, seq) = (*target, *seq);
                (Method::Get { target, seq }, ITEM_PADDING)
            }
            Self::SurveyValues {
                target, encoded, ..
            } => (
                Method::ValueGet {
                    target: *target,
                    filter: Some(encoded),
                    after: None,
                },
                ITEM_PADDING,
            ),
            Self::PutImmutable { target, .. } => {
                // A token is all that is wanted.
                let (target, seq) = (*target, Some(i64::MAX));
                (Method::Get { target, seq }, 0)
            }
            Self::PutMutable { item, .. } => {
                let (target, seq) = (item.target(), Some(item.seq()));
                (Method::Get { target, seq }, 0)
            }
            Self::Sample { target } => (Method::SampleInfohashes { target: *target }, 0),
            Self::FindValues {
                target, encoded, ..
            }
            | Self::Subscribe {
                target, encoded, ..
            } => (
                Method::ValueGet {
                    target: *target,
                    filter: encoded.as_deref(),
                    after: None,
                },
                ITEM_PADDING,
            ),
            Self::PutValue { target, .. } | Self::FindExtension { target, .. } => (
                // A token is all that is wanted: there is nothing after the last value.
                Method::ValueGet {
                    target: *target,
                    filter: None,
                    after: Some(AFTER_ALL),
                },
                0,
            ),
        }
    }

    /// The question for the values after those that a node told.
    pub(crate) fn page<'a>(&'a self, after: &'a [u8]) -> Option<(Method<'a>, u16)> {
        let (Self::FindValues {
            target, encoded, ..
        }
        | Self::Subscribe {
            target, encoded, ..
        }) = self
        else {
            return None;
        };
        let method = Method::ValueGet {
            target: *target,
            filter: encoded.as_deref(),
            after: Some(after),
        };
        Some((method, ITEM_PADDING))
    }

    /// Whether something is stored when the lookup is through.
    pub(crate) fn stores(&self) -> bool {
        matches!(
            self,
            Self::Announce { .. }
                | Self::Meet
                | Self::PutImmutable { .. }
                | Self::PutMutable { .. }
                | Self::PutValue { .. }
                | Self::Subscribe { .. }
        )
    }

    /// Whether it looks for something that may be there or not.
    pub(crate) fn seeks(&self) -> bool {
        matches!(
            self,
            Self::FindPeers { .. } | Self::FindItem { .. } | Self::FindValues { .. }
        )
    }

    /// Whether only nodes with the value layer are of use.
    pub(crate) fn needs_extension(&self) -> bool {
        matches!(
            self,
            Self::FindValues { .. }
                | Self::FindExtension { .. }
                | Self::PutValue { .. }
                | Self::SurveyValues { .. }
                | Self::Subscribe { .. }
        )
    }

    /// Whether storing twice is the same as storing once. With `cas` it is not: the second finds
    /// what the first has stored.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !matches!(self, Self::PutMutable { cas: Some(_), .. })
    }

    /// The message that stores, with a node's token.
    pub(crate) fn store<'a>(&'a self, token: &'a [u8]) -> Option<Method<'a>> {
        Some(match self {
            Self::Announce { info_hash, port } => Method::AnnouncePeer {
                info_hash: *info_hash,
                port: match port {
                    AnnouncePort::Implied => None,
                    AnnouncePort::Number(port) => Some(*port),
                },
                fallback_port: 0,
                token,
            },
            Self::Meet => Method::AnnouncePeer {
                info_hash: meeting_place(),
                port: None,
                fallback_port: 0,
                token,
            },
            Self::PutImmutable { value, .. } => Method::Put(Put {
                token,
                value,
                mutable: None,
            }),
            Self::PutMutable { item, cas } => Method::Put(item.as_put(token, *cas)),
            Self::PutValue { target, record } => Method::ValuePut {
                target: *target,
                token,
                record,
            },
            Self::Subscribe {
                target,
                listener,
                encoded,
            } => Method::ValueListen {
                target: *target,
                token,
                listener: *listener,
                filter: encoded.as_deref(),
            },
            _ => return None,
        })
    }
}
