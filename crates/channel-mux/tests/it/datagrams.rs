//! Datagram channels: payload, queues and ends.

use bytes::Bytes;
use dhtnet_channel_mux::limits::DATAGRAM_OVERHEAD;
use dhtnet_channel_mux::{
    ChannelDatagramError, ChannelId, ChannelReadError, ChannelRequest, ChannelWriteError, Event,
    Limits, Link, OpenError, StreamId,
};

use crate::link::{Lane, Settings};
use crate::pair::{End, Pair, Who};

fn try_send(end: &mut End, id: ChannelId, payload: &[u8]) -> Result<(), ChannelDatagramError> {
    end.mux.send_datagram(&mut end.link, end.now, id, payload)
}

fn datagrams(pair: &mut Pair) -> (ChannelId, ChannelId) {
    let ids = pair.channel(ChannelRequest::datagrams("test"));
    pair.a.events.clear();
    pair.b.events.clear();
    ids
}

#[test]
fn datagrams_go_both_ways_on_the_right_channel() {
    let mut pair = Pair::new();
    let (a1, b1) = datagrams(&mut pair);
    let (a2, b2) = datagrams(&mut pair);
    pair.a.send_datagram(a1, b"to one");
    pair.a.send_datagram(a2, b"");
    pair.b.send_datagram(b2, b"to two");
    pair.run();
    assert!(pair.b.take(&Event::DatagramReadable { id: b1 }));
    assert_eq!(
        pair.b.recv_datagram(b1),
        Ok(Some(Bytes::from_static(b"to one")))
    );
    assert_eq!(pair.b.recv_datagram(b1), Err(ChannelReadError::Blocked));
    assert_eq!(pair.b.recv_datagram(b2), Ok(Some(Bytes::new())));
    assert_eq!(
        pair.a.recv_datagram(a2),
        Ok(Some(Bytes::from_static(b"to two")))
    );
    let stats = pair.b.mux.channel(b1).unwrap();
    assert_eq!(
        (
            stats.received,
            stats.datagrams.received,
            stats.datagrams.queued
        ),
        (6, 1, 0)
    );
}

#[test]
fn a_datagram_with_its_channels_prefix_goes_uncopied_and_with_another_not_at_all() {
    let mut pair = Pair::new();
    let (a1, b1) = datagrams(&mut pair);
    let (a2, _) = datagrams(&mut pair);
    let mut datagram = Vec::new();
    pair.a.mux.datagram_prefix(a1, &mut datagram).unwrap();
    datagram.extend_from_slice(b"to one");
    let datagram = Bytes::from(datagram);
    let end = &mut pair.a;
    let send = |end: &mut End, id, datagram: Bytes| {
        end.mux
            .send_prefixed_datagram(&mut end.link, end.now, id, datagram)
    };
    assert_eq!(send(end, a1, datagram.clone()), Ok(()));
    assert_eq!(send(end, a2, datagram), Err(ChannelDatagramError::Closed));
    assert_eq!(
        send(end, a1, Bytes::new()),
        Err(ChannelDatagramError::Closed)
    );
    pair.run();
    assert_eq!(
        pair.b.recv_datagram(b1),
        Ok(Some(Bytes::from_static(b"to one")))
    );
    assert_eq!(pair.a.mux.channel(a1).unwrap().datagrams.sent, 1);
}

#[test]
fn both_sides_may_open_datagram_channels_at_once() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::datagrams("from a"));
    let b = pair.b.open(ChannelRequest::datagrams("from b"));
    pair.run();
    let (at_a, _) = pair.a.incoming();
    let (at_b, _) = pair.b.incoming();
    pair.a.accept(at_a);
    pair.b.accept(at_b);
    pair.a.send_datagram(a, b"1");
    pair.b.send_datagram(b, b"2");
    pair.run();
    assert_eq!(
        pair.b.recv_datagram(at_b),
        Ok(Some(Bytes::from_static(b"1")))
    );
    assert_eq!(
        pair.a.recv_datagram(at_a),
        Ok(Some(Bytes::from_static(b"2")))
    );
}

