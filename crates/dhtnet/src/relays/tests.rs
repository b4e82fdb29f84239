//! The table on a virtual clock, against the relay of nat-traversal.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use dhtnet_nat_traversal::relay::{self, Action, Limits, Peers, Relay};
use futures_util::FutureExt;
use rand_core::SeedableRng;

use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server() -> SocketAddr {
    at("198.51.100.1:3478")
}

fn client() -> SocketAddr {
    at("203.0.113.5:10000")
}

fn peer() -> SocketAddr {
    at("203.0.113.9:4000")
}

fn target(transport: RelayTransport, login: Login) -> Target {
    Target {
        name: "turn:relay".to_owned(),
        door: Doorway {
            address: server(),
            transport,
            host: "relay".to_owned(),
            authorities: None,
        },
        login,
    }
}

/// The table, and a relay of this system that hears it at once.
struct World {
    now: Instant,
    relays: Relays,
    relay: Relay,
    /// Sent to peers: where to, and what.
    at_peers: Vec<(SocketAddr, Vec<u8>)>,
    next_port: u16,
    /// Relayed addresses that are given up.
    given_up: Vec<SocketAddr>,
}

/// A relay that knows nothing. The seed makes its nonces.
fn relay(now: Instant, seed: u64) -> Relay {
    let config = relay::Config {
        listen: server(),
        own: vec![server().ip()],
        peers: Peers::Public,
        limits: Limits {
            clients_per_id: 16,
            ..Limits::default()
        },
    };
    let key = DeviceKey::from_seed(&[200; 32]);
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    Relay::new(now, config, key, Box::new(|_| true), &mut rng)
}

impl World {
    #[allow(clippy::disallowed_methods)] // An instant to count from.
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            relays: Relays::new(
                DeviceKey::from_seed(&[1; 32]),
                ChaCha20Rng::seed_from_u64(2),
            ),
            relay: relay(now, 1),
            at_peers: Vec::new(),
            next_port: 50_000,
            given_up: Vec::new(),
        }
    }

    fn begin(&self) -> u16 {
        let target = target(RelayTransport::Udp, Login::Device);
        self.relays.begin(self.now, target).unwrap()
    }

    /// Messages go to and fro for half a second: turn-client-proto leaves 50 ms between requests.
    fn exchange(&mut self) {
        for _ in 0..50 {
            self.now += Duration::from_millis(10);
            self.relays.on_time(self.now);
            self.exchange_now();
        }
    }

    fn exchange_now(&mut self) {
        while let Some((leg, message)) = self.relays.poll_transmit(self.now) {
            assert_eq!(leg, Leg::Datagrams(server()));
            self.relay.handle_datagram(self.now, client(), &message);
            self.answer();
        }
    }

    fn answer(&mut self) {
        while let Some(action) = self.relay.poll_action() {
            match action {
                Action::Send { payload, .. } => {
                    let datagram = BytesMut::from(&payload[..]);
                    self.relays.on_datagram(self.now, server(), datagram);
                }
                Action::Open { request, .. } => {
                    let relayed = SocketAddr::new(server().ip(), self.next_port);
                    self.next_port += 1;
                    self.relay.handle_socket(self.now, request, Ok(relayed));
                }
                Action::Relay { to, payload, .. } => self.at_peers.push((to, payload.to_vec())),
                Action::Close { relayed } => self.given_up.push(relayed),
                _ => {}
            }
        }
    }

    /// An allocation that stands and admits the peer.
    fn standing(&mut self) -> u16 {
        let number = self.begin();
        self.exchange();
        assert_eq!(self.relays.standing(), Some(number));
        self.relays.admit(self.now, number, peer().ip());
        self.exchange();
        number
    }

    /// Wraps datagrams of two bytes and gives the relay what comes of it.
    fn send(&mut self, number: u16, datagrams: &[u8]) {
        let mut queue = Queue::default();
        let (through, datagrams) = ((number, peer()), (datagrams, Some(2)));
        self.relays.wrap(self.now, through, datagrams, &mut queue);
        while let Some(batch) = queue.front() {
            for datagram in batch.bytes.chunks(batch.segment) {
                self.relay.handle_datagram(self.now, client(), datagram);
            }
            queue.pop();
        }
        self.answer();
        self.exchange();
    }

    fn error(&self, number: u16) -> Option<RelayError> {
        self.relays.outcome(number).and_then(Result::err)
    }

    /// Lets time pass by what is due, until `until` after now.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some(due) = self.relays.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.relays.on_time(self.now);
            if self.relays.is_untidy(self.now) {
                self.relays.tidy(self.now, |_| false);
            }
            while self.relays.poll_transmit(self.now).is_some() {}
        }
        self.now = until;
    }
}

