//! Addresses that are not relayed to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Peers;

/// Whether a peer may have this address.
pub(super) fn may_relay_to(peers: Peers, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return false;
    }
    match (peers, ip) {
        (Peers::DangerPrivateToo, _) => true,
        (Peers::Public, IpAddr::V4(ip)) => is_public_v4(ip),
        (Peers::Public, IpAddr::V6(ip)) => is_public_v6(ip),
    }
}

/// By the registry of special addresses (RFC 6890). Those for documentation lead nowhere and are
/// let through.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        // "This" network; shared by carriers' NATs (RFC 6598); IETF protocols; benchmarks;
        // reserved.
        || a == 0
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // NAT64 (RFC 6052).
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(embedded(high, low)),
        // Teredo (RFC 4380), whose client address is inverted.
        [0x2001, 0, .., high, low] => is_public_v4(embedded(!high, !low)),
        // The internet; everything else is local, reserved or NAT64 of a local network.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn addresses_of_local_networks_are_not_relayed_to() {
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2002:0a00:0001::1",
            "2002:7f00:0001::1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001:0:1:2:3:4:f5ff:fffe",
        ] {
            assert!(
                !may_relay_to(Peers::Public, refused.parse().unwrap()),
                "{refused}"
            );
        }
    }

    #[test]
    fn addresses_of_the_internet_are_relayed_to() {
        for admitted in [
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "203.0.113.5",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2001:db8::1",
            "2a00::1",
            "2002:0101:0101::1",
            "64:ff9b::1.1.1.1",
        ] {
            for peers in [Peers::Public, Peers::DangerPrivateToo] {
                assert!(may_relay_to(peers, admitted.parse().unwrap()), "{admitted}");
            }
        }
    }

    #[test]
    fn a_private_relay_still_refuses_what_is_nobodys() {
        for (ip, expected) in [
            ("10.0.0.1", true),
            ("127.0.0.1", true),
            ("fd12::1", true),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("0.0.0.0", false),
            ("ff02::1", false),
        ] {
            let found = may_relay_to(Peers::DangerPrivateToo, ip.parse().unwrap());
            assert_eq!(found, expected, "{ip}");
        }
    }
}
