//! `dhtnode run --relay`: who is relayed, how much, and what hostile or slow clients do to it.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dhtnet::{DeviceId, DeviceKey};
use dhtnet_nat_traversal::turn::{AllocationError, Families as Relayed, Link};
use dhtnet_tests::device::in_home;
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::lab::{Command, Families, Host, Lab, Lan, Process, Usage};
use dhtnet_tests::ssh::find;
use dhtnet_tests::turn_client::{TurnClient, Wanted};

use crate::pair::{LIMIT, tools};

/// UDP and TCP port of the relay.
const PORT: u16 = 4_780;

/// How long an answer may take.
const SOON: Duration = Duration::from_secs(10);

/// A relay, and two hosts beside it. What runs ends first, the networks last.
struct Place {
    relay: Process,
    id: DeviceId,
    client: Host,
    peer: Host,
    host: Host,
    _lan: Lan,
    lab: Lab,
}

/// A relay with these flags; more may follow.
fn place(name: &str, flags: &[&str]) -> Option<Place> {
    let lab = lab_or_skip(name)?;
    let lan = lab.lan().unwrap();
    let [host, client, peer] = ["relay", "client", "peer"].map(|name| {
        let host = lab.host(name).unwrap();
        lan.attach(&host, Families::Both).unwrap();
        host
    });
    let home = lab.folder().join("relay-home");
    std::fs::create_dir_all(&home).unwrap();
    let bind = format!("[::]:{PORT}");
    let command = in_home(host.command(tools().path("dhtnode")), &home)
        .args(["--bind", &bind, "--bootstrap", "none", "run", "--relay"])
        .arg("--stats=0.2")
        .stdout_file(lab.folder().join("stats"))
        .args(flags)
        .lifetime(LIMIT * 4);
    let mut relay = command.start().unwrap();
    let id = relay
        .await_line("where it relays", SOON, |line| {
            line.contains("relays for others at UDP")
                .then(|| line.rsplit(' ').next()?.parse().ok())
                .flatten()
        })
        .unwrap();
    Some(Place {
        relay,
        id,
        client,
        peer,
        host,
        _lan: lan,
        lab,
    })
}

fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

impl Place {
    fn v4(&self) -> SocketAddr {
        (self.host.ipv4(), PORT).into()
    }

    fn v6(&self) -> SocketAddr {
        (self.host.ipv6(), PORT).into()
    }

    fn start(&self, seed: u8, server: SocketAddr, link: Link) -> TurnClient {
        let families = if server.is_ipv4() {
            Relayed::V4
        } else {
            Relayed::V6
        };
        let wanted = Wanted {
            key: &key(seed),
            relay: self.id,
            server,
            link,
            families,
        };
        TurnClient::start(&self.client, wanted).unwrap()
    }

    /// A client over IPv4 with an address.
    fn client(&self, seed: u8, link: Link) -> (TurnClient, SocketAddr) {
        let mut client = self.start(seed, self.v4(), link);
        let relayed = client.allocated(SOON).unwrap();
        (client, relayed[0])
    }

