//! Interfaces whose packets travel inside connections of this library: those of a VPN over it.
//!
//! A connection that took an address of such an interface for a way to the peer would go through
//! another connection to the same peer: encrypted twice, smaller, and gone with it. So these
//! addresses are neither offered nor called. What carries other VPNs is a way like any other.
//!
//! The mark is the interface's alias, a text beside its name that the kernel keeps and that everybody
//! may read (`ip link show`). The kernel is asked through netlink, since `/sys/class/net` shows the
//! network namespace in which it was mounted, not that of the caller. Linux only.

use std::net::IpAddr;

use if_addrs::{IfAddr, Interface};

/// What the alias of an interface begins with that carries packets inside connections of this
/// library; anything may follow. A program that makes such an interface sets it before the first address
/// (`ip link set dev NAME alias dhtnet:vpn`). Addresses of the interface are then offered to no peer, and those
/// that a peer offers in its networks are not tried.
pub const TUNNEL_ALIAS: &str = "dhtnet:";

/// The networks of such interfaces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tunnels(Vec<IfAddr>);

impl Tunnels {
    /// Those of this moment.
    pub(crate) fn now() -> Self {
        split(if_addrs::get_if_addrs().unwrap_or_default()).1
    }

    /// Whether packets to this address would go through one of them, to a device of its network.
    pub(crate) fn contain(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|address| super::covers(address, ip))
    }
}

