//! Every verdict, by facts that lead to it.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod relays;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dhtnet_nat_traversal::behavior::{Behavior, Filtering, Hairpin, Sample, Translation};
use dhtnet_nat_traversal::turn::AllocationError;

use super::judge;
use crate::doctor::facts::{
    Answer, Claim, Facts, FamilyFacts, IdentityFacts, MtuReport, Named, RelayFacts, RelayOutcome,
    RouterAnswer, TcpOutcome, TcpTry, Trouble, Unsendable,
};
use crate::doctor::finding::{Finding, Status, Topic};
use crate::relays::RelayTransport;

const OUTSIDE: &str = "11.0.1.101";
const NOW: Duration = Duration::from_secs(1_800_000_000);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
        addresses: Ok(vec![at(name)]),
    }
}

fn answer(number: usize, external: &str) -> Answer {
    Answer {
        from: at(&format!("11.0.20{number}.1:6881")),
        order: number,
        round_trip: Duration::from_millis(20),
        at: Duration::from_millis(30),
        external: Some(at(external)),
    }
}

/// A host behind a NAT, with one bootstrap node for each outside address that is seen.
fn seen_as(externals: &[&str]) -> Facts {
    let answers: Vec<Answer> = externals
        .iter()
        .enumerate()
        .map(|(number, external)| answer(number, external))
        .collect();
    let mut facts = Facts {
        v4: FamilyFacts {
            bound: Some(at("0.0.0.0:4000")),
            local: vec![ip("192.168.1.10")],
            source: Some(ip("192.168.1.10")),
            gateway: Some(ip("192.168.1.1")),
            asked: answers.iter().map(|answer| answer.from).collect(),
            ..FamilyFacts::default()
        },
        seeds: answers
            .iter()
            .map(|answer| named(&answer.from.to_string()))
            .collect(),
        ..Facts::default()
    };
    facts.v4.answers = answers;
    facts.v4.mtu.tried = vec![(1_228, true), (1_500, true)];
    facts.clock.now = NOW;
    facts.routers.asked = true;
    facts.descriptors.hard = Some(4_096);
    facts
}

/// Everything works behind one NAT with an independent mapping.
fn sound() -> Facts {
    seen_as(&["11.0.1.101:4000"; 3])
}

/// Nobody answers; these were asked.
fn silent(asked: &[&str]) -> Facts {
    let mut facts = sound();
    facts.v4.answers.clear();
    facts.v4.mtu.tried.clear();
    facts.v4.asked = asked.iter().map(|address| at(address)).collect();
    facts.seeds = asked.iter().map(|address| named(address)).collect();
    facts
}

