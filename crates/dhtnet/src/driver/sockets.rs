//! The UDP sockets: one for each family, batches in and out.

mod mark;
mod single;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::readiness::{More, Readable, Writable};
use crate::core::Outgoing;
use crate::core::path::{PathAddress, Via};
use crate::error::BuildError;

pub(crate) use self::mark::Mark;
pub(super) use self::single::{Sender, SendsBatches, SingleSocket, Way};

/// Socket buffers asked for, in bytes; the system may give less. At 1 GB/s this is 4 ms of data,
/// about the time for which a busy machine keeps the driver from running.
const SOCKET_BUFFER: usize = 4 << 20;

/// Room for one message: 64 KiB, the most that segmentation offload joins.
const MESSAGE_LEN: usize = 1 << 16;

/// Reports taken from the system's error queue at once.
const MAX_REPORTS: usize = 16;

/// Reports that may stand in the way of one datagram. Each failed sending takes one away, and
/// candidates that lead nowhere make a few at once.
const MAX_STALE_REPORTS: usize = 8;

/// Ports tried for a second family when the system chose the first's.
const PORT_TRIES: usize = 16;

/// Whether a receive round found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Something,
    Nothing,
}

/// Whether a batch left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendState {
    /// It left, or can never leave: QUIC repeats what matters.
    Gone,
    /// The socket is full; the task is woken when it is not.
    Full,
}

struct OneSocket {
    io: Readable<UdpSocket>,
    /// Present while a full socket is waited for.
    full: Option<Writable>,
    state: UdpSocketState,
    local: SocketAddr,
}

/// One socket for each family that is in use, and those that punching holes needs for a while.
pub(crate) struct Sockets {
    mark: Mark,
    all: Vec<OneSocket>,
    extra: BTreeMap<u16, OneSocket>,
    refused: Vec<IpAddr>,
}

/// Room for a batch.
struct Batch {
    /// Untouched memory costs nothing: pages come into being when messages fill them.
    buffer: Box<[u8]>,
    metas: Box<[RecvMeta; BATCH_SIZE]>,
}

thread_local! {
    /// One for all sockets of a thread: hundreds of nodes in a process need no more.
    static BATCH: RefCell<Batch> = RefCell::new(Batch {
        buffer: vec![0; MESSAGE_LEN * BATCH_SIZE].into_boxed_slice(),
        metas: Box::new([RecvMeta::default(); BATCH_SIZE]),
    });
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(|s| s.local))
            .finish()
    }
}

impl Sockets {
    /// Binds `address`; `[::]:p` stands for both families on one port.
    pub(crate) fn bind(address: SocketAddr, mark: Mark) -> Result<Self, BuildError> {
        let failed = |source| BuildError::Bind { address, source };
        let all = if address.ip() == Ipv6Addr::UNSPECIFIED {
            bind_both(address.port(), mark).map_err(failed)?
        } else {
            vec![OneSocket::bind(address, mark).map_err(failed)?]
        };
        Ok(Self {
            mark,
            all,
            extra: BTreeMap::new(),
            refused: Vec::new(),
        })
    }

    /// Opens another socket of the family and with the local address of the shared one, on a port
    /// that the system chooses. Its datagrams are told apart by `number`.
    pub(super) fn open_extra(&mut self, number: u16, ipv4: bool) -> io::Result<()> {
        let shared = self.all.iter().find(|s| s.local.is_ipv4() == ipv4);
        let Some(shared) = shared else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let socket = OneSocket::bind_small(SocketAddr::new(shared.local.ip(), 0), self.mark)?;
        self.extra.insert(number, socket);
        Ok(())
    }

    /// Gives an extra socket the buffers of one that carries data.
    pub(super) fn enlarge_extra(&mut self, number: u16) {
        if let Some(socket) = self.extra.get(&number) {
            socket.enlarge();
        }
    }

    pub(super) fn close_extra(&mut self, number: u16) {
        self.extra.remove(&number);
    }

    fn socket(&mut self, to: &PathAddress) -> Option<&mut OneSocket> {
        match to.via {
            Via::Shared => {
                let mut all = self.all.iter_mut();
                all.find(|s| s.local.is_ipv4() == to.remote.is_ipv4())
            }
            Via::Extra(number) => self.extra.get_mut(&number),
            // What goes through a relay is wrapped, and then goes to the relay.
            Via::Relay(_) => None,
        }
    }

