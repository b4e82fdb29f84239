//! Sockets that are moved by tasks of their own: those of a relay's clients; and a second way to
//! send from the shared ones.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::task::{Context, Poll, ready};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

use super::{BATCH, MAX_STALE_REPORTS, MESSAGE_LEN, Mark, OneSocket, Sockets, is_report};

/// Where a batch goes, and from which own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) struct Way {
    pub(in crate::driver) to: SocketAddr,
    pub(in crate::driver) from: Option<IpAddr>,
}

/// Something that takes batches of datagrams at once or not at all.
pub(in crate::driver) trait SendsBatches {
    fn parts(&self) -> (&UdpSocket, &UdpSocketState);

    /// Datagrams that the kernel takes in one call.
    fn max_segments(&self) -> usize {
        self.parts().1.max_gso_segments()
    }

    /// Sends datagrams of `segment` bytes each, the last one of what is left. `false` when the
    /// socket is full or says no; nobody is told then, as with any loss.
    fn try_send(&self, way: Way, segment: usize, bytes: &[u8]) -> bool {
        let (socket, state) = self.parts();
        let transmit = Transmit {
            destination: way.to,
            ecn: None,
            contents: bytes,
            segment_size: (segment < bytes.len()).then_some(segment),
            src_ip: way.from,
        };
        for _ in 0..=MAX_STALE_REPORTS {
            match state.try_send(UdpSockRef::from(socket), &transmit) {
                Ok(()) => return true,
                // What became of an earlier datagram is said in place of sending this one.
                Err(error) if is_report(&error) => {}
                Err(error) => {
                    tracing::trace!(%error, to = %way.to, "a relayed datagram is lost");
                    return false;
                }
            }
        }
        false
    }
}

/// A socket of its own.
pub(in crate::driver) struct SingleSocket(OneSocket);

impl SendsBatches for SingleSocket {
    fn parts(&self) -> (&UdpSocket, &UdpSocketState) {
        (self.0.io.inner(), &self.0.state)
    }
}

impl SingleSocket {
    /// Must be called inside a runtime.
    pub(in crate::driver) fn bind(address: SocketAddr) -> io::Result<Self> {
        OneSocket::bind_small(address, Mark::default()).map(Self)
    }

    pub(in crate::driver) fn local(&self) -> SocketAddr {
        self.0.local
    }

    /// Hands on every datagram of one batch. Error reports count as an empty batch. To be called
    /// by one task only.
    pub(in crate::driver) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        mut each: impl FnMut(SocketAddr, &[u8]),
    ) -> Poll<()> {
        BATCH.with_borrow_mut(|batch| {
            let received = ready!(self.0.poll_batch(cx, &mut batch.buffer, &mut batch.metas));
            let count = received.unwrap_or_else(|_| {
                self.0.take_reports(&mut Vec::new());
                0
            });
            let messages = batch.buffer.chunks(MESSAGE_LEN).zip(&batch.metas[..count]);
            for (message, meta) in messages {
                for datagram in message[..meta.len].chunks(meta.stride.max(1)) {
                    each(meta.addr, datagram);
                }
            }
            Poll::Ready(())
        })
    }
}

/// A second descriptor of a shared socket, to send with.
pub(in crate::driver) struct Sender {
    socket: UdpSocket,
    state: UdpSocketState,
    pub(in crate::driver) local: SocketAddr,
}

impl SendsBatches for Sender {
    fn parts(&self) -> (&UdpSocket, &UdpSocketState) {
        (&self.socket, &self.state)
    }
}

impl Sockets {
    /// A second way to send, for each family.
    pub(in crate::driver) fn senders(&self) -> io::Result<Vec<Sender>> {
        let second = |one: &OneSocket| {
            let socket = one.io.inner().try_clone()?;
            Ok(Sender {
                state: UdpSocketState::new(UdpSockRef::from(&socket))?,
                socket,
                local: one.local,
            })
        };
        self.all.iter().map(second).collect()
    }
}
