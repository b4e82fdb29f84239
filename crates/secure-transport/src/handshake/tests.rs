//! Peers that hold their keys and still lie, and the vectors of a whole handshake.
#![allow(clippy::unwrap_used)]

use dhtnet_identity::DeviceKey;
use quinn_proto::{ConnectionId, Side, crypto::Session};

use super::*;
use crate::{
    key_schedule::{ResponderSalt, export},
    noise::prologue,
    noise_config::NoiseConfig,
    test_keys::{Script, counting},
    test_vectors::Vectors,
    version::QUIC_VERSION,
};

fn device(seed: u8, random: RandomSource) -> Device {
    let key = DeviceKey::from_seed(&[seed; 32]);
    Device {
        id: key.id(),
        keys: Arc::new(StaticKeys::new(key.noise_static_secret())),
        application: Bytes::from_static(b"dhtnet").into(),
        aeads: vec![Aead::Aes128Gcm, Aead::ChaCha20Poly1305],
        random: Arc::new(random),
        replays: Mutex::default(),
    }
}

fn honest(seed: u8) -> Arc<Device> {
    Arc::new(device(
        seed,
        RandomSource::seeded(Box::new(counting(seed.into()))),
    ))
}

fn written(handshake: &mut Handshake) -> Vec<u8> {
    let mut out = Vec::new();
    handshake.write(&mut out);
    out
}

fn begin(initiator: &Arc<Device>, responder: &Device) -> Handshake {
    Handshake::initiator(
        initiator,
        responder.id,
        responder.keys.public(),
        b"i params",
    )
    .unwrap()
}

/// What is below [`begin`], for messages that it would not write.
fn begin_noise(initiator: &Device, responder: &Device) -> NoiseHandshake {
    NoiseHandshake::initiator(
        &initiator.keys,
        &responder.id,
        responder.keys.public(),
        &initiator.random,
    )
    .unwrap()
}

#[test]
fn an_initiator_that_claims_another_id_is_refused() {
    for claimed in [honest(3).id, honest(2).id] {
        let responder = honest(2);
        let liar = Device {
            id: claimed,
            ..device(1, RandomSource::seeded(Box::new(counting(1))))
        };
        let message = written(&mut begin(&Arc::new(liar), &responder));
        let mut handshake = Handshake::responder(&responder, vec![]);
        assert_eq!(
            handshake.read(&message),
            Err(HandshakeError::IdentityMismatch)
        );
        assert!(handshake.peer().is_none() && written(&mut handshake).is_empty());
    }
}

#[test]
fn a_device_does_not_answer_to_the_id_with_the_other_sign() {
    let (initiator, responder) = (honest(1), honest(2));
    let mut twin = *responder.id.as_bytes();
    twin[31] ^= 0x80;
    let twin = DeviceId::from_bytes(&twin).unwrap();
    assert_eq!(twin.noise_static(), responder.id.noise_static());
    let mut handshake = Handshake::initiator(&initiator, twin, &twin.noise_static(), b"").unwrap();
    let message = written(&mut handshake);
    let mut handshake = Handshake::responder(&responder, vec![]);
    assert_eq!(handshake.read(&message), Err(HandshakeError::WrongKey));
}

#[test]
fn an_initiator_id_that_is_no_key_is_refused() {
    let (initiator, responder) = (honest(1), honest(2));
    let mut noise = begin_noise(&initiator, &responder);
    let payload = Message1 {
        aeads: &[1],
        // y = 2 is on no curve.
        initiator: &std::array::from_fn(|place| if place == 0 { 2 } else { 0 }),
        application: b"",
        parameters: b"",
    };
    let message = framed(noise.write(&payload.encode()).unwrap());
    let mut handshake = Handshake::responder(&responder, vec![]);
    assert_eq!(
        handshake.read(&message),
        Err(HandshakeError::IdentityMismatch)
    );
}