    /// What all sockets carry.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    pub(crate) fn local_addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|socket| socket.local).collect()
    }

    /// Datagrams that the kernel takes in one call.
    pub(super) fn max_segments(&self) -> usize {
        self.all
            .iter()
            .map(|socket| socket.state.max_gso_segments())
            .min()
            .unwrap_or(1)
    }

    /// Receives one batch from each socket and hands on every datagram in it.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mut each: impl FnMut(PathAddress, Option<EcnCodepoint>, BytesMut),
    ) -> Received {
        BATCH.with_borrow_mut(|batch| self.poll_receive_into(cx, batch, &mut each))
    }

    fn poll_receive_into(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
        each: &mut impl FnMut(PathAddress, Option<EcnCodepoint>, BytesMut),
    ) -> Received {
        let mut received = Received::Nothing;
        let shared = self.all.iter().map(|socket| (Via::Shared, socket));
        let extra = self.extra.iter();
        let extra = extra.map(|(number, socket)| (Via::Extra(*number), socket));
        for (via, socket) in shared.chain(extra) {
            let count = match socket.poll_batch(cx, &mut batch.buffer, &mut batch.metas) {
                Poll::Ready(Ok(count)) => count,
                // A report about what was sent before; there may be more to receive.
                Poll::Ready(Err(error)) => {
                    tracing::trace!(%error, "an error report instead of a datagram");
                    socket.take_reports(&mut self.refused);
                    received = Received::Something;
                    continue;
                }
                Poll::Pending => continue,
            };
            received = Received::Something;
            let messages = batch.buffer.chunks(MESSAGE_LEN).zip(&batch.metas[..count]);
            for (message, meta) in messages {
                let from = PathAddress {
                    remote: meta.addr,
                    local_ip: meta.dst_ip,
                    via,
                };
                // One copy into memory that the datagrams of the message share.
                let mut rest = BytesMut::from(&message[..meta.len]);
                while !rest.is_empty() {
                    let datagram = rest.split_to(meta.stride.clamp(1, rest.len()));
                    each(from, meta.ecn.map(ecn_in), datagram);
                }
            }
        }
        received
    }

    /// Hosts that said, since this was last asked, that nobody has the port we sent to.
    pub(super) fn take_refused(&mut self) -> Vec<IpAddr> {
        std::mem::take(&mut self.refused)
    }

    /// Sends a batch to each of its destinations.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &Outgoing,
        buffer: &[u8],
    ) -> SendState {
        for to in outgoing.destinations.as_slice() {
            let mut reports = Vec::new();
            let Some(socket) = self.socket(to) else {
                continue;
            };
            let transmit = Transmit {
                destination: to.remote,
                ecn: outgoing.ecn.map(ecn_out),
                contents: &buffer[..outgoing.len],
                segment_size: outgoing.segment,
                src_ip: to.local_ip,
            };
            let mut sent = socket.poll_send(cx, &transmit);
            for _ in 0..MAX_STALE_REPORTS {
                match &sent {
                    Poll::Ready(Err(error)) if is_report(error) => {
                        // What became of an earlier datagram is said in place of sending this one.
                        socket.take_reports(&mut reports);
                        sent = socket.poll_send(cx, &transmit);
                    }
                    _ => break,
                }
            }
            if let Poll::Ready(Err(error)) = &sent
                && to.local_ip.is_some()
                && is_gone_address(error)
            {
                let anywhere = Transmit {
                    src_ip: None,
                    ..transmit
                };
                sent = socket.poll_send(cx, &anywhere);
            }
            match sent {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    tracing::trace!(%error, to = %to.remote, len = outgoing.len, "sending failed");
                }
                Poll::Pending => {
                    self.refused.append(&mut reports);
                    return SendState::Full;
                }
            }
            self.refused.append(&mut reports);
        }
        SendState::Gone
    }
}

impl OneSocket {
    fn bind(address: SocketAddr, mark: Mark) -> io::Result<Self> {
        let one = Self::bind_small(address, mark)?;
        one.enlarge();
        Ok(one)
    }

