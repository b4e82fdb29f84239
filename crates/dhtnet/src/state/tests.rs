//! A state on a virtual clock, and a peer that says it has credentials and does as it likes.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use dhtnet_channel_mux::{ChannelRequest, Limits};
use dhtnet_identity::DeviceKey;
use dhtnet_identity::policy::{Grant, Policy, PolicyBuilder, Presented, Subject};
use dhtnet_secure_transport::{NoiseConfig, TransportSettings};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::credentials::{MAX_HELD_OF_STRANGERS, SHOW_LIMIT};
use super::*;
use crate::core::path::{PathAddress, Route};

const SERVER: u8 = 1;
const CLIENT: u8 = 2;

/// The wall clock of all tests: it stands still.
fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200)
}

fn id(seed: u8) -> DeviceId {
    DeviceKey::from_seed(&[seed; 32]).id()
}

fn address(seed: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, seed], 4_433))
}

fn core(seed: u8) -> Core {
    let key = DeviceKey::from_seed(&[seed; 32]);
    let rng = ChaCha20Rng::from_seed([seed; 32]);
    let hello = Hello {
        instance: [seed; 16],
        wants: false,
        shows: true,
    };
    let noise = NoiseConfig::new(&key, Bytes::from(hello.encode()), Box::new(rng)).unwrap();
    let settings = TransportSettings::default()
        .keep_alive(None)
        .max_bidi_streams(2_049);
    let rng = ChaCha20Rng::from_seed([seed + 100; 32]);
    Core::new(noise, settings, (8 << 20, Limits::default()), rng).unwrap()
}

/// A server with this policy, and the bare core of a client that was told nothing.
struct Pair {
    now: Instant,
    server: State,
    client: Core,
    /// The client's connection.
    key: ConnectionKey,
    ended: Option<EndReason>,
}

impl Pair {
    fn connected(policy: PolicyBuilder) -> Self {
        let (now, mut client) = (Instant::now(), core(CLIENT));
        let key = client.dial(now, &id(SERVER)).unwrap();
        let route = Route::untried(PathAddress::to(address(SERVER)));
        client.add_candidate(now, key, route);
        let judged = (policy.build(), &Presented::default());
        let server = State::new((id(SERVER), [0; 16]), core(SERVER), judged, 64);
        let mut pair = Self {
            now,
            server,
            client,
            key,
            ended: None,
        };
        pair.exchange();
        pair
    }

    /// Moves datagrams, without delay, until nobody has any.
    fn exchange(&mut self) {
        let mut buffer = Vec::new();
        for _ in 0..1_000 {
            let mut moved = false;
            while let Some(out) = self.client.poll_transmit(self.now, 1, &mut buffer) {
                let (from, datagram) = (address(CLIENT), BytesMut::from(&buffer[..out.len]));
                let core = &mut self.server.core;
                core.handle_datagram(self.now, PathAddress::to(from), None, datagram);
                moved = true;
            }
            self.server.core.drive_ready(self.now);
            self.server.pump(self.now, wall);
            while let Some(out) = self.server.core.poll_transmit(self.now, 1, &mut buffer) {
                let (from, datagram) = (address(SERVER), BytesMut::from(&buffer[..out.len]));
                self.client
                    .handle_datagram(self.now, PathAddress::to(from), None, datagram);
                moved = true;
            }
            self.client.drive_ready(self.now);
            while let Some(event) = self.client.poll_event() {
                if let CoreEvent::Ended { reason, .. } = event {
                    self.ended = Some(reason);
                }
            }
            if !moved {
                return;
            }
        }
        panic!("they talk for ever");
    }

    fn ask(&mut self, name: &str) {
        let (now, request) = (self.now, ChannelRequest::stream(name));
        self.client
            .with_mux(self.key, |mux, link| mux.open(link, now, request).unwrap())
            .unwrap();
        self.exchange();
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        self.server.handle_timeout(self.now, wall);
        self.exchange();
    }

    /// Requests that came through to the listener of `test`.
    fn offered(&mut self) -> usize {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut count = 0;
        while self.server.listeners.poll_offer("test", &mut cx).is_ready() {
            count += 1;
        }
        count
    }
}

fn listening(mut pair: Pair) -> Pair {
    let action_of: ActionOf = Arc::new(|request| Ok(default_action(request)));
    assert!(pair.server.listeners.insert("test", action_of));
    pair
}

fn wants_capabilities() -> PolicyBuilder {
    Policy::builder().accept_capabilities_of(id(SERVER))
}

#[test]
fn a_stranger_that_shows_nothing_in_time_is_turned_away() {
    let mut pair = listening(Pair::connected(wants_capabilities()));
    pair.ask("test");
    assert_eq!(
        pair.server.poll_timeout().map(|at| at <= pair.now),
        Some(false)
    );
    pair.pass(SHOW_LIMIT - Duration::from_millis(1));
    assert_eq!((pair.offered(), &pair.ended), (0, &None));
    pair.pass(Duration::from_millis(1));
    assert_eq!(
        (pair.offered(), &pair.ended),
        (0, &Some(EndReason::Refused))
    );
}

#[test]
fn a_peer_that_is_let_in_by_its_id_is_judged_by_it_when_it_shows_nothing_in_time() {
    let policy = wants_capabilities().grant(Subject::Peer(id(CLIENT)), Grant::action("test"));
    let mut pair = listening(Pair::connected(policy));
    pair.ask("test");
    assert_eq!(pair.offered(), 0, "it is awaited");
    pair.pass(SHOW_LIMIT);
    assert_eq!((pair.offered(), &pair.ended), (1, &None));
    pair.ask("test");
    assert_eq!(pair.offered(), 1, "only once");
}

#[test]
fn nobody_is_awaited_whose_credentials_could_not_count() {
    let nobody = Pair::connected(Policy::builder());
    assert_eq!(nobody.ended, Some(EndReason::Refused));
    let banned = Pair::connected(wants_capabilities().ban(id(CLIENT), "lost"));
    assert_eq!(banned.ended, Some(EndReason::Refused));
    let policy = Policy::builder().grant(Subject::Peer(id(CLIENT)), Grant::action("test"));
    let mut known = listening(Pair::connected(policy));
    known.ask("test");
    assert_eq!(known.offered(), 1);
}

#[test]
fn a_stranger_cannot_make_more_than_its_share_of_requests_wait() {
    let mut pair = Pair::connected(wants_capabilities());
    for _ in 0..MAX_HELD_OF_STRANGERS + 1 {
        pair.ask("test");
    }
    let mut waiting = pair.client.get(pair.key).unwrap().mux().channels();
    assert_eq!(waiting.by_ref().count(), MAX_HELD_OF_STRANGERS);
}

#[test]
fn a_policy_that_wants_nothing_any_more_ends_the_waiting() {
    let mut pair = Pair::connected(wants_capabilities());
    let times = (pair.now, wall());
    pair.server.set_policy(Policy::deny_all(), times);
    pair.exchange();
    assert_eq!(pair.ended, Some(EndReason::Refused));
}
