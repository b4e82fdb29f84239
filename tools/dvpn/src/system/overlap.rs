//! Whether the plan's addresses and networks are taken on this host.

use std::net::IpAddr;

use dhtnet_identity::target::Network;

use super::SystemError;
use super::route::{HostAddress, HostRoute};
use crate::plan::{Plan, network_of};

/// What the host has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'h> {
    pub(super) addresses: &'h [HostAddress],
    pub(super) routes: &'h [HostRoute],
}

/// Finds the first address that the host has, and the first network that would take away a part of
/// one that it is in.
///
/// A network *around* one of the host's is no fault: the narrower one counts, so the host keeps
/// what it has. `name` tells the interface of a number.
pub(super) fn check(
    plan: &Plan,
    host: Taken<'_>,
    name: impl Fn(u32) -> String,
) -> Result<(), SystemError> {
    let elsewhere = |number: u32| {
        let name = name(number);
        (name != plan.interface).then_some(name)
    };
    for (address, _) in &plan.addresses {
        let taken = host.addresses.iter().find(|held| held.address == *address);
        if let Some(interface) = taken.and_then(|held| elsewhere(held.interface)) {
            return Err(SystemError::AddressTaken {
                address: *address,
                interface,
            });
        }
    }
    let wanted = plan.routes.iter().filter(|route| route.prefix_len() > 0);
    for network in plan.networks().chain(wanted.copied()) {
        if let Some((other, interface)) = of_route(plan, network, (host, &name)) {
            return Err(SystemError::Overlap {
                network,
                other,
                interface,
            });
        }
    }
    Ok(())
}

/// The network of the host that a network of the plan would take away or a part of it, and its
/// interface.
pub(super) fn of_route(
    plan: &Plan,
    network: Network,
    (host, name): (Taken<'_>, impl Fn(u32) -> String),
) -> Option<(Network, String)> {
    if network.prefix_len() == 0 {
        return None;
    }
    let is_own = plan.networks().any(|own| own == network);
    host.routes.iter().find_map(|route| {
        let theirs = network_of(route.network.0, route.network.1)?;
        let clashes = network == theirs
            || (route.is_on_link && theirs.includes(&network))
            || (is_own && route.is_on_link && network.includes(&theirs));
        if !clashes || is_link_local(theirs.address()) {
            return None;
        }
        let interface = name(route.interface);
        (interface != plan.interface).then_some((theirs, interface))
    })
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn route(network: &str, is_on_link: bool) -> HostRoute {
        let (address, prefix) = network.split_once('/').unwrap();
        HostRoute {
            network: (address.parse().unwrap(), prefix.parse().unwrap()),
            interface: 2,
            is_on_link,
        }
    }

    fn verdict(routes: &[&str], host: &HostRoute) -> Result<(), String> {
        let plan = Plan {
            addresses: vec![("10.80.77.2".parse().unwrap(), 24)],
            routes: routes.iter().map(|text| text.parse().unwrap()).collect(),
            ..Plan::of_interface("dvpn0")
        };
        let held = HostAddress {
            address: "10.1.0.7".parse().unwrap(),
            interface: 2,
        };
        let host = Taken {
            addresses: &[held],
            routes: std::slice::from_ref(host),
        };
        check(&plan, host, |_| "eth0".to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_would_take_a_network_of_the_host_away_is_found() {
        let taken = [
            ("10.80.77.0/24", false, &[][..]),
            ("10.80.0.0/16", true, &[][..]),
            ("10.80.77.128/25", true, &[][..]),
            ("192.168.1.0/24", false, &["192.168.1.0/24"][..]),
            ("192.168.0.0/16", true, &["192.168.1.0/24"][..]),
        ];
        for (theirs, on_link, ours) in taken {
            let said = verdict(ours, &route(theirs, on_link)).unwrap_err();
            assert!(said.contains(theirs) && said.contains("eth0"), "{said}");
        }
    }

    #[test]
    fn what_leaves_the_host_its_networks_is_no_fault() {
        let fine = [
            ("10.0.0.0/8", false, &[][..]),
            ("192.168.1.0/24", true, &["192.168.0.0/16"][..]),
            ("192.168.1.0/24", true, &["0.0.0.0/0"][..]),
            ("192.168.0.0/16", false, &["192.168.1.0/24"][..]),
        ];
        for (theirs, on_link, ours) in fine {
            assert_eq!(verdict(ours, &route(theirs, on_link)), Ok(()), "{theirs}");
        }
    }

    #[test]
    fn an_address_that_another_interface_has_is_found() {
        let plan = Plan {
            addresses: vec![("10.1.0.7".parse().unwrap(), 32)],
            ..Plan::of_interface("dvpn0")
        };
        let held = |interface| HostAddress {
            address: "10.1.0.7".parse().unwrap(),
            interface,
        };
        let name = |number| if number == 9 { "dvpn0" } else { "eth0" }.to_owned();
        let check = |interface| {
            let host = Taken {
                addresses: &[held(interface)],
                routes: &[],
            };
            super::check(&plan, host, name)
        };
        let error = check(2).unwrap_err();
        assert!(error.to_string().contains("10.1.0.7"), "{error}");
        check(9).unwrap();
    }
}
