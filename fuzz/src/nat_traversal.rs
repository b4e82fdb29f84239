//! Targets of nat-traversal: offers, STUN messages, and the machines that take datagrams.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use dhtnet_identity::DeviceKey;
use dhtnet_nat_traversal::candidate::{Candidate, CandidateKind, SocketId};
use dhtnet_nat_traversal::offer::{MAX_LEN, Offer, SessionId, Wish};
use dhtnet_nat_traversal::punch::{Budget, MAX_NAT_ENTRIES, Role};
use dhtnet_nat_traversal::relay::{self, Limits, Peers, Relay, StreamId};
use dhtnet_nat_traversal::session::Session;
use dhtnet_nat_traversal::stun::{IntegrityKey, Message, is_stun, respond, verify};
use dhtnet_nat_traversal::turn::{Allocation, Config};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([11, 0, 0, last], 4_000))
}

/// What is read is written the same, and fits the bound.
pub(crate) fn offer(input: &[u8]) {
    let Ok(offer) = Offer::decode(input) else {
        return;
    };
    assert!(offer.candidates.iter().all(Candidate::is_offerable));
    let bytes = offer.encode();
    assert!(bytes.len() <= MAX_LEN);
    assert_eq!(Offer::decode(&bytes).as_ref(), Ok(&offer));
}

/// Only STUN is read, nothing passes for authentic by chance, and answers can be read.
pub(crate) fn stun_message(input: &[u8]) {
    let key = IntegrityKey::short_term("a password that nobody guesses").expect("plain text");
    assert!(verify(input, &key).is_err());
    let Ok(message) = Message::decode(input) else {
        return;
    };
    assert!(is_stun(input));
    if let Message::Request(request) = message {
        let answer = respond(&request, address(9));
        assert!(Message::decode(&answer).is_ok());
    }
}

/// Datagrams of somebody who does not know the password open nothing. Each is a length and bytes.
pub(crate) fn nat_session(input: &[u8]) {
    let start = Instant::now();
    let mut session = Session::new(start, Role::Controlling, SessionId([1; 8]), [2; 32]);
    session.add_candidate(
        Candidate::new(CandidateKind::Host, address(1)),
        SocketId::MAIN,
    );
    let mut peer = Session::new(start, Role::Controlled, SessionId([1; 8]), [3; 32]);
    peer.add_candidate(
        Candidate::new(CandidateKind::Host, address(2)),
        SocketId::MAIN,
    );
    session.handle_offer(start, peer.offer(SystemTime::UNIX_EPOCH, Wish::Answer));
    let (mut budget, mut now, mut rest) = (Budget::default(), start, input);
    while let Some((len, more)) = rest.split_first() {
        let (datagram, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        now += Duration::from_millis(u64::from(*len) * 7);
        session.handle_datagram(now, (SocketId::MAIN, address(2)), datagram);
        session.handle_timeout(now);
        let mut sent = 0;
        while session.poll_transmit(now, &mut budget).is_some() {
            sent += 1;
            assert!(sent <= 1_000, "it sends without end");
        }
        assert!(budget.entries(now) <= MAX_NAT_ENTRIES);
        while let Some(event) = session.poll_event() {
            let works = matches!(
                event,
                dhtnet_nat_traversal::session::Event::PathWorks { .. }
            );
            assert!(!works, "{event:?}");
        }
    }
}

/// A server that says anything: datagrams to one allocation, the same bytes as a stream to another.
pub(crate) fn turn_client(input: &[u8]) {
    let now = Instant::now();
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let server = address(3);
    let config = Config::new(server, "user", "password");
    let mut allocation = Allocation::new(now, &config, &mut rng);
    while allocation.poll_transmit().is_some() {}
    allocation.handle_datagram(now, server, input);
    allocation.handle_datagram(now, address(4), input);
    while allocation.poll_transmit().is_some() {}
    let config = config.link(dhtnet_nat_traversal::turn::Link::Stream);
    let mut allocation = Allocation::new(now, &config, &mut rng);
    while allocation.poll_transmit().is_some() {}
    for piece in input.chunks(7) {
        if allocation.handle_stream(now, piece).is_err() {
            break;
        }
    }
    assert!(allocation.relayed().is_empty(), "nobody knew the password");
}

/// A stranger gets no allocation from a relay, whatever it sends, and small answers only.
pub(crate) fn relay(input: &[u8]) {
    let now = Instant::now();
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let config = relay::Config {
        listen: address(5),
        own: vec![address(5).ip()],
        peers: Peers::Public,
        limits: Limits::default(),
    };
    let key = DeviceKey::from_seed(&[6; 32]);
    let mut relay = Relay::new(now, config, key, Box::new(|_| true), &mut rng);
    relay.handle_datagram(now, address(6), input);
    let stream = StreamId(1);
    if relay.handle_connected(now, stream, address(7)) {
        for piece in input.chunks(7) {
            relay.handle_stream(now, stream, piece);
        }
    }
    while let Some(action) = relay.poll_action() {
        let opens = matches!(action, relay::Action::Open { .. });
        assert!(!opens, "{action:?}");
    }
    assert_eq!(relay.clients(), 0);
}
