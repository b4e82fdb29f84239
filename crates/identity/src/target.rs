//! What a peer may ask to be connected with, and the patterns that allow it.
//!
//! ```text
//! target                                pattern: the same, and
//! db.internal:5432                      db.internal:*         any port
//! 127.0.0.1:22      [::1]:80            10.0.0.0/8:22         IPv4 network
//! udp:192.0.2.53:53                     [fd00::/8]:*          IPv6 network
//! unix:/run/app.sock                    udp:10.0.0.0/8:53
//! ```
//! Parsing normalises: names become lower case, address literals take their one shortest form,
//! and an IPv4-mapped IPv6 literal becomes the IPv4 address that it reaches. What then differs in
//! text is a different target: a name is never looked up here, so `localhost:22` and
//! `127.0.0.1:22` are two targets, and a network matches address literals only.

mod host;
mod network;
mod pattern;

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use host::MAX_HOST_LEN;
pub use network::Network;
pub use pattern::{HostPattern, PortPattern, TargetPattern};

/// Bytes of the longest path of a Unix socket: `sun_path` of `unix(7)` holds 108 with the final
/// zero.
pub const MAX_UNIX_PATH_LEN: usize = 107;

/// Bytes of the longest text form: `udp:`, the longest host, `:65535`.
pub const MAX_TARGET_LEN: usize = 4 + MAX_HOST_LEN + 6;

const UDP: &str = "udp:";
const UNIX: &str = "unix:";

/// One thing to connect with.
///
/// `FromStr` normalises as the module says; a value put together by hand is matched as if it had
/// been parsed. `Display` gives the text form, and parsing that gives the value again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A TCP port.
    Tcp {
        /// A host name or an address literal; IPv6 without brackets.
        host: String,
        /// The port, not 0.
        port: u16,
    },
    /// A UDP port.
    Udp {
        /// A host name or an address literal; IPv6 without brackets.
        host: String,
        /// The port, not 0.
        port: u16,
    },
    /// A Unix stream socket, by its absolute path.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{}:{port}", Bracketed(host)),
            Self::Udp { host, port } => write!(f, "{UDP}{}:{port}", Bracketed(host)),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_target(text).map_err(|fault| match text.parse::<TargetPattern>() {
            Ok(_) => ParseTargetError::Pattern,
            Err(_) => fault,
        })
    }
}

fn parse_target(text: &str) -> Result<Target, ParseTargetError> {
    Ok(match Parts::of(text)? {
        Parts::Unix(path) => Target::Unix(path.to_owned()),
        Parts::Internet {
            transport,
            host,
            bracketed,
            port,
        } => {
            let host = host::normalise(host, bracketed)?;
            let port = parse_port(port)?;
            match transport {
                Transport::Tcp => Target::Tcp { host, port },
                Transport::Udp => Target::Udp { host, port },
            }
        }
    })
}

/// A host as it stands before a port: IPv6 literals in brackets.
struct Bracketed<'h>(&'h str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.contains(':') {
            true => write!(f, "[{}]", self.0),
            false => f.write_str(self.0),
        }
    }
}

#[derive(Clone, Copy)]
enum Transport {
    Tcp,
    Udp,
}

/// A text taken apart, which targets and patterns do alike.
enum Parts<'t> {
    Internet {
        transport: Transport,
        host: &'t str,
        bracketed: bool,
        port: &'t str,
    },
    Unix(&'t Path),
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Result<Self, ParseTargetError> {
        if text.len() > MAX_TARGET_LEN {
            return Err(ParseTargetError::Length);
        }
        if let Some(path) = strip_scheme(text, UNIX) {
            return Ok(Self::Unix(check_unix_path(path)?));
        }
        let (transport, rest) = match strip_scheme(text, UDP) {
            Some(rest) => (Transport::Udp, rest),
            None => (Transport::Tcp, text),
        };
        if let Some(inner) = rest.strip_prefix('[') {
            let (host, after) = inner.split_once(']').ok_or(ParseTargetError::OpenBracket)?;
            let port = after
                .strip_prefix(':')
                .ok_or(ParseTargetError::MissingPort)?;
            return Ok(Self::Internet {
                transport,
                host,
                bracketed: true,
                port,
            });
        }
        let (host, port) = rest.rsplit_once(':').ok_or(ParseTargetError::MissingPort)?;
        if host.contains(':') {
            return Err(match rest.parse::<Ipv6Addr>().is_ok() {
                true => ParseTargetError::MissingPort,
                false => ParseTargetError::Unbracketed,
            });
        }
        Ok(Self::Internet {
            transport,
            host,
            bracketed: false,
            port,
        })
    }
}

