//! What a device is behind: a row and a column of the grid.

use crate::nat_router::Nat;

/// What a device is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it has a public address.
    Public,
    /// A router.
    Behind(Nat),
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Public,
        Self::Behind(Nat::FullCone),
        Self::Behind(Nat::AddressRestricted),
        Self::Behind(Nat::PortRestricted),
        Self::Behind(Nat::PortNotKept),
        Self::Behind(Nat::Double),
        Self::Behind(Nat::Ipv6Firewall),
        Self::Behind(Nat::Sequential),
        Self::Behind(Nat::SequentialWide),
        Self::Behind(Nat::Block),
        Self::Behind(Nat::Symmetric),
        Self::Behind(Nat::UdpBlocked),
    ];

    /// Its name, the same as in the simulated grid.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Behind(Nat::FullCone) => "full cone",
            Self::Behind(Nat::AddressRestricted) => "address-restricted",
            Self::Behind(Nat::PortRestricted) => "port-restricted",
            Self::Behind(Nat::PortNotKept) => "port not kept",
            Self::Behind(Nat::Double) => "double NAT",
            Self::Behind(Nat::Ipv6Firewall) => "IPv6 firewall",
            Self::Behind(Nat::Sequential) => "sequential, 64",
            Self::Behind(Nat::SequentialWide) => "sequential",
            Self::Behind(Nat::Block) => "block of 64",
            Self::Behind(Nat::Symmetric) => "random",
            Self::Behind(Nat::UdpBlocked) => "UDP blocked",
        }
    }

    /// Each pair once, the first of the two earlier in [`Kind::ALL`] or the same.
    pub fn pairs() -> impl Iterator<Item = [Self; 2]> {
        let all = Self::ALL.iter().enumerate();
        all.flat_map(|(at, a)| Self::ALL[at..].iter().map(move |b| [*a, *b]))
    }

    /// Whether its router can map a port that others reach: behind a double NAT it has no public
    /// address, and of one that blocks UDP nobody expects it.
    #[must_use]
    pub fn maps_ports(self) -> bool {
        !matches!(
            self,
            Self::Public | Self::Behind(Nat::Double | Nat::UdpBlocked)
        )
    }

    /// Whether its mapping depends on the remote.
    #[must_use]
    pub fn is_dependent(self) -> bool {
        self.is_predictable() || self == Self::Behind(Nat::Symmetric)
    }

    /// Whether the next port, or a small range that it is in, can be told.
    #[must_use]
    pub fn is_predictable(self) -> bool {
        matches!(
            self,
            Self::Behind(Nat::Sequential | Nat::SequentialWide | Nat::Block)
        )
    }

    /// Whether others get in from any port, so that a dependent NAT is no hindrance.
    #[must_use]
    pub fn opens_by_itself(self) -> bool {
        matches!(
            self,
            Self::Public | Self::Behind(Nat::FullCone | Nat::AddressRestricted)
        )
    }

    /// Whether UDP gets out.
    #[must_use]
    pub fn has_udp(self) -> bool {
        self != Self::Behind(Nat::UdpBlocked)
    }
}
