//! Devices behind NATs find each other through the DHT, and a path through both NATs.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use dhtnet_tests::device::{Device, FOUND, await_found};
use dhtnet_tests::dht_peers::PeerError;
use dhtnet_tests::dht_peers::dhtnode::{Settings, command};
use dhtnet_tests::dht_peers::driver::Driver;
use dhtnet_tests::home_router::RouterError;
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Families, Finished, Host, INTERFACE, Lab, Lan, Process};
use dhtnet_tests::nat_router::{Nat, NatRouter};

use crate::dht_segment::PORT;
use crate::pair::{LIMIT, tools};
use crate::policy_matrix::printed;

/// How long a node of the DHT may take until it is told of its neighbours.
const SETTLE: Duration = Duration::from_millis(1_500);

/// Two devices, each alone behind a NAT of its own, and nodes of the DHT outside. The devices and
/// the nodes end first, the networks last.
pub(crate) struct Street {
    pub(crate) listener: Device,
    pub(crate) caller: Device,
    pub(crate) entry: String,
    pub(crate) nodes: Vec<(Node, Host)>,
    pub(crate) routers: [NatRouter; 2],
    pub(crate) outside: Lan,
    pub(crate) lab: Lab,
}

/// `nodes` of the DHT, each in a /24 of its own: a NAT's kind is judged by what they see.
pub(crate) fn street(name: &str, nats: [Nat; 2], nodes: u8) -> Option<Street> {
    street_with(name, nats, (nodes, &["run"]))
}

/// As [`street`]; the nodes do what these words of `dhtnode` say.
pub(crate) fn street_with(
    name: &str,
    nats: [Nat; 2],
    (nodes, words): (u8, &[&str]),
) -> Option<Street> {
    street_of(name, nats, nodes, |host, place| {
        let (own, entry, folder) = place;
        let settings = Settings {
            bind: own,
            bootstrap: entry,
            network: None,
            home: &folder,
        };
        let node = command(host, &tools(), settings).unwrap().args(words);
        Some(Node::Own(node.start().unwrap()))
    })
}

/// A node of the DHT.
pub(crate) enum Node {
    Own(Process),
    Foreign { _running: Driver },
}

/// Where a node of the DHT listens, whom it enters by, and a folder of its own.
type NodePlace = (SocketAddrV4, Option<SocketAddrV4>, PathBuf);

