//! The alias of a contact: a short name that can never be taken for an id.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// Bytes of the longest alias: that of a DNS label (RFC 1035, section 2.3.4), so that an alias
/// can become one.
pub const MAX_ALIAS_LEN: usize = 63;

/// From this length on a run of letters and digits is read as an id with a typing error. It
/// leaves room for eight lost characters.
const ID_LIKE_LEN: usize = crate::device_id::ID_TEXT_LEN - 8;

/// The name of a contact: 1 to 63 characters of `a-z`, `0-9`, `.`, `_`, `-`, starting with a
/// letter or a digit.
///
/// 48 or more letters and digits without a mark are refused, so that a mistyped id is reported as
/// such and not as an unknown name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias(String);

impl Alias {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for Alias {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Alias {
    type Err = ParseAliasError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseAliasError::Empty);
        }
        for (index, character) in text.chars().enumerate() {
            let mark = matches!(character, '.' | '_' | '-') && index > 0;
            if !(mark || character.is_ascii_lowercase() || character.is_ascii_digit()) {
                return Err(ParseAliasError::Alphabet {
                    position: index + 1,
                    character,
                });
            }
        }
        if text.len() > MAX_ALIAS_LEN {
            return Err(ParseAliasError::Length { found: text.len() });
        }
        if resembles_id(text) {
            return Err(ParseAliasError::ResemblesId);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether a text must be meant as a device id: long, and nothing but letters and digits.
pub(super) fn resembles_id(text: &str) -> bool {
    text.len() >= ID_LIKE_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Why a text is not an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAliasError {
    /// No character at all.
    #[error("a contact name must not be empty")]
    Empty,
    /// More than [`MAX_ALIAS_LEN`] characters.
    #[error("a contact name has at most {MAX_ALIAS_LEN} characters, not {found}")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// A character outside the alphabet, or a mark in the first place.
    #[error(
        "a contact name has no character {character:?} at position {position} \
         (a-z, 0-9, and after the first also . _ -)"
    )]
    Alphabet {
        /// Where it stands, counted in characters from 1.
        position: usize,
        /// The character.
        character: char,
    },
    /// It could be taken for a device id.
    #[error("a contact name must not look like a device id")]
    ResemblesId,
}