#[test]
fn early_datagrams_wait_for_the_answer_of_either_side() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::datagrams("test"));
    pair.run();
    pair.a.send_datagram(a, b"early");
    pair.run();
    let (b, _) = pair.b.incoming();
    assert!(pair.b.events.is_empty());
    pair.b.accept(b);
    assert!(pair.b.take(&Event::DatagramReadable { id: b }));
    assert_eq!(
        pair.b.recv_datagram(b),
        Ok(Some(Bytes::from_static(b"early")))
    );

    pair.b.send_datagram(b, b"overtakes the answer");
    pair.deliver(Who::B, Lane::Datagrams);
    assert_eq!(pair.a.recv_datagram(a), Err(ChannelReadError::Blocked));
    pair.run();
    assert!(pair.a.take(&Event::DatagramReadable { id: a }));
    assert_eq!(
        pair.a.recv_datagram(a),
        Ok(Some(Bytes::from_static(b"overtakes the answer")))
    );
}

#[test]
fn a_datagram_that_overtakes_its_request_is_counted_and_dropped() {
    let mut pair = Pair::new();
    let a = pair.a.open(ChannelRequest::datagrams("test"));
    pair.a.send_datagram(a, b"first");
    pair.deliver(Who::A, Lane::Datagrams);
    assert_eq!(pair.b.mux.stats().datagrams_unknown, 1);
    pair.run();
    pair.b.incoming();
}

#[test]
fn the_largest_datagram_goes_and_one_byte_more_does_not() {
    let mut pair = Pair::new();
    let (a, b) = datagrams(&mut pair);
    let max = pair.a.mux.max_datagram_size(&pair.a.link, a).unwrap();
    assert_eq!(max, 1199);
    pair.a.send_datagram(a, &vec![7; max]);
    let past = try_send(&mut pair.a, a, &vec![7; max + 1]);
    assert_eq!(past, Err(ChannelDatagramError::TooLarge { max }));
    pair.run();
    assert_eq!(pair.b.recv_datagram(b).unwrap().unwrap().len(), max);
}

#[test]
fn a_full_send_buffer_blocks_and_says_when_it_has_room() {
    let settings = Settings {
        datagrams: 1,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default(), 1);
    let (a, _) = datagrams(&mut pair);
    let (other, _) = datagrams(&mut pair);
    pair.a.send_datagram(a, b"1");
    assert_eq!(
        try_send(&mut pair.a, a, b"2"),
        Err(ChannelDatagramError::Blocked)
    );
    pair.run();
    assert!(pair.a.take(&Event::Writable { id: a }));
    assert!(
        !pair.a.take(&Event::Writable { id: other }),
        "it never met the bound"
    );
}

#[test]
fn a_connection_without_datagrams_refuses_the_channel() {
    let settings = Settings {
        datagram_size: None,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default(), 1);
    let refused = pair.a.mux.open(
        &mut pair.a.link,
        pair.a.now,
        ChannelRequest::datagrams("test"),
    );
    assert_eq!(refused, Err(OpenError::DatagramsUnsupported));
}

#[test]
fn a_queue_at_its_bound_keeps_all_and_one_past_it_loses_the_oldest() {
    let each = 36 + DATAGRAM_OVERHEAD;
    let limits = Limits::default().max_datagram_bytes(100 * each);
    let mut pair = Pair::with(&Settings::default(), &limits, 1);
    let (a, b) = datagrams(&mut pair);
    for n in 0..100 {
        pair.a.send_datagram(a, &[n; 36]);
    }
    pair.run();
    let stats = pair.b.mux.channel(b).unwrap().datagrams;
    assert_eq!(
        (stats.queued, stats.queued_bytes, stats.dropped),
        (100, 100 * each, 0)
    );
    pair.a.send_datagram(a, &[100; 36]);
    pair.run();
    let stats = pair.b.mux.channel(b).unwrap().datagrams;
    assert_eq!(
        (stats.queued, stats.queued_bytes, stats.dropped),
        (100, 100 * each, 1)
    );
    assert_eq!(pair.b.mux.stats().buffered_bytes, 100 * each);
    assert_eq!(pair.b.recv_datagram(b).unwrap().unwrap()[0], 1);
    let told = pair
        .b
        .events
        .iter()
        .filter(|e| matches!(e, Event::DatagramReadable { .. }));
    assert_eq!(told.count(), 1, "one event until the queue was empty");
}

