//! Packets that arrived together, joined to large ones for the kernel.

use bytes::Bytes;

use super::{MAX_PACKET, NEEDS_CHECKSUM, NONE, TCP_V4, TCP_V6, UDP, VnetHeader, checksum_offset};
use crate::bytes_at::{put_u16, u16_at, u32_at};
use crate::checksum;
use crate::frame::Checksum;
use crate::packet::{Fragment, IPV4_HEADER, IPV6_HEADER, Packet, protocol};

/// Longest headers that are rewritten: IPv6 with some extensions, and TCP with all its options.
pub const MAX_HEADERS: usize = 160;

/// Most packets in one large packet; writing takes a piece of memory for each, of which the kernel
/// takes 1,024 at once.
const MAX_TCP: usize = 512;

/// The kernel cuts no UDP packet to more (`UDP_MAX_SEGMENTS`, since Linux 4.18).
const MAX_UDP: usize = 64;

/// Groups that a packet is tried to be joined to: connections that are interleaved.
const MAX_OPEN: usize = 8;

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const ECE: u8 = 0x40;

/// One packet for the interface.
#[derive(Debug)]
pub struct Joined<'g> {
    /// What goes before it.
    pub vnet: VnetHeader,
    /// Headers that were rewritten; empty when the packet is as it came.
    pub headers: &'g [u8],
    /// The rest, in order.
    pub payload: &'g [Bytes],
    /// How many packets it was made of.
    pub packets: usize,
}

#[derive(Debug)]
struct Group {
    vnet: VnetHeader,
    headers: [u8; MAX_HEADERS],
    headers_len: usize,
    payload: Vec<Bytes>,
    packets: usize,
    /// Payload of each packet but the last.
    size: usize,
    payload_len: usize,
    transport: usize,
    protocol: u8,
    is_v4: bool,
    /// Whether another packet may follow.
    is_open: bool,
    next_sequence: u32,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            vnet: VnetHeader::default(),
            headers: [0; MAX_HEADERS],
            headers_len: 0,
            payload: Vec::new(),
            packets: 0,
            size: 0,
            payload_len: 0,
            transport: 0,
            protocol: 0,
            is_v4: false,
            is_open: false,
            next_sequence: 0,
        }
    }
}

/// Collects packets and joins those that belong together. Its memory is used again.
#[derive(Debug, Default)]
pub struct Joiner {
    groups: Vec<Group>,
    used: usize,
}

impl Joiner {
    /// Takes a packet. Packets of one connection keep their order.
    pub fn push(&mut self, bytes: &Bytes, packet: &Packet, checksum: Checksum) {
        let bytes = bytes.slice(..packet.len.min(bytes.len()));
        let Some(headers_len) = headers_len(&bytes, packet) else {
            return self.push_alone(bytes, packet, checksum);
        };
        let open = self.used.saturating_sub(MAX_OPEN)..self.used;
        for index in open.rev() {
            let group = &mut self.groups[index];
            if !group.is_open || !group.is_same_flow(&bytes, packet) {
                continue;
            }
            if group.takes(&bytes, packet, headers_len)
                && (checksum == Checksum::Partial || is_right(&bytes, packet))
            {
                return group.add(&bytes, headers_len);
            }
            group.is_open = false;
            break;
        }
        self.begin(&bytes, packet, (headers_len, checksum));
    }

