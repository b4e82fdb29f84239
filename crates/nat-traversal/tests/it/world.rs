//! Two peers in a simulated internet, each with a session, and a relay that both can use.

#![allow(clippy::disallowed_methods, reason = "an instant to count from")]

mod actors;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, UNIX_EPOCH};

use dhtnet_nat_traversal::candidate::{Candidate, CandidateKind, SocketId};
use dhtnet_nat_traversal::offer::{SessionId, Wish};
use dhtnet_nat_traversal::punch::Role;
use dhtnet_nat_traversal::session::{PathKind, Session};
use dhtnet_simnet::{HostId, Internet, NetworkConfig, Packet, Place, RouterId, STREAM_PORT};

use self::actors::{
    Actor, FIRST_ALLOCATION, MAIN_6, MAIN_PORT, Peer, REFLECTOR_PORT, RELAY, RELAYED, Relay, write,
};
use super::kinds::Kind;

const MAPPED_PORT: u16 = 7_000;
const REFLECTORS: u8 = 8;

/// Signalling takes so long from one side to the other.
const SIGNALLING: Duration = Duration::from_millis(100);

/// Whether `a` has had its router open a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upnp {
    Off,
    On,
}

/// What came of one run.
pub(super) struct Outcome {
    /// Time until both sides had any path.
    pub(super) connected: Option<Duration>,
    /// Time until both sides had one that is not relayed.
    pub(super) direct: Option<Duration>,
    /// Most NAT entries at once, at the router that had more.
    pub(super) entries: usize,
    /// Most packets of one side in any second.
    pub(super) packets_per_second: usize,
    /// Most sockets that one side had open beyond its own.
    pub(super) sockets: usize,
    /// Sockets that were open in the end and carried no path.
    pub(super) leaked: usize,
    /// Packets of the session after it gave up.
    pub(super) after_end: usize,
    /// All packets of both sessions.
    pub(super) packets: usize,
}

/// 5 to 85 ms one way, and one packet in a hundred lost.
fn paths() -> NetworkConfig {
    NetworkConfig::default()
        .with_delay(Duration::from_millis(5), Duration::from_millis(80))
        .with_loss(0.01)
}

struct Side {
    host: HostId,
    routers: Vec<RouterId>,
    kind: Kind,
}

fn build(net: &mut Internet<Actor>, kind: Kind, number: u8, seed: u64) -> Side {
    let outer = IpAddr::V4(Ipv4Addr::new(11, 0, number, 1));
    let mut place = Place::Public;
    let mut routers = Vec::new();
    for (depth, config) in kind.routers().into_iter().enumerate() {
        let address = match depth {
            0 => outer,
            _ => IpAddr::V4(Ipv4Addr::new(100, 64, number, depth as u8)),
        };
        let router = net.add_router(place, address, config);
        place = Place::Behind(router);
        routers.push(router);
    }
    attach(net, (kind, number), routers, seed)
}

/// A host behind these routers, or a public one where there are none.
fn attach(
    net: &mut Internet<Actor>,
    (kind, number): (Kind, u8),
    routers: Vec<RouterId>,
    seed: u64,
) -> Side {
    let place = routers.last().map_or(Place::Public, |r| Place::Behind(*r));
    let v4 = if routers.is_empty() {
        IpAddr::V4(Ipv4Addr::new(11, 0, number, 1))
    } else {
        IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10 + number))
    };
    let v6 = kind
        .has_ipv6()
        .then(|| IpAddr::V6(Ipv6Addr::new(0x2a00, number.into(), 0, 0, 0, 0, 0, 2)));
    let peer = Peer::new(v4, v6, seed ^ u64::from(number));
    let addresses: Vec<IpAddr> = [Some(v4), v6].into_iter().flatten().collect();
    let host = net.add_host(place, &addresses, Actor::Peer(Box::new(peer)));
    Side {
        host,
        routers,
        kind,
    }
}

fn reflector(number: u8) -> SocketAddr {
    SocketAddr::from(([11, 0, 101, number + 1], REFLECTOR_PORT))
}

fn peer(net: &Internet<Actor>, id: HostId) -> &Peer {
    match net.endpoint(id) {
        Actor::Peer(peer) => peer,
        _ => panic!("not a peer"),
    }
}

fn with_peer<R>(
    net: &mut Internet<Actor>,
    id: HostId,
    action: impl FnOnce(&mut Peer, Instant) -> R,
) -> R {
    net.drive(id, |actor, now| match actor {
        Actor::Peer(peer) => action(peer, now),
        _ => panic!("not a peer"),
    })
}

