//! Capabilities and their serials as text, for pasting.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};

use super::{Capability, CapabilityError, CapabilityId, MAX_CAPABILITY_LEN};
use crate::peer_address::shorten;

/// What a capability begins with in text.
pub const TEXT_PREFIX: &str = "cap1";
/// Bytes of the longest text: the longest capability in base64, wrapped after each character.
const MAX_TEXT_LEN: usize = 4 * MAX_CAPABILITY_LEN;

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TEXT_PREFIX}{}", BASE64URL_NOPAD.encode(&self.bytes))
    }
}

impl FromStr for Capability {
    type Err = ParseCapabilityError;

    /// Blanks and line ends, with which mail wraps long words, are skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_TEXT_LEN {
            return Err(ParseCapabilityError::TooLong);
        }
        let text: String = text.split_ascii_whitespace().collect();
        let Some(digits) = text.strip_prefix(TEXT_PREFIX) else {
            return Err(ParseCapabilityError::Prefix {
                found: shorten(&text),
            });
        };
        let bytes = BASE64URL_NOPAD
            .decode(digits.as_bytes())
            .map_err(|_| ParseCapabilityError::Alphabet)?;
        Ok(Self::decode(&bytes)?)
    }
}

impl fmt::Display for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CapabilityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CapabilityId({self})")
    }
}

impl FromStr for CapabilityId {
    type Err = ParseCapabilityIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
        let bytes = bytes.map_err(|_| ParseCapabilityIdError)?;
        Ok(Self(bytes.try_into().map_err(|_| ParseCapabilityIdError)?))
    }
}

/// A text that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCapabilityError {
    /// Longer than the longest capability.
    #[error("the text is longer than any capability")]
    TooLong,
    /// Without [`TEXT_PREFIX`].
    #[error("a capability begins with {TEXT_PREFIX:?}, not with {found:?}")]
    Prefix {
        /// The text found, shortened.
        found: String,
    },
    /// A character that base64 does not have, or one left out at the end.
    #[error("the capability is mistyped or cut off")]
    Alphabet,
    /// What it holds is no capability.
    #[error(transparent)]
    Content(#[from] CapabilityError),
}

/// A text that is no serial of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the serial of a capability is 32 hexadecimal digits")]
pub struct ParseCapabilityIdError;
