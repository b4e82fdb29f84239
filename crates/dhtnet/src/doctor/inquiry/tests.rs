//! An inquiry on a virtual clock, with nodes that answer as they are told.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::collections::BTreeMap;
use std::sync::Arc;

use dhtnet_dht_core::Contact;
use dhtnet_dht_core::blocklist::Blocklist;
use dhtnet_dht_core::krpc::{Body, Message, Nodes, Response, write_compact_node};
use rand_core::SeedableRng;

use super::*;
use crate::doctor::facts::MtuReport;
use crate::doctor::survey::MAX_QUERIES;

const BOUND: &str = "0.0.0.0:4000";
const LOCAL: &str = "192.168.1.10";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The network: what it does with a packet, by its length.
struct World {
    inquiry: Inquiry,
    now: Instant,
    began: Instant,
    /// Nodes with the outside address that each sees.
    nodes: BTreeMap<SocketAddr, SocketAddr>,
    /// Longest payload that gets through.
    longest: usize,
    /// Whether packets to the own outside address come back.
    turns_back: bool,
    sent: Vec<Outgoing>,
}

impl World {
    fn new(nodes: &[(&str, &str)]) -> Self {
        let now = Instant::now();
        let wanted = [Wanted::Peers(Id::hash_of(b"place"))];
        let local = [LOCAL.parse().unwrap()];
        let rng = ChaCha20Rng::seed_from_u64(7);
        let company = Company {
            network: None,
            blocked: Arc::new(Blocklist::parse(b"x:11.0.66.0-11.0.66.255").unwrap()),
        };
        Self {
            inquiry: Inquiry::new(now, (at(BOUND), &local), &company, &wanted, rng),
            now,
            began: now,
            nodes: nodes.iter().map(|(a, b)| (at(a), at(b))).collect(),
            longest: 1_472,
            turns_back: false,
            sent: Vec::new(),
        }
    }

    /// Lets it run until nothing is waited for; how long it took.
    fn run(&mut self) -> Duration {
        for _ in 0..10_000 {
            self.inquiry.handle_timeout(self.now);
            while let Some(outgoing) = self.inquiry.poll_transmit(self.now) {
                self.sent.push(outgoing.clone());
                self.deliver(&outgoing);
            }
            if self.inquiry.is_done(self.now) {
                return self.now - self.began;
            }
            let next = self.inquiry.poll_timeout().unwrap();
            self.now = next.max(self.now + Duration::from_micros(1));
        }
        panic!("it never ends");
    }

    fn deliver(&mut self, outgoing: &Outgoing) {
        if outgoing.payload.len() > self.longest {
            return;
        }
        let Some(external) = self.nodes.get(&outgoing.to).copied() else {
            let comes_back = self.turns_back && self.nodes.values().any(|at| *at == outgoing.to);
            if comes_back {
                let (now, from) = (self.now, outgoing.to);
                self.inquiry.handle_datagram(now, from, &outgoing.payload);
            }
            return;
        };
        let query = Message::decode(&outgoing.payload).unwrap();
        assert!(query.read_only, "who answers nothing says so (BEP 43)");
        let mut known = Vec::new();
        for (number, address) in (1..9).zip(self.nodes.keys()) {
            let id = Id::from_slice(&[number; 20]).unwrap();
            write_compact_node(&mut known, &Contact::new(id, *address));
        }
        let mut response = Response::new(Id::from_slice(&[1; 20]).unwrap());
        response.nodes = Nodes::new(Family::V4, &known);
        let answer = Message {
            body: Body::Response(response),
            external: Some(external),
            read_only: false,
            ..query
        };
        let mut encoded = Vec::new();
        answer.encode(&mut encoded);
        let now = self.now;
        self.inquiry.handle_datagram(now, outgoing.to, &encoded);
    }
}

