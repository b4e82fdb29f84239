//! Tells a sender that its packet is larger than the way to its destination.

use std::net::IpAddr;

use crate::bytes_at::{put_u16, put_u32};
use crate::checksum;
use crate::packet::{IPV4_HEADER, IPV6_HEADER, Packet, protocol};

/// Header of an ICMP error (RFC 792, RFC 4443 section 3.2).
const ICMP_HEADER: usize = 8;

/// Largest answer over IPv4 (RFC 1812, section 4.3.2.3).
const MAX_V4: usize = 576;

/// Largest answer over IPv6 (RFC 4443, section 2.4 c).
const MAX_V6: usize = 1280;

/// The ICMP error "fragmentation needed" (RFC 1191) or "packet too big" (RFC 4443) about `bytes`,
/// from `own` to the packet's source. `None` where none may be sent: about an ICMP error, about a
/// later fragment, about what may be fragmented, or if `own` is of the other family. For an answer to the
/// kernel that `own` is an address from which it takes packets of its interface: the destination of the packet.
pub fn answer(bytes: &[u8], packet: &Packet, (own, mtu): (IpAddr, u16)) -> Option<Vec<u8>> {
    if !packet.dont_fragment || !packet.has_transport_header() || is_icmp_error(bytes, packet) {
        return None;
    }
    match (own, packet.source) {
        (IpAddr::V4(own), IpAddr::V4(to)) => {
            let quoted = &bytes[..packet.len.min(MAX_V4 - IPV4_HEADER - ICMP_HEADER)];
            let len = IPV4_HEADER + ICMP_HEADER + quoted.len();
            let mut answer = vec![0; IPV4_HEADER + ICMP_HEADER];
            answer[0] = 0x45;
            put_u16(&mut answer, 2, len as u16);
            (answer[8], answer[9]) = (64, protocol::ICMP);
            answer[12..16].copy_from_slice(&own.octets());
            answer[16..20].copy_from_slice(&to.octets());
            let sum = checksum::of(&answer[..IPV4_HEADER]);
            put_u16(&mut answer, 10, sum);
            (answer[20], answer[21]) = (3, 4);
            put_u16(&mut answer, 26, mtu);
            answer.extend_from_slice(quoted);
            let sum = checksum::of(&answer[IPV4_HEADER..]);
            put_u16(&mut answer, 22, sum);
            Some(answer)
        }
        (IpAddr::V6(own), IpAddr::V6(to)) => {
            let quoted = &bytes[..packet.len.min(MAX_V6 - IPV6_HEADER - ICMP_HEADER)];
            let len = ICMP_HEADER + quoted.len();
            let mut answer = vec![0; IPV6_HEADER + ICMP_HEADER];
            answer[0] = 0x60;
            put_u16(&mut answer, 4, len as u16);
            (answer[6], answer[7]) = (protocol::ICMP_V6, 64);
            answer[8..24].copy_from_slice(&own.octets());
            answer[24..40].copy_from_slice(&to.octets());
            answer[40] = 2;
            put_u32(&mut answer, 44, u32::from(mtu));
            answer.extend_from_slice(quoted);
            let pseudo = checksum::pseudo_header(own.into(), to.into(), protocol::ICMP_V6, len);
            let sum = !checksum::fold(checksum::add(pseudo, &answer[IPV6_HEADER..]));
            put_u16(&mut answer, 42, sum);
            Some(answer)
        }
        _ => None,
    }
}

/// RFC 1122 section 3.2.2 and RFC 4443 section 2.4 e: no error about an error.
fn is_icmp_error(bytes: &[u8], packet: &Packet) -> bool {
    let kind = bytes.get(packet.transport).copied();
    match (packet.protocol, kind) {
        (protocol::ICMP, Some(kind)) => !matches!(kind, 0 | 8 | 13 | 14),
        (protocol::ICMP_V6, Some(kind)) => kind < 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;
    use crate::packet::{classify, samples};

    #[test]
    fn the_answer_names_the_size_and_quotes_the_packet() {
        for (ends, own) in [
            (("10.0.0.1", "10.0.0.2"), "10.0.0.9"),
            (("fd00::1", "fd00::2"), "fd00::9"),
        ] {
            let bytes = samples::udp(ends, &[7; 1400]);
            let packet = classify(&bytes).unwrap();
            let own: IpAddr = own.parse().unwrap();
            let answer = answer(&bytes, &packet, (own, 1300)).unwrap();
            let read = classify(&answer).unwrap();
            assert_eq!((read.source, read.destination), (own, packet.source));
            assert_eq!(read.len, answer.len());
            let icmp = &answer[read.transport..];
            let (head, mtu, pseudo) = match own {
                IpAddr::V4(_) => {
                    assert_eq!(checksum::of(&answer[..20]), 0);
                    ([3, 4], u32::from(u16::from_be_bytes([icmp[6], icmp[7]])), 0)
                }
                IpAddr::V6(_) => (
                    [2, 0],
                    u32::from_be_bytes([icmp[4], icmp[5], icmp[6], icmp[7]]),
                    checksum::pseudo_header(own, packet.source, 58, icmp.len()),
                ),
            };
            assert_eq!((&icmp[..2], mtu), (&head[..], 1300));
            assert_eq!(checksum::fold(checksum::add(pseudo, icmp)), 0xffff);
            assert_eq!(icmp[8..], bytes[..icmp.len() - 8]);
            assert!(answer.len() <= 1280);
        }
    }

    #[test]
    fn there_is_no_error_about_an_error_or_about_what_may_be_cut() {
        let own: IpAddr = "10.0.0.9".parse().unwrap();
        let answered =
            |bytes: &[u8]| answer(bytes, &classify(bytes).unwrap(), (own, 1300)).is_some();
        let ends = ("10.0.0.1", "10.0.0.2");
        let icmp =
            |kind| samples::packet(ends.0, ends.1, protocol::ICMP, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert!(answered(&icmp(8)));
        assert!(!answered(&icmp(3)));
        let mut may_be_cut = samples::udp(ends, b"");
        may_be_cut[6] = 0;
        assert!(!answered(&may_be_cut));
        assert!(!answered(&samples::udp(("fd00::1", "fd00::2"), b"")));
        let own: IpAddr = "fd00::9".parse().unwrap();
        let error = samples::packet(
            "fd00::1",
            "fd00::2",
            protocol::ICMP_V6,
            &[1, 0, 0, 0, 0, 0, 0, 0],
        );
        assert_eq!(
            answer(&error, &classify(&error).unwrap(), (own, 1300)),
            None
        );
    }
}
