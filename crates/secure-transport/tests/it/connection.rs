//! What two devices get out of a connection: each other's identity, typed ends.

use std::time::Duration;

use bytes::Bytes;
use dhtnet_secure_transport::{
    Aead, ConnectionFault, HandshakeError, MAX_APPLICATION_LEN, MAX_EXPORT_LEN, NoiseConfig,
    NoiseConfigError, TransportSettings, claimed_identity, export_keying_material, peer_identity,
};

use crate::pair::{
    Host, INITIATOR, Pair, RESPONDER, code, config, config_with, endpoint, key, rng,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn both_sides_prove_their_id_and_hear_the_others_application_bytes() {
    let mut pair = Pair::new();
    pair.establish();
    let of = |pair: &mut Pair, side: usize| peer_identity(pair.hosts[side].connection()).unwrap();
    let responder = of(&mut pair, INITIATOR);
    assert_eq!(responder.id, key(2).id());
    assert_eq!(responder.application, &b"responder"[..]);
    let initiator = of(&mut pair, RESPONDER);
    assert_eq!(initiator.id, key(1).id());
    assert_eq!(initiator.application, &b"initiator"[..]);
    assert_eq!(initiator.aead, responder.aead);
}

#[test]
fn one_round_trip_is_enough_for_the_initiator() {
    let mut pair = Pair::new();
    pair.connect();
    assert!(pair.run(SECOND, |pair| !pair.hosts[INITIATOR].connected.is_empty()));
    assert_eq!(pair.now - pair.start, Duration::from_millis(20));
}

#[test]
fn an_initiator_is_claimed_before_it_is_proven() {
    let mut pair = Pair::new();
    pair.connect();
    assert!(pair.run(SECOND, |pair| !pair.hosts[RESPONDER].connections.is_empty()));
    let connection = pair.hosts[RESPONDER].connection();
    assert_eq!(claimed_identity(connection).unwrap().id, key(1).id());
    assert_eq!(peer_identity(connection), None);
    let mut output = [0; 32];
    assert!(export_keying_material(connection, b"x", b"", &mut output).is_err());
    assert!(pair.run(SECOND, |pair| pair.is_established()));
    assert_eq!(
        peer_identity(pair.hosts[RESPONDER].connection())
            .unwrap()
            .id,
        key(1).id()
    );
}

#[test]
fn exported_keys_agree_and_depend_on_label_and_context() {
    let mut pair = Pair::new();
    pair.establish();
    let mut export = |side: usize, label: &[u8], context: &[u8]| {
        let mut output = [0; 48];
        let connection = pair.hosts[side].connection();
        export_keying_material(connection, label, context, &mut output).unwrap();
        output
    };
    let here = export(INITIATOR, b"label", b"context");
    assert_eq!(here, export(RESPONDER, b"label", b"context"));
    assert_ne!(here, export(RESPONDER, b"label", b"contexu"));
    assert_ne!(here, export(RESPONDER, b"labelcontext", b""));
    let connection = pair.hosts[INITIATOR].connection();
    let mut output = vec![0; MAX_EXPORT_LEN + 1];
    assert!(export_keying_material(connection, b"l", b"", &mut output).is_err());
    assert!(export_keying_material(connection, b"l", b"", &mut output[1..]).is_ok());
}

#[test]
fn every_pair_of_aead_lists_with_something_in_common_connects() {
    let aes = Aead::Aes128Gcm;
    let chacha = Aead::ChaCha20Poly1305;
    let cases: [(&[Aead], &[Aead], Aead); 5] = [
        (&[aes], &[chacha, aes], aes),
        (&[chacha], &[aes, chacha], chacha),
        (&[aes, chacha], &[aes, chacha], aes),
        (&[aes, chacha], &[chacha, aes], chacha),
        (&[chacha, aes], &[aes, chacha], chacha),
    ];
    for (initiator, responder, expected) in cases {
        let mut pair = Pair::with(config_with(1, initiator), config_with(2, responder));
        pair.establish();
        for side in [INITIATOR, RESPONDER] {
            let peer = peer_identity(pair.hosts[side].connection()).unwrap();
            assert_eq!(peer.aead, expected);
        }
    }
}

#[test]
fn no_aead_in_common_is_said_to_both_sides() {
    let mut pair = Pair::with(
        config_with(1, &[Aead::ChaCha20Poly1305]),
        config_with(2, &[Aead::Aes128Gcm]),
    );
    pair.connect();
    assert!(pair.run(SECOND, |pair| pair.hosts[INITIATOR].fault().is_some()));
    assert_eq!(
        pair.hosts[INITIATOR].fault(),
        Some(&ConnectionFault::NoCommonAead)
    );
    let cause = pair.hosts[RESPONDER].accept_errors.remove(0);
    assert_eq!(ConnectionFault::from(cause), ConnectionFault::NoCommonAead);
}

#[test]
fn a_responder_with_another_key_stays_silent() {
    let mut pair = Pair::new();
    pair.connect_to(&key(3).id(), &TransportSettings::default());
    assert!(pair.run(60 * SECOND, |pair| pair.hosts[INITIATOR].fault().is_some()));
    assert_eq!(
        pair.hosts[INITIATOR].fault(),
        Some(&ConnectionFault::IdleTimeout)
    );
    assert_eq!(pair.hosts[RESPONDER].sent_bytes, 0);
    assert_eq!(pair.hosts[RESPONDER].endpoint.open_connections(), 0);
}

#[test]
fn the_applications_close_arrives_with_code_and_reason() {
    let mut pair = Pair::new();
    pair.establish();
    let now = pair.now;
    pair.hosts[RESPONDER]
        .connection()
        .close(now, code(42), Bytes::from_static(b"policy"));
    assert!(pair.run(SECOND, |pair| pair.hosts[INITIATOR].fault().is_some()));
    assert_eq!(
        pair.hosts[INITIATOR].fault(),
        Some(&ConnectionFault::PeerClosed {
            code: 42,
            reason: Bytes::from_static(b"policy")
        })
    );
}

#[test]
fn silence_ends_in_an_idle_timeout() {
    let mut pair = Pair::new();
    pair.establish();
    pair.weather.loss = 100;
    assert!(pair.run(60 * SECOND, |pair| {
        pair.hosts.iter().all(|host| host.fault().is_some())
    }));
    assert_eq!(
        pair.hosts[INITIATOR].fault(),
        Some(&ConnectionFault::IdleTimeout)
    );
}

#[test]
fn keep_alives_hold_an_unused_connection() {
    let mut pair = Pair::new();
    pair.establish();
    assert!(!pair.run(300 * SECOND, |pair| {
        pair.hosts.iter().any(|host| host.fault().is_some())
    }));
}

#[test]
fn a_restarted_peer_resets_the_connection_of_its_former_life() {
    let mut pair = Pair::new();
    pair.establish();
    // A new process: the same key, nothing else.
    let restarted = config_with_other_randomness(2);
    let settings = TransportSettings::default();
    pair.hosts[RESPONDER] = Host::new(restarted, "192.0.2.2:2000", &settings);
    let now = pair.now;
    pair.hosts[INITIATOR].connection().ping();
    pair.hosts[INITIATOR].drive(now);
    assert!(pair.run(60 * SECOND, |pair| pair.hosts[INITIATOR].fault().is_some()));
    assert_eq!(pair.hosts[INITIATOR].fault(), Some(&ConnectionFault::Reset));
}

fn config_with_other_randomness(seed: u8) -> std::sync::Arc<NoiseConfig> {
    NoiseConfig::new(&key(seed), Bytes::new(), Box::new(rng(777))).unwrap()
}

#[test]
fn application_bytes_are_taken_up_to_the_bound() {
    let full = Bytes::from(vec![5; MAX_APPLICATION_LEN]);
    let config = |seed: u8, application: &Bytes| {
        NoiseConfig::new(&key(seed), application.clone(), Box::new(rng(seed.into())))
    };
    let mut pair = Pair::with(config(1, &full).unwrap(), config(2, &full).unwrap());
    pair.establish();
    for side in [INITIATOR, RESPONDER] {
        let peer = peer_identity(pair.hosts[side].connection()).unwrap();
        assert_eq!(peer.application, full);
    }
    let len = MAX_APPLICATION_LEN + 1;
    assert_eq!(
        config(1, &Bytes::from(vec![5; len])).unwrap_err(),
        NoiseConfigError::ApplicationTooLong { len }
    );
}

#[test]
fn application_bytes_that_are_set_later_are_told_from_then_on() {
    let responder = config(2, b"before");
    responder
        .set_application(Bytes::from_static(b"after"))
        .unwrap();
    let len = MAX_APPLICATION_LEN + 1;
    assert_eq!(
        responder.set_application(Bytes::from(vec![5; len])),
        Err(NoiseConfigError::ApplicationTooLong { len })
    );
    let mut pair = Pair::with(config(1, b""), responder);
    pair.establish();
    let peer = peer_identity(pair.hosts[INITIATOR].connection()).unwrap();
    assert_eq!(&peer.application[..], b"after");
}

#[test]
fn an_aead_list_must_not_be_empty() {
    let empty = NoiseConfig::with_aeads(&key(1), Bytes::new(), vec![], Box::new(rng(1)));
    assert_eq!(empty.unwrap_err(), NoiseConfigError::AeadCount { count: 0 });
}

#[test]
fn a_device_can_connect_to_itself_on_another_endpoint() {
    let mut pair = Pair::with(config(1, b"here"), config(1, b"there"));
    pair.establish();
    assert_eq!(
        peer_identity(pair.hosts[INITIATOR].connection())
            .unwrap()
            .id,
        key(1).id()
    );
}

#[test]
fn both_directions_share_one_endpoint() {
    let mut pair = Pair::new();
    pair.establish();
    // The responder's endpoint now starts a connection of its own.
    let settings = TransportSettings::default();
    let peer = key(1).id();
    let address = pair.hosts[INITIATOR].address;
    let now = pair.now;
    let responder = &mut pair.hosts[RESPONDER];
    let client = responder.config.client_config(&peer, &settings).unwrap();
    let (handle, connection) = responder
        .endpoint
        .connect(now, client, address, &peer.to_string())
        .unwrap();
    responder.connections.insert(handle.0, connection);
    assert!(pair.run(SECOND, |pair| {
        pair.hosts.iter().all(|host| host.connected.len() == 2)
    }));
}

/// An attempt whose first packet was answered with a Retry: the Retry's bytes.
fn retried() -> (Pair, Vec<u8>) {
    let mut pair = Pair::new();
    let first = pair.first_datagram();
    let (now, from) = (pair.now, pair.hosts[INITIATOR].address);
    let responder = &mut pair.hosts[RESPONDER];
    responder.holds_incoming = true;
    responder.handle(now, from, &first);
    responder.holds_incoming = false;
    let incoming = responder.incoming.pop().unwrap();
    let mut retry = Vec::new();
    let transmit = responder.endpoint.retry(incoming, &mut retry).unwrap();
    retry.truncate(transmit.size);
    (pair, retry)
}

#[test]
fn a_retry_is_followed_and_the_connection_comes_about() {
    let (mut pair, retry) = retried();
    let (now, from) = (pair.now, pair.hosts[RESPONDER].address);
    pair.hosts[INITIATOR].handle(now, from, &retry);
    assert!(pair.run(SECOND, |pair| pair.is_established()));
}

#[test]
fn a_retry_with_any_byte_changed_is_not_followed() {
    let (_, retry) = retried();
    for position in 0..retry.len() {
        let (mut pair, mut forged) = retried();
        assert_eq!(forged.len(), retry.len());
        forged[position] ^= 1;
        let (now, from) = (pair.now, pair.hosts[RESPONDER].address);
        pair.hosts[INITIATOR].handle(now, from, &forged);
        assert!(
            pair.hosts[INITIATOR].drive(now).is_empty(),
            "byte {position}"
        );
        assert_eq!(pair.hosts[INITIATOR].fault(), None);
    }
}

#[test]
fn a_client_config_refuses_unusable_settings() {
    let config = config(1, b"");
    let settings = TransportSettings::default().send_window(0);
    assert!(config.client_config(&key(2).id(), &settings).is_err());
    assert!(config.server_config(&settings).is_err());
}

#[test]
fn faults_read_after_failed_to_connect() {
    assert_eq!(
        ConnectionFault::Refused(HandshakeError::Malformed).to_string(),
        "the peer refused the handshake"
    );
    let debug = format!("{:?}", config(1, b"secret"));
    assert!(
        !debug.contains("secret") && debug.contains("NoiseConfig"),
        "{debug}"
    );
}

#[test]
fn an_endpoint_can_be_made_anew_from_one_configuration() {
    let config = config(2, b"");
    let first = endpoint(&config, &TransportSettings::default());
    let second = endpoint(&config, &TransportSettings::default());
    assert_eq!(first.open_connections() + second.open_connections(), 0);
}
