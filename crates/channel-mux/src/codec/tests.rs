//! Snapshots, round trips and truncations of every frame.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::limits::{MAX_METADATA, MAX_NAME};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One frame of each sort with its bytes, as in `docs/wire-format/channels.md`.
const SNAPSHOTS: &str = include_str!("../../tests/vectors/frames.txt");

fn request(request: ChannelRequest, number: Option<u64>) -> Bytes {
    encode_request(&RequestFrame { request, number })
}

fn samples() -> Vec<(&'static str, Bytes)> {
    let hello = Hello {
        version: 1,
        max_channels: 2048,
        max_pending_requests: 256,
    };
    let refused = DeclineReason::new(DeclineCode::TargetFailed, "connection refused");
    let go_away = CloseReason::new(CloseCode::Idle, "unused");
    let target = ChannelRequest::stream("dnc.target")
        .metadata("example.org:22")
        .priority(Priority::Interactive);
    vec![
        (
            "request-stream",
            request(ChannelRequest::stream("dnc.pipe"), None),
        ),
        ("request-metadata", request(target, None)),
        (
            "request-datagrams",
            request(ChannelRequest::datagrams("dvpn"), Some(70_000)),
        ),
        ("answer-accepted", encode_answer(&AnswerFrame::Accepted)),
        (
            "answer-declined",
            encode_answer(&AnswerFrame::Declined(refused)),
        ),
        ("control-hello", encode_control(&ControlFrame::Hello(hello))),
        ("control-ping", encode_control(&ControlFrame::Ping(1))),
        ("control-pong", encode_control(&ControlFrame::Pong(1))),
        (
            "control-goaway",
            encode_control(&ControlFrame::GoAway(go_away)),
        ),
        ("control-bye", encode_control(&ControlFrame::Bye)),
        (
            "control-note",
            encode_control(&ControlFrame::Note(Bytes::from_static(b"note"))),
        ),
    ]
}

/// Decodes a body as what its name says it is.
fn decode_named(name: &str, body: &[u8]) -> Result<String, DecodeError> {
    match name.split('-').next().unwrap() {
        "request" => decode_request(body).map(|frame| format!("{frame:?}")),
        "answer" => decode_answer(body).map(|frame| format!("{frame:?}")),
        _ => decode_control(body).map(|frame| format!("{frame:?}")),
    }
}

#[test]
fn frames_are_the_bytes_of_the_vectors() {
    let text: String = samples()
        .iter()
        .map(|(name, frame)| format!("{name} {}\n", hex(frame)))
        .collect();
    assert_eq!(text, SNAPSHOTS);
}

#[test]
fn no_truncation_of_a_body_and_no_trailing_byte_decodes() {
    for (name, frame) in samples() {
        let body = &frame[2..];
        assert_eq!(
            usize::from(u16::from_be_bytes([frame[0], frame[1]])),
            body.len(),
            "{name}"
        );
        decode_named(name, body).unwrap();
        for cut in 0..body.len() {
            assert!(
                decode_named(name, &body[..cut]).is_err(),
                "{name} cut at {cut}"
            );
        }
        let longer = [body, &[0]].concat();
        assert_eq!(
            decode_named(name, &longer),
            Err(DecodeError::NotCanonical),
            "{name}"
        );
    }
}

#[test]
fn an_over_long_integer_is_refused() {
    // Kind 2 (Ping), nonce 1: in one byte, and in three.
    assert_eq!(decode_control(&[2, 1]), Ok(ControlFrame::Ping(1)));
    assert_eq!(
        decode_control(&[2, 251, 1, 0]),
        Err(DecodeError::NotCanonical)
    );
    assert_eq!(
        decode_control(&[251, 2, 0, 1]),
        Err(DecodeError::NotCanonical)
    );
}

#[test]
fn hostile_lengths_allocate_nothing() {
    // A name, metadata and a list of extensions that claim 2^62 bytes or entries.
    let huge = [253, 0, 0, 0, 0, 0, 0, 0, 64];
    let name = [&[1][..], &huge].concat();
    let metadata = [&[1, 1, b'n', 0, 0][..], &huge].concat();
    let extensions = [&[1, 1, b'n', 0, 0, 0][..], &huge].concat();
    for body in [name, metadata, extensions] {
        assert_eq!(decode_request(&body), Err(DecodeError::Invalid));
    }
}

fn request_with(extensions: Vec<Extension>) -> Result<RequestFrame, DecodeError> {
    let wire = RequestV1 {
        name: "n".into(),
        kind: KindV1::Stream,
        priority: 200,
        metadata: Bytes::new(),
        extensions,
    };
    decode_request(&encode_frame(REQUEST_V1, &wire)[2..])
}

fn extension(critical: bool) -> Extension {
    Extension {
        id: 9,
        critical,
        value: Bytes::from_static(b"later"),
    }
}

#[test]
fn an_unknown_extension_is_skipped_unless_it_is_critical() {
    let plain = request_with(vec![]).unwrap();
    assert_eq!(request_with(vec![extension(false)]), Ok(plain));
    let critical = request_with(vec![extension(false), extension(true)]);
    assert_eq!(critical, Err(DecodeError::UnknownExtension(9)));
}

