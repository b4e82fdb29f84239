//! From a plan to the changes, in the order in which they are made.
//!
//! What stops traffic comes before what lets it flow, and names come last; undoing goes the other
//! way round.

use std::net::IpAddr;

use dhtnet_identity::target::Network;

use super::change::Change;
use super::firewall::{self, Host, Table};
use super::neighbours::Neighbours;
use super::netlink::Netlink;
use super::overlap::{self, Taken};
use super::resolver::Resolver;
use super::route::{Family, MAIN_TABLE, Route, Rule, Selector, Via};
use super::sysctl::{self, Sysctl};
use super::{SystemError, interface_name, interface_number, netlink_failed, open_netlink};
use crate::plan::Plan;

/// Tables of our own have numbers from here on, two for each number of an interface: "dh" in ASCII
/// in the upper half, so that they are nobody else's by chance.
const FIRST_TABLE: u32 = 0x6468_0000;

/// Where the rules stand: before the main table (32766), after what others put at the front.
const BYPASS_PRIORITY: u32 = 5_110;
const LOCAL_PRIORITY: u32 = 5_120;
pub(super) const TUNNEL_PRIORITY: u32 = 5_130;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) changes: Vec<Change>,
    pub(super) warnings: Vec<String>,
}

/// What others than the plan have changed: this network already, and its neighbours.
#[derive(Debug, Clone, Copy)]
pub(super) struct There<'t> {
    pub(super) made: &'t [Change],
    pub(super) neighbours: &'t Neighbours,
}

/// The changes that `plan` needs on this host, where some are there already.
pub(super) fn schedule(plan: &Plan, there: There<'_>) -> Result<Schedule, SystemError> {
    let number = interface_number(&plan.interface).map_err(|source| SystemError::NoInterface {
        name: plan.interface.clone(),
        source,
    })?;
    let mut schedule = Schedule::default();
    let plan = &schedule.without_clashes(plan, there)?;
    let sysctls = sysctls(plan, there)?;
    schedule.add_firewall(plan, (&sysctls, there.made))?;
    let mut changes: Vec<Change> = sysctls.into_iter().map(Change::Sysctl).collect();
    changes.push(Change::Link {
        name: plan.interface.clone(),
        number,
        mtu: plan.mtu.into(),
        group: firewall::group_of(plan),
    });
    let has_v6 = sysctl::exists("net/ipv6");
    if !has_v6 {
        let warning = "this machine has no IPv6: the tunnel carries IPv4 alone";
        schedule.warnings.push(warning.to_owned());
    }
    let usable = |family| family == Family::V4 || has_v6;
    let addresses = plan.addresses.iter();
    changes.extend(
        addresses
            .filter(|(address, _)| usable(Family::of(*address)))
            .map(|(address, prefix)| Change::Address {
                interface: number,
                address: *address,
                prefix: *prefix,
            }),
    );
    for family in Family::BOTH.into_iter().filter(|family| usable(*family)) {
        changes.extend(routing(plan, number, family));
    }
    schedule.changes.extend(changes);
    schedule.add_resolver(plan, there)?;
    Ok(schedule)
}

/// Another full tunnel would be led away by the same rules.
fn check_rules(plan: &Plan, there: There<'_>, kernel: &mut Netlink) -> Result<(), SystemError> {
    let has_rules = there
        .made
        .iter()
        .any(|change| matches!(change, Change::Rule(rule) if rule.priority == TUNNEL_PRIORITY));
    if plan.is_full_tunnel() && !has_rules {
        for family in Family::BOTH {
            // A kernel without the family has no rules of it.
            if kernel.has_rule_at(family, TUNNEL_PRIORITY).unwrap_or(false) {
                let name = there.neighbours.full_tunnel().map(str::to_owned);
                return Err(SystemError::SecondFullTunnel { name });
            }
        }
    }
    Ok(())
}