/// The interfaces that are none, and the networks of those that are.
pub(super) fn split(all: Vec<Interface>) -> (Vec<Interface>, Tunnels) {
    // A TUN interface has no neighbours, which the system calls point to point: most machines have
    // none, and the kernel is not asked.
    if !all.iter().any(|one| one.is_p2p) {
        return (all, Tunnels::default());
    }
    let marked = kernel::marked();
    let is_tunnel = |one: &Interface| one.index.is_some_and(|index| marked.contains(&index));
    let (inside, outside): (Vec<Interface>, Vec<Interface>) = all.into_iter().partition(is_tunnel);
    // Link-local addresses are the same on every link.
    let networks = inside
        .into_iter()
        .filter(|one| !super::is_link_local_v6(one.ip()));
    (outside, Tunnels(networks.map(|one| one.addr).collect()))
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;

    use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

    use super::TUNNEL_ALIAS;

    /// Messages of linux/netlink.h and linux/rtnetlink.h: errors, the end of a list, a link, and the
    /// question for links.
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    const RTM_NEWLINK: u16 = 16;
    const RTM_GETLINK: u16 = 18;

    /// `NLM_F_REQUEST | NLM_F_DUMP`: all there are.
    const REQUEST_ALL: u16 = 0x301;

    /// The attribute with the alias, and that with what to leave out (linux/if_link.h).
    const IFLA_IFALIAS: u16 = 20;
    const IFLA_EXT_MASK: u16 = 29;

    /// `RTEXT_FILTER_SKIP_STATS`: counters are half of an answer.
    const WITHOUT_COUNTERS: u32 = 8;

    /// Bytes of the header of a message, and of what a message about a link begins with.
    const HEADER: usize = 16;
    const LINK: usize = 16;

    /// Bytes of one part of an answer: the kernel fills 32 KiB at most (netlink(7)).
    const PART: usize = 32 << 10;

    /// Indices of the interfaces with our alias; none where the kernel does not say.
    pub(super) fn marked() -> Vec<u32> {
        ask().unwrap_or_else(|error| {
            tracing::debug!(%error, "the kernel does not list its links");
            Vec::new()
        })
    }

    fn ask() -> io::Result<Vec<u32>> {
        // No protocol is number 0, NETLINK_ROUTE. An answer is there as soon as it is asked for.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        net::send(&socket, &question(), SendFlags::empty())?;
        let (mut found, mut part) = (Vec::new(), vec![0; PART]);
        loop {
            let (len, _) = net::recv(&socket, &mut part[..], RecvFlags::empty())?;
            if read_part(&part[..len], &mut found) == Rest::None {
                return Ok(found);
            }
        }
    }

    fn question() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(40_u32.to_ne_bytes());
        bytes.extend(RTM_GETLINK.to_ne_bytes());
        bytes.extend(REQUEST_ALL.to_ne_bytes());
        bytes.extend([0; 8 + LINK]);
        bytes.extend(8_u16.to_ne_bytes());
        bytes.extend(IFLA_EXT_MASK.to_ne_bytes());
        bytes.extend(WITHOUT_COUNTERS.to_ne_bytes());
        bytes
    }

    /// Whether another part of the answer follows.
    #[derive(Debug, PartialEq, Eq)]
    enum Rest {
        Follows,
        None,
    }

    fn read_part(mut bytes: &[u8], found: &mut Vec<u32>) -> Rest {
        while let Some((message, rest)) = cut(bytes, number(bytes, 0) as usize) {
            match short(message, 4) {
                NLMSG_DONE | NLMSG_ERROR => return Rest::None,
                RTM_NEWLINK if is_marked(message) => found.push(number(message, HEADER + 4)),
                _ => {}
            }
            bytes = rest;
        }
        match bytes {
            [] => Rest::Follows,
            _ => Rest::None,
        }
    }

    /// Whether one of the attributes of a message about a link is our alias.
    fn is_marked(message: &[u8]) -> bool {
        let mut bytes = message.get(HEADER + LINK..).unwrap_or_default();
        while let Some((attribute, rest)) = cut(bytes, short(bytes, 0).into()) {
            if short(attribute, 2) == IFLA_IFALIAS {
                let alias = attribute.get(4..).unwrap_or_default();
                return alias.starts_with(TUNNEL_ALIAS.as_bytes());
            }
            bytes = rest;
        }
        false
    }

    /// The first `len` bytes, which have to hold a length at least, and what follows them at a
    /// multiple of four.
    fn cut(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
        let first = bytes.get(..len).filter(|first| first.len() >= 4)?;
        let rest = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((first, rest))
    }

    fn number(bytes: &[u8], at: usize) -> u32 {
        let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
        u32::from_ne_bytes(*found.unwrap_or(&[0; 4]))
    }

    fn short(bytes: &[u8], at: usize) -> u16 {
        let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
        u16::from_ne_bytes(*found.unwrap_or(&[0; 2]))
    }

    #[cfg(test)]
    mod tests {
        #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

        use super::*;

        fn attribute(kind: u16, text: &[u8]) -> Vec<u8> {
            let len = u16::try_from(4 + text.len()).unwrap();
            let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(text);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }

        fn message(kind: u16, index: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
            let attributes = attributes.concat();
            let len = u32::try_from(HEADER + LINK + attributes.len()).unwrap();
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 14]);
            bytes.extend(index.to_ne_bytes());
            bytes.extend([0; 8]);
            bytes.extend(attributes);
            bytes
        }

        fn sample() -> Vec<u8> {
            let name = || attribute(3, b"some0\0");
            [
                message(RTM_NEWLINK, 1, &[name()]),
                message(RTM_NEWLINK, 2, &[name(), attribute(20, b"dhtnet:vpn\0")]),
                message(RTM_NEWLINK, 3, &[attribute(20, b"uplink\0"), name()]),
                message(RTM_NEWLINK, 7, &[attribute(20, b"dhtnet:\0"), name()]),
            ]
            .concat()
        }

        #[test]
        fn only_links_with_our_alias_are_found() {
            let mut found = Vec::new();
            assert_eq!(read_part(&sample(), &mut found), Rest::Follows);
            assert_eq!(found, [2, 7]);
            let end = message(NLMSG_DONE, 0, &[]);
            assert_eq!(read_part(&end, &mut found), Rest::None);
            assert_eq!(found, [2, 7]);
        }

        #[test]
        fn what_is_cut_off_anywhere_ends_the_reading() {
            let whole = sample();
            for len in 0..whole.len() {
                let mut found = Vec::new();
                read_part(&whole[..len], &mut found);
                assert!(found.len() <= 2, "{len}");
            }
            // A length of nothing would be read for ever.
            assert_eq!(read_part(&[0; 64], &mut Vec::new()), Rest::None);
        }

        #[test]
        fn the_kernel_answers_to_the_end() {
            assert_eq!(question().len(), 40);
            ask().unwrap();
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    pub(super) fn marked() -> Vec<u32> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn addresses_in_the_networks_of_a_tunnel_are_inside_and_others_are_not() {
        let v4 = IfAddr::V4(if_addrs::Ifv4Addr {
            ip: "10.80.77.2".parse().unwrap(),
            netmask: "255.255.255.0".parse().unwrap(),
            prefixlen: 24,
            broadcast: None,
        });
        let v6 = IfAddr::V6(if_addrs::Ifv6Addr {
            ip: "fd7e:4e1d:fa9c::2".parse().unwrap(),
            netmask: "ffff:ffff:ffff::".parse().unwrap(),
            prefixlen: 48,
            broadcast: None,
        });
        let tunnels = Tunnels(vec![v4, v6]);
        for inside in ["10.80.77.1", "::ffff:10.80.77.9", "fd7e:4e1d:fa9c:9::1"] {
            assert!(tunnels.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["10.80.78.1", "192.168.1.1", "fd7e:4e1d:fa9d::1", "fe80::1"] {
            assert!(!tunnels.contain(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Tunnels::default().contain("10.80.77.1".parse().unwrap()));
    }
}
