//! File descriptors that wake the driver, each for one direction only.
//!
//! tokio's own sockets always ask for both directions, and a UDP socket becomes "writable" anew
//! whenever a datagram has left: one needless wake-up for each batch sent, in the middle of a
//! round trip (seen in a trace of system calls; no gain in latency could be measured without it).

#![allow(
    unsafe_code,
    reason = "AsyncFd asks for a promise about the descriptor that its type cannot give"
)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Types that own one descriptor, return always that one, and close it only when dropped.
pub(crate) trait OwnsDescriptor: AsRawFd {}

impl OwnsDescriptor for UdpSocket {}
impl OwnsDescriptor for OwnedFd {}

/// A descriptor that wakes the task when it becomes readable.
pub(crate) struct Readable<T: OwnsDescriptor>(AsyncFd<T>);

impl<T: OwnsDescriptor> Readable<T> {
    /// Must be called inside a runtime; `inner` must be non-blocking.
    pub(crate) fn new(inner: T) -> io::Result<Self> {
        // SAFETY: `OwnsDescriptor` is implemented only for types that keep their descriptor open
        // and unchanged until they are dropped, which is when the AsyncFd is.
        let watched = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
        Ok(Self(watched.map_err(|failed| failed.into_parts().1)?))
    }

    pub(crate) fn inner(&self) -> &T {
        self.0.get_ref()
    }

    /// Reads when there is something to read. `read` tells with its second value whether there
    /// may be more; if not, the next call waits for what arrives from here on.
    pub(crate) fn poll_read<R>(
        &self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&T) -> io::Result<(R, More)>,
    ) -> Poll<io::Result<R>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match read(self.0.get_ref()) {
                Ok((value, More::Perhaps)) => return Poll::Ready(Ok(value)),
                Ok((value, More::No)) => {
                    guard.clear_ready();
                    return Poll::Ready(Ok(value));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Whether a read found everything there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Perhaps,
    No,
}

/// Wakes the task once when a full socket has room again. Made when a send finds it full.
pub(super) struct Writable(AsyncFd<OwnedFd>);

impl Writable {
    /// Watches a second descriptor of the same socket.
    pub(super) fn of(socket: &UdpSocket) -> io::Result<Self> {
        let second: OwnedFd = socket.try_clone()?.into();
        // SAFETY: as in `Readable::new`.
        let watched = unsafe { AsyncFd::register_with_interest(second, Interest::WRITABLE) };
        Ok(Self(watched.map_err(|failed| failed.into_parts().1)?))
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx).map_ok(|_| ())
    }
}
