//! A thousand channels, and a reader that does not read.

use dhtnet_channel_mux::{ChannelId, ChannelRequest, ChannelWriteError, Event, Limits};

use crate::link::Settings;
use crate::pair::Pair;

/// Opens as many as asked, through whatever limits there are, and accepts them all.
fn open_many(pair: &mut Pair, count: usize) -> Vec<(ChannelId, ChannelId)> {
    let ours: Vec<ChannelId> = (0..count)
        .map(|n| {
            pair.a
                .open(ChannelRequest::stream("many").metadata(n.to_be_bytes().to_vec()))
        })
        .collect();
    let mut theirs = vec![None; count];
    loop {
        pair.run();
        let Some((id, request)) = pair.b.try_incoming() else {
            break;
        };
        let n = usize::from_be_bytes(request.metadata[..].try_into().unwrap());
        theirs[n] = Some(id);
        pair.b.accept(id);
    }
    ours.into_iter()
        .zip(theirs)
        .map(|(a, b)| (a, b.expect("never offered")))
        .collect()
}

#[test]
fn a_thousand_channels_carry_their_own_payload() {
    let mut pair = Pair::new();
    let channels = open_many(&mut pair, 1000);
    assert_eq!(
        (pair.a.mux.stats().channels, pair.b.mux.stats().channels),
        (1000, 1000)
    );
    assert_eq!(pair.a.mux.channels().count(), 1000);
    assert!(pair.a.mux.channels().is_sorted_by_key(|channel| channel.id));
    for (n, (a, b)) in channels.iter().enumerate() {
        pair.a.write(*a, &n.to_be_bytes());
        pair.b.write(*b, &(!n).to_be_bytes());
        pair.a.finish(*a);
        pair.b.finish(*b);
    }
    pair.run();
    for (n, (a, b)) in channels.iter().enumerate() {
        assert_eq!(pair.b.read(*b), (n.to_be_bytes().to_vec(), Ok(())));
        assert_eq!(pair.a.read(*a), ((!n).to_be_bytes().to_vec(), Ok(())));
    }
    pair.run();
    let closed = pair
        .a
        .events
        .iter()
        .filter(|e| matches!(e, Event::Closed { .. }))
        .count();
    assert_eq!(closed, 1000);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_thousand_opens_wait_their_turn_for_ten_streams() {
    let settings = Settings {
        streams: 11,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default(), 5);
    let ours: Vec<ChannelId> = (0..1000usize)
        .map(|n| {
            pair.a
                .open(ChannelRequest::stream("turn").metadata(n.to_be_bytes().to_vec()))
        })
        .collect();
    assert_eq!(pair.a.mux.stats().queued_opens, 990);
    let mut served = 0;
    loop {
        pair.run();
        let Some((id, request)) = pair.b.try_incoming() else {
            break;
        };
        assert!(pair.b.link.live_streams() <= 11);
        pair.b.accept(id);
        pair.b.abandon(id, 0);
        pair.run();
        let n = usize::from_be_bytes(request.metadata[..].try_into().unwrap());
        pair.a.abandon(ours[n], 0);
        served += 1;
    }
    assert_eq!(served, 1000);
    pair.a.assert_empty();
    pair.b.assert_empty();
}

#[test]
fn a_slow_reader_stalls_no_other_channel_and_holds_no_more_than_its_window() {
    let settings = Settings {
        window: 1000,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default(), 3);
    let (slow_a, slow_b) = pair.stream();
    let others = open_many(&mut pair, 20);
    let mut slow_written = 0;
    for round in 0..50 {
        match pair.a.try_write(slow_a, &[1; 300]) {
            Ok(written) => slow_written += written,
            Err(error) => assert_eq!(error, ChannelWriteError::Blocked),
        }
        for (a, b) in &others {
            pair.a.write(*a, &[2; 300]);
            pair.b.write(*b, &[3; 300]);
        }
        pair.run();
        for (a, b) in &others {
            assert_eq!(pair.b.read(*b).0.len(), 300, "stalled in round {round}");
            assert_eq!(pair.a.read(*a).0.len(), 300, "stalled in round {round}");
        }
        pair.run();
    }
    assert!(slow_written <= 1000 && pair.b.link.unread() <= 1000);
    assert_eq!(pair.b.mux.channel(slow_b).unwrap().received, 0);
    for (a, b) in &others {
        let (at_a, at_b) = (
            pair.a.mux.channel(*a).unwrap(),
            pair.b.mux.channel(*b).unwrap(),
        );
        assert_eq!(
            (at_a.sent, at_b.received, at_a.received),
            (15_000, 15_000, 15_000)
        );
    }
    assert_eq!(
        pair.b.mux.stats().buffered_bytes,
        0,
        "the mux itself holds no payload"
    );
    assert_eq!(pair.b.read(slow_b).0.len(), slow_written);
    pair.run();
    assert!(pair.a.take(&Event::Writable { id: slow_a }));
}