    /// The packets for the interface, and nothing more in here when they are gone.
    pub fn drain(&mut self, mut each: impl FnMut(Joined<'_>)) {
        for group in &mut self.groups[..self.used] {
            group.seal();
            each(Joined {
                vnet: group.vnet,
                headers: &group.headers[..group.headers_len],
                payload: &group.payload,
                packets: group.packets,
            });
            group.payload.clear();
        }
        self.used = 0;
    }

    /// Whether nothing was taken since the last [`Joiner::drain`].
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    fn next_group(&mut self) -> &mut Group {
        if self.used == self.groups.len() {
            self.groups.push(Group::default());
        }
        self.used += 1;
        &mut self.groups[self.used - 1]
    }

    /// A packet that cannot be joined to others.
    fn push_alone(&mut self, bytes: Bytes, packet: &Packet, checksum: Checksum) {
        let bytes = match checksum {
            Checksum::Complete => bytes,
            Checksum::Partial => filled(&bytes, packet),
        };
        let group = self.next_group();
        group.vnet = VnetHeader::default();
        (group.headers_len, group.packets, group.is_open) = (0, 1, false);
        group.payload.push(bytes);
    }

    fn begin(
        &mut self,
        bytes: &Bytes,
        packet: &Packet,
        (headers_len, checksum): (usize, Checksum),
    ) {
        let is_tcp = packet.protocol == protocol::TCP;
        let flags = if is_tcp {
            bytes[packet.transport + 13]
        } else {
            ACK
        };
        let payload_len = bytes.len() - headers_len;
        // A packet that more may follow, and that is right by itself.
        let is_open = payload_len > 0
            && flags & !(ACK | ECE) == 0
            && flags & ACK != 0
            && (checksum == Checksum::Partial || is_right(bytes, packet));
        let group = self.next_group();
        group.headers[..headers_len].copy_from_slice(&bytes[..headers_len]);
        group.headers_len = headers_len;
        group.payload.push(bytes.slice(headers_len..));
        group.packets = 1;
        group.size = payload_len;
        group.payload_len = payload_len;
        group.transport = packet.transport;
        group.protocol = packet.protocol;
        group.is_v4 = packet.source.is_ipv4();
        group.is_open = is_open;
        group.next_sequence = u32_at(bytes, packet.transport + 4).wrapping_add(payload_len as u32);
        group.vnet = VnetHeader {
            flags: match checksum {
                Checksum::Complete => 0,
                Checksum::Partial => NEEDS_CHECKSUM,
            },
            ..VnetHeader::default()
        };
    }
}

impl Group {
    fn is_same_flow(&self, bytes: &[u8], packet: &Packet) -> bool {
        let addresses = if self.is_v4 { 12..20 } else { 8..40 };
        let ports = packet.transport..packet.transport + 4;
        packet.protocol == self.protocol
            && packet.source.is_ipv4() == self.is_v4
            && packet.transport == self.transport
            && bytes[addresses.clone()] == self.headers[addresses]
            && bytes[ports.clone()] == self.headers[ports]
    }

    /// Whether a packet of the same flow continues this group.
    fn takes(&self, bytes: &[u8], packet: &Packet, headers_len: usize) -> bool {
        let payload = bytes.len() - headers_len;
        let is_tcp = self.protocol == protocol::TCP;
        let max = if is_tcp { MAX_TCP } else { MAX_UDP };
        let mut fits = headers_len == self.headers_len
            && (1..=self.size).contains(&payload)
            && self.packets < max
            && self.headers_len + self.payload_len + payload <= MAX_PACKET;
        let same = |from: usize, to: usize| bytes[from..to] == self.headers[from..to];
        fits = fits
            && match self.is_v4 {
                // Version, length, services; fragment bits, hop limit.
                true => same(0, 2) && same(6, 9),
                false => same(0, 4) && same(6, 8) && same(IPV6_HEADER, self.transport),
            };
        if !fits || !is_tcp {
            return fits;
        }
        let at = self.transport;
        // All but sequence number, the flag PSH and the checksum is equal.
        u32_at(bytes, at + 4) == self.next_sequence
            && same(at + 8, at + 13)
            && bytes[at + 13] & !PSH == self.headers[at + 13] & !PSH
            && same(at + 14, at + 16)
            && same(at + 18, packet.transport.max(headers_len))
    }

    fn add(&mut self, bytes: &Bytes, headers_len: usize) {
        let payload = bytes.slice(headers_len..);
        let is_tcp = self.protocol == protocol::TCP;
        if is_tcp {
            let flags = bytes[self.transport + 13];
            self.headers[self.transport + 13] |= flags & PSH;
            self.is_open = flags & PSH == 0;
            self.next_sequence = self.next_sequence.wrapping_add(payload.len() as u32);
        }
        // A shorter one can only be the last.
        self.is_open &= payload.len() == self.size;
        self.payload_len += payload.len();
        self.packets += 1;
        self.payload.push(payload);
    }

