//! The QUIC version number of this protocol, and the gate every datagram passes before QUIC sees it.
//!
//! A QUIC endpoint answers what it does not understand: an unknown version draws a version
//! negotiation packet, a first packet with a short connection id draws a close before anything was
//! authenticated, and a client gives up when anybody shows it a version negotiation packet. None of
//! that may happen here, so [`accepts_version`] is asked first.

/// The version number in every long header: the letters `dht1`.
///
/// It is not 1, so that nobody takes these packets for QUIC with TLS, and not of the reserved form
/// `0x?a?a?a?a` (RFC 9000 section 15).
pub const QUIC_VERSION: u32 = 0x6468_7431;

/// Shortest destination connection id of a first packet, in bytes (RFC 9000 section 7.2).
pub const MIN_DESTINATION_ID_LEN: usize = 8;

/// Longest connection id, in bytes (RFC 9000 section 17.2).
const MAX_CONNECTION_ID_LEN: usize = 20;

/// Whether a datagram may be handed to the QUIC endpoint.
///
/// `datagram` is one UDP payload, not a batch. Everything with a short header passes: those are
/// matched against connections by id, and foreign ids fail
/// [`ConnectionIds`](crate::ConnectionIds)' check. A long header passes only with
/// [`QUIC_VERSION`], the fixed bit and a destination connection id of 8 to 20 bytes, and so must
/// every further packet in the same datagram. Version negotiation packets (version 0) never pass.
///
/// ```
/// use dhtnet_secure_transport::accepts_version;
///
/// // Version 1 with an 8-byte destination id: QUIC with TLS, not for us.
/// assert!(!accepts_version(&[0xc0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
/// ```
pub fn accepts_version(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    if rest.is_empty() {
        return false;
    }
    while let Some(&first) = rest.first() {
        if first & LONG_HEADER == 0 {
            return true;
        }
        match skip_long_packet(rest) {
            Some(following) => rest = following,
            None => return false,
        }
    }
    true
}

const LONG_HEADER: u8 = 0x80;
const FIXED_BIT: u8 = 0x40;

/// What follows the long-header packet at the start of `packet`, or `None` if it is not ours.
fn skip_long_packet(packet: &[u8]) -> Option<&[u8]> {
    let (&first, rest) = packet.split_first()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    if first & FIXED_BIT == 0 || u32::from_be_bytes(*version) != QUIC_VERSION {
        return None;
    }
    let (destination, rest) = split_connection_id(rest)?;
    if destination.len() < MIN_DESTINATION_ID_LEN {
        return None;
    }
    let (_source, rest) = split_connection_id(rest)?;
    let rest = match (first >> 4) & 0b11 {
        // Initial: a token comes before the length.
        0b00 => {
            let (token_len, rest) = split_varint(rest)?;
            rest.get(usize::try_from(token_len).ok()?..)?
        }
        // 0-RTT is never offered, so nobody has a reason to send it.
        0b01 => return None,
        0b10 => rest,
        // Retry: runs to the end of the datagram.
        _ => return Some(&[]),
    };
    let (len, rest) = split_varint(rest)?;
    rest.get(usize::try_from(len).ok()?..)
}

fn split_connection_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let len = usize::from(len);
    if len > MAX_CONNECTION_ID_LEN {
        return None;
    }
    rest.split_at_checked(len)
}

/// A variable-length integer (RFC 9000 section 16) and what follows it.
fn split_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = 1usize << (bytes.first()? >> 6);
    let (encoded, rest) = bytes.split_at_checked(len)?;
    let value = encoded
        .iter()
        .fold(0u64, |value, &byte| (value << 8) | u64::from(byte));
    Some((value & (u64::MAX >> 2 >> (64 - 8 * len)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(first: u8, version: u32, destination_len: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![first];
        packet.extend(version.to_be_bytes());
        packet.push(destination_len);
        packet.extend(vec![7; usize::from(destination_len)]);
        packet.push(0);
        packet.extend(body);
        packet
    }

    /// An Initial with an empty token and a body of three bytes.
    fn initial(destination_len: u8) -> Vec<u8> {
        long(0xc0, QUIC_VERSION, destination_len, &[0, 3, 1, 2, 3])
    }

    #[test]
    fn varints_of_every_length_are_read() {
        // RFC 9000 appendix A.1.
        assert_eq!(split_varint(&[0x25]), Some((37, &[][..])));
        assert_eq!(split_varint(&[0x7b, 0xbd]), Some((15_293, &[][..])));
        assert_eq!(
            split_varint(&[0x9d, 0x7f, 0x3e, 0x7d]),
            Some((494_878_333, &[][..]))
        );
        assert_eq!(
            split_varint(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            Some((151_288_809_941_952_652, &[][..]))
        );
        assert_eq!(split_varint(&[0x7b]), None);
    }

    #[test]
    fn our_own_packets_pass() {
        assert!(accepts_version(&initial(8)));
        assert!(accepts_version(&initial(20)));
        assert!(accepts_version(&[0x40, 1, 2, 3]));
    }

    #[test]
    fn other_versions_and_version_negotiation_are_stopped() {
        assert!(!accepts_version(&[]));
        assert!(!accepts_version(&long(0xc0, 1, 8, &[0, 3, 1, 2, 3])));
        assert!(!accepts_version(&long(0xc0, 0, 8, &[0, 0, 0, 1])));
        assert!(!accepts_version(&long(
            0x80,
            QUIC_VERSION,
            8,
            &[0, 3, 1, 2, 3]
        )));
    }

    #[test]
    fn destination_ids_outside_eight_to_twenty_bytes_are_stopped() {
        assert!(!accepts_version(&initial(7)));
        assert!(!accepts_version(&initial(21)));
    }

    #[test]
    fn a_foreign_packet_behind_one_of_ours_is_stopped() {
        let mut datagram = initial(8);
        datagram.extend(long(0xc0, 0, 8, &[0, 0, 0, 1]));
        assert!(!accepts_version(&datagram));
        let mut datagram = initial(8);
        datagram.extend(long(0xe0, QUIC_VERSION, 8, &[2, 1, 2]));
        datagram.extend([0x41, 9, 9]);
        assert!(accepts_version(&datagram));
    }

    #[test]
    fn early_data_packets_are_stopped() {
        assert!(!accepts_version(&long(0xd0, QUIC_VERSION, 8, &[2, 1, 2])));
    }

    #[test]
    fn no_truncation_panics_and_cut_long_headers_are_stopped() {
        let packet = initial(8);
        for len in 0..packet.len() {
            assert!(!accepts_version(&packet[..len]), "cut at {len}");
        }
    }
}
