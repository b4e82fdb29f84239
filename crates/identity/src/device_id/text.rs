//! The text form of a device id: 56 base32 characters with checksum and version.
//!
//! ```text
//! base32( public key (32) ‖ checksum (2) ‖ version (1) )      RFC 4648 alphabet, lower case
//! checksum = SHA-256("dhtnet id checksum" ‖ public key ‖ version)[..2]
//! ```
//! 35 bytes are exactly 56 characters: no padding and no spare bits, so an id has one spelling
//! apart from case. The shape is that of Tor v3 onion addresses.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{DeviceId, InvalidPublicKey, PUBLIC_KEY_LEN};

/// Characters of the text form.
pub const ID_TEXT_LEN: usize = 56;
/// Characters of the other accepted input: the bare key in hex.
pub const KEY_HEX_LEN: usize = 2 * PUBLIC_KEY_LEN;
/// Characters of a [`super::ShortId`]: 40 bits, enough to tell the lines of a log apart.
pub(super) const SHORT_LEN: usize = 8;

const CHECKSUM_LABEL: &[u8] = b"dhtnet id checksum";
const CHECKSUM_LEN: usize = 2;
const VERSION: u8 = 1;
const VERSION_AT: usize = PUBLIC_KEY_LEN + CHECKSUM_LEN;
const ENCODED_LEN: usize = VERSION_AT + 1;

/// Why a text is not a device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDeviceIdError {
    /// Neither 56 nor 64 characters.
    #[error("a device id has {ID_TEXT_LEN} characters, not {found}")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// A character outside base32 (56 characters) or hex (64 characters).
    #[error("a device id has no character {character:?} (at position {position})")]
    Alphabet {
        /// Where it stands, counted in characters from 1.
        position: usize,
        /// The character.
        character: char,
    },
    /// The checksum does not fit the key: a typing error somewhere in the text.
    #[error("the device id is mistyped (its checksum does not match)")]
    Checksum,
    /// The checksum fits, the version is one that this program does not know.
    #[error("the device id has version {found}; this program knows version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The text is in order, the key in it is not.
    #[error(transparent)]
    PublicKey(#[from] InvalidPublicKey),
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut encoded = [0; ENCODED_LEN];
        encoded[..PUBLIC_KEY_LEN].copy_from_slice(&self.0);
        encoded[PUBLIC_KEY_LEN..VERSION_AT].copy_from_slice(&checksum(&self.0, VERSION));
        encoded[VERSION_AT] = VERSION;
        let mut text = [0; ID_TEXT_LEN];
        BASE32_NOPAD.encode_mut(&encoded, &mut text);
        text.make_ascii_lowercase();
        f.pad(std::str::from_utf8(&text).expect("base32 is ASCII"))
    }
}

impl FromStr for DeviceId {
    type Err = ParseDeviceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.chars().count() {
            ID_TEXT_LEN => parse_base32(text),
            KEY_HEX_LEN => parse_hex(text),
            found => Err(ParseDeviceIdError::Length { found }),
        }
    }
}

/// The first characters of the text form, without computing the rest.
pub(super) fn encode_short(id: &DeviceId) -> [u8; SHORT_LEN] {
    let mut short = [0; SHORT_LEN];
    BASE32_NOPAD.encode_mut(&id.0[..SHORT_LEN * 5 / 8], &mut short);
    short.make_ascii_lowercase();
    short
}

fn parse_base32(text: &str) -> Result<DeviceId, ParseDeviceIdError> {
    check_alphabet(text, |c| {
        c.is_ascii_alphabetic() || ('2'..='7').contains(&c)
    })?;
    let mut encoded = [0; ENCODED_LEN];
    BASE32_NOPAD
        .decode_mut(text.to_ascii_uppercase().as_bytes(), &mut encoded)
        .map_err(|_| ParseDeviceIdError::Checksum)?;
    let mut key = [0; PUBLIC_KEY_LEN];
    key.copy_from_slice(&encoded[..PUBLIC_KEY_LEN]);
    let version = encoded[VERSION_AT];
    if encoded[PUBLIC_KEY_LEN..VERSION_AT] != checksum(&key, version) {
        return Err(ParseDeviceIdError::Checksum);
    }
    if version != VERSION {
        return Err(ParseDeviceIdError::Version { found: version });
    }
    Ok(DeviceId::from_bytes(&key)?)
}

fn parse_hex(text: &str) -> Result<DeviceId, ParseDeviceIdError> {
    check_alphabet(text, |c| c.is_ascii_hexdigit())?;
    let mut key = [0; PUBLIC_KEY_LEN];
    HEXLOWER_PERMISSIVE
        .decode_mut(text.as_bytes(), &mut key)
        .map_err(|_| ParseDeviceIdError::Checksum)?;
    Ok(DeviceId::from_bytes(&key)?)
}

fn check_alphabet(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), ParseDeviceIdError> {
    match text.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        None => Ok(()),
        Some((index, character)) => Err(ParseDeviceIdError::Alphabet {
            position: index + 1,
            character,
        }),
    }
}

fn checksum(key: &[u8; PUBLIC_KEY_LEN], version: u8) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::new()
        .chain_update(CHECKSUM_LABEL)
        .chain_update(key)
        .chain_update([version]);
    let digest: [u8; 32] = digest.finalize().into();
    [digest[0], digest[1]]
}

impl Serialize for DeviceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = DeviceId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a device id")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<DeviceId, E> {
        text.parse().map_err(E::custom)
    }
}
