//! What the two Noise messages carry, besides keys.
//!
//! ```text
//! message 1: n (1) ‖ n AEAD numbers ‖ initiator id (32) ‖ length (2) ‖ application ‖ transport parameters
//! message 2: AEAD number (1) ‖ length (2) ‖ application ‖ transport parameters
//! ```
//! Lengths are big endian. The transport parameters (RFC 9000 section 18) run to the end; what
//! they say is quinn-proto's to judge. Both payloads are encrypted and authenticated by Noise
//! before these decoders see them.

use crate::{aead::MAX_OFFERED_AEADS, handshake_error::HandshakeError};

/// Longest application part of either message, in bytes.
pub const MAX_APPLICATION_LEN: usize = 1_024;

/// The payload of message 1, initiator to responder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message1<'a> {
    /// Wire numbers of the packet AEADs the initiator can use, best first; 1 to 16 of them, unknown
    /// numbers included.
    pub aeads: &'a [u8],
    /// The initiator's Ed25519 public key. Noise has proved only its Curve25519 form.
    pub initiator: &'a [u8; 32],
    /// The initiator's application bytes.
    pub application: &'a [u8],
    /// The initiator's QUIC transport parameters.
    pub parameters: &'a [u8],
}

impl<'a> Message1<'a> {
    /// Reads a decrypted payload.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Malformed`] if it is cut short, offers no AEAD or too many, or carries
    /// more application bytes than [`MAX_APPLICATION_LEN`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, HandshakeError> {
        let (&count, rest) = payload.split_first().ok_or(HandshakeError::Malformed)?;
        if count == 0 || usize::from(count) > MAX_OFFERED_AEADS {
            return Err(HandshakeError::Malformed);
        }
        let (aeads, rest) = rest
            .split_at_checked(usize::from(count))
            .ok_or(HandshakeError::Malformed)?;
        let (initiator, rest) = rest.split_first_chunk().ok_or(HandshakeError::Malformed)?;
        let (application, parameters) = split_application(rest)?;
        Ok(Self {
            aeads,
            initiator,
            application,
            parameters,
        })
    }

    /// The payload's bytes. The caller keeps to the bounds that [`decode`](Self::decode) checks.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![u8::try_from(self.aeads.len()).expect("bounded by the caller")];
        out.extend(self.aeads);
        out.extend(self.initiator);
        encode_application(self.application, &mut out);
        out.extend(self.parameters);
        out
    }
}

/// The payload of message 2, responder to initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message2<'a> {
    /// Wire number of the packet AEAD the responder chose.
    pub aead: u8,
    /// The responder's application bytes.
    pub application: &'a [u8],
    /// The responder's QUIC transport parameters.
    pub parameters: &'a [u8],
}

impl<'a> Message2<'a> {
    /// Reads a decrypted payload.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Malformed`] if it is cut short or carries more application bytes than
    /// [`MAX_APPLICATION_LEN`].
    pub fn decode(payload: &'a [u8]) -> Result<Self, HandshakeError> {
        let (&aead, rest) = payload.split_first().ok_or(HandshakeError::Malformed)?;
        let (application, parameters) = split_application(rest)?;
        Ok(Self {
            aead,
            application,
            parameters,
        })
    }

    /// The payload's bytes. The caller keeps to the bounds that [`decode`](Self::decode) checks.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.aead];
        encode_application(self.application, &mut out);
        out.extend(self.parameters);
        out
    }
}

fn split_application(bytes: &[u8]) -> Result<(&[u8], &[u8]), HandshakeError> {
    let (len, rest) = bytes.split_first_chunk().ok_or(HandshakeError::Malformed)?;
    let len = usize::from(u16::from_be_bytes(*len));
    if len > MAX_APPLICATION_LEN {
        return Err(HandshakeError::Malformed);
    }
    rest.split_at_checked(len).ok_or(HandshakeError::Malformed)
}

fn encode_application(application: &[u8], out: &mut Vec<u8>) {
    let len = u16::try_from(application.len()).expect("bounded by the caller");
    out.extend(len.to_be_bytes());
    out.extend(application);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 32] = [7; 32];

    fn message1() -> Message1<'static> {
        Message1 {
            aeads: &[1, 2],
            initiator: &ID,
            application: b"app",
            parameters: &[4, 1, 9],
        }
    }

    #[test]
    fn message_1_has_exactly_these_bytes() {
        let mut expected = vec![2, 1, 2];
        expected.extend([7; 32]);
        expected.extend([0, 3, b'a', b'p', b'p', 4, 1, 9]);
        assert_eq!(message1().encode(), expected);
    }

    #[test]
    fn message_2_has_exactly_these_bytes() {
        let message = Message2 {
            aead: 2,
            application: b"yes",
            parameters: &[4, 1, 9],
        };
        assert_eq!(message.encode(), [2, 0, 3, b'y', b'e', b's', 4, 1, 9]);
    }

    #[test]
    fn both_round_trip() {
        let bytes = message1().encode();
        assert_eq!(Message1::decode(&bytes), Ok(message1()));
        let message = Message2 {
            aead: 200,
            application: b"",
            parameters: b"",
        };
        assert_eq!(Message2::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn truncation_is_refused_up_to_the_parameters() {
        let bytes = message1().encode();
        let fixed = bytes.len() - message1().parameters.len();
        for len in 0..bytes.len() {
            assert_eq!(
                Message1::decode(&bytes[..len]).is_ok(),
                len >= fixed,
                "cut at {len}"
            );
        }
        let bytes = Message2 {
            aead: 1,
            application: b"yes",
            parameters: &[4],
        }
        .encode();
        for len in 0..bytes.len() {
            assert_eq!(
                Message2::decode(&bytes[..len]).is_ok(),
                len >= 6,
                "cut at {len}"
            );
        }
    }

    #[test]
    fn one_to_sixteen_aeads_are_taken() {
        let aeads = [9; MAX_OFFERED_AEADS + 1];
        for (count, good) in [(0, false), (1, true), (16, true), (17, false)] {
            let bytes = Message1 {
                aeads: &aeads[..count],
                ..message1()
            }
            .encode();
            assert_eq!(Message1::decode(&bytes).is_ok(), good, "{count} AEADs");
        }
    }

    #[test]
    fn application_bytes_are_taken_up_to_the_bound_and_not_one_further() {
        let application = [1; MAX_APPLICATION_LEN + 1];
        for (len, good) in [
            (MAX_APPLICATION_LEN, true),
            (MAX_APPLICATION_LEN + 1, false),
        ] {
            let application = &application[..len];
            let bytes = Message1 {
                application,
                ..message1()
            }
            .encode();
            assert_eq!(Message1::decode(&bytes).is_ok(), good);
            let bytes = Message2 {
                aead: 1,
                application,
                parameters: b"",
            }
            .encode();
            assert_eq!(Message2::decode(&bytes).is_ok(), good);
        }
    }
}
