//! The addresses of this machine's interfaces.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use if_addrs::IfAddr;

/// Addresses under which sockets bound to `bound` can be reached from other machines; loopback
/// ones only when a socket is bound to one.
pub(crate) fn reachable(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    // Without a list of interfaces there is nothing to offer beyond the bound addresses.
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
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
            u32::from(own.ip) & mask == u32::from(ip) & mask
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
