//! A prober that does not know the key gets zero bytes, whatever it sends.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use dhtnet_tests::lab::Families;
use dhtnet_tests::payload::Stream;

use crate::pair::{LIMIT, PORT, Pair, assert_done, pair};

/// How long an answer is waited for after the last probe.
const SILENCE: Duration = Duration::from_millis(1500);

/// QUIC version 1 (RFC 9000).
const QUIC_1: u32 = 1;
/// The letters `dht1`: this protocol.
const OUR_VERSION: u32 = 0x6468_7431;
/// Reserved to force version negotiation (RFC 9000 section 15).
const GREASE: u32 = 0x1a2a_3a4a;

/// A long-header packet of type Initial, filled up with junk to `len` bytes.
fn initial(version: u32, destination: &[u8], len: usize, seed: u64) -> Vec<u8> {
    long_header(0xc0, version, destination, len, seed)
}

fn long_header(first: u8, version: u32, destination: &[u8], len: usize, seed: u64) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(version.to_be_bytes());
    packet.push(destination.len() as u8);
    packet.extend(destination);
    packet.push(8);
    packet.extend([0x53; 8]);
    packet.push(0); // no token
    let rest = len.saturating_sub(packet.len() + 2) as u16;
    packet.extend((0x4000 | rest).to_be_bytes());
    let mut junk = vec![0; usize::from(rest)];
    Stream::new(seed).fill(&mut junk);
    packet.extend(junk);
    packet
}

fn short_header(len: usize, seed: u64) -> Vec<u8> {
    let mut packet = vec![0; len];
    Stream::new(seed).fill(&mut packet);
    packet[0] = 0x40 | (packet[0] & 0x3f);
    packet
}

fn probes() -> Vec<(&'static str, Vec<u8>)> {
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([7; 12]);
    let mut probes = vec![
        ("QUIC 1 Initial", initial(QUIC_1, &[1; 8], 1200, 1)),
        (
            "our Initial with junk",
            initial(OUR_VERSION, &[2; 8], 1200, 2),
        ),
        (
            "our Initial, long destination id",
            initial(OUR_VERSION, &[3; 20], 1200, 3),
        ),
        (
            "our Initial, short destination id",
            initial(OUR_VERSION, &[4; 4], 1200, 4),
        ),
        (
            "our Initial, no destination id",
            initial(OUR_VERSION, &[], 1200, 5),
        ),
        (
            "our Initial, too short",
            initial(OUR_VERSION, &[5; 8], 300, 6),
        ),
        (
            "our Handshake",
            long_header(0xe0, OUR_VERSION, &[6; 8], 1200, 7),
        ),
        (
            "our 0-RTT",
            long_header(0xd0, OUR_VERSION, &[7; 8], 1200, 8),
        ),
        (
            "our Retry",
            long_header(0xf0, OUR_VERSION, &[8; 8], 1200, 9),
        ),
        ("unknown version", initial(GREASE, &[9; 8], 1200, 10)),
        ("version negotiation", initial(0, &[10; 8], 1200, 11)),
        ("STUN binding request", stun),
        (
            "KRPC ping",
            b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe".to_vec(),
        ),
        (
            "DTLS hello",
            vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        ),
        (
            "WireGuard initiation",
            [vec![1, 0, 0, 0], vec![9; 144]].concat(),
        ),
        (
            "DNS query",
            b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01".to_vec(),
        ),
        ("a line", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("empty", Vec::new()),
    ];
    // Where QUIC answers a stranger with a stateless reset.
    for len in [21, 43, 100, 1200, 1400] {
        probes.push(("short header", short_header(len, len as u64)));
    }
    for n in 0..200_u64 {
        let mut junk = vec![0; 1 + (n as usize * 37) % 1400];
        Stream::new(1000 + n).fill(&mut junk);
        probes.push(("junk", junk));
    }
    probes
}

/// A socket on `a` that hears nothing but the listener of `b`; also ICMP errors.
fn prober(pair: &Pair) -> UdpSocket {
    let socket = pair
        .a
        .host()
        .run(|| UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    socket.connect((pair.b.host().ipv4(), PORT)).unwrap();
    socket
}

#[track_caller]
fn assert_silent(socket: &UdpSocket, what: &str, span: Duration) {
    socket.set_read_timeout(Some(span)).unwrap();
    let mut answer = [0; 2048];
    match socket.recv(&mut answer) {
        Ok(len) => panic!(
            "{what} was answered with {len} bytes: {:02x?}",
            &answer[..len]
        ),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(error) => panic!("{what} drew an error: {error}"),
    }
}

/// The listener is alive and well, and was all the time.
fn assert_serves(pair: &Pair, server: dhtnet_tests::lab::Process) {
    let client = pair.client().stdin_bytes("hello");
    assert_done(&client.start().unwrap().finish(LIMIT).unwrap());
    let finished = server.finish(LIMIT).unwrap();
    assert_done(&finished);
    assert_eq!(finished.text(), "hello");
}

#[test]
fn a_prober_without_the_key_gets_zero_bytes() {
    let name = "a_prober_without_the_key_gets_zero_bytes";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let server = pair.b.listen(pair.listener()).unwrap();
    for (what, probe) in probes() {
        // A socket for each, so that an answer is blamed on what drew it.
        let socket = prober(&pair);
        for _ in 0..2 {
            socket.send(&probe).unwrap();
        }
        assert_silent(&socket, what, Duration::from_millis(5));
    }
    let socket = prober(&pair);
    for (_, probe) in probes() {
        socket.send(&probe).unwrap();
    }
    assert_silent(&socket, "one of all probes", SILENCE);
    assert_serves(&pair, server);
}

/// The first datagram of a real client, caught on its way.
fn first_flight(pair: &Pair) -> Vec<u8> {
    let trap = pair
        .b
        .host()
        .run(|| UdpSocket::bind("0.0.0.0:7001"))
        .unwrap()
        .unwrap();
    trap.set_read_timeout(Some(LIMIT)).unwrap();
    let peer = format!("{}@{}:7001", pair.b.id(), pair.b.host().ipv4());
    let client = pair
        .a
        .dnc()
        .args(["--no-mdns", "-w", "2", &peer])
        .start()
        .unwrap();
    let mut datagram = vec![0; 2048];
    let len = trap.recv(&mut datagram).unwrap();
    datagram.truncate(len);
    drop(client);
    datagram
}

#[test]
fn a_real_first_flight_that_was_tampered_with_gets_zero_bytes() {
    let name = "a_real_first_flight_that_was_tampered_with_gets_zero_bytes";
    let Some(pair) = pair(name, Families::Both) else {
        return;
    };
    let flight = first_flight(&pair);
    assert!(flight.len() >= 1200, "{} bytes", flight.len());
    assert_eq!(
        flight[1..5],
        OUR_VERSION.to_be_bytes(),
        "the version is on the wire"
    );
    let server = pair.b.listen(pair.listener()).unwrap();
    let started = Instant::now();
    let socket = prober(&pair);
    let mut tampered = 0;
    for at in (0..flight.len()).step_by(7) {
        let mut probe = flight.clone();
        probe[at] ^= 0x21;
        socket.send(&probe).unwrap();
        tampered += 1;
    }
    for len in (0..flight.len()).step_by(50) {
        socket.send(&flight[..len]).unwrap();
    }
    assert_silent(
        &socket,
        &format!("one of {tampered} tampered flights"),
        SILENCE,
    );
    assert!(started.elapsed() < LIMIT);
    assert_serves(&pair, server);
}
