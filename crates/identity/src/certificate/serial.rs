//! Serial numbers of certificates: positive, up to 20 bytes (RFC 5280, section 4.1.2.2).

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXUPPER_PERMISSIVE;
use rand_core::CryptoRng;
use x509_cert::serial_number::SerialNumber;

/// Bytes of the longest serial number (RFC 5280, section 4.1.2.2).
pub const MAX_SERIAL_LEN: usize = 20;
/// Random bytes of a serial number made here: 128 bits, so that nobody foresees it and no two are
/// the same.
const RANDOM_LEN: usize = 16;

/// The number that a CA gave to one certificate, big-endian without leading zeros.
///
/// `Display` is that of `openssl x509 -serial`: hexadecimal in capitals. `FromStr` takes either
/// case, and colons between the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A random one of 17 bytes: a 1, so that the length is always the same, and 16 from `rng`.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = vec![1; 1 + RANDOM_LEN];
        rng.fill_bytes(&mut bytes[1..]);
        Self(bytes)
    }

    /// The number, big-endian without leading zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `None` when it is zero, negative or too long.
    pub(super) fn of(number: &SerialNumber) -> Option<Self> {
        let bytes = number.as_bytes();
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        (!negative).then(|| Self::from_unsigned(bytes)).flatten()
    }

    pub(super) fn to_x509(&self) -> SerialNumber {
        SerialNumber::new(&self.0).expect("a serial is positive and short enough")
    }

    fn from_unsigned(bytes: &[u8]) -> Option<Self> {
        let start = bytes.iter().position(|byte| *byte != 0)?;
        let bytes = &bytes[start..];
        // One more byte is written when the first bit is set.
        let written = bytes.len() + usize::from(bytes[0] >> 7);
        (written <= MAX_SERIAL_LEN).then(|| Self(bytes.to_vec()))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = ParseSerialError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Twice the digits of the longest, and colons between.
        if text.len() > 3 * (MAX_SERIAL_LEN + 1) {
            return Err(ParseSerialError);
        }
        let mut digits = text.replace(':', "");
        if digits.len() % 2 == 1 {
            digits.insert(0, '0');
        }
        let bytes = HEXUPPER_PERMISSIVE
            .decode(digits.as_bytes())
            .map_err(|_| ParseSerialError)?;
        Self::from_unsigned(&bytes).ok_or(ParseSerialError)
    }
}

/// A text that is no serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 1 to {MAX_SERIAL_LEN} bytes in hexadecimal and not zero")]
pub struct ParseSerialError;
