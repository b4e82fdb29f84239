//! STUN messages and transactions (RFC 8489).
//!
//! | file | what |
//! |---|---|
//! | `message` | Binding requests, responses, errors and indications, typed |
//! | `attributes` | the framing below them: which attributes a message has, and where |
//! | `integrity` | MESSAGE-INTEGRITY with short-term credentials, compared in constant time |
//! | `responder` | what a server with one address answers |
//! | `transactions` | requests sent again until they are answered |
//!
//! Only the method Binding is here; TURN has its own in [`turn`](crate::turn). Values of attributes
//! are read and written by the crate stun-rs, none of whose types shows. It is given no attribute
//! but those named here. MESSAGE-INTEGRITY-SHA256, long-term credentials and ALTERNATE-SERVER are
//! left out: peers and STUN servers have no use for them.

mod attributes;
mod integrity;
mod message;
mod responder;
mod transactions;

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use rand_core::Rng;

pub(crate) use attributes::{RawAttribute, refusal_code, walk};
pub use integrity::{BadPassword, IntegrityError, IntegrityKey, verify};
pub use message::{
    BindingError, BindingRequest, BindingResponse, ChangeRequest, DecodeError, EncodeError,
    IceRole, Message, code,
};
pub use responder::{MAX_UNKNOWN_REPORTED, respond, respond_authenticated};
pub use transactions::{
    Event, MAX_TRANSACTIONS, Outgoing, Ownership, RC, RM, RTO, StartError, Timing, Transactions,
};

/// Bytes of a STUN header (RFC 8489 section 5).
pub const HEADER_LEN: usize = 20;

/// Third to sixth byte pair of every message (RFC 8489 section 5).
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Bytes of the longest message that is decoded: what fits a frame of Ethernet. RFC 8489
/// section 6.1 wants messages below the path's MTU, so a longer one is not for us.
pub const MAX_MESSAGE_LEN: usize = 1500;

/// Whether a datagram is a STUN message by its frame: the first two bits zero, the cookie, and a
/// length that is the datagram's and a multiple of four (RFC 8489 section 5).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<HEADER_LEN>() else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    header[0] & 0xc0 == 0
        && header[4..8] == MAGIC_COOKIE
        && length.is_multiple_of(4)
        && datagram.len() == HEADER_LEN + length
}

/// What tells an answer from all others: 96 random bits (RFC 8489 section 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId([u8; 12]);

impl TransactionId {
    /// A new one; the generator has to be unpredictable.
    #[must_use]
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 12];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The one with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// Its bytes as on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransactionId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A datagram that is to be sent from the one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// Its payload.
    pub payload: Bytes,
}