#[test]
fn a_responder_that_takes_an_aead_nobody_offered_is_refused() {
    let initiator = Device {
        aeads: vec![Aead::Aes128Gcm],
        ..device(1, RandomSource::seeded(Box::new(counting(1))))
    };
    let (initiator, responder) = (Arc::new(initiator), honest(2));
    for aead in [0, 2, 200] {
        let mut handshake = begin(&initiator, &responder);
        let message1 = written(&mut handshake);
        let mut noise =
            NoiseHandshake::responder(&responder.keys, &responder.id, &responder.random).unwrap();
        noise.read(&message1[3..]).unwrap();
        let payload = Message2 {
            aead,
            application: b"",
            parameters: b"",
        };
        let message2 = framed(noise.write(&payload.encode()).unwrap());
        assert_eq!(
            handshake.read(&message2),
            Err(HandshakeError::UnofferedAead)
        );
        assert!(handshake.peer().is_none());
    }
}

#[test]
fn a_payload_that_does_not_decode_is_malformed() {
    let (initiator, responder) = (honest(1), honest(2));
    let mut noise = begin_noise(&initiator, &responder);
    let message = framed(noise.write(&[]).unwrap());
    let mut handshake = Handshake::responder(&responder, vec![]);
    assert_eq!(handshake.read(&message), Err(HandshakeError::Malformed));
}

fn framed(message: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::Noise(message).encode(&mut out);
    out
}

const EPHEMERALS: [[u8; 32]; 2] = [[0x33; 32], [0x44; 32]];
const PARAMETERS: [&[u8]; 2] = [&[1, 2, 0x43, 0xe8], &[1, 2, 0x47, 0xd0]];
const DESTINATION_ID: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

/// Checks every value of the vector file, in the order of the key schedule.
struct Check(Vectors);

impl Check {
    fn is(&self, name: &str, value: &[u8]) {
        let expected = self.0.bytes(name);
        let hex = data_encoding::HEXLOWER.encode(value);
        assert!(expected == value, "{name} = {hex}");
    }
}

#[test]
fn a_handshake_with_fixed_keys_is_the_one_in_the_vectors() {
    let check = Check(Vectors::read(include_str!(
        "../../tests/vectors/handshake.txt"
    )));
    let scripted = |seed: u8, ephemeral: [u8; 32]| {
        Arc::new(device(
            seed,
            RandomSource::direct(Box::new(Script(ephemeral.to_vec()))),
        ))
    };
    let initiator = scripted(0x11, EPHEMERALS[0]);
    let responder = scripted(0x22, EPHEMERALS[1]);
    check.is("prologue", &prologue(&responder.id));
    check.is("initiator_id", initiator.id.as_bytes());
    check.is("responder_id", responder.id.as_bytes());
    check.is("initiator_static", initiator.keys.public());
    check.is("responder_static", responder.keys.public());

    let mut one = Handshake::initiator(
        &initiator,
        responder.id,
        responder.keys.public(),
        PARAMETERS[0],
    )
    .unwrap();
    let mut two = Handshake::responder(&responder, PARAMETERS[1].to_vec());
    let message1 = written(&mut one);
    check.is("frame_1", &message1);
    two.read(&message1).unwrap();
    let message2 = written(&mut two);
    check.is("frame_2", &message2);
    one.read(&message2).unwrap();
    check_first_packet(&check, &message1);

    let hash = noise_values(&check);
    check.is("handshake_hash", &hash);
    for agreement in [
        one.agreement.as_ref().unwrap(),
        two.agreement.as_ref().unwrap(),
    ] {
        check_secrets(&check, agreement, agreement.peer.id == responder.id);
    }
}