#[test]
fn a_relay_of_this_system_is_used_by_its_address_alone_and_carries_both_ways() {
    let mut world = World::new();
    assert!(world.relays.is_empty());
    let number = world.standing();
    let relayed = world.relays.relayed(number);
    assert_eq!(relayed, [SocketAddr::new(server().ip(), 50_000)]);
    world.send(number, b"aabbcc");
    let sent: Vec<_> = ["aa", "bb", "cc"].map(|text| (peer(), text.into())).into();
    assert_eq!(world.at_peers, sent);
    world
        .relay
        .handle_peer_datagram(world.now, relayed[0], peer(), b"hello");
    let Some(Action::Send { payload, .. }) = world.relay.poll_action() else {
        panic!("nothing was relayed");
    };
    let taken = world
        .relays
        .on_datagram(world.now, server(), BytesMut::from(&payload[..]));
    let payload = Taken::Payload {
        number,
        peer: peer(),
        payload: BytesMut::from(&b"hello"[..]),
    };
    assert_eq!(taken, payload);
}

#[test]
fn datagrams_of_others_and_what_is_no_turn_are_left_to_others() {
    let mut world = World::new();
    world.standing();
    for (from, bytes) in [(peer(), &b"\x40\x00\x00\x00"[..]), (server(), b"d1:ad2:id")] {
        let taken = world
            .relays
            .on_datagram(world.now, from, BytesMut::from(bytes));
        assert_eq!(taken, Taken::NotOurs(BytesMut::from(bytes)));
    }
}

#[test]
fn what_is_sent_before_the_peer_is_admitted_waits_up_to_its_bound() {
    let mut world = World::new();
    let number = world.begin();
    world.exchange();
    world.relays.admit(world.now, number, peer().ip());
    let mut queue = Queue::default();
    for byte in 0..=MAX_HELD as u8 {
        let datagram = [byte];
        let (through, datagram) = ((number, peer()), (&datagram[..], None));
        world.relays.wrap(world.now, through, datagram, &mut queue);
    }
    assert!(queue.front().is_none());
    world.exchange();
    let arrived: Vec<u8> = world.at_peers.iter().map(|(_, bytes)| bytes[0]).collect();
    let all_but_the_first: Vec<u8> = (1..=MAX_HELD as u8).collect();
    assert_eq!(arrived, all_but_the_first);
}

#[test]
fn allocations_are_bounded_and_numbers_are_not_used_again_soon() {
    let world = World::new();
    let all: Vec<u16> = (0..MAX_ALLOCATIONS).map(|_| world.begin()).collect();
    let more = target(RelayTransport::Udp, Login::Device);
    assert_eq!(world.relays.begin(world.now, more), None);
    world.relays.close_one(world.now, all[0]);
    assert!(!all.contains(&world.begin()));
}

#[test]
fn a_silent_server_is_given_up_and_told_once() {
    let mut world = World::new();
    let number = world.begin();
    world.pass(Duration::from_secs(4));
    assert_eq!(
        world.error(number),
        Some(RelayError::Allocation(AllocationError::Silent))
    );
    assert_eq!(world.relays.poll_gone(), Some(number));
    assert_eq!(world.relays.poll_gone(), None);
}

#[test]
fn a_server_that_dies_in_use_is_noticed_within_seconds() {
    let mut world = World::new();
    let number = world.standing();
    let mut queue = Queue::default();
    let datagram = (&b"lost"[..], None);
    world
        .relays
        .wrap(world.now, (number, peer()), datagram, &mut queue);
    world.pass(Duration::from_secs(5));
    assert_eq!(
        world.error(number),
        Some(RelayError::Allocation(AllocationError::Silent))
    );
    assert_eq!(world.relays.standing(), None);
}

