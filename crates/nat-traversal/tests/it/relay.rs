//! The relay: who may use it, how much of it, and for what.

use std::net::SocketAddr;
use std::time::Duration;

use dhtnet_nat_traversal::relay::{
    self, Action, CHALLENGE_LEN, CHALLENGES_PER_SECOND, LONG_CHALLENGES_PER_SECOND, Limits,
    MAX_AMPLIFICATION, MAX_PAYLOAD, Peers, Relay, StreamId,
};
use dhtnet_nat_traversal::stun::Ownership;
use dhtnet_nat_traversal::turn::{self, Allocation, AllocationError, Event, Families};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::relay_world::{World, address, client_key, config, ip, relay_address, relay_key};

const PEER: &str = "192.0.2.77:7000";

fn failed(world: &mut World, client: usize) -> Option<AllocationError> {
    world
        .events(client)
        .into_iter()
        .find_map(|event| match event {
            Event::Failed(error) => Some(error),
            _ => None,
        })
}

#[test]
fn two_clients_of_one_relay_reach_each_other_inside_it() {
    let mut world = World::new(Limits::default());
    let one = world.client(1);
    let other = world.client_over_stream(2);
    let at_one = world.allocated(one);
    let at_other = world.allocated(other);
    let relay_ip = at_one.ip().to_string();
    world.permit(one, &relay_ip);
    world.permit(other, &relay_ip);
    for round in 0..3 {
        world.send(one, &at_other.to_string(), b"ping");
        world.send(other, &at_one.to_string(), b"pong");
        world.run(Duration::from_secs(1));
        let received = world.clients[other].received.pop();
        assert_eq!(received, Some((at_one, b"ping".to_vec())), "{round}");
        let received = world.clients[one].received.pop();
        assert_eq!(received, Some((at_other, b"pong".to_vec())), "{round}");
    }
    assert!(world.at_peers.is_empty(), "nothing left the relay");
    assert_eq!(world.relay.stats().payloads, 12);
}

#[test]
fn own_ports_that_are_no_relayed_addresses_are_not_reached() {
    let mut world = World::new(Limits::default());
    let (client, relayed) = world.ready(1, "198.51.100.1");
    let service = SocketAddr::new(relayed.ip(), 22);
    for _ in 0..3 {
        world.send(client, &service.to_string(), b"hello");
        world.run(Duration::from_secs(1));
    }
    assert!(world.at_peers.is_empty());
}

#[test]
fn the_relays_own_port_is_reached_through_it_for_a_dht_node_lives_there() {
    let mut world = World::new(Limits::default());
    let (client, _) = world.ready(1, "198.51.100.1");
    world.send(client, &relay_address().to_string(), b"hello");
    world.run(Duration::from_secs(1));
    let arrived: Vec<_> = world.at_peers.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(arrived, [relay_address()]);
}

#[test]
fn our_question_for_the_realm_is_answered_with_the_relays_id() {
    let mut world = World::new(Limits::default());
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let server = (relay_address(), turn::Link::Datagrams);
    let mut inquiry = turn::Inquiry::new(world.now, server, &mut rng);
    let question = inquiry.poll_transmit(world.now).unwrap().payload;
    let from = address("203.0.113.5:1");
    world.relay.handle_datagram(world.now, from, &question);
    let Some(Action::Send { payload, .. }) = world.relay.poll_action() else {
        panic!("no answer")
    };
    assert!(payload.len() <= MAX_AMPLIFICATION * question.len());
    assert!(inquiry.handle_message(relay_address(), &payload));
    let realm = relay::realm(&relay_key().id());
    assert_eq!(inquiry.told(), Some(&turn::Told::Realm(realm)));
}

