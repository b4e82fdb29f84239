//! Addresses, routes and rules in the words of rtnetlink(7).

use std::io;
use std::net::IpAddr;

use dhtnet_identity::target::Network;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::{Deserialize, Serialize};

use super::netlink::Netlink;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    fn wire(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Via {
    /// Into the interface with this number.
    Interface(u32),
    /// Nowhere: sending fails.
    Unreachable,
}

/// One route of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    pub(super) destination: IpAddr,
    pub(super) prefix: u8,
    pub(super) table: u32,
    pub(super) via: Via,
    /// Own address from which packets leave; the kernel's choice without it.
    #[serde(default)]
    pub(super) source: Option<IpAddr>,
}

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Selector {
    /// Those with this mark.
    Marked(u32),
    /// Those without it.
    Unmarked(u32),
    /// All; but of the table no default route counts (`suppress_prefixlength 0`).
    AllWithoutDefault,
}

/// One rule of the policy (`ip rule`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) family: Family,
    pub(super) priority: u32,
    pub(super) selector: Selector,
    pub(super) table: u32,
}

/// The table of ordinary routes (rtnetlink(7), `RT_TABLE_MAIN`).
pub(super) const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// What another part of the host has in the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostRoute {
    pub(super) network: (IpAddr, u8),
    pub(super) interface: u32,
    /// Whether hosts are reached there without a gateway.
    pub(super) is_on_link: bool,
}

/// The address of an interface of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostAddress {
    pub(super) address: IpAddr,
    pub(super) interface: u32,
}

impl Netlink {
    /// Sets the MTU and the group, and takes the interface up.
    pub(super) fn bring_up(&mut self, interface: u32, mtu: u32, group: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        message.attributes.push(LinkAttribute::Group(group));
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives the interface an alias.
    pub(super) fn set_alias(&mut self, interface: u32, alias: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        let alias = LinkAttribute::IfAlias(alias.to_owned());
        message.attributes.push(alias);
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    pub(super) fn add_address(&mut self, at: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = address_message(at, address, prefix);
        if address.is_ipv6() {
            // Nobody else in the tunnel can have it: it belongs to a key.
            message.header.flags = AddressHeaderFlags::Nodad;
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(flags);
        }
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.change(RouteNetlinkMessage::NewAddress(message), flags)
    }

    pub(super) fn remove_address(
        &mut self,
        at: u32,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        let message = address_message(at, address, prefix);
        self.change(RouteNetlinkMessage::DelAddress(message), 0)
    }

    pub(super) fn add_route(&mut self, route: &Route) -> io::Result<()> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.change(RouteNetlinkMessage::NewRoute(route.message()), flags)
    }

    pub(super) fn remove_route(&mut self, route: &Route) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRoute(route.message()), 0)
    }

    pub(super) fn add_rule(&mut self, rule: &Rule) -> io::Result<()> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.change(RouteNetlinkMessage::NewRule(rule.message()), flags)
    }

    pub(super) fn remove_rule(&mut self, rule: &Rule) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRule(rule.message()), 0)
    }

    /// Whether a rule leads all packets but marked ones elsewhere, at this priority.
    pub(super) fn has_rule_at(&mut self, family: Family, priority: u32) -> io::Result<bool> {
        let mut message = RuleMessage::default();
        message.header.family = family.wire();
        let rules = self.dump(RouteNetlinkMessage::GetRule(message))?;
        Ok(rules.iter().any(|rule| match rule {
            RouteNetlinkMessage::NewRule(rule) => {
                rule.attributes.contains(&RuleAttribute::Priority(priority))
            }
            _ => false,
        }))
    }

    /// All routes of the main table that lead to less than everything.
    pub(super) fn host_routes(&mut self) -> io::Result<Vec<HostRoute>> {
        let mut found = Vec::new();
        for family in Family::BOTH {
            let mut message = RouteMessage::default();
            message.header.address_family = family.wire();
            let routes = match self.dump(RouteNetlinkMessage::GetRoute(message)) {
                Err(error) if is_unsupported(&error) => continue,
                routes => routes?,
            };
            found.extend(routes.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(route) => host_route(route),
                _ => None,
            }));
        }
        Ok(found)
    }

    /// Addresses of all interfaces.
    pub(super) fn host_addresses(&mut self) -> io::Result<Vec<HostAddress>> {
        let found = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(found.iter().filter_map(host_address).collect())
    }
}

