//! The argument of `-L` and `-R`: `[BIND:]PORT:HOST:PORT`, as in ssh, or a Unix socket on either
//! side.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use dhtnet_identity::target::{ParseTargetError, Target};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// A TCP port; 0 = a free one.
    Tcp(SocketAddr),
    /// A UDP port; 0 = a free one.
    Udp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Bind {
    /// The same port of UDP; `None` for a Unix socket.
    fn over_udp(&self) -> Option<Self> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(Self::Udp(*address)),
            Self::Unix(_) => None,
        }
    }

    /// Its port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) | Self::Udp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// The same with another port.
    pub fn with_port(&self, port: u16) -> Self {
        let mut changed = self.clone();
        match &mut changed {
            Self::Tcp(address) | Self::Udp(address) => address.set_port(port),
            Self::Unix(_) => {}
        }
        changed
    }

    /// What a peer's text form of a target says to listen on; `None` for a name, which could be
    /// any address.
    pub fn of_target(target: &Target) -> Option<Self> {
        let address = |host: &str, port| Some(SocketAddr::new(host.parse().ok()?, port));
        match target {
            Target::Tcp { host, port } => address(host, *port).map(Self::Tcp),
            Target::Udp { host, port } => address(host, *port).map(Self::Udp),
            Target::Unix(path) => Some(Self::Unix(path.clone())),
        }
    }
}

/// The text form that a target at this place would have.
impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where to listen and what that leads to.
///
/// ```text
/// 8080:127.0.0.1:80            on 127.0.0.1
/// 0:db.internal:5432           on a free port
/// *:8080:[::1]:80              on all addresses
/// [::1]:8080:unix:/run/app     on an IPv6 address, to a Unix socket
/// unix:/tmp/db:127.0.0.1:5432  on a Unix socket
/// 5353:udp:192.0.2.53:53       datagrams
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where to listen.
    pub bind: Bind,
    /// Where that leads.
    pub target: Target,
}

/// Why an argument is no forward.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseForwardError {
    /// Too few parts.
    #[error("not of the form [BIND:]PORT:HOST:PORT")]
    Form,
    /// The bind address.
    #[error("{0:?} is no address to listen on (an IP address, [IPV6], localhost or *)")]
    Bind(String),
    /// The local port.
    #[error("{0:?} is no port to listen on (0 to 65535)")]
    Port(String),
    /// The target, or the path of a Unix socket.
    #[error("{0}")]
    Target(#[from] ParseTargetError),
    /// Datagrams on one side and a Unix stream socket on the other.
    #[error("a Unix socket cannot carry UDP")]
    UnixOverUdp,
}

impl Forward {
    /// The same over UDP on both sides.
    pub fn over_udp(&self) -> Result<Self, ParseForwardError> {
        let target = match &self.target {
            Target::Tcp { host, port } | Target::Udp { host, port } => Target::Udp {
                host: host.clone(),
                port: *port,
            },
            Target::Unix(_) => return Err(ParseForwardError::UnixOverUdp),
        };
        let bind = self.bind.over_udp().ok_or(ParseForwardError::UnixOverUdp)?;
        Ok(Self { bind, target })
    }
}

impl FromStr for Forward {
    type Err = ParseForwardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (bind, target) = if text.starts_with("unix:") {
            // A path with a colon cannot be told from one that ends before it.
            let (_, rest) = first_part(text).ok_or(ParseForwardError::Form)?;
            let (path, target) = first_part(rest).ok_or(ParseForwardError::Form)?;
            let Target::Unix(path) = format!("unix:{path}").parse()? else {
                return Err(ParseForwardError::Form);
            };
            (Bind::Unix(path), target)
        } else {
            let (address, target) = parse_port_and_rest(text)?;
            (Bind::Tcp(address), target)
        };
        if !target.contains(':') {
            return Err(ParseForwardError::Form);
        }
        let forward = Self {
            bind,
            target: target.parse()?,
        };
        match forward.target {
            Target::Udp { .. } => forward.over_udp(),
            _ => Ok(forward),
        }
    }
}

/// `[BIND:]PORT:` and what follows. With a bind address two more parts follow before the rest;
/// without one the first part is a number.
fn parse_port_and_rest(text: &str) -> Result<(SocketAddr, &str), ParseForwardError> {
    let (first, rest) = first_part(text).ok_or(ParseForwardError::Form)?;
    if first.parse::<u32>().is_ok() {
        return Ok((parse_place(None, first)?, rest));
    }
    let (port, target) = first_part(rest).ok_or(ParseForwardError::Form)?;
    Ok((parse_place(Some(first), port)?, target))
}

fn parse_place(bind: Option<&str>, port: &str) -> Result<SocketAddr, ParseForwardError> {
    let port = port
        .parse()
        .map_err(|_| ParseForwardError::Port(port.to_owned()))?;
    let ip = bind.map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), parse_bind)?;
    Ok(SocketAddr::new(ip, port))
}

/// The argument of `-D`: `[BIND:]PORT`.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, ParseForwardError> {
    let port_at = match text.rfind(']') {
        Some(end) => text[end..].find(':').map(|at| end + at),
        None => text.rfind(':'),
    };
    match port_at {
        Some(at) => parse_place(Some(&text[..at]), &text[at + 1..]),
        None => parse_place(None, text),
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bind {
            Bind::Udp(address) => write!(f, "{address}:{}", self.target),
            bind => write!(f, "{bind}:{}", self.target),
        }
    }
}

