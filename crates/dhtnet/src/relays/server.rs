//! A TURN server from the configuration, and its URI.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// Longest URI that is read, in bytes: a host name has at most 253, a user name 508 (RFC 8489
/// section 14.3).
pub const MAX_URI_LEN: usize = 1_024;

/// Longest user name, in bytes (RFC 8489 section 14.3).
const MAX_USERNAME_LEN: usize = 508;

/// The port of TURN (RFC 8656 section 4), and the one under TLS.
const PORTS: [u16; 2] = [3478, 5349];

/// How a relay is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelayTransport {
    /// Datagrams.
    Udp,
    /// One TCP connection.
    Tcp,
    /// One TCP connection with TLS.
    Tls,
}

impl RelayTransport {
    /// For messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// A relay to be used, and what proves who asks.
///
/// As text it is `turn:[USER@]HOST[:PORT][?transport=udp|tcp]`, or `turns:` for TLS over TCP; the
/// ports are 3478 and 5349 unless told. The password is never part of it. Without a user it is a
/// relay of this system, where the device's key serves.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnServer {
    host: String,
    port: u16,
    transport: RelayTransport,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    authorities: Option<Arc<[u8]>>,
}

/// Why a text is no URI of a TURN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TurnUriError {
    /// It begins with neither scheme.
    #[error("it does not begin with turn: or turns:")]
    Scheme,
    /// There is no host, or it cannot be one.
    #[error("the host is missing or has characters that no host has")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// What follows the question mark is not `transport=udp` or `transport=tcp`.
    #[error("after the host only ?transport=udp or ?transport=tcp is possible")]
    Transport,
    /// TLS runs over TCP.
    #[error("turns: runs over TCP; leave ?transport=udp out, or use turn:")]
    TlsOverUdp,
    /// The user name is empty, too long or not percent-encoded UTF-8.
    #[error("the user name is empty, too long or wrongly encoded")]
    User,
    /// There is a colon in the user name: a password would be seen by everybody on the machine.
    #[error("the password does not belong into the URI; give it in a file or the environment")]
    Password,
    /// Longer than [`MAX_URI_LEN`].
    #[error("it is longer than {MAX_URI_LEN} bytes")]
    TooLong,
}

/// What was given as certificates is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no certificate in PEM, or a damaged one")]
pub struct NotCertificates;

impl TurnServer {
    /// Gives the password of the user.
    #[must_use]
    pub fn password(mut self, password: Zeroizing<String>) -> Self {
        self.password = Some(password);
        self
    }

    /// Trusts these authorities, certificates in PEM, beside those of the system; for `turns:`.
    ///
    /// # Errors
    /// [`NotCertificates`].
    pub fn trust(mut self, pem: &[u8]) -> Result<Self, NotCertificates> {
        let mut found = CertificateDer::pem_slice_iter(pem).peekable();
        if found.peek().is_none() || found.any(|certificate| certificate.is_err()) {
            return Err(NotCertificates);
        }
        self.authorities = Some(pem.into());
        Ok(self)
    }

    pub(crate) fn authorities(&self) -> Option<Arc<[u8]>> {
        self.authorities.clone()
    }

    /// Name or address of the host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How it is reached.
    #[must_use]
    pub fn transport(&self) -> RelayTransport {
        self.transport
    }

    /// The user name; `None` for a relay of this system.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The same over a stream.
    #[must_use]
    pub(crate) fn by_tcp(mut self) -> Self {
        if self.transport == RelayTransport::Udp {
            self.transport = RelayTransport::Tcp;
        }
        self
    }

    /// User name and password, when both are there.
    pub(crate) fn credentials(&self) -> Option<(&str, &Zeroizing<String>)> {
        self.username.as_deref().zip(self.password.as_ref())
    }

    /// Whether a password is needed that was not given.
    #[must_use]
    pub fn lacks_password(&self) -> bool {
        self.username.is_some() && self.password.is_none()
    }
}

impl FromStr for TurnServer {
    type Err = TurnUriError;

    fn from_str(text: &str) -> Result<Self, TurnUriError> {
        if text.len() > MAX_URI_LEN {
            return Err(TurnUriError::TooLong);
        }
        let (tls, rest) = match (text.strip_prefix("turn:"), text.strip_prefix("turns:")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            (None, None) => return Err(TurnUriError::Scheme),
        };
        let (rest, query) = halves(rest, '?');
        let transport = match (query, tls) {
            (None | Some("transport=tcp"), true) => RelayTransport::Tls,
            (Some("transport=udp"), true) => return Err(TurnUriError::TlsOverUdp),
            (None | Some("transport=udp"), false) => RelayTransport::Udp,
            (Some("transport=tcp"), false) => RelayTransport::Tcp,
            (Some(_), _) => return Err(TurnUriError::Transport),
        };
        let (username, place) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(TurnUriError::Password),
            Some((user, place)) => (Some(decoded(user)?), place),
            None => (None, rest),
        };
        let (host, port) = host_and_port(place, PORTS[usize::from(tls)])?;
        Ok(Self {
            host,
            port,
            transport,
            username,
            password: None,
            authorities: None,
        })
    }
}