fn check_secrets(check: &Check, agreement: &Agreement, is_initiator: bool) {
    let named = |client: &str, server: &str, pair: &Pair| {
        let (local, remote) = if is_initiator {
            (client, server)
        } else {
            (server, client)
        };
        check.is(local, pair.local.as_bytes());
        check.is(remote, pair.remote.as_bytes());
    };
    if let Some(pair) = &agreement.handshake {
        named("client_handshake_secret", "server_handshake_secret", pair);
    }
    let current = &agreement.application;
    named(
        "client_application_secret",
        "server_application_secret",
        current,
    );
    let next = Pair {
        local: current.local.next_generation(),
        remote: current.remote.next_generation(),
    };
    named(
        "client_application_secret_1",
        "server_application_secret_1",
        &next,
    );
    check.is("exporter_secret", agreement.exporter.as_bytes());
    let mut exported = [0; 32];
    export(&agreement.exporter, b"label", b"context", &mut exported).unwrap();
    check.is("exported_label_context", &exported);
}

/// The same handshake on Noise alone, for the values a handshake does not keep.
fn noise_values(check: &Check) -> Vec<u8> {
    let scripted =
        |ephemeral: [u8; 32]| Arc::new(RandomSource::direct(Box::new(Script(ephemeral.to_vec()))));
    let (i, r) = (honest(0x11), honest(0x22));
    let mut one =
        NoiseHandshake::initiator(&i.keys, &r.id, r.keys.public(), &scripted(EPHEMERALS[0]))
            .unwrap();
    let mut two = NoiseHandshake::responder(&r.keys, &r.id, &scripted(EPHEMERALS[1])).unwrap();
    let payload1 = Message1 {
        aeads: &[1, 2],
        initiator: i.id.as_bytes(),
        application: b"dhtnet",
        parameters: PARAMETERS[0],
    }
    .encode();
    check.is("payload_1", &payload1);
    two.read(&one.write(&payload1).unwrap()).unwrap();
    let payload2 = Message2 {
        aead: 1,
        application: b"dhtnet",
        parameters: PARAMETERS[1],
    }
    .encode();
    check.is("payload_2", &payload2);
    one.read(&two.write(&payload2).unwrap()).unwrap();
    let (k1, k2) = *one.split();
    check.is("split_k1", &k1);
    check.is("split_k2", &k2);
    one.handshake_hash().to_vec()
}

/// Message 1 as the first packet: 1,200 bytes, packet number 0 in four bytes, padded.
fn check_first_packet(check: &Check, frame: &[u8]) {
    let responder = honest(0x22);
    let salt = ResponderSalt::new(responder.keys.public());
    check.is("initial_salt", salt.salt());
    check.is("retry_key", &salt.retry_key);
    check.is("retry_iv", &salt.retry_nonce);
    let (client, server) = salt.initial_secrets(&DESTINATION_ID);
    check.is("client_initial_secret", client.as_bytes());
    check.is("server_initial_secret", server.as_bytes());

    let mut packet = vec![0xc3];
    packet.extend(QUIC_VERSION.to_be_bytes());
    packet.push(8);
    packet.extend(DESTINATION_ID);
    packet.extend([0, 0]);
    let number_at = packet.len() + 2;
    packet.extend((0x4000 | (1_200 - number_at) as u16).to_be_bytes());
    packet.extend([0; 4]);
    let header_len = packet.len();
    packet.extend([6, 0]);
    packet.extend((0x4000 | frame.len() as u16).to_be_bytes());
    packet.extend(frame);
    packet.resize(1_200, 0);
    let key = DeviceKey::from_seed(&[0x11; 32]);
    let config = NoiseConfig::new(&key, Bytes::new(), Box::new(counting(1))).unwrap();
    let session: Box<dyn Session> = config.initiator_session(&responder.id, &[]).unwrap();
    let keys = session.initial_keys(&ConnectionId::new(&DESTINATION_ID), Side::Client);
    keys.packet.local.encrypt(0, &mut packet, header_len);
    keys.header.local.encrypt(number_at, &mut packet);
    check.is("first_packet", &packet);
}
