//! Who is reached: the bootstrap nodes, hosts by UDP, the DHT.

use std::net::IpAddr;
use std::time::Duration;

use super::{count, list};
use crate::doctor::facts::{Facts, FamilyFacts, Named, Trouble, Unsendable};
use crate::doctor::finding::{Finding, Status, Topic};

/// Bootstrap nodes that are enough, however many others are silent.
const ENOUGH_SEEDS: usize = 3;

const WITHOUT_UDP: &str =
    "let UDP out, or use a relay over TCP: --turn turn:USER@HOST:443?transport=tcp";

pub(super) fn bootstrap(facts: &Facts) -> Finding {
    let topic = Topic::Bootstrap;
    if facts.seeds.is_empty() {
        let remembered = format!(
            "none is named; {} remembered",
            count(facts.saved_nodes, "node")
        );
        return match (facts.saved_nodes, has_answers(facts)) {
            (0, _) => Finding::unknown(
                topic,
                "none is named and none remembered: there is nobody to ask",
                "name a node of the network: -b HOST:PORT",
            ),
            (_, true) => Finding::ok(topic, remembered),
            (_, false) => Finding::broken(
                topic,
                format!("{remembered}, and none of them answers"),
                "name a node that runs: -b HOST:PORT",
            ),
        };
    }
    let mut answered = Vec::new();
    let mut faults = Vec::new();
    for seed in &facts.seeds {
        match fault_of(facts, seed) {
            None => answered.push(&seed.name),
            Some(fault) => faults.push(fault),
        }
    }
    let total = facts.seeds.len();
    let found = match faults.is_empty() {
        true => format!("{} answered", list(&answered)),
        false => format!("{} of {total} answered; {}", answered.len(), list(&faults)),
    };
    let unresolved = facts.seeds.iter().all(|seed| seed.addresses.is_err());
    if unresolved {
        return Finding::broken(
            topic,
            unresolved_text(&facts.seeds),
            "check their spelling and the name server (/etc/resolv.conf), or name a node by its \
             address: -b ADDRESS:PORT",
        );
    }
    let correct = "correct or remove those names; name a node that runs: -b HOST:PORT";
    match answered.len() {
        0 if udp_is_silent(facts) => Finding::broken(
            topic,
            found,
            format!("see udp-ipv4; if UDP is let out, {correct}"),
        ),
        0 => Finding::broken(topic, found, correct),
        answers if answers == total || answers >= ENOUGH_SEEDS => Finding::ok(topic, found),
        _ => Finding::weak(topic, found, correct),
    }
}

fn unresolved_text(seeds: &[Named]) -> String {
    let reason = seeds.iter().find_map(|seed| seed.addresses.as_ref().err());
    format!(
        "{} {} not found ({})",
        list(seeds.iter().map(|seed| &seed.name)),
        if seeds.len() == 1 { "is" } else { "are" },
        reason.map_or("", String::as_str)
    )
}

/// What is wrong with a bootstrap node; nothing if it answered.
fn fault_of(facts: &Facts, seed: &Named) -> Option<String> {
    let name = &seed.name;
    let addresses = match &seed.addresses {
        Err(reason) => return Some(format!("{name} is not found ({reason})")),
        Ok(addresses) if addresses.is_empty() => return Some(format!("{name} has no address")),
        Ok(addresses) => addresses,
    };
    let families = [&facts.v4, &facts.v6];
    let mut answers = families.iter().flat_map(|family| &family.answers);
    if answers.any(|answer| addresses.contains(&answer.from)) {
        return None;
    }
    let reports = families.iter().flat_map(|family| &family.reports);
    let closed = |(by, trouble): &(IpAddr, Trouble)| {
        *trouble == Trouble::PortClosed && addresses.iter().any(|at| at.ip() == *by)
    };
    if reports.into_iter().any(closed) {
        return Some(format!("{name} refuses: nobody listens there"));
    }
    Some(format!("{name} is silent"))
}

fn has_answers(facts: &Facts) -> bool {
    !facts.v4.answers.is_empty() || !facts.v6.answers.is_empty()
}

fn udp_is_silent(facts: &Facts) -> bool {
    udp_v4(facts).status != Status::Ok && udp_v6(facts).status != Status::Ok
}

pub(super) fn udp_v4(facts: &Facts) -> Finding {
    udp(Topic::UdpIpv4, &facts.v4)
}

pub(super) fn udp_v6(facts: &Facts) -> Finding {
    let family = &facts.v6;
    if family.bound.is_some() && !has_global(family) {
        return Finding::unknown(
            Topic::UdpIpv6,
            "not tried: this host has no IPv6 address for the Internet",
            "see ipv6",
        );
    }
    udp(Topic::UdpIpv6, family)
}

fn udp(topic: Topic, family: &FamilyFacts) -> Finding {
    if family.bound.is_none() {
        return Finding::unknown(
            topic,
            "not tried: --bind names the other family, or the system lacks this one",
            "leave --bind away to use IPv4 and IPv6",
        );
    }
    let asked = distinct(family);
    let stun = family.behavior.as_ref().and_then(|found| found.mapped);
    if let Some(first) = family.answers.iter().map(|answer| answer.at).min() {
        let answers = family.answers.len();
        return Finding::ok(
            topic,
            format!(
                "{answers} of {} answered, the first after {}",
                count(family.asked.len().max(answers), "host"),
                milliseconds(first)
            ),
        );
    }
    if stun.is_some() {
        return Finding::ok(topic, "the STUN server answered; no node of the DHT did");
    }
    if family.source.is_none() || family.unsendable == Some(Unsendable::NoRoute) {
        return Finding::broken(
            topic,
            "there is no route to the Internet",
            "connect the network: an address and a default route are needed (ip address, ip route)",
        );
    }
    match family.unsendable {
        Some(Unsendable::Forbidden) => {
            return Finding::broken(
                topic,
                "this host's own firewall forbids to send",
                WITHOUT_UDP,
            );
        }
        Some(_) => {
            return Finding::broken(
                topic,
                "the system refuses to send",
                "see what `ip route` and `dmesg` say",
            );
        }
        None => {}
    }
    unanswered(topic, family, &asked)
}

