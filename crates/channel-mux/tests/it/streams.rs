//! Stream channels: payload, half-close, reset and stop, each direction on its own.

use dhtnet_channel_mux::{
    ChannelReadError, ChannelRequest, ChannelState, ChannelWriteError, Event, Limits, OpenedBy,
    Priority,
};

use crate::link::{Lane, Settings};
use crate::pair::{Pair, Who};

#[test]
fn bytes_go_both_ways() {
    let mut pair = Pair::new();
    let (a, b) = pair.stream();
    pair.a.write(a, b"ping");
    pair.b.write(b, b"pong");
    pair.run();
    assert!(pair.a.take(&Event::Readable { id: a }));
    assert!(pair.b.take(&Event::Readable { id: b }));
    assert_eq!(
        pair.b.read(b),
        (b"ping".to_vec(), Err(ChannelReadError::Blocked))
    );
    assert_eq!(
        pair.a.read(a),
        (b"pong".to_vec(), Err(ChannelReadError::Blocked))
    );
    let stats = pair.a.mux.channel(a).unwrap();
    assert_eq!((stats.sent, stats.received), (4, 4));
    assert_eq!(
        (stats.opened_by, stats.state),
        (OpenedBy::Local, ChannelState::Open)
    );
}

#[test]
fn the_request_arrives_as_it_was_made() {
    let mut pair = Pair::new();
    let request = ChannelRequest::stream("dnc.target")
        .metadata("example.org:22")
        .priority(Priority::Interactive);
    pair.a.open(request.clone());
    pair.run();
    assert_eq!(pair.b.incoming().1, request);
}

#[test]
fn payload_written_before_the_answer_arrives_behind_the_request() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("early"));
    pair.a.write(a, b"early payload");
    pair.a.finish(a);
    pair.run();
    let (b, _) = pair.b.incoming();
    assert_eq!(pair.b.try_read(b, 1), Err(ChannelReadError::NotAccepted));
    assert_eq!(
        pair.b.try_write(b, b"x"),
        Err(ChannelWriteError::NotAccepted)
    );
    pair.b.accept(b);
    assert!(
        pair.b.take(&Event::Readable { id: b }),
        "what came before is announced again"
    );
    assert_eq!(pair.b.read(b), (b"early payload".to_vec(), Ok(())));
}

#[test]
fn payload_in_the_packet_of_the_answer_is_announced() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::stream("test"));
    pair.run();
    let (b, _) = pair.b.incoming();
    pair.b.accept(b);
    pair.b.write(b, b"greeting");
    assert_eq!(pair.a.read(a), (vec![], Err(ChannelReadError::Blocked)));
    pair.run();
    assert!(pair.a.take(&Event::Accepted { id: a }));
    assert!(pair.a.take(&Event::Readable { id: a }));
    assert_eq!(pair.a.read(a).0, b"greeting");
}

#[test]
fn either_side_may_finish_first_and_go_on_reading() {
    for opener_first in [true, false] {
        let mut pair = Pair::new();
        let (a, b) = pair.stream();
        let (first, second, id1, id2) = match opener_first {
            true => (Who::A, Who::B, a, b),
            false => (Who::B, Who::A, b, a),
        };
        pair.end(first).write(id1, b"question");
        pair.end(first).finish(id1);
        assert_eq!(
            pair.end(first).try_write(id1, b"more"),
            Err(ChannelWriteError::Ended)
        );
        pair.run();
        assert!(pair.end(first).take(&Event::Finished { id: id1 }));
        assert_eq!(pair.end(second).read(id2), (b"question".to_vec(), Ok(())));
        assert_eq!(
            pair.end(second).read(id2),
            (vec![], Ok(())),
            "the end stays the end"
        );

        pair.end(second).write(id2, b"answer");
        pair.end(second).finish(id2);
        pair.run();
        assert_eq!(pair.end(first).read(id1), (b"answer".to_vec(), Ok(())));
        assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
        assert_eq!(
            pair.end(first).try_read(id1, 1),
            Err(ChannelReadError::Closed)
        );
        pair.run();
        pair.a.assert_empty();
        pair.b.assert_empty();
    }
}

