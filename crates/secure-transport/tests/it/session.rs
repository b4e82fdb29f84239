//! Single sessions, fed by hand: what happens to every byte of every handshake frame.

use dhtnet_secure_transport::{HandshakeError, MAX_HANDSHAKE_MESSAGE_LEN};
use quinn_proto::{TransportError, TransportErrorCode, crypto::Session};

use rand_chacha::rand_core::Rng;

use crate::pair::{config, key, rng};

/// Encoded transport parameters: an idle timeout of one second (RFC 9000 section 18.2).
const PARAMETERS: &[u8] = &[1, 2, 0x43, 0xe8];

type BoxedSession = Box<dyn Session>;

fn initiator() -> BoxedSession {
    config(1, b"i")
        .initiator_session(&key(2).id(), PARAMETERS)
        .unwrap()
}

fn responder() -> BoxedSession {
    config(2, b"r").responder_session(PARAMETERS)
}

/// What `session` writes into the current space, and whether the next one opens.
fn written(session: &mut BoxedSession) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let keys = session.write_handshake(&mut out).is_some();
    (out, keys)
}

fn error(code: HandshakeError) -> TransportError {
    code.into()
}

/// A responder that has read message 1, with message 2 and its finished frame.
fn answered(message1: &[u8]) -> (BoxedSession, Vec<u8>, Vec<u8>) {
    let mut responder = responder();
    assert!(responder.read_handshake(message1).unwrap());
    let (message2, opens) = written(&mut responder);
    assert!(opens);
    let (finished, opens) = written(&mut responder);
    assert!(opens);
    (responder, message2, finished)
}

/// An initiator that has written message 1.
fn begun() -> (BoxedSession, Vec<u8>) {
    let mut initiator = initiator();
    let (message1, opens) = written(&mut initiator);
    assert!(!opens);
    (initiator, message1)
}

/// An initiator that has read message 2 and opened its Handshake space.
fn halfway() -> (BoxedSession, BoxedSession, Vec<u8>) {
    let (mut initiator, message1) = begun();
    let (responder, message2, finished) = answered(&message1);
    assert!(initiator.read_handshake(&message2).unwrap());
    let (nothing, opens) = written(&mut initiator);
    assert!(nothing.is_empty() && opens);
    (initiator, responder, finished)
}

#[test]
fn the_order_of_flights_is_the_one_quic_wants() {
    let (mut initiator, mut responder, finished) = halfway();
    assert!(initiator.is_handshaking() && responder.is_handshaking());
    assert!(initiator.transport_parameters().unwrap().is_some());
    assert!(responder.transport_parameters().unwrap().is_some());
    assert!(!initiator.read_handshake(&finished).unwrap());
    assert!(!initiator.is_handshaking());
    let (reply, opens) = written(&mut initiator);
    assert_eq!(reply, [2, 0, 0]);
    assert!(opens);
    assert!(!responder.read_handshake(&reply).unwrap());
    assert!(!responder.is_handshaking());
    for session in [&mut initiator, &mut responder] {
        assert_eq!(written(session), (vec![], false));
        assert!(session.next_1rtt_keys().is_some());
        assert!(session.early_crypto().is_none());
    }
}

#[test]
fn frames_are_put_together_from_single_bytes() {
    let (mut initiator, message1) = begun();
    let mut responder = responder();
    let (last, rest) = message1.split_last().unwrap();
    for byte in rest {
        assert!(!responder.read_handshake(&[*byte]).unwrap());
    }
    assert!(responder.read_handshake(&[*last]).unwrap());
    let (message2, _) = written(&mut responder);
    let (last, rest) = message2.split_last().unwrap();
    for byte in rest {
        assert!(!initiator.read_handshake(&[*byte]).unwrap());
    }
    assert!(initiator.read_handshake(&[*last]).unwrap());
}

#[test]
fn no_flipped_byte_of_message_1_makes_a_peer() {
    let (_, message1) = begun();
    for position in 0..message1.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = message1.clone();
            changed[position] ^= flip;
            let mut responder = responder();
            assert!(
                !matches!(responder.read_handshake(&changed), Ok(true)),
                "byte {position}"
            );
            assert_eq!(written(&mut responder), (vec![], false));
            assert!(responder.handshake_data().is_none());
        }
    }
}

#[test]
fn no_flipped_byte_of_message_2_makes_a_peer() {
    let (_, message1) = begun();
    let (_, message2, _) = answered(&message1);
    for position in 0..message2.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = message2.clone();
            changed[position] ^= flip;
            // The generator is seeded alike each time: this message 1 is the same one.
            let (mut initiator, again) = begun();
            assert_eq!(again, message1);
            assert!(
                !matches!(initiator.read_handshake(&changed), Ok(true)),
                "byte {position}"
            );
            assert_eq!(written(&mut initiator), (vec![], false));
        }
    }
}

