//! Requests that are declined, withdrawn or never answered.

use dhtnet_channel_mux::limits::{ANSWER_TIMEOUT, REQUEST_TIMEOUT};
use dhtnet_channel_mux::{
    AnswerError, ChannelReadError, ChannelRequest, ChannelWriteError, Deadline, DeclineCode,
    DeclineReason, Event, Limits, Link,
};

use crate::link::Settings;
use crate::pair::Pair;

#[test]
fn a_decline_carries_code_and_message() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.run();
    let (b, _) = pair.b.incoming();
    let reason = DeclineReason::new(DeclineCode::TargetFailed, "connection refused");
    pair.b.decline(b, reason.clone());
    pair.run();
    assert_eq!(pair.a.declined(a), reason);
    assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
    assert_eq!(
        (pair.a.mux.stats().declined, pair.b.mux.stats().declined),
        (1, 1)
    );
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_decline_after_early_payload_is_clean_at_both_ends() {
    let settings = Settings {
        window: 100,
        ..Settings::default()
    };
    for finished in [true, false] {
        for seed in 1..50 {
            let mut pair = Pair::with(&settings, &Limits::default(), seed);
            let a = pair.a.open(ChannelRequest::stream("test"));
            let written = pair.a.try_write(a, &[1; 200]).unwrap();
            assert!(written > 50 && written < 100, "the window is full");
            if finished {
                pair.a.finish(a);
            }
            pair.run();
            let (b, _) = pair.b.incoming();
            pair.b.decline(b, DeclineCode::Policy);
            pair.run();
            assert_eq!(pair.a.declined(a).code(), DeclineCode::Policy);
            assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
            assert!(
                !pair
                    .a
                    .events
                    .iter()
                    .any(|e| matches!(e, Event::Stopped { .. }))
            );
            assert_eq!(pair.a.try_write(a, b"x"), Err(ChannelWriteError::Closed));
            pair.a.assert_empty();
            pair.b.assert_empty();
        }
    }
}

#[test]
fn a_request_is_answered_once() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.run();
    let (b, _) = pair.b.incoming();
    let (link, now) = (&mut pair.b.link, pair.b.now);
    assert_eq!(pair.b.mux.accept(link, now, b), Ok(()));
    assert_eq!(
        pair.b.mux.accept(link, now, b),
        Err(AnswerError::NotOffered)
    );
    let declined = pair.b.mux.decline(link, now, b, DeclineCode::Busy);
    assert_eq!(declined, Err(AnswerError::NotOffered));
    let own = pair.a.mux.accept(&mut pair.a.link, pair.a.now, a);
    assert_eq!(own, Err(AnswerError::NotOffered));
}

