//! The argument of `-L`: `[BIND:]PORT:HOST:PORT`, as in ssh.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use dhtnet_identity::target::{ParseTargetError, Target};

/// A local port and what it leads to behind the peer.
///
/// ```text
/// 8080:127.0.0.1:80            on 127.0.0.1
/// 0:db.internal:5432           on a free port
/// *:8080:[::1]:80              on all addresses
/// [::1]:8080:unix:/run/app     on an IPv6 address, to a Unix socket
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalForward {
    /// Where to listen; port 0 = a free one.
    pub(crate) bind: SocketAddr,
    /// What the peer is asked for.
    pub(crate) target: Target,
}

/// Why an argument is no forward.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ParseLocalForwardError {
    /// Too few parts.
    #[error("not of the form [BIND:]PORT:HOST:PORT")]
    Form,
    /// The bind address.
    #[error("{0:?} is no address to listen on (an IP address, [IPV6], localhost or *)")]
    Bind(String),
    /// The local port.
    #[error("{0:?} is no port to listen on (0 to 65535)")]
    Port(String),
    /// The target.
    #[error("{0}")]
    Target(#[from] ParseTargetError),
    /// A target that is no stream.
    #[error("a TCP port cannot lead to a UDP target")]
    NotAStream,
}

impl FromStr for LocalForward {
    type Err = ParseLocalForwardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, rest) = first_part(text).ok_or(ParseLocalForwardError::Form)?;
        // With a bind address two more parts follow before the last colon; without one the first
        // part is a number.
        let (bind, port, target) = if first.parse::<u32>().is_ok() {
            (None, first, rest)
        } else {
            let (port, target) = first_part(rest).ok_or(ParseLocalForwardError::Form)?;
            (Some(first), port, target)
        };
        let port = port
            .parse()
            .map_err(|_| ParseLocalForwardError::Port(port.to_owned()))?;
        let ip = bind.map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), parse_bind)?;
        if !target.contains(':') {
            return Err(ParseLocalForwardError::Form);
        }
        let target: Target = target.parse()?;
        if matches!(target, Target::Udp { .. }) {
            return Err(ParseLocalForwardError::NotAStream);
        }
        Ok(Self {
            bind: SocketAddr::new(ip, port),
            target,
        })
    }
}

impl fmt::Display for LocalForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bind, self.target)
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

fn parse_bind(text: &str) -> Result<IpAddr, ParseLocalForwardError> {
    let wrong = || ParseLocalForwardError::Bind(text.to_owned());
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
        ] {
            let forward: LocalForward = text.parse().unwrap();
            assert_eq!(forward.to_string(), expected, "{text}");
            assert_eq!(
                forward.to_string().parse::<LocalForward>().unwrap(),
                forward
            );
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
            ("8080:udp:h:53", "a TCP port cannot lead to a UDP target"),
        ] {
            let error = text.parse::<LocalForward>().unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
        assert!(matches!(
            "8080:h:0".parse::<LocalForward>(),
            Err(ParseLocalForwardError::Target(_))
        ));
    }
}
