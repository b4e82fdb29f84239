//! The client of relays, against our own relay on a virtual clock.

use std::net::SocketAddr;
use std::time::Duration;

use dhtnet_nat_traversal::relay::Limits;
use dhtnet_nat_traversal::turn::{
    AllocationError, Config, Event, Families, Fault, GIVE_UP, KEEPALIVE, Link, MAX_PAYLOAD,
    MAX_PERMISSIONS, PermitError, SILENCE, SendError,
};

use crate::relay_world::{World, address, client_key, ip, relay_address};

const PEER: &str = "192.0.2.77:7000";

fn world() -> World {
    World::new(Limits::default())
}

#[test]
fn payloads_go_both_ways_and_soon_through_a_channel() {
    let mut world = world();
    let (client, relayed) = world.ready(1, "192.0.2.77");
    let expected = [
        Event::Allocated { relayed },
        Event::Permitted {
            peer: ip("192.0.2.77"),
        },
    ];
    assert_eq!(world.events(client), expected);
    world.send(client, PEER, b"first");
    assert_eq!(
        world.clients[client].last_sent,
        5 + 3 + 36,
        "a Send indication"
    );
    world.run(Duration::from_secs(1));
    world.send(client, PEER, b"second");
    assert_eq!(world.clients[client].last_sent, 6 + 4, "ChannelData");
    world.run(Duration::from_secs(1));
    let at_peer: Vec<&[u8]> = world.at_peers.iter().map(|(.., p)| p.as_slice()).collect();
    assert_eq!(at_peer, [b"first".as_slice(), b"second"]);
    assert!(
        world
            .at_peers
            .iter()
            .all(|(from, to, _)| { *from == relayed && *to == address(PEER) })
    );
    // Back through the channel, and from another port without one.
    world.send_from_peer(relayed, PEER, b"answer");
    world.send_from_peer(relayed, "192.0.2.77:7001", b"another");
    world.send_from_peer(relayed, "192.0.2.78:7000", b"not admitted");
    world.run(Duration::from_secs(1));
    let expected = [
        (address(PEER), b"answer".to_vec()),
        (address("192.0.2.77:7001"), b"another".to_vec()),
    ];
    assert_eq!(world.clients[client].received, expected);
}

#[test]
fn payloads_go_both_ways_over_a_stream_in_pieces_of_any_size() {
    for chunk in [1, 2, 3, 7, 1000] {
        let mut world = world();
        world.chunk = chunk;
        let client = world.client_over_stream(1);
        let relayed = world.allocated(client);
        world.permit(client, "192.0.2.77");
        for len in 0..9_u8 {
            let payload: Vec<u8> = (0..len).collect();
            world.send(client, PEER, &payload);
            world.send_from_peer(relayed, PEER, &payload);
            world.run(Duration::from_secs(1));
            assert_eq!(world.at_peers.pop().unwrap().2, payload);
            let received = world.clients[client].received.pop();
            assert_eq!(received, Some((address(PEER), payload)), "{chunk} {len}");
        }
    }
}

#[test]
fn an_allocation_is_kept_for_hours_with_its_permissions_and_channels() {
    for idle in [false, true] {
        let mut world = world();
        let (client, relayed) = world.ready(1, "192.0.2.77");
        world.send(client, PEER, b"channel");
        world.run(Duration::from_secs(1));
        world.events(client);
        for minute in 0..200_u8 {
            world.run(Duration::from_secs(60));
            if idle && minute < 199 {
                continue;
            }
            world.at_peers.clear();
            world.send(client, PEER, &[minute]);
            world.send_from_peer(relayed, PEER, &[minute]);
            world.run(Duration::from_secs(1));
            assert_eq!(world.at_peers.len(), 1, "minute {minute}");
            assert_eq!(world.clients[client].last_sent, 5, "minute {minute}");
            let received = world.clients[client].received.pop();
            assert_eq!(received, Some((address(PEER), vec![minute])));
        }
        assert_eq!(world.events(client), []);
    }
}

