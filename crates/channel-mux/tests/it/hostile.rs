//! A peer that breaks the protocol: one channel is lost, or the connection, never more.

use std::time::Duration;

use dhtnet_channel_mux::codec::{
    AnswerFrame, ControlFrame, Hello, RequestFrame, encode_answer, encode_control, encode_request,
};
use dhtnet_channel_mux::limits::{HELLO_TIMEOUT, MAX_METADATA};
use dhtnet_channel_mux::{
    ChannelRequest, CloseCode, CloseReason, DeclineCode, DeclineReason, Event, Fault, Limits, Link,
    LinkEvent, ReadError, StreamId,
};

use crate::link::Settings;
use crate::pair::Pair;

const CONTROL: StreamId = StreamId(0);

/// A responder that heard nothing from the initiator in whose place the test speaks.
fn silent_initiator() -> Pair {
    let mut pair = Pair::unconnected(&Settings::default(), &Limits::default(), 1);
    pair.a.mute = true;
    pair.b.feed(LinkEvent::Connected);
    assert_eq!(pair.a.link.open_stream(), Some(CONTROL));
    pair
}

fn fault(pair: &Pair) -> Fault {
    match &pair.b.events[..] {
        [Event::Fault { fault }] => fault.clone(),
        other => panic!("not one fault: {other:?}"),
    }
}

fn hello(version: u16) -> ControlFrame {
    ControlFrame::Hello(Hello {
        version,
        max_channels: 10,
        max_pending_requests: 10,
    })
}

#[test]
fn the_first_control_message_must_be_a_hello() {
    let mut pair = silent_initiator();
    pair.a.raw(CONTROL, &encode_control(&ControlFrame::Ping(1)));
    pair.run();
    assert_eq!(fault(&pair), Fault::HelloExpected);
    assert_eq!(pair.b.mux.poll_timeout(), None);
}

#[test]
fn a_hello_comes_once() {
    let mut pair = silent_initiator();
    pair.a.raw(CONTROL, &encode_control(&hello(1)));
    pair.run();
    assert!(pair.b.events.is_empty());
    pair.a.raw(CONTROL, &encode_control(&hello(1)));
    pair.run();
    assert_eq!(fault(&pair), Fault::SecondHello);
}

#[test]
fn a_newer_version_is_taken_and_an_older_one_is_a_fault() {
    let mut pair = silent_initiator();
    pair.a.raw(CONTROL, &encode_control(&hello(700)));
    pair.run();
    assert!(pair.b.events.is_empty());
    let mut pair = silent_initiator();
    pair.a.raw(CONTROL, &encode_control(&hello(0)));
    pair.run();
    assert_eq!(fault(&pair), Fault::UnsupportedVersion { theirs: 0 });
}

#[test]
fn a_hello_that_does_not_come_in_time_is_a_fault() {
    let mut pair = silent_initiator();
    pair.advance(HELLO_TIMEOUT - Duration::from_nanos(1));
    assert!(pair.b.events.is_empty());
    pair.advance(Duration::from_nanos(1));
    assert_eq!(fault(&pair), Fault::HelloTimeout);
}

#[test]
fn malformed_control_frames_are_faults() {
    for bad in [
        &[0, 0][..],
        &[0, 1, 251],
        &[0, 2, 2, 252],
        &[0, 3, 2, 5, 5],
        &[0, 4, 2, 251, 5, 0],
    ] {
        let mut pair = silent_initiator();
        pair.a.raw(CONTROL, &encode_control(&hello(1)));
        pair.a.raw(CONTROL, bad);
        pair.run();
        assert!(matches!(fault(&pair), Fault::Malformed(_)), "{bad:?}");
    }
}

#[test]
fn the_control_stream_must_stay_open() {
    let end: [fn(&mut Pair); 3] = [
        |pair| pair.a.link.finish(CONTROL),
        |pair| pair.a.link.reset(CONTROL, 0),
        |pair| pair.a.link.stop(CONTROL, 0),
    ];
    for end in end {
        let mut pair = Pair::new();
        pair.a.mute = true;
        end(&mut pair);
        pair.run();
        assert_eq!(fault(&pair), Fault::ControlClosed);
    }
}