#[test]
fn a_priority_of_a_later_version_is_normal() {
    assert_eq!(
        request_with(vec![]).unwrap().request.priority,
        Priority::Normal
    );
}

#[test]
fn extensions_at_their_bound_are_taken_and_one_past_it_is_refused() {
    let many = |count| (0..count).map(|_| extension(false)).collect();
    assert!(request_with(many(MAX_EXTENSIONS)).is_ok());
    let past = request_with(many(MAX_EXTENSIONS + 1));
    assert_eq!(
        past,
        Err(DecodeError::TooManyExtensions(MAX_EXTENSIONS + 1))
    );
}

#[test]
fn a_message_at_its_bound_is_taken_and_one_past_it_is_refused() {
    let decline = |length: usize| {
        let wire = DeclinedV1 {
            code: 1,
            message: "m".repeat(length),
            extensions: Vec::new(),
        };
        decode_answer(&encode_frame(DECLINED, &wire)[2..])
    };
    assert!(decline(MAX_MESSAGE).is_ok());
    assert_eq!(
        decline(MAX_MESSAGE + 1),
        Err(DecodeError::MessageTooLong(MAX_MESSAGE + 1))
    );
    let close = |length: usize| {
        let wire = GoAwayV1 {
            code: 1,
            message: "m".repeat(length),
            extensions: Vec::new(),
        };
        decode_control(&encode_frame(GO_AWAY, &wire)[2..])
    };
    assert!(close(MAX_MESSAGE).is_ok());
    assert_eq!(
        close(MAX_MESSAGE + 1),
        Err(DecodeError::MessageTooLong(MAX_MESSAGE + 1))
    );
}

#[test]
fn names_and_metadata_at_their_bounds_are_taken_and_one_past_them_are_refused() {
    let decode = |request: ChannelRequest| {
        decode_request(
            &encode_request(&RequestFrame {
                request,
                number: None,
            })[2..],
        )
    };
    assert!(decode(ChannelRequest::stream("n".repeat(MAX_NAME))).is_ok());
    assert!(decode(ChannelRequest::stream("n".repeat(MAX_NAME + 1))).is_err());
    assert!(decode(ChannelRequest::stream("n").metadata(vec![0; MAX_METADATA])).is_ok());
    assert!(decode(ChannelRequest::stream("n").metadata(vec![0; MAX_METADATA + 1])).is_err());
}

#[test]
fn a_number_that_no_datagram_can_carry_is_refused() {
    let wire = |number| RequestV1 {
        name: "n".into(),
        kind: KindV1::Datagrams { number },
        priority: 0,
        metadata: Bytes::new(),
        extensions: Vec::new(),
    };
    let decode = |number| decode_request(&encode_frame(REQUEST_V1, &wire(number))[2..]);
    assert_eq!(decode(varint::MAX).unwrap().number, Some(varint::MAX));
    assert_eq!(decode(varint::MAX + 1), Err(DecodeError::Invalid));
}

proptest! {
    #[test]
    fn a_request_survives_the_wire(
        name in "[^\\p{Cc}]{1,60}",
        metadata in prop::collection::vec(any::<u8>(), 0..500),
        number in prop::option::of(0..=varint::MAX),
        priority in prop_oneof![
            Just(Priority::Bulk), Just(Priority::Normal), Just(Priority::Interactive)
        ],
    ) {
        let kind = if number.is_some() { ChannelKind::Datagrams } else { ChannelKind::Stream };
        let request = ChannelRequest::new(name, kind).metadata(metadata).priority(priority);
        let frame = RequestFrame { request, number };
        prop_assert_eq!(decode_request(&encode_request(&frame)[2..]), Ok(frame));
    }

    #[test]
    fn an_answer_survives_the_wire(code in any::<u8>(), message in ".{0,60}") {
        let reason = DeclineReason::new(DeclineCode::from_wire(code), message);
        let answer = AnswerFrame::Declined(reason);
        prop_assert_eq!(decode_answer(&encode_answer(&answer)[2..]), Ok(answer));
    }

    #[test]
    fn a_control_message_survives_the_wire(
        nonce in any::<u64>(),
        version in any::<u16>(),
        max_channels in any::<u32>(),
        max_pending_requests in any::<u32>(),
    ) {
        let hello = Hello { version, max_channels, max_pending_requests };
        for message in [
            ControlFrame::Hello(hello),
            ControlFrame::Ping(nonce),
            ControlFrame::Pong(nonce),
            ControlFrame::Bye,
            ControlFrame::Note(nonce.to_be_bytes().to_vec().into()),
        ] {
            prop_assert_eq!(decode_control(&encode_control(&message)[2..]), Ok(message));
        }
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(body in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(frame) = decode_request(&body) {
            let again = decode_request(&encode_request(&frame)[2..]);
            prop_assert_eq!(again, Ok(frame));
        }
        if let Ok(message) = decode_control(&body)
            && !matches!(message, ControlFrame::Unknown(_) | ControlFrame::Hello(_) | ControlFrame::GoAway(_))
        {
            prop_assert_eq!(&encode_control(&message)[2..], &body[..]);
        }
    }
}