#[test]
fn addresses_of_local_networks_are_refused() {
    let mut world = World::new(Limits::default());
    let client = world.client(1);
    world.allocated(client);
    world.events(client);
    for peer in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "224.0.0.1"] {
        world.permit(client, peer);
        assert_eq!(world.events(client), [Event::Refused { peer: ip(peer) }]);
    }
    assert_eq!(world.relay.stats().refused, 4);
    let mut private = config(Limits::default());
    private.peers = Peers::DangerPrivateToo;
    let mut world = World::with(private, Box::new(|_| true));
    let client = world.client(1);
    world.allocated(client);
    world.events(client);
    world.permit(client, "10.0.0.1");
    let permitted = Event::Permitted {
        peer: ip("10.0.0.1"),
    };
    assert_eq!(world.events(client), [permitted]);
    world.permit(client, "224.0.0.1");
    let refused = Event::Refused {
        peer: ip("224.0.0.1"),
    };
    assert_eq!(world.events(client), [refused]);
}

#[test]
fn devices_that_are_not_admitted_are_told_so() {
    let admitted = client_key(1).id();
    let admission = Box::new(move |id: &_| *id == admitted);
    let mut world = World::with(config(Limits::default()), admission);
    let one = world.client(1);
    let other = world.client(2);
    world.allocated(one);
    assert_eq!(failed(&mut world, other), Some(AllocationError::Forbidden));
    assert_eq!(world.relay.clients(), 1);
}