#[test]
fn a_wrong_password_or_name_is_said_at_once_and_whose_fault_it_is() {
    let right = client_key(1).id().to_string();
    for (name, password) in [(right.as_str(), "wrong"), ("alice", "secret")] {
        let mut world = world();
        let config = Config::new(relay_address(), name, password);
        let client = world.client_of(&config, Link::Datagrams);
        world.run(Duration::from_secs(1));
        let error = AllocationError::WrongCredentials;
        assert_eq!(world.events(client), [Event::Failed(error.clone())]);
        assert_eq!(error.fault(), Fault::Configuration);
        assert!(error.next_step().contains("password"));
        assert!(world.clients[client].allocation.is_ended());
        assert_eq!(world.clients[client].allocation.poll_timeout(), None);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_in_seconds() {
    for stream in [false, true] {
        let mut world = world();
        world.relay_is_dead = true;
        let client = if stream {
            world.client_over_stream(1)
        } else {
            world.client(1)
        };
        world.run(Duration::from_secs(60));
        let (at, event) = &world.clients[client].events[0];
        assert_eq!(*event, Event::Failed(AllocationError::Silent));
        assert!(*at <= GIVE_UP + Duration::from_millis(100), "{at:?}");
        assert!(*at >= Duration::from_secs(3), "{at:?}");
    }
}

#[test]
fn a_server_that_dies_is_noticed_when_sent_to_and_when_idle() {
    for (sending, limit) in [(true, SILENCE + GIVE_UP), (false, KEEPALIVE + GIVE_UP)] {
        let mut world = world();
        let (client, _) = world.ready(1, "192.0.2.77");
        world.run(Duration::from_secs(5));
        world.events(client);
        let died = world.now;
        world.relay_is_dead = true;
        if sending {
            world.send(client, PEER, b"hello?");
        }
        world.run(Duration::from_secs(60));
        let (at, event) = world.clients[client].events[0].clone();
        assert_eq!(event, Event::Failed(AllocationError::Silent));
        let noticed = world.begin + at - died;
        assert!(noticed <= limit, "{noticed:?}");
        let now = world.now;
        let allocation = &mut world.clients[client].allocation;
        assert!(allocation.relayed().is_empty());
        let sent = allocation.send_to(now, address(PEER), b"more");
        assert_eq!(sent, Err(SendError::NoAllocation));
        assert_eq!(allocation.permit(now, ip(PEER_IP)), Ok(()), "known already");
        assert_eq!(
            allocation.permit(now, ip("192.0.2.1")),
            Err(PermitError::NoAllocation)
        );
    }
}

const PEER_IP: &str = "192.0.2.77";

/// Round trips of the question, of the one with the new nonce, and a little.
const ASKED_TWICE: Duration = Duration::from_millis(150);

impl World {
    /// The allocation of a client that begins again.
    fn allocated_anew(&mut self, client: usize) -> SocketAddr {
        self.restart_client(1, client);
        self.allocated(client)
    }

    /// A payload of the client reaches the peer from this relayed address.
    fn sends_through(&mut self, client: usize, relayed: SocketAddr) {
        self.permit(client, PEER_IP);
        self.send(client, PEER, b"again");
        self.run(Duration::from_secs(1));
        let expected = (relayed, address(PEER), b"again".to_vec());
        assert_eq!(self.at_peers.pop(), Some(expected));
    }
}

#[test]
fn a_server_that_was_restarted_is_noticed_when_sent_to_and_when_idle() {
    for (sending, limit) in [
        (true, SILENCE + ASKED_TWICE),
        (false, KEEPALIVE + ASKED_TWICE),
    ] {
        let mut world = world();
        let (client, _) = world.ready(1, PEER_IP);
        world.run(Duration::from_secs(5));
        world.events(client);
        let restarted = world.now;
        world.restart_relay();
        if sending {
            world.send(client, PEER, b"hello?");
        }
        world.run(Duration::from_secs(60));
        let (at, event) = world.clients[client].events[0].clone();
        assert_eq!(event, Event::Failed(AllocationError::Expired));
        let noticed = world.begin + at - restarted;
        assert!(noticed <= limit, "{noticed:?}");
        // There is another one for who asks.
        let relayed = world.allocated_anew(client);
        world.sends_through(client, relayed);
    }
}

#[test]
fn payloads_of_the_peer_are_signs_of_life_and_cost_no_question() {
    let mut world = world();
    let (client, relayed) = world.ready(1, PEER_IP);
    world.send(client, PEER, b"channel");
    world.run(Duration::from_secs(1));
    let before = world.clients[client].messages;
    for _ in 0..60 {
        world.send(client, PEER, b"payload");
        world.send_from_peer(relayed, PEER, b"answer");
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.clients[client].messages, before);
}

#[test]
fn the_server_is_asked_once_a_second_at_most_and_every_fifteen_when_idle() {
    let mut world = world();
    let (client, _) = world.ready(1, PEER_IP);
    world.send(client, PEER, b"channel");
    world.run(Duration::from_secs(1));
    let before = world.clients[client].messages;
    for _ in 0..600 {
        world.send(client, PEER, b"nobody answers");
        world.run(Duration::from_millis(50));
    }
    let asked = world.clients[client].messages - before;
    assert!((25..=30).contains(&asked), "{asked} in 30 s");
    let before = world.clients[client].messages;
    world.run(Duration::from_secs(60));
    let asked = world.clients[client].messages - before;
    assert!((3..=4).contains(&asked), "{asked} in 60 s");
    assert_eq!(world.events(client).len(), 2, "allocated and permitted");
}

#[test]
fn what_a_killed_process_left_at_the_server_is_deleted_for_another_one() {
    let mut world = world();
    let (client, _) = world.ready(1, PEER_IP);
    let relayed = world.allocated_anew(client);
    assert_eq!(world.sockets.iter().collect::<Vec<_>>(), [&relayed]);
    assert_eq!(world.events(client), [Event::Allocated { relayed }]);
    world.sends_through(client, relayed);
}

#[test]
fn a_server_that_deletes_late_is_asked_until_it_has_and_one_that_never_does_is_given_up() {
    for (held, expected) in [(1_200, None), (60_000, Some(AllocationError::InUse))] {
        let mut world = world();
        world.in_use_until = world.now + Duration::from_millis(held);
        let client = world.client(1);
        world.run(GIVE_UP + Duration::from_secs(1));
        let events = world.events(client);
        match expected {
            None => assert!(
                matches!(events[..], [Event::Allocated { .. }]),
                "{events:?}"
            ),
            Some(error) => assert_eq!(events, [Event::Failed(error)]),
        }
        // Ten for another one, the first and every half second; one with credentials, and the
        // deletion with and without its nonce.
        assert!(world.clients[client].messages <= 14);
    }
}

#[test]
fn a_wrong_password_is_said_though_the_server_holds_an_allocation() {
    let mut world = world();
    world.in_use_until = world.now + Duration::from_secs(60);
    let right = client_key(1).id().to_string();
    let config = Config::new(relay_address(), &right, "wrong");
    let client = world.client_of(&config, Link::Datagrams);
    world.run(Duration::from_secs(1));
    let error = AllocationError::WrongCredentials;
    assert_eq!(world.events(client), [Event::Failed(error)]);
}

#[test]
fn an_allocation_does_not_show_its_password() {
    let mut world = world();
    let config = Config::new(relay_address(), "alice", "hunter2");
    let client = world.client_of(&config, Link::Datagrams);
    let shown = format!("{:?}", world.clients[client].allocation);
    assert!(
        !shown.contains("hunter2") && !shown.contains("alice"),
        "{shown}"
    );
}

#[test]
fn a_client_that_slept_too_long_learns_that_its_allocation_expired() {
    let mut world = world();
    let (client, _) = world.ready(1, PEER_IP);
    world.events(client);
    // Nothing runs while the machine sleeps.
    world.now += Duration::from_secs(3 * 3600);
    world.run(Duration::from_secs(10));
    let error = AllocationError::Expired;
    assert_eq!(world.events(client), [Event::Failed(error.clone())]);
    assert_eq!(error.next_step(), "allocate again");
    assert_eq!(error.fault(), Fault::Server);
}

#[test]
fn closing_leaves_nothing_at_the_relay() {
    for stream in [false, true] {
        let mut world = world();
        let client = if stream {
            world.client_over_stream(1)
        } else {
            world.client(1)
        };
        world.allocated(client);
        assert_eq!(world.sockets.len(), 1);
        world.events(client);
        let now = world.now;
        world.clients[client].allocation.close(now);
        world.run(Duration::from_secs(1));
        assert_eq!(world.events(client), [Event::Closed]);
        assert!(world.sockets.is_empty());
        world.run(Duration::from_secs(61));
        assert_eq!(world.relay.clients(), 0);
        assert_eq!(world.relay.poll_timeout(), None);
    }
}

#[test]
fn closing_ends_within_a_second_though_the_server_is_dead() {
    let mut world = world();
    let client = world.client(1);
    world.allocated(client);
    world.events(client);
    world.relay_is_dead = true;
    let now = world.now;
    world.clients[client].allocation.close(now);
    world.run(Duration::from_secs(1));
    assert_eq!(world.events(client), [Event::Closed]);
}

#[test]
fn both_families_are_had_or_the_one_that_there_is() {
    for (families, has_v6, expected) in [
        (Families::Both, true, 2),
        (Families::Both, false, 1),
        (Families::V6, true, 1),
        (Families::V4, true, 1),
    ] {
        let mut world = world();
        world.has_v6 = has_v6;
        let client = world.client_with(1, |config| config.families(families));
        world.allocated(client);
        let relayed = world.clients[client].allocation.relayed().to_vec();
        assert_eq!(relayed.len(), expected, "{families:?}");
        let v6 = relayed.iter().any(|relayed| relayed.is_ipv6());
        assert_eq!(v6, has_v6 && families != Families::V4);
        for (peer, family) in [("192.0.2.77:1", false), ("[2001:db8:2::1]:1", true)] {
            if relayed.iter().any(|relayed| relayed.is_ipv6() == family) {
                world.permit(client, &address(peer).ip().to_string());
                for round in 0..3 {
                    world.send(client, peer, b"x");
                    world.run(Duration::from_secs(1));
                    let (from, to, _) = world.at_peers.pop().unwrap();
                    assert_eq!(from.is_ipv6(), family, "{round}");
                    assert_eq!(to, address(peer));
                    world.send_from_peer(from, peer, b"y");
                    world.run(Duration::from_secs(1));
                    let received = world.clients[client].received.pop();
                    assert_eq!(received, Some((address(peer), b"y".to_vec())));
                }
            }
        }
    }
    let mut world = world();
    world.has_v6 = false;
    let client = world.client_with(1, |config| config.families(Families::V6));
    world.run(Duration::from_secs(5));
    let error = AllocationError::FamilyUnavailable;
    assert_eq!(world.events(client), [Event::Failed(error)]);
}

#[test]
fn peers_are_admitted_up_to_the_bound() {
    let mut world = World::new(Limits {
        permissions: 1000,
        ..Limits::default()
    });
    let client = world.client(1);
    world.allocated(client);
    for n in 0..MAX_PERMISSIONS + 1 {
        let now = world.now;
        let peer = ip(&format!("192.0.2.{n}"));
        let permitted = world.clients[client].allocation.permit(now, peer);
        if n < MAX_PERMISSIONS {
            assert_eq!(permitted, Ok(()));
        } else {
            assert_eq!(permitted, Err(PermitError::TooMany));
        }
        world.run(Duration::from_millis(100));
    }
    world.run(Duration::from_secs(1));
    let permitted = world.events(client).len() - 1;
    assert_eq!(permitted, MAX_PERMISSIONS);
}

#[test]
fn what_cannot_be_sent_is_said() {
    let mut world = world();
    let client = world.client(1);
    let now = world.now;
    let early = world.clients[client]
        .allocation
        .send_to(now, address(PEER), b"x");
    assert_eq!(early, Err(SendError::NoAllocation));
    world.allocated(client);
    let now = world.now;
    let allocation = &mut world.clients[client].allocation;
    let sent = allocation.send_to(now, address(PEER), b"x");
    assert_eq!(sent, Err(SendError::NoPermission));
    world.permit(client, PEER_IP);
    let now = world.now;
    let allocation = &mut world.clients[client].allocation;
    for (len, fits) in [(MAX_PAYLOAD, true), (MAX_PAYLOAD + 1, false)] {
        let sent = allocation.send_to(now, address(PEER), &vec![0; len]);
        assert_eq!(sent.is_ok(), fits);
    }
}

#[test]
fn datagrams_of_others_are_left_to_others() {
    use dhtnet_nat_traversal::turn::Handled;
    let mut world = world();
    let client = world.client(1);
    world.allocated(client);
    let now = world.now;
    let allocation = &mut world.clients[client].allocation;
    for (from, datagram) in [
        (address("192.0.2.9:3478"), &b"\x40\x00\x00\x00"[..]),
        (relay_address(), b"d1:ad2:id20:"),
        (relay_address(), b"\x40\x00\x00\x01x"),
        (relay_address(), b"\xc0\x00\x00\x00\x01"),
        (relay_address(), b""),
    ] {
        let handled = allocation.handle_datagram(now, from, datagram);
        assert_eq!(handled, Handled::NotOurs, "{datagram:?}");
    }
}

#[test]
fn a_stream_that_ends_or_speaks_nonsense_ends_the_allocation() {
    let mut world = world();
    let client = world.client_over_stream(1);
    world.allocated(client);
    world.events(client);
    let now = world.now;
    let allocation = &mut world.clients[client].allocation;
    assert!(allocation.handle_stream(now, b"SSH-2.0").is_err());
    world.run(Duration::ZERO);
    let failed = [Event::Failed(AllocationError::Protocol)];
    assert_eq!(world.events(client), failed);
    let client = world.client_over_stream(2);
    world.allocated(client);
    world.events(client);
    world.clients[client].allocation.handle_disconnected();
    world.run(Duration::ZERO);
    let failed = [Event::Failed(AllocationError::Disconnected)];
    assert_eq!(world.events(client), failed);
}