/// Asks all reflectors, one after the other, and begins the background traffic.
fn measure(net: &mut Internet<Actor>, side: &Side) {
    for number in 0..REFLECTORS {
        with_peer(net, side.host, |peer, _| {
            let packet = Packet {
                local: peer.local(SocketId::MAIN),
                destination: reflector(number),
                payload: vec![0; 20],
            };
            peer.outbox.push_back(packet);
        });
        net.run_for(Duration::from_millis(20));
    }
    with_peer(net, side.host, |peer, now| peer.background_at = Some(now));
}

fn start(net: &mut Internet<Actor>, side: &Side, role: Role, id: SessionId, seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8] = u8::from(role == Role::Controlling);
    let kind = side.kind;
    with_peer(net, side.host, |peer, now| {
        let mut session = Session::new(now, role, id, bytes);
        session.set_nat(peer.profile(kind));
        let mut add = |kind, address, socket| {
            session.add_candidate(Candidate::new(kind, address), socket);
        };
        if let Some(v6) = peer.v6 {
            add(CandidateKind::Host, SocketAddr::new(v6, MAIN_PORT), MAIN_6);
        }
        let host = SocketAddr::new(peer.v4, MAIN_PORT);
        add(CandidateKind::Host, host, SocketId::MAIN);
        if let Some(seen) = peer.samples.values().last() {
            add(CandidateKind::ServerReflexive, *seen, SocketId::MAIN);
        }
        peer.session = Some(session);
    });
}

/// The sides open their allocations, the first one at the lower port.
fn allocate(net: &mut Internet<Actor>, side: &Side, index: u16) {
    let address = SocketAddr::new(RELAY, FIRST_ALLOCATION + index);
    with_peer(net, side.host, |peer, _| {
        let nowhere = SocketAddr::from(([11, 0, 102, 1], 9));
        peer.outbox.push_back(Packet {
            local: peer.local(RELAYED),
            destination: SocketAddr::new(RELAY, STREAM_PORT),
            payload: write(nowhere, b"allocate"),
        });
    });
    net.run_for(Duration::from_millis(400));
    with_peer(net, side.host, |peer, _| {
        let candidate = Candidate::new(CandidateKind::Relayed, address);
        peer.session
            .as_mut()
            .unwrap()
            .add_candidate(candidate, RELAYED);
    });
}

fn tell(net: &mut Internet<Actor>, from: &Side, to: &Side, wish: Wish) {
    let offer = with_peer(net, from.host, |peer, _| {
        peer.session.as_ref().unwrap().offer(UNIX_EPOCH, wish)
    });
    net.run_for(SIGNALLING);
    with_peer(net, to.host, |peer, now| {
        peer.session.as_mut().unwrap().handle_offer(now, offer);
        peer.drain(now);
    });
}

/// Connects a peer behind `a`, who calls, with one behind `b`.
pub(super) fn connect(a: Kind, b: Kind, upnp: Upnp, seed: u64) -> Outcome {
    let mut net = servers(seed);
    let (a, b) = (build(&mut net, a, 1, seed), build(&mut net, b, 2, seed));
    prepare(&mut net, [&a, &b], seed);
    if upnp == Upnp::On {
        open_port(&mut net, &a);
    }
    run(&mut net, &a, &b)
}

/// The same, but for this long from the beginning no packet arrives.
pub(super) fn connect_in_storm(a: Kind, b: Kind, storm: Duration, seed: u64) -> Outcome {
    let mut net = servers(seed);
    let (a, b) = (build(&mut net, a, 1, seed), build(&mut net, b, 2, seed));
    prepare(&mut net, [&a, &b], seed);
    net.reconfigure(NetworkConfig::default().with_loss(1.0));
    let begun = call(&mut net, &a, &b);
    net.run_for(storm.saturating_sub(net.now() - begun));
    net.reconfigure(paths());
    finish(&mut net, [&a, &b], begun)
}

/// Connects two peers behind the same NAT.
pub(super) fn connect_neighbours(kind: Kind, seed: u64) -> Outcome {
    let mut net = servers(seed);
    let a = build(&mut net, kind, 1, seed);
    let b = attach(&mut net, (kind, 2), a.routers.clone(), seed);
    prepare(&mut net, [&a, &b], seed);
    run(&mut net, &a, &b)
}

