//! Fingerprints: what people compare and policies name.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};

use super::Serial;
use crate::device_id::DeviceId;

const LABEL: &[u8] = b"dhtnet 1 certificate";
/// Bytes of a fingerprint: all of SHA-256.
const FINGERPRINT_LEN: usize = 32;

/// Which certificate of which key: SHA-256 over a label, the public key and the serial number.
///
/// It is not over the signature: who can sign can make many signatures for one content, and a
/// certificate would then have many fingerprints. `Display` and `FromStr` use 64 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_LEN]);

impl Fingerprint {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; FINGERPRINT_LEN] {
        &self.0
    }

    pub(super) fn of(key: &DeviceId, serial: &Serial) -> Self {
        // Label and key have a fixed length, so nothing can slide into the serial.
        let digest = Sha256::new()
            .chain_update(LABEL)
            .chain_update(key.as_bytes())
            .chain_update(serial.as_bytes())
            .finalize();
        Self(digest.into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .map_err(|_| ParseFingerprintError)?;
        let bytes = bytes.try_into().map_err(|_| ParseFingerprintError)?;
        Ok(Self(bytes))
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct ParseFingerprintError;
