//! Tries a TURN server: asks for an address, and gives it back.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dhtnet_nat_traversal::turn::{Allocation, AllocationError, Config, Event, Link};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::answering;
use crate::doctor::RelayOutcome;
use crate::driver::Mark;
use crate::driver::relays::{Wire, connect};
use crate::relays::{Doorway, RelayTransport, TurnServer, families_of};

/// Longest that giving it back is waited for; the server forgets it by itself as well.
const CLOSE_LIMIT: Duration = Duration::from_millis(300);

/// Room for an answer of the server.
const BUFFER: usize = 4_096;

/// A server, and one of its addresses.
pub(crate) struct RelayTrial {
    pub(crate) server: TurnServer,
    pub(crate) address: SocketAddr,
    /// For transaction ids.
    pub(crate) rng: ChaCha20Rng,
}

enum Line {
    Datagrams(UdpSocket),
    Stream(Box<dyn Wire>),
}

/// What came of it. It ends by itself when the server is silent on UDP; the caller sets the limit.
pub(crate) async fn try_relay(mut trial: RelayTrial) -> RelayOutcome {
    let began = Instant::now();
    let (address, transport) = (trial.address, trial.server.transport());
    let mut line = match open(address, &trial.server).await {
        Ok(line) => line,
        Err(error) => return RelayOutcome::NotConnected(error.to_string()),
    };
    let link = match transport {
        RelayTransport::Udp => Link::Datagrams,
        RelayTransport::Tcp | RelayTransport::Tls => Link::Stream,
    };
    let Some((user, password)) = trial.server.credentials() else {
        return without_user(address, (transport, trial.rng)).await;
    };
    let config = Config::new(address, user, password)
        .link(link)
        .families(families_of(address));
    let mut allocation = Allocation::new(Instant::now(), &config, &mut trial.rng);
    loop {
        match step(&mut allocation, &mut line).await {
            Some(Event::Allocated { relayed }) => {
                allocation.close(Instant::now());
                let closing = async { while step(&mut allocation, &mut line).await.is_none() {} };
                let _ = tokio::time::timeout(CLOSE_LIMIT, closing).await;
                return RelayOutcome::Allocated {
                    relayed,
                    transport,
                    took: began.elapsed(),
                };
            }
            Some(Event::Failed(error)) => return RelayOutcome::Failed { transport, error },
            Some(Event::Closed) => {
                let error = AllocationError::Disconnected;
                return RelayOutcome::Failed { transport, error };
            }
            _ => {}
        }
    }
}

/// A relay of this system: a device that is admitted there needs no user. Whether something answers
/// is asked by datagrams; a stream that was made is answer enough.
async fn without_user(
    address: SocketAddr,
    (transport, mut rng): (RelayTransport, ChaCha20Rng),
) -> RelayOutcome {
    let mut id = [0; 12];
    rng.fill_bytes(&mut id);
    if transport != RelayTransport::Udp || !answering(&[address], id).await.is_empty() {
        return RelayOutcome::Answers;
    }
    let error = AllocationError::Silent;
    RelayOutcome::Failed { transport, error }
}

async fn open(address: SocketAddr, server: &TurnServer) -> std::io::Result<Line> {
    match server.transport() {
        transport @ (RelayTransport::Tcp | RelayTransport::Tls) => {
            let door = Doorway {
                address,
                transport,
                host: server.host().to_owned(),
                authorities: server.authorities(),
            };
            Ok(Line::Stream(connect(door, Mark::default()).await?))
        }
        RelayTransport::Udp => {
            let any = match address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(Line::Datagrams(socket))
        }
    }
}

/// Moves bytes and time once; returns what happened, if anything did.
async fn step(allocation: &mut Allocation, line: &mut Line) -> Option<Event> {
    if let Some(event) = allocation.poll_event() {
        return Some(event);
    }
    while let Some(transmit) = allocation.poll_transmit() {
        match line {
            // What is lost is sent again.
            Line::Datagrams(socket) => drop(socket.send(&transmit.payload).await),
            Line::Stream(stream) => {
                if stream.write_all(&transmit.payload).await.is_err() {
                    allocation.handle_disconnected();
                }
            }
        }
    }
    let due = allocation.poll_timeout();
    let due = due.unwrap_or_else(|| Instant::now() + CLOSE_LIMIT);
    tokio::select! {
        () = receive(allocation, line) => {}
        () = tokio::time::sleep_until(due.into()) => allocation.handle_timeout(Instant::now()),
    }
    allocation.poll_event()
}

async fn receive(allocation: &mut Allocation, line: &mut Line) {
    match line {
        Line::Datagrams(socket) => {
            let mut buffer = [0; BUFFER];
            match socket.recv(&mut buffer).await {
                Ok(len) => {
                    let server = allocation.server();
                    allocation.handle_datagram(Instant::now(), server, &buffer[..len]);
                }
                // Nobody has that port.
                Err(_) => allocation.handle_disconnected(),
            }
        }
        Line::Stream(stream) => {
            let mut buffer = BytesMut::with_capacity(BUFFER);
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => allocation.handle_disconnected(),
                // What is no TURN has failed the allocation.
                Ok(_) => drop(allocation.handle_stream(Instant::now(), &buffer)),
            }
        }
    }
}
