//! Node ids that depend on the address (BEP 42): nobody can choose the place of a node freely.

use std::net::IpAddr;

use rand_core::Rng;

use crate::address::is_local;
use crate::id::{ID_LEN, Id};

/// The bits of an IPv4 address that count (BEP 42).
const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];

/// The bits of the upper half of an IPv6 address that count (BEP 42).
const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];

/// Which bits of the third byte belong to the 21 that are checked (BEP 42).
const CHECKED_OF_THIRD: u8 = 0xf8;

/// An id that fits `address`: its first 21 bits follow from the address and from three bits of
/// its last byte, the rest is random (BEP 42).
#[must_use]
pub fn secure_id(address: IpAddr, rng: &mut impl Rng) -> Id {
    let mut bytes = *Id::random(rng).as_bytes();
    let prefix = prefix(address, bytes[ID_LEN - 1]);
    bytes[0] = prefix[0];
    bytes[1] = prefix[1];
    bytes[2] = (prefix[2] & CHECKED_OF_THIRD) | (bytes[2] & !CHECKED_OF_THIRD);
    Id::from_bytes(bytes)
}

/// Whether `id` fits `address` (BEP 42). Every id fits a local address
/// ([`is_local`]): such nodes are exempt.
#[must_use]
pub fn is_secure(id: &Id, address: IpAddr) -> bool {
    let address = address.to_canonical();
    if is_local(address) {
        return true;
    }
    let bytes = id.as_bytes();
    let prefix = prefix(address, bytes[ID_LEN - 1]);
    bytes[0] == prefix[0] && bytes[1] == prefix[1] && (bytes[2] ^ prefix[2]) & CHECKED_OF_THIRD == 0
}

/// The first bytes of an id at `address` that ends in `last`.
fn prefix(address: IpAddr, last: u8) -> [u8; 4] {
    let chosen = (last & 0x07) << 5;
    let checksum = match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mut octets = v4.octets();
            mask(&mut octets, &MASK_V4);
            octets[0] |= chosen;
            crc32c::crc32c(&octets)
        }
        IpAddr::V6(v6) => {
            let mut upper = [0; MASK_V6.len()];
            upper.copy_from_slice(&v6.octets()[..MASK_V6.len()]);
            mask(&mut upper, &MASK_V6);
            upper[0] |= chosen;
            crc32c::crc32c(&upper)
        }
    };
    checksum.to_be_bytes()
}

fn mask(octets: &mut [u8], mask: &[u8]) {
    for (octet, mask) in octets.iter_mut().zip(mask) {
        *octet &= mask;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const VECTORS: &str = include_str!("../tests/vectors/bep42.txt");

    #[test]
    fn the_published_vectors_hold() {
        let mut seen = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split_whitespace();
            let address: IpAddr = fields.next().unwrap().parse().unwrap();
            let last: u8 = fields.next().unwrap().parse().unwrap();
            let id: Id = fields.next().unwrap().parse().unwrap();
            assert_eq!(id.as_bytes()[ID_LEN - 1], last, "{line}");
            assert!(is_secure(&id, address), "{line}");
            let expected = prefix(address, last);
            assert_eq!(expected[..2], id.as_bytes()[..2], "{line}");
            seen += 1;
        }
        assert_eq!(seen, 5);
    }

    #[test]
    fn each_of_the_21_bits_is_checked_and_no_other() {
        let address: IpAddr = "124.31.75.21".parse().unwrap();
        let id = secure_id(address, &mut ChaCha20Rng::seed_from_u64(1));
        for bit in 0..crate::id::ID_BITS - 3 {
            let mut bytes = *id.as_bytes();
            bytes[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(
                is_secure(&Id::from_bytes(bytes), address),
                bit >= 21,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn local_addresses_are_exempt() {
        let id = Id::from_bytes([0x55; ID_LEN]);
        for local in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.0.9",
            "127.0.0.1",
            "fd00::1",
        ] {
            assert!(is_secure(&id, local.parse().unwrap()), "{local}");
        }
        assert!(!is_secure(&id, "8.8.8.8".parse().unwrap()));
        assert!(!is_secure(&id, "2001:db8::1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_secure_id_fits_its_address(seed: u64, v4: u32, v6: u128) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            for address in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into())] {
                prop_assert!(is_secure(&secure_id(address, &mut rng), address));
            }
        }
    }
}
