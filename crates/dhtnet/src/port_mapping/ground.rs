//! Where this device stands: the router to ask and the own address to ask for, in each family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crab_nat::GatewayAddress;

use super::plan::Method;
use crate::driver::{Mark, source_towards};
use crate::interfaces::{self, Gateways};

/// Stand-ins for "somewhere outside" when the own address is asked for: TEST-NET-1 (RFC 5737) and
/// an address that nobody has. Nothing is sent to them.
const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

/// What all questions of one moment have in common. While it stays the same, so do the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ground {
    pub(super) v4: Option<GroundV4>,
    pub(super) v6: Option<GroundV6>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroundV4 {
    /// Where the node's socket is reached on the local network.
    pub(super) internal: SocketAddrV4,
    /// Unknown on systems whose routes cannot be read.
    pub(super) gateway: Option<Ipv4Addr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroundV6 {
    pub(super) internal: SocketAddrV6,
    pub(super) gateway: Option<SocketAddrV6>,
    /// Index of the interface with that address.
    pub(super) interface: u32,
}

impl Ground {
    /// Where the sockets bound to `bound`, whose packets have `mark`, are now. A family is absent when it leads nowhere, when
    /// its socket is bound to another address than packets leave from, and in IPv4 when the own
    /// address is a public one, so that there is nothing to map.
    pub(super) fn now(bound: &[SocketAddr], mark: Mark) -> Self {
        let gateways = Gateways::now();
        let mut ground = Self::default();
        for socket in bound {
            match socket {
                SocketAddr::V4(socket) => ground.v4 = v4(*socket, gateways.v4, mark),
                SocketAddr::V6(socket) => ground.v6 = v6(*socket, gateways.v6, mark),
            }
        }
        ground
    }

    /// What can be asked here.
    pub(super) fn methods(&self) -> Vec<Method> {
        let mut methods = Vec::new();
        if let Some(v4) = &self.v4 {
            if v4.gateway.is_some() {
                methods.extend([Method::Pcp, Method::NatPmp]);
            }
            methods.push(Method::Upnp);
        }
        if let Some(v6) = &self.v6 {
            if v6.gateway_address().is_some() {
                methods.push(Method::Pcp6);
            }
            methods.push(Method::Pinhole);
        }
        methods
    }
}

impl GroundV6 {
    /// The gateway, if it can be asked: packets to a link-local one leave from a link-local
    /// address, and PCP maps the address that it is asked from (RFC 6887 section 8.1).
    pub(super) fn gateway_address(&self) -> Option<GatewayAddress> {
        let ip = *self.gateway?.ip();
        (!ip.is_unicast_link_local()).then_some(GatewayAddress::IpV6(ip, None))
    }
}

fn v4(socket: SocketAddrV4, gateway: Option<Ipv4Addr>, mark: Mark) -> Option<GroundV4> {
    let outside = SocketAddr::from((gateway.unwrap_or(OUTSIDE_V4), 9));
    let IpAddr::V4(own) = source_towards(outside, mark)? else {
        return None;
    };
    let is_ours = socket.ip().is_unspecified() || *socket.ip() == own;
    (is_ours && !interfaces::is_public(own.into())).then(|| GroundV4 {
        internal: SocketAddrV4::new(own, socket.port()),
        gateway,
    })
}

fn v6(socket: SocketAddrV6, gateway: Option<SocketAddrV6>, mark: Mark) -> Option<GroundV6> {
    let outside = SocketAddr::from((OUTSIDE_V6, 9));
    let IpAddr::V6(own) = source_towards(outside, mark)? else {
        return None;
    };
    let is_ours = socket.ip().is_unspecified() || *socket.ip() == own;
    (is_ours && interfaces::is_public(own.into())).then(|| GroundV6 {
        internal: SocketAddrV6::new(own, socket.port(), 0, 0),
        gateway,
        interface: interfaces::index_of_address(own.into()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn without_a_known_gateway_only_upnp_is_asked() {
        let internal = "192.168.1.10:7000".parse().unwrap();
        let v4 = |gateway| Ground {
            v4: Some(GroundV4 { internal, gateway }),
            v6: None,
        };
        assert_eq!(v4(None).methods(), [Method::Upnp]);
        let known = v4(Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(known.methods(), [Method::Pcp, Method::NatPmp, Method::Upnp]);
        assert_eq!(Ground::default().methods(), []);
    }

    #[test]
    fn a_link_local_gateway_is_not_asked_by_pcp() {
        let v6 = |gateway: &str| Ground {
            v4: None,
            v6: Some(GroundV6 {
                internal: "[2001:db8::7]:7000".parse().unwrap(),
                gateway: Some(gateway.parse().unwrap()),
                interface: 2,
            }),
        };
        assert_eq!(v6("[fe80::1%2]:0").methods(), [Method::Pinhole]);
        let global = v6("[2001:db8::1]:0").methods();
        assert_eq!(global, [Method::Pcp6, Method::Pinhole]);
    }
}
