//! MESSAGE-INTEGRITY (RFC 8489 section 14.5) with short-term credentials.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use stun_rs::HMACKey;
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::attributes::{kind, walk};
use super::{HEADER_LEN, MAX_MESSAGE_LEN, is_stun};

/// Bytes of the tag (HMAC-SHA1).
const TAG_LEN: usize = 20;

/// The key of MESSAGE-INTEGRITY: a password, ready for use. Cheap to clone.
#[derive(Clone)]
pub struct IntegrityKey {
    /// For writing. stun-rs does not wipe it, so passwords should live as short as a session.
    encoding: HMACKey,
    checking: Arc<Hmac<Sha1>>,
}

impl IntegrityKey {
    /// The key of this password (RFC 8489 section 9.1.1). ICE passwords are of letters, digits,
    /// `+` and `/` (RFC 8445 section 5.3).
    ///
    /// # Errors
    /// [`BadPassword`] when it is empty or has control characters.
    pub fn short_term(password: &str) -> Result<Self, BadPassword> {
        let key = HMACKey::new_short_term(password).map_err(|_| BadPassword)?;
        Ok(Self::new(key))
    }

    pub(crate) fn new(encoding: HMACKey) -> Self {
        let checking = Hmac::new_from_slice(encoding.as_bytes()).expect("any length is a key");
        Self {
            checking: Arc::new(checking),
            encoding,
        }
    }

    /// The key as stun-rs wants it.
    pub(crate) fn encoding(&self) -> &HMACKey {
        &self.encoding
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(secret)")
    }
}

/// A password that STUN cannot use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the password is empty or has characters that STUN does not allow")]
pub struct BadPassword;

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IntegrityError {
    /// It is not a STUN message.
    #[error("not a STUN message")]
    Malformed,
    /// It has no MESSAGE-INTEGRITY.
    #[error("the message is not authenticated")]
    Missing,
    /// Made with another key, or changed on its way.
    #[error("the message was not made with this password")]
    Mismatch,
}

/// Whether the message was made with this key. Takes the same time wherever tags differ.
///
/// # Errors
/// [`IntegrityError`].
pub fn verify(message: &[u8], key: &IntegrityKey) -> Result<(), IntegrityError> {
    if message.len() > MAX_MESSAGE_LEN || !is_stun(message) {
        return Err(IntegrityError::Malformed);
    }
    let attributes = walk(message).ok_or(IntegrityError::Malformed)?;
    let found = attributes
        .iter()
        .take_while(|attribute| attribute.kind != kind::FINGERPRINT)
        .find(|attribute| attribute.kind == kind::MESSAGE_INTEGRITY)
        .ok_or(IntegrityError::Missing)?;
    if found.value.len() != TAG_LEN {
        return Err(IntegrityError::Malformed);
    }
    // The length in the header is as if the message ended with this attribute.
    let end = found.offset + 4 + TAG_LEN;
    let length = u16::try_from(end - HEADER_LEN).map_err(|_| IntegrityError::Malformed)?;
    let mut mac = (*key.checking).clone();
    mac.update(&message[..2]);
    mac.update(&length.to_be_bytes());
    mac.update(&message[4..found.offset]);
    let expected = mac.finalize().into_bytes();
    if bool::from(expected[..].ct_eq(found.value)) {
        Ok(())
    } else {
        Err(IntegrityError::Mismatch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use stun_rs::{Algorithm, AlgorithmId};

    use super::*;

    #[test]
    fn the_long_term_sample_of_rfc_5769_verifies() {
        let text = include_str!("../../tests/vectors/rfc5769-long-term-request.txt");
        let bytes: Vec<u8> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| line.split_whitespace())
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let key = |password| {
            let user = "\u{30de}\u{30c8}\u{30ea}\u{30c3}\u{30af}\u{30b9}";
            let md5 = Algorithm::from(AlgorithmId::MD5);
            IntegrityKey::new(HMACKey::new_long_term(user, "example.org", password, md5).unwrap())
        };
        assert_eq!(verify(&bytes, &key("TheMatrIX")), Ok(()));
        assert_eq!(
            verify(&bytes, &key("TheMatrix")),
            Err(IntegrityError::Mismatch)
        );
    }

    #[test]
    fn a_key_does_not_show_its_password() {
        let key = IntegrityKey::short_term("hunter2").unwrap();
        assert_eq!(format!("{key:?}"), "IntegrityKey(secret)");
        assert_eq!(IntegrityKey::short_term("").unwrap_err(), BadPassword);
        assert_eq!(IntegrityKey::short_term("a\tb").unwrap_err(), BadPassword);
    }
}
