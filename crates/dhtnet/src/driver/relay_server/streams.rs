//! Clients that come over TCP: where they are listened for, and each one's bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::relay::StreamId;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{Arrival, Outbox, RelayHost};
use crate::relay_server::Unsent;

/// Connections that the system holds until they are accepted: those of a busy moment.
const BACKLOG: i32 = 1024;

/// Bytes that the system holds of one stream, each way: 200 ms at the default rate of a client. A
/// thousand slow readers hold no more than this each.
const SOCKET_BUFFER: usize = 256 << 10;

/// How long sent bytes may stay unacknowledged.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause when the system has no descriptor for another stream.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Reads of one stream before others get their turn.
const READ_ROUNDS: usize = 8;

/// Listens at an address.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = Type::STREAM;
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A relay that is started again need not wait for the last one's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts streams until the relay ends.
pub(super) async fn accept(host: Weak<RelayHost>, listener: TcpListener) {
    loop {
        let accepted = listener.accept().await;
        let Some(host) = host.upgrade() else {
            return;
        };
        match accepted {
            Ok((stream, from)) => {
                if let Err(error) = tune(&stream) {
                    tracing::debug!(%error, "a stream was closed before it began");
                    continue;
                }
                host.on_accepted(stream, from);
            }
            Err(error) => {
                tracing::debug!(%error, "a stream could not be accepted");
                drop(host);
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_tcp_user_timeout(Some(PATIENCE))
}

/// The way out of a stream.
pub(super) struct Outlet {
    stream: TcpStream,
    unsent: Mutex<Unsent>,
    /// Told when something waits for the socket.
    waits: Notify,
}

impl Outlet {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            unsent: Mutex::default(),
            waits: Notify::new(),
        }
    }

    /// Writes frames, of which each ends at one of `ends`. Returns how many were dropped: what
    /// the reader does not take is kept up to a bound.
    pub(super) fn write(&self, bytes: &[u8], ends: &[usize]) -> usize {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        let written = if unsent.is_empty() {
            // An error shows when the stream is read.
            self.stream.try_write(bytes).unwrap_or(0)
        } else {
            0
        };
        let dropped = unsent.push_frames(bytes, ends, written);
        if !unsent.is_empty() {
            self.waits.notify_one();
        }
        dropped
    }

    /// Writes what waits. `false` when the stream broke.
    fn flush(&self) -> bool {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        while !unsent.is_empty() {
            match self.stream.try_write(unsent.front()) {
                Ok(0) => return false,
                Ok(written) => unsent.advance(written),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn has_unsent(&self) -> bool {
        let unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        !unsent.is_empty()
    }
}

/// Reads a stream, and writes what waited, until it ends.
pub(super) async fn serve(
    host: Weak<RelayHost>,
    outlet: Arc<Outlet>,
    (stream, arrival): (StreamId, Arrival),
) {
    let mut outbox = Outbox::default();
    loop {
        let writable = async {
            if outlet.has_unsent() {
                outlet.stream.writable().await
            } else {
                outlet.waits.notified().await;
                Ok(())
            }
        };
        let goes_on = tokio::select! {
            readable = outlet.stream.readable() => {
                let Some(host) = host.upgrade() else { return };
                readable.is_ok() && read(&host, &outlet, (stream, arrival), &mut outbox)
            }
            writable = writable => writable.is_ok() && outlet.flush(),
        };
        if !goes_on {
            break;
        }
    }
    if let Some(host) = host.upgrade() {
        host.on_ended(stream, &mut outbox);
    }
}

/// Takes what has come. `false` at the end of the stream.
fn read(
    host: &Arc<RelayHost>,
    outlet: &Outlet,
    (stream, arrival): (StreamId, Arrival),
    outbox: &mut Outbox,
) -> bool {
    let mut buffer = [0; 16 << 10];
    for _ in 0..READ_ROUNDS {
        match outlet.stream.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(len) => {
                let now = Instant::now();
                host.with(outbox, arrival, |relay| {
                    relay.handle_stream(now, stream, &buffer[..len]);
                });
                host.flush(outbox);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}
