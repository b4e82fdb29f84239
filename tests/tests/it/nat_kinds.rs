//! Each NAT of the lab is what it is called: its mapping and its filtering (RFC 4787), measured by
//! sockets on both sides, also when a packet from outside comes first, and when two hosts inside
//! use one port. Nothing that is tested behind a NAT means more than this.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use dhtnet_tests::home_router::RouterError;
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Families, Host, INTERFACE, Lab, Lan};
use dhtnet_tests::nat_router::{Nat, NatRouter, inside_v6};

/// Longest that a packet may take which does come.
const ARRIVAL: Duration = Duration::from_secs(5);

/// How long it takes to be sure that a connection is not made: nothing answers.
const SILENCE: Duration = Duration::from_millis(400);

const SERVER: [Ipv4Addr; 2] = [Ipv4Addr::new(11, 0, 200, 1), Ipv4Addr::new(11, 0, 201, 1)];
const STRANGER: Ipv4Addr = Ipv4Addr::new(11, 0, 202, 1);
const PORTS: [u16; 2] = [3_478, 3_479];

/// A port of a host inside.
const INSIDE_PORT: u16 = 5_000;

/// A server with two addresses and two ports on each, a host that nobody inside ever sends to,
/// and a NAT with two hosts behind it.
struct Site {
    /// By address, then by port.
    server: Vec<UdpSocket>,
    stranger: UdpSocket,
    outer: Host,
    inside: [Host; 2],
    router: NatRouter,
    _stranger: Host,
    _outside: Lan,
    lab: Lab,
}

fn site(name: &str, nat: Nat) -> Option<Site> {
    let lab = lab_or_skip(name)?;
    let outside = lab.lan().unwrap();
    let router = match NatRouter::new(&lab, &outside, (nat, 1)) {
        Ok(router) => router,
        Err(error @ RouterError::Missing(_)) => {
            report(name, &error.to_string());
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let [outer, far] = ["server", "stranger"].map(|name| lab.host(name).unwrap());
    outside.attach(&outer, Families::Both).unwrap();
    outside.attach(&far, Families::V4).unwrap();
    let [first, second] = SERVER;
    outer
        .ip(&format!(
            "addr add {first}/16 dev {INTERFACE}\naddr add {second}/16 dev {INTERFACE}"
        ))
        .unwrap();
    far.ip(&format!("addr add {STRANGER}/16 dev {INTERFACE}"))
        .unwrap();
    let server = SERVER
        .into_iter()
        .flat_map(|ip| PORTS.map(|port| bind(&outer, SocketAddr::from((ip, port)))))
        .collect();
    Some(Site {
        server,
        stranger: bind(&far, SocketAddr::from((STRANGER, PORTS[0]))),
        outer,
        inside: [10, 11].map(|last| router.inside(&lab, last).unwrap()),
        router,
        _stranger: far,
        _outside: outside,
        lab,
    })
}

fn bind(host: &Host, address: SocketAddr) -> UdpSocket {
    let socket = host.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(ARRIVAL)).unwrap();
    socket
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// Sends a byte and returns where it came from, as seen there.
#[track_caller]
fn seen_from(from: &UdpSocket, at: &UdpSocket, byte: u8) -> SocketAddr {
    from.send_to(&[byte], address(at)).unwrap();
    let mut buffer = [0];
    let (_, source) = at.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer, [byte]);
    source
}

/// The bytes that came in until `last` did, which does come: what was sent before it on the same
/// way and is not among them was dropped.
#[track_caller]
fn received_until(socket: &UdpSocket, last: u8) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0]);
    loop {
        socket.recv(&mut buffer).unwrap();
        if buffer == [last] {
            return all;
        }
        all.push(buffer[0]);
    }
}

