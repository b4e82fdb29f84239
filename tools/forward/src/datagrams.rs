//! UDP over datagram channels: boundaries are kept, a datagram may be lost, and each source has a
//! channel of its own that ends by silence.

mod sessions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dhtnet::{Channel, ChannelError};
use dhtnet_cli::Talk;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::carry::Way;
use crate::join::JoinError;

pub(crate) use self::sessions::Sessions;

/// Silence in both directions after which a session ends: what NATs have to keep a UDP mapping for
/// at least (RFC 4787, REQ-5).
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// Sources at the same time of one forward; the one that was silent longest makes room. Each is a
/// channel, of which a connection has 2,048.
pub(crate) const MAX_SOURCES: usize = 512;

/// How long to wait after the system refused to receive.
pub(crate) const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The largest payload of UDP (RFC 768 with RFC 8200: 65,535 less the UDP header), in bytes.
pub(crate) const MAX_DATAGRAM: usize = 65_527;

/// This side of a session.
pub(crate) trait Port {
    /// The next datagram to the peer; `None` when no more comes. Cancel-safe.
    async fn receive(&mut self) -> io::Result<Option<Bytes>>;
    /// A datagram from the peer. One that cannot be sent is lost.
    async fn deliver(&mut self, datagram: Bytes);
}

/// Datagrams that were larger than the path to the peer carries.
#[derive(Clone, Default)]
pub(crate) struct Oversized(Arc<AtomicU64>);

impl Oversized {
    /// Counts one, and says so for the first.
    fn count(&self, talk: &Talk, len: usize, max: usize) {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            talk.warn(format_args!(
                "a datagram of {len} bytes was dropped: the path carries {max} at most; further \
                 ones are counted (-v tells)"
            ));
        }
    }

    /// Tells how many there were.
    pub(crate) fn tell(&self, talk: &Talk) {
        let count = self.0.load(Ordering::Relaxed);
        if count > 0 {
            talk.detail(format_args!("{count} datagrams were too large and dropped"));
        }
    }
}

/// Carries datagrams both ways until one side ends or both were silent for long.
///
/// # Errors
/// [`JoinError`]: the socket, or the channel with the peer's reason.
pub(crate) async fn exchange(
    port: &mut impl Port,
    channel: &mut Channel,
    counting: (&Oversized, &Talk),
) -> Result<(), JoinError> {
    let ended = exchange_until_silence(port, channel, counting).await;
    if ended.is_ok() {
        // So that the peer takes it for an end. A channel that is gone needs none.
        let _ = channel.shutdown().await;
    }
    ended
}

async fn exchange_until_silence(
    port: &mut impl Port,
    channel: &Channel,
    (oversized, talk): (&Oversized, &Talk),
) -> Result<(), JoinError> {
    loop {
        tokio::select! {
            datagram = port.receive() => {
                let Some(datagram) = datagram.map_err(JoinError::Input)? else {
                    return Ok(());
                };
                let len = datagram.len();
                if let Err(error) = channel.send_datagram(datagram).await {
                    match ChannelError::from_io(&error) {
                        Some(ChannelError::DatagramTooLarge { max }) => {
                            oversized.count(talk, len, *max);
                        }
                        _ => return Err(JoinError::Channel(error)),
                    }
                }
            }
            datagram = channel.recv_datagram() => {
                match datagram.map_err(JoinError::Channel)? {
                    Some(datagram) => port.deliver(datagram).await,
                    None => return Ok(()),
                }
            }
            () = tokio::time::sleep(IDLE_LIMIT) => return Ok(()),
        }
    }
}

/// A socket that is connected to the target.
pub(crate) struct Connected {
    socket: UdpSocket,
    buffer: BytesMut,
}

impl Connected {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            buffer: BytesMut::new(),
        }
    }
}

impl Port for Connected {
    async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            self.buffer.reserve(MAX_DATAGRAM);
            match self.socket.recv_buf(&mut self.buffer).await {
                Ok(_) => return Ok(Some(self.buffer.split().freeze())),
                // The target's port is closed at the moment; a later datagram may find it open.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn deliver(&mut self, datagram: Bytes) {
        let _ = self.socket.send(&datagram).await;
    }
}

/// One source at a socket that many share.
struct Source {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    arrived: mpsc::Receiver<Bytes>,
}

impl Port for Source {
    async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.arrived.recv().await)
    }

    async fn deliver(&mut self, datagram: Bytes) {
        let _ = self.socket.send_to(&datagram, self.address).await;
    }
}

/// Carries what comes to a socket, each source over a channel of its own. Ends only by being
/// dropped, with all its sessions.
pub(crate) async fn forward_all(socket: UdpSocket, way: Way) {
    let socket = Arc::new(socket);
    let oversized = Oversized::default();
    let mut sessions = Sessions::new(MAX_SOURCES);
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(MAX_DATAGRAM);
        let received = tokio::select! {
            received = socket.recv_buf_from(&mut buffer) => received,
            () = sessions.ended() => continue,
        };
        let Ok((_, address)) = received else {
            // About an earlier datagram, or the system has no room.
            tokio::time::sleep(ERROR_PAUSE).await;
            continue;
        };
        let datagram = buffer.split().freeze();
        sessions.deliver(&address, datagram, |arrived| {
            let (way, oversized) = (way.clone(), oversized.clone());
            let port = Source {
                socket: socket.clone(),
                address,
                arrived,
            };
            carry(way, port, oversized)
        });
    }
}

/// One session of a [`Way`].
pub(crate) async fn carry(way: Way, mut port: impl Port, oversized: Oversized) {
    let talk = &way.session.talk;
    let why = match way.open().await {
        Ok(mut channel) => match exchange(&mut port, &mut channel, (&oversized, talk)).await {
            Ok(()) => return oversized.tell(talk),
            Err(error) => way.session.forward_trouble(&way.peer, &way.asked, &error),
        },
        Err(failure) => failure.to_string(),
    };
    talk.warn(format_args!("datagrams to {}: {why}", way.asked));
}
