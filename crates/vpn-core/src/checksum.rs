//! The checksum of IP, TCP, UDP and ICMP (RFC 1071).

use std::net::IpAddr;

/// Adds the bytes to `sum`, as big-endian words of 16 bits, an odd last byte padded with zero.
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    let mut sum = sum;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        // Words of 32 bits fold to the same as their halves.
        sum += u64::from(u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    let rest = chunks.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

/// The sum as 16 bits, not complemented.
pub fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The complemented checksum of these bytes.
pub fn of(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

/// Sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1), not folded.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u64 {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            add(add(0, &source.octets()), &destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            add(add(0, &source.octets()), &destination.octets())
        }
        // Not one packet.
        _ => 0,
    };
    addresses + u64::from(protocol) + len as u64
}

/// The checksum after the 16-bit word `old` became `new` (RFC 1624, equation 3).
pub fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!old) + u64::from(new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let words = bytes.chunks(2);
        let mut sum: u32 = words
            .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
            .sum();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_rfc_1071(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&bytes), plain(&bytes));
        }

        #[test]
        fn an_update_is_the_sum_of_the_changed_bytes(
            mut bytes in proptest::collection::vec(any::<u8>(), 4..60),
            at in 0usize..28,
            new: u16,
        ) {
            bytes.truncate(bytes.len() & !1);
            let at = (at * 2) % bytes.len();
            let before = of(&bytes);
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            let after = updated(before, old, new);
            // Zero has two forms in one's complement.
            prop_assert_eq!(after % 0xffff, of(&bytes) % 0xffff);
        }
    }
}
