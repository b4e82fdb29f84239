//! One change of the system: how it is made and how it is undone.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::firewall::Table;
use super::netlink::Netlink;
use super::resolver::Resolver;
use super::route::{Route, Rule, is_gone, is_unsupported};
use super::sysctl::{self, Sysctl};
use super::{SystemError, netlink_failed, open_netlink};

/// A change. Whatever is in it is what undoing it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Firewall(Table),
    Sysctl(Sysctl),
    Link {
        name: String,
        number: u32,
        mtu: u32,
        /// Of interfaces (`firewall::TUNNELS`).
        #[serde(default)]
        group: u32,
    },
    Address {
        interface: u32,
        address: IpAddr,
        prefix: u8,
    },
    Route(Route),
    Rule(Rule),
    Resolver(Resolver),
}

impl Change {
    pub(super) fn make(&self) -> Result<(), SystemError> {
        match self {
            Self::Firewall(table) => table.load(),
            Self::Sysctl(knob) => knob.set(),
            Self::Resolver(resolver) => resolver.set(),
            Self::Link {
                name,
                number,
                mtu,
                group,
            } => {
                // No addresses beside those of the plan; IPv6 also where the host is without it.
                sysctl::set_of_interface(&format!("net/ipv6/conf/{name}/addr_gen_mode"), "1");
                sysctl::set_of_interface(&format!("net/ipv6/conf/{name}/disable_ipv6"), "0");
                self.ask(|kernel| kernel.bring_up(*number, *mtu, *group))
            }
            Self::Address {
                interface,
                address,
                prefix,
            } => self.ask(|kernel| kernel.add_address(*interface, *address, *prefix)),
            Self::Route(route) => self.ask(|kernel| kernel.add_route(route)),
            Self::Rule(rule) => self.ask(|kernel| kernel.add_rule(rule)),
        }
    }

    /// Undoes it; nothing happens where it was not made, or is gone.
    pub(super) fn undo(&self) -> Result<(), SystemError> {
        let undone = match self {
            Self::Firewall(table) => return table.remove(),
            Self::Sysctl(knob) => return knob.restore(),
            Self::Resolver(resolver) => return resolver.restore(),
            // The interface goes with its process.
            Self::Link { .. } => return Ok(()),
            Self::Address {
                interface,
                address,
                prefix,
            } => open_netlink()?.remove_address(*interface, *address, *prefix),
            Self::Route(route) => open_netlink()?.remove_route(route),
            Self::Rule(rule) => open_netlink()?.remove_rule(rule),
        };
        match undone {
            Err(error) if !is_gone(&error) && !is_unsupported(&error) => {
                Err(netlink_failed(&format!("undo: {self}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is in the file system and so outlives the kernel that it was made on.
    pub(super) fn is_of_files(&self) -> bool {
        matches!(
            self,
            Self::Resolver(Resolver::File { .. } | Resolver::Resolvconf { .. })
        )
    }

    /// Whether making `next` takes the place of this one without a gap.
    pub(super) fn is_replaced_by(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Firewall(old), Self::Firewall(new)) => old.name == new.name,
            (Self::Link { number: old, .. }, Self::Link { number: new, .. }) => old == new,
            _ => false,
        }
    }

    fn ask(
        &self,
        work: impl FnOnce(&mut Netlink) -> std::io::Result<()>,
    ) -> Result<(), SystemError> {
        work(&mut open_netlink()?).map_err(|error| netlink_failed(&self.to_string(), error))
    }
}

/// What is done, as `ip` and its like would be told, after "cannot ".
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Firewall(table) => write!(f, "load the nftables table {}", table.name),
            Self::Sysctl(knob) => write!(f, "set {}", knob.knob),
            Self::Link { name, mtu, .. } => write!(f, "take {name} up with an MTU of {mtu}"),
            Self::Address {
                address, prefix, ..
            } => write!(f, "add the address {address}/{prefix}"),
            Self::Route(route) => {
                write!(f, "add a route to {}/{}", route.destination, route.prefix)
            }
            Self::Rule(rule) => write!(f, "add a routing rule of priority {}", rule.priority),
            Self::Resolver(_) => write!(f, "set the resolver"),
        }
    }
}
