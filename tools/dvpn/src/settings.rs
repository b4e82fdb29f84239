//! What the user wants of the network, as plain data; made of flags and of the configuration file.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhtnet_identity::target::Network;
use dhtnet_identity::{Alias, DeviceId};
use dhtnet_vpn_core::MAX_MTU;
use dhtnet_vpn_core::address::NetworkName;
use dhtnet_vpn_core::control::Way;

use crate::configuration::DnsSettings;
use crate::plan::{Inbound, KillSwitch, SubnetNat};

/// Pool of a server whose configuration names none: a part of 10/8 that few use.
pub const DEFAULT_POOL: &str = "10.80.77.0/24";

/// What a device brings into the network, and takes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the interface.
    pub interface: String,
    /// Name of the network.
    pub network: NetworkName,
    /// Largest MTU of the interface, bytes. The path's size is the other bound.
    pub max_mtu: u16,
    /// Networks behind this device that the others may reach.
    pub subnets: Vec<Network>,
    /// How the others appear there.
    pub subnet_nat: SubnetNat,
    /// Whether hosts there may open connections to the others.
    pub inbound: Inbound,
    /// Of a server: addresses to give.
    pub pool: Option<Network>,
    /// Of a server: devices with an address of their own.
    pub fixed: BTreeMap<DeviceId, Ipv4Addr>,
    /// Of a server: networks that devices may bring.
    pub allowed: BTreeMap<DeviceId, Vec<Network>>,
    /// Of a server: whether it is the way out to the internet for who may.
    pub exit: Exit,
    /// Of a server: how its clients reach each other.
    pub between: Between,
    /// Names of devices, beside the contacts.
    pub names: BTreeMap<DeviceId, Alias>,
    /// Of a server: resolvers to give, and the domains that they know. Of a client: those that it
    /// uses rather than the server's; `None` leaves the resolver of the machine alone.
    pub dns: Option<DnsSettings>,
    /// Of a client: which networks it takes from a server.
    pub accepted: Accepted,
    /// Of a client: whether anything may leave beside the tunnel.
    pub kill_switch: KillSwitch,
}

/// Whether a server is an exit, or a client uses one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exit {
    /// No.
    #[default]
    No,
    /// Yes.
    Yes,
}

/// How a server's clients reach each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Between {
    /// Directly where they allow each other, else through the server.
    #[default]
    Direct,
    /// Through the server.
    Server,
    /// Not at all.
    Isolated,
}

impl Between {
    /// The same in the words of the protocol; `None` if they do not.
    pub(crate) fn way(self) -> Option<Way> {
        match self {
            Self::Direct => Some(Way::Direct),
            Self::Server => Some(Way::Server),
            Self::Isolated => None,
        }
    }
}

/// Networks that a client lets the server have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Whether everything goes to the server, if it offers that.
    pub exit: Exit,
    /// Within which others are taken; `None`: the private ones (RFC 1918, RFC 6598, RFC 4193).
    pub networks: Option<Vec<Network>>,
}

impl Accepted {
    /// Whether a network that the server announces is taken.
    pub(crate) fn takes(&self, network: &Network) -> bool {
        if network.prefix_len() == 0 {
            return self.exit == Exit::Yes;
        }
        match &self.networks {
            Some(named) => named.iter().any(|named| named.includes(network)),
            None => is_private(network),
        }
    }
}

/// Whether nobody on the internet has these addresses.
pub(crate) fn is_private(network: &Network) -> bool {
    const PRIVATE: [&str; 5] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
    ];
    let private = PRIVATE
        .iter()
        .filter_map(|text| text.parse::<Network>().ok());
    private.into_iter().any(|private| private.includes(network))
}

impl Settings {
    /// The settings of a network that nothing was said about.
    pub fn of_interface(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            network: NetworkName::default(),
            max_mtu: MAX_MTU,
            subnets: Vec::new(),
            subnet_nat: SubnetNat::default(),
            inbound: Inbound::default(),
            pool: DEFAULT_POOL.parse().ok(),
            fixed: BTreeMap::new(),
            allowed: BTreeMap::new(),
            exit: Exit::No,
            between: Between::default(),
            names: BTreeMap::new(),
            dns: None,
            accepted: Accepted::default(),
            kill_switch: KillSwitch::Off,
        }
    }
}

impl Settings {
    /// Whether a running network can go on with these in the place of `current`.
    pub(crate) fn is_reachable_from(&self, current: &Self) -> bool {
        let mut kept = self.clone();
        kept.keep_fixed_of(current);
        kept == *self
    }

    /// Takes over what cannot change while the network is up.
    pub(crate) fn keep_fixed_of(&mut self, current: &Self) {
        self.interface.clone_from(&current.interface);
        self.network.clone_from(&current.network);
        self.max_mtu = current.max_mtu;
        self.pool.clone_from(&current.pool);
        self.fixed.clone_from(&current.fixed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    #[test]
    fn private_networks_are_taken_and_others_only_when_they_were_named() {
        let mut accepted = Accepted::default();
        let takes = |accepted: &Accepted, text: &str| accepted.takes(&text.parse().unwrap());
        for private in [
            "10.1.0.0/16",
            "192.168.3.0/24",
            "100.64.0.0/10",
            "fd00::/48",
        ] {
            assert!(takes(&accepted, private), "{private}");
        }
        for other in [
            "8.8.8.0/24",
            "0.0.0.0/1",
            "2001:db8::/32",
            "0.0.0.0/0",
            "::/0",
            "8.0.0.0/6",
        ] {
            assert!(!takes(&accepted, other), "{other}");
        }
        accepted.networks = Some(vec!["2001:db8::/32".parse().unwrap()]);
        assert!(takes(&accepted, "2001:db8:1::/48") && !takes(&accepted, "10.1.0.0/16"));
        assert!(!takes(&accepted, "::/0"));
        accepted.exit = Exit::Yes;
        assert!(takes(&accepted, "::/0") && takes(&accepted, "0.0.0.0/0"));
        assert!(!takes(&accepted, "0.0.0.0/1"));
    }
}
