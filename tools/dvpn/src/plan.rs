//! What the system is to look like while the network is up. Made of the configuration and of what
//! the server gave; [`crate::system`] makes the system so, and undoes it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dhtnet_identity::target::Network;

/// Mark of the packets that the node itself sends (`SO_MARK`), by which they are kept out of the
/// tunnel that they carry: "dhvp" in ASCII, so that it is nobody else's by chance.
pub const NODE_MARK: u32 = 0x6468_7670;

/// Largest packet that every IPv6 link has to carry, bytes (RFC 8200, section 5).
pub const MIN_MTU: u16 = 1_280;

/// Interface, addresses, routes and what else is changed on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Name of the TUN interface, which exists before the plan is applied and goes with the
    /// process.
    pub interface: String,
    /// Addresses of the interface, each with its prefix length.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest packet of the interface, bytes; at least [`MIN_MTU`].
    pub mtu: u16,
    /// Networks whose packets go into the tunnel; `0.0.0.0/0` and `::/0` for everything, which
    /// makes a full tunnel.
    pub routes: Vec<Network>,
    /// Own addresses from which packets to some of these networks leave, where it matters which:
    /// servers accept packets from the address that they gave alone.
    pub sources: BTreeMap<Network, IpAddr>,
    /// Mark of the node's own sockets ([`NODE_MARK`]), whose packets must not go into the tunnel;
    /// needed with a full tunnel.
    pub mark: Option<u32>,
    /// Whether this machine forwards for peers, and how.
    pub forwarding: Forwarding,
    /// Whether packets may leave by nothing else than the tunnel, also when the peer is away.
    pub kill_switch: KillSwitch,
    /// Names; `None` leaves the resolver alone.
    pub dns: Option<DnsPlan>,
}

impl Plan {
    /// A plan that takes `interface` up and changes nothing else.
    pub fn of_interface(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            addresses: Vec::new(),
            mtu: MIN_MTU,
            routes: Vec::new(),
            sources: BTreeMap::new(),
            mark: None,
            forwarding: Forwarding::default(),
            kill_switch: KillSwitch::Off,
            dns: None,
        }
    }

    /// Whether packets to anywhere, of at least one family, go into the tunnel.
    pub fn is_full_tunnel(&self) -> bool {
        self.routes.iter().any(|route| route.prefix_len() == 0)
    }

    /// The networks that the addresses are in.
    pub fn networks(&self) -> impl Iterator<Item = Network> + '_ {
        self.addresses
            .iter()
            .filter_map(|(address, prefix)| network_of(*address, *prefix))
    }
}

/// The network of `prefix` bits that holds `address`; `None` when the prefix is longer than that.
pub fn network_of(address: IpAddr, prefix: u8) -> Option<Network> {
    let first: IpAddr = match address {
        IpAddr::V4(v4) => {
            let free = 32_u32.checked_sub(prefix.into())?;
            let mask = u32::MAX.checked_shl(free).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let free = 128_u32.checked_sub(prefix.into())?;
            let mask = u128::MAX.checked_shl(free).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    };
    format!("{first}/{prefix}").parse().ok()
}

/// What of the peers' traffic leaves this machine again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Peers may reach the internet through this machine, under its addresses (NAT).
    pub exit: bool,
    /// Networks behind this machine that peers may reach.
    pub subnets: Vec<Network>,
    /// Whether peers appear in the subnets under this machine's address.
    pub subnet_nat: SubnetNat,
    /// Whether hosts there may open connections to peers.
    pub inbound: Inbound,
    /// Peers do not reach each other through this machine.
    pub isolated: bool,
}

impl Forwarding {
    /// Whether anything is forwarded to other interfaces.
    pub fn is_on(&self) -> bool {
        self.exit || !self.subnets.is_empty()
    }
}

/// How peers appear in the networks behind this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SubnetNat {
    /// Under this machine's address: hosts there need no route back.
    #[default]
    On,
    /// Under their own: hosts there need a route to the network of the VPN.
    Off,
}

/// What hosts outside may send to peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Inbound {
    /// Answers.
    #[default]
    RepliesOnly,
    /// Anything.
    Open,
}

/// Whether traffic stops rather than leave outside the tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KillSwitch {
    /// Other ways are used as before.
    #[default]
    Off,
    /// Nothing but the tunnel's own packets leaves by other interfaces.
    On,
}

/// How names are looked up while the network is up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsPlan {
    /// Resolvers to ask.
    pub servers: Vec<IpAddr>,
    /// Domains for which they are asked; empty for all.
    pub domains: Vec<String>,
    /// Whether `/etc/resolv.conf` may be rewritten where nothing manages it.
    pub resolv_conf: ResolvConf,
}

/// What may be done to `/etc/resolv.conf` where neither systemd-resolved nor resolvconf is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResolvConf {
    /// Nothing.
    #[default]
    Leave,
    /// It is rewritten, and put back at the end.
    Rewrite,
}
