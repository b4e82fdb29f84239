//! Large packets at the interface: cut on the way in, joined on the way out.
//!
//! A TUN interface with offloads hands over up to 64 KiB of one TCP connection, or of one UDP
//! sender, as one packet with a [`VnetHeader`] before it, and takes the same. The kernel then works
//! once for some forty packets. [`Cut`] makes packets of the path's size of it, each of which can be
//! lost alone; [`Joiner`] does the reverse with those that arrived together.
//!
//! Checksums of the transport are not computed on either side: see [`crate::frame`].

mod cut;
mod join;

pub use cut::Cut;
pub use join::{Joined, Joiner, MAX_HEADERS};

/// Bytes of the header (virtio 1.2, section 5.1.6, without `num_buffers`).
pub const VNET_HEADER: usize = 10;

/// Largest packet at the interface, bytes: what the length of an IPv4 header holds.
pub const MAX_PACKET: usize = 65_535;

const NEEDS_CHECKSUM: u8 = 1;

const NONE: u8 = 0;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP: u8 = 5;
const ECN: u8 = 0x80;

/// Where the checksum stands in the transport's header.
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

/// `struct virtio_net_hdr`, in the byte order of this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// Bit 0: the checksum has to be computed.
    pub flags: u8,
    /// How the packet is to be cut.
    pub gso_type: u8,
    /// Length of all headers.
    pub header_len: u16,
    /// Payload of each packet that it is cut to.
    pub gso_size: u16,
    /// Where the checksum's bytes begin.
    pub checksum_start: u16,
    /// Where the checksum stands, from there.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Reads the header.
    pub fn decode(bytes: [u8; VNET_HEADER]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            header_len: word(2),
            gso_size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; VNET_HEADER] {
        let mut bytes = [0; VNET_HEADER];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        let words = [
            self.header_len,
            self.gso_size,
            self.checksum_start,
            self.checksum_offset,
        ];
        for (place, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// Where the checksum of this transport stands, if it is one whose checksum may be left out.
fn checksum_offset(protocol: u8) -> Option<u16> {
    match protocol {
        crate::packet::protocol::TCP => Some(TCP_CHECKSUM),
        crate::packet::protocol::UDP => Some(UDP_CHECKSUM),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