    fn enlarge(&self) {
        // Smaller buffers cost speed, not function.
        let socket = socket2::SockRef::from(self.io.inner());
        if !is_forced(self.io.inner()) {
            let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        }
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }

    /// A socket with the system's usual buffers.
    fn bind_small(address: SocketAddr, mark: Mark) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        mark.put_on(&socket)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // Without these reports a dead peer is noticed by its silence alone.
        let _ = state.enable_transport_errors(UdpSockRef::from(&io));
        let local = io.local_addr()?;
        Ok(Self {
            io: Readable::new(io)?,
            full: None,
            state,
            local,
        })
    }

    /// Empties the queue of error reports and notes the hosts whose port is closed.
    fn take_reports(&self, refused: &mut Vec<IpAddr>) {
        for _ in 0..MAX_REPORTS {
            let Ok(Some(report)) = self
                .state
                .recv_transport_error(UdpSockRef::from(self.io.inner()))
            else {
                return;
            };
            let closed = io::Error::from_raw_os_error(report.raw_errno).kind()
                == io::ErrorKind::ConnectionRefused;
            if let Some(host) = report
                .addr
                .filter(|_| closed && refused.len() < MAX_REPORTS)
            {
                refused.push(host.ip());
            }
        }
    }

    fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        metas: &mut [RecvMeta; BATCH_SIZE],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_read(cx, |socket| {
            let mut messages = buffer.chunks_mut(MESSAGE_LEN);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(messages.next().unwrap_or_default()));
            let count = self
                .state
                .recv(UdpSockRef::from(socket), &mut slices, metas)?;
            // Fewer than asked for: the queue was empty.
            let more = if count == BATCH_SIZE {
                More::Perhaps
            } else {
                More::No
            };
            Ok((count, more))
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(full) = &self.full {
                ready!(full.poll(cx))?;
                self.full = None;
            }
            match self
                .state
                .try_send(UdpSockRef::from(self.io.inner()), transmit)
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full = Some(Writable::of(self.io.inner())?);
                }
                other => return Poll::Ready(other),
            }
        }
    }
}

/// Gives a socket the whole receive buffer, past the bound that the system has for programs without
/// CAP_NET_ADMIN (`net.core.rmem_max`, 208 KiB in most: 2 ms at 1 Gbit/s).
#[cfg(target_os = "linux")]
fn is_forced(socket: &UdpSocket) -> bool {
    rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn is_forced(_socket: &UdpSocket) -> bool {
    false
}

/// Both families on one port; IPv4 alone where there is no IPv6.
fn bind_both(port: u16, mark: Mark) -> io::Result<Vec<OneSocket>> {
    let mut last = None;
    for _ in 0..PORT_TRIES {
        let v6 = match OneSocket::bind((Ipv6Addr::UNSPECIFIED, port).into(), mark) {
            Ok(v6) => v6,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => {
                let v4 = OneSocket::bind((Ipv4Addr::UNSPECIFIED, port).into(), mark)?;
                return Ok(vec![v4]);
            }
        };
        match OneSocket::bind((Ipv4Addr::UNSPECIFIED, v6.local.port()).into(), mark) {
            Ok(v4) => return Ok(vec![v6, v4]),
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Whether the system may have meant an earlier datagram: what routers and hosts report.
fn is_report(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::PermissionDenied
    )
}

/// Whether the address to send from may no longer be one of ours.
fn is_gone_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NetworkUnreachable
    )
}

fn ecn_in(ecn: quinn_udp::EcnCodepoint) -> EcnCodepoint {
    match ecn {
        quinn_udp::EcnCodepoint::Ect0 => EcnCodepoint::Ect0,
        quinn_udp::EcnCodepoint::Ect1 => EcnCodepoint::Ect1,
        quinn_udp::EcnCodepoint::Ce => EcnCodepoint::Ce,
    }
}

fn ecn_out(ecn: EcnCodepoint) -> quinn_udp::EcnCodepoint {
    match ecn {
        EcnCodepoint::Ect0 => quinn_udp::EcnCodepoint::Ect0,
        EcnCodepoint::Ect1 => quinn_udp::EcnCodepoint::Ect1,
        EcnCodepoint::Ce => quinn_udp::EcnCodepoint::Ce,
    }
}