/// The same with nodes of some kind; none where one cannot be started.
fn street_of(
    name: &str,
    nats: [Nat; 2],
    nodes: u8,
    start: impl Fn(&Host, NodePlace) -> Option<Node>,
) -> Option<Street> {
    let lab = lab_or_skip(name)?;
    let (tools, outside) = (tools(), lab.lan().unwrap());
    let entry = SocketAddrV4::new(Ipv4Addr::new(11, 0, 200, 1), PORT);
    let mut running: Vec<(Node, Host)> = Vec::new();
    for number in 0..nodes {
        let host = lab.host("node").unwrap();
        outside.attach(&host, Families::V4).unwrap();
        let own = SocketAddrV4::new(Ipv4Addr::new(11, 0, 200 + number, 1), PORT);
        let change = format!(
            "addr flush dev {INTERFACE}\naddr add {}/16 dev {INTERFACE}",
            own.ip()
        );
        host.ip(&change).unwrap();
        let folder = lab.folder().join(format!("node-{number}"));
        let place = (own, (number > 0).then_some(entry), folder);
        running.push((start(&host, place)?, host));
    }
    let mut routers = Vec::new();
    for (nat, number) in nats.into_iter().zip(1..) {
        match NatRouter::new(&lab, &outside, (nat, number)) {
            Ok(router) => routers.push(router),
            Err(error @ RouterError::Missing(_)) => {
                report(name, &error.to_string());
                return None;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let [listener, caller] = [0, 1].map(|at: usize| {
        let inside = routers[at].inside(&lab, 10).unwrap();
        Device::new(inside, &tools).unwrap()
    });
    std::thread::sleep(SETTLE);
    Some(Street {
        listener,
        caller,
        entry: entry.to_string(),
        nodes: running,
        routers: routers.try_into().unwrap(),
        outside,
        lab,
    })
}

impl Street {
    /// `dnc -l` that lets this id in, once it can be found.
    fn listen(&self, allowed: &str) -> Process {
        let listener = self
            .listener
            .dnc()
            .args(["-l", "-vv", "--no-mdns", "--no-portmap"])
            .args(["--bootstrap", &self.entry, "--allow", allowed])
            .stdin_bytes("from the listener");
        let mut listener = self.listener.listen(listener).unwrap();
        await_found(&mut listener, LIMIT).unwrap();
        listener
    }

    /// `dnc` to the listener, of which it knows the id alone.
    fn call(&self, seconds: &str) -> Finished {
        let caller = self
            .caller
            .dnc()
            .args(["-vv", "--no-mdns", "-w", seconds])
            .args(["--bootstrap", &self.entry, self.listener.id()])
            .stdin_bytes("from the caller");
        caller.start().unwrap().finish(LIMIT).unwrap()
    }
}

/// Both ways, through both NATs, with nothing in between.
fn a_call_comes_through(name: &str, nats: [Nat; 2], nodes: u8) {
    let Some(street) = street(name, nats, nodes) else {
        return;
    };
    let listener = street.listen(street.caller.id());
    let caller = street.call("20");
    let said = format!("{}; the listener: {}", caller.stderr, listener.stderr());
    assert_eq!(caller.code(), Some(0), "{said}");
    assert_eq!(caller.text(), "from the listener");
    assert!(caller.stderr.contains("via direct 11.0.1.101:"), "{said}");
    let listener = listener.finish(LIMIT).unwrap();
    assert_eq!(listener.code(), Some(0), "{}", listener.stderr);
    assert_eq!(listener.text(), "from the caller");
    drop(street.lab);
}

#[test]
fn two_port_restricted_nats_and_one_bootstrap_address() {
    let name = "two_port_restricted_nats_and_one_bootstrap_address";
    a_call_comes_through(name, [Nat::PortRestricted, Nat::PortRestricted], 1);
}

#[test]
fn a_full_cone_and_a_symmetric_nat() {
    let name = "a_full_cone_and_a_symmetric_nat";
    a_call_comes_through(name, [Nat::FullCone, Nat::Symmetric], 3);
}

#[test]
fn a_symmetric_listener_and_a_port_restricted_caller() {
    let name = "a_symmetric_listener_and_a_port_restricted_caller";
    a_call_comes_through(name, [Nat::Symmetric, Nat::PortRestricted], 3);
}

#[test]
fn a_port_restricted_listener_and_a_symmetric_caller() {
    let name = "a_port_restricted_listener_and_a_symmetric_caller";
    a_call_comes_through(name, [Nat::PortRestricted, Nat::Symmetric], 3);
}

#[test]
fn two_nats_that_count_their_ports() {
    let name = "two_nats_that_count_their_ports";
    a_call_comes_through(name, [Nat::Sequential, Nat::Sequential], 3);
}

#[test]
fn two_port_restricted_nats_in_a_network_whose_nodes_push_no_messages() {
    let name = "two_port_restricted_nats_in_a_network_whose_nodes_push_no_messages";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let plain = street_of(
        name,
        nats,
        3,
        |host, (own, entry, _)| match Driver::libtorrent(host, own, entry) {
            Ok(node) => Some(Node::Foreign { _running: node }),
            Err(error @ PeerError::Missing { .. }) => {
                report(name, &error.to_string());
                None
            }
            Err(error) => panic!("{error}"),
        },
    );
    let Some(street) = plain else {
        return;
    };
    let mut listener = street.listen(street.caller.id());
    listener
        .await_line("that others see its address", LIMIT, |line| {
            (line.contains(FOUND) && line.contains("11.0.1.101")).then_some(())
        })
        .unwrap();
    let caller = street.call("40");
    let said = format!("{}; the listener: {}", caller.stderr, listener.stderr());
    assert_eq!(caller.code(), Some(0), "{said}");
    assert_eq!(caller.text(), "from the listener");
    assert!(caller.stderr.contains("knocked"), "{said}");
}

#[test]
fn two_nats_with_random_ports_are_told_as_unreachable() {
    let name = "two_nats_with_random_ports_are_told_as_unreachable";
    let Some(street) = street(name, [Nat::Symmetric, Nat::Symmetric], 3) else {
        return;
    };
    let _listener = street.listen(street.caller.id());
    let caller = street.call("20");
    assert_eq!(caller.code(), Some(3), "{}", caller.stderr);
}

#[test]
fn a_caller_who_is_not_allowed_gets_no_packet_from_behind_the_nat() {
    let name = "a_caller_who_is_not_allowed_gets_no_packet_from_behind_the_nat";
    let Some(street) = street(name, [Nat::PortRestricted, Nat::FullCone], 1) else {
        return;
    };
    // Some other device; the caller's offer reaches the listener all the same.
    let listener = street.listen(street.listener.id());
    let caller = street.call("4");
    assert_eq!(caller.code(), Some(3), "{}", caller.stderr);
    let said = listener.stderr();
    assert!(said.contains("not allowed in"), "{said}");
    assert!(!said.contains("answering a call"), "{said}");
}

#[test]
fn a_caller_whom_only_a_capability_lets_in_is_answered_from_behind_the_nat() {
    let name = "a_caller_whom_only_a_capability_lets_in_is_answered_from_behind_the_nat";
    let nats = [Nat::PortRestricted, Nat::PortRestricted];
    let Some(street) = street(name, nats, 1) else {
        return;
    };
    let policy = street.listener.home().join("policy.toml");
    std::fs::write(policy, "version = 1\n").unwrap();
    let words = ["grant", street.caller.id(), "dnc.pipe", "--until", "1h"];
    let capability = printed(street.listener.crtmgr().args(words));
    printed(street.caller.crtmgr().args(["import", &capability]));
    // By the flags some other device is let in.
    let listener = street.listen(street.listener.id());
    let caller = street.call("20");
    let said = format!("{}; the listener: {}", caller.stderr, listener.stderr());
    assert_eq!(caller.code(), Some(0), "{said}");
    assert_eq!(caller.text(), "from the listener");
    assert_eq!(listener.finish(LIMIT).unwrap().text(), "from the caller");
}
