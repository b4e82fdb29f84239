//! What stands between this host and the others: outside addresses, and how they come about.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use dhtnet_nat_traversal::behavior::{Allocation, Filtering, Mapping};

use super::{count, list};
use crate::doctor::facts::{Facts, FamilyFacts};
use crate::doctor::finding::{Finding, Topic};

/// Hosts that have to agree before one that contradicts them is taken for a liar.
const MIN_AGREEING: usize = 3;

const PREDICTABLE: &str = "connections by key come up, sometimes late; UPnP or PCP switched on in the router, or IPv6, \
     makes them quick";
const RANDOM: &str = "to peers behind such a NAT a relay is needed: --turn; UPnP or PCP switched on in the router, or \
     IPv6, does without";

/// The outside address that most hosts see, and how many see it.
pub(super) fn outside(family: &FamilyFacts) -> Option<(IpAddr, usize)> {
    let mut seen: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (_, mapped) in samples(family) {
        *seen.entry(mapped.ip()).or_default() += 1;
    }
    seen.into_iter().max_by_key(|(_, seen)| *seen)
}

/// Whether nothing is translated: others see an address of this host.
pub(super) fn is_direct(family: &FamilyFacts) -> bool {
    outside(family).is_some_and(|(ip, _)| family.local.contains(&ip))
}

/// Who was asked and what he saw, in the order of asking. What a STUN server says counts first.
fn samples(family: &FamilyFacts) -> Vec<(SocketAddr, SocketAddr)> {
    let stun = family.behavior.iter().flat_map(|found| &found.samples);
    let mut all: Vec<_> = stun.map(|sample| (sample.asked, sample.mapped)).collect();
    let mut answers: Vec<_> = family.answers.iter().collect();
    answers.sort_by_key(|answer| answer.order);
    all.extend(
        answers
            .into_iter()
            .filter_map(|answer| Some((answer.from, answer.external?))),
    );
    all
}

pub(super) fn external(facts: &Facts) -> Finding {
    let topic = Topic::External;
    let mut parts = Vec::new();
    let mut all = Vec::new();
    let mut several = false;
    for family in [&facts.v4, &facts.v6] {
        let mut seen: Vec<IpAddr> = samples(family).iter().map(|(_, at)| at.ip()).collect();
        let hosts = seen.len();
        seen.sort_unstable();
        seen.dedup();
        several |= seen.len() > 1;
        all.extend(seen.iter().copied());
        if !seen.is_empty() {
            parts.push(format!(
                "{} as {} see it",
                list(&seen),
                count(hosts, "host")
            ));
        }
    }
    match (parts.is_empty(), several) {
        (true, _) => Finding::unknown(
            topic,
            "nobody told under which address he sees this host",
            "see dht",
        ),
        (false, false) => Finding::ok(topic, parts.join("; ")).with_list("addresses", all),
        (false, true) => Finding::weak(
            topic,
            parts.join("; "),
            "there are several ways out, or somebody lies; ask again, and with --stun HOST:PORT",
        )
        .with_list("addresses", all),
    }
}

/// The mapping, and the number of hosts that it was learnt from.
pub(super) fn mapping_of(family: &FamilyFacts) -> Option<(Mapping, usize)> {
    if let Some(behavior) = &family.behavior
        && let Some(mapping) = behavior.mapping
    {
        return Some((mapping, behavior.samples.len()));
    }
    let samples = samples(family);
    let mut by_host: BTreeMap<IpAddr, Vec<SocketAddr>> = BTreeMap::new();
    for (asked, mapped) in samples {
        by_host.entry(asked.ip()).or_default().push(mapped);
    }
    if by_host
        .values()
        .any(|seen| seen.windows(2).any(|w| w[0] != w[1]))
    {
        return Some((Mapping::AddressAndPortDependent, by_host.len()));
    }
    let hosts = by_host.len();
    if hosts < 2 {
        return None;
    }
    let mut votes: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for seen in by_host.values() {
        *votes.entry(seen[0]).or_default() += 1;
    }
    let most = votes.values().max().copied().unwrap_or_default();
    if most == hosts || (most >= MIN_AGREEING && most + 1 == hosts) {
        Some((Mapping::EndpointIndependent, hosts))
    } else if by_host.values().any(|seen| seen.len() > 1) {
        Some((Mapping::AddressDependent, hosts))
    } else {
        Some((Mapping::AddressAndPortDependent, hosts))
    }
}

pub(super) fn mapping(family: &FamilyFacts) -> Finding {
    let topic = Topic::Mapping;
    if is_direct(family) {
        return Finding::ok(topic, "there is no NAT: others see an address of this host")
            .with("mapping", "none");
    }
    let Some((mapping, hosts)) = mapping_of(family) else {
        return Finding::unknown(
            topic,
            match outside(family) {
                Some(_) => "one host alone told what it sees; it takes two",
                None => "nobody told what he sees",
            },
            "name a second node, -b HOST:PORT, or a STUN server, --stun HOST:PORT",
        );
    };
    let hosts = count(hosts, "place");
    let name = match mapping {
        Mapping::EndpointIndependent => "endpoint-independent",
        Mapping::AddressDependent => "address-dependent",
        Mapping::AddressAndPortDependent => "address-and-port-dependent",
    };
    let finding = match mapping {
        Mapping::EndpointIndependent => Finding::ok(
            topic,
            format!("endpoint-independent: {hosts} see the same address and port"),
        ),
        Mapping::AddressDependent => Finding::weak(
            topic,
            format!("address-dependent: {hosts} see a port for each address"),
            advice(family),
        ),
        Mapping::AddressAndPortDependent => Finding::weak(
            topic,
            format!("address-and-port-dependent: {hosts} see different ports"),
            advice(family),
        ),
    };
    finding.with("mapping", name)
}