/// Sysctls that the plan needs; those that were set for a former plan, or by a neighbour, count as not
/// yet set.
fn sysctls(plan: &Plan, there: There<'_>) -> Result<Vec<Sysctl>, SystemError> {
    let mut needed = Vec::new();
    if plan.forwarding.is_on() {
        for family in Family::BOTH {
            let here = match family {
                Family::V4 => true,
                Family::V6 => sysctl::exists("net/ipv6"),
            };
            if here {
                needed.extend(sysctl::forwarding(family)?);
            }
        }
    }
    if plan.is_full_tunnel() && plan.mark.is_some() && sysctl::filters_strictly() {
        needed.extend(Sysctl::plan("net/ipv4/conf/all/src_valid_mark", "1")?);
    }
    let wanted = |knob: &str| match knob {
        "net/ipv4/conf/all/src_valid_mark" => plan.is_full_tunnel(),
        _ => plan.forwarding.is_on(),
    };
    let kept = there.made.iter().filter_map(|change| match change {
        Change::Sysctl(set) if wanted(&set.knob) => Some(set.clone()),
        _ => None,
    });
    let mut all: Vec<Sysctl> = kept.collect();
    let of_neighbours = there.neighbours.sysctls().cloned();
    let taken_over = of_neighbours.filter(|set| wanted(&set.knob));
    for new in taken_over.chain(needed) {
        if !all.iter().any(|old| old.knob == new.knob) {
            all.push(new);
        }
    }
    Ok(all)
}

/// Routes into the tunnel, and the rules that keep the node's own packets out of it.
///
/// Marked packets (the node's own) first meet a table in which every network of the tunnel is
/// unreachable, so that no path to a peer ever leads through the tunnel itself. For a full tunnel
/// all others are led into it, after the main table has been asked for anything but a default
/// route.
fn routing(plan: &Plan, number: u32, family: Family) -> Vec<Change> {
    let (tunnel_table, bypass_table) = tables_of(number);
    let mut changes = Vec::new();
    let routes = plan
        .routes
        .iter()
        .filter(|route| Family::of(route.address()) == family);
    let own: Vec<Network> = plan
        .networks()
        .filter(|network| Family::of(network.address()) == family)
        .collect();
    let mut inside = own.clone();
    inside.extend(routes.clone().filter(|route| route.prefix_len() > 0));
    if let Some(mark) = plan.mark.filter(|_| !inside.is_empty()) {
        inside.sort();
        inside.dedup();
        let unreachable = inside
            .into_iter()
            .map(|network| Change::Route(Route::new(network, bypass_table, Via::Unreachable)));
        changes.extend(unreachable);
        changes.push(Change::Rule(Rule {
            family,
            priority: BYPASS_PRIORITY,
            selector: Selector::Marked(mark),
            table: bypass_table,
        }));
    }
    let mut default = None;
    for route in routes {
        if route.prefix_len() == 0 {
            default = Some(*route);
        } else if !own.contains(route) {
            let into_tunnel = Route::new(*route, MAIN_TABLE, Via::Interface(number));
            let source = plan.sources.get(route).copied();
            changes.push(Change::Route(into_tunnel.leaving_from(source)));
        }
    }
    if let (Some(default), Some(mark)) = (default, plan.mark) {
        let into_tunnel = Route::new(default, tunnel_table, Via::Interface(number));
        let source = plan.sources.get(&default).copied();
        changes.push(Change::Route(into_tunnel.leaving_from(source)));
        for (priority, selector, table) in [
            (LOCAL_PRIORITY, Selector::AllWithoutDefault, MAIN_TABLE),
            (TUNNEL_PRIORITY, Selector::Unmarked(mark), tunnel_table),
        ] {
            changes.push(Change::Rule(Rule {
                family,
                priority,
                selector,
                table,
            }));
        }
    }
    changes
}

fn tables_of(number: u32) -> (u32, u32) {
    // Numbers of interfaces beyond 2^15 wrap; the kernel counts up from 1.
    let tunnel = FIRST_TABLE + (number % (1 << 15)) * 2;
    (tunnel, tunnel + 1)
}

