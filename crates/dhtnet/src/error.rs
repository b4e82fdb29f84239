//! What can go wrong, by operation, with whose fault it is and how far things had come.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dhtnet_channel_mux::{DeclineReason, InvalidRequest};
use dhtnet_identity::{DeviceId, PeerAddress};
use dhtnet_secure_transport::ConnectionFault;

use crate::relays::finder::RelayFault;
use crate::service::Service;

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The UDP socket: the address is taken, not ours, or sockets are not allowed.
    #[error("cannot bind UDP {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no random numbers")]
    Randomness {
        /// The system's reason, as text.
        reason: String,
    },
    /// The transport settings contradict each other.
    #[error("the transport settings are not usable: {reason}")]
    Transport {
        /// What is wrong, as text.
        reason: String,
    },
    /// There is no tokio runtime with network and time on this thread.
    #[error("a node needs a tokio runtime")]
    NoRuntime,
}

/// Why nothing listens under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A listener of this node has the name already.
    #[error("something in this process listens under that name already")]
    NameTaken,
    /// The name is empty, too long, or has control characters.
    #[error("the name cannot be used for a channel")]
    InvalidName(#[source] InvalidRequest),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// How far a connect had come when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStep {
    /// Looking for an address of the peer.
    Lookup,
    /// Waiting for an answer from the addresses found.
    Reach,
    /// Connected; waiting for the peer to accept the channel.
    Open,
}

impl fmt::Display for ConnectStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "looking it up",
            Self::Reach => "trying its addresses",
            Self::Open => "waiting for it to accept the channel",
        })
    }
}

/// Why [`Node::connect`](crate::Node::connect) gave no channel.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer is this device.
    #[error("the id is this device's own")]
    SelfConnect,
    /// The request itself is not possible (name, metadata).
    #[error("the request is not valid")]
    InvalidRequest(#[from] InvalidRequest),
    /// No address was found.
    #[error(
        "no address of the peer was found (asked: {}){}{}",
        .tried.join(", "), list_others(.others), list_faults(.relays)
    )]
    NotFound {
        /// Whom.
        peer: DeviceId,
        /// Which sources were asked.
        tried: Vec<&'static str>,
        /// Other services of the peer that seem to run; see
        /// [`NodeBuilder::other_services`](crate::NodeBuilder::other_services).
        others: Vec<Service>,
        /// The configured relays that could not be used.
        relays: Vec<RelayFault>,
    },
    /// Addresses were found, none answered. A wrong id at a right address looks the same: nobody
    /// answers who does not hold the key.
    #[error(
        "no answer from {} within {:.1} s{}{}",
        list(.addresses), .after.as_secs_f32(), list_others(.others), list_faults(.relays)
    )]
    Unreachable {
        /// Whom.
        peer: DeviceId,
        /// The addresses that were tried.
        addresses: Vec<SocketAddr>,
        /// Other services of the peer that seem to run.
        others: Vec<Service>,
        /// The configured relays that could not be used.
        relays: Vec<RelayFault>,
        /// How long.
        after: Duration,
    },
    /// The peer's policy does not let this device connect at all.
    #[error("the peer's policy does not allow this device")]
    Refused {
        /// By whom.
        peer: DeviceId,
    },
    /// The peer does not open this channel.
    #[error("declined: {reason}")]
    Declined {
        /// By whom.
        peer: DeviceId,
        /// Its reason.
        reason: DeclineReason,
    },
    /// The handshake was answered and failed.
    #[error("the handshake failed: {reason}")]
    Handshake {
        /// With whom.
        peer: DeviceId,
        /// What happened.
        reason: EndReason,
    },
    /// The connection was lost while the channel was being opened.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// To whom.
        peer: DeviceId,
        /// What happened.
        reason: EndReason,
    },
    /// The time limit passed.
    #[error("not connected within {:.1} s; the time ran out {step}", .after.as_secs_f32())]
    TimedOut {
        /// To whom.
        peer: DeviceId,
        /// How far it had come.
        step: ConnectStep,
        /// The limit.
        after: Duration,
    },
    /// A bound of this node: too many channels or connections are open.
    #[error("this node is at a limit: {limit}")]
    AtLimit {
        /// Which bound, as a sentence.
        limit: String,
    },
    /// This node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a channel gives an error instead of bytes. Inside every [`io::Error`] of a channel; see
/// [`ChannelError::from_io`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The peer declined the request after an early open, or took the channel back: its policy no
    /// longer allows it.
    #[error("declined: {0}")]
    Declined(DeclineReason),
    /// The peer gave up its direction with this code.
    #[error("the peer gave up the channel (code {0})")]
    Reset(u32),
    /// The peer no longer reads; the code is its own.
    #[error("the peer stopped reading (code {0})")]
    Stopped(u32),
    /// The connection under the channel is gone.
    #[error("the connection was lost: {0}")]
    ConnectionLost(EndReason),
    /// This direction was ended here before.
    #[error("the channel is closed")]
    Closed,
    /// A call of the other kind of channel.
    #[error("the channel is of the other kind")]
    WrongKind,
    /// A datagram larger than the path carries.
    #[error("the datagram is larger than {max} bytes")]
    DatagramTooLarge {
        /// The largest that goes now.
        max: usize,
    },
    /// The connection carries no datagrams.
    #[error("the connection carries no datagrams")]
    DatagramsUnsupported,
}

