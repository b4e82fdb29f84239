//! Hosts behind routers: who hears whom, and from which address.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_simnet::{
    Endpoint, HostId, Internet, NatModel, NatPorts, NetworkConfig, Packet, Place, RouterConfig,
    STREAM_PORT,
};

#[derive(Default)]
struct Node {
    outbox: Vec<Packet>,
    /// The socket it came to, and from whom.
    inbox: Vec<(SocketAddr, SocketAddr)>,
}

impl Endpoint for Node {
    fn handle_datagram(&mut self, _: Instant, local: SocketAddr, source: SocketAddr, _: &[u8]) {
        self.inbox.push((local, source));
    }
    fn handle_timeout(&mut self, _: Instant) {}
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn poll_packet(&mut self, _: Instant) -> Option<Packet> {
        self.outbox.pop()
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn empty() -> Internet<Node> {
    Internet::new(Instant::now(), NetworkConfig::default(), 3)
}

fn say(net: &mut Internet<Node>, from: HostId, local: &str, to: &str) {
    let packet = Packet {
        local: at(local),
        destination: at(to),
        payload: vec![1],
    };
    net.drive(from, |node, _| node.outbox.push(packet));
    net.run_for(Duration::from_secs(1));
}

/// The last that was heard, taken out.
fn heard(net: &mut Internet<Node>, id: HostId) -> Option<(SocketAddr, SocketAddr)> {
    net.drive(id, |node, _| node.inbox.pop())
}

#[test]
fn two_nats_one_behind_the_other_translate_both_and_let_the_answer_back() {
    let mut net = empty();
    let nat = RouterConfig::new(NatModel::port_restricted());
    let carrier = net.add_router(Place::Public, ip("11.0.0.1"), nat);
    let home = net.add_router(Place::Behind(carrier), ip("100.64.0.2"), nat);
    let inner = net.add_host(Place::Behind(home), &[ip("192.168.1.2")], Node::default());
    let far = net.add_host(Place::Public, &[ip("11.0.9.9")], Node::default());

    say(&mut net, far, "11.0.9.9:9", "11.0.0.1:5");
    assert_eq!(heard(&mut net, inner), None);
    say(&mut net, inner, "192.168.1.2:5", "11.0.9.9:9");
    assert_eq!(heard(&mut net, far).unwrap().1, at("11.0.0.1:5"));
    say(&mut net, far, "11.0.9.9:9", "11.0.0.1:5");
    let (local, source) = heard(&mut net, inner).unwrap();
    assert_eq!((local, source), (at("192.168.1.2:5"), at("11.0.9.9:9")));
    assert_eq!((net.entries(carrier), net.entries(home)), (1, 1));
}

#[test]
fn hosts_behind_one_nat_share_its_address_and_meet_by_it_only_with_hairpin() {
    let mut net = empty();
    let nat = NatModel::full_cone();
    let router = net.add_router(Place::Public, ip("11.0.0.1"), RouterConfig::new(nat));
    let place = Place::Behind(router);
    let a = net.add_host(place, &[ip("192.168.1.2")], Node::default());
    let b = net.add_host(place, &[ip("192.168.1.3")], Node::default());
    let far = net.add_host(Place::Public, &[ip("11.0.9.9")], Node::default());

    say(&mut net, a, "192.168.1.2:5", "11.0.9.9:9");
    assert_eq!(heard(&mut net, far).unwrap().1, at("11.0.0.1:5"));
    say(&mut net, b, "192.168.1.3:5", "11.0.9.9:9");
    assert_eq!(heard(&mut net, far).unwrap().1, at("11.0.0.1:6"));

    say(&mut net, a, "192.168.1.2:5", "192.168.1.3:5");
    assert_eq!(heard(&mut net, b).unwrap().1, at("192.168.1.2:5"));
    say(&mut net, a, "192.168.1.2:5", "11.0.0.1:6");
    assert_eq!(heard(&mut net, b), None);

    net.reboot(router, RouterConfig::new(nat.with_hairpin()));
    say(&mut net, a, "192.168.1.2:5", "11.0.9.9:9");
    say(&mut net, b, "192.168.1.3:5", "11.0.9.9:9");
    say(&mut net, a, "192.168.1.2:5", "11.0.0.1:6");
    assert_eq!(heard(&mut net, b).unwrap().1, at("11.0.0.1:5"));
}

#[test]
fn an_ipv6_host_keeps_its_address_and_hears_only_whom_it_has_sent_to() {
    let mut net = empty();
    let wall = RouterConfig::new(NatModel::port_restricted());
    let router = net.add_router(Place::Public, ip("11.0.0.1"), wall);
    let inner = net.add_host(Place::Behind(router), &[ip("2a00::2")], Node::default());
    let far = net.add_host(Place::Public, &[ip("2a01::9")], Node::default());
    say(&mut net, far, "[2a01::9]:9", "[2a00::2]:5");
    assert_eq!(heard(&mut net, inner), None);
    say(&mut net, inner, "[2a00::2]:5", "[2a01::9]:9");
    assert_eq!(heard(&mut net, far).unwrap().1, at("[2a00::2]:5"));
    say(&mut net, far, "[2a01::9]:9", "[2a00::2]:5");
    assert!(heard(&mut net, inner).is_some());
    say(&mut net, far, "[2a01::9]:8", "[2a00::2]:5");
    assert_eq!(heard(&mut net, inner), None);
}

#[test]
fn a_wall_lets_only_the_stream_port_through() {
    let mut net = empty();
    let wall = RouterConfig::new(NatModel::port_restricted()).with_udp_blocked();
    let router = net.add_router(Place::Public, ip("11.0.0.1"), wall);
    let inner = net.add_host(Place::Behind(router), &[ip("192.168.1.2")], Node::default());
    let far = net.add_host(Place::Public, &[ip("11.0.9.9")], Node::default());
    say(&mut net, inner, "192.168.1.2:5", "11.0.9.9:444");
    assert_eq!(heard(&mut net, far), None);
    let stream = format!("11.0.9.9:{STREAM_PORT}");
    say(&mut net, inner, "192.168.1.2:5", &stream);
    assert!(heard(&mut net, far).is_some());
    say(&mut net, far, &stream, "11.0.0.1:5");
    assert!(heard(&mut net, inner).is_some());
}

#[test]
fn a_nat_that_starts_again_has_other_ports_and_a_host_can_move() {
    let mut net = empty();
    let ports = |low| NatPorts::Random {
        low,
        high: low + 99,
    };
    let nat = |low| RouterConfig::new(NatModel::port_restricted().with_ports(ports(low)));
    let router = net.add_router(Place::Public, ip("11.0.0.1"), nat(2_000));
    let inner = net.add_host(Place::Behind(router), &[ip("192.168.1.2")], Node::default());
    let far = net.add_host(Place::Public, &[ip("11.0.9.9")], Node::default());
    let source = |net: &mut Internet<Node>| {
        say(net, inner, "192.168.1.2:5", "11.0.9.9:9");
        heard(net, far).unwrap().1
    };
    let before = source(&mut net);
    assert_eq!(source(&mut net), before);
    net.reboot(router, nat(3_000));
    assert!(source(&mut net).port() >= 3_000);
    net.move_host(inner, Place::Public, &[ip("11.0.7.7")]);
    say(&mut net, inner, "11.0.7.7:5", "11.0.9.9:9");
    assert_eq!(heard(&mut net, far).unwrap().1, at("11.0.7.7:5"));
    say(&mut net, far, "11.0.9.9:9", &before.to_string());
    assert_eq!(heard(&mut net, inner), None);
}

#[test]
fn a_forwarded_port_lets_everybody_in_and_answers_leave_from_it() {
    let mut net = empty();
    let nat = RouterConfig::new(NatModel::symmetric());
    let router = net.add_router(Place::Public, ip("11.0.0.1"), nat);
    let inner = net.add_host(Place::Behind(router), &[ip("192.168.1.2")], Node::default());
    let far = net.add_host(Place::Public, &[ip("11.0.9.9")], Node::default());
    net.forward_port(router, 700, at("192.168.1.2:5"));
    say(&mut net, far, "11.0.9.9:9", "11.0.0.1:700");
    assert_eq!(heard(&mut net, inner).unwrap().1, at("11.0.9.9:9"));
    say(&mut net, inner, "192.168.1.2:5", "11.0.9.9:9");
    assert_eq!(heard(&mut net, far).unwrap().1, at("11.0.0.1:700"));
    say(&mut net, inner, "192.168.1.2:5", "11.0.9.9:10");
    assert_ne!(heard(&mut net, far).unwrap().1, at("11.0.0.1:700"));
    net.reboot(router, nat);
    say(&mut net, far, "11.0.9.9:9", "11.0.0.1:700");
    assert_eq!(heard(&mut net, inner), None);
}
