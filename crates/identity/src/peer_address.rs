//! How a user names a peer: an id, an id with address hints, or an alias of the contact book.
//!
//! ```text
//! 7n4c…            a device id (56 base32 characters or 64 hex digits)
//! 7n4c…@192.0.2.7:4433,[2001:db8::7]:4433      with hints: no look-up is needed
//! laptop           an alias
//! ```

mod alias;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::device_id::{DeviceId, ParseDeviceIdError};

pub use alias::{Alias, MAX_ALIAS_LEN, ParseAliasError};

/// Hints that an address may carry. A host has a handful of addresses per family; more would only
/// make a caller knock at doors in vain.
pub const MAX_HINTS: usize = 16;

/// A peer's id, with the socket addresses at which it may be found.
///
/// `Display` and `FromStr` use `ID` or `ID@ip:port[,ip:port…]`. Parsing keeps the order, drops
/// repeated hints, and writes an IPv4-mapped IPv6 hint as the IPv4 address that it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// Who it is.
    pub id: DeviceId,
    /// Where it may be, best first; empty means that discovery has to find it. At most
    /// [`MAX_HINTS`] when parsed.
    pub hints: Vec<SocketAddr>,
}

impl From<DeviceId> for PeerAddress {
    fn from(id: DeviceId) -> Self {
        Self {
            id,
            hints: Vec::new(),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        for (index, hint) in self.hints.iter().enumerate() {
            let separator = if index == 0 { '@' } else { ',' };
            write!(f, "{separator}{hint}")?;
        }
        Ok(())
    }
}

impl FromStr for PeerAddress {
    type Err = ParsePeerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((id, hints)) = text.split_once('@') else {
            return Ok(Self::from(text.parse::<DeviceId>()?));
        };
        let id = id.parse()?;
        let hints = parse_hints(hints.split(','))?;
        Ok(Self { id, hints })
    }
}

/// Checks each text as a hint, drops repeated ones and counts.
pub(crate) fn parse_hints<'t>(
    texts: impl Iterator<Item = &'t str>,
) -> Result<Vec<SocketAddr>, ParsePeerAddressError> {
    let mut hints = Vec::new();
    for text in texts {
        let hint = parse_hint(text)?;
        if hints.contains(&hint) {
            continue;
        }
        if hints.len() == MAX_HINTS {
            return Err(ParsePeerAddressError::TooManyHints);
        }
        hints.push(hint);
    }
    Ok(hints)
}

fn parse_hint(text: &str) -> Result<SocketAddr, ParsePeerAddressError> {
    let parsed: SocketAddr = text.parse().map_err(|_| ParsePeerAddressError::Hint {
        hint: shorten(text),
    })?;
    let hint = match parsed.ip().to_canonical() {
        ip if ip == parsed.ip() => parsed,
        ip => SocketAddr::new(ip, parsed.port()),
    };
    let unusable = hint.port() == 0 || hint.ip().is_unspecified() || hint.ip().is_multicast();
    match unusable {
        true => Err(ParsePeerAddressError::UnusableHint { hint }),
        false => Ok(hint),
    }
}

/// What an error repeats of a text, which may be long.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Why a text is not an id with hints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePeerAddressError {
    /// The part before `@`.
    #[error(transparent)]
    Id(#[from] ParseDeviceIdError),
    /// A hint that is no socket address. Host names are not looked up here.
    #[error("{hint:?} is not an address hint of the form IP:PORT or [IPV6]:PORT")]
    Hint {
        /// The text found.
        hint: String,
    },
    /// A hint at which no peer can be: port 0, the unspecified address, or multicast.
    #[error("{hint} cannot be the address of a peer")]
    UnusableHint {
        /// The hint.
        hint: SocketAddr,
    },
    /// More than [`MAX_HINTS`].
    #[error("more than {MAX_HINTS} address hints")]
    TooManyHints,
}

/// The PEER argument of the tools: an address, or an alias to look up in the contacts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PeerArgument {
    /// An id, with or without hints.
    Address(PeerAddress),
    /// A name of the contact book.
    Alias(Alias),
}

impl fmt::Display for PeerArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Alias(alias) => alias.fmt(f),
        }
    }
}

impl FromStr for PeerArgument {
    type Err = ParsePeerArgumentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') || alias::resembles_id(text) {
            return Ok(Self::Address(text.parse()?));
        }
        Ok(Self::Alias(text.parse()?))
    }
}

/// Why a text names no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePeerArgumentError {
    /// It has the shape of an id, and is none.
    #[error(transparent)]
    Address(#[from] ParsePeerAddressError),
    /// It has the shape of an alias, and is none.
    #[error("neither a device id nor a contact name")]
    Alias(#[from] ParseAliasError),
}