#[test]
fn the_end_of_a_channel_carries_its_counters() {
    let mut pair = Pair::new();
    let (a, b) = pair.stream();
    pair.a.write(a, &[7; 1000]);
    pair.a.finish(a);
    pair.b.finish(b);
    pair.run();
    assert_eq!(pair.a.read(a), (vec![], Ok(())));
    assert_eq!(pair.b.read(b).0.len(), 1000);
    pair.run();
    let Some(Event::Closed { stats, .. }) = pair.b.events.last() else {
        panic!("not closed")
    };
    assert_eq!(
        (stats.name.as_str(), stats.sent, stats.received),
        ("test", 0, 1000)
    );
}

#[test]
fn a_reset_ends_one_direction_only() {
    let mut pair = Pair::new();
    let (a, b) = pair.stream();
    pair.a.reset(a, 42);
    assert_eq!(pair.a.try_write(a, b"x"), Err(ChannelWriteError::Ended));
    pair.run();
    assert_eq!(pair.b.read(b), (vec![], Err(ChannelReadError::Reset(42))));
    pair.b.write(b, b"still here");
    pair.b.finish(b);
    pair.run();
    assert_eq!(pair.a.read(a), (b"still here".to_vec(), Ok(())));
    pair.run();
    assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_stop_ends_the_other_direction_only() {
    let mut pair = Pair::new();
    let (a, b) = pair.stream();
    pair.b.write(b, b"never read");
    pair.a.stop(a, 9);
    assert_eq!(pair.a.try_read(a, 1), Err(ChannelReadError::Stopped));
    pair.run();
    assert!(pair.b.take(&Event::Stopped { id: b, code: 9 }));
    assert_eq!(
        pair.b.try_write(b, b"x"),
        Err(ChannelWriteError::Stopped(9))
    );
    pair.a.write(a, b"still here");
    pair.a.finish(a);
    pair.run();
    assert_eq!(pair.b.read(b), (b"still here".to_vec(), Ok(())));
    pair.run();
    assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn an_abandoned_channel_ends_at_both_ends() {
    let mut pair = Pair::new();
    let (a, b) = pair.stream();
    pair.a.write(a, b"lost");
    pair.a.abandon(a, 3);
    assert_eq!(pair.a.closed(a), 1);
    pair.run();
    assert!(pair.b.take(&Event::Stopped { id: b, code: 3 }));
    assert_eq!(pair.b.read(b), (vec![], Err(ChannelReadError::Reset(3))));
    pair.run();
    assert_eq!(pair.b.closed(b), 1);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_write_that_meets_the_window_goes_on_when_the_peer_reads() {
    let settings = Settings {
        window: 100,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default(), 1);
    let (a, b) = pair.stream();
    assert_eq!(pair.a.try_write(a, &[1; 150]), Ok(100));
    assert_eq!(
        pair.a.try_write(a, &[1; 50]),
        Err(ChannelWriteError::Blocked)
    );
    pair.run();
    assert!(!pair.a.take(&Event::Writable { id: a }));
    assert_eq!(pair.b.try_read(b, 30).unwrap().unwrap().len(), 30);
    pair.run();
    assert!(pair.a.take(&Event::Writable { id: a }));
    assert_eq!(pair.a.try_write(a, &[1; 50]), Ok(30));
}

#[test]
fn a_request_larger_than_the_window_arrives_and_payload_stays_behind_it() {
    let settings = Settings {
        window: 60,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default(), 1);
    let a = pair
        .a
        .open(ChannelRequest::stream("large").metadata(vec![5; 4000]));
    assert_eq!(
        pair.a.try_write(a, b"behind"),
        Err(ChannelWriteError::Blocked)
    );
    pair.a.events.clear();
    pair.run();
    assert!(pair.a.take(&Event::Writable { id: a }));
    pair.a.write(a, b"behind");
    pair.a.finish(a);
    pair.run();
    let (b, request) = pair.b.incoming();
    assert_eq!(request.metadata, vec![5; 4000]);
    pair.b.accept(b);
    assert_eq!(pair.b.read(b), (b"behind".to_vec(), Ok(())));
}

#[test]
fn a_finish_before_the_request_is_out_is_kept() {
    let settings = Settings {
        window: 60,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default(), 1);
    let a = pair
        .a
        .open(ChannelRequest::stream("large").metadata(vec![5; 1000]));
    pair.a.finish(a);
    pair.run();
    let (b, _) = pair.b.incoming();
    pair.b.accept(b);
    assert_eq!(pair.b.read(b), (vec![], Ok(())));
    assert!(pair.a.take(&Event::Finished { id: a }));
}

#[test]
fn an_open_before_the_connection_is_up_waits_for_it() {
    let mut pair = Pair::unconnected(&Settings::default(), &Limits::default(), 1);
    let a = pair.a.open(ChannelRequest::stream("test"));
    let b = pair.b.open(ChannelRequest::stream("test"));
    assert_eq!(pair.a.try_write(a, b"x"), Err(ChannelWriteError::Blocked));
    assert_eq!(pair.a.mux.channel(a).unwrap().state, ChannelState::Queued);
    pair.connect();
    pair.run();
    assert!(pair.a.take(&Event::Writable { id: a }));
    assert!(pair.b.take(&Event::Writable { id: b }));
    assert!(pair.a.try_incoming().is_some() && pair.b.try_incoming().is_some());
}

#[test]
fn a_request_that_overtakes_the_hello_is_taken() {
    let mut pair = Pair::unconnected(&Settings::default(), &Limits::default(), 1);
    pair.connect();
    pair.a.open(ChannelRequest::stream("test"));
    let lane = *pair.a.link.wire.keys().nth(1).unwrap();
    assert_eq!(lane, Lane::Stream(dhtnet_channel_mux::StreamId(4)));
    pair.deliver(Who::A, lane);
    pair.b.incoming();
    pair.run();
    assert_eq!(
        pair.b.mux.poll_timeout().unwrap().0,
        dhtnet_channel_mux::Deadline::Answer
    );
}

#[test]
fn priorities_reach_the_link_at_both_ends() {
    let mut pair = Pair::new();
    let mut seen = Vec::new();
    for priority in [Priority::Bulk, Priority::Normal, Priority::Interactive] {
        pair.channel(ChannelRequest::stream("test").priority(priority));
        let stream = dhtnet_channel_mux::StreamId(4 * (seen.len() as u64 + 1));
        assert_eq!(pair.a.link.priority(stream), priority.link_priority());
        assert_eq!(pair.b.link.priority(stream), priority.link_priority());
        seen.push(priority.link_priority());
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    let control = pair.a.link.priority(dhtnet_channel_mux::StreamId(0));
    assert!(control > seen[2], "the control stream goes before all");
}

#[test]
fn a_lost_connection_closes_every_channel_once() {
    let mut pair = Pair::new();
    let (a, _) = pair.stream();
    let waiting = pair.a.open(ChannelRequest::stream("test"));
    pair.a.feed(dhtnet_channel_mux::LinkEvent::Lost);
    pair.a.feed(dhtnet_channel_mux::LinkEvent::Lost);
    assert_eq!((pair.a.closed(a), pair.a.closed(waiting)), (1, 1));
    let again = pair
        .a
        .mux
        .open(&mut pair.a.link, pair.a.now, ChannelRequest::stream("test"));
    assert_eq!(again, Err(dhtnet_channel_mux::OpenError::ConnectionClosed));
    assert_eq!(pair.a.mux.poll_timeout(), None);
}

#[test]
fn a_ping_measures_the_round_trip() {
    let mut pair = Pair::new();
    let nonce = pair.a.mux.ping(&mut pair.a.link, pair.a.now).unwrap();
    let rtt = std::time::Duration::from_millis(35);
    pair.advance(rtt);
    pair.run();
    assert!(pair.a.take(&Event::Pong { nonce, rtt }));
}