#[test]
fn a_server_that_was_restarted_in_use_is_noticed_and_gives_another_allocation() {
    let mut world = World::new();
    let number = world.standing();
    // The first payload has a channel bound.
    world.send(number, b"so");
    world.relay = relay(world.now, 2);
    world.send(number, b"lost");
    assert_eq!(world.error(number), None, "nothing says so yet");
    world.exchange();
    world.exchange();
    assert_eq!(
        world.error(number),
        Some(RelayError::Allocation(AllocationError::Expired))
    );
    assert_eq!(world.relays.poll_gone(), Some(number));
    let again = world.standing();
    assert_ne!(again, number);
    // It is out of the table by now, and its end is known all the same.
    let ended = world.relays.ended(number).now_or_never().unwrap();
    assert_eq!(ended.0, RelayError::Allocation(AllocationError::Expired));
    assert!(ended.1 > Duration::from_secs(1), "of use for {:?}", ended.1);
    world.send(again, b"ok");
    assert_eq!(
        world.at_peers,
        [(peer(), b"so".to_vec()), (peer(), b"ok".to_vec())]
    );
}

#[test]
fn another_server_wants_a_user_and_says_so() {
    let world = World::new();
    let number = world.begin();
    let (_, question) = world.relays.poll_transmit(world.now).unwrap();
    let mut refusal = vec![0x01, 0x13, 0, 16];
    refusal.extend(&question[4..20]);
    refusal.extend([0, 9, 0, 4, 0, 0, 4, 1, 0, 0x14, 0, 3]);
    refusal.extend(b"lab\0");
    let taken = world
        .relays
        .on_datagram(world.now, server(), BytesMut::from(&refusal[..]));
    assert_eq!(taken, Taken::Consumed);
    assert_eq!(world.error(number), Some(RelayError::NotOurs));
}

#[test]
fn a_stream_is_asked_for_and_its_failure_is_the_relays() {
    let world = World::new();
    let target = target(RelayTransport::Tcp, Login::Device);
    let door = target.door.clone();
    let number = world.relays.begin(world.now, target).unwrap();
    let asked = Order::Connect { number, to: door };
    assert_eq!(world.relays.poll_order(), Some(asked));
    assert!(world.relays.poll_transmit(world.now).is_none());
    let refused = std::io::ErrorKind::ConnectionRefused.into();
    world.relays.on_disconnected(world.now, number, &refused);
    assert!(matches!(
        world.error(number),
        Some(RelayError::Connect { .. })
    ));
}

#[test]
fn what_speaks_no_turn_on_a_stream_is_no_relay() {
    let world = World::new();
    let target = target(RelayTransport::Tcp, Login::Device);
    let number = world.relays.begin(world.now, target).unwrap();
    world.relays.poll_order();
    world.relays.on_connected(world.now, number);
    let asked = world.relays.poll_transmit(world.now);
    assert_eq!(asked.map(|(leg, _)| leg), Some(Leg::Stream(number)));
    world
        .relays
        .on_stream(world.now, number, b"SSH-2.0-server\r\n");
    assert_eq!(
        world.error(number),
        Some(RelayError::Allocation(AllocationError::Protocol))
    );
    assert_eq!(world.relays.poll_order(), Some(Order::Disconnect(number)));
}

#[test]
fn an_allocation_that_nobody_uses_is_ended_after_a_while_and_one_in_use_is_kept() {
    let mut world = World::new();
    let number = world.standing();
    for _ in 0..20 {
        world.now += TIDY;
        world.relays.tidy(world.now, |used| used == number);
    }
    assert_eq!(world.relays.standing(), Some(number));
    world.relays.tidy(world.now, |_| false);
    world.relays.tidy(world.now + KEPT_UNUSED / 2, |_| false);
    world.exchange();
    assert_eq!(world.relays.standing(), Some(number));
    world.now += KEPT_UNUSED;
    world.relays.tidy(world.now, |_| false);
    world.exchange();
    assert_eq!(world.error(number), Some(RelayError::Closed));
    assert_eq!(world.given_up.len(), 1, "the relay was told");
}

#[test]
fn the_end_of_the_node_ends_all_and_lets_none_begin() {
    let mut world = World::new();
    world.standing();
    assert!(!world.relays.is_closed());
    world.relays.close(world.now);
    world.exchange();
    assert!(world.relays.is_closed());
    assert_eq!(world.given_up.len(), 1);
    let late = target(RelayTransport::Udp, Login::Device);
    assert_eq!(world.relays.begin(world.now, late), None);
}
