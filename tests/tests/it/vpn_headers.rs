//! `dvpn` and what may stand between an IPv6 header and its payload: it passes from the owner of the
//! source address, and from nobody else.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::{Duration, Instant};

use dhtnet_tests::device::{Device, Tools};
use dhtnet_tests::lab::Host;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

use crate::pair::LIMIT;
use crate::vpn::{LEAST_MTU, SERVER, addresses, await_ping, office, status};

/// Where the server listens inside the tunnel.
const PORT: u16 = 9_999;

/// Numbers of headers (IANA, "Assigned Internet Protocol Numbers").
const HOP_BY_HOP: u8 = 0;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Options that say nothing: eight bytes, the next header first, then PadN (RFC 8200, section 4.2).
fn padding(next: u8) -> Vec<u8> {
    vec![next, 0, 1, 4, 0, 0, 0, 0]
}

/// A fragment's header: where it belongs, in units of eight bytes, and whether more follow.
fn fragment(next: u8, (units, more): (u16, u16), number: u32) -> Vec<u8> {
    let place = (units << 3 | more).to_be_bytes();
    [&[next, 0], &place[..], &number.to_be_bytes()].concat()
}

/// A datagram between two addresses with its checksum (RFC 8200, section 8.1).
fn datagram((from, to): (Ipv6Addr, Ipv6Addr), payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    let ports = [[0, 9], PORT.to_be_bytes()].concat();
    let mut bytes = [&ports[..], &len.to_be_bytes(), &[0, 0], payload].concat();
    let tail = [&[0, 0], &len.to_be_bytes()[..], &[0, 0, 0, UDP]].concat();
    let whole = [&from.octets()[..], &to.octets(), &tail, &bytes].concat();
    let words = whole.chunks(2);
    let mut sum: u32 = words
        .map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap();
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn packet((from, to): (Ipv6Addr, Ipv6Addr), first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let rest = parts.concat();
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let head = [&[0x60, 0, 0, 0], &len[..], &[first, 64]].concat();
    [&head[..], &from.octets(), &to.octets(), &rest].concat()
}

/// Ways to send one payload; those of two packets are fragments.
fn ways(ends: (Ipv6Addr, Ipv6Addr), payload: &[u8]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let udp = datagram(ends, payload);
    // Fragments begin at multiples of eight bytes.
    let (first, second) = udp.split_at(udp.len() / 2 / 8 * 8);
    let units = u16::try_from(first.len() / 8).unwrap();
    let (hop, options) = (padding(DESTINATION_OPTIONS), padding(UDP));
    let (to_fragment, number) = (padding(FRAGMENT), 0x1234);
    let one = |first, parts: &[&[u8]]| vec![packet(ends, first, parts)];
    vec![
        ("nothing", one(UDP, &[&udp])),
        ("hop-by-hop options", one(HOP_BY_HOP, &[&options, &udp])),
        (
            "destination options",
            one(DESTINATION_OPTIONS, &[&options, &udp]),
        ),
        ("both", one(HOP_BY_HOP, &[&hop, &options, &udp])),
        (
            "a fragment that is all",
            one(FRAGMENT, &[&fragment(UDP, (0, 0), number), &udp]),
        ),
        (
            "two fragments",
            vec![
                packet(ends, FRAGMENT, &[&fragment(UDP, (0, 1), number + 1), first]),
                packet(
                    ends,
                    FRAGMENT,
                    &[&fragment(UDP, (units, 0), number + 1), second],
                ),
            ],
        ),
        (
            "two fragments behind options",
            vec![
                packet(
                    ends,
                    HOP_BY_HOP,
                    &[&to_fragment, &fragment(UDP, (0, 1), number + 2), first],
                ),
                packet(
                    ends,
                    HOP_BY_HOP,
                    &[&to_fragment, &fragment(UDP, (units, 0), number + 2), second],
                ),
            ],
        ),
    ]
}

/// Sends packets as they are from a host.
fn send(host: &Host, to: Ipv6Addr, packets: &[Vec<u8>]) {
    let work = || {
        let raw = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::RAW)).unwrap();
        for packet in packets {
            let to = SocketAddrV6::new(to, 0, 0, 0);
            sendto(&raw, packet, SendFlags::empty(), &to).unwrap();
        }
    };
    host.run(work).unwrap();
}

fn v6_of(device: &Device) -> Ipv6Addr {
    match addresses(device).1 {
        IpAddr::V6(v6) => v6,
        IpAddr::V4(v4) => panic!("{v4} is of the other family"),
    }
}

fn spoofed(device: &Device, tools: &Tools) -> u64 {
    let told = status(device, tools);
    told[0]["drops"]["spoofed_source"]
        .as_u64()
        .unwrap_or_default()
}

/// Payload of the next datagram, or nothing within half a second.
fn received(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2_048];
    let (len, _) = socket.recv_from(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

#[test]
fn extension_headers_pass_from_the_owner_of_an_address_and_from_nobody_else() {
    let name = "extension_headers_pass_from_the_owner_of_an_address_and_from_nobody_else";
    let Some(office) = office(name, 1) else {
        return;
    };
    let _serving = office.serve(&[]);
    let _joined = office.join(0, &[]);
    let client = &office.clients[0];
    await_ping(client, SERVER.into(), LEAST_MTU);
    let (own, to) = (v6_of(client), v6_of(&office.server));
    let listen = || UdpSocket::bind((to, PORT)).unwrap();
    let socket = office.server.host().run(listen).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();

    for (what, packets) in ways((own, to), &[7; 600]) {
        let begun = Instant::now();
        // A datagram may be lost, as always.
        let got = loop {
            send(client.host(), to, &packets);
            match received(&socket) {
                Some(got) => break got,
                None => assert!(begun.elapsed() < LIMIT, "{what} does not pass"),
            }
        };
        assert!(got == [7; 600], "{what}: {got:?}");
    }
    assert_eq!(spoofed(&office.server, &office.tools), 0);

    // Another address of the same network, which nobody has.
    let mut stolen = own.segments();
    stolen[7] ^= 1;
    let mut sent = 0;
    for (_, packets) in ways((stolen.into(), to), &[8; 600]) {
        send(client.host(), to, &packets);
        sent += packets.len() as u64;
    }
    while let Some(got) = received(&socket) {
        assert!(got != [8; 600], "a datagram from an address of nobody came");
    }
    assert_eq!(spoofed(&office.server, &office.tools), sent);
}