fn address_message(at: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = Family::of(address).wire();
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Universe;
    message.header.index = at;
    if address.is_ipv4() {
        message.attributes.push(AddressAttribute::Local(address));
    }
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn host_address(message: &RouteNetlinkMessage) -> Option<HostAddress> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    let mut peer = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => peer = Some(*address),
            AddressAttribute::Address(address) => peer = peer.or(Some(*address)),
            _ => {}
        }
    }
    peer.map(|address| HostAddress {
        address,
        interface: message.header.index,
    })
}

fn host_route(route: &RouteMessage) -> Option<HostRoute> {
    let mut table = u32::from(route.header.table);
    let (mut destination, mut interface, mut is_on_link) = (None, None, true);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => destination = Some((*v4).into()),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => {
                destination = Some((*v6).into());
            }
            RouteAttribute::Oif(number) => interface = Some(*number),
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => is_on_link = false,
            _ => {}
        }
    }
    let prefix = route.header.destination_prefix_length;
    let kind = route.header.kind;
    if table != MAIN_TABLE || prefix == 0 || kind != RouteType::Unicast {
        return None;
    }
    Some(HostRoute {
        network: (destination?, prefix),
        interface: interface?,
        is_on_link,
    })
}

impl Route {
    pub(super) fn new(network: Network, table: u32, via: Via) -> Self {
        Self {
            destination: network.address(),
            prefix: network.prefix_len(),
            table,
            via,
            source: None,
        }
    }

    /// The same with the own address from which packets leave.
    pub(super) fn leaving_from(self, source: Option<IpAddr>) -> Self {
        Self { source, ..self }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = Family::of(self.destination).wire();
        header.destination_prefix_length = self.prefix;
        // The number stands in the attribute; the field has a byte.
        header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        header.protocol = RouteProtocol::Static;
        header.scope = match (self.via, self.destination) {
            (Via::Interface(_), IpAddr::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        header.kind = match self.via {
            Via::Interface(_) => RouteType::Unicast,
            Via::Unreachable => RouteType::Unreachable,
        };
        let attributes = &mut message.attributes;
        if self.prefix > 0 {
            let destination = RouteAddress::from(self.destination);
            attributes.push(RouteAttribute::Destination(destination));
        }
        attributes.push(RouteAttribute::Table(self.table));
        if let Some(source) = self.source {
            attributes.push(RouteAttribute::PrefSource(source.into()));
        }
        if let Via::Interface(number) = self.via {
            attributes.push(RouteAttribute::Oif(number));
        }
        message
    }
}

impl Rule {
    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family.wire();
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.header.action = RuleAction::ToTable;
        let attributes = &mut message.attributes;
        attributes.push(RuleAttribute::Priority(self.priority));
        attributes.push(RuleAttribute::Table(self.table));
        match self.selector {
            Selector::Marked(mark) => attributes.push(RuleAttribute::FwMark(mark)),
            Selector::Unmarked(mark) => {
                attributes.push(RuleAttribute::FwMark(mark));
                message.header.flags |= RuleFlags::Invert;
            }
            Selector::AllWithoutDefault => attributes.push(RuleAttribute::SuppressPrefixLen(0)),
        }
        message
    }
}

/// Whether the kernel lacks the family or the object is of a kind it does not know.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::OPNOTSUPP, Errno::AFNOSUPPORT]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether it was gone already: no such route, rule, address or interface.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [
        Errno::NOENT,
        Errno::SRCH,
        Errno::NODEV,
        Errno::ADDRNOTAVAIL,
        Errno::NXIO,
    ]
    .iter()
    .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