#[test]
fn no_flipped_byte_of_a_finished_frame_ends_the_handshake() {
    for position in 0..3 {
        for flip in 1..=255 {
            let (mut initiator, mut responder, finished) = halfway();
            let mut changed = finished;
            changed[position] ^= flip;
            for session in [&mut initiator, &mut responder] {
                assert!(!matches!(session.read_handshake(&changed), Ok(true)));
                assert!(session.is_handshaking(), "byte {position} flip {flip}");
            }
        }
    }
}

#[test]
fn a_cut_message_is_waited_for_at_every_length() {
    let (_, message1) = begun();
    for len in 0..message1.len() {
        let mut responder = responder();
        assert!(!responder.read_handshake(&message1[..len]).unwrap());
        assert_eq!(written(&mut responder), (vec![], false));
    }
    let (_, message2, _) = answered(&message1);
    for len in 0..message2.len() {
        let (mut initiator, _) = begun();
        assert!(!initiator.read_handshake(&message2[..len]).unwrap());
        assert_eq!(written(&mut initiator), (vec![], false));
    }
}

#[test]
fn frames_out_of_order_are_unexpected() {
    let unexpected = Err(error(HandshakeError::Unexpected));
    let finished = [2, 0, 0];
    assert_eq!(responder().read_handshake(&finished), unexpected);
    let (mut initiator, message1) = begun();
    assert_eq!(initiator.read_handshake(&finished), unexpected);
    // Nothing gets in before message 1 was written.
    assert_eq!(self::initiator().read_handshake(&message1), unexpected);
    let (mut responder, message2, _) = answered(&message1);
    assert_eq!(responder.read_handshake(&message2), unexpected);
    let (mut initiator, mut responder, finished) = halfway();
    initiator.read_handshake(&finished).unwrap();
    let (reply, _) = written(&mut initiator);
    responder.read_handshake(&reply).unwrap();
    assert_eq!(initiator.read_handshake(&finished), unexpected);
    assert_eq!(responder.read_handshake(&finished), unexpected);
}

#[test]
fn a_finished_frame_under_initial_keys_is_unexpected() {
    let (mut initiator, mut message1) = begun();
    let (_, mut message2, _) = answered(&message1);
    message1.extend([2, 0, 0]);
    message2.extend([2, 0, 0]);
    let unexpected = Err(error(HandshakeError::Unexpected));
    assert_eq!(responder().read_handshake(&message1), unexpected);
    assert_eq!(initiator.read_handshake(&message2), unexpected);
    // The same in a second piece, before the next space is open.
    let mut responder = responder();
    message1.truncate(message1.len() - 3);
    responder.read_handshake(&message1).unwrap();
    assert_eq!(responder.read_handshake(&[2, 0, 0]), unexpected);
    assert_eq!(written(&mut responder), (vec![], false));
}

#[test]
fn a_failed_session_takes_and_gives_nothing_more() {
    let (_, message1) = begun();
    let mut responder = responder();
    assert_eq!(
        responder.read_handshake(&[9, 0, 0]),
        Err(error(HandshakeError::Malformed))
    );
    assert_eq!(
        responder.read_handshake(&message1),
        Err(error(HandshakeError::Unexpected))
    );
    assert_eq!(written(&mut responder), (vec![], false));
    assert!(responder.next_1rtt_keys().is_none());
}

#[test]
fn an_overlong_message_is_refused_at_its_header() {
    let len = u16::try_from(MAX_HANDSHAKE_MESSAGE_LEN + 1)
        .unwrap()
        .to_be_bytes();
    let refused = Err(error(HandshakeError::Malformed));
    assert_eq!(responder().read_handshake(&[1, len[0], len[1]]), refused);
    let (mut initiator, _) = begun();
    assert_eq!(initiator.read_handshake(&[1, len[0], len[1]]), refused);
}

#[test]
fn a_message_1_is_answered_once_by_all_sessions_of_a_device() {
    let (_, message1) = begun();
    let device = config(2, b"r");
    assert!(
        device
            .responder_session(PARAMETERS)
            .read_handshake(&message1)
            .unwrap()
    );
    assert_eq!(
        device
            .responder_session(PARAMETERS)
            .read_handshake(&message1),
        Err(error(HandshakeError::Replayed))
    );
    // Another device with the same key does not know; its answer goes nowhere.
    assert!(responder().read_handshake(&message1).unwrap());
}

#[test]
fn a_forgery_does_not_use_up_the_message_it_was_made_from() {
    let (_, message1) = begun();
    let device = config(2, b"r");
    let mut forged = message1.clone();
    *forged.last_mut().unwrap() ^= 1;
    let refused = device.responder_session(PARAMETERS).read_handshake(&forged);
    assert_eq!(refused, Err(error(HandshakeError::WrongKey)));
    assert!(
        device
            .responder_session(PARAMETERS)
            .read_handshake(&message1)
            .unwrap()
    );
}