#[test]
fn silence_ends_in_time() {
    let mut world = World::new(&[]);
    for number in 0..100 {
        let node = SocketAddr::from(([11, 0, number, 1], 6881));
        world.inquiry.add_node(world.now, node);
    }
    assert_eq!(world.run(), INQUIRY_LIMIT);
    assert!(world.inquiry.is_over(world.now));
    assert!(world.sent.len() <= 3 * MAX_QUERIES);
}

#[test]
fn blocked_nodes_are_not_asked() {
    let nodes = [
        ("11.0.1.1:6881", "11.9.9.9:4000"),
        ("11.0.66.1:6881", "11.9.9.9:4000"),
    ];
    let mut world = World::new(&nodes);
    for (node, _) in nodes {
        world.inquiry.add_node(world.now, at(node));
    }
    world.run();
    assert_eq!(world.inquiry.facts().asked, [at("11.0.1.1:6881")]);
}

#[test]
fn one_silent_node_is_given_up_before_the_limit() {
    let mut world = World::new(&[]);
    world.inquiry.add_node(world.now, at("11.0.1.1:6881"));
    assert_eq!(world.run(), Duration::from_secs(2));
    assert_eq!(world.sent.len(), 3, "sent three times");
    let facts = world.inquiry.facts();
    assert_eq!(facts.asked, [at("11.0.1.1:6881")]);
    assert!(facts.answers.is_empty());
}

#[test]
fn a_node_tells_of_others_and_each_is_asked_once() {
    let nodes = [
        ("11.0.1.1:6881", "11.9.9.9:4000"),
        ("11.0.2.1:6881", "11.9.9.9:4000"),
        ("11.0.3.1:6881", "11.9.9.9:4001"),
    ];
    let mut world = World::new(&nodes);
    world.turns_back = true;
    world.inquiry.add_node(world.now, at(nodes[0].0));
    assert!(world.run() < Duration::from_secs(1));
    let facts = world.inquiry.facts();
    assert_eq!(facts.answers.len(), 3);
    let mut orders: Vec<usize> = facts.answers.iter().map(|answer| answer.order).collect();
    orders.sort_unstable();
    assert_eq!(orders, [0, 1, 2]);
    assert_eq!(facts.answers[0].external, Some(at("11.9.9.9:4000")));
    assert_eq!(facts.hairpin, Some(true));
    assert!(facts.mtu.tried.iter().all(|(_, passed)| *passed));
}

#[test]
fn queries_are_bounded_however_many_nodes_are_told_of() {
    let nodes: Vec<(String, String)> = (0..200)
        .map(|n| (format!("11.0.{n}.1:6881"), "11.9.9.9:4000".to_owned()))
        .collect();
    let nodes: Vec<(&str, &str)> = nodes.iter().map(|(a, b)| (&**a, &**b)).collect();
    let mut world = World::new(&nodes);
    for (node, _) in &nodes {
        world.inquiry.add_node(world.now, at(node));
    }
    world.run();
    assert_eq!(world.inquiry.facts().answers.len(), MAX_QUERIES);
}

#[test]
fn an_outside_address_that_does_not_turn_back_is_tried_twice() {
    let mut world = World::new(&[("11.0.1.1:6881", "11.9.9.9:4000")]);
    world.inquiry.add_node(world.now, at("11.0.1.1:6881"));
    world.run();
    assert_eq!(world.inquiry.facts().hairpin, Some(false));
    let to_self = world
        .sent
        .iter()
        .filter(|one| one.to == at("11.9.9.9:4000"));
    assert_eq!(to_self.count(), 2);
}

#[test]
fn an_own_outside_address_is_not_sent_to() {
    let mut world = World::new(&[("11.0.1.1:6881", "192.168.1.10:4000")]);
    world.inquiry.add_node(world.now, at("11.0.1.1:6881"));
    world.run();
    assert_eq!(world.inquiry.facts().hairpin, None);
}