    /// Makes the headers those of the whole.
    fn seal(&mut self) {
        self.is_open = false;
        if self.headers_len == 0 || (self.packets == 1 && self.vnet.flags == 0) {
            return;
        }
        let len = self.headers_len + self.payload_len;
        let transport_len = len - self.transport;
        let offset = checksum_offset(self.protocol).unwrap_or_default();
        if self.is_v4 {
            put_u16(&mut self.headers, 2, len as u16);
            put_u16(&mut self.headers, 10, 0);
            let sum = checksum::of(&self.headers[..IPV4_HEADER]);
            put_u16(&mut self.headers, 10, sum);
        } else {
            put_u16(&mut self.headers, 4, (len - IPV6_HEADER) as u16);
        }
        if self.protocol == protocol::UDP {
            put_u16(&mut self.headers, self.transport + 4, transport_len as u16);
        }
        // The kernel adds the rest to the sum of the pseudo-header.
        let addresses = if self.is_v4 { 12..20 } else { 8..40 };
        let sum = checksum::add(0, &self.headers[addresses]);
        let sum = checksum::fold(sum + u64::from(self.protocol) + transport_len as u64);
        put_u16(&mut self.headers, self.transport + usize::from(offset), sum);
        let gso_type = match (self.packets, self.protocol, self.is_v4) {
            (1, ..) => NONE,
            (_, protocol::UDP, _) => UDP,
            (_, _, true) => TCP_V4,
            (_, _, false) => TCP_V6,
        };
        self.vnet = VnetHeader {
            flags: NEEDS_CHECKSUM,
            gso_type,
            header_len: self.headers_len as u16,
            gso_size: if gso_type == NONE {
                0
            } else {
                self.size as u16
            },
            checksum_start: self.transport as u16,
            checksum_offset: offset,
        };
    }
}

/// Length of the headers of a packet that may be joined, or whose checksum is left to the kernel.
fn headers_len(bytes: &[u8], packet: &Packet) -> Option<usize> {
    let transport = match packet.protocol {
        protocol::TCP => {
            let words = bytes.get(packet.transport + 12)?;
            usize::from(words >> 4) * 4
        }
        protocol::UDP => 8,
        _ => return None,
    };
    let least = if packet.protocol == protocol::TCP {
        20
    } else {
        8
    };
    let len = packet.transport + transport;
    let usual = match packet.source.is_ipv4() {
        // No options, and not to be cut on the way, so that identifications do not matter.
        true => packet.transport == IPV4_HEADER && packet.dont_fragment,
        false => true,
    };
    let udp_len_fits = packet.protocol != protocol::UDP
        || usize::from(u16_at(bytes, packet.transport + 4)) == packet.len - packet.transport;
    let fits = transport >= least
        && len <= packet.len
        && len <= MAX_HEADERS
        && packet.fragment == Fragment::None;
    (fits && usual && udp_len_fits).then_some(len)
}

/// Whether the transport's checksum is right.
fn is_right(bytes: &[u8], packet: &Packet) -> bool {
    let transport = &bytes[packet.transport..packet.len];
    let pseudo = checksum::pseudo_header(
        packet.source,
        packet.destination,
        packet.protocol,
        transport.len(),
    );
    checksum::fold(checksum::add(pseudo, transport)) == 0xffff
}

/// The packet with its checksum filled in.
fn filled(bytes: &Bytes, packet: &Packet) -> Bytes {
    let Some(offset) = checksum_offset(packet.protocol) else {
        return bytes.clone();
    };
    let place = packet.transport + usize::from(offset);
    if place + 2 > packet.len || packet.fragment != Fragment::None {
        return bytes.clone();
    }
    let mut filled = bytes.to_vec();
    put_u16(&mut filled, place, 0);
    let transport = &filled[packet.transport..packet.len];
    let pseudo = checksum::pseudo_header(
        packet.source,
        packet.destination,
        packet.protocol,
        transport.len(),
    );
    let sum = match !checksum::fold(checksum::add(pseudo, transport)) {
        // Zero means "none" in UDP (RFC 768).
        0 => 0xffff,
        sum => sum,
    };
    put_u16(&mut filled, place, sum);
    filled.into()
}