#[test]
fn a_withdrawn_request_is_gone_for_the_acceptor() {
    for order in 0..3 {
        let mut pair = Pair::new();
        let a = pair.a.open(ChannelRequest::stream("test"));
        pair.run();
        let (b, _) = pair.b.incoming();
        match order {
            0 => {
                pair.a.reset(a, 1);
                pair.a.stop(a, 1);
            }
            1 => {
                pair.a.stop(a, 1);
                pair.a.reset(a, 1);
            }
            _ => pair.a.abandon(a, 1),
        }
        assert_eq!(pair.a.closed(a), 1);
        pair.run();
        assert_eq!(pair.b.closed(b), 1);
        let late = pair.b.mux.accept(&mut pair.b.link, pair.b.now, b);
        assert_eq!(late, Err(AnswerError::Gone));
        pair.run();
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

#[test]
fn a_request_reset_on_its_way_is_dropped_without_a_word() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.a.reset(a, 1);
    assert_eq!(pair.a.closed(a), 0, "the answer may still come");
    pair.run();
    assert!(pair.b.events.is_empty(), "{:?}", pair.b.events);
    assert_eq!(pair.a.declined(a).code(), DeclineCode::Unanswered);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_stop_before_the_answer_waits_for_it() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.a.write(a, b"fire and forget");
    pair.a.finish(a);
    pair.a.stop(a, 8);
    pair.run();
    assert!(pair.a.take(&Event::Finished { id: a }));
    let (b, _) = pair.b.incoming();
    pair.b.accept(b);
    assert_eq!(pair.b.read(b), (b"fire and forget".to_vec(), Ok(())));
    pair.run();
    assert!(pair.b.take(&Event::Stopped { id: b, code: 8 }));
    assert!(pair.a.take(&Event::Accepted { id: a }));
    assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_stop_that_overtakes_the_answer_is_told_after_it() {
    for seed in 1..50 {
        let mut pair = Pair::with(&Settings::default(), &Limits::default(), seed);
        let a = pair.a.open(ChannelRequest::stream("test"));
        pair.run();
        pair.a.events.clear();
        let (b, _) = pair.b.incoming();
        pair.b.accept(b);
        pair.b.stop(b, 5);
        pair.run();
        let told: Vec<&Event> = pair
            .a
            .events
            .iter()
            .filter(|e| matches!(e, Event::Accepted { .. } | Event::Stopped { .. }))
            .collect();
        assert_eq!(
            told,
            [
                &Event::Accepted { id: a },
                &Event::Stopped { id: a, code: 5 }
            ]
        );
    }
}

#[test]
fn an_acceptor_that_resets_at_once_never_leaves_the_opener_waiting() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.run();
    let (b, _) = pair.b.incoming();
    pair.b.accept(b);
    pair.b.abandon(b, 5);
    pair.run();
    assert_eq!(
        pair.a.declined(a).code(),
        DeclineCode::Unanswered,
        "the reset ate the answer"
    );
    assert_eq!(pair.a.closed(a), 1);
}

#[test]
fn an_open_channel_that_is_cut_tells_the_other_side_why() {
    let mut pair = Pair::new();
    let (a, b) = pair.stream();
    let host = &mut pair.b;
    host.mux
        .cut(&mut host.link, host.now, b, DeclineCode::Policy);
    host.drain();
    assert_eq!(pair.b.closed(b), 1);
    pair.run();
    let stopped = pair.a.events.iter().find_map(|event| match event {
        Event::Stopped { id, code } if *id == a => Some(*code),
        _ => None,
    });
    let why = stopped.and_then(dhtnet_channel_mux::reset_code::as_cut);
    assert_eq!(why, Some(DeclineCode::Policy));
    let read = pair.a.mux.read(&mut pair.a.link, pair.a.now, a, 100);
    assert!(
        matches!(read, Err(ChannelReadError::Reset(code)) if Some(code) == stopped),
        "{read:?}"
    );
}

#[test]
fn an_answer_that_does_not_come_in_time_is_a_decline() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.run();
    let (b, _) = pair.b.incoming();
    let (deadline, at) = pair.b.mux.poll_timeout().unwrap();
    assert_eq!(
        (deadline, at),
        (Deadline::Answer, pair.b.now + ANSWER_TIMEOUT)
    );
    pair.advance(ANSWER_TIMEOUT - std::time::Duration::from_nanos(1));
    pair.run();
    assert_eq!((pair.a.closed(a), pair.b.closed(b)), (0, 0));
    pair.advance(std::time::Duration::from_nanos(1));
    pair.run();
    assert_eq!(pair.a.declined(a).code(), DeclineCode::Unanswered);
    assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
    assert_eq!(pair.b.mux.poll_timeout(), None);
}

#[test]
fn a_request_that_does_not_arrive_whole_in_time_is_reset() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    let stream = pair.a.link.open_stream().unwrap();
    pair.a.raw(stream, &[0, 20, 1]);
    pair.run();
    assert_eq!(pair.b.mux.stats().pending_requests, 1);
    assert_eq!(pair.b.mux.poll_timeout().unwrap().0, Deadline::Request);
    assert_eq!(
        pair.b.mux.channels().count(),
        0,
        "the application is not asked yet"
    );
    pair.advance(REQUEST_TIMEOUT - std::time::Duration::from_nanos(1));
    assert_eq!(pair.b.mux.stats().timed_out, 0);
    pair.advance(std::time::Duration::from_nanos(1));
    assert_eq!(
        (pair.b.mux.stats().timed_out, pair.b.mux.stats().channels),
        (1, 0)
    );
    pair.run();
    assert!(
        pair.a
            .link
            .read(stream, 1)
            .is_err_and(|e| e != dhtnet_channel_mux::ReadError::Blocked)
    );
    assert!(pair.b.events.is_empty());
}

#[test]
fn the_application_has_its_full_time_after_a_slow_request() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.advance(REQUEST_TIMEOUT / 2);
    pair.run();
    pair.advance(REQUEST_TIMEOUT);
    let (b, _) = pair.b.incoming();
    pair.b.accept(b);
    pair.run();
    assert!(pair.a.take(&Event::Accepted { id: a }));
}