#[test]
fn a_fault_closes_the_channels_and_comes_first() {
    let mut pair = Pair::new();
    let (_, b) = pair.stream();
    pair.a.mute = true;
    pair.a.raw(CONTROL, &[0, 0]);
    pair.run();
    assert!(matches!(pair.b.events[0], Event::Fault { .. }));
    assert_eq!((pair.b.events.len(), pair.b.closed(b)), (2, 1));
    pair.b.feed(LinkEvent::Lost);
    assert_eq!(pair.b.events.len(), 2);
}

#[test]
fn unknown_control_messages_are_skipped() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    pair.a
        .raw(CONTROL, &encode_control(&ControlFrame::Unknown(7)));
    pair.a
        .raw(CONTROL, &encode_control(&ControlFrame::Pong(77)));
    pair.a.raw(
        CONTROL,
        &encode_control(&ControlFrame::GoAway(CloseCode::Other(200).into())),
    );
    pair.run();
    let reason = CloseReason::from(CloseCode::Other(200));
    assert_eq!(
        pair.b.events,
        [Event::GoAway { reason }, Event::Drained][..1]
    );
    let stats = pair.b.mux.stats();
    assert_eq!((stats.control_unknown, stats.pongs_unknown), (1, 1));
}

#[test]
fn a_malformed_request_costs_its_stream_only() {
    let mut pair = Pair::new();
    let (a, b) = pair.stream();
    pair.a.mute = true;
    for (n, bad) in [
        &[0, 0][..],
        &[0, 1, 251],
        &[0, 3, 1, 200, 65],
        &[0, 5, 1, 1, 65, 9, 0],
    ]
    .into_iter()
    .enumerate()
    {
        let stream = pair.a.link.open_stream().unwrap();
        pair.a.raw(stream, bad);
        pair.run();
        assert!(
            matches!(pair.a.link.read(stream, 1), Err(ReadError::Reset(_))),
            "{bad:?}"
        );
        assert_eq!(pair.b.mux.stats().malformed, n as u64 + 1);
    }
    pair.a.mute = false;
    pair.a.write(a, b"unharmed");
    pair.run();
    assert_eq!(pair.b.read(b).0, b"unharmed");
}

#[test]
fn a_request_that_ends_before_its_end_is_malformed() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    let stream = pair.a.link.open_stream().unwrap();
    pair.a.raw(stream, &[0, 9, 1, 1]);
    pair.a.link.finish(stream);
    pair.run();
    assert_eq!(
        (pair.b.mux.stats().malformed, pair.b.mux.stats().channels),
        (1, 0)
    );
}

fn raw_answer(pair: &mut Pair, frame: &[u8]) -> AnswerFrame {
    pair.a.mute = true;
    let stream = pair.a.link.open_stream().unwrap();
    pair.a.raw(stream, frame);
    pair.run();
    let body = pair.a.link.read(stream, usize::MAX).unwrap().unwrap();
    dhtnet_channel_mux::codec::decode_answer(&body[2..]).unwrap()
}

#[test]
fn a_request_of_an_unknown_version_is_declined_in_words() {
    let mut pair = Pair::new();
    let AnswerFrame::Declined(reason) = raw_answer(&mut pair, &[0, 3, 2, 1, 1]) else {
        panic!("accepted")
    };
    assert_eq!(reason.code(), DeclineCode::BadRequest);
    assert!(reason.message().contains("version or kind 2"), "{reason}");
}

#[test]
fn requests_that_break_a_rule_are_declined_in_words() {
    let bad = [
        ChannelRequest::stream(""),
        ChannelRequest::stream("n".repeat(256)),
        ChannelRequest::stream("a\nb"),
        ChannelRequest::stream("m").metadata(vec![0; MAX_METADATA + 1]),
    ];
    for request in bad {
        let mut pair = Pair::new();
        let frame = encode_request(&RequestFrame {
            request,
            number: None,
        });
        let AnswerFrame::Declined(reason) = raw_answer(&mut pair, &frame) else {
            panic!("accepted")
        };
        assert_eq!(reason.code(), DeclineCode::BadRequest);
        assert!(pair.b.events.is_empty());
    }
}