#[test]
fn packets_are_exactly_as_long_as_they_are_said_to_be() {
    let mut world = World::new(&[("11.0.1.1:6881", "11.9.9.9:4000")]);
    world.inquiry.add_node(world.now, at("11.0.1.1:6881"));
    world.run();
    let lens: Vec<usize> = world
        .sent
        .iter()
        .map(|one| one.payload.len() + 28)
        .collect();
    for length in [1_228, 1_280, 1_400, 1_500] {
        assert!(lens.contains(&length), "{length}: {lens:?}");
    }
}

#[test]
fn a_black_hole_is_asked_about_at_two_nodes() {
    let nodes = [
        ("11.0.1.1:6881", "11.9.9.9:4000"),
        ("11.0.2.1:6881", "11.9.9.9:4000"),
    ];
    let mut world = World::new(&nodes);
    world.longest = 1_300;
    world.inquiry.add_node(world.now, at(nodes[0].0));
    assert!(world.run() < INQUIRY_LIMIT);
    let mtu = world.inquiry.facts().mtu;
    let tried = [(1_228, true), (1_280, true), (1_400, false), (1_500, false)];
    assert_eq!((mtu.tried.as_slice(), mtu.reported), (&tried[..], None));
    for (node, _) in nodes {
        let long = |one: &&Outgoing| one.to == at(node) && one.payload.len() == 1_472;
        assert_eq!(world.sent.iter().filter(long).count(), 3, "{node}");
    }
}

#[test]
fn a_routers_report_ends_the_search() {
    let mut world = World::new(&[("11.0.1.1:6881", "11.9.9.9:4000")]);
    world.longest = 1_300;
    world.inquiry.add_node(world.now, at("11.0.1.1:6881"));
    let (by, mtu) = ("192.168.1.1".parse().unwrap(), 1_300);
    world.inquiry.handle_report(by, Heard::TooBig { mtu });
    world.run();
    let reported = world.inquiry.facts().mtu.reported;
    assert_eq!(reported, Some(MtuReport::Router { by, mtu }));
}

#[test]
fn reports_are_kept_once_each_and_bounded() {
    let mut world = World::new(&[]);
    for number in 0..=u8::MAX {
        for _ in 0..2 {
            let by = IpAddr::from([11, 0, 0, number]);
            let heard = Heard::Trouble(Trouble::PortClosed);
            world.inquiry.handle_report(by, heard);
        }
    }
    assert_eq!(world.inquiry.facts().reports.len(), MAX_REPORTS);
}

#[test]
fn answers_of_strangers_and_of_other_networks_are_passed_over() {
    let mut world = World::new(&[]);
    world.inquiry.add_node(world.now, at("11.0.1.1:6881"));
    let asked = world.inquiry.poll_transmit(world.now).unwrap();
    let query = Message::decode(&asked.payload).unwrap();
    let answer = |network, transaction| {
        let body = Body::Response(Response::new(Id::from_slice(&[1; 20]).unwrap()));
        let mut encoded = Vec::new();
        Message {
            body,
            network,
            transaction,
            ..query
        }
        .encode(&mut encoded);
        encoded
    };
    let now = world.now;
    let right = answer(None, query.transaction);
    let foreign = answer(Some(NetworkTag([1; 8])), query.transaction);
    for (from, datagram) in [
        ("11.0.1.2:6881", &right),
        ("11.0.1.1:6882", &right),
        ("11.0.1.1:6881", &foreign),
        ("11.0.1.1:6881", &answer(None, b"none")),
        ("11.0.1.1:6881", &asked.payload),
        ("11.0.1.1:6881", &right[..9].to_vec()),
    ] {
        world.inquiry.handle_datagram(now, at(from), datagram);
        assert!(world.inquiry.facts().answers.is_empty(), "{from}");
    }
    world
        .inquiry
        .handle_datagram(now, at("11.0.1.1:6881"), &right);
    assert_eq!(world.inquiry.facts().answers.len(), 1);
}