impl Schedule {
    /// The plan without the routes that would take a network of the host away: peers and servers
    /// say them, and the host may come into such a network at any time. For addresses it is an
    /// error, unless we have them already.
    fn without_clashes(&mut self, plan: &Plan, there: There<'_>) -> Result<Plan, SystemError> {
        let mut kernel = open_netlink()?;
        let failed = |source| netlink_failed("read addresses and routes", source);
        let addresses = kernel.host_addresses().map_err(failed)?;
        let routes = kernel.host_routes().map_err(failed)?;
        check_rules(plan, there, &mut kernel)?;
        let has = |wanted: &IpAddr| {
            let is_it = |change: &Change| matches!(change, Change::Address { address, .. } if address == wanted);
            there.made.iter().any(is_it)
        };
        let mut new = plan.clone();
        new.addresses.retain(|(address, _)| !has(address));
        new.routes.clear();
        let host = Taken {
            addresses: &addresses,
            routes: &routes,
        };
        overlap::check(&new, host, interface_name)?;
        let mut left = plan.clone();
        left.routes.retain(|route| {
            let clash = overlap::of_route(plan, *route, (host, interface_name));
            self.warnings
                .extend(clash.as_ref().map(|(other, interface)| {
                    format!(
                        "{route} stays outside the tunnel: it overlaps {other}, which this machine \
                     reaches by {interface}"
                    )
                }));
            clash.is_none()
        });
        Ok(left)
    }

    fn add_firewall(
        &mut self,
        plan: &Plan,
        (sysctls, made): (&[Sysctl], &[Change]),
    ) -> Result<(), SystemError> {
        let sets = |knob: &str| sysctls.iter().any(|sysctl| sysctl.knob == knob);
        let host = Host {
            forwards_v4: !sets("net/ipv4/ip_forward"),
            forwards_v6: !sets("net/ipv6/conf/all/forwarding"),
            filters_strictly: sysctl::filters_strictly(),
        };
        let Some(table) = Table::of(plan, host) else {
            return Ok(());
        };
        let change = Change::Firewall(table);
        if made.contains(&change) {
            self.changes.push(change);
            return Ok(());
        }
        firewall::check()?;
        if plan.forwarding.is_on() {
            for chain in firewall::closed_forwarding(&plan.interface) {
                self.warnings.push(format!(
                    "the firewall of this machine (chain {chain}) drops what it does not know: let \
                     packets from and to {} through there",
                    plan.interface
                ));
            }
        }
        self.changes.push(change);
        Ok(())
    }

    fn add_resolver(&mut self, plan: &Plan, there: There<'_>) -> Result<(), SystemError> {
        let Some(dns) = &plan.dns else {
            return Ok(());
        };
        let resolver = Resolver::plan(&plan.interface, dns)?;
        let former = there.made.iter().find_map(|change| match change {
            Change::Resolver(Resolver::File { before, .. }) => Some(before.clone()),
            _ => None,
        });
        let rewriter = there.neighbours.rewriter();
        match (resolver, former) {
            // What one of two puts back is what the other has written.
            (Some(Resolver::File { path, .. }), None) if let Some(name) = rewriter => {
                self.warnings.push(format!(
                    "the resolver of this machine is left alone: {name} has rewritten {}",
                    path.display()
                ));
            }
            // The file is ours by now; what it was before is what goes back.
            (Some(Resolver::File { path, after, .. }), Some(before)) => {
                let resolver = Resolver::File { path, before, after };
                self.changes.push(Change::Resolver(resolver));
            }
            (Some(resolver), _) => self.changes.push(Change::Resolver(resolver)),
            (None, _) => self.warnings.push(
                "the resolver of this machine is left alone: there is neither systemd-resolved nor \
                 resolvconf; [dns] rewrite = true would rewrite /etc/resolv.conf"
                    .to_owned(),
            ),
        }
        Ok(())
    }
}
