//! What somebody gets who does not know the device, or knows it and lies: nothing.

use std::time::Duration;

use dhtnet_secure_transport::{
    CONNECTION_ID_LEN, MAX_PENDING_INCOMING, QUIC_VERSION, TransportSettings,
};
use quinn_proto::{ConnectionId, Side};
use rand_chacha::rand_core::Rng;

use crate::pair::{INITIATOR, Pair, RESPONDER, config, key, rng};

const STRANGER: &str = "198.51.100.9:9";

/// Source connection id of the packets made here.
const SOURCE: [u8; 10] = [0x80; 10];

fn random(rng: &mut impl Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn long_header(first: u8, version: u32, destination: &[u8], source: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(version.to_be_bytes());
    packet.push(destination.len() as u8);
    packet.extend(destination);
    packet.push(source.len() as u8);
    packet.extend(source);
    packet
}

/// An Initial datagram of 1,200 bytes with a payload of noise.
fn noise_initial(rng: &mut impl Rng, version: u32, destination_len: usize) -> Vec<u8> {
    let (destination, source) = (random(rng, destination_len), random(rng, 8));
    let mut packet = long_header(0xc3, version, &destination, &source);
    packet.push(0);
    let rest = 1_200 - packet.len() - 2;
    packet.extend((0x4000 | rest as u16).to_be_bytes());
    packet.extend(random(rng, rest));
    packet
}

/// An Initial datagram around `crypto`, protected as by somebody who knows the id of `key(2)`.
fn knowing_initial(destination: &[u8], crypto: &[u8]) -> Vec<u8> {
    let session = config(1, b"").initiator_session(&key(2).id(), &[]).unwrap();
    let keys = session.initial_keys(&ConnectionId::new(destination), Side::Client);
    let mut packet = long_header(0xc3, QUIC_VERSION, destination, &SOURCE);
    packet.push(0);
    let len_at = packet.len();
    packet.extend([0, 0]);
    let number_at = packet.len();
    packet.extend([0; 4]);
    let header_len = packet.len();
    packet.extend([6, 0]);
    packet.extend((0x4000 | crypto.len() as u16).to_be_bytes());
    packet.extend(crypto);
    packet.resize(1_200, 0);
    let len = 0x4000 | (1_200 - number_at) as u16;
    packet[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    keys.packet.local.encrypt(0, &mut packet, header_len);
    keys.header.local.encrypt(number_at, &mut packet);
    packet
}

/// The frame of a good message 1 for [`knowing_initial`].
fn message1() -> Vec<u8> {
    // initial_source_connection_id (RFC 9000 section 18.2) has to be the packet's.
    let mut parameters = vec![0x0f, SOURCE.len() as u8];
    parameters.extend(SOURCE);
    let mut session = config(1, b"")
        .initiator_session(&key(2).id(), &parameters)
        .unwrap();
    let mut out = Vec::new();
    session.write_handshake(&mut out);
    out
}

fn nothing_happened(pair: &Pair) {
    let responder = &pair.hosts[RESPONDER];
    assert_eq!(responder.sent_bytes, 0);
    assert_eq!(responder.endpoint.open_connections(), 0);
    assert_eq!(responder.endpoint.incoming_buffer_bytes(), 0);
}

#[test]
fn quic_version_1_and_unknown_versions_get_no_answer() {
    let mut pair = Pair::new();
    let mut rng = rng(1);
    for version in [1, 0x6b33_43cf, 0x0a1a_2a3a, 0, QUIC_VERSION + 1, u32::MAX] {
        for destination_len in [0, 7, 8, 10, 16, 20] {
            let packet = noise_initial(&mut rng, version, destination_len);
            assert_eq!(pair.probe(STRANGER, &packet), 0);
        }
    }
    nothing_happened(&pair);
}

#[test]
fn our_version_without_the_key_gets_no_answer() {
    let mut pair = Pair::new();
    let mut rng = rng(2);
    for destination_len in 0..=20 {
        for _ in 0..20 {
            let packet = noise_initial(&mut rng, QUIC_VERSION, destination_len);
            assert_eq!(pair.probe(STRANGER, &packet), 0);
        }
    }
    nothing_happened(&pair);
}

#[test]
fn a_short_destination_id_gets_no_answer_even_with_the_key() {
    let mut pair = Pair::new();
    let packet = knowing_initial(&[9; 7], &message1());
    assert_eq!(pair.probe(STRANGER, &packet), 0);
    nothing_happened(&pair);
}

#[test]
fn junk_of_every_size_gets_no_answer() {
    let mut pair = Pair::new();
    let mut rng = rng(3);
    for len in 0..1_500 {
        let mut junk = random(&mut rng, len);
        assert_eq!(pair.probe(STRANGER, &junk), 0);
        // Made to look like each kind of packet.
        for first in [0x40, 0x64, 0xc0, 0xd0, 0xe0, 0xf0] {
            if let Some(byte) = junk.first_mut() {
                *byte = first;
            }
            if first & 0x80 != 0 && len > 5 {
                junk[1..5].copy_from_slice(&QUIC_VERSION.to_be_bytes());
                junk[5] = 8;
            }
            assert_eq!(pair.probe(STRANGER, &junk), 0);
        }
    }
    nothing_happened(&pair);
}

#[test]
fn made_up_connection_ids_draw_no_stateless_reset() {
    let mut pair = Pair::new();
    let mut rng = rng(4);
    for _ in 0..5_000 {
        let mut packet = vec![0x41];
        packet.extend(random(&mut rng, CONNECTION_ID_LEN + 60));
        packet[1] |= 0x80;
        assert_eq!(pair.probe(STRANGER, &packet), 0);
    }
    nothing_happened(&pair);
}

#[test]
fn a_version_negotiation_packet_does_not_end_an_attempt() {
    let mut pair = Pair::new();
    let first = pair.first_datagram();
    let (destination, source) = (
        first[6..22].to_vec(),
        first[23..23 + CONNECTION_ID_LEN].to_vec(),
    );
    let mut bait = long_header(0xc0, 0, &source, &destination);
    bait.extend(1u32.to_be_bytes());
    let now = pair.now;
    let from = pair.hosts[RESPONDER].address;
    pair.hosts[INITIATOR].handle(now, from, &bait);
    // Hidden behind a packet of our version.
    let mut hidden = long_header(0xe0, QUIC_VERSION, &source, &destination);
    hidden.extend([20; 21]);
    hidden.extend(&bait);
    pair.hosts[INITIATOR].handle(now, from, &hidden);
    pair.hosts[INITIATOR].drive(now);
    assert_eq!(pair.hosts[INITIATOR].fault(), None);
    assert!(pair.run(Duration::from_secs(5), |pair| pair.is_established()));
}

#[test]
fn no_flipped_byte_of_the_first_datagram_draws_an_answer() {
    let mut pair = Pair::new();
    let first = pair.first_datagram();
    for position in 0..first.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = first.clone();
            changed[position] ^= flip;
            assert_eq!(
                pair.probe(STRANGER, &changed),
                0,
                "byte {position} flip {flip:#x}"
            );
        }
    }
    nothing_happened(&pair);
    // The datagram itself was good all the while.
    assert!(pair.probe("192.0.2.1:1000", &first) > 0);
}

