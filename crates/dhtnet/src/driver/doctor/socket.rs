//! A UDP socket that hears what routers report, and fragments nothing.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::doctor::{Heard, Outgoing, Trouble};

/// Room for one message: what receive offload joins.
const MESSAGE_LEN: usize = 1 << 16;

/// Reports that may stand in the way of one datagram.
const MAX_STALE: usize = 8;

/// What a socket has.
#[derive(Debug)]
pub(super) enum Incoming {
    Datagram { from: SocketAddr, payload: Vec<u8> },
    Report { by: IpAddr, heard: Heard },
}

/// Why a datagram did not leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendFault {
    TooLong,
    NoRoute,
    Forbidden,
    Other,
}

/// One socket of one family.
pub(crate) struct ProbeSocket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl ProbeSocket {
    /// Must be called inside a runtime.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // Without these reports a refusal looks like silence.
        let _ = state.enable_transport_errors(UdpSockRef::from(&io));
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Packets die after this many routers.
    pub(super) fn limit_hops(&self, hops: u8) -> io::Result<()> {
        let socket = socket2::SockRef::from(&self.io);
        match self.local {
            SocketAddr::V4(_) => socket.set_ttl_v4(hops.into()),
            SocketAddr::V6(_) => socket.set_unicast_hops_v6(hops.into()),
        }
    }

    /// Sends without waiting: what a full socket drops is sent again anyway.
    pub(super) fn send(
        &self,
        outgoing: &Outgoing,
        reports: &mut Vec<Incoming>,
    ) -> Result<(), SendFault> {
        for _ in 0..MAX_STALE {
            let sent =
                socket2::SockRef::from(&self.io).send_to(&outgoing.payload, &outgoing.to.into());
            let Err(error) = sent else {
                return Ok(());
            };
            // What became of an earlier datagram is said in place of sending this one.
            let before = reports.len();
            self.take_reports(reports);
            if reports.len() == before {
                return match fault_of(&error) {
                    Some(fault) => Err(fault),
                    None => Ok(()),
                };
            }
        }
        Err(SendFault::Other)
    }

    /// Waits until there is something.
    pub(super) async fn receive(&self) -> Vec<Incoming> {
        // Reports make a socket ready for errors, not for reading.
        let interest = Interest::READABLE | Interest::ERROR;
        let received = self.io.async_io(interest, || {
            let mut found = Vec::new();
            self.take_reports(&mut found);
            match self.take_datagrams(&mut found) {
                Err(error) if found.is_empty() => Err(error),
                _ => Ok(found),
            }
        });
        received.await.unwrap_or_default()
    }

    fn take_datagrams(&self, into: &mut Vec<Incoming>) -> io::Result<()> {
        let mut buffer = vec![0; MESSAGE_LEN];
        let mut metas = [RecvMeta::default()];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let count = self
            .state
            .recv(UdpSockRef::from(&self.io), &mut slices, &mut metas)?;
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let meta = metas[0];
        for payload in buffer[..meta.len].chunks(meta.stride.max(1)) {
            into.push(Incoming::Datagram {
                from: meta.addr,
                payload: payload.to_vec(),
            });
        }
        Ok(())
    }

    fn take_reports(&self, into: &mut Vec<Incoming>) {
        for _ in 0..MAX_STALE {
            let report = self.state.recv_transport_error(UdpSockRef::from(&self.io));
            let Ok(Some(report)) = report else {
                return;
            };
            let Some(by) = report.addr else {
                continue;
            };
            let closed = io::Error::from_raw_os_error(report.raw_errno).kind()
                == io::ErrorKind::ConnectionRefused;
            let heard = match (report.mtu(), closed) {
                (Some(mtu), _) => Heard::TooBig { mtu },
                (None, true) => Heard::Trouble(Trouble::PortClosed),
                (None, false) => Heard::Trouble(Trouble::Unreachable),
            };
            let by = by.ip().to_canonical();
            into.push(Incoming::Report { by, heard });
        }
    }
}

/// What an error means; none when the socket was only full.
fn fault_of(error: &io::Error) -> Option<SendFault> {
    if quinn_udp::is_msg_size_err(error) {
        return Some(SendFault::TooLong);
    }
    match error.kind() {
        io::ErrorKind::WouldBlock => None,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            Some(SendFault::NoRoute)
        }
        io::ErrorKind::PermissionDenied => Some(SendFault::Forbidden),
        _ => Some(SendFault::Other),
    }
}