impl ChannelError {
    /// The channel's error inside an [`io::Error`], if there is one.
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<ChannelError> for io::Error {
    fn from(error: ChannelError) -> Self {
        let kind = match &error {
            ChannelError::Declined(_) => io::ErrorKind::ConnectionRefused,
            ChannelError::Reset(_) => io::ErrorKind::ConnectionReset,
            ChannelError::Stopped(_) | ChannelError::Closed => io::ErrorKind::BrokenPipe,
            ChannelError::ConnectionLost(_) => io::ErrorKind::ConnectionAborted,
            ChannelError::WrongKind | ChannelError::DatagramTooLarge { .. } => {
                io::ErrorKind::InvalidInput
            }
            ChannelError::DatagramsUnsupported => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

/// Application close codes of a connection (docs/wire-format/handshake.md).
pub(crate) mod close_code {
    /// Nothing is wrong: this side is done.
    pub(crate) const DONE: u32 = 0;
    /// The policy does not admit the peer.
    pub(crate) const REFUSED: u32 = 1;
    /// The hello of the handshake cannot be understood.
    pub(crate) const VERSION: u32 = 2;
    /// Too many peers show their credentials at the moment.
    pub(crate) const BUSY: u32 = 3;
    /// The control stream was misused; the kind of fault is added.
    pub(crate) const FAULT: u32 = 16;
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// One side was done and said so.
    Closed,
    /// The peer's policy does not admit this device.
    Refused,
    /// The policy here no longer allows the peer, or this channel of it.
    NoLongerAllowed,
    /// The peer lets too many that it does not know show their credentials at the moment.
    Busy,
    /// Nothing was heard for too long.
    TimedOut,
    /// The peer is running, but does not know the connection: its program was started again.
    PeerRestarted,
    /// The peer's system says that no program has its port any more.
    PortClosed,
    /// The two programs do not speak a common version.
    Version,
    /// The handshake was answered and is not acceptable.
    Handshake(String),
    /// One side broke the protocol.
    Protocol(String),
}

impl EndReason {
    pub(crate) fn from_fault(fault: &ConnectionFault) -> Self {
        match fault {
            ConnectionFault::PeerClosed { code, .. } => match u32::try_from(*code) {
                Ok(close_code::DONE) => Self::Closed,
                Ok(close_code::REFUSED) => Self::Refused,
                Ok(close_code::VERSION) => Self::Version,
                Ok(close_code::BUSY) => Self::Busy,
                _ => Self::Protocol(format!("the peer closed with code {code}")),
            },
            ConnectionFault::LocalClose => Self::Closed,
            ConnectionFault::IdleTimeout => Self::TimedOut,
            ConnectionFault::Reset => Self::PeerRestarted,
            ConnectionFault::Version => Self::Version,
            fault => Self::Handshake(fault.to_string()),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it was closed"),
            Self::Refused => f.write_str("the peer's policy does not allow this device"),
            Self::NoLongerAllowed => f.write_str("the policy here no longer allows it"),
            Self::Busy => f.write_str("too many show the peer their credentials at the moment"),
            Self::TimedOut => f.write_str("nothing was heard from the peer for too long"),
            Self::PeerRestarted => f.write_str("the peer was started again"),
            Self::PortClosed => f.write_str("the peer's program is gone (its port is closed)"),
            Self::Version => f.write_str("the peer speaks another version"),
            Self::Handshake(what) | Self::Protocol(what) => f.write_str(what),
        }
    }
}

/// Nobody was reached: `addresses` were tried, from the sources `tried`; `others` run there.
pub(crate) fn unreachable(
    peer: &PeerAddress,
    (addresses, others): (Vec<SocketAddr>, Vec<Service>),
    after: Duration,
    (tried, relays): (Vec<&'static str>, Vec<RelayFault>),
) -> ConnectError {
    if addresses.is_empty() {
        ConnectError::NotFound {
            peer: peer.id,
            tried,
            others,
            relays,
        }
    } else {
        ConnectError::Unreachable {
            peer: peer.id,
            addresses,
            others,
            relays,
            after,
        }
    }
}

/// What follows the reason: what else of the peer is there.
fn list_others(others: &[Service]) -> String {
    if others.is_empty() {
        return String::new();
    }
    let names: Vec<String> = others.iter().map(Service::to_string).collect();
    format!("; it is there as {}", names.join(", "))
}

/// What follows the reason: each relay with what is wrong.
fn list_faults(faults: &[RelayFault]) -> String {
    faults.iter().map(|fault| format!("; {fault}")).collect()
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses
        .iter()
        .map(SocketAddr::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
