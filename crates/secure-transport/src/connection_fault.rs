//! Why a connection ended, sorted by whose doing it was.

use bytes::Bytes;
use quinn_proto::{ConnectionError, TransportErrorCode};

use crate::handshake_error::HandshakeError;

/// Why a connection ended.
///
/// A wrong responder key usually shows as [`IdleTimeout`](Self::IdleTimeout), or as the caller's own
/// handshake deadline: a device that cannot read a first packet stays silent.
///
/// Before the handshake is complete nothing a peer says is proven; then
/// [`Refused`](Self::Refused) and [`Protocol`](Self::Protocol) are what *somebody who knows the
/// responder's id* claimed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionFault {
    /// The peer could not prove the expected key: its handshake message did not authenticate.
    #[error("the peer does not hold the expected key")]
    WrongKey,
    /// The peer's device id does not belong to the key it proved.
    #[error("the peer's device id does not belong to its key")]
    RefusedIdentity,
    /// The two sides share no packet AEAD. Seen by either side.
    #[error("no packet AEAD in common with the peer")]
    NoCommonAead,
    /// The peer's handshake broke the protocol.
    #[error("the peer's handshake is broken")]
    MalformedHandshake(#[source] HandshakeError),
    /// The peer ended the handshake, for the reason it gives.
    #[error("the peer refused the handshake")]
    Refused(#[source] HandshakeError),
    /// The peer's application closed the connection.
    #[error("closed by the peer (code {code})")]
    PeerClosed {
        /// The application's code.
        code: u64,
        /// The application's reason: peer input of any content, at most a packet long.
        reason: Bytes,
    },
    /// Nothing was heard for the idle timeout.
    #[error("nothing heard from the peer within the idle timeout")]
    IdleTimeout,
    /// The peer has no state for this connection: it was restarted.
    #[error("the peer was restarted")]
    Reset,
    /// The peer speaks no version in common.
    #[error("the peer speaks another version")]
    Version,
    /// This side closed the connection.
    #[error("closed by this side")]
    LocalClose,
    /// QUIC itself failed: either side broke the transport protocol, or ran out of ids.
    #[error("the transport failed")]
    Protocol(#[source] ConnectionError),
}

impl From<ConnectionError> for ConnectionFault {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::Version,
            ConnectionError::TransportError(ref local) => {
                match HandshakeError::from_transport_code(local.code) {
                    Some(HandshakeError::WrongKey) => Self::WrongKey,
                    Some(HandshakeError::IdentityMismatch) => Self::RefusedIdentity,
                    Some(HandshakeError::NoCommonAead) => Self::NoCommonAead,
                    Some(other) => Self::MalformedHandshake(other),
                    None => Self::Protocol(error),
                }
            }
            ConnectionError::ConnectionClosed(ref close) => {
                match HandshakeError::from_transport_code(close.error_code) {
                    Some(HandshakeError::NoCommonAead) => Self::NoCommonAead,
                    Some(reason) => Self::Refused(reason),
                    // What quinn-proto sends instead of an application close before the handshake
                    // is complete (RFC 9000 section 10.2.3): the code stays hidden.
                    None if close.error_code == TransportErrorCode::APPLICATION_ERROR => {
                        Self::PeerClosed {
                            code: 0,
                            reason: Bytes::new(),
                        }
                    }
                    None => Self::Protocol(error),
                }
            }
            ConnectionError::ApplicationClosed(close) => Self::PeerClosed {
                code: close.error_code.into_inner(),
                reason: close.reason,
            },
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::IdleTimeout,
            ConnectionError::LocallyClosed => Self::LocalClose,
            ConnectionError::CidsExhausted => Self::Protocol(error),
        }
    }
}

/// Whether the response that quinn-proto puts into a failed
/// [`accept`](quinn_proto::Endpoint::accept) may be sent.
///
/// Only one failure is worth an answer: an initiator whose key was proved, but that shares no AEAD.
/// To everybody else — replays, broken or forged messages — a device stays silent.
pub fn may_answer(cause: &ConnectionError) -> bool {
    matches!(
        cause,
        ConnectionError::TransportError(error)
            if HandshakeError::from_transport_code(error.code) == Some(HandshakeError::NoCommonAead)
    )
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use quinn_proto::{ApplicationClose, ConnectionClose, TransportError, VarInt};

    use super::*;

    fn local(error: HandshakeError) -> ConnectionFault {
        ConnectionError::TransportError(TransportError::from(error)).into()
    }

    fn remote(error: HandshakeError) -> ConnectionFault {
        ConnectionError::ConnectionClosed(ConnectionClose::from(TransportError::from(error))).into()
    }

    #[test]
    fn every_handshake_error_has_a_code_of_its_own_and_comes_back_from_it() {
        for error in HandshakeError::ALL {
            let code = TransportErrorCode::crypto(error.code());
            assert_eq!(HandshakeError::from_transport_code(code), Some(error));
        }
        assert_eq!(
            HandshakeError::from_transport_code(TransportErrorCode::crypto(0)),
            None
        );
        assert_eq!(
            HandshakeError::from_transport_code(TransportErrorCode::INTERNAL_ERROR),
            None
        );
    }

    #[test]
    fn no_text_goes_on_the_wire() {
        for error in HandshakeError::ALL {
            assert_eq!(TransportError::from(error).reason, "");
        }
    }

    #[test]
    fn handshake_errors_are_sorted_by_side() {
        assert_eq!(local(HandshakeError::WrongKey), ConnectionFault::WrongKey);
        assert_eq!(
            local(HandshakeError::IdentityMismatch),
            ConnectionFault::RefusedIdentity
        );
        assert_eq!(
            local(HandshakeError::NoCommonAead),
            ConnectionFault::NoCommonAead
        );
        assert_eq!(
            remote(HandshakeError::NoCommonAead),
            ConnectionFault::NoCommonAead
        );
        assert_eq!(
            remote(HandshakeError::WrongKey),
            ConnectionFault::Refused(HandshakeError::WrongKey)
        );
        let malformed = local(HandshakeError::Malformed);
        assert_eq!(
            malformed,
            ConnectionFault::MalformedHandshake(HandshakeError::Malformed)
        );
        assert_eq!(
            malformed.source().unwrap().to_string(),
            "malformed handshake message"
        );
    }

    #[test]
    fn the_applications_close_keeps_code_and_reason() {
        let close = ApplicationClose {
            error_code: VarInt::from_u32(7),
            reason: Bytes::from_static(b"bye"),
        };
        assert_eq!(
            ConnectionFault::from(ConnectionError::ApplicationClosed(close)),
            ConnectionFault::PeerClosed {
                code: 7,
                reason: Bytes::from_static(b"bye")
            }
        );
    }

    #[test]
    fn only_a_missing_aead_is_answered() {
        for error in HandshakeError::ALL {
            let cause = ConnectionError::TransportError(error.into());
            assert_eq!(may_answer(&cause), error == HandshakeError::NoCommonAead);
        }
        assert!(!may_answer(&ConnectionError::TimedOut));
    }
}
