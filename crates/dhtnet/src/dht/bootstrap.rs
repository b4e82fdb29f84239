//! Who is asked first.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Nodes of the public network that answer those who know nobody yet.
const MAINLINE: &[&str] = &[
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "router.utorrent.com:6881",
    "relay.pkarr.org:6881",
];

/// A way into the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// The well-known nodes of the public BitTorrent DHT.
    Mainline,
    /// `HOST:PORT`, looked up by name.
    Host(String),
    /// An address.
    Address(SocketAddr),
}

/// Why a text names no bootstrap node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not HOST:PORT: write for example 192.0.2.1:6881, [2001:db8::1]:6881 or dht.example.org:6881"
)]
pub struct ParseBootstrapError {
    text: String,
}

impl FromStr for Bootstrap {
    type Err = ParseBootstrapError;

    fn from_str(text: &str) -> Result<Self, ParseBootstrapError> {
        let wrong = || ParseBootstrapError {
            text: text.to_owned(),
        };
        if text == "mainline" {
            return Ok(Self::Mainline);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(wrong()),
                _ => Ok(Self::Address(address)),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let is_name = !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if !is_name || port == 0 {
            return Err(wrong());
        }
        Ok(Self::Host(text.to_owned()))
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mainline => f.write_str("mainline"),
            Self::Host(host) => f.write_str(host),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Bootstrap {
    /// The addresses that are known without asking anybody.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            _ => None,
        }
    }

    /// Everything that it stands for, as `HOST:PORT`.
    pub(crate) fn all_names(&self) -> Vec<String> {
        match self {
            Self::Address(address) => vec![address.to_string()],
            _ => self.names(),
        }
    }

    /// The names that have to be looked up.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Mainline => MAINLINE.iter().map(ToString::to_string).collect(),
            Self::Host(host) => vec![host.clone()],
            Self::Address(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn addresses_names_and_mainline_are_told_apart() {
        for text in [
            "11.0.0.1:6881",
            "[2001:db8::1]:6881",
            "dht.example.org:6881",
            "mainline",
        ] {
            assert_eq!(text.parse::<Bootstrap>().unwrap().to_string(), text);
        }
        assert!(matches!("localhost:1".parse(), Ok(Bootstrap::Host(_))));
        for text in [
            "",
            "host",
            "host:",
            ":1",
            "host:0",
            "11.0.0.1:0",
            "a b:1",
            "host:70000",
        ] {
            let error = text.parse::<Bootstrap>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT"), "{text}");
        }
    }
}
