//! Keeps TCP connections to segments that fit the tunnel, also where ICMP is lost on the way.

use crate::bytes_at::{put_u16, u16_at};
use crate::checksum;
use crate::frame::Checksum;
use crate::packet::{IPV4_HEADER, IPV6_HEADER, Packet, protocol};

/// Headers of TCP, and of IP before it, that the segment size does not count (RFC 6691).
const TCP_HEADER: usize = 20;

const SYN: u8 = 0x02;

/// Lowers the maximum segment size in a SYN to what an interface of `mtu` bytes takes. Returns
/// whether it changed anything.
pub fn clamp(bytes: &mut [u8], packet: &Packet, (mtu, checksum): (u16, Checksum)) -> bool {
    let at = packet.transport;
    let is_syn = packet.protocol == protocol::TCP
        && packet.has_transport_header()
        && packet.len >= at + TCP_HEADER
        && bytes.get(at + 13).is_some_and(|flags| flags & SYN != 0);
    if !is_syn {
        return false;
    }
    let ip_header = match packet.source {
        std::net::IpAddr::V4(_) => IPV4_HEADER,
        std::net::IpAddr::V6(_) => IPV6_HEADER,
    };
    // The MTU is at least 1,280.
    let max = mtu.saturating_sub((ip_header + TCP_HEADER) as u16);
    let header_len = usize::from(bytes[at + 12] >> 4) * 4;
    let end = (at + header_len).min(packet.len).min(bytes.len());
    let Some(place) = find_option(bytes, at + TCP_HEADER, end) else {
        return false;
    };
    let found = u16_at(bytes, place);
    if found <= max {
        return false;
    }
    put_u16(bytes, place, max);
    if checksum == Checksum::Complete {
        let old = u16_at(bytes, at + 16);
        // A value at an odd place counts with its bytes exchanged.
        let is_odd = (place - at) % 2 == 1;
        let word = |value: u16| if is_odd { value.swap_bytes() } else { value };
        put_u16(
            bytes,
            at + 16,
            checksum::updated(old, word(found), word(max)),
        );
    }
    true
}

/// Where the value of the option "maximum segment size" stands.
fn find_option(bytes: &[u8], from: usize, end: usize) -> Option<usize> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const SEGMENT_SIZE: u8 = 2;
    let mut at = from;
    while at + 1 < end {
        match (bytes[at], bytes[at + 1]) {
            (END, _) => return None,
            (NOTHING, _) => at += 1,
            (SEGMENT_SIZE, 4) if at + 4 <= end => return Some(at + 2),
            (_, len) if len >= 2 => at += usize::from(len),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{classify, samples};

    const V4: (&str, &str) = ("10.0.0.1", "10.0.0.2");
    const V6: (&str, &str) = ("fd00::1", "fd00::2");

    fn is_right(bytes: &[u8]) -> bool {
        let packet = classify(bytes).unwrap();
        let transport = &bytes[packet.transport..packet.len];
        let pseudo = checksum::pseudo_header(packet.source, packet.destination, 6, transport.len());
        checksum::fold(checksum::add(pseudo, transport)) == 0xffff
    }

    #[test]
    fn a_syn_asks_for_no_more_than_the_tunnel_takes() {
        for (ends, max) in [(V4, 1360), (V6, 1340)] {
            for options in [
                &[2, 4, 5, 180, 1, 1, 1, 0][..],
                &[1, 2, 4, 5, 180, 1, 1, 1],
                &[3, 3, 7, 2, 4, 5, 180, 0],
            ] {
                let mut bytes = samples::tcp(ends, 1, (SYN, options), b"");
                let packet = classify(&bytes).unwrap();
                assert!(clamp(&mut bytes, &packet, (1400, Checksum::Complete)));
                let place = find_option(&bytes, packet.transport + 20, packet.len).unwrap();
                assert_eq!(u16_at(&bytes, place), max);
                assert!(is_right(&bytes));
                assert!(!clamp(&mut bytes, &packet, (1400, Checksum::Complete)));
            }
        }
    }

    #[test]
    fn only_a_syn_with_a_larger_value_is_changed() {
        let options = &[2, 4, 5, 180];
        for bytes in [
            samples::tcp(V4, 1, (0x10, options), b""),
            samples::tcp(V4, 1, (SYN, &[2, 4, 1, 0]), b""),
            samples::tcp(V4, 1, (SYN, b""), b""),
            samples::udp(V4, b"\0\0\0\0\0\x02"),
        ] {
            let mut changed = bytes.clone();
            let packet = classify(&bytes).unwrap();
            assert!(!clamp(&mut changed, &packet, (1400, Checksum::Complete)));
            assert_eq!(changed, bytes);
        }
    }

    proptest! {
        #[test]
        fn options_of_any_kind_do_no_harm(options in proptest::collection::vec(any::<u8>(), 40)) {
            let mut bytes = samples::tcp(V4, 1, (SYN, &options), b"");
            let packet = classify(&bytes).unwrap();
            clamp(&mut bytes, &packet, (1280, Checksum::Complete));
            prop_assert!(is_right(&bytes));
        }
    }
}