    /// A socket of the peer.
    fn peer(&self, families: Families) -> (UdpSocket, SocketAddr) {
        let address: IpAddr = match families {
            Families::V6 => self.peer.ipv6().into(),
            Families::V4 | Families::Both => self.peer.ipv4().into(),
        };
        let socket = self.peer.run(|| UdpSocket::bind((address, 0))).unwrap();
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    /// Waits until the counters say that the relay has so many clients, and whether anything has
    /// been relayed.
    fn await_clients(&self, wanted: usize, relayed: Option<bool>) {
        let idle = format!("  relay {wanted} clients 0 ");
        let wanted = format!("  relay {wanted} clients ");
        let is_there = |line: &str| {
            let is_busy = !line.contains(&idle);
            line.contains(&wanted) && relayed.is_none_or(|relayed| relayed == is_busy)
        };
        let until = Instant::now() + SOON;
        loop {
            let lines = std::fs::read_to_string(self.lab.folder().join("stats")).unwrap();
            if lines.lines().last().is_some_and(is_there) {
                return;
            }
            let last = lines.lines().last();
            assert!(Instant::now() < until, "not{wanted}: {last:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn resident(&self) -> u64 {
        Usage::of_process(self.relay.id()).unwrap().resident
    }
}

/// A payload to the peer, from the relayed address, and back.
fn there_and_back(place: &Place, client: &mut TurnClient, relayed: SocketAddr) {
    let families = if relayed.is_ipv4() {
        Families::V4
    } else {
        Families::V6
    };
    let (socket, peer) = place.peer(families);
    assert!(client.permit(peer.ip(), SOON));
    for round in 0..3_u8 {
        client.send(peer, &[round; 1_200]);
        client.step();
        let mut buffer = [0; 2_000];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from), (1_200, relayed));
        socket.send_to(&buffer[..len], relayed).unwrap();
        assert!(client.await_received(usize::from(round) + 1, SOON));
        let (from, payload) = client.received.last().unwrap();
        assert_eq!((*from, payload.as_slice()), (peer, &[round; 1_200][..]));
    }
}

#[test]
fn a_device_reaches_a_peer_through_a_relay_over_udp_and_tcp_and_both_families() {
    let name = "a_device_reaches_a_peer_through_a_relay_over_udp_and_tcp_and_both_families";
    let Some(place) = place(name, &[]) else {
        return;
    };
    let https = |server: SocketAddr| SocketAddr::new(server.ip(), 443);
    let servers = [
        (place.v4(), Link::Datagrams),
        (place.v4(), Link::Stream),
        (https(place.v4()), Link::Stream),
        (place.v6(), Link::Datagrams),
        (place.v6(), Link::Stream),
        (https(place.v6()), Link::Stream),
    ];
    for (seed, (server, link)) in (1..).zip(servers) {
        let mut client = place.start(seed, server, link);
        let relayed = client.allocated(SOON).unwrap();
        let found: Vec<IpAddr> = relayed.iter().map(SocketAddr::ip).collect();
        // The address at which the client came in.
        assert_eq!(found, [server.ip()], "{server} {link:?}");
        there_and_back(&place, &mut client, relayed[0]);
    }
    drop(place.lab);
}

#[test]
fn behind_a_one_to_one_nat_clients_are_told_the_address_outside() {
    let name = "behind_a_one_to_one_nat_clients_are_told_the_address_outside";
    let Some(place) = place(name, &["--relay-address", "203.0.113.77"]) else {
        return;
    };
    let (_, relayed) = place.client(1, Link::Datagrams);
    assert_eq!(relayed.ip(), IpAddr::from([203, 0, 113, 77]));
}

/// coturn's client, or the end of the test.
fn coturn(name: &str, program: &str) -> Option<std::path::PathBuf> {
    let found = find(program);
    if found.is_none() {
        report(name, &format!("{program} is missing (package coturn)"));
    }
    found
}

/// coturn's client at the relay; `over` are its flags for the way.
fn uclient(place: &Place, program: &std::path::Path, (seed, over): (u8, &[&str])) -> Command {
    let device = key(seed);
    let password = device.password_at_relay(&place.id);
    let (server, port) = (place.host.ipv4().to_string(), PORT.to_string());
    place
        .client
        .command(program)
        .args(over)
        .args(["-c", "-p", &port, "-u", &device.id().to_string()])
        .args(["-w", password.as_str()])
        .arg(server)
}

#[test]
fn the_client_of_coturn_is_relayed_over_udp_and_tcp() {
    let name = "the_client_of_coturn_is_relayed_over_udp_and_tcp";
    let Some(program) = coturn(name, "turnutils_uclient") else {
        return;
    };
    let Some(echo) = coturn(name, "turnutils_peer") else {
        return;
    };
    let Some(place) = place(name, &[]) else {
        return;
    };
    let peer = place.peer.ipv4().to_string();
    let _echo = place
        .peer
        .command(echo)
        .args(["-L", &peer, "-p", "3480"])
        .start()
        .unwrap();
    // By Send indications: its channel numbers are those of RFC 5766, of which RFC 8656 has left
    // a quarter, at random.
    for (seed, over) in [(50, &["-s"][..]), (51, &["-t", "-s"])] {
        let client = uclient(&place, &program, (seed, over)).args([
            "-e", &peer, "-r", "3480", "-n", "20", "-l", "1000", "-m", "1",
        ]);
        let done = client.start().unwrap().finish(LIMIT).unwrap();
        let said = format!("{}{}", done.text(), done.stderr);
        assert_eq!(done.code(), Some(0), "{over:?}: {said}");
        assert!(said.contains("Total lost packets 0"), "{over:?}: {said}");
        assert!(
            said.contains("tot_send_msgs=20, tot_recv_msgs=20"),
            "{over:?}: {said}"
        );
    }
}

#[test]
fn one_client_too_many_is_told_so_and_a_killed_one_makes_room() {
    let name = "one_client_too_many_is_told_so_and_a_killed_one_makes_room";
    let Some(program) = coturn(name, "turnutils_uclient") else {
        return;
    };
    let Some(place) = place(name, &["--relay-clients", "5"]) else {
        return;
    };
    // Three of one device, and no fourth.
    for _ in 0..3 {
        place.client(1, Link::Datagrams);
    }
    let fourth = place.start(1, place.v4(), Link::Datagrams).allocated(SOON);
    assert_eq!(fourth, Err(AllocationError::QuotaReached));
    place.await_clients(3, Some(false));
    // One of another device, by another program, which tries things out before it stays.
    let peer = place.peer.ipv4().to_string();
    let mut other = uclient(&place, &program, (50, &["-t", "-s"]))
        .args(["-e", &peer, "-n", "100000", "-z", "100", "-m", "1"])
        .start()
        .unwrap();
    place.await_clients(4, Some(true));
    place.client(2, Link::Datagrams);
    let sixth = place.start(2, place.v4(), Link::Datagrams).allocated(SOON);
    assert_eq!(sixth, Err(AllocationError::Full));
    other.kill();
    place.await_clients(4, None);
    place.client(2, Link::Datagrams);
    place.await_clients(5, None);
}

#[test]
fn a_device_that_is_not_allowed_and_a_private_peer_are_refused() {
    let name = "a_device_that_is_not_allowed_and_a_private_peer_are_refused";
    let allowed = key(1).id().to_string();
    let Some(place) = place(name, &["--relay-allow", &allowed]) else {
        return;
    };
    let refused = place.start(2, place.v4(), Link::Datagrams).allocated(SOON);
    assert_eq!(refused, Err(AllocationError::Forbidden));
    let (mut client, _) = place.client(1, Link::Datagrams);
    for peer in ["10.0.0.1", "127.0.0.1", "192.168.1.1", "224.0.0.1"] {
        assert!(!client.permit(peer.parse().unwrap(), SOON), "{peer}");
    }
    // The relay's own address is permitted for the sake of other clients there and of the DHT node
    // at the open port; no other service of its host is reached.
    let own = SocketAddr::from((place.host.ipv4(), PORT));
    let service = SocketAddr::new(own.ip(), PORT + 1);
    let socket = place
        .host
        .run(|| UdpSocket::bind(service))
        .unwrap()
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    client.permit(own.ip(), SOON);
    for _ in 0..3 {
        client.send(service, b"for the host itself");
        client.run(Duration::from_millis(200));
    }
    let reached = socket.recv(&mut [0; 64]);
    assert!(reached.is_err(), "{reached:?}");
    // A ping of the DHT (BEP 5).
    let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    client.send(own, ping);
    client.run(SOON / 4);
    assert!(!client.received.is_empty(), "the open port is not reached");
}

#[test]
fn a_relay_of_a_private_network_says_so_and_relays_there() {
    let name = "a_relay_of_a_private_network_says_so_and_relays_there";
    let Some(place) = place(name, &["--relay-private"]) else {
        return;
    };
    let (mut client, _) = place.client(1, Link::Datagrams);
    assert!(client.permit("10.0.0.1".parse().unwrap(), SOON));
    assert!(!client.permit("224.0.0.1".parse().unwrap(), SOON));
    let said = place.relay.stderr();
    assert!(said.contains("--relay-private: whoever"), "{said}");
}

#[test]
fn the_rate_of_a_client_holds_within_a_fifth() {
    let name = "the_rate_of_a_client_holds_within_a_fifth";
    // 100 kB a second, and a burst of one second's bytes.
    let Some(place) = place(name, &["--relay-rate", "800k"]) else {
        return;
    };
    let (mut client, relayed) = place.client(1, Link::Datagrams);
    let (socket, peer) = place.peer(Families::V4);
    assert!(client.permit(peer.ip(), SOON));
    client.send(peer, b"binds the channel");
    client.run(Duration::from_secs(2));
    let counted = std::thread::spawn(move || {
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let mut buffer = [0; 2_000];
        let (mut bytes, mut last) = (0, Instant::now());
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            assert_eq!(from, relayed);
            bytes += len;
            last = Instant::now();
        }
        (bytes, last)
    });
    // About three times the rate.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        for _ in 0..3 {
            client.send(peer, &[7; 1_000]);
        }
        client.run(Duration::from_millis(10));
    }
    let (bytes, last) = counted.join().unwrap();
    let seconds = (last - begin).as_secs_f64();
    let expected = 100_000.0 * (1.0 + seconds);
    let ratio = f64::from(bytes as u32) / expected;
    assert!((0.8..=1.2).contains(&ratio), "{bytes} in {seconds} s");
}

