//! Reads IP packets as far as a tunnel has to: addresses, lengths, and where the transport begins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::DropReason;
use crate::bytes_at::u16_at;

/// Protocol numbers (IANA).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP_V6: u8 = 58;
}

/// Bytes of an IPv4 header without options, and of the fixed IPv6 header.
pub(crate) const IPV4_HEADER: usize = 20;
pub(crate) const IPV6_HEADER: usize = 40;

/// Most IPv6 extension headers that are looked through. RFC 8200 section 4.1 names seven that may
/// stand in a packet, one of them twice.
pub const MAX_EXTENSIONS: usize = 8;

/// What stands in an IP packet's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// Length that the header gives, bytes; what follows is not part of the packet.
    pub len: usize,
    /// Protocol of the transport (RFC 5237), after all extension headers.
    pub protocol: u8,
    /// Where the transport begins. For a fragment other than the first: its payload.
    pub transport: usize,
    /// Whether the packet is part of a larger one.
    pub fragment: Fragment,
    /// IPv4's don't-fragment bit; always for IPv6, whose routers fragment nothing.
    pub dont_fragment: bool,
    /// The byte of differentiated services and ECN (RFC 2474, RFC 3168).
    pub traffic_class: u8,
}

/// Whether a packet is part of a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    None,
    /// The first part: the transport's header is in it.
    First,
    /// Another part: no transport header.
    Later,
}

impl Packet {
    /// Whether the transport's header is in the packet.
    pub fn has_transport_header(&self) -> bool {
        self.fragment != Fragment::Later
    }
}

/// Reads the headers of `bytes`.
///
/// # Errors
/// Why the packet cannot be carried: [`DropReason::Truncated`], [`DropReason::UnknownVersion`],
/// [`DropReason::Malformed`], [`DropReason::TooManyExtensions`], [`DropReason::Multicast`],
/// [`DropReason::NotUnicast`].
pub fn classify(bytes: &[u8]) -> Result<Packet, DropReason> {
    let packet = match bytes.first().ok_or(DropReason::Truncated)? >> 4 {
        4 => classify_v4(bytes),
        6 => classify_v6(bytes),
        _ => Err(DropReason::UnknownVersion),
    }?;
    check_addresses(packet)
}

fn classify_v4(bytes: &[u8]) -> Result<Packet, DropReason> {
    let header: &[u8; IPV4_HEADER] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let len = usize::from(u16_at(header, 2));
    if header_len < IPV4_HEADER || len < header_len {
        return Err(DropReason::Malformed);
    }
    if bytes.len() < len {
        return Err(DropReason::Truncated);
    }
    let flags = u16_at(header, 6);
    let (offset, more) = (flags & 0x1fff, flags & 0x2000 != 0);
    let fragment = match (offset, more) {
        (0, false) => Fragment::None,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    let address = |at: usize| {
        let octets = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        IpAddr::V4(Ipv4Addr::from(octets))
    };
    Ok(Packet {
        source: address(12),
        destination: address(16),
        len,
        protocol: header[9],
        transport: header_len,
        fragment,
        dont_fragment: flags & 0x4000 != 0,
        traffic_class: header[1],
    })
}

fn classify_v6(bytes: &[u8]) -> Result<Packet, DropReason> {
    let header: &[u8; IPV6_HEADER] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
    let len = IPV6_HEADER + usize::from(u16_at(header, 4));
    if bytes.len() < len {
        return Err(DropReason::Truncated);
    }
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let (protocol, transport, fragment) = skip_extensions(&bytes[..len], header[6])?;
    Ok(Packet {
        source: address(8),
        destination: address(24),
        len,
        protocol,
        transport,
        fragment,
        dont_fragment: true,
        traffic_class: header[0] << 4 | header[1] >> 4,
    })
}

/// The transport behind the extension headers (RFC 8200, section 4).
fn skip_extensions(bytes: &[u8], first: u8) -> Result<(u8, usize, Fragment), DropReason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    const MOBILITY: u8 = 135;
    let (mut next, mut at, mut fragment) = (first, IPV6_HEADER, Fragment::None);
    for _ in 0..=MAX_EXTENSIONS {
        let len = match next {
            HOP_BY_HOP if at != IPV6_HEADER => return Err(DropReason::Malformed),
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY => {
                let words = *bytes.get(at + 1).ok_or(DropReason::Truncated)?;
                (usize::from(words) + 1) * 8
            }
            AUTHENTICATION => {
                let words = *bytes.get(at + 1).ok_or(DropReason::Truncated)?;
                (usize::from(words) + 2) * 4
            }
            FRAGMENT => 8,
            _ => return Ok((next, at, fragment)),
        };
        if at + len > bytes.len() {
            return Err(DropReason::Truncated);
        }
        if next == FRAGMENT {
            let place = u16_at(bytes, at + 2);
            fragment = match (place & 0xfff8, place & 1) {
                // An atomic fragment (RFC 6946) is a whole packet.
                (0, 0) => Fragment::None,
                (0, _) => Fragment::First,
                _ => Fragment::Later,
            };
            if fragment == Fragment::Later {
                return Ok((bytes[at], at + len, fragment));
            }
        }
        (next, at) = (bytes[at], at + len);
    }
    Err(DropReason::TooManyExtensions)
}

/// A tunnel is no link: what is meant for all on a link, or for this host alone, does not pass.
fn check_addresses(packet: Packet) -> Result<Packet, DropReason> {
    let (source, destination) = (packet.source, packet.destination);
    let is_broadcast = |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if destination.is_multicast() || is_broadcast(destination) {
        return Err(DropReason::Multicast);
    }
    let is_none = |address: IpAddr| {
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        address.is_unspecified() || address.to_canonical().is_loopback() || link_local
    };
    if is_none(source) || is_none(destination) || source.is_multicast() || is_broadcast(source) {
        return Err(DropReason::NotUnicast);
    }
    Ok(packet)
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