/// What silence and refusals mean when nobody answered.
fn unanswered(topic: Topic, family: &FamilyFacts, asked: &[IpAddr]) -> Finding {
    let on_the_way = family.reports.iter().find(|(by, _)| !asked.contains(by));
    if let Some((by, _)) = on_the_way {
        if family.local.contains(by) {
            let next_hop = match family.gateway {
                Some(gateway) => format!("the gateway {gateway} is"),
                None => "the hosts asked are".to_owned(),
            };
            return Finding::broken(
                topic,
                format!("{next_hop} not there: no answer on the local network"),
                "check the cable, the wireless network and the router",
            );
        }
        return Finding::broken(
            topic,
            format!("rejected by {by}: a firewall there refuses it"),
            WITHOUT_UDP,
        );
    }
    if family
        .reports
        .iter()
        .any(|(_, trouble)| *trouble == Trouble::PortClosed)
    {
        return Finding::ok(
            topic,
            "it gets out and back, but nobody listens at the hosts that were asked",
        );
    }
    match asked {
        [] => Finding::unknown(
            topic,
            "nobody of this family is known who could be asked",
            "name a node: -b HOST:PORT",
        ),
        [one] => Finding::unknown(
            topic,
            format!("{one} is silent: that host is down, or a firewall drops UDP"),
            "name a second node, -b HOST:PORT, or a STUN server, --stun HOST:PORT",
        ),
        many => Finding::broken(
            topic,
            format!(
                "silence: none of {} answers, and nobody reports why; a firewall drops it",
                count(many.len(), "host")
            ),
            WITHOUT_UDP,
        ),
    }
}

fn distinct(family: &FamilyFacts) -> Vec<IpAddr> {
    let asked = family.asked.iter().chain(&family.stun_asked);
    let mut asked: Vec<IpAddr> = asked.map(|address| address.ip()).collect();
    asked.sort_unstable();
    asked.dedup();
    asked
}

fn has_global(family: &FamilyFacts) -> bool {
    let is_usable = |ip: &IpAddr| match ip {
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        IpAddr::V4(_) => true,
    };
    family.local.iter().any(is_usable)
}

pub(super) fn ipv6(family: &FamilyFacts) -> Finding {
    let topic = Topic::Ipv6;
    if !has_global(family) {
        return Finding::weak(
            topic,
            "none: no address for the Internet",
            "nothing must be done; switched on in the router, it often saves going through a NAT",
        );
    }
    let addresses = list(&family.local);
    if !family.answers.is_empty() {
        return Finding::ok(topic, format!("works, from {addresses}"));
    }
    if family.source.is_none() {
        return Finding::weak(
            topic,
            format!("{addresses}, but no route to the Internet"),
            "renew the connection to the router; a router that advertises no route has lost its own",
        );
    }
    if family.asked.is_empty() {
        return Finding::unknown(
            topic,
            format!("{addresses} with a route; nobody is known who could be asked"),
            "name a node with an IPv6 address: -b [ADDRESS]:PORT",
        );
    }
    Finding::weak(
        topic,
        format!(
            "{addresses} leads nowhere: none of {} answers",
            count(distinct(family).len(), "host")
        ),
        "restart the router or switch IPv6 off there: what waits for a dead IPv6 starts late",
    )
}

pub(super) fn dht(facts: &Facts) -> Finding {
    let topic = Topic::Dht;
    let answers = || facts.v4.answers.iter().chain(&facts.v6.answers);
    let asked = facts.v4.asked.len() + facts.v6.asked.len();
    let first = answers().map(|answer| answer.at).min();
    let fastest = answers().map(|answer| answer.round_trip).min();
    match (first, fastest) {
        (Some(first), Some(fastest)) => Finding::ok(
            topic,
            format!(
                "{} of {} answered, the first after {}, the nearest in {}",
                answers().count(),
                count(asked, "node"),
                milliseconds(first),
                milliseconds(fastest)
            ),
        )
        .with("answered", answers().count() as u64)
        .with("asked", asked as u64)
        .with("first_milliseconds", as_number(first))
        .with("nearest_milliseconds", as_number(fastest)),
        _ if facts.seeds.is_empty() && facts.saved_nodes == 0 => Finding::unknown(
            topic,
            "there was nobody to ask",
            "name a node of the network: -b HOST:PORT",
        ),
        _ => Finding::broken(
            topic,
            match asked {
                0 => "no node has an address that could be asked".to_owned(),
                _ => format!("none of {} answered", count(asked, "node")),
            },
            "see bootstrap and udp-ipv4; without the DHT a peer is found on the local network or by \
             ID@ADDRESS:PORT only",
        ),
    }
}

fn as_number(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn milliseconds(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        milliseconds => format!("{milliseconds} ms"),
    }
}