fn parse_port(text: &str) -> Result<u16, ParseTargetError> {
    let fault = || ParseTargetError::Port {
        found: crate::peer_address::shorten(text),
    };
    // `u16::from_str` also takes "+22" and "0022".
    if text.starts_with(['+', '0']) {
        return Err(fault());
    }
    text.parse().map_err(|_| fault())
}

/// The rest after `udp:` or `unix:`, in small or capital letters: `UNIX` is no host name, since it
/// would print as the scheme.
fn strip_scheme<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// One spelling for each path: absolute, and no component that is empty, `.` or `..`.
fn check_unix_path(text: &str) -> Result<&Path, ParseTargetError> {
    let absolute = text
        .strip_prefix('/')
        .ok_or(ParseTargetError::RelativePath)?;
    if text.len() > MAX_UNIX_PATH_LEN {
        return Err(ParseTargetError::PathLength { found: text.len() });
    }
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    if !absolute.split('/').all(plain) || text.chars().any(char::is_control) {
        return Err(ParseTargetError::PathForm);
    }
    Ok(Path::new(text))
}

/// Why a text is neither a target nor a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTargetError {
    /// A network or `*` where one target is wanted.
    #[error("this is a pattern; a target is one host and one port")]
    Pattern,
    /// Longer than any target or pattern can be.
    #[error("the target is longer than {MAX_TARGET_LEN} characters")]
    Length,
    /// No colon and port after the host.
    #[error("the target has no port (HOST:PORT)")]
    MissingPort,
    /// Something that is no port in 1 to 65535.
    #[error("{found:?} is not a port (1 to 65535)")]
    Port {
        /// The text found.
        found: String,
    },
    /// `[` without `]`.
    #[error("the target has \"[\" without \"]\"")]
    OpenBracket,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets ([::1]:80)")]
    Unbracketed,
    /// Something in brackets that is no IPv6 address.
    #[error("{found:?} is not an IPv6 address")]
    Ipv6 {
        /// The text found.
        found: String,
    },
    /// Nothing before the colon.
    #[error("the target has no host")]
    MissingHost,
    /// A name longer than [`MAX_HOST_LEN`], or a label of it empty or over 63.
    #[error("the host name is too long, or a part between its dots is empty or too long")]
    HostLength,
    /// A character that host names do not have.
    #[error("a host name has no character {character:?} here (position {position})")]
    HostAlphabet {
        /// Where it stands, counted in characters from 1.
        position: usize,
        /// The character.
        character: char,
    },
    /// Digits that some programs read as an IPv4 address and others do not, such as `127.1`.
    #[error("{found:?} is not an IPv4 address of four decimal numbers")]
    Ipv4 {
        /// The text found.
        found: String,
    },
    /// `/` in something that is no network.
    #[error("{found:?} is not a network (10.0.0.0/8, [fd00::/8])")]
    Network {
        /// The text found.
        found: String,
    },
    /// A network with bits beyond its prefix.
    #[error("{found:?} has bits beyond its prefix (did you mean {network}?)")]
    HostBits {
        /// The text found.
        found: String,
        /// The network in which it lies.
        network: Network,
    },
    /// A socket path that does not start with `/`.
    #[error("the path of a socket must be absolute (unix:/path)")]
    RelativePath,
    /// A socket path over [`MAX_UNIX_PATH_LEN`].
    #[error("the path of a socket has at most {MAX_UNIX_PATH_LEN} bytes, not {found}")]
    PathLength {
        /// Bytes found.
        found: usize,
    },
    /// A socket path with a control character, or a part that is empty, `.` or `..`.
    #[error("the path of a socket must not hold \"//\", \"/./\", \"/../\" or control characters")]
    PathForm,
}