#[test]
fn a_message_for_another_responder_does_not_authenticate() {
    let mut stray = config(1, b"i")
        .initiator_session(&key(3).id(), PARAMETERS)
        .unwrap();
    let (message1, _) = written(&mut stray);
    assert_eq!(
        responder().read_handshake(&message1),
        Err(error(HandshakeError::WrongKey))
    );
}

#[test]
fn an_answer_by_another_responder_does_not_authenticate() {
    let (mut initiator, _) = begun();
    let mut other = config(1, b"i")
        .initiator_session(&key(3).id(), PARAMETERS)
        .unwrap();
    let (message1, _) = written(&mut other);
    let mut impostor = config(3, b"x").responder_session(PARAMETERS);
    impostor.read_handshake(&message1).unwrap();
    let (message2, _) = written(&mut impostor);
    assert_eq!(
        initiator.read_handshake(&message2),
        Err(error(HandshakeError::WrongKey))
    );
}

#[test]
fn an_all_zero_or_low_order_ephemeral_key_is_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    for point in [[0; 32], one, minus_one] {
        let (mut initiator, message1) = begun();
        let mut changed = message1.clone();
        changed[3..35].copy_from_slice(&point);
        let refused = Err(error(HandshakeError::WrongKey));
        assert_eq!(responder().read_handshake(&changed), refused);
        let (_, mut message2, _) = answered(&message1);
        message2[3..35].copy_from_slice(&point);
        assert_eq!(initiator.read_handshake(&message2), refused);
    }
}

#[test]
fn broken_transport_parameters_are_malformed() {
    // A stateless reset token from the initiator is not allowed (RFC 9000 section 18.2).
    let mut token = vec![2, 16];
    token.extend([0; 16]);
    for parameters in [&[1, 2][..], &[3, 1, 1], &token] {
        let mut initiator = config(1, b"")
            .initiator_session(&key(2).id(), parameters)
            .unwrap();
        let (message1, _) = written(&mut initiator);
        assert_eq!(
            responder().read_handshake(&message1),
            Err(error(HandshakeError::Malformed))
        );
    }
}

#[test]
fn codes_are_crypto_codes() {
    assert_eq!(
        error(HandshakeError::WrongKey).code,
        TransportErrorCode::crypto(51)
    );
    assert_eq!(
        error(HandshakeError::NoCommonAead).code,
        TransportErrorCode::crypto(40)
    );
}

/// What one side of the model below has done, in the only order there is.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Progress {
    Begun,
    PeerKnown,
    Finished,
}

#[test]
fn random_deliveries_never_finish_a_handshake_that_was_not_completed_in_order() {
    let mut rng = rng(7);
    let mut finished = 0;
    for _ in 0..400 {
        finished += u32::from(random_deliveries(&mut rng));
    }
    // Both kinds of run have to occur, or this shows nothing.
    assert!((20..380).contains(&finished), "{finished} of 400 finished");
}

/// Two sessions and a network that delivers frames of this run whole, cut or to the wrong side.
fn random_deliveries(rng: &mut impl Rng) -> bool {
    let mut sessions = [initiator(), responder()];
    let mut progress = [Progress::Begun; 2];
    // Frames written for each side, in order, and how many of them it has taken.
    let mut frames: [Vec<Vec<u8>>; 2] = [vec![], vec![]];
    let mut taken = [0, 0];
    for _ in 0..40 {
        for side in [0, 1] {
            loop {
                let (frame, opens) = written(&mut sessions[side]);
                let has_frame = !frame.is_empty();
                frames[1 - side].extend(has_frame.then_some(frame));
                if !has_frame && !opens {
                    break;
                }
            }
        }
        let side = (rng.next_u32() % 2) as usize;
        let in_order = !rng.next_u32().is_multiple_of(20);
        let source = if in_order {
            side
        } else {
            (rng.next_u32() % 2) as usize
        };
        let number = if in_order {
            taken[side]
        } else {
            rng.next_u32() as usize % 3
        };
        let Some(frame) = frames[source].get(number).cloned() else {
            continue;
        };
        // All finished frames are alike; that a reflected one comes to nothing is the work of the
        // Handshake space's keys, which differ by direction.
        let expected = match taken[side] {
            0 => frames[side].first() == Some(&frame),
            1 => frame == [2, 0, 0],
            _ => false,
        };
        match sessions[side].read_handshake(&frame) {
            Ok(known) => {
                assert!(expected, "side {side} took frame {number} of {source}");
                taken[side] += 1;
                assert_eq!(known, progress[side] == Progress::Begun);
                progress[side] = match progress[side] {
                    Progress::Begun => Progress::PeerKnown,
                    _ => Progress::Finished,
                };
            }
            Err(_) => assert!(!expected, "side {side} refused frame {number}"),
        }
        let is_finished = progress[side] == Progress::Finished;
        assert_eq!(sessions[side].is_handshaking(), !is_finished);
        if !expected {
            // The session is over: it must never get further.
            assert!(written(&mut sessions[side]).0.is_empty());
            return false;
        }
    }
    progress == [Progress::Finished; 2]
}
