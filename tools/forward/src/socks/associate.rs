//! UDP ASSOCIATE: a UDP socket for one client, as long as its TCP connection lives.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dhtnet_identity::target::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;

use super::Socks;
use super::codec::{self, Reply, Transport};
use crate::carry::{Over, Way};
use crate::datagrams::{self, ERROR_PAUSE, MAX_DATAGRAM, Oversized, Port, Sessions};

/// Targets of one client at the same time; the one that was silent longest makes room. More than a
/// resolver or a call needs; each is a channel, of which a connection has 2,048.
const MAX_TARGETS: usize = 128;

/// Serves until the client ends its TCP connection.
pub(super) async fn serve(socks: &Socks, mut stream: TcpStream) -> io::Result<()> {
    // A server on [::] sees IPv4 clients as IPv6; their answers bear what they know.
    let client = stream.peer_addr()?.ip().to_canonical();
    let own = stream.local_addr()?.ip().to_canonical();
    let socket = UdpSocket::bind(SocketAddr::new(own, 0)).await?;
    let reply = codec::encode_reply(Reply::Done, socket.local_addr()?);
    stream.write_all(&reply).await?;
    let mut association = Association {
        socks,
        socket: Arc::new(socket),
        client: None,
        sessions: Sessions::new(MAX_TARGETS),
        oversized: Oversized::default(),
    };
    let mut buffer = BytesMut::new();
    // Nothing more is said on the TCP connection; only its end counts.
    let mut said = [0; 64];
    loop {
        buffer.reserve(MAX_DATAGRAM);
        tokio::select! {
            received = association.socket.recv_buf_from(&mut buffer) => {
                let Ok((_, source)) = received else {
                    tokio::time::sleep(ERROR_PAUSE).await;
                    continue;
                };
                let datagram = buffer.split().freeze();
                if source.ip() == client {
                    association.on_datagram(source, &datagram);
                }
            }
            read = stream.read(&mut said) => if !matches!(read, Ok(1..)) {
                return Ok(());
            },
            () = association.sessions.ended() => {}
        }
    }
}

struct Association<'s> {
    socks: &'s Socks,
    socket: Arc<UdpSocket>,
    /// The first who sent something; from then on nobody else is heard.
    client: Option<SocketAddr>,
    sessions: Sessions<Target>,
    oversized: Oversized,
}

impl Association<'_> {
    fn on_datagram(&mut self, source: SocketAddr, datagram: &Bytes) {
        if *self.client.get_or_insert(source) != source {
            return;
        }
        let Ok((address, payload)) = codec::decode_datagram(datagram) else {
            return;
        };
        let Ok(target) = address.target(Transport::Udp) else {
            return;
        };
        let payload = datagram.slice(payload..);
        let (socks, socket) = (self.socks, &self.socket);
        let oversized = &self.oversized;
        self.sessions.deliver(&target, payload, |arrived| {
            let port = Answering {
                socket: socket.clone(),
                client: source,
                header: codec::encode_datagram_header(&address),
                arrived,
            };
            datagrams::carry(way(socks, &target), port, oversized.clone())
        });
    }
}

fn way(socks: &Socks, target: &Target) -> Way {
    Way {
        session: socks.session.clone(),
        peer: socks.peer.clone(),
        over: Over::Any,
        request: socks.session.target_request(target),
        asked: target.to_string().into(),
        ending: socks.ending,
    }
}

/// One target of a client: its answers bear the address that the client had asked for.
struct Answering {
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    header: Vec<u8>,
    arrived: mpsc::Receiver<Bytes>,
}

impl Port for Answering {
    async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.arrived.recv().await)
    }

    async fn deliver(&mut self, datagram: Bytes) {
        let whole = [&self.header, datagram.as_ref()].concat();
        let _ = self.socket.send_to(&whole, self.client).await;
    }
}
