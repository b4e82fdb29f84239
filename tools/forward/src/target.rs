//! Connecting to a target on this side, and why that failed in words that the other side knows.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use dhtnet_identity::target::Target;
use tokio::net::{TcpStream, UdpSocket, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::socket::Socket;

/// How long a target may take to answer, all its addresses together. Shorter than the time the
/// peer waits by default, so that it learns the cause.
const TARGET_LIMIT: Duration = Duration::from_secs(15);

/// Why a target cannot be had. The texts are on the wire (docs/dnc.md): they end the message of
/// the decline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No way to the host.
    #[error("host unreachable")]
    HostUnreachable,
    /// No way to its network.
    #[error("network unreachable")]
    NetworkUnreachable,
    /// It does not answer.
    #[error("no answer in time")]
    TimedOut,
    /// The name has no address.
    #[error("the name is not known")]
    UnknownName,
    /// Something else, in the system's words.
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    /// What the end of a decline's message says.
    pub(crate) fn of_message(message: &str) -> Self {
        let known = [
            Self::Refused,
            Self::HostUnreachable,
            Self::NetworkUnreachable,
            Self::TimedOut,
            Self::UnknownName,
        ];
        let found = known.into_iter().find(|known| {
            let words = known.to_string();
            message
                .strip_suffix(&words)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with(": "))
        });
        found.unwrap_or_else(|| Self::Other(message.to_owned()))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable => Self::HostUnreachable,
            io::ErrorKind::NetworkUnreachable => Self::NetworkUnreachable,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Connects to a stream target; a name is looked up here, and its addresses are tried in order.
pub(crate) async fn open_stream(target: &Target) -> Result<Socket, Trouble> {
    let opening = async {
        match target {
            Target::Tcp { host, port } => {
                let mut last = Trouble::UnknownName;
                for address in look_up(host, *port).await? {
                    match TcpStream::connect(address).await {
                        Ok(stream) => return Ok(Socket::Tcp(stream)),
                        Err(error) => last = error.into(),
                    }
                }
                Err(last)
            }
            Target::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
            Target::Udp { .. } => Err(Trouble::Other("not a stream".to_owned())),
        }
    };
    timeout(TARGET_LIMIT, opening)
        .await
        .unwrap_or(Err(Trouble::TimedOut))
}

/// A UDP socket that talks to one address of the target and hears nobody else.
pub(crate) async fn open_datagrams(host: &str, port: u16) -> Result<UdpSocket, Trouble> {
    let opening = async {
        let mut last = Trouble::UnknownName;
        for address in look_up(host, port).await? {
            let any: SocketAddr = if address.is_ipv4() {
                ([0; 4], 0).into()
            } else {
                ([0_u16; 8], 0).into()
            };
            let socket = UdpSocket::bind(any).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(socket),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    };
    timeout(TARGET_LIMIT, opening)
        .await
        .unwrap_or(Err(Trouble::TimedOut))
}

async fn look_up(host: &str, port: u16) -> Result<impl Iterator<Item = SocketAddr>, Trouble> {
    lookup_host((host, port))
        .await
        .map_err(|_| Trouble::UnknownName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_understands_each_cause() {
        for (message, cause) in [
            ("127.0.0.1:1: connection refused", Trouble::Refused),
            ("h:1: host unreachable", Trouble::HostUnreachable),
            ("h:1: network unreachable", Trouble::NetworkUnreachable),
            ("h:1: no answer in time", Trouble::TimedOut),
            ("the name is not known", Trouble::UnknownName),
            ("disk on fire", Trouble::Other("disk on fire".to_owned())),
            ("", Trouble::Other(String::new())),
        ] {
            assert_eq!(Trouble::of_message(message), cause, "{message}");
        }
    }
}