#[test]
fn a_channel_number_of_the_wrong_side_or_in_use_is_declined() {
    let mut pair = Pair::new();
    let request = ChannelRequest::datagrams("test");
    let frame = |number| {
        encode_request(&RequestFrame {
            request: request.clone(),
            number: Some(number),
        })
    };
    let odd = raw_answer(&mut pair, &frame(7));
    assert!(
        matches!(odd, AnswerFrame::Declined(reason) if reason.code() == DeclineCode::BadRequest)
    );
    let stream = pair.a.link.open_stream().unwrap();
    pair.a.raw(stream, &frame(8));
    pair.run();
    let (b, _) = pair.b.incoming();
    let twice = raw_answer(&mut pair, &frame(8));
    assert!(
        matches!(twice, AnswerFrame::Declined(reason) if reason.code() == DeclineCode::BadRequest)
    );
    pair.a
        .link
        .send_datagram(bytes::Bytes::from_static(&[8, 1]))
        .unwrap();
    pair.run();
    assert_eq!(
        pair.b.mux.channel(b).unwrap().datagrams.received,
        1,
        "the first keeps its number"
    );
}

/// An initiator whose responder the test plays: the request of `a` waits for raw bytes.
fn asked() -> (Pair, dhtnet_channel_mux::ChannelId, StreamId) {
    let mut pair = Pair::new();
    pair.b.mute = true;
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.a.events.clear();
    pair.run();
    let stream = pair.b.link.accept_stream().unwrap();
    (pair, a, stream)
}

#[test]
fn a_malformed_answer_declines_that_channel_only() {
    for bad in [
        &[0, 0][..],
        &[0, 1, 7],
        &[0, 2, 0, 5],
        &[0xff, 0xff],
        &[0, 3, 0, 0, 0],
    ] {
        let (mut pair, a, stream) = asked();
        pair.b.raw(stream, bad);
        pair.run();
        let reason = DeclineReason::new(DeclineCode::Unanswered, "malformed answer");
        assert_eq!(pair.a.declined(a), reason, "{bad:?}");
        assert_eq!((pair.a.closed(a), pair.a.events.len()), (1, 1));
    }
}

#[test]
fn a_peer_that_ends_without_an_answer_declines() {
    let (mut pair, a, stream) = asked();
    pair.b.link.finish(stream);
    pair.run();
    assert_eq!(pair.a.declined(a).code(), DeclineCode::Unanswered);
    let (mut pair, a, stream) = asked();
    pair.b.link.reset(stream, 12345);
    pair.run();
    assert_eq!(pair.a.declined(a).code(), DeclineCode::Unanswered);
    assert_eq!(pair.a.closed(a), 1);
}

#[test]
fn an_answer_in_pieces_is_put_together_and_what_follows_it_is_payload() {
    let (mut pair, a, stream) = asked();
    let mut bytes = encode_answer(&AnswerFrame::Accepted).to_vec();
    bytes.extend_from_slice(b"payload");
    for byte in bytes {
        pair.b.raw(stream, &[byte]);
        pair.run();
    }
    assert!(pair.a.take(&Event::Accepted { id: a }));
    assert_eq!(pair.a.read(a).0, b"payload");
}

#[test]
fn streams_that_appear_because_a_later_one_did_are_timed_too() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    for _ in 0..9 {
        pair.a.link.open_stream().unwrap();
    }
    let last = pair.a.link.open_stream().unwrap();
    pair.a.raw(last, &[0]);
    pair.run();
    assert_eq!(pair.b.mux.stats().pending_requests, 10);
    pair.advance(Duration::from_secs(10));
    assert_eq!(
        (pair.b.mux.stats().timed_out, pair.b.mux.stats().channels),
        (10, 0)
    );
}
