//! The addresses of this machine's interfaces, its gateways, and when they change.

mod routes;
mod tunnels;
mod watch;

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use if_addrs::IfAddr;

pub(crate) use self::routes::Gateways;
pub use self::tunnels::TUNNEL_ALIAS;
pub(crate) use self::tunnels::Tunnels;
pub(crate) use self::watch::{Changes, Watcher, next_change};

/// Addresses under which sockets bound to `bound` can be reached from other machines; loopback
/// ones and those of tunnels of our own only when a socket is bound to one.
pub(crate) fn reachable(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    // Without a list of interfaces there is nothing to offer beyond the bound addresses.
    let (interfaces, _) = tunnels::split(if_addrs::get_if_addrs().unwrap_or_default());
    let mut found = Vec::new();
    for socket in bound {
        if !socket.ip().is_unspecified() {
            found.push(*socket);
            continue;
        }
        for interface in interfaces.iter().filter(|i| !i.is_loopback()) {
            let ip = interface.ip();
            if ip.is_ipv4() == socket.is_ipv4() && !is_link_local_v6(ip) {
                found.push(SocketAddr::new(ip, socket.port()));
            }
        }
    }
    found.sort_by_key(|address| (address.is_ipv6(), *address));
    found.dedup();
    found
}

/// An address with the scope that a link-local one needs.
pub(crate) fn scoped(ip: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match ip {
        IpAddr::V6(v6) if is_link_local_v6(ip) => SocketAddrV6::new(v6, port, 0, scope).into(),
        _ => SocketAddr::new(ip, port),
    }
}

/// Whether an address is in the network of one of this machine's interfaces, so that no router is
/// between.
pub(crate) fn is_on_link(ip: IpAddr) -> bool {
    if_addrs::get_if_addrs()
        .is_ok_and(|all| all.iter().any(|interface| covers(&interface.addr, ip)))
}

fn covers(interface: &IfAddr, ip: IpAddr) -> bool {
    match (interface, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = u32::from(own.netmask);
            mask != 0 && u32::from(own.ip) & mask == u32::from(ip) & mask
        }
        (IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = u128::from(own.netmask);
            mask != 0 && u128::from(own.ip) & mask == u128::from(ip) & mask
        }
        _ => false,
    }
}

/// Whether there is any interface that is up, other than loopback.
pub(crate) fn any_outside() -> bool {
    if_addrs::get_if_addrs().is_ok_and(|all| all.iter().any(|i| !i.is_loopback()))
}

/// The index of the interface that has this address.
pub(crate) fn index_of_address(ip: IpAddr) -> Option<u32> {
    let all = if_addrs::get_if_addrs().ok()?;
    all.iter().find(|one| one.ip() == ip)?.index
}

/// Whether an address is one of the whole Internet: not private (RFC 1918, RFC 4193), shared by
/// the customers of a provider (RFC 6598), link-local, or reserved (RFC 6890).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || a == 0
                || a >= 224
                || (a == 100 && b & 0xc0 == 64)
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && b & 0xfe == 18))
        }
        // Global unicast is 2000::/3 (RFC 4291).
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000,
    }
}

fn is_link_local_v6(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_socket_bound_to_one_address_is_reachable_there_alone() {
        let bound: SocketAddr = "127.0.0.1:7".parse().unwrap();
        assert_eq!(reachable(&[bound]), vec![bound]);
    }

    #[test]
    fn an_interface_covers_the_addresses_of_its_network() {
        let v4 = IfAddr::V4(if_addrs::Ifv4Addr {
            ip: "198.51.100.7".parse().unwrap(),
            netmask: "255.255.255.0".parse().unwrap(),
            prefixlen: 24,
            broadcast: None,
        });
        assert!(covers(&v4, "198.51.100.200".parse().unwrap()));
        assert!(!covers(&v4, "198.51.101.1".parse().unwrap()));
        assert!(!covers(&v4, "2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn addresses_behind_a_nat_are_not_public() {
        for public in [
            "11.0.113.101",
            "1.1.1.1",
            "100.63.0.1",
            "100.128.0.1",
            "2001:db8::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for other in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.1",
            "169.254.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "198.19.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn only_link_local_addresses_carry_a_scope() {
        assert_eq!(
            scoped("fe80::1".parse().unwrap(), 7, 3).to_string(),
            "[fe80::1%3]:7"
        );
        assert_eq!(
            scoped("2001:db8::1".parse().unwrap(), 7, 3).to_string(),
            "[2001:db8::1]:7"
        );
    }
}
