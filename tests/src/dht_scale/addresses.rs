//! Public addresses, one in each /24, in no order.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dhtnet_simnet::Rng;

/// Networks of 256 addresses.
const SUBNETS: u32 = 1 << 24;

/// Odd, so that its multiples reach every /24; about 2^24 divided by the golden ratio.
const STEP: u32 = 0x9E_3779;

/// Gives out addresses, none twice and no two of one /24.
#[derive(Debug)]
pub(super) struct Addresses {
    rng: Rng,
    subnet: u32,
}

impl Addresses {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            subnet: rng.next_u64() as u32 % SUBNETS,
            rng,
        }
    }

    pub(super) fn next(&mut self) -> SocketAddr {
        loop {
            self.subnet = self.subnet.wrapping_add(STEP) % SUBNETS;
            let dice = self.rng.next_u64();
            let host = Ipv4Addr::from_bits(self.subnet << 8 | (1 + dice as u32 % 254));
            if is_public(host) {
                let port = 1_024 + (dice >> 32) as u16 % 64_000;
                return SocketAddr::new(IpAddr::V4(host), port);
            }
        }
    }
}

/// Unicast and not set aside for something else (RFC 6890).
fn is_public(host: Ipv4Addr) -> bool {
    let [first, second, third, _] = host.octets();
    let set_aside = host.is_private()
        || host.is_loopback()
        || host.is_link_local()
        || host.is_documentation()
        || (first == 100 && second & 0xc0 == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && second & 0xfe == 18);
    (1..224).contains(&first) && !set_aside
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_of_a_hundred_thousand_share_a_subnet_and_all_are_public() {
        let mut addresses = Addresses::new(3);
        let mut subnets = BTreeSet::new();
        for _ in 0..100_000 {
            let address = addresses.next();
            let IpAddr::V4(host) = address.ip() else {
                panic!("{address} is not of IPv4");
            };
            assert!(is_public(host), "{address}");
            assert!(address.port() >= 1_024);
            assert!(subnets.insert(host.to_bits() >> 8), "{address}");
        }
    }
}