#[test]
fn no_cut_first_datagram_draws_an_answer() {
    let mut pair = Pair::new();
    let first = pair.first_datagram();
    for len in 0..first.len() {
        assert_eq!(pair.probe(STRANGER, &first[..len]), 0, "cut at {len}");
    }
    nothing_happened(&pair);
}

#[test]
fn a_replayed_first_flight_draws_no_answer() {
    let mut pair = Pair::new();
    pair.establish();
    let first = pair.sent[INITIATOR][0].clone();
    pair.run(Duration::from_secs(1), |_| false);
    // While the connection lives.
    assert_eq!(pair.probe(STRANGER, &first), 0);
    // And after it is gone.
    let now = pair.now;
    pair.hosts[INITIATOR]
        .connection()
        .close(now, 0u32.into(), bytes::Bytes::new());
    assert!(pair.run(Duration::from_secs(60), |pair| {
        pair.hosts.iter().all(|host| host.connections.is_empty())
    }));
    assert_eq!(pair.probe(STRANGER, &first), 0);
    let responder = &pair.hosts[RESPONDER];
    assert_eq!(responder.accept_errors.len(), 1);
    assert_eq!(responder.endpoint.open_connections(), 0);
}

#[test]
fn a_replayed_message_in_a_new_packet_draws_no_answer() {
    let mut pair = Pair::new();
    let message = message1();
    assert!(pair.probe(STRANGER, &knowing_initial(&[1; 8], &message)) > 0);
    let before = pair.hosts[RESPONDER].endpoint.open_connections();
    assert_eq!(pair.probe(STRANGER, &knowing_initial(&[2; 8], &message)), 0);
    assert_eq!(pair.hosts[RESPONDER].endpoint.open_connections(), before);
}

#[test]
fn a_broken_message_by_somebody_who_knows_the_id_draws_no_answer() {
    let mut pair = Pair::new();
    let mut message = message1();
    *message.last_mut().unwrap() ^= 1;
    assert_eq!(pair.probe(STRANGER, &knowing_initial(&[1; 8], &message)), 0);
    assert_eq!(
        pair.probe(STRANGER, &knowing_initial(&[2; 8], &[7, 7, 7])),
        0
    );
    assert_eq!(
        pair.probe(STRANGER, &knowing_initial(&[3; 8], &[2, 0, 0])),
        0
    );
    nothing_happened(&pair);
}

#[test]
fn pending_connections_are_bounded() {
    let mut pair = Pair::new();
    pair.hosts[RESPONDER].holds_incoming = true;
    let message = message1();
    for number in 0..=MAX_PENDING_INCOMING {
        let destination = (number as u64).to_be_bytes();
        assert_eq!(
            pair.probe(STRANGER, &knowing_initial(&destination, &message)),
            0
        );
        let expected = (number + 1).min(MAX_PENDING_INCOMING);
        assert_eq!(pair.hosts[RESPONDER].incoming.len(), expected);
    }
    // More packets for a pending connection are kept up to a bound too.
    let more = knowing_initial(&0u64.to_be_bytes(), &message);
    for _ in 0..100 {
        pair.probe(STRANGER, &more);
    }
    let kept = pair.hosts[RESPONDER].endpoint.incoming_buffer_bytes();
    assert!((1_200..=16 << 10).contains(&kept), "{kept} bytes kept");
    while let Some(incoming) = pair.hosts[RESPONDER].incoming.pop() {
        pair.hosts[RESPONDER].endpoint.ignore(incoming);
    }
    nothing_happened(&pair);
}

#[test]
fn a_first_datagram_for_another_device_draws_no_answer() {
    let mut pair = Pair::new();
    pair.connect_to(&key(3).id(), &TransportSettings::default());
    let now = pair.now;
    let datagrams = pair.hosts[INITIATOR].drive(now);
    for datagram in &datagrams {
        assert_eq!(pair.probe("192.0.2.1:1000", datagram), 0);
    }
    nothing_happened(&pair);
}