/// What is before a mark, and what is behind it where there is one.
fn halves(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

fn host_and_port(place: &str, default: u16) -> Result<(String, u16), TurnUriError> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(TurnUriError::Host)?;
        address
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| TurnUriError::Host)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port),
            None if rest.is_empty() => None,
            None => return Err(TurnUriError::Port),
        };
        (address, port)
    } else {
        let (host, port) = halves(place, ':');
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if host.is_empty() || host.len() > 253 || !host.chars().all(fits) {
            return Err(TurnUriError::Host);
        }
        (host, port)
    };
    let port = match port.map(str::parse) {
        None => default,
        Some(Ok(port)) if port != 0 => port,
        Some(_) => return Err(TurnUriError::Port),
    };
    Ok((host.to_owned(), port))
}

/// Undoes percent-encoding (RFC 3986 section 2.1).
fn decoded(user: &str) -> Result<String, TurnUriError> {
    let mut bytes = Vec::new();
    let mut rest = user.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_first_chunk::<2>().ok_or(TurnUriError::User)?;
        let digits = std::str::from_utf8(digits).map_err(|_| TurnUriError::User)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| TurnUriError::User)?);
        rest = tail;
    }
    let name = String::from_utf8(bytes).map_err(|_| TurnUriError::User)?;
    let fits = !name.is_empty() && name.len() <= MAX_USERNAME_LEN;
    (fits && !name.contains(char::is_control))
        .then_some(name)
        .ok_or(TurnUriError::User)
}

impl fmt::Display for TurnServer {
    /// Scheme, host, port and transport; not the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, transport) = match self.transport {
            RelayTransport::Udp => ("turn", ""),
            RelayTransport::Tcp => ("turn", "?transport=tcp"),
            RelayTransport::Tls => ("turns", ""),
        };
        if self.host.contains(':') {
            write!(f, "{scheme}:[{}]:{}{transport}", self.host, self.port)
        } else {
            write!(f, "{scheme}:{}:{}{transport}", self.host, self.port)
        }
    }
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnServer({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn read(text: &str) -> Result<TurnServer, TurnUriError> {
        text.parse()
    }

    #[test]
    fn uris_are_read_with_their_defaults_and_written_without_the_user() {
        let cases = [
            ("turn:alice@h.example", None, "turn:h.example:3478"),
            ("turn:10.0.0.1:99", None, "turn:10.0.0.1:99"),
            ("turn:h?transport=tcp", None, "turn:h:3478?transport=tcp"),
            ("turns:[2001:db8::1]", None, "turns:[2001:db8::1]:5349"),
            ("turns:h:443?transport=tcp", None, "turns:h:443"),
            (
                "turn:a%40b@[::1]:1?transport=udp",
                Some("a@b"),
                "turn:[::1]:1",
            ),
            ("turn:a@b@h", Some("a@b"), "turn:h:3478"),
        ];
        for (text, user, shown) in cases {
            let server = read(text).unwrap();
            assert_eq!(server.to_string(), shown, "{text}");
            if user.is_some() {
                assert_eq!(server.username(), user, "{text}");
            }
        }
        let server = read("turn:alice@h").unwrap();
        assert!(server.lacks_password());
        let server = server.password(Zeroizing::new("secret".to_owned()));
        assert!(!server.lacks_password());
        assert_eq!(format!("{server:?}"), "TurnServer(turn:h:3478)");
        assert!(!read("turn:h").unwrap().lacks_password());
        for text in ["", "certificate", "-----BEGIN CERTIFICATE-----\n!\n"] {
            let trusting = read("turns:h").unwrap().trust(text.as_bytes());
            assert_eq!(trusting, Err(NotCertificates), "{text}");
        }
    }

    #[test]
    fn each_mistake_in_a_uri_is_named() {
        let long = format!("turn:{}", "a".repeat(MAX_URI_LEN));
        let user = format!("turn:{}@h", "a".repeat(MAX_USERNAME_LEN + 1));
        let cases = [
            ("h:3478", TurnUriError::Scheme),
            ("stun:h", TurnUriError::Scheme),
            ("turn:", TurnUriError::Host),
            ("turn:a@", TurnUriError::Host),
            ("turn:[::1", TurnUriError::Host),
            ("turn://h", TurnUriError::Host),
            ("turn:[h]", TurnUriError::Host),
            ("turn:h:0", TurnUriError::Port),
            ("turn:h:65536", TurnUriError::Port),
            ("turn:[::1]1", TurnUriError::Port),
            ("turn:h?transport=sctp", TurnUriError::Transport),
            ("turn:h?", TurnUriError::Transport),
            ("turns:h?transport=udp", TurnUriError::TlsOverUdp),
            ("turn:@h", TurnUriError::User),
            ("turn:%zz@h", TurnUriError::User),
            ("turn:%e@h", TurnUriError::User),
            ("turn:%ff@h", TurnUriError::User),
            (&user, TurnUriError::User),
            ("turn:alice:secret@h", TurnUriError::Password),
            (&long, TurnUriError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }
}