#[test]
fn all_queues_together_keep_to_the_bound_of_the_connection() {
    let each = 936 + DATAGRAM_OVERHEAD;
    let limits = Limits::default().max_datagram_bytes_total(10 * each);
    let mut pair = Pair::with(&Settings::default(), &limits, 1);
    let channels: Vec<_> = (0..3).map(|_| datagrams(&mut pair)).collect();
    for _ in 0..5 {
        for (a, _) in &channels[..2] {
            pair.a.send_datagram(*a, &[1; 936]);
        }
    }
    pair.run();
    assert_eq!(pair.b.mux.stats().buffered_bytes, 10 * each);
    assert_eq!(pair.b.mux.stats().datagrams_dropped, 0);
    pair.a.send_datagram(channels[0].0, &[2; 936]);
    pair.a.send_datagram(channels[2].0, &[2; 936]);
    pair.run();
    assert_eq!(pair.b.mux.stats().buffered_bytes, 10 * each);
    let dropped = |i: usize| pair.b.mux.channel(channels[i].1).unwrap().datagrams.dropped;
    assert_eq!(
        [dropped(0), dropped(1), dropped(2)],
        [1, 0, 1],
        "who receives loses"
    );
    pair.b.abandon(channels[0].1, 0);
    pair.a.send_datagram(channels[2].0, &[3; 936]);
    pair.run();
    assert_eq!(
        pair.b.recv_datagram(channels[2].1).unwrap().unwrap()[0],
        3,
        "room again"
    );
}