/// An internet with a relay and reflectors.
fn servers(seed: u64) -> Internet<Actor> {
    let mut net = Internet::new(Instant::now(), paths(), seed);
    net.add_host(Place::Public, &[RELAY], Actor::Relay(Relay::default()));
    let at: Vec<IpAddr> = (0..REFLECTORS).map(|n| reflector(n).ip()).collect();
    net.add_host(Place::Public, &at, Actor::Reflector(VecDeque::new()));
    net
}

/// Both sides find out what they can and begin their sessions.
fn prepare(net: &mut Internet<Actor>, [a, b]: [&Side; 2], seed: u64) {
    let (for_a, for_b) = if seed.is_multiple_of(2) {
        (Role::Controlling, Role::Controlled)
    } else {
        (Role::Controlled, Role::Controlling)
    };
    let id = SessionId(seed.to_be_bytes());
    for (index, (side, role)) in [(a, for_a), (b, for_b)].into_iter().enumerate() {
        measure(net, side);
        net.run_for(Duration::from_millis(200));
        start(net, side, role, id, seed);
        // The relay numbers its clients as they come; a lost packet would make them one.
        net.reconfigure(NetworkConfig::default().with_loss(0.0));
        allocate(net, side, index as u16);
        net.reconfigure(paths());
    }
}

/// As UPnP does at the router next to the host.
fn open_port(net: &mut Internet<Actor>, side: &Side) {
    let router = *side.routers.last().unwrap();
    let inner = with_peer(net, side.host, |peer, _| {
        let outer = peer.samples.values().last().unwrap().ip();
        let mapped = SocketAddr::new(outer, MAPPED_PORT);
        let candidate = Candidate::new(CandidateKind::Mapped, mapped);
        let session = peer.session.as_mut().unwrap();
        session.add_candidate(candidate, SocketId::MAIN);
        peer.local(SocketId::MAIN)
    });
    net.forward_port(router, MAPPED_PORT, inner);
}

fn run(net: &mut Internet<Actor>, a: &Side, b: &Side) -> Outcome {
    let begun = call(net, a, b);
    finish(net, [a, b], begun)
}

/// `a` calls and `b` answers. Returns when.
fn call(net: &mut Internet<Actor>, a: &Side, b: &Side) -> Instant {
    let begun = net.now();
    tell(net, a, b, Wish::Connect);
    tell(net, b, a, Wish::Answer);
    begun
}

/// Lets both try, and says what came of it.
fn finish(net: &mut Internet<Actor>, [a, b]: [&Side; 2], begun: Instant) -> Outcome {
    net.run_for(Duration::from_secs(30));
    let sides = [peer(net, a.host), peer(net, b.host)];
    let both = |wanted: fn(PathKind) -> bool| {
        let times = sides.map(|side| side.first_path(wanted));
        let [Some(first), Some(second)] = times else {
            return None;
        };
        Some(first.max(second).saturating_duration_since(begun))
    };
    let after_end = sides.map(|side| {
        let end = side.gave_up.map(|(at, _)| at);
        side.sent_at
            .iter()
            .filter(|at| end.is_some_and(|end| **at > end))
            .count()
    });
    let second = Duration::from_secs(1);
    let rate = sides.map(|side| {
        let mut first = 0;
        let within = |(last, at): (usize, &Instant)| {
            while *at - side.sent_at[first] >= second {
                first += 1;
            }
            last + 1 - first
        };
        side.sent_at
            .iter()
            .enumerate()
            .map(within)
            .max()
            .unwrap_or(0)
    });
    let leaked = sides.map(|side| {
        let carries = usize::from(
            side.works
                .iter()
                .any(|(_, kind)| *kind == PathKind::Punched),
        );
        side.open_sockets.len().saturating_sub(carries)
    });
    let entries = [a, b].map(|side| {
        let of = |router: &RouterId| net.peak_entries(*router);
        side.routers.iter().map(of).max().unwrap_or(0)
    });
    Outcome {
        connected: both(|_| true),
        direct: both(|kind| kind != PathKind::Relayed),
        entries: entries[0].max(entries[1]),
        packets_per_second: rate[0].max(rate[1]),
        sockets: sides[0].most_sockets.max(sides[1].most_sockets),
        leaked: leaked[0] + leaked[1],
        after_end: after_end[0] + after_end[1],
        packets: sides[0].sent_at.len() + sides[1].sent_at.len(),
    }
}
