//! The relay's streams: how many are held, and which of them makes room.

use std::net::SocketAddr;
use std::time::Duration;

use dhtnet_nat_traversal::relay::{Action, Limits, MAX_STREAMS, StreamId};

use crate::relay_world::{World, address, ip};

#[test]
fn streams_that_say_nothing_are_held_up_to_the_bound_and_closed_in_the_end() {
    let mut world = World::new(Limits::default());
    let from = address("203.0.113.5:1");
    for n in 0..=MAX_STREAMS {
        let stream = StreamId(n as u64);
        assert!(world.relay.handle_connected(world.now, stream, from));
        let expected = (n == MAX_STREAMS).then_some(Action::Disconnect {
            stream: StreamId(0),
        });
        assert_eq!(world.relay.poll_action(), expected);
    }
    let until = world.relay.poll_timeout().unwrap();
    assert_eq!(until - world.now, Duration::from_secs(30));
    world.relay.handle_timeout(until);
    let closed = std::iter::from_fn(|| world.relay.poll_action())
        .filter(|action| matches!(action, Action::Disconnect { .. }))
        .count();
    assert_eq!(closed, MAX_STREAMS);
    assert_eq!(world.relay.poll_timeout(), None);
}

#[test]
fn who_opens_many_streams_takes_the_places_from_himself() {
    let mut world = World::new(Limits::default());
    let good = world.client_over_stream(1);
    let quiet = StreamId(1_000_000);
    let elsewhere = address("192.0.2.9:9");
    assert!(world.relay.handle_connected(world.now, quiet, elsewhere));
    for n in 0..3 * MAX_STREAMS as u64 {
        let from = SocketAddr::new(ip("192.0.2.1"), n as u16);
        let stream = StreamId(10_000 + n);
        assert!(world.relay.handle_connected(world.now, stream, from));
        while let Some(action) = world.relay.poll_action() {
            let Action::Disconnect { stream } = action else {
                panic!("{action:?}")
            };
            assert!((10_000..quiet.0).contains(&stream.0), "{stream:?}");
        }
    }
    world.allocated(good);
}

#[test]
fn no_stream_is_taken_when_all_places_have_allocations() {
    let mut world = World::new(Limits {
        clients: MAX_STREAMS,
        ..Limits::default()
    });
    // A device may have three. Each is challenged twice, and challenges are bounded in a second.
    let clients: Vec<usize> = (0..MAX_STREAMS)
        .map(|n| {
            if n % 64 == 63 {
                world.run(Duration::from_secs(1));
            }
            world.client_over_stream((n / 3) as u8)
        })
        .collect();
    world.run(Duration::from_secs(2));
    assert_eq!(world.relay.clients(), clients.len());
    let from = address("192.0.2.9:9");
    let another = world
        .relay
        .handle_connected(world.now, StreamId(10_000), from);
    assert!(!another);
}

#[test]
fn a_stream_that_does_not_speak_turn_is_closed() {
    let mut world = World::new(Limits::default());
    let stream = StreamId(7);
    assert!(
        world
            .relay
            .handle_connected(world.now, stream, address("203.0.113.5:1"))
    );
    world
        .relay
        .handle_stream(world.now, stream, b"\x16\x03\x01\x02\x00\x01\x00\x01");
    let action = world.relay.poll_action();
    assert_eq!(action, Some(Action::Disconnect { stream }));
    world.relay.handle_stream(world.now, stream, b"more");
    assert_eq!(world.relay.poll_action(), None);
}
