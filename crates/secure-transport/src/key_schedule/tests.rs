//! The expansion functions and packet protection against RFC 9001 appendix A.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use quinn_proto::crypto::Keys;

use super::*;
use crate::{aead::Aead, packet_protection::keys, test_vectors::Vectors};

fn vectors() -> Vectors {
    Vectors::read(include_str!("../../tests/vectors/rfc9001.txt"))
}

fn expanded<const N: usize>(secret: &Secret, label: &str) -> [u8; N] {
    let mut output = [0; N];
    secret.expand_label(label, &mut output);
    output
}

/// The keys of a side that sends and receives under one secret.
fn loopback(aead: Aead, secret: &Secret) -> Keys {
    keys(aead, secret, secret)
}

#[test]
fn initial_secrets_and_keys_are_those_of_appendix_a_1() {
    let vectors = vectors();
    let salt = vectors.bytes("v1_salt");
    let (client, server) = initial_secrets(salt, vectors.bytes("destination_id"));
    assert_eq!(client.as_bytes(), vectors.bytes("client_initial_secret"));
    assert_eq!(server.as_bytes(), vectors.bytes("server_initial_secret"));
    for (secret, side) in [(client, "client"), (server, "server")] {
        let name = |kind| format!("{side}_{kind}");
        assert_eq!(
            expanded::<16>(&secret, "quic key"),
            vectors.bytes(&name("key"))
        );
        assert_eq!(
            expanded::<12>(&secret, "quic iv"),
            vectors.bytes(&name("iv"))
        );
        assert_eq!(
            expanded::<16>(&secret, "quic hp"),
            vectors.bytes(&name("hp"))
        );
    }
}

#[test]
fn the_client_initial_is_that_of_appendix_a_2() {
    let vectors = vectors();
    let secret = Secret::new(vectors.array("client_initial_secret"));
    let header = vectors.bytes("client_header");
    let mut packet = [header, vectors.bytes("crypto_frame")].concat();
    packet.resize(1_200, 0);
    let plain = packet.clone();
    let keys = loopback(Aead::Aes128Gcm, &secret);
    let number_at = header.len() - 4;
    keys.packet.local.encrypt(2, &mut packet, header.len());
    keys.header.local.encrypt(number_at, &mut packet);
    assert_eq!(packet[..64], *vectors.bytes("client_packet_start"));
    assert_eq!(packet[1_184..], *vectors.bytes("client_packet_end"));

    keys.header.remote.decrypt(number_at, &mut packet);
    assert_eq!(packet[..header.len()], *header);
    let mut payload = BytesMut::from(&packet[header.len()..]);
    keys.packet.remote.decrypt(2, header, &mut payload).unwrap();
    assert_eq!(payload, plain[header.len()..1_184]);
}

#[test]
fn the_short_packet_is_that_of_appendix_a_5() {
    let vectors = vectors();
    let secret = Secret::new(vectors.array("chacha_secret"));
    assert_eq!(
        expanded::<32>(&secret, "quic key"),
        vectors.bytes("chacha_key")
    );
    assert_eq!(
        expanded::<12>(&secret, "quic iv"),
        vectors.bytes("chacha_iv")
    );
    assert_eq!(
        expanded::<32>(&secret, "quic hp"),
        vectors.bytes("chacha_hp")
    );
    let number = u64::from_be_bytes(vectors.array("chacha_packet_number"));
    let header = vectors.bytes("chacha_header");
    let mut packet = [header, vectors.bytes("chacha_plaintext"), &[0; 16]].concat();
    let keys = loopback(Aead::ChaCha20Poly1305, &secret);
    keys.packet.local.encrypt(number, &mut packet, header.len());
    keys.header.local.encrypt(1, &mut packet);
    assert_eq!(packet, vectors.bytes("chacha_packet"));
}

#[test]
fn the_next_generation_is_that_of_appendix_a_5() {
    let vectors = vectors();
    let secret = Secret::new(vectors.array("chacha_secret"));
    assert_eq!(
        secret.next_generation().as_bytes(),
        vectors.bytes("chacha_ku")
    );
}

#[test]
fn a_flipped_bit_of_header_payload_or_number_is_noticed() {
    let keys = loopback(Aead::Aes128Gcm, &Secret::new([5; 32]));
    let mut packet = vec![1, 2, 3, 4, 10, 11, 12];
    packet.extend([0; 16]);
    keys.packet.local.encrypt(9, &mut packet, 4);
    let open = |number, packet: &[u8]| {
        let mut payload = BytesMut::from(&packet[4..]);
        keys.packet
            .remote
            .decrypt(number, &packet[..4], &mut payload)
            .map(|()| payload)
    };
    assert_eq!(open(9, &packet).unwrap(), [10, 11, 12][..]);
    assert!(open(8, &packet).is_err());
    for position in 0..packet.len() {
        let mut changed = packet.clone();
        changed[position] ^= 1;
        assert!(open(9, &changed).is_err(), "byte {position}");
    }
}

#[test]
fn two_responders_share_no_initial_keys() {
    let (one, two) = (ResponderSalt::new(&[1; 32]), ResponderSalt::new(&[2; 32]));
    assert_ne!(one.salt(), two.salt());
    assert_ne!(one.retry_key, two.retry_key);
    let secret = |salt: &ResponderSalt, id: &[u8]| *salt.initial_secrets(id).0.as_bytes();
    assert_ne!(secret(&one, b"12345678"), secret(&two, b"12345678"));
    assert_ne!(secret(&one, b"12345678"), secret(&one, b"12345679"));
}

#[test]
fn exports_are_bounded_and_unambiguous() {
    let exporter = Secret::new([1; 32]);
    let mut longest = vec![0; MAX_EXPORT_LEN];
    assert!(export(&exporter, b"", b"", &mut longest).is_some());
    longest.push(0);
    assert!(export(&exporter, b"", b"", &mut longest).is_none());
    let output = |label: &[u8], context: &[u8]| {
        let mut output = [0; 16];
        export(&exporter, label, context, &mut output).unwrap();
        output
    };
    assert_ne!(output(b"ab", b"c"), output(b"a", b"bc"));
}
