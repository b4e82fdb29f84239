//! Why a handshake ended, and the code that says so on the wire.

use quinn_proto::{TransportError, TransportErrorCode};

/// Why this side ended a handshake.
///
/// Each has its own QUIC crypto error code (0x100 plus the number given here; RFC 9000 section
/// 20.1). Only the code goes on the wire, never a text. The numbers are those of the TLS alerts
/// with the nearest meaning (RFC 8446 section 6), except the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// 10: a frame that has no place at this point.
    #[error("unexpected handshake frame")]
    Unexpected,
    /// 40: none of the offered AEADs is known here.
    #[error("no packet AEAD in common")]
    NoCommonAead,
    /// 47: the responder chose an AEAD that was not offered.
    #[error("the peer chose an AEAD that was not offered")]
    UnofferedAead,
    /// 49: the initiator's id does not belong to the static key it proved.
    #[error("the device id does not belong to the proven key")]
    IdentityMismatch,
    /// 50: a frame or payload that does not decode.
    #[error("malformed handshake message")]
    Malformed,
    /// 51: a Noise message that does not authenticate: another key, another protocol, or tampering.
    #[error("the handshake message does not authenticate under the expected key")]
    WrongKey,
    /// 192: this message 1 was seen before.
    #[error("replayed handshake message")]
    Replayed,
}

impl HandshakeError {
    pub(crate) const ALL: [Self; 7] = [
        Self::Unexpected,
        Self::NoCommonAead,
        Self::UnofferedAead,
        Self::IdentityMismatch,
        Self::Malformed,
        Self::WrongKey,
        Self::Replayed,
    ];

    /// The crypto error code, without the 0x100 that QUIC adds.
    pub fn code(self) -> u8 {
        match self {
            Self::Unexpected => 10,
            Self::NoCommonAead => 40,
            Self::UnofferedAead => 47,
            Self::IdentityMismatch => 49,
            Self::Malformed => 50,
            Self::WrongKey => 51,
            Self::Replayed => 192,
        }
    }

    /// The error that a QUIC error code stands for, `None` for codes that are not of this protocol.
    pub(crate) fn from_transport_code(code: TransportErrorCode) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|error| TransportErrorCode::crypto(error.code()) == code)
    }
}

impl From<HandshakeError> for TransportError {
    fn from(error: HandshakeError) -> Self {
        Self {
            code: TransportErrorCode::crypto(error.code()),
            frame: None,
            reason: String::new(),
        }
    }
}
