//! What can go wrong with a relay, whose fault it is, and what to do.

use thiserror::Error;

/// Who has to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The configuration on this device.
    Configuration,
    /// The server or who runs it.
    Server,
    /// The network between.
    Network,
}

/// Why there is no allocation, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AllocationError {
    /// The server refuses the user name or the password (401, 441).
    #[error("the relay refuses the user name or password")]
    WrongCredentials,
    /// The server never answered, or no longer does.
    #[error("the relay does not answer")]
    Silent,
    /// This user has as many allocations as he may (486).
    #[error("this user has too many allocations at the relay")]
    QuotaReached,
    /// The server is full (508).
    #[error("the relay is full")]
    Full,
    /// The server has no address of this family (440).
    #[error("the relay has no address of the family asked for")]
    FamilyUnavailable,
    /// The server does not want us (403).
    #[error("the relay does not serve this device")]
    Forbidden,
    /// The allocation is gone at the server: it expired, or the server was restarted (437).
    #[error("the allocation at the relay has expired")]
    Expired,
    /// The server holds an allocation for this socket already, and does not delete it (437): it is
    /// another user's.
    #[error("the relay holds another allocation for this port")]
    InUse,
    /// Another refusal.
    #[error("the relay refuses with code {code}")]
    Refused {
        /// Its code.
        code: u16,
    },
    /// The answers are not TURN's, or not made with our password.
    #[error("the relay does not speak TURN as expected")]
    Protocol,
    /// The TCP connection ended.
    #[error("the connection to the relay was closed")]
    Disconnected,
}

impl AllocationError {
    /// By the code of a refusal (RFC 8656 section 18).
    pub(super) fn of_code(code: u16) -> Self {
        match code {
            401 | 441 => Self::WrongCredentials,
            403 => Self::Forbidden,
            437 => Self::Expired,
            440 => Self::FamilyUnavailable,
            486 => Self::QuotaReached,
            508 => Self::Full,
            code => Self::Refused { code },
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::WrongCredentials => Fault::Configuration,
            Self::Silent | Self::Disconnected => Fault::Network,
            _ => Fault::Server,
        }
    }

    /// What somebody can do, as a sentence without its full stop.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::WrongCredentials => "correct the user name and password of this relay",
            Self::Silent => "check the address and port of the relay, or use TCP or another relay",
            Self::QuotaReached => "close other connections of this user, or use another relay",
            Self::Full => "try again later, or use another relay",
            Self::FamilyUnavailable => "ask for the other address family, or use another relay",
            Self::Forbidden => "ask who runs the relay to admit this device, or use another relay",
            Self::Expired | Self::Disconnected => "allocate again",
            Self::InUse => "use another port, or try again when that one has expired",
            Self::Refused { .. } | Self::Protocol => "look into the log of the relay",
        }
    }
}

/// Why a peer is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PermitError {
    /// There is no relayed address of the peer's family.
    #[error("the relay gave no address of the peer's family")]
    NoAllocation,
    /// [`MAX_PERMISSIONS`](super::MAX_PERMISSIONS) are in use.
    #[error("too many peers are admitted at the relay")]
    TooMany,
}

/// Why a payload is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The allocation is not ready, or has ended.
    #[error("there is no allocation at the relay")]
    NoAllocation,
    /// The peer's address is not admitted, or not yet.
    #[error("the peer is not admitted at the relay")]
    NoPermission,
    /// Longer than [`MAX_PAYLOAD`](super::MAX_PAYLOAD).
    #[error("the payload is too long for the relay")]
    TooLong,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// What came is neither STUN nor a channel.
    #[error("the stream does not carry TURN")]
    NotTurn,
    /// A frame is longer than is allowed here.
    #[error("a frame of {len} bytes is longer than allowed")]
    TooLong {
        /// Its length.
        len: usize,
    },
}