fn advice(family: &FamilyFacts) -> &'static str {
    match allocation(family) {
        Some(Allocation::Sequential { .. } | Allocation::Block { .. }) => PREDICTABLE,
        _ => RANDOM,
    }
}

fn allocation(family: &FamilyFacts) -> Option<Allocation> {
    let of_stun = family.behavior.as_ref().and_then(|found| found.allocation);
    let ports: Vec<u16> = samples(family).iter().map(|(_, at)| at.port()).collect();
    // A few answers of many may be missing: then counted ports have gaps, which tells no lie.
    Allocation::of(&ports).or(of_stun)
}

pub(super) fn ports(family: &FamilyFacts) -> Finding {
    let topic = Topic::Ports;
    let own = family.bound.map(|bound| bound.port());
    let seen = samples(family);
    let (Some(own), Some((_, first))) = (own, seen.first()) else {
        return Finding::unknown(topic, "nobody told which port he sees", "see dht");
    };
    match mapping_of(family).map(|(mapping, _)| mapping) {
        _ if is_direct(family) => Finding::ok(topic, "nothing translates them"),
        None | Some(Mapping::EndpointIndependent) if first.port() == own => {
            Finding::ok(topic, format!("kept: {own} inside is {own} outside"))
                .with("allocation", "kept")
        }
        None | Some(Mapping::EndpointIndependent) => Finding::ok(
            topic,
            format!("not kept: {own} inside is {} outside", first.port()),
        )
        .with("allocation", "changed"),
        Some(_) => match allocation(family) {
            Some(Allocation::Sequential { step }) => Finding::weak(
                topic,
                format!("counted in steps of {step}: the next can be foreseen"),
                PREDICTABLE,
            )
            .with("allocation", "sequential"),
            Some(Allocation::Block { low, high }) => Finding::weak(
                topic,
                format!("in no order, between about {low} and {high}"),
                PREDICTABLE,
            )
            .with("allocation", "block"),
            Some(Allocation::Random) => {
                Finding::weak(topic, "random: the next cannot be foreseen", RANDOM)
                    .with("allocation", "random")
            }
            None => Finding::unknown(
                topic,
                "too few hosts saw different ports to tell how they follow each other",
                "name more nodes, -b HOST:PORT, or a STUN server, --stun HOST:PORT",
            ),
        },
    }
}

pub(super) fn filtering(facts: &Facts) -> Finding {
    let topic = Topic::Filtering;
    let behavior = facts.v4.behavior.as_ref().or(facts.v6.behavior.as_ref());
    if facts.stun.is_empty() {
        return Finding::unknown(
            topic,
            "not tried: it takes a STUN server with two addresses",
            "give --stun HOST:PORT of one that speaks RFC 5780",
        );
    }
    let missing = facts.stun.iter().find_map(|named| {
        let reason = named.addresses.as_ref().err()?;
        let name = &named.name;
        Some(format!("the STUN server {name} is not found ({reason})"))
    });
    if let Some(missing) = missing {
        return Finding::unknown(topic, missing, "correct its name");
    }
    let names: Vec<_> = facts.stun.iter().map(|named| named.name.as_str()).collect();
    let names = names.join(", ");
    let Some(behavior) = behavior.filter(|behavior| behavior.mapped.is_some()) else {
        return Finding::unknown(
            topic,
            format!("no answer of STUN from {names}"),
            "see udp-ipv4; if UDP is let out, name another server",
        );
    };
    let kind = match behavior.filtering {
        Some(Filtering::EndpointIndependent) => "endpoint-independent",
        Some(Filtering::AddressDependent) => "address-dependent",
        Some(Filtering::AddressAndPortDependent) => "address-and-port-dependent",
        None => "unknown",
    };
    let finding = match behavior.filtering {
        Some(Filtering::EndpointIndependent) => Finding::ok(
            topic,
            "endpoint-independent: everybody may send to the port",
        ),
        Some(Filtering::AddressDependent) => Finding::ok(
            topic,
            "address-dependent: hosts that were sent to may answer from any port",
        ),
        Some(Filtering::AddressAndPortDependent) => Finding::ok(
            topic,
            "address-and-port-dependent: only who was sent to may answer",
        ),
        None => Finding::unknown(
            topic,
            format!("no second address to answer from: {names}"),
            "name a STUN server that speaks RFC 5780",
        ),
    };
    finding.with("filtering", kind)
}

pub(super) fn hairpin(family: &FamilyFacts) -> Finding {
    let topic = Topic::Hairpin;
    match family.hairpin {
        _ if is_direct(family) => Finding::ok(topic, "not needed: there is no NAT"),
        Some(true) => Finding::ok(topic, "works: the outside address is reached from inside"),
        Some(false) => Finding::weak(
            topic,
            "does not work: the outside address is not reached from inside",
            "nothing must be done: devices behind one NAT meet by their inside addresses; where a \
             provider's NAT keeps them apart, a relay helps",
        ),
        None => Finding::unknown(
            topic,
            "not tried: the outside address is not known",
            "see external",
        ),
    }
}