#[test]
fn what_was_queued_is_received_before_the_end() {
    let mut pair = Pair::new();
    let (a, b) = datagrams(&mut pair);
    pair.a.send_datagram(a, b"last");
    pair.deliver(Who::A, Lane::Datagrams);
    pair.a.finish(a);
    assert_eq!(
        try_send(&mut pair.a, a, b"x"),
        Err(ChannelDatagramError::Ended)
    );
    pair.run();
    assert_eq!(
        pair.b.recv_datagram(b),
        Ok(Some(Bytes::from_static(b"last")))
    );
    assert_eq!(pair.b.recv_datagram(b), Ok(None));
    pair.b.send_datagram(b, b"other way");
    pair.deliver(Who::B, Lane::Datagrams);
    pair.b.finish(b);
    pair.run();
    assert_eq!(
        pair.a.recv_datagram(a),
        Ok(Some(Bytes::from_static(b"other way")))
    );
    assert_eq!(pair.a.recv_datagram(a), Ok(None));
    assert_eq!((pair.a.closed(a), pair.b.closed(b)), (1, 1));
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_reset_and_a_stop_reach_a_datagram_channel() {
    let mut pair = Pair::new();
    let (a, b) = datagrams(&mut pair);
    pair.a.send_datagram(a, b"dropped by the reset");
    pair.deliver(Who::A, Lane::Datagrams);
    pair.a.reset(a, 4);
    pair.a.stop(a, 5);
    assert_eq!(pair.a.closed(a), 1);
    pair.run();
    assert!(pair.b.take(&Event::Stopped { id: b, code: 5 }));
    assert_eq!(
        try_send(&mut pair.b, b, b"x"),
        Err(ChannelDatagramError::Stopped(5))
    );
    assert_eq!(pair.b.recv_datagram(b), Err(ChannelReadError::Reset(4)));
    assert_eq!(pair.b.closed(b), 1);
    pair.run();
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn bytes_on_the_stream_of_a_datagram_channel_end_that_channel_alone() {
    let mut pair = Pair::new();
    let (_, b) = datagrams(&mut pair);
    let (a2, b2) = datagrams(&mut pair);
    pair.a.raw(StreamId(4), b"not a datagram");
    pair.run();
    assert_eq!((pair.b.closed(b), pair.b.mux.stats().malformed), (1, 1));
    pair.a.send_datagram(a2, b"fine");
    pair.run();
    assert!(pair.b.recv_datagram(b2).is_ok());
}

#[test]
fn kinds_do_not_mix() {
    let mut pair = Pair::new();
    let (stream, _) = pair.stream();
    let (datagram, _) = datagrams(&mut pair);
    assert_eq!(
        pair.a.try_write(datagram, b"x"),
        Err(ChannelWriteError::WrongKind)
    );
    assert_eq!(
        pair.a.try_read(datagram, 1),
        Err(ChannelReadError::WrongKind)
    );
    assert_eq!(
        try_send(&mut pair.a, stream, b"x"),
        Err(ChannelDatagramError::WrongKind)
    );
    assert_eq!(
        pair.a.recv_datagram(stream),
        Err(ChannelReadError::WrongKind)
    );
    assert_eq!(pair.a.mux.max_datagram_size(&pair.a.link, stream), None);
}

#[test]
fn datagrams_of_no_channel_are_counted_and_dropped() {
    let mut pair = Pair::new();
    let junk: [&'static [u8]; 5] = [&[], &[0x40], &[0x40, 0x25], &[0x3f, 1], &[0xc0; 8]];
    for datagram in junk {
        pair.a
            .link
            .send_datagram(Bytes::from_static(datagram))
            .unwrap();
    }
    pair.run();
    let stats = pair.b.mux.stats();
    assert_eq!((stats.datagrams_malformed, stats.datagrams_unknown), (3, 2));
    assert_eq!(stats.buffered_bytes, 0);
}

#[test]
fn what_an_ended_channel_had_queued_is_room_for_the_others() {
    let each = 936 + DATAGRAM_OVERHEAD;
    let limits = Limits::default().max_datagram_bytes_total(10 * each);
    let end: [fn(&mut Pair, ChannelId, ChannelId); 4] = [
        |pair, a, _| pair.a.reset(a, 0),
        |pair, _, b| pair.b.stop(b, 0),
        |pair, _, b| pair.b.abandon(b, 0),
        |pair, _, b| while pair.b.recv_datagram(b).is_ok() {},
    ];
    for end in end {
        let mut pair = Pair::with(&Settings::default(), &limits, 1);
        let (a1, b1) = datagrams(&mut pair);
        let (a2, b2) = datagrams(&mut pair);
        for _ in 0..10 {
            pair.a.send_datagram(a1, &[1; 936]);
        }
        pair.run();
        end(&mut pair, a1, b1);
        pair.run();
        for _ in 0..10 {
            pair.a.send_datagram(a2, &[2; 936]);
        }
        pair.run();
        let stats = pair.b.mux.channel(b2).unwrap().datagrams;
        assert_eq!((stats.queued, stats.dropped), (10, 0));
    }
}

#[test]
fn what_a_declined_channel_had_queued_is_room_for_the_others() {
    let each = 936 + DATAGRAM_OVERHEAD;
    let limits = Limits::default().max_datagram_bytes_total(10 * each);
    let mut pair = Pair::with(&Settings::default(), &limits, 1);
    let (a2, b2) = datagrams(&mut pair);
    let a1 = pair.a.open(ChannelRequest::datagrams("declined"));
    pair.run();
    for _ in 0..10 {
        pair.a.send_datagram(a1, &[1; 936]);
    }
    pair.run();
    let (b1, _) = pair.b.incoming();
    pair.b.decline(b1, dhtnet_channel_mux::DeclineCode::Policy);
    for _ in 0..10 {
        pair.a.send_datagram(a2, &[2; 936]);
    }
    pair.run();
    assert_eq!(pair.b.mux.channel(b2).unwrap().datagrams.queued, 10);
}