#[test]
fn clients_are_served_up_to_the_bounds() {
    let limits = Limits {
        clients: 3,
        clients_per_id: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let same: Vec<usize> = (0..3).map(|_| world.client(1)).collect();
    world.run(Duration::from_secs(2));
    let ended = |world: &mut World, clients: &[usize]| -> Vec<Option<AllocationError>> {
        clients
            .iter()
            .map(|&client| failed(world, client))
            .collect()
    };
    let found = ended(&mut world, &same);
    let refused = found.iter().flatten().collect::<Vec<_>>();
    assert_eq!(refused, [&AllocationError::QuotaReached]);
    let (third, fourth) = (world.client(2), world.client(3));
    world.run(Duration::from_secs(2));
    let mut found = ended(&mut world, &[third, fourth]);
    found.sort_by_key(Option::is_some);
    assert_eq!(found, [None, Some(AllocationError::Full)]);
    assert_eq!(world.relay.clients(), 3);
    // One goes, another comes.
    let now = world.now;
    world.clients[third].allocation.close(now);
    world.clients[fourth].allocation.close(now);
    world.run(Duration::from_secs(40));
    assert_eq!(world.relay.clients(), 2);
    let fifth = world.client(4);
    world.allocated(fifth);
}

#[test]
fn a_device_that_moved_replaces_what_it_left_behind() {
    let limits = Limits {
        clients_per_id: 1,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let left = world.client(1);
    let relayed = world.allocated(left);
    // Gone without a word; the relay does not know yet.
    world.silence(left);
    world.run(Duration::from_secs(20));
    let early = world.client(1);
    world.run(Duration::from_secs(2));
    let refused = Some(AllocationError::QuotaReached);
    assert_eq!(failed(&mut world, early), refused);
    world.run(Duration::from_secs(20));
    let moved = world.client(1);
    assert_ne!(world.allocated(moved), relayed);
    assert!(!world.sockets.contains(&relayed));
    // One that is alive is not replaced.
    world.run(Duration::from_secs(300));
    let second = world.client(1);
    world.run(Duration::from_secs(2));
    let refused = Some(AllocationError::QuotaReached);
    assert_eq!(failed(&mut world, second), refused);
}

#[test]
fn a_full_relay_gives_the_place_of_one_that_is_gone_to_another_device() {
    let limits = Limits {
        clients: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let gone = world.client(1);
    world.allocated(gone);
    let lives = world.client(2);
    let relayed = world.allocated(lives);
    world.silence(gone);
    // As long as a client of others may have nothing to say.
    world.run(Duration::from_secs(300));
    let early = world.client(3);
    world.run(Duration::from_secs(2));
    assert_eq!(failed(&mut world, early), Some(AllocationError::Full));
    world.run(Duration::from_secs(20));
    let late = world.client(3);
    world.allocated(late);
    assert!(world.sockets.contains(&relayed));
    let fourth = world.client(4);
    world.run(Duration::from_secs(2));
    assert_eq!(failed(&mut world, fourth), Some(AllocationError::Full));
}

#[test]
fn permissions_are_given_up_to_the_bound() {
    let limits = Limits {
        permissions: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let client = world.client(1);
    world.allocated(client);
    world.events(client);
    for (peer, admitted) in [
        ("192.0.2.1", true),
        ("192.0.2.2", true),
        ("192.0.2.3", false),
    ] {
        world.permit(client, peer);
        let peer = ip(peer);
        let expected = if admitted {
            Event::Permitted { peer }
        } else {
            Event::Refused { peer }
        };
        assert_eq!(world.events(client), [expected]);
    }
}

#[test]
fn channels_are_given_up_to_the_bound_and_indications_beyond() {
    let limits = Limits {
        channels: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let (client, _) = world.ready(1, "192.0.2.77");
    for (port, channel) in [(1, true), (2, true), (3, false)] {
        let peer = format!("192.0.2.77:{port}");
        world.send(client, &peer, b"x");
        world.run(Duration::from_secs(1));
        world.send(client, &peer, b"x");
        world.run(Duration::from_secs(1));
        assert_eq!(world.clients[client].last_sent == 5, channel, "{port}");
    }
    assert_eq!(world.at_peers.len(), 6);
}

#[test]
fn only_channels_that_are_bound_are_taken_from_the_socket() {
    let mut world = World::new(Limits::default());
    let (client, _) = world.ready(1, "192.0.2.77");
    let from = world.clients[client].address;
    let frame = [0x40, 0, 0, 1, 7];
    let take =
        |world: &mut World, from, frame: &[u8]| world.relay.handle_datagram(world.now, from, frame);
    assert_eq!(take(&mut world, from, &frame), Ownership::NotOurs);
    world.send(client, PEER, b"binds 0x4000");
    world.run(Duration::from_secs(1));
    assert_eq!(take(&mut world, from, &frame), Ownership::Ours);
    for other in [[0x40, 1, 0, 1, 7], [0x40, 0, 0, 2, 7], [0x60, 0, 0, 1, 7]] {
        assert_eq!(take(&mut world, from, &other), Ownership::NotOurs);
    }
    let stranger = address("192.0.2.9:9");
    assert_eq!(take(&mut world, stranger, &frame), Ownership::NotOurs);
}

#[test]
fn bytes_are_relayed_up_to_the_rate_of_a_client_and_of_all() {
    let limits = Limits {
        bytes_per_second: 10_000,
        total_bytes_per_second: 25_000,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let clients: Vec<(usize, SocketAddr)> = (1..=3)
        .map(|seed| world.ready(seed, "192.0.2.77"))
        .collect();
    world.run(Duration::from_secs(5));
    let (one, relayed) = clients[0];
    // At the bound.
    for _ in 0..10 {
        world.send(one, PEER, &[0; 1000]);
    }
    world.run(Duration::from_millis(50));
    assert_eq!(world.at_peers.len(), 10);
    // One past it, either way.
    world.send(one, PEER, &[0; 1000]);
    world.send_from_peer(relayed, PEER, &[0; 1000]);
    world.run(Duration::from_millis(50));
    assert_eq!(world.at_peers.len(), 10);
    assert!(world.clients[one].received.is_empty());
    assert_eq!(world.relay.stats().over_quota, 2);
    // All together.
    world.run(Duration::from_secs(5));
    world.at_peers.clear();
    for (client, _) in clients {
        for _ in 0..10 {
            world.send(client, PEER, &[0; 1000]);
        }
    }
    world.run(Duration::from_millis(50));
    assert_eq!(world.at_peers.len(), 25);
}

#[test]
fn payloads_are_relayed_up_to_the_longest() {
    let mut world = World::new(Limits::default());
    let (client, relayed) = world.ready(1, "192.0.2.77");
    for (len, passes) in [(MAX_PAYLOAD, true), (MAX_PAYLOAD + 1, false)] {
        world.send(client, PEER, &vec![0; len]);
        world.send_from_peer(relayed, PEER, &vec![0; len]);
        world.run(Duration::from_secs(1));
        assert_eq!(world.at_peers.pop().is_some(), passes);
        assert_eq!(world.clients[client].received.pop().is_some(), passes);
    }
}

#[test]
fn lost_answers_are_given_again() {
    for lost in 0..4 {
        let mut world = World::new(Limits::default());
        let client = world.client(1);
        world.run(Duration::from_millis(2));
        // 401, 438, and the address itself.
        world.lose_to_clients = lost;
        world.run(Duration::from_secs(4));
        assert_eq!(failed(&mut world, client), None, "{lost}");
        assert_eq!(
            world.clients[client].allocation.relayed().len(),
            1,
            "{lost}"
        );
        assert_eq!(world.sockets.len(), 1, "{lost}");
    }
}

#[test]
fn the_answer_with_the_address_is_given_again_when_it_was_lost() {
    let mut world = World::new(Limits::default());
    let client = world.client(1);
    // Two round trips for 401 and 438, and the third is cut.
    world.run(Duration::from_millis(210));
    world.lose_to_clients = 1;
    world.run(Duration::from_secs(3));
    assert_eq!(failed(&mut world, client), None);
    assert_eq!(world.sockets.len(), 1);
}

/// An Allocate request of a stranger, of 28 bytes or padded by an attribute that is ignored.
fn strangers_request(rng: &mut ChaCha20Rng, padding: u8) -> Vec<u8> {
    let mut request = vec![0, 3, 0, 8 + padding, 0x21, 0x12, 0xa4, 0x42];
    request.extend((0..12).map(|_| rng.next_u32() as u8));
    request.extend([0, 0x19, 0, 4, 17, 0, 0, 0]);
    if padding > 0 {
        request.extend([0x80, 0x22, 0, padding - 4]);
        request.extend(vec![b'x'; usize::from(padding) - 4]);
    }
    request
}

#[test]
fn strangers_leave_no_trace_and_get_a_bounded_number_of_answers() {
    // Of 39 bytes or more each is answered by less than three times as much.
    for (padding, expected) in [
        (12, CHALLENGES_PER_SECOND),
        (8, LONG_CHALLENGES_PER_SECOND),
        (0, LONG_CHALLENGES_PER_SECOND),
    ] {
        let mut world = World::new(Limits::default());
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut answers = 0;
        for n in 0..10_000_u32 {
            let from = SocketAddr::from((n.to_be_bytes(), 1000));
            let request = strangers_request(&mut rng, padding);
            let ours = world.relay.handle_datagram(world.now, from, &request);
            assert_eq!(ours, Ownership::Ours);
            while let Some(Action::Send { to, payload }) = world.relay.poll_action() {
                assert_eq!(to, from);
                assert_eq!(payload.len(), CHALLENGE_LEN);
                let is_long = payload.len() > MAX_AMPLIFICATION * request.len();
                assert_eq!(is_long, padding < 12);
                answers += 1;
            }
        }
        assert_eq!(answers, expected);
        assert_eq!(world.relay.clients(), 0);
        assert_eq!(world.relay.poll_timeout(), None);
    }
}

#[test]
fn our_own_clients_ask_with_enough_to_be_answered() {
    let mut world = World::new(Limits::default());
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let config = turn::Config::new(relay_address(), "somebody", "password");
    let mut allocation = Allocation::new(world.now, &config, &mut rng);
    let request = allocation.poll_transmit().unwrap().payload;
    let from = address("203.0.113.5:1");
    world.relay.handle_datagram(world.now, from, &request);
    let Some(Action::Send { payload, .. }) = world.relay.poll_action() else {
        panic!("no answer")
    };
    assert!(payload.len() <= MAX_AMPLIFICATION * request.len());
    let realm = relay::realm(&relay_key().id());
    let shown = payload
        .windows(realm.len())
        .any(|at| at == realm.as_bytes());
    assert!(shown, "who knows the address alone learns the id");
}

#[test]
fn a_flood_of_strangers_does_not_starve_clients() {
    let mut world = World::new(Limits::default());
    let (client, _) = world.ready(1, "192.0.2.77");
    let over_stream = world.client_over_stream(2);
    world.allocated(over_stream);
    let allocate = [
        0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    ];
    for n in 0..6000_u32 {
        let from = SocketAddr::from((n.to_be_bytes(), 1000));
        for _ in 0..5 {
            world.relay.handle_datagram(world.now, from, &allocate);
        }
        world.run(Duration::from_millis(10));
    }
    for client in [client, over_stream] {
        assert_eq!(failed(&mut world, client), None);
    }
    world.send(client, PEER, b"still here");
    world.run(Duration::from_secs(1));
    assert_eq!(world.at_peers.len(), 1);
}

#[test]
fn an_allocation_whose_client_is_gone_expires_with_its_socket() {
    let mut world = World::new(Limits::default());
    let client = world.client_with(1, |config| config.families(Families::Both));
    world.allocated(client);
    assert_eq!(world.sockets.len(), 2);
    // The client is gone without a word.
    world.clients.clear();
    world.run(Duration::from_secs(1700));
    assert_eq!(world.sockets.len(), 2);
    world.run(Duration::from_secs(300));
    assert!(world.sockets.is_empty());
    assert_eq!(world.relay.clients(), 0);
}

#[test]
fn a_client_with_another_password_cannot_touch_an_allocation() {
    let mut world = World::new(Limits::default());
    let (client, _) = world.ready(1, "192.0.2.77");
    let from = world.clients[client].address;
    // A permission asked for from the same address, with a guess at the password.
    let mut forged = vec![0, 8, 0, 36, 0x21, 0x12, 0xa4, 0x42];
    forged.extend([9; 12]);
    forged.extend([0, 0x12, 0, 8, 0, 1, 0, 0, 1, 2, 3, 4]);
    forged.extend([0, 8, 0, 20]);
    forged.extend([7; 20]);
    for _ in 0..100 {
        world.relay.handle_datagram(world.now, from, &forged);
    }
    let mut unsigned = forged[..32].to_vec();
    unsigned[3] = 12;
    world.relay.handle_datagram(world.now, from, &unsigned);
    while let Some(action) = world.relay.poll_action() {
        let Action::Send { payload, .. } = action else {
            panic!("{action:?}")
        };
        assert_eq!(payload[..2], [1, 0x18], "a refusal");
    }
    // The client goes on.
    world.run(Duration::from_secs(2));
    world.send(client, PEER, b"still here");
    world.run(Duration::from_secs(1));
    assert_eq!(world.at_peers.len(), 1);
}

fn lone_relay() -> (Relay, std::time::Instant) {
    let world = World::with(config(Limits::default()), Box::new(|_| true));
    assert_eq!(relay_key().id(), relay_key().id());
    (world.relay, world.now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_of_strangers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), method in 0..16_u8) {
        let (mut relay, now) = lone_relay();
        let from = address("203.0.113.5:1");
        relay.handle_datagram(now, from, &bytes);
        let mut framed = vec![0, method, 0, (bytes.len() & !3) as u8, 0x21, 0x12, 0xa4, 0x42];
        framed.extend([7; 12]);
        framed.extend(&bytes[..bytes.len() & !3]);
        relay.handle_datagram(now, from, &framed);
        let stream = StreamId(1);
        prop_assert!(relay.handle_connected(now, stream, from));
        relay.handle_stream(now, stream, &framed);
        relay.handle_stream(now, stream, &bytes);
        prop_assert_eq!(relay.clients(), 0);
    }

    #[test]
    fn no_bytes_of_a_client_or_his_peers_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        kind in prop::sample::select(vec![[0, 3], [0, 4], [0, 8], [0, 9], [0, 0x16], [0x40, 0]]),
    ) {
        let mut world = World::new(Limits::default());
        let (client, relayed) = world.ready(1, "192.0.2.77");
        let from = world.clients[client].address;
        let mut framed = kind.to_vec();
        framed.extend([0, (bytes.len() & !3) as u8, 0x21, 0x12, 0xa4, 0x42]);
        framed.extend([7; 12]);
        framed.extend(&bytes[..bytes.len() & !3]);
        for datagram in [&framed, &bytes] {
            world.relay.handle_datagram(world.now, from, datagram);
            world.relay.handle_peer_datagram(world.now, relayed, address(PEER), datagram);
            let now = world.now;
            let relay = crate::relay_world::relay_address();
            world.clients[client].allocation.handle_datagram(now, relay, datagram);
        }
        world.run(Duration::from_secs(30));
    }
}
