//! What a KRPC message says (BEP 5 with 32, 42, 43, 44, 51 and the value layer), borrowed from
//! the datagram it came in.

use std::net::SocketAddr;

use super::lists::{Nodes, Peers, Records, Samples};
use crate::id::Id;

/// Longest transaction id that is answered, in bytes. BEP 5 suggests 2; everything seen in
/// practice has at most 8.
pub const MAX_TRANSACTION_LEN: usize = 32;

/// Longest time between two samples of one node that is believed, in seconds (BEP 51).
pub const MAX_INTERVAL: u32 = 21_600;

/// Tells the nodes of a private network from all others: eight bytes derived from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkTag(pub [u8; 8]);

/// The version of the value layer that this crate speaks, sent in the key `dn`.
pub const EXTENSION_VERSION: u32 = 1;

/// One datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `t`: chosen by the asker, repeated by the answer.
    pub transaction: &'a [u8],
    /// `y` with `q`, `r` or `e`.
    pub body: Body<'a>,
    /// `v`: the software, normally two letters and two bytes of version.
    pub version: Option<&'a [u8]>,
    /// `net`: the private network of the sender; none on the public one.
    pub network: Option<NetworkTag>,
    /// `dn`: the version of the value layer that the sender speaks; none on plain Mainline.
    pub extension: Option<u32>,
    /// `ro` = 1: the sender answers nothing (BEP 43). Only queries carry it.
    pub read_only: bool,
    /// `ip`: the asker's address as the answering node saw it (BEP 42). Only answers carry it.
    pub external: Option<SocketAddr>,
}

impl<'a> Message<'a> {
    /// A message that says nothing else: of the public network, as plain Mainline nodes send it.
    #[must_use]
    pub const fn new(transaction: &'a [u8], body: Body<'a>) -> Self {
        Self {
            transaction,
            body,
            version: None,
            network: None,
            extension: None,
            read_only: false,
            external: None,
        }
    }
}

/// A query, its answer, or the refusal of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// `y` = `q`.
    Query(Query<'a>),
    /// `y` = `r`.
    Response(Response<'a>),
    /// `y` = `e`.
    Error(ErrorReply<'a>),
}

/// Node lists that the asker wants (BEP 32). Neither set: those of the family it asked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// `n4`: `nodes`.
    pub v4: bool,
    /// `n6`: `nodes6`.
    pub v6: bool,
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// `a.id`: the asker's id.
    pub sender: Id,
    /// `a.want`.
    pub want: Want,
    /// `q` with its arguments.
    pub method: Method<'a>,
    /// `a.p`: bytes of padding, so that an answer may be longer (three times the query before
    /// the address is proved).
    pub padding: u16,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method<'a> {
    /// `ping`.
    Ping,
    /// `find_node`.
    FindNode {
        /// `target`.
        target: Id,
    },
    /// `get_peers`.
    GetPeers {
        /// `info_hash`.
        info_hash: Id,
    },
    /// `announce_peer`.
    AnnouncePeer {
        /// `info_hash`.
        info_hash: Id,
        /// `port`; none where `implied_port` is not 0: the port the datagram came from.
        port: Option<u16>,
        /// `port` beside an `implied_port`, for nodes that do not know the latter; 0 where it is
        /// unknown, and where `port` says it.
        fallback_port: u16,
        /// `token`.
        token: &'a [u8],
    },
    /// `get` (BEP 44).
    Get {
        /// `target`.
        target: Id,
        /// `seq`: answer with the item only if it is newer than this.
        seq: Option<i64>,
    },
    /// `put` (BEP 44).
    Put(Put<'a>),
    /// `put` with `age`: a node passes on what it keeps for another.
    HandOver {
        /// The arguments of `put`.
        put: Put<'a>,
        /// `age`: seconds since the item's owner put it.
        age: u32,
    },
    /// `sample_infohashes` (BEP 51).
    SampleInfohashes {
        /// `target`.
        target: Id,
    },
    /// `dn_get`: values under a key.
    ValueGet {
        /// `target`.
        target: Id,
        /// `w`: which values and which of their fields, a bencoded dictionary.
        filter: Option<&'a [u8]>,
        /// `after`: where the answer before this one stopped, as it was given.
        after: Option<&'a [u8]>,
    },
    /// `dn_put`: stores, replaces or removes a value.
    ValuePut {
        /// `target`.
        target: Id,
        /// `token`.
        token: &'a [u8],
        /// `rec`: the encoded value.
        record: &'a [u8],
    },
    /// `dn_listen`: asks to be told of changes.
    ValueListen {
        /// `target`.
        target: Id,
        /// `token`.
        token: &'a [u8],
        /// `lid`: the asker's name for this subscription.
        listener: u64,
        /// `w`, as in [`Method::ValueGet`].
        filter: Option<&'a [u8]>,
    },
    /// `dn_cancel`: ends a subscription.
    ValueCancel {
        /// `target`.
        target: Id,
        /// `token`.
        token: &'a [u8],
        /// `lid`.
        listener: u64,
    },
    /// `dn_push`: tells a subscriber of changes.
    ValuePush {
        /// `target`.
        target: Id,
        /// `lid`.
        listener: u64,
        /// `rec`: new and changed values.
        records: Records<'a>,
        /// `gone`: the keys of values that expired or were removed.
        gone: Records<'a>,
    },
    /// Any other method; answered with error 204.
    Unknown {
        /// `q`.
        name: &'a [u8],
    },
}

impl<'a> Method<'a> {
    /// `q`.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::AnnouncePeer { .. } => b"announce_peer",
            Self::Get { .. } => b"get",
            Self::Put(_) | Self::HandOver { .. } => b"put",
            Self::SampleInfohashes { .. } => b"sample_infohashes",
            Self::ValueGet { .. } => b"dn_get",
            Self::ValuePut { .. } => b"dn_put",
            Self::ValueListen { .. } => b"dn_listen",
            Self::ValueCancel { .. } => b"dn_cancel",
            Self::ValuePush { .. } => b"dn_push",
            Self::Unknown { name } => name,
        }
    }
}

