//! `-D`: a SOCKS 5 server (RFC 1928) on this side, whose targets are behind the peer.
//!
//! Names are sent as they are and looked up there; the peer's policy is asked about each target.

mod associate;
pub(crate) mod codec;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dhtnet::{Channel, ConnectError, DeclineCode};
use dhtnet_cli::{Failure, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::codec::{Address, Command, DecodeError, MAX_MESSAGE, Reply, Transport};
use crate::forward_spec::Bind;
use crate::join::Ending;
use crate::session::Session;
use crate::socket::{Socket, bind_failure};
use crate::target::Trouble;

/// How long a client may take to say what it wants.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// How long to wait when the system has no file descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is told as the own address where there is none to tell.
const NO_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Where a server leads.
#[derive(Clone)]
pub(crate) struct Socks {
    pub(crate) session: Arc<Session>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) ending: Ending,
}

/// Listens for clients.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|error| bind_failure(&Bind::Tcp(address), &error))
}

impl Socks {
    /// Serves while there is room. Ends only by being dropped, with all its connections.
    pub(crate) async fn serve(self, listener: TcpListener, room: Arc<Semaphore>) {
        let mut clients = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            let accepted = loop {
                tokio::select! {
                    accepted = listener.accept() => break accepted,
                    Some(_) = clients.join_next() => {}
                }
            };
            match accepted {
                Ok((stream, _)) => {
                    let socks = self.clone();
                    clients.spawn(async move {
                        socks.serve_client(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    let talk = &self.session.talk;
                    talk.warn(format_args!("cannot take a connection: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one client to its end. Why it had to be turned away is told with `-v`: the client was
    /// told by the reply.
    async fn serve_client(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let asked = match timeout(HANDSHAKE_LIMIT, greet(&mut stream)).await {
            Ok(asked) => asked,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let (command, address) = match asked {
            Ok(asked) => asked,
            Err(error) => return self.tell(&format!("a SOCKS client was turned away: {error}")),
        };
        match command {
            Command::Connect => self.connect(stream, &address).await,
            Command::UdpAssociate => {
                if let Err(error) = associate::serve(self, stream).await {
                    self.tell(&format!("UDP for a SOCKS client: {error}"));
                }
            }
            Command::Other(number) => {
                refuse(stream, Reply::CommandNotSupported).await;
                self.tell(&format!("a SOCKS client asked for command {number}"));
            }
        }
    }

    async fn connect(&self, stream: TcpStream, address: &Address) {
        let target = match address.target(Transport::Tcp) {
            Ok(target) => target,
            Err(error) => {
                refuse(stream, Reply::HostUnreachable).await;
                return self.tell(&format!("a SOCKS client asked for no target: {error}"));
            }
        };
        let (session, peer) = (&self.session, &self.peer);
        let asked = target.to_string();
        match session.connect(peer, session.target_request(&target)).await {
            Ok(channel) => {
                if let Err(why) = self.carry(stream, channel, &asked).await {
                    self.tell(&format!("a connection to {target}: {why}"));
                }
            }
            Err(error) => {
                refuse(stream, reply_for(&error)).await;
                let why = session.connect_failure(peer, &asked, &error);
                self.tell(&format!("a connection to {target}: {why}"));
            }
        }
    }

    async fn carry(
        &self,
        mut stream: TcpStream,
        channel: Channel,
        asked: &str,
    ) -> Result<(), String> {
        let reply = codec::encode_reply(Reply::Done, NO_ADDRESS);
        let replied = stream.write_all(&reply).await;
        replied.map_err(|error| error.to_string())?;
        let joined = Socket::Tcp(stream).join(channel, self.ending).await;
        joined.map_err(|error| self.session.forward_trouble(&self.peer, asked, &error))
    }

    fn tell(&self, what: &str) {
        self.session.talk.detail(what);
    }
}

/// What the client wants.
async fn greet(stream: &mut TcpStream) -> io::Result<(Command, Address)> {
    let is_open = read_message(stream, codec::decode_greeting).await?;
    stream.write_all(&codec::encode_choice(is_open)).await?;
    if !is_open {
        return Err(io::Error::other("it wants to authenticate"));
    }
    match read_message(stream, codec::decode_request).await {
        Err(error) if is_unknown_address(&error) => {
            let reply = codec::encode_reply(Reply::AddressNotSupported, NO_ADDRESS);
            stream.write_all(&reply).await?;
            Err(error)
        }
        asked => asked,
    }
}

fn is_unknown_address(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    cause == Some(&DecodeError::AddressType)
}

/// Reads exactly one message.
async fn read_message<T>(
    stream: &mut TcpStream,
    decode: fn(&[u8]) -> Result<T, DecodeError>,
) -> io::Result<T> {
    let mut bytes = [0; MAX_MESSAGE];
    let mut len = 0;
    loop {
        match decode(&bytes[..len]) {
            Ok(message) => return Ok(message),
            Err(DecodeError::Needs(more)) => {
                let Some(room) = bytes.get_mut(len..len + more) else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                stream.read_exact(room).await?;
                len += more;
            }
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

async fn refuse(mut stream: TcpStream, reply: Reply) {
    // A client that has gone needs no answer.
    let _ = stream
        .write_all(&codec::encode_reply(reply, NO_ADDRESS))
        .await;
    let _ = stream.shutdown().await;
}

/// The reply that comes nearest to a failure.
fn reply_for(error: &ConnectError) -> Reply {
    match error {
        ConnectError::Declined { reason, .. } => match reason.code() {
            DeclineCode::Policy => Reply::NotAllowed,
            DeclineCode::TargetFailed => match Trouble::of_message(reason.message()) {
                Trouble::Refused => Reply::Refused,
                Trouble::NetworkUnreachable => Reply::NetworkUnreachable,
                Trouble::HostUnreachable | Trouble::TimedOut | Trouble::UnknownName => {
                    Reply::HostUnreachable
                }
                Trouble::Other(_) => Reply::Failed,
            },
            _ => Reply::Failed,
        },
        ConnectError::Refused { .. } => Reply::NotAllowed,
        ConnectError::NotFound { .. }
        | ConnectError::Unreachable { .. }
        | ConnectError::TimedOut { .. } => Reply::NetworkUnreachable,
        _ => Reply::Failed,
    }
}

#[cfg(test)]
mod tests {
    use dhtnet::DeclineReason;
    use dhtnet_identity::DeviceKey;

    use super::*;

    #[test]
    fn each_failure_has_the_reply_that_comes_nearest() {
        let peer = DeviceKey::from_seed(&[1; 32]).id();
        let declined = |code, message: &str| ConnectError::Declined {
            peer,
            reason: DeclineReason::new(code, message),
        };
        let failed = |message| declined(DeclineCode::TargetFailed, message);
        for (error, reply) in [
            (declined(DeclineCode::Policy, ""), Reply::NotAllowed),
            (ConnectError::Refused { peer }, Reply::NotAllowed),
            (failed("h:1: connection refused"), Reply::Refused),
            (failed("h:1: host unreachable"), Reply::HostUnreachable),
            (
                failed("h:1: network unreachable"),
                Reply::NetworkUnreachable,
            ),
            (failed("h:1: the name is not known"), Reply::HostUnreachable),
            (failed("h:1: on fire"), Reply::Failed),
            (declined(DeclineCode::Busy, ""), Reply::Failed),
            (
                ConnectError::NotFound {
                    peer,
                    tried: Vec::new(),
                    others: Vec::new(),
                    relays: Vec::new(),
                },
                Reply::NetworkUnreachable,
            ),
        ] {
            assert_eq!(reply_for(&error), reply, "{error}");
        }
    }
}
