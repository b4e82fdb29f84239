//! The graceful end: GoAway, what is in flight, and Drained exactly once.

use dhtnet_channel_mux::{
    ChannelRequest, CloseCode, CloseReason, DeclineCode, Event, Limits, OpenError,
};

use crate::link::Settings;
use crate::pair::Pair;

#[test]
fn an_unused_connection_drains_at_once_at_both_ends() {
    let mut pair = Pair::new();
    let reason = CloseReason::new(CloseCode::Shutdown, "bye");
    pair.a.close(reason.clone());
    pair.run();
    assert_eq!(pair.b.events, [Event::GoAway { reason }, Event::Drained]);
    assert_eq!(pair.a.events, [Event::Drained]);
}

#[test]
fn a_close_waits_until_all_in_flight_arrived() {
    for seed in 1..100 {
        let settings = Settings {
            window: 500,
            ..Settings::default()
        };
        let mut pair = Pair::with(&settings, &Limits::default(), seed);
        let (a, b) = pair.stream();
        pair.a.write(a, &[3; 400]);
        pair.a.finish(a);
        pair.a.close(CloseCode::Shutdown);
        pair.run();
        assert_eq!((pair.a.drained(), pair.b.drained()), (0, 0));
        assert_eq!(pair.b.read(b), (vec![3; 400], Ok(())));
        pair.b.write(b, b"last words");
        pair.b.finish(b);
        pair.run();
        assert_eq!(
            (pair.a.drained(), pair.b.drained()),
            (0, 0),
            "a has not read to the end"
        );
        assert_eq!(pair.a.read(a), (b"last words".to_vec(), Ok(())));
        pair.run();
        assert_eq!((pair.a.drained(), pair.b.drained()), (1, 1));
        assert_eq!(pair.a.events.last(), Some(&Event::Drained));
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

#[test]
fn drained_comes_once_however_often_both_sides_close() {
    for seed in 1..100 {
        let mut pair = Pair::with(&Settings::default(), &Limits::default(), seed);
        let (a, b) = pair.stream();
        pair.a.close(CloseCode::Shutdown);
        pair.b.close(CloseCode::Idle);
        pair.a.close(CloseCode::Policy);
        pair.step();
        pair.b.close(CloseCode::Idle);
        pair.run();
        assert_eq!((pair.a.drained(), pair.b.drained()), (0, 0));
        pair.a.abandon(a, 0);
        pair.run();
        pair.b.abandon(b, 0);
        pair.run();
        pair.a.close(CloseCode::Shutdown);
        pair.run();
        assert_eq!((pair.a.drained(), pair.b.drained()), (1, 1));
        let reason = CloseReason::from(CloseCode::Idle);
        assert!(
            pair.a.take(&Event::GoAway { reason }),
            "each hears of the other's close"
        );
        assert!(
            !pair
                .a
                .events
                .iter()
                .any(|e| matches!(e, Event::GoAway { .. })),
            "once"
        );
    }
}

#[test]
fn nothing_opens_after_a_close_on_either_side() {
    let mut pair = Pair::new();
    let (_, _) = pair.stream();
    pair.b.close(CloseCode::Shutdown);
    pair.run();
    for end in [&mut pair.a, &mut pair.b] {
        let late = end
            .mux
            .open(&mut end.link, end.now, ChannelRequest::stream("late"));
        assert_eq!(late, Err(OpenError::ShuttingDown));
    }
}

#[test]
fn a_request_that_crosses_the_goaway_is_declined() {
    for seed in 1..100 {
        let mut pair = Pair::with(&Settings::default(), &Limits::default(), seed);
        let a = pair.a.open(ChannelRequest::stream("crossing"));
        pair.b.close(CloseCode::Shutdown);
        pair.run();
        assert_eq!(pair.a.declined(a).code(), DeclineCode::ShuttingDown);
        assert_eq!(pair.a.closed(a), 1);
        assert!(pair.b.try_incoming().is_none());
        assert_eq!((pair.a.drained(), pair.b.drained()), (1, 1));
    }
}

#[test]
fn a_request_offered_before_the_close_may_still_be_accepted() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.run();
    pair.b.close(CloseCode::Shutdown);
    let (b, _) = pair.b.incoming();
    pair.b.accept(b);
    pair.run();
    assert!(pair.a.take(&Event::Accepted { id: a }));
    assert_eq!((pair.a.drained(), pair.b.drained()), (0, 0));
}

#[test]
fn opens_that_wait_for_a_stream_are_declined_by_a_close_of_either_side() {
    for ours in [true, false] {
        let settings = Settings {
            streams: 1,
            ..Settings::default()
        };
        let mut pair = Pair::with(&settings, &Limits::default(), 1);
        let a = pair.a.open(ChannelRequest::stream("waiting"));
        match ours {
            true => pair.a.close(CloseCode::Shutdown),
            false => pair.b.close(CloseCode::Shutdown),
        }
        pair.run();
        assert_eq!(pair.a.declined(a).code(), DeclineCode::ShuttingDown);
        assert_eq!(pair.a.closed(a), 1);
        assert_eq!((pair.a.drained(), pair.b.drained()), (1, 1));
    }
}

#[test]
fn a_decline_is_delivered_before_the_connection_drains() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.run();
    let (b, _) = pair.b.incoming();
    pair.b.close(CloseCode::Shutdown);
    pair.b.decline(b, DeclineCode::Busy);
    assert_eq!(pair.b.closed(b), 0, "the answer is not acknowledged");
    pair.run();
    assert_eq!(pair.a.declined(a).code(), DeclineCode::Busy);
    assert_eq!((pair.a.drained(), pair.b.drained()), (1, 1));
}

#[test]
fn an_idle_connection_says_since_when() {
    let mut pair = Pair::new();
    let start = pair.a.now;
    assert_eq!(pair.a.mux.idle_since(), Some(start));
    let (a, b) = pair.stream();
    assert_eq!(pair.a.mux.idle_since(), None);
    pair.advance(std::time::Duration::from_secs(5));
    pair.a.abandon(a, 0);
    pair.b.abandon(b, 0);
    pair.run();
    assert_eq!(pair.a.mux.idle_since(), Some(pair.a.now));
    pair.advance(std::time::Duration::from_secs(5));
    pair.b.mux.ping(&mut pair.b.link, pair.b.now).unwrap();
    pair.run();
    assert_eq!(
        pair.a.mux.idle_since(),
        Some(start + std::time::Duration::from_secs(5))
    );
}