/// The arguments of `put` (BEP 44). It travels with `target`, which follows from the rest; one
/// that is missing is fine, one that contradicts makes the query malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// `token`.
    pub token: &'a [u8],
    /// `v`: the value, still bencoded.
    pub value: &'a [u8],
    /// `k` and what goes with it; none for an immutable item.
    pub mutable: Option<MutablePut<'a>>,
}

/// What only a mutable `put` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MutablePut<'a> {
    /// `k`.
    pub key: &'a [u8; 32],
    /// `sig`.
    pub signature: &'a [u8; 64],
    /// `seq`.
    pub seq: i64,
    /// `salt`; empty where there is none.
    pub salt: &'a [u8],
    /// `cas`: the `seq` that must be stored now.
    pub cas: Option<i64>,
}

/// The item in the answer to `get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemReply<'a> {
    /// `v`: the value, still bencoded.
    pub value: &'a [u8],
    /// `k` and `sig`; none for an immutable item. Its `seq` is [`Response::seq`].
    pub signed: Option<(&'a [u8; 32], &'a [u8; 64])>,
}

/// An answer. Which fields are there depends on the question; a reader takes what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// `id`: who answers.
    pub sender: Id,
    /// `nodes`.
    pub nodes: Option<Nodes<'a>>,
    /// `nodes6`.
    pub nodes6: Option<Nodes<'a>>,
    /// `token`.
    pub token: Option<&'a [u8]>,
    /// `values` of `get_peers`.
    pub peers: Option<Peers<'a>>,
    /// `v` with `k` and `sig`.
    pub item: Option<ItemReply<'a>>,
    /// `seq`: the stored item's; may come without the item.
    pub seq: Option<i64>,
    /// `samples`.
    pub samples: Option<Samples<'a>>,
    /// `interval` of `sample_infohashes`, in seconds, 0 to [`MAX_INTERVAL`].
    pub interval: Option<u32>,
    /// `num`: info hashes that the node has.
    pub count: Option<u64>,
    /// `rec` of `dn_get`: encoded values.
    pub records: Option<Records<'a>>,
    /// `more` of `dn_get`: there is more after this, to be asked for with `after`.
    pub more: Option<&'a [u8]>,
    /// `ttl` of `dn_put` and `dn_listen`: for how long, in seconds.
    pub ttl: Option<u32>,
}

impl Response<'_> {
    /// An answer with the id alone, as to `ping`.
    #[must_use]
    pub const fn new(sender: Id) -> Self {
        Self {
            sender,
            nodes: None,
            nodes6: None,
            token: None,
            peers: None,
            item: None,
            seq: None,
            samples: None,
            interval: None,
            count: None,
            records: None,
            more: None,
            ttl: None,
        }
    }
}

/// `e`: a code and a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The code; [`ErrorCode`] names those that are known.
    pub code: i64,
    /// The text, in whatever encoding the sender likes.
    pub text: &'a [u8],
}

/// The codes of BEP 5, BEP 44 and the value layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorCode {
    /// 201: generic error. Also: too many requests.
    Generic,
    /// 202: server error.
    Server,
    /// 203: protocol error: malformed, invalid arguments or a bad token.
    Protocol,
    /// 204: method unknown.
    MethodUnknown,
    /// 205: the value is too big.
    TooBig,
    /// 206: invalid signature.
    BadSignature,
    /// 207: the salt is too big.
    SaltTooBig,
    /// 301: the `cas` does not match what is stored.
    CasMismatch,
    /// 302: the `seq` is less than what is stored.
    SeqTooLow,
    /// 401: the sender's address stores too much already.
    QuotaExceeded,
    /// 402: the policy of the value's type or its owner forbids it.
    PolicyRefused,
    /// 403: the value is expired already, or lies too far in the future.
    BadExpiry,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Generic => 201,
            Self::Server => 202,
            Self::Protocol => 203,
            Self::MethodUnknown => 204,
            Self::TooBig => 205,
            Self::BadSignature => 206,
            Self::SaltTooBig => 207,
            Self::CasMismatch => 301,
            Self::SeqTooLow => 302,
            Self::QuotaExceeded => 401,
            Self::PolicyRefused => 402,
            Self::BadExpiry => 403,
        }
    }

    /// The meaning of a number, if it is known.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        Some(match code {
            201 => Self::Generic,
            202 => Self::Server,
            203 => Self::Protocol,
            204 => Self::MethodUnknown,
            205 => Self::TooBig,
            206 => Self::BadSignature,
            207 => Self::SaltTooBig,
            301 => Self::CasMismatch,
            302 => Self::SeqTooLow,
            401 => Self::QuotaExceeded,
            402 => Self::PolicyRefused,
            403 => Self::BadExpiry,
            _ => return None,
        })
    }

    /// The text that goes with the number.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Generic => "generic error",
            Self::Server => "server error",
            Self::Protocol => "protocol error",
            Self::MethodUnknown => "method unknown",
            Self::TooBig => "message (v field) too big",
            Self::BadSignature => "invalid signature",
            Self::SaltTooBig => "salt (salt field) too big",
            Self::CasMismatch => "the CAS hash mismatched, re-read value and try again",
            Self::SeqTooLow => "sequence number less than current",
            Self::QuotaExceeded => "too much is stored for this address",
            Self::PolicyRefused => "refused by the policy of the value",
            Self::BadExpiry => "expired, or too far in the future",
        }
    }
}
