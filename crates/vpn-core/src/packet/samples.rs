//! Packets for tests, with checksums that are right.

use std::net::IpAddr;

use super::protocol;
use crate::bytes_at::{put_u16, put_u32};
use crate::checksum;

/// An IP packet around a transport.
pub(crate) fn packet(from: &str, to: &str, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut bytes = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            let len = (20 + transport.len()) as u16;
            put_u16(&mut bytes, 2, len);
            let sum = checksum::of(&bytes);
            put_u16(&mut bytes, 10, sum);
            bytes.extend_from_slice(transport);
            bytes
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            put_u16(&mut bytes, 4, transport.len() as u16);
            bytes.extend_from_slice(transport);
            bytes
        }
        _ => panic!("two families"),
    }
}

/// A TCP segment in an IP packet; `options` is a multiple of four bytes.
pub(crate) fn tcp(
    addresses: (&str, &str),
    sequence: u32,
    (flags, options): (u8, &[u8]),
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = vec![0; 20];
    put_u16(&mut segment, 0, 1000);
    put_u16(&mut segment, 2, 2000);
    put_u32(&mut segment, 4, sequence);
    put_u32(&mut segment, 8, 77);
    segment[12] = (((20 + options.len()) / 4) << 4) as u8;
    segment[13] = flags;
    put_u16(&mut segment, 14, 500);
    segment.extend_from_slice(options);
    segment.extend_from_slice(payload);
    sealed(addresses, protocol::TCP, segment, 16)
}

/// A UDP datagram in an IP packet.
pub(crate) fn udp(addresses: (&str, &str), payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 8];
    put_u16(&mut datagram, 0, 1000);
    put_u16(&mut datagram, 2, 2000);
    put_u16(&mut datagram, 4, (8 + payload.len()) as u16);
    datagram.extend_from_slice(payload);
    sealed(addresses, protocol::UDP, datagram, 6)
}

fn sealed((from, to): (&str, &str), protocol: u8, mut transport: Vec<u8>, at: usize) -> Vec<u8> {
    let ends = (from.parse().unwrap(), to.parse().unwrap());
    let sum = checksum::pseudo_header(ends.0, ends.1, protocol, transport.len());
    let sum = !checksum::fold(checksum::add(sum, &transport));
    put_u16(&mut transport, at, sum);
    packet(from, to, protocol, &transport)
}
