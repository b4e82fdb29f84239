//! The TUN interface: packets with the header of offloads, read and written without waiting.

use std::io::{self, IoSlice};

use dhtnet_cli::Failure;
use dhtnet_vpn_core::offload::{Joined, VNET_HEADER};
use tun_rs::{AsyncDevice, DeviceBuilder};

/// Pieces of memory that the kernel takes in one write (`UIO_MAXIOV`).
const MAX_PIECES: usize = 1024;

/// Packets that the kernel keeps for us while we are busy: what it keeps for most interfaces. A
/// large packet of TCP counts as one.
const QUEUE_LEN: u32 = 1000;

/// A TUN interface with offloads. It goes with its last user.
pub(crate) struct Interface {
    device: AsyncDevice,
}

impl Interface {
    /// Makes the interface `name`, without addresses and down.
    ///
    /// # Errors
    /// Exit code 2, with what is needed.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        let device = DeviceBuilder::new()
            .name(name)
            .offload(true)
            .tx_queue_len(QUEUE_LEN)
            .enable(false)
            .build_async();
        device.map(|device| Self { device }).map_err(|error| {
            let failure = Failure::usage(format!("cannot make the interface {name}: {error}"));
            match error.raw_os_error() {
                Some(libc_errno::EBUSY) => {
                    failure.advise("it is in use; choose another with --interface NAME")
                }
                Some(libc_errno::ENOENT) => failure.advise("/dev/net/tun is missing: modprobe tun"),
                Some(libc_errno::EPERM) => {
                    failure.advise("run it as root, or give it CAP_NET_ADMIN")
                }
                _ => failure,
            }
        })
    }

    /// Waits until a packet may be there.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.device.readable().await
    }

    /// Reads one packet with its header of offloads; `None` when there is none now.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.device.try_recv(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes one packet, which may be a large one.
    pub(crate) fn write(&self, joined: &Joined<'_>) -> io::Result<()> {
        let vnet = joined.vnet.encode();
        if let [payload] = joined.payload {
            let pieces = [
                IoSlice::new(&vnet),
                IoSlice::new(joined.headers),
                IoSlice::new(payload),
            ];
            return self.device.try_send_vectored(&pieces).map(drop);
        }
        let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
        pieces[0] = IoSlice::new(&vnet);
        pieces[1] = IoSlice::new(joined.headers);
        let used = pieces[2..].iter_mut().zip(joined.payload);
        let used = used
            .map(|(piece, part)| *piece = IoSlice::new(part))
            .count();
        self.device.try_send_vectored(&pieces[..2 + used]).map(drop)
    }

    /// Writes a packet of our own.
    pub(crate) fn write_plain(&self, packet: &[u8]) -> io::Result<()> {
        let pieces = [IoSlice::new(&[0; VNET_HEADER]), IoSlice::new(packet)];
        self.device.try_send_vectored(&pieces).map(drop)
    }
}

/// Numbers of errors (errno.h of Linux).
mod libc_errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EBUSY: i32 = 16;
}
