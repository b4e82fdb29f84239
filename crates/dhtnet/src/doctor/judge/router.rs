//! The routers of the local network: a second NAT, and whether they map ports.

use std::net::{IpAddr, Ipv4Addr};

use super::list;
use super::nat::{is_direct, outside};
use crate::doctor::facts::{Claim, Facts, FamilyFacts, RouterAnswer};
use crate::doctor::finding::{Finding, Topic};
use crate::interfaces::is_public;

const SECOND: &str = "put the first router into bridge mode, or map the port on both; connections by key come up \
     through both all the same where the mapping allows";
const CARRIER: &str = "ports that the own router maps are not reached from outside: use IPv6, ask the provider for an \
     address of your own, or rely on punching and relays";

/// What the routers say that their outside address is.
fn claims(facts: &Facts) -> impl Iterator<Item = (&'static str, IpAddr)> {
    let answers = facts.routers.answers.iter();
    answers.filter_map(|answer| match answer.claim {
        Claim::External(ip) => Some((answer.protocol, ip)),
        Claim::Present | Claim::Refused => None,
    })
}

/// RFC 6598: addresses between a provider and its customers.
fn is_carrier(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if u32::from(v4) & 0xffc0_0000 == u32::from(Ipv4Addr::new(100, 64, 0, 0)))
}

pub(super) fn double_nat(facts: &Facts) -> Finding {
    let topic = Topic::DoubleNat;
    let family = &facts.v4;
    let Some((seen, _)) = outside(family) else {
        return Finding::unknown(topic, "the outside address is not known", "see external");
    };
    if is_direct(family) {
        return Finding::ok(topic, "there is no NAT");
    }
    if let Some(own) = family.local.iter().find(|ip| is_carrier(**ip)) {
        return Finding::weak(
            topic,
            format!("this host's address {own} is one of a provider's NAT (RFC 6598)"),
            CARRIER,
        );
    }
    for (protocol, claim) in claims(facts) {
        if is_carrier(claim) {
            return Finding::weak(
                topic,
                format!(
                    "by {protocol}, the router's outside address is {claim}: a provider's NAT follows"
                ),
                CARRIER,
            );
        }
        if !is_public(claim) {
            return Finding::weak(
                topic,
                format!(
                    "by {protocol}, the router's outside address is {claim}: a second NAT follows"
                ),
                SECOND,
            );
        }
        if claim != seen {
            return Finding::weak(
                topic,
                format!(
                    "by {protocol}, the router's outside address is {claim}; others see {seen}: a second NAT follows, or the router is wrong"
                ),
                "compare with the router's own status page; if a provider's NAT follows, ports that it maps are \
                 not reached from outside",
            );
        }
    }
    if let Some((protocol, _)) = claims(facts).next() {
        return Finding::ok(
            topic,
            format!(
                "one NAT: by {protocol}, the router's outside address is {seen}, as others see it"
            ),
        );
    }
    by_hops(family, seen)
}

/// Without a router that tells, by the routers on the way: one with a private address after the
/// gateway translates, most often.
fn by_hops(family: &FamilyFacts, seen: IpAddr) -> Finding {
    let topic = Topic::DoubleNat;
    let inner = family.hops.iter().find(|(_, router)| !is_public(*router));
    match inner {
        Some((_, router)) if is_carrier(*router) => Finding::weak(
            topic,
            format!("the way out leads by {router}, an address of a provider's NAT (RFC 6598)"),
            CARRIER,
        ),
        Some((_, router)) => Finding::weak(
            topic,
            format!(
                "behind the gateway comes a router with a private address, {router}: likely a second NAT"
            ),
            SECOND,
        ),
        None if !family.hops.is_empty() => Finding::ok(
            topic,
            format!(
                "one NAT: behind the gateway come public addresses, {}",
                list(family.hops.iter().map(|(_, router)| router))
            ),
        ),
        None => Finding::unknown(
            topic,
            "no router tells its outside address",
            format!(
                "see the router's status page: if its outside address is not {seen}, a second NAT follows"
            ),
        ),
    }
}

pub(super) fn port_mapping(facts: &Facts) -> Finding {
    let finding = port_mapping_of(facts);
    let answers = &facts.routers.answers;
    match answers.is_empty() {
        true => finding,
        false => finding.with_list("protocols", answers.iter().map(|answer| answer.protocol)),
    }
}

fn port_mapping_of(facts: &Facts) -> Finding {
    let topic = Topic::PortMapping;
    if is_direct(&facts.v4) || !facts.routers.asked {
        return Finding::ok(topic, "not needed: there is no address to map a port for");
    }
    let answers = &facts.routers.answers;
    let named = |wanted: fn(&RouterAnswer) -> bool| {
        let found = answers.iter().filter(|answer| wanted(answer));
        list(found.map(|answer| answer.protocol))
    };
    let granting = named(|answer| answer.claim != Claim::Refused);
    if answers.is_empty() {
        return Finding::weak(
            topic,
            "no router answers by UPnP, NAT-PMP or PCP",
            "switch on UPnP or PCP in the router, for a port that everybody can reach; it is not \
             needed where mapping is ok",
        );
    }
    if granting.is_empty() {
        return Finding::weak(
            topic,
            format!(
                "the router answers by {}, that it maps nothing",
                named(|_| true)
            ),
            "see double-nat: routers do so behind another NAT; or the router's own settings forbid it",
        );
    }
    let seen = outside(&facts.v4).map(|(ip, _)| ip);
    let wrong = claims(facts).find(|(_, claim)| seen.is_some_and(|seen| seen != *claim));
    if let (Some((protocol, claim)), Some(seen)) = (wrong, seen) {
        return Finding::weak(
            topic,
            format!(
                "{granting} answer, but by {protocol} the outside address is {claim}, and others see {seen}"
            ),
            "ports mapped there are not reached from outside: see double-nat",
        );
    }
    match claims(facts).next() {
        Some((_, claim)) => Finding::ok(
            topic,
            match seen {
                Some(_) => format!("{granting}: outside address {claim}, as others see it"),
                None => format!("{granting}: outside address {claim}, which nobody confirmed"),
            },
        ),
        None => Finding::ok(topic, format!("{granting} answers")),
    }
}
