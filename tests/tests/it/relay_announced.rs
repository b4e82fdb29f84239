//! Relays in the DHT: who can be reached is found there, and who cannot is not.

use std::time::Duration;

use dhtnet_tests::dht_peers::dhtnode::{Settings, command};
use dhtnet_tests::home_router::RouterError;
use dhtnet_tests::lab::skip::report;
use dhtnet_tests::lab::{Host, Process};
use dhtnet_tests::nat_router::{Nat, NatRouter};

use crate::dht_segment::{Place, Segment, segment};

/// Nodes that have to agree before a node believes an address of its own (dht-core).
const NODES: u8 = 5;

/// Time to enter the DHT, hear of the own address and be announced.
const ANNOUNCED: Duration = Duration::from_secs(40);

/// Nodes of the DHT, each in a network of its own; the first is entered by.
fn nodes(segment: &mut Segment) -> Vec<(Process, Place)> {
    let mut nodes: Vec<(Process, Place)> = Vec::new();
    for number in 1..=NODES {
        let place = segment.place(number);
        let settings = Settings {
            bind: place.address,
            bootstrap: nodes.first().map(|(_, first)| first.address),
            network: None,
            home: &place.home,
        };
        let node = command(&place.host, segment.tools(), settings).unwrap();
        nodes.push((node.arg("run").start().unwrap(), place));
    }
    nodes
}

fn relay(segment: &Segment, place: &Place, entry: &Place) -> Process {
    let settings = Settings {
        bind: place.address,
        bootstrap: Some(entry.address),
        network: None,
        home: &place.home,
    };
    let command = command(&place.host, segment.tools(), settings).unwrap();
    command.args(["run", "--relay"]).start().unwrap()
}

#[test]
fn a_relay_that_is_reached_is_found_through_the_dht() {
    let Some(mut segment) = segment("a_relay_that_is_reached_is_found_through_the_dht") else {
        return;
    };
    let nodes = nodes(&mut segment);
    let entry = nodes[0].1.clone();
    let place = segment.place(100);
    let mut relay = relay(&segment, &place, &entry);
    relay
        .await_line("that it is announced", ANNOUNCED, |line| {
            line.contains("the relay is announced at").then_some(())
        })
        .unwrap();
    let seeker = segment.place(101);
    let mut seeker = segment.node(&seeker, Some(entry.address));
    let found = seeker.ask("get-peers 'dhtnet 1 relays'").unwrap();
    let found = format!("{found:?}");
    assert!(found.contains(&place.address.to_string()), "{found}");
}

#[test]
fn a_relay_behind_a_nat_says_that_it_is_not_announced() {
    let name = "a_relay_behind_a_nat_says_that_it_is_not_announced";
    let Some(mut segment) = segment(name) else {
        return;
    };
    let nodes = nodes(&mut segment);
    let entry = nodes[0].1.clone();
    let router = match NatRouter::new(segment.lab(), segment.lan(), (Nat::PortRestricted, 200)) {
        Ok(router) => router,
        Err(error @ RouterError::Missing(_)) => return report(name, &error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let host: Host = router.inside(segment.lab(), 10).unwrap();
    let place = Place {
        home: host.folder().join("home-relay"),
        address: "0.0.0.0:6881".parse().unwrap(),
        host,
    };
    let mut relay = relay(&segment, &place, &entry);
    let seen = relay
        .await_line("that it is not announced", ANNOUNCED * 2, |line| {
            let (_, seen) = line.split_once("not announced: others see this host as ")?;
            Some(seen.split(',').next()?.to_owned())
        })
        .unwrap();
    assert!(seen.starts_with("11.0.200.101:"), "{seen}");
}
