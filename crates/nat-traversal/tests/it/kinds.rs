//! What a peer of the grid is behind, and what is to come of each pair.

use dhtnet_nat_traversal::behavior::Filtering;
use dhtnet_simnet::{NatModel, NatPorts, RouterConfig};

use super::world::Upnp;

/// A row and a column of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Public,
    FullCone,
    AddressRestricted,
    PortRestricted,
    PortNotKept,
    DoubleNat,
    Ipv6,
    Sequential,
    SequentialWide,
    Block,
    SymmetricRandom,
    UdpBlocked,
}

pub(super) const KINDS: [Kind; 12] = [
    Kind::Public,
    Kind::FullCone,
    Kind::AddressRestricted,
    Kind::PortRestricted,
    Kind::PortNotKept,
    Kind::DoubleNat,
    Kind::Ipv6,
    Kind::Sequential,
    Kind::SequentialWide,
    Kind::Block,
    Kind::SymmetricRandom,
    Kind::UdpBlocked,
];

/// A line for each pair: `a | b | without mapped ports | with mapped ports`. The grid of real
/// processes is held against the same file.
const EXPECTED: &str = include_str!("../nat-grid.txt");

/// The path that a pair ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Direct,
    Relayed,
}

/// What the file says of a pair, in either order.
pub(super) fn expected((a, b): (Kind, Kind), upnp: Upnp) -> Path {
    let (a, b) = (a.name(), b.name());
    let lines = EXPECTED.lines().filter(|line| !line.starts_with('#'));
    let mut rows = lines.map(|line| line.split(" | ").collect::<Vec<_>>());
    let row = rows
        .find(|row| row[..2] == [a, b] || row[..2] == [b, a])
        .unwrap_or_else(|| panic!("no line for {a} and {b}"));
    match row[if upnp == Upnp::On { 3 } else { 2 }] {
        "direct" => Path::Direct,
        "relayed" => Path::Relayed,
        other => panic!("{other} is no path"),
    }
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::FullCone => "full cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::PortNotKept => "port not kept",
            Self::DoubleNat => "double NAT",
            Self::Ipv6 => "IPv6 firewall",
            Self::Sequential => "sequential, 64",
            Self::SequentialWide => "sequential",
            Self::Block => "block of 64",
            Self::SymmetricRandom => "random",
            Self::UdpBlocked => "UDP blocked",
        }
    }

    /// From the outermost to the innermost.
    pub(super) fn routers(self) -> Vec<RouterConfig> {
        let (low, high) = (40_000, 40_063);
        let symmetric = |ports| RouterConfig::new(NatModel::symmetric().with_ports(ports));
        let restricted = RouterConfig::new(NatModel::port_restricted());
        match self {
            Self::Public => vec![],
            Self::FullCone => vec![RouterConfig::new(NatModel::full_cone())],
            Self::AddressRestricted => vec![RouterConfig::new(NatModel::address_restricted())],
            Self::PortRestricted | Self::Ipv6 => vec![restricted],
            Self::PortNotKept => {
                let (low, high) = (20_000, 29_999);
                let model = NatModel::port_restricted();
                vec![RouterConfig::new(
                    model.with_ports(NatPorts::Random { low, high }),
                )]
            }
            Self::DoubleNat => vec![restricted, restricted],
            Self::Sequential => vec![symmetric(NatPorts::Sequential { step: 1, low, high })],
            Self::SequentialWide => {
                let (low, high) = (1_024, u16::MAX);
                vec![symmetric(NatPorts::Sequential { step: 1, low, high })]
            }
            Self::Block => vec![symmetric(NatPorts::Random { low, high })],
            Self::SymmetricRandom => vec![RouterConfig::new(NatModel::symmetric())],
            Self::UdpBlocked => vec![restricted.with_udp_blocked()],
        }
    }

    pub(super) fn has_ipv6(self) -> bool {
        self == Self::Ipv6
    }

    pub(super) fn is_dependent(self) -> bool {
        self.is_predictable() || self == Self::SymmetricRandom
    }

    pub(super) fn is_predictable(self) -> bool {
        let predictable = [Self::Sequential, Self::SequentialWide, Self::Block];
        predictable.contains(&self)
    }

    pub(super) fn filtering(self) -> Option<Filtering> {
        match self {
            Self::UdpBlocked => None,
            Self::Public | Self::FullCone => Some(Filtering::EndpointIndependent),
            Self::AddressRestricted => Some(Filtering::AddressDependent),
            _ => Some(Filtering::AddressAndPortDependent),
        }
    }
}
