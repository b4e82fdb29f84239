//! Behaviour discovery against a small model of a NAT and of STUN servers, on a virtual clock.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_nat_traversal::behavior::{
    Allocation, Behavior, Discovery, Filtering, Hairpin, MAX_PACKETS, MAX_SERVERS, Mapping, TOTAL,
    Translation,
};
use dhtnet_nat_traversal::stun::{BindingResponse, ChangeRequest, Message, respond};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const INSIDE: &str = "192.168.1.10:6881";
const OUTSIDE: &str = "203.0.113.5:0";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Ports {
    Kept,
    /// From 40000 in steps, back to the start after so many.
    Sequential(u16, u16),
    /// In a range of 256 from 20000.
    Block,
    Random,
}

/// A NAT in RFC 4787 terms; without one, the socket stands in the open behind a firewall.
#[derive(Debug, Clone, Copy)]
struct Kind {
    nat: bool,
    mapping: Mapping,
    filtering: Filtering,
    ports: Ports,
    hairpin: bool,
}

struct Nat {
    kind: Kind,
    outside: BTreeMap<(IpAddr, u16), u16>,
    contacted: BTreeSet<SocketAddr>,
    taken: u16,
    rng: ChaCha20Rng,
}

impl Nat {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            outside: BTreeMap::new(),
            contacted: BTreeSet::new(),
            taken: 0,
            rng: ChaCha20Rng::seed_from_u64(11),
        }
    }

    /// The outside address of a packet to `to`.
    fn out(&mut self, to: SocketAddr) -> SocketAddr {
        self.contacted.insert(to);
        if !self.kind.nat {
            return address(INSIDE);
        }
        let key = match self.kind.mapping {
            Mapping::EndpointIndependent => (address(OUTSIDE).ip(), 0),
            Mapping::AddressDependent => (to.ip(), 0),
            Mapping::AddressAndPortDependent => (to.ip(), to.port()),
        };
        let random = self.rng.next_u32();
        let taken = &mut self.taken;
        let port = *self.outside.entry(key).or_insert_with(|| {
            *taken += 1;
            match self.kind.ports {
                Ports::Kept => address(INSIDE).port(),
                Ports::Sequential(step, len) => 40_000 + (*taken * step) % len,
                Ports::Block => 20_000 + (random % 256) as u16,
                Ports::Random => 1024 + (random % 64_000) as u16,
            }
        });
        SocketAddr::new(address(OUTSIDE).ip(), port)
    }

    /// Whether a packet from outside comes in.
    fn admits(&self, from: SocketAddr) -> bool {
        match self.kind.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.contacted.iter().any(|to| to.ip() == from.ip()),
            Filtering::AddressAndPortDependent => self.contacted.contains(&from),
        }
    }
}

