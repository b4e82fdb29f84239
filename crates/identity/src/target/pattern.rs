//! Patterns that say which targets are allowed.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Network, ParseTargetError, Parts, Target, Transport, UDP, UNIX};
use super::{host, parse_port};

const ANY_PORT: &str = "*";

/// A set of targets: one target, all ports of a host, or a network.
///
/// TCP patterns match TCP targets only, and so on. `Display` and `FromStr` use the text form of
/// the [module](super), which round-trips.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetPattern {
    /// TCP ports.
    Tcp {
        /// On which hosts.
        host: HostPattern,
        /// Which ports.
        port: PortPattern,
    },
    /// UDP ports.
    Udp {
        /// On which hosts.
        host: HostPattern,
        /// Which ports.
        port: PortPattern,
    },
    /// The Unix socket with exactly this path.
    Unix(PathBuf),
}

/// The hosts of a [`TargetPattern`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// The host with this name, in any case; never an address, whatever the name resolves to.
    Name(String),
    /// This address literal.
    Address(IpAddr),
    /// Address literals in this network; never a name.
    Network(Network),
}

/// The ports of a [`TargetPattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortPattern {
    /// Every port: `*`.
    Any,
    /// This port.
    Exactly(u16),
}

impl TargetPattern {
    /// Whether `target` is one of the targets that this pattern allows.
    pub fn matches(&self, target: &Target) -> bool {
        match (self, target) {
            (
                Self::Tcp { host, port },
                Target::Tcp {
                    host: asked,
                    port: number,
                },
            )
            | (
                Self::Udp { host, port },
                Target::Udp {
                    host: asked,
                    port: number,
                },
            ) => port.matches(*number) && host.matches(asked),
            (Self::Unix(path), Target::Unix(asked)) => path.as_os_str() == asked.as_os_str(),
            _ => false,
        }
    }
}

impl TargetPattern {
    /// Whether this pattern allows every target that `other` allows.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Tcp { host, port },
                Self::Tcp {
                    host: narrow,
                    port: number,
                },
            )
            | (
                Self::Udp { host, port },
                Self::Udp {
                    host: narrow,
                    port: number,
                },
            ) => port.includes(*number) && host.includes(narrow),
            (Self::Unix(path), Self::Unix(other)) => path.as_os_str() == other.as_os_str(),
            _ => false,
        }
    }
}

impl HostPattern {
    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(name), Self::Name(other)) => name.eq_ignore_ascii_case(other),
            (Self::Address(address), Self::Address(other)) => {
                address.to_canonical() == other.to_canonical()
            }
            (Self::Network(network), Self::Address(address)) => network.contains(*address),
            (Self::Network(network), Self::Network(other)) => network.includes(other),
            _ => false,
        }
    }

    fn matches(&self, asked: &str) -> bool {
        match (self, host::literal(asked)) {
            (Self::Name(name), None) => name.eq_ignore_ascii_case(asked),
            (Self::Address(address), Some(asked)) => address.to_canonical() == asked,
            (Self::Network(network), Some(asked)) => network.contains(asked),
            (Self::Name(_), Some(_)) | (_, None) => false,
        }
    }

    fn parse(text: &str, bracketed: bool) -> Result<Self, ParseTargetError> {
        if text.contains('/') {
            return Network::parse(text, bracketed).map(Self::Network);
        }
        let host = host::normalise(text, bracketed)?;
        Ok(match host::literal(&host) {
            Some(address) => Self::Address(address),
            None => Self::Name(host),
        })
    }
}

impl PortPattern {
    fn includes(self, other: Self) -> bool {
        self == Self::Any || self == other
    }

    fn matches(self, asked: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(port) => port == asked,
        }
    }
}

impl From<Target> for TargetPattern {
    /// The pattern that matches exactly this target.
    fn from(target: Target) -> Self {
        let host = |name: String| match host::literal(&name) {
            Some(address) => HostPattern::Address(address),
            None => HostPattern::Name(name),
        };
        match target {
            Target::Tcp { host: name, port } => Self::Tcp {
                host: host(name),
                port: PortPattern::Exactly(port),
            },
            Target::Udp { host: name, port } => Self::Udp {
                host: host(name),
                port: PortPattern::Exactly(port),
            },
            Target::Unix(path) => Self::Unix(path),
        }
    }
}

impl FromStr for TargetPattern {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match Parts::of(text)? {
            Parts::Unix(path) => Self::Unix(path.to_owned()),
            Parts::Internet {
                transport,
                host,
                bracketed,
                port,
            } => {
                let host = HostPattern::parse(host, bracketed)?;
                let port = match port {
                    ANY_PORT => PortPattern::Any,
                    number => PortPattern::Exactly(parse_port(number)?),
                };
                match transport {
                    Transport::Tcp => Self::Tcp { host, port },
                    Transport::Udp => Self::Udp { host, port },
                }
            }
        })
    }
}

impl fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Udp { host, port } => write!(f, "{UDP}{host}:{port}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address @ IpAddr::V6(_)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Network(network) if network.address().is_ipv6() => write!(f, "[{network}]"),
            Self::Network(network) => write!(f, "{network}"),
        }
    }
}

impl fmt::Display for PortPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str(ANY_PORT),
            Self::Exactly(port) => write!(f, "{port}"),
        }
    }
}