impl Site {
    fn socket(&self, host: usize, port: u16) -> UdpSocket {
        bind(&self.inside[host], (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// The ports in which four remotes see one socket.
    fn mapping(&self) -> Vec<u16> {
        let socket = self.socket(0, INSIDE_PORT);
        let ports = self.server.iter().map(|remote| {
            let seen = seen_from(&socket, remote, 1);
            assert_eq!(seen.ip(), IpAddr::V4(self.router.outside()));
            seen.port()
        });
        ports.collect()
    }

    /// Who gets in to a socket that has sent to the first address and port alone.
    fn filtering(&self) -> Filtering {
        let socket = self.socket(0, INSIDE_PORT + 1);
        let mapped = seen_from(&socket, &self.server[0], 1);
        for (from, byte) in [
            (&self.server[1], 2),
            (&self.server[2], 3),
            (&self.stranger, 4),
        ] {
            from.send_to(&[byte], mapped).unwrap();
        }
        // The stranger's way is another: what it sent has come by the time that it is told of.
        let mut arrived = Vec::new();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(50));
            self.server[0].send_to(&[5], mapped).unwrap();
            arrived.extend(received_until(&socket, 5));
        }
        arrived.sort_unstable();
        match arrived.as_slice() {
            [] => Filtering::AddressAndPort,
            [2] => Filtering::Address,
            [2, 3, 4] => Filtering::Nobody,
            other => panic!("{other:?} came in"),
        }
    }

    /// A packet from outside that comes before the first one from inside changes nothing for it.
    fn assert_early_packet_changes_nothing(&self, mapping: Mapping) {
        let socket = self.socket(0, INSIDE_PORT + 2);
        let before = seen_from(&socket, &self.server[0], 1);
        self.server[2].send_to(&[2], before).unwrap();
        self.server[0].send_to(&[3], before).unwrap();
        received_until(&socket, 3);
        let after = seen_from(&socket, &self.server[2], 1);
        self.server[2].send_to(&[4], after).unwrap();
        received_until(&socket, 4);
        if mapping == Mapping::Independent {
            assert_eq!(before, after);
        }
    }

    /// Two hosts inside use one port: both are answered, by ports of their own.
    fn assert_hosts_do_not_meet(&self, mapping: Mapping) {
        let sockets = [0, 1].map(|host| self.socket(host, INSIDE_PORT + 3));
        let seen = [0_u8, 1].map(|host| {
            let socket = &sockets[usize::from(host)];
            let first = seen_from(socket, &self.server[0], 10 + host);
            let second = seen_from(socket, &self.server[2], 20 + host);
            if mapping == Mapping::Independent {
                assert_eq!(first, second);
            }
            first
        });
        assert_ne!(seen[0], seen[1]);
        for host in [0_u8, 1] {
            let at = usize::from(host);
            self.server[0].send_to(&[30 + host], seen[at]).unwrap();
            assert_eq!(received_until(&sockets[at], 30 + host), [0_u8; 0]);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mapping {
    /// One port for all, of these.
    Independent,
    /// Each remote sees the next one.
    Counted,
    /// Another one for each.
    Random,
}

/// Who gets in, besides who was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filtering {
    /// Nothing is filtered.
    Nobody,
    Address,
    AddressAndPort,
}

/// What a NAT declares: its mapping, the ports it gives out, its filtering.
type Declared = (Mapping, RangeInclusive<u16>, Filtering);

fn a_nat_is_what_it_is_called(name: &str, nat: Nat, declared: Declared) {
    let Some(site) = site(name, nat) else {
        return;
    };
    let (mapping, range, filtering) = declared;
    let ports = site.mapping();
    assert!(ports.iter().all(|port| range.contains(port)), "{ports:?}");
    let steps: Vec<u16> = ports
        .windows(2)
        .map(|two| two[1].wrapping_sub(two[0]))
        .collect();
    match mapping {
        Mapping::Independent => assert_eq!(steps, [0, 0, 0], "{ports:?}"),
        Mapping::Counted => assert_eq!(steps, [1, 1, 1], "{ports:?}"),
        // In a block of 64, two of four may be the same; all four are in 1 of 262,144 runs.
        Mapping::Random => {
            assert_ne!(steps, [0, 0, 0], "{ports:?}");
            assert_ne!(steps, [1, 1, 1], "{ports:?}");
        }
    }
    assert_eq!(site.filtering(), filtering);
    site.assert_early_packet_changes_nothing(mapping);
    site.assert_hosts_do_not_meet(mapping);
    drop(site.lab);
}

const KEPT: RangeInclusive<u16> = INSIDE_PORT..=INSIDE_PORT;

#[test]
fn a_full_cone_keeps_the_port_and_lets_everybody_in() {
    let name = "a_full_cone_keeps_the_port_and_lets_everybody_in";
    let declared = (Mapping::Independent, KEPT, Filtering::Nobody);
    a_nat_is_what_it_is_called(name, Nat::FullCone, declared);
}

#[test]
fn an_address_restricted_nat_keeps_the_port_and_lets_known_addresses_in() {
    let name = "an_address_restricted_nat_keeps_the_port_and_lets_known_addresses_in";
    let declared = (Mapping::Independent, KEPT, Filtering::Address);
    a_nat_is_what_it_is_called(name, Nat::AddressRestricted, declared);
}

#[test]
fn a_port_restricted_nat_keeps_the_port_and_lets_known_ports_in() {
    let name = "a_port_restricted_nat_keeps_the_port_and_lets_known_ports_in";
    let declared = (Mapping::Independent, KEPT, Filtering::AddressAndPort);
    a_nat_is_what_it_is_called(name, Nat::PortRestricted, declared);
}

#[test]
fn a_nat_that_does_not_keep_the_port_shows_the_same_other_one_to_all() {
    let name = "a_nat_that_does_not_keep_the_port_shows_the_same_other_one_to_all";
    let declared = (
        Mapping::Independent,
        20_000..=29_999,
        Filtering::AddressAndPort,
    );
    a_nat_is_what_it_is_called(name, Nat::PortNotKept, declared);
}

#[test]
fn two_port_restricted_nats_in_a_row_are_as_one() {
    let name = "two_port_restricted_nats_in_a_row_are_as_one";
    let declared = (Mapping::Independent, KEPT, Filtering::AddressAndPort);
    a_nat_is_what_it_is_called(name, Nat::Double, declared);
}

#[test]
fn a_nat_that_counts_gives_each_remote_the_next_port() {
    let name = "a_nat_that_counts_gives_each_remote_the_next_port";
    let declared = (Mapping::Counted, 40_000..=40_063, Filtering::AddressAndPort);
    a_nat_is_what_it_is_called(name, Nat::Sequential, declared);
    let declared = (Mapping::Counted, 30_000..=46_383, Filtering::AddressAndPort);
    a_nat_is_what_it_is_called(name, Nat::SequentialWide, declared);
}

#[test]
fn a_nat_with_a_block_gives_each_remote_one_of_64_ports() {
    let name = "a_nat_with_a_block_gives_each_remote_one_of_64_ports";
    let declared = (Mapping::Random, 40_000..=40_063, Filtering::AddressAndPort);
    a_nat_is_what_it_is_called(name, Nat::Block, declared);
}

#[test]
fn a_symmetric_nat_gives_each_remote_a_port_at_random() {
    let name = "a_symmetric_nat_gives_each_remote_a_port_at_random";
    let declared = (Mapping::Random, 1_024..=u16::MAX, Filtering::AddressAndPort);
    a_nat_is_what_it_is_called(name, Nat::Symmetric, declared);
}

#[test]
fn an_ipv6_firewall_translates_nothing_and_lets_known_ports_in() {
    let name = "an_ipv6_firewall_translates_nothing_and_lets_known_ports_in";
    let declared = (Mapping::Independent, KEPT, Filtering::AddressAndPort);
    a_nat_is_what_it_is_called(name, Nat::Ipv6Firewall, declared);
    let Some(site) = site(name, Nat::Ipv6Firewall) else {
        return;
    };
    let ip = IpAddr::V6(site.outer.ipv6());
    let remotes = PORTS.map(|port| bind(&site.outer, SocketAddr::new(ip, port)));
    // The way back to the network behind the router.
    let back = "route add 2001:db8:0:1::/64 via 2001:db8::1:1 dev eth0";
    site.outer.ip(back).unwrap();
    let own = SocketAddr::new(inside_v6(1, 10).into(), INSIDE_PORT);
    let socket = bind(&site.inside[0], own);
    assert_eq!(seen_from(&socket, &remotes[0], 1), own);
    remotes[1].send_to(&[2], own).unwrap();
    remotes[0].send_to(&[3], own).unwrap();
    assert_eq!(received_until(&socket, 3), [0_u8; 0]);
    assert_eq!(seen_from(&socket, &remotes[1], 4), own);
    remotes[1].send_to(&[5], own).unwrap();
    assert_eq!(received_until(&socket, 5), [0_u8; 0]);
}

#[test]
fn a_router_that_blocks_udp_lets_tcp_port_443_out_alone() {
    let name = "a_router_that_blocks_udp_lets_tcp_port_443_out_alone";
    let Some(site) = site(name, Nat::UdpBlocked) else {
        return;
    };
    let socket = site.socket(0, INSIDE_PORT);
    for remote in &site.server {
        socket.send_to(&[1], address(remote)).unwrap();
        remote.set_read_timeout(Some(SILENCE / 4)).unwrap();
        let nothing = remote.recv(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
    let connect = |port: u16| {
        let at = SocketAddr::from((SERVER[0], port));
        let listener = site.outer.run(|| TcpListener::bind(at)).unwrap().unwrap();
        let host = &site.inside[0];
        let limit = if port == 443 { ARRIVAL } else { SILENCE };
        let made = host.run(|| TcpStream::connect_timeout(&at, limit)).unwrap();
        drop(listener);
        made
    };
    connect(443).unwrap();
    for port in [80, 3_478, 8_443] {
        assert_eq!(connect(port).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

/// A mapping by NAT-PMP (RFC 6886 section 3.3): version 0, UDP, inner port, outer port, an hour.
fn map_port(router: &NatRouter, socket: &UdpSocket, port: u16) -> u16 {
    let mut request = vec![0, 1, 0, 0];
    request.extend(port.to_be_bytes());
    request.extend(port.to_be_bytes());
    request.extend(3_600_u32.to_be_bytes());
    let gateway = SocketAddr::from((Ipv4Addr::new(192, 168, 1, 1), 5_351));
    // Asked again after 250 ms, 500 ms and so on (section 3.1).
    for wait in (0..6).map(|again| Duration::from_millis(250 << again)) {
        socket.send_to(&request, gateway).unwrap();
        socket.set_read_timeout(Some(wait)).unwrap();
        let mut answer = [0; 16];
        if let Ok(len) = socket.recv(&mut answer) {
            assert_eq!((len, &answer[..4]), (16, &[0, 129, 0, 0][..]));
            return u16::from_be_bytes([answer[10], answer[11]]);
        }
    }
    panic!("no answer; the router said: {}", router.said());
}

#[test]
fn a_port_that_a_router_has_mapped_is_open_to_everybody_behind_each_nat() {
    let name = "a_port_that_a_router_has_mapped_is_open_to_everybody_behind_each_nat";
    let nats = Nat::ALL.into_iter();
    for nat in nats.filter(|nat| !matches!(nat, Nat::Double | Nat::UdpBlocked)) {
        let Some(mut site) = site(name, nat) else {
            return;
        };
        match site.router.map_ports(&site.lab) {
            Ok(()) => {}
            Err(error @ RouterError::Missing(_)) => return report(name, &error.to_string()),
            Err(error) => panic!("{error}"),
        }
        let asking = site.socket(0, INSIDE_PORT + 9);
        let port = map_port(&site.router, &asking, INSIDE_PORT);
        assert_eq!(site.router.opened().unwrap().len(), 1, "{nat:?}");
        let socket = site.socket(0, INSIDE_PORT);
        let mapped = SocketAddr::from((site.router.outside(), port));
        site.stranger.send_to(&[1], mapped).unwrap();
        assert_eq!(received_until(&socket, 1), [0_u8; 0], "{nat:?}");
    }
}

#[test]
fn what_leaves_a_router_and_its_entries_are_counted() {
    let name = "what_leaves_a_router_and_its_entries_are_counted";
    let Some(site) = site(name, Nat::Symmetric) else {
        return;
    };
    site.router.watch(SERVER[1].into()).unwrap();
    let socket = site.socket(0, INSIDE_PORT);
    for remote in &site.server[..3] {
        seen_from(&socket, remote, 1);
        seen_from(&socket, remote, 2);
    }
    assert_eq!(site.router.sent().unwrap(), 6);
    assert_eq!(site.router.sent_to_watched().unwrap(), 2);
    let entries = dhtnet_tests::nat_router::entries(site.router.host()).unwrap();
    assert_eq!(entries, 3);
}
