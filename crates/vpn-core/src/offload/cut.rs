//! One large packet from the kernel, cut to packets of the path's size.

use std::net::IpAddr;

use bytes::BytesMut;

use super::{ECN, NEEDS_CHECKSUM, NONE, TCP_V4, TCP_V6, UDP, VnetHeader, checksum_offset};
use crate::bytes_at::{put_u16, put_u32, u16_at, u32_at};
use crate::frame::Checksum;
use crate::packet::{Packet, protocol};
use crate::{DropReason, checksum};

/// TCP flags that only the last, and only the first, of the packets has.
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

const UDP_HEADER: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Tcp,
    Udp,
}

/// A packet of the interface, and how it is cut.
#[derive(Debug)]
pub struct Cut<'p> {
    bytes: &'p [u8],
    packet: Packet,
    kind: Kind,
    /// Length of IP's and the transport's headers, which each packet repeats.
    headers: usize,
    /// Payload of each packet but the last.
    size: usize,
    checksum: Checksum,
}

impl<'p> Cut<'p> {
    /// Reads how `bytes`, which are `packet`, are to be cut. A checksum that only the kernel knows
    /// how to leave out is filled in.
    ///
    /// # Errors
    /// [`DropReason::BadOffload`].
    pub fn new(
        header: VnetHeader,
        bytes: &'p mut [u8],
        packet: Packet,
    ) -> Result<Self, DropReason> {
        let bytes = bytes.get_mut(..packet.len).ok_or(DropReason::Truncated)?;
        let is_v4 = packet.source.is_ipv4();
        let kind = match (header.gso_type & !ECN, packet.protocol) {
            (NONE, _) => Kind::Whole,
            (TCP_V4, protocol::TCP) if is_v4 => Kind::Tcp,
            (TCP_V6, protocol::TCP) if !is_v4 => Kind::Tcp,
            (UDP, protocol::UDP) => Kind::Udp,
            _ => return Err(DropReason::BadOffload),
        };
        let checksum = match header.flags & NEEDS_CHECKSUM {
            0 => Checksum::Complete,
            _ => leave_or_fill(header, bytes, &packet)?,
        };
        let transport_len = match kind {
            Kind::Whole => 0,
            Kind::Udp => UDP_HEADER,
            Kind::Tcp => {
                let words = bytes
                    .get(packet.transport + 12)
                    .ok_or(DropReason::BadOffload)?;
                usize::from(words >> 4) * 4
            }
        };
        let headers = packet.transport + transport_len;
        let size = usize::from(header.gso_size);
        let is_cut = kind != Kind::Whole;
        if is_cut && (size == 0 || headers >= bytes.len() || !packet.has_transport_header()) {
            return Err(DropReason::BadOffload);
        }
        Ok(Self {
            bytes,
            packet,
            kind,
            headers,
            size,
            checksum,
        })
    }

    /// The packet that it is cut from.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// The bytes that it is cut from.
    pub fn bytes(&self) -> &'p [u8] {
        self.bytes
    }

    /// Packets that come out: at least one.
    pub fn count(&self) -> usize {
        match self.kind {
            Kind::Whole => 1,
            _ => (self.bytes.len() - self.headers).div_ceil(self.size),
        }
    }

    /// Length of the largest packet that comes out, bytes.
    pub fn largest(&self) -> usize {
        match self.kind {
            Kind::Whole => self.bytes.len(),
            _ => self.bytes.len().min(self.headers + self.size),
        }
    }

    /// Whether the checksums of the packets are there.
    pub fn checksum(&self) -> Checksum {
        match self.kind {
            Kind::Whole => self.checksum,
            // Each would have one of its own.
            _ => Checksum::Partial,
        }
    }

    /// Appends packet number `index`, below [`Cut::count`], to `out`.
    pub fn write(&self, index: usize, out: &mut BytesMut) {
        if self.kind == Kind::Whole {
            return out.extend_from_slice(self.bytes);
        }
        let payload = &self.bytes[self.headers..];
        let from = (index * self.size).min(payload.len());
        let part = &payload[from..payload.len().min(from + self.size)];
        let is_last = from + part.len() == payload.len();
        let start = out.len();
        out.extend_from_slice(&self.bytes[..self.headers]);
        out.extend_from_slice(part);
        let bytes = &mut out[start..];
        let len = bytes.len();
        match self.packet.source {
            IpAddr::V4(_) => {
                put_u16(bytes, 2, len as u16);
                let id = u16_at(bytes, 4).wrapping_add(index as u16);
                put_u16(bytes, 4, id);
                put_u16(bytes, 10, 0);
                let header_len = usize::from(bytes[0] & 0x0f) * 4;
                let sum = checksum::of(&bytes[..header_len]);
                put_u16(bytes, 10, sum);
            }
            IpAddr::V6(_) => put_u16(bytes, 4, (len - crate::packet::IPV6_HEADER) as u16),
        }
        let at = self.packet.transport;
        if self.kind == Kind::Udp {
            return put_u16(bytes, at + 4, (len - at) as u16);
        }
        let sequence = u32_at(bytes, at + 4).wrapping_add(from as u32);
        put_u32(bytes, at + 4, sequence);
        if !is_last {
            bytes[at + 13] &= !(FIN | PSH);
        }
        if index > 0 {
            bytes[at + 13] &= !CWR;
        }
    }
}

/// Leaves the checksum of TCP and UDP to the receiver, and fills any other in.
fn leave_or_fill(
    header: VnetHeader,
    bytes: &mut [u8],
    packet: &Packet,
) -> Result<Checksum, DropReason> {
    let start = usize::from(header.checksum_start);
    let is_usual = start == packet.transport
        && packet.fragment == crate::packet::Fragment::None
        && Some(header.checksum_offset) == checksum_offset(packet.protocol);
    let place = start + usize::from(header.checksum_offset);
    // The headers of IP have no sum that could be left out, and are not written over.
    if start < packet.transport || place + 2 > bytes.len() {
        return Err(DropReason::BadOffload);
    }
    if is_usual {
        return Ok(Checksum::Partial);
    }
    // The field holds the sum of the pseudo-header already.
    let sum = checksum::of(&bytes[start..]);
    put_u16(bytes, place, sum);
    Ok(Checksum::Complete)
}