fn finding(facts: &Facts, topic: Topic) -> Finding {
    let findings = judge(facts);
    for finding in &findings {
        let is_ok = finding.status == Status::Ok;
        assert_eq!(finding.next.is_none(), is_ok, "{finding:?}");
    }
    let mut topics: Vec<Topic> = findings.iter().map(|finding| finding.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    assert_eq!((topics.len(), findings.len()), (20, 20));
    assert_eq!(findings[0].topic, Topic::Connection);
    let found = findings.into_iter().find(|finding| finding.topic == topic);
    found.unwrap()
}

#[track_caller]
fn assert_found(facts: &Facts, topic: Topic, (status, part): (Status, &str)) {
    let finding = finding(facts, topic);
    assert_eq!(finding.status, status, "{finding:?}");
    assert!(finding.found.contains(part), "{finding:?}");
}

use Status::{Broken, Ok as Good, Unknown, Weak};

#[test]
fn what_works_is_ok() {
    let facts = sound();
    for (topic, part) in [
        (Topic::Connection, "works from here by the key alone"),
        (Topic::Bootstrap, "answered"),
        (
            Topic::UdpIpv4,
            "3 of 3 hosts answered, the first after 30 ms",
        ),
        (Topic::Dht, "3 of 3 nodes answered"),
        (Topic::External, "11.0.1.101 as 3 hosts see it"),
        (Topic::Mapping, "endpoint-independent: 3 places"),
        (Topic::Ports, "kept: 4000 inside is 4000 outside"),
        (Topic::Mtu, "packets of 1500 bytes"),
    ] {
        assert_found(&facts, topic, (Good, part));
    }
}

#[test]
fn files_and_limits_are_judged() {
    let mut facts = sound();
    facts.home.identity = IdentityFacts::Usable("id".to_owned());
    assert_found(&facts, Topic::Home, (Good, "this device is id"));
    facts.home.identity = IdentityFacts::Exposed("chmod 600 x".to_owned());
    assert_found(&facts, Topic::Home, (Broken, "read by others"));
    facts.home.identity = IdentityFacts::Unusable("no key".to_owned());
    assert_found(&facts, Topic::Home, (Broken, "no key"));
    assert_found(&facts, Topic::Connection, (Broken, "home is broken"));
    facts.home.identity = IdentityFacts::Missing;
    facts.home.unusable = Some("read-only".to_owned());
    assert_found(&facts, Topic::Home, (Broken, "read-only"));
    let mut facts = sound();
    for (hard, status) in [
        (None, Good),
        (Some(704), Good),
        (Some(703), Weak),
        (Some(64), Weak),
        (Some(63), Broken),
    ] {
        facts.descriptors.hard = hard;
        assert_eq!(
            finding(&facts, Topic::Descriptors).status,
            status,
            "{hard:?}"
        );
    }
    assert_found(&facts, Topic::Connection, (Broken, "descriptors"));
}

#[test]
fn a_clock_is_compared_with_what_contacts_signed() {
    let mut facts = sound();
    let mut with = |signed: &[u64], status, part| {
        let witnesses = signed.iter().zip(["ada", "bob", "eve"]);
        facts.clock.asked = 3;
        facts.clock.witnesses = witnesses
            .map(|(signed, name)| (name.to_owned(), Duration::from_secs(*signed)))
            .collect();
        assert_found(&facts, Topic::Clock, (status, part));
        finding(&facts, Topic::Connection).status
    };
    let now = NOW.as_secs();
    with(&[], Unknown, "no contact is in the DHT");
    with(&[now], Good, "1 contact that signed lately");
    with(&[now + 60, now - 1_320], Good, "2 contacts");
    with(&[now - 1_321], Unknown, "are old");
    assert_eq!(
        with(&[now + 61, now], Weak, "61 s behind the clock of ada"),
        Good
    );
    let both = with(&[now + 3_600, now + 7_200], Broken, "60 min behind");
    assert_eq!(both, Broken);
    facts.clock.witnesses.clear();
    facts.clock.is_kept = true;
    assert_found(&facts, Topic::Clock, (Good, "time server"));
    facts.clock.asked = 0;
    facts.clock.is_kept = false;
    assert_found(&facts, Topic::Clock, (Unknown, "there is no contact"));
    for (now, part) in [(0, "in the past"), (4_000_000_000, "far future")] {
        facts.clock.now = Duration::from_secs(now);
        assert_found(&facts, Topic::Clock, (Broken, part));
    }
}

#[test]
fn bootstrap_nodes_are_named_with_what_is_wrong() {
    let mut facts = sound();
    facts.seeds.push(named("11.0.9.9:6881"));
    assert_found(
        &facts,
        Topic::Bootstrap,
        (Good, "3 of 4 answered; 11.0.9.9:6881 is silent"),
    );
    facts.seeds.remove(0);
    assert_found(&facts, Topic::Bootstrap, (Weak, "2 of 3 answered"));
    let mut facts = silent(&["11.0.9.9:6881", "11.0.9.8:6881"]);
    facts.v4.reports = vec![(ip("11.0.9.9"), Trouble::PortClosed)];
    assert_found(&facts, Topic::Bootstrap, (Broken, "11.0.9.9:6881 refuses"));
    assert_found(&facts, Topic::UdpIpv4, (Good, "gets out and back"));
    assert_found(
        &facts,
        Topic::Connection,
        (Broken, "the DHT does not answer"),
    );
    for seed in &mut facts.seeds {
        seed.addresses = Err("no such name".to_owned());
    }
    assert_found(
        &facts,
        Topic::Bootstrap,
        (Broken, "are not found (no such name)"),
    );
    facts.seeds[0].addresses = Ok(Vec::new());
    assert_found(&facts, Topic::Bootstrap, (Broken, "has no address"));
}

#[test]
fn without_bootstrap_nodes_remembered_ones_count() {
    let mut facts = sound();
    facts.seeds.clear();
    facts.saved_nodes = 3;
    assert_found(&facts, Topic::Bootstrap, (Good, "3 nodes"));
    let mut facts = silent(&[]);
    facts.saved_nodes = 2;
    assert_found(&facts, Topic::Bootstrap, (Broken, "none of them answers"));
    facts.saved_nodes = 0;
    assert_found(&facts, Topic::Bootstrap, (Unknown, "nobody to ask"));
    assert_found(&facts, Topic::Dht, (Unknown, "nobody to ask"));
    assert_found(&facts, Topic::Connection, (Unknown, "nobody was asked"));
}

#[test]
fn silence_refusal_and_no_way_are_told_apart() {
    let two = ["11.0.9.9:6881", "11.0.9.8:6881"];
    let mut facts = silent(&two);
    assert_found(&facts, Topic::UdpIpv4, (Broken, "silence: none of 2 hosts"));
    assert_found(
        &facts,
        Topic::Connection,
        (Broken, "nothing outside answers"),
    );
    facts.v4.reports = vec![(ip("192.168.1.1"), Trouble::Unreachable)];
    assert_found(&facts, Topic::UdpIpv4, (Broken, "rejected by 192.168.1.1"));
    facts.v4.reports = vec![(ip("192.168.1.10"), Trouble::Unreachable)];
    assert_found(
        &facts,
        Topic::UdpIpv4,
        (Broken, "the gateway 192.168.1.1 is not there"),
    );
    facts.v4.gateway = None;
    assert_found(
        &facts,
        Topic::UdpIpv4,
        (Broken, "the hosts asked are not there"),
    );
    facts.v4.unsendable = Some(Unsendable::Forbidden);
    assert_found(&facts, Topic::UdpIpv4, (Broken, "own firewall"));
    facts.v4.unsendable = Some(Unsendable::Other);
    assert_found(&facts, Topic::UdpIpv4, (Broken, "refuses to send"));
    facts.v4.source = None;
    assert_found(&facts, Topic::UdpIpv4, (Broken, "no route"));
    facts.v4.bound = None;
    assert_found(&facts, Topic::UdpIpv4, (Unknown, "not tried"));
    let one = silent(&two[..1]);
    assert_found(&one, Topic::UdpIpv4, (Unknown, "11.0.9.9 is silent"));
    assert_found(&one, Topic::Connection, (Broken, ""));
    let mut with_stun = one;
    with_stun.v4.stun_asked = vec![at("11.0.7.1:3478")];
    let silence = "silence: none of 2 hosts";
    assert_found(&with_stun, Topic::UdpIpv4, (Broken, silence));
    assert_found(
        &silent(&[]),
        Topic::UdpIpv4,
        (Unknown, "nobody of this family"),
    );
}

#[test]
fn ipv6_is_absent_or_leads_nowhere_or_works() {
    let mut facts = sound();
    facts.v6.bound = Some(at("[::]:4000"));
    assert_found(&facts, Topic::Ipv6, (Weak, "none"));
    assert_found(&facts, Topic::UdpIpv6, (Unknown, "not tried"));
    facts.v6.local = vec![ip("fe80::1")];
    assert_found(&facts, Topic::Ipv6, (Weak, "none"));
    facts.v6.local = vec![ip("2001:db8::7")];
    assert_found(&facts, Topic::Ipv6, (Weak, "no route"));
    facts.v6.source = Some(ip("2001:db8::7"));
    assert_found(&facts, Topic::Ipv6, (Unknown, "nobody is known"));
    facts.v6.asked = vec![at("[2001:db8::9]:1")];
    assert_found(&facts, Topic::Ipv6, (Weak, "leads nowhere: none of 1 host"));
    facts.v6.answers = vec![Answer {
        from: at("[2001:db8::9]:1"),
        ..answer(1, "[2001:db8::7]:4000")
    }];
    assert_found(&facts, Topic::Ipv6, (Good, "works"));
    assert_found(&facts, Topic::UdpIpv6, (Good, "1 of 1 host"));
    assert_found(&facts, Topic::External, (Good, "2001:db8::7 as 1 host"));
}

#[test]
fn mappings_are_told_by_what_different_hosts_see() {
    let mapping = |externals: &[&str], status, part| {
        assert_found(&seen_as(externals), Topic::Mapping, (status, part));
    };
    mapping(&[], Unknown, "nobody told");
    mapping(&["11.0.1.101:4000"], Unknown, "one host alone");
    mapping(&["11.0.1.101:4000"; 2], Good, "endpoint-independent");
    mapping(
        &["11.0.1.101:1", "11.0.1.101:2"],
        Weak,
        "address-and-port-dependent",
    );
    mapping(&["192.168.1.10:4000"; 2], Good, "no NAT");
    let liar = ["11.0.1.101:4000"; 4];
    mapping(&[&liar[..3], &["9.9.9.9:9"]].concat(), Good, "independent");
    mapping(&[&liar[..2], &["9.9.9.9:9"]].concat(), Weak, "dependent");
    let mut facts = seen_as(&["11.0.1.101:1", "11.0.1.101:1", "11.0.1.101:2"]);
    // Two of them are one host with two ports, which sees one: the address decides.
    facts.v4.answers[1].from = at("11.0.200.1:6882");
    assert_found(&facts, Topic::Mapping, (Weak, "address-dependent"));
    facts.v4.answers[1].external = Some(at("11.0.1.101:3"));
    assert_found(&facts, Topic::Mapping, (Weak, "address-and-port-dependent"));
}

#[test]
fn ports_are_kept_counted_near_or_random() {
    let ports = |ports: &[u16], status, part| {
        let externals: Vec<String> = ports.iter().map(|p| format!("{OUTSIDE}:{p}")).collect();
        let externals: Vec<&str> = externals.iter().map(String::as_str).collect();
        assert_found(&seen_as(&externals), Topic::Ports, (status, part));
    };
    ports(&[], Unknown, "nobody told");
    ports(&[4_000, 4_000], Good, "kept");
    ports(&[5_000, 5_000], Good, "not kept: 4000 inside is 5000");
    ports(&[5_000, 6_000], Unknown, "too few");
    ports(&[5_000, 5_001, 5_002], Weak, "steps of 1");
    ports(&[5_000, 5_090, 5_020, 5_060], Weak, "between about");
    ports(&[5_000, 50_000, 20_000, 9_000], Weak, "random");
    assert_found(
        &seen_as(&["192.168.1.10:4000"; 2]),
        Topic::Ports,
        (Good, "nothing translates"),
    );
}

#[test]
fn counted_ports_are_told_in_the_order_of_asking() {
    let mut facts = seen_as(&["11.0.1.101:5002", "11.0.1.101:5000", "11.0.1.101:5001"]);
    for (answer, order) in facts.v4.answers.iter_mut().zip([2, 0, 1]) {
        answer.order = order;
    }
    assert_found(&facts, Topic::Ports, (Weak, "steps of 1"));
}

#[test]
fn a_mapping_that_depends_on_the_peer_weakens_the_sum_unless_there_is_another_way() {
    let random = ["11.0.1.101:5000", "11.0.1.101:50000", "11.0.1.101:20000"];
    let mut facts = seen_as(&random);
    assert_found(
        &facts,
        Topic::Connection,
        (Weak, "the mapping depends on the peer"),
    );
    facts.announced_relays = vec![at("11.0.5.1:3478")];
    assert_found(&facts, Topic::Relays, (Weak, "none of them answers"));
    facts.answering_relays = facts.announced_relays.clone();
    assert_found(&facts, Topic::Relays, (Good, "11.0.5.1:3478 answers"));
    assert_found(&facts, Topic::Connection, (Good, "works"));
}

#[test]
fn filtering_is_told_by_a_stun_server_with_two_addresses_only() {
    let mut facts = sound();
    assert_found(&facts, Topic::Filtering, (Unknown, "not tried"));
    facts.stun = vec![
        named("11.0.7.1:3478"),
        Named {
            name: "stun.example:3478".to_owned(),
            addresses: Err("no such name".to_owned()),
        },
    ];
    let missing = "the STUN server stun.example:3478 is not found (no such name)";
    assert_found(&facts, Topic::Filtering, (Unknown, missing));
    facts.stun = vec![named("11.0.7.1:3478"), named("11.0.8.1:3478")];
    let silent = "no answer of STUN from 11.0.7.1:3478, 11.0.8.1:3478";
    assert_found(&facts, Topic::Filtering, (Unknown, silent));
    let mapped = at("11.0.1.101:4000");
    let mut behavior = Behavior {
        translation: Translation::Nat,
        mapped: Some(mapped),
        mapping: None,
        filtering: None,
        port_kept: Some(true),
        hairpin: Hairpin::NotTried,
        allocation: None,
        samples: vec![Sample {
            asked: at("11.0.7.1:3478"),
            mapped,
        }],
    };
    facts.v4.behavior = Some(behavior.clone());
    let alone = "no second address to answer from: 11.0.7.1:3478, 11.0.8.1:3478";
    assert_found(&facts, Topic::Filtering, (Unknown, alone));
    for (filtering, part) in [
        (Filtering::EndpointIndependent, "endpoint-independent"),
        (Filtering::AddressDependent, "address-dependent"),
        (
            Filtering::AddressAndPortDependent,
            "address-and-port-dependent",
        ),
    ] {
        behavior.filtering = Some(filtering);
        facts.v4.behavior = Some(behavior.clone());
        assert_found(&facts, Topic::Filtering, (Good, part));
    }
    facts.v4.answers.clear();
    assert_found(&facts, Topic::UdpIpv4, (Good, "the STUN server answered"));
}

#[test]
fn hairpins_are_judged() {
    let mut facts = sound();
    assert_found(&facts, Topic::Hairpin, (Unknown, "not tried"));
    for (hairpin, status) in [(true, Good), (false, Weak)] {
        facts.v4.hairpin = Some(hairpin);
        assert_eq!(finding(&facts, Topic::Hairpin).status, status);
    }
    facts.v4.local = vec![ip(OUTSIDE)];
    assert_found(&facts, Topic::Hairpin, (Good, "there is no NAT"));
}

#[test]
fn several_outside_addresses_are_told() {
    let facts = seen_as(&["11.0.1.101:4000", "11.0.1.102:4000"]);
    assert_found(&facts, Topic::External, (Weak, "11.0.1.101, 11.0.1.102"));
}

#[test]
fn a_second_nat_is_found_by_what_the_router_claims_or_by_the_way() {
    let mut facts = sound();
    assert_found(&facts, Topic::DoubleNat, (Unknown, "no router tells"));
    assert_found(&facts, Topic::PortMapping, (Weak, "no router answers"));
    let claiming = |facts: &mut Facts, claim| {
        let protocol = "UPnP";
        facts.routers.answers = vec![RouterAnswer { protocol, claim }];
    };
    claiming(&mut facts, Claim::External(ip(OUTSIDE)));
    assert_found(&facts, Topic::DoubleNat, (Good, "one NAT"));
    assert_found(
        &facts,
        Topic::PortMapping,
        (Good, "UPnP: outside address 11.0.1.101"),
    );
    for (claim, part) in [
        ("100.64.0.11", "a provider's NAT"),
        ("192.168.0.7", "a second NAT follows"),
        ("11.0.1.77", "or the router is wrong"),
    ] {
        claiming(&mut facts, Claim::External(ip(claim)));
        assert_found(&facts, Topic::DoubleNat, (Weak, part));
        assert_found(&facts, Topic::PortMapping, (Weak, claim));
    }
    claiming(&mut facts, Claim::Refused);
    assert_found(&facts, Topic::PortMapping, (Weak, "maps nothing"));
    claiming(&mut facts, Claim::Present);
    assert_found(&facts, Topic::PortMapping, (Good, "UPnP answers"));
    for (hop, status, part) in [
        ("100.64.0.1", Weak, "a provider's NAT"),
        ("10.0.0.1", Weak, "likely a second NAT"),
        ("11.0.0.1", Good, "one NAT"),
    ] {
        facts.v4.hops = vec![(2, ip(hop))];
        assert_found(&facts, Topic::DoubleNat, (status, part));
    }
    facts.v4.local = vec![ip("100.64.9.9")];
    assert_found(
        &facts,
        Topic::DoubleNat,
        (Weak, "this host's address 100.64.9.9"),
    );
    facts.v4.local = vec![ip(OUTSIDE)];
    assert_found(&facts, Topic::DoubleNat, (Good, "there is no NAT"));
    assert_found(&facts, Topic::PortMapping, (Good, "not needed"));
}

#[test]
fn short_links_are_told_from_black_holes() {
    let mut facts = sound();
    let mut with = |tried: &[(u16, bool)], reported, status, part| {
        facts.v4.mtu.tried = tried.to_vec();
        facts.v4.mtu.reported = reported;
        assert_found(&facts, Topic::Mtu, (status, part));
        finding(&facts, Topic::Connection).status
    };
    let short = [(1_228, true), (1_280, true), (1_400, false), (1_500, false)];
    let (by, mtu) = (ip("192.168.1.1"), 1_280);
    let told = Some(MtuReport::Router { by, mtu });
    with(
        &short,
        told,
        Good,
        "192.168.1.1 reports a link of 1280 bytes",
    );
    with(&short, Some(MtuReport::OwnInterface), Good, "own interface");
    let hole = "a black hole: packets of 1280 bytes get through, of 1400 vanish";
    assert_eq!(with(&short, None, Weak, hole), Good);
    let cut = with(
        &[(1_228, false)],
        None,
        Broken,
        "packets of 1228 bytes do not",
    );
    assert_eq!(cut, Broken);
    with(&[], None, Unknown, "no node answered");
}