/// Splits at the first colon that is not inside brackets.
fn first_part(text: &str) -> Option<(&str, &str)> {
    let from = if text.starts_with('[') {
        text.find(']')?
    } else {
        0
    };
    let colon = from + text[from..].find(':')?;
    Some((&text[..colon], &text[colon + 1..]))
}

fn parse_bind(text: &str) -> Result<IpAddr, ParseForwardError> {
    let wrong = || ParseForwardError::Bind(text.to_owned());
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        "*" | "" => Ok(Ipv6Addr::UNSPECIFIED.into()),
        _ => match text.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(wrong)?;
                inner
                    .parse::<Ipv6Addr>()
                    .map(IpAddr::V6)
                    .map_err(|_| wrong())
            }
            None => text
                .parse::<Ipv4Addr>()
                .map(IpAddr::V4)
                .map_err(|_| wrong()),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_form_of_ssh_is_understood() {
        for (text, expected) in [
            ("8080:127.0.0.1:80", "127.0.0.1:8080:127.0.0.1:80"),
            ("0:db.internal:5432", "127.0.0.1:0:db.internal:5432"),
            ("8080:[::1]:80", "127.0.0.1:8080:[::1]:80"),
            ("localhost:1:h:2", "127.0.0.1:1:h:2"),
            ("192.0.2.7:8080:h:80", "192.0.2.7:8080:h:80"),
            ("*:8080:h:80", "[::]:8080:h:80"),
            (":8080:h:80", "[::]:8080:h:80"),
            ("[::1]:8080:[2001:db8::1]:80", "[::1]:8080:[2001:db8::1]:80"),
            (
                "8080:unix:/run/app.sock",
                "127.0.0.1:8080:unix:/run/app.sock",
            ),
            ("unix:/tmp/s:h:80", "unix:/tmp/s:h:80"),
            ("unix:/tmp/s:unix:/run/t", "unix:/tmp/s:unix:/run/t"),
            ("5353:udp:[::1]:53", "127.0.0.1:5353:udp:[::1]:53"),
        ] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!(forward.to_string(), expected, "{text}");
            assert_eq!(forward.to_string().parse::<Forward>().unwrap(), forward);
        }
    }

    #[test]
    fn every_wrong_form_is_named() {
        for (text, expected) in [
            ("", "not of the form [BIND:]PORT:HOST:PORT"),
            ("8080", "not of the form [BIND:]PORT:HOST:PORT"),
            ("8080:80", "not of the form [BIND:]PORT:HOST:PORT"),
            ("[::1:8080:h:80", "not of the form [BIND:]PORT:HOST:PORT"),
            (
                "65536:h:80",
                "\"65536\" is no port to listen on (0 to 65535)",
            ),
            (
                "h:80:x:1",
                "\"h\" is no address to listen on (an IP address, [IPV6], localhost or *)",
            ),
            (
                "127.0.0.1:x:h:80",
                "\"x\" is no port to listen on (0 to 65535)",
            ),
            ("unix:/tmp/s", "not of the form [BIND:]PORT:HOST:PORT"),
            (
                "unix:s:h:80",
                "the path of a socket must be absolute (unix:/path)",
            ),
            ("unix:/s:udp:h:53", "a Unix socket cannot carry UDP"),
        ] {
            let error = text.parse::<Forward>().unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
        assert!(matches!(
            "8080:h:0".parse::<Forward>(),
            Err(ParseForwardError::Target(_))
        ));
    }

    #[test]
    fn a_forward_over_udp_is_so_on_both_sides() {
        let forward: Forward = "1:h:2".parse().unwrap();
        let datagrams = forward.over_udp().unwrap();
        assert_eq!(datagrams, "1:udp:h:2".parse().unwrap());
        assert_eq!(datagrams.bind.to_string(), "udp:127.0.0.1:1");
        for unix in ["unix:/s:h:2", "1:unix:/s"] {
            let forward: Forward = unix.parse().unwrap();
            assert_eq!(forward.over_udp(), Err(ParseForwardError::UnixOverUdp));
        }
    }

    #[test]
    fn the_argument_of_d_is_a_port_with_or_without_an_address() {
        for (text, expected) in [
            ("1080", "127.0.0.1:1080"),
            ("0", "127.0.0.1:0"),
            ("[::1]:1080", "[::1]:1080"),
            ("*:1080", "[::]:1080"),
            ("192.0.2.1:1080", "192.0.2.1:1080"),
        ] {
            let address = parse_listen_address(text).unwrap();
            assert_eq!(address.to_string(), expected);
        }
        for wrong in ["", "h:1", "65536", "::1:1080", "[::1]", "1080:"] {
            assert!(parse_listen_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_a_peer_may_listen_is_an_address_and_never_a_name() {
        let bind = |text: &str| Bind::of_target(&text.parse().unwrap());
        for text in [
            "127.0.0.1:80",
            "[::1]:80",
            "udp:127.0.0.1:53",
            "unix:/run/s",
        ] {
            assert_eq!(bind(text).unwrap().to_string(), text);
        }
        assert_eq!(bind("localhost:80"), None);
    }
}
