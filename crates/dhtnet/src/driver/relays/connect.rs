//! Making the stream to a relay.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Wire;
use crate::relays::RelayTransport;

/// How long connecting may take, TLS included: as long as a relay has for its first answer.
const CONNECT_LIMIT: Duration = dhtnet_nat_traversal::turn::GIVE_UP;

/// Connects to a relay within [`CONNECT_LIMIT`].
pub(super) async fn connect(
    address: SocketAddr,
    transport: RelayTransport,
    _host: String,
) -> io::Result<Box<dyn Wire>> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        // A frame that waits for others is a late datagram.
        stream.set_nodelay(true)?;
        match transport {
            RelayTransport::Udp | RelayTransport::Tcp => Ok(Box::new(stream) as Box<dyn Wire>),
            RelayTransport::Tls => Err(io::ErrorKind::Unsupported.into()),
        }
    };
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