/// STUN servers: with another address or without, or dead ones.
#[derive(Debug, Clone, Copy)]
enum Server {
    /// Its other address.
    Full(&'static str),
    /// Says it has another address, which is dead.
    Pretends(&'static str),
    Plain,
    Dead,
}

struct World {
    nat: Nat,
    servers: Vec<(SocketAddr, Server)>,
    /// One way, to the servers.
    delay: Duration,
    blocked: bool,
}

impl World {
    /// What the servers send back for a packet of ours, with its source.
    fn answer(
        &self,
        to: SocketAddr,
        seen: SocketAddr,
        request: &[u8],
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let Ok(Message::Request(request)) = Message::decode(request) else {
            panic!("only requests are sent")
        };
        for &(own, server) in &self.servers {
            let (other, lives) = match server {
                Server::Full(other) => (address(other), true),
                Server::Pretends(other) => (address(other), false),
                Server::Plain if own == to => return Some((own, respond(&request, seen))),
                Server::Plain | Server::Dead => continue,
            };
            let ips = [own.ip(), other.ip()];
            let ports = [own.port(), other.port()];
            if !ips.contains(&to.ip()) || !ports.contains(&to.port()) {
                continue;
            }
            let (mut ip, mut port) = (to.ip(), to.port());
            if matches!(
                request.change,
                Some(ChangeRequest::Address | ChangeRequest::AddressAndPort)
            ) {
                ip = ips[usize::from(ip == ips[0])];
            }
            if matches!(
                request.change,
                Some(ChangeRequest::Port | ChangeRequest::AddressAndPort)
            ) {
                port = ports[usize::from(port == ports[0])];
            }
            let from = SocketAddr::new(ip, port);
            if !lives && (from != own || to != own) {
                return None;
            }
            let mut response = BindingResponse::new(request.transaction_id, seen);
            response.other = Some(other);
            response.origin = Some(from);
            return Some((from, response.encode(None)));
        }
        None
    }

    /// Runs a discovery; says what it found, after how long, and with how many packets.
    fn run(&mut self) -> (Behavior, Duration, usize) {
        let begin = Instant::now();
        let servers: Vec<SocketAddr> = self.servers.iter().map(|(at, _)| *at).collect();
        let inside = address(INSIDE);
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let local = [inside.ip()];
        let mut discovery = Discovery::new(begin, (&local, inside.port()), &servers, &mut rng);
        let mut arriving: BTreeMap<(Instant, usize), (SocketAddr, Vec<u8>)> = BTreeMap::new();
        let (mut now, mut packets) = (begin, 0);
        loop {
            while let Some(transmit) = discovery.poll_transmit() {
                packets += 1;
                if self.blocked {
                    continue;
                }
                let to = transmit.destination;
                let seen = self.nat.out(to);
                if to.ip() == address(OUTSIDE).ip() {
                    if self.nat.kind.hairpin {
                        let at = now + Duration::from_millis(1);
                        arriving.insert((at, packets), (seen, transmit.payload.to_vec()));
                    }
                } else if let Some((from, answer)) = self.answer(to, seen, &transmit.payload)
                    && self.nat.admits(from)
                {
                    arriving.insert((now + 2 * self.delay, packets), (from, answer));
                }
            }
            if let Some(found) = discovery.result() {
                assert_eq!(discovery.poll_timeout(), None);
                return (found.clone(), now - begin, packets);
            }
            let timeout = discovery.poll_timeout().unwrap();
            match arriving.first_key_value() {
                Some((&key, _)) if key.0 <= timeout => {
                    now = key.0;
                    let (from, datagram) = arriving.remove(&key).unwrap();
                    discovery.handle_datagram(now, from, &datagram);
                }
                _ => {
                    now = timeout;
                    discovery.handle_timeout(now);
                }
            }
        }
    }
}

fn world(kind: Kind, servers: &[(&str, Server)]) -> World {
    World {
        nat: Nat::new(kind),
        servers: servers
            .iter()
            .map(|(at, server)| (address(at), *server))
            .collect(),
        delay: Duration::from_millis(20),
        blocked: false,
    }
}

const FULL: (&str, Server) = ("198.51.100.1:3478", Server::Full("198.51.100.2:3479"));
const SECOND: (&str, Server) = ("192.0.2.1:3478", Server::Full("192.0.2.2:3479"));

fn nat(mapping: Mapping, filtering: Filtering, ports: Ports) -> Kind {
    Kind {
        nat: true,
        mapping,
        filtering,
        ports,
        hairpin: false,
    }
}

#[test]
fn every_kind_of_nat_is_recognised() {
    use Filtering as F;
    use Mapping as M;
    let mappings = [
        M::EndpointIndependent,
        M::AddressDependent,
        M::AddressAndPortDependent,
    ];
    let filterings = [
        F::EndpointIndependent,
        F::AddressDependent,
        F::AddressAndPortDependent,
    ];
    for mapping in mappings {
        for filtering in filterings {
            for hairpin in [false, true] {
                let kind = Kind {
                    hairpin,
                    ..nat(mapping, filtering, Ports::Random)
                };
                let (found, took, packets) = world(kind, &[FULL]).run();
                assert_eq!(found.translation, Translation::Nat);
                assert_eq!(found.mapping, Some(mapping), "{kind:?}");
                assert_eq!(found.filtering, Some(filtering), "{kind:?}");
                assert_eq!(found.port_kept, Some(false));
                let expected = if hairpin {
                    Hairpin::Works
                } else {
                    Hairpin::Fails
                };
                assert_eq!(found.hairpin, expected, "{kind:?}");
                assert_eq!(found.samples.len(), 4);
                assert!(
                    took <= TOTAL && packets <= MAX_PACKETS,
                    "{took:?} {packets}"
                );
            }
        }
    }
}

#[test]
fn an_open_nat_is_known_in_four_round_trips() {
    let kind = Kind {
        hairpin: true,
        ..nat(
            Mapping::EndpointIndependent,
            Filtering::EndpointIndependent,
            Ports::Kept,
        )
    };
    let (found, took, packets) = world(kind, &[FULL]).run();
    assert_eq!(found.port_kept, Some(true));
    assert_eq!(found.allocation, None);
    assert_eq!(took, Duration::from_millis(120));
    assert_eq!(packets, 7);
}

#[test]
fn the_pattern_of_ports_is_recognised() {
    for (ports, servers, expected) in [
        (
            Ports::Sequential(1, 20_000),
            &[FULL][..],
            Some(Allocation::Sequential { step: 1 }),
        ),
        (
            Ports::Sequential(2, 20_000),
            &[FULL, SECOND],
            Some(Allocation::Sequential { step: 2 }),
        ),
        (
            Ports::Sequential(1, 6),
            &[FULL, SECOND],
            Some(Allocation::Sequential { step: 1 }),
        ),
        (Ports::Random, &[FULL, SECOND], Some(Allocation::Random)),
    ] {
        let kind = nat(
            Mapping::AddressAndPortDependent,
            Filtering::AddressAndPortDependent,
            ports,
        );
        let (found, ..) = world(kind, servers).run();
        assert_eq!(found.allocation, expected, "{ports:?} {found:?}");
    }
    let kind = nat(
        Mapping::AddressAndPortDependent,
        Filtering::AddressAndPortDependent,
        Ports::Block,
    );
    let (found, ..) = world(kind, &[FULL, SECOND]).run();
    let Some(Allocation::Block { low, high }) = found.allocation else {
        panic!("{found:?}")
    };
    assert!((19_900..20_200).contains(&low) && (20_100..20_400).contains(&high));
}

#[test]
fn plain_servers_tell_the_mapping_only() {
    let servers = [
        ("198.51.100.1:3478", Server::Plain),
        ("192.0.2.1:3478", Server::Plain),
        ("192.0.2.9:3478", Server::Plain),
    ];
    for (mapping, expected) in [
        (Mapping::EndpointIndependent, Mapping::EndpointIndependent),
        // With one port at each address the worse is assumed.
        (Mapping::AddressDependent, Mapping::AddressAndPortDependent),
        (
            Mapping::AddressAndPortDependent,
            Mapping::AddressAndPortDependent,
        ),
    ] {
        let kind = nat(mapping, Filtering::EndpointIndependent, Ports::Random);
        let (found, took, _) = world(kind, &servers).run();
        assert_eq!(found.mapping, Some(expected));
        assert_eq!(found.filtering, None);
        assert_eq!(found.samples.len(), 3);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let kind = nat(
        Mapping::EndpointIndependent,
        Filtering::EndpointIndependent,
        Ports::Random,
    );
    let (found, ..) = world(kind, &servers[..1]).run();
    assert_eq!(found.mapping, None);
    assert!(found.mapped.is_some());
}

#[test]
fn silence_of_all_servers_is_blocked_udp_in_three_seconds() {
    let kind = nat(
        Mapping::EndpointIndependent,
        Filtering::EndpointIndependent,
        Ports::Random,
    );
    let servers = [("198.51.100.1:3478", Server::Dead); 1];
    let mut dead = world(kind, &servers);
    let mut blocked = world(kind, &[FULL, SECOND]);
    blocked.blocked = true;
    for world in [&mut dead, &mut blocked] {
        let (found, took, packets) = world.run();
        assert_eq!(found.translation, Translation::UdpBlocked);
        assert_eq!(found.mapped, None);
        assert_eq!(found.hairpin, Hairpin::NotTried);
        assert!(took <= Duration::from_secs(1), "{took:?}");
        assert!(packets <= 6);
    }
    let (found, took, packets) = world(kind, &[]).run();
    assert_eq!(found.translation, Translation::UdpBlocked);
    assert_eq!((took, packets), (Duration::ZERO, 0));
}

#[test]
fn a_dead_server_does_not_keep_a_live_one_from_telling() {
    let kind = nat(
        Mapping::EndpointIndependent,
        Filtering::AddressAndPortDependent,
        Ports::Random,
    );
    let servers = [("192.0.2.77:3478", Server::Dead), FULL];
    let mut slow = world(kind, &servers);
    slow.delay = Duration::from_millis(200);
    let (found, took, packets) = slow.run();
    assert_eq!(found.mapping, Some(Mapping::EndpointIndependent));
    assert_eq!(found.filtering, Some(Filtering::AddressAndPortDependent));
    assert!(
        took <= TOTAL && packets <= MAX_PACKETS,
        "{took:?} {packets}"
    );
}

#[test]
fn silence_of_an_address_that_is_dead_is_no_filter() {
    let kind = nat(
        Mapping::EndpointIndependent,
        Filtering::EndpointIndependent,
        Ports::Random,
    );
    let pretends = ("198.51.100.1:3478", Server::Pretends("198.51.100.2:3479"));
    let plain = ("192.0.2.1:3478", Server::Plain);
    let (found, took, _) = world(kind, &[pretends, plain]).run();
    assert_eq!(found.filtering, None);
    assert_eq!(found.mapping, Some(Mapping::EndpointIndependent));
    assert!(took <= TOTAL);
}

#[test]
fn without_a_nat_a_firewall_is_still_seen() {
    for filtering in [
        Filtering::EndpointIndependent,
        Filtering::AddressAndPortDependent,
    ] {
        let kind = Kind {
            nat: false,
            ..nat(Mapping::EndpointIndependent, filtering, Ports::Kept)
        };
        let (found, ..) = world(kind, &[FULL]).run();
        assert_eq!(found.translation, Translation::None);
        assert_eq!(found.mapped, Some(address(INSIDE)));
        assert_eq!(found.filtering, Some(filtering));
        assert_eq!(found.hairpin, Hairpin::NotTried);
    }
}

#[test]
fn servers_are_asked_up_to_the_bound() {
    let kind = nat(
        Mapping::EndpointIndependent,
        Filtering::EndpointIndependent,
        Ports::Random,
    );
    let names: Vec<String> = (1..=MAX_SERVERS + 1)
        .map(|n| format!("192.0.2.{n}:3478"))
        .collect();
    let servers: Vec<(&str, Server)> = names
        .iter()
        .map(|name| (name.as_str(), Server::Plain))
        .collect();
    let (found, ..) = world(kind, &servers).run();
    assert_eq!(found.samples.len(), MAX_SERVERS);
    let (found, ..) = world(kind, &servers[..MAX_SERVERS]).run();
    assert_eq!(found.samples.len(), MAX_SERVERS);
}

#[test]
fn a_worst_case_of_silence_keeps_to_the_limits() {
    // Each phase waits for its full time: a slow answer, then filters, then dead addresses.
    let kind = nat(
        Mapping::AddressAndPortDependent,
        Filtering::AddressAndPortDependent,
        Ports::Random,
    );
    let servers: Vec<(String, String)> = (0..MAX_SERVERS)
        .map(|n| (format!("192.0.2.{n}:3478"), format!("198.51.100.{n}:3479")))
        .collect();
    let leaked: Vec<(&str, Server)> = servers
        .iter()
        .map(|(own, other)| {
            let other: &'static str = Box::leak(other.clone().into_boxed_str());
            (own.as_str(), Server::Pretends(other))
        })
        .collect();
    let mut slow = world(kind, &leaked);
    slow.delay = Duration::from_millis(490);
    let (found, took, packets) = slow.run();
    assert_eq!(found.filtering, None);
    assert!(
        took <= TOTAL && packets <= MAX_PACKETS,
        "{took:?} {packets}"
    );
}