#[test]
fn a_reader_that_does_not_read_costs_the_relay_no_memory() {
    let name = "a_reader_that_does_not_read_costs_the_relay_no_memory";
    let flags = ["--relay-rate", "8G", "--relay-total-rate", "8G"];
    let Some(place) = place(name, &flags) else {
        return;
    };
    let (mut lazy, relayed) = place.client(1, Link::Stream);
    let (socket, peer) = place.peer(Families::V4);
    assert!(lazy.permit(peer.ip(), SOON));
    let (mut good, at_good) = place.client(2, Link::Stream);
    assert!(good.permit(peer.ip(), SOON));
    // A first round, in which everything that is held once for all comes into being.
    let flood = |megabytes: usize| {
        for _ in 0..megabytes * 1_000 {
            socket.send_to(&[3; 1_000], relayed).unwrap();
        }
    };
    flood(10);
    let before = place.resident();
    flood(100);
    let after = place.resident();
    let grown = after.saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more of {before}");
    // Another one is served as ever.
    let earlier = good.received.len();
    socket.send_to(b"to the good one", at_good).unwrap();
    assert!(good.await_received(earlier + 1, SOON));
    drop(lazy);
}

#[test]
fn a_thousand_silent_streams_do_not_keep_a_good_one_out() {
    let name = "a_thousand_silent_streams_do_not_keep_a_good_one_out";
    let Some(place) = place(name, &[]) else {
        return;
    };
    let (mut before, relayed) = place.client(1, Link::Stream);
    let server = place.v4();
    let silent: Vec<TcpStream> = place
        .client
        .run(|| {
            (0..1_000)
                .map(|_| TcpStream::connect_timeout(&server, SOON).unwrap())
                .collect()
        })
        .unwrap();
    // From the same host as they; the relay does not know better.
    let (mut after, at_after) = place.client(2, Link::Stream);
    there_and_back(&place, &mut after, at_after);
    there_and_back(&place, &mut before, relayed);
    // The first of them have made room for the last.
    let mut first = &silent[0];
    first.set_read_timeout(Some(SOON)).unwrap();
    let read = first.read(&mut [0; 10]);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[test]
fn devices_that_ask_for_their_address_are_told_it_beside_the_dht() {
    let name = "devices_that_ask_for_their_address_are_told_it_beside_the_dht";
    let Some(place) = place(name, &[]) else {
        return;
    };
    let (socket, own) = place.peer(Families::V4);
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([9; 12]);
    socket.send_to(&request, place.v4()).unwrap();
    let mut buffer = [0; 2_000];
    let (len, _) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..2], [1, 1], "a Binding success response");
    let port = own.port() ^ 0x2112;
    let found = buffer[..len].windows(2).any(|at| at == port.to_be_bytes());
    assert!(found, "XOR-MAPPED-ADDRESS");
    // A thousand more get a bounded number of answers.
    for _ in 0..1_000 {
        socket.send_to(&request, place.v4()).unwrap();
    }
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let answers = std::iter::from_fn(|| socket.recv_from(&mut buffer).ok()).count();
    assert!((1..=400).contains(&answers), "{answers}");
    // The node is still one of the DHT.
    let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
    socket.send_to(ping, place.v4()).unwrap();
    let (len, _) = socket.recv_from(&mut buffer).unwrap();
    assert!(buffer[..len].ends_with(b"1:y1:re"), "{:?}", &buffer[..len]);
}
