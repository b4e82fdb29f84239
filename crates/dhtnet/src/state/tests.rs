//! A state on a virtual clock, and a peer that says it has credentials and does as it likes.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use dhtnet_channel_mux::{ChannelRequest, Limits};
use dhtnet_identity::DeviceKey;
use dhtnet_identity::policy::{
    Grant, MAX_PRESENTED_LEN, Policy, PolicyBuilder, Presented, Subject,
};
use dhtnet_secure_transport::{NoiseConfig, TransportSettings};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::credentials::{MAX_ASKED, MAX_HELD, MAX_HELD_OF_STRANGERS, REPRIEVE, SHOW_LIMIT};
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
    /// Channels that the server asked for.
    asked: Vec<String>,
    /// Channels of the client that the server declined or took back for the policy, or as busy.
    declined: usize,
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
            asked: Vec::new(),
            declined: 0,
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
                match event {
                    CoreEvent::Ended { reason, .. } => self.ended = Some(reason),
                    CoreEvent::Mux { event, .. } => match event {
                        mux::Event::Incoming { request, .. } => self.asked.push(request.name),
                        mux::Event::Declined { .. } => self.declined += 1,
                        _ => {}
                    },
                    _ => {}
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

    /// As [`Pair::ask`], if the connection still is; the server may have too many to take it.
    fn try_ask(&mut self, name: &str) -> Option<mux::ChannelId> {
        let (now, request) = (self.now, ChannelRequest::stream(name));
        let open = |mux: &mut mux::Mux, link: &mut crate::core::QuicLink<'_>| {
            mux.open(link, now, request).ok()
        };
        let opened = self.client.with_mux(self.key, open);
        self.exchange();
        opened.flatten()
    }

    fn write(&mut self, channel: mux::ChannelId, bytes: &[u8], ends: bool) {
        let now = self.now;
        self.client.with_mux(self.key, |mux, link| {
            // What does not fit, or is not wanted any more, is left out.
            let _ = mux.write(link, now, channel, &mut [Bytes::copy_from_slice(bytes)]);
            if ends {
                let _ = mux.finish(link, now, channel);
            }
        });
    }

    fn reset(&mut self, channel: mux::ChannelId) {
        let now = self.now;
        self.client.with_mux(self.key, |mux, link| {
            let _ = mux.reset(link, now, channel, 1);
        });
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

/// Whether a note of the client comes through to the server's reader; `meanwhile` happens while it
/// is on its way.
fn is_heard(pair: &mut Pair, meanwhile: impl FnOnce(&mut Pair)) -> bool {
    let mut reader = pair.server.notes.subscribe();
    let note = Bytes::from_static(b"where I am");
    let sent = pair.client.with_mux(pair.key, |mux, link| {
        mux.note(link, note.clone()).unwrap();
    });
    sent.unwrap();
    meanwhile(pair);
    pair.exchange();
    let heard = reader.try_recv().ok();
    assert!(heard.is_none() || heard == Some((id(CLIENT), note)));
    heard.is_some()
}

#[test]
fn notes_are_heard_of_peers_that_were_let_in_and_of_no_others() {
    let known = || Policy::builder().grant(Subject::Peer(id(CLIENT)), Grant::action("test"));
    let nothing = |_: &mut Pair| {};
    assert!(is_heard(&mut Pair::connected(known()), nothing));
    let mut stranger = Pair::connected(wants_capabilities());
    assert!(!is_heard(&mut stranger, nothing), "it may show something");
    assert_eq!(stranger.ended, None);
    let turn_away = |pair: &mut Pair| {
        let times = (pair.now, wall());
        pair.server.set_policy(Policy::deny_all(), times);
    };
    assert!(!is_heard(&mut stranger, turn_away));
    assert_eq!(stranger.ended, Some(EndReason::Refused));
    let mut banned = Pair::connected(known());
    assert!(!is_heard(&mut banned, turn_away), "it was let in before");
    assert_eq!(banned.ended, Some(EndReason::Refused));
}

#[test]
fn a_peer_that_was_never_asked_is_asked_and_heard_for_a_moment_when_the_policy_wants_credentials() {
    let by_id = || Policy::builder().grant(Subject::Peer(id(CLIENT)), Grant::action("test"));
    for (banned, stays) in [(false, REPRIEVE), (true, Duration::ZERO)] {
        let mut pair = listening(Pair::connected(by_id()));
        pair.ask("test");
        assert_eq!(pair.offered(), 1);
        let mut policy = wants_capabilities();
        if banned {
            policy = policy.ban(id(CLIENT), "lost");
        }
        let times = (pair.now, wall());
        pair.server.set_policy(policy.build(), times);
        pair.exchange();
        if stays > Duration::ZERO {
            assert!(pair.asked.contains(&WANTED_CHANNEL.to_owned()));
            pair.ask("test");
            pair.pass(stays - Duration::from_millis(1));
            assert_eq!((pair.offered(), &pair.ended), (0, &None));
            pair.pass(Duration::from_millis(1));
        }
        let ended = Some(EndReason::Refused);
        assert_eq!((pair.offered(), &pair.ended), (0, &ended), "{banned}");
    }
}

#[test]
fn who_may_stay_without_credentials_is_only_asked_and_its_requests_wait_a_moment() {
    let by_id = || Subject::Peer(id(CLIENT));
    let mut pair = listening(Pair::connected(
        Policy::builder().grant(by_id(), Grant::action("test")),
    ));
    let policy = wants_capabilities().grant(by_id(), Grant::action("test"));
    let times = (pair.now, wall());
    pair.server.set_policy(policy.build(), times);
    pair.ask("test");
    assert_eq!(pair.offered(), 0, "it may show something first");
    pair.pass(REPRIEVE);
    assert_eq!((pair.offered(), &pair.ended), (1, &None));
}

#[test]
fn a_peer_is_shown_credentials_as_often_as_it_may_ask_and_not_once_more() {
    let policy = Policy::builder().grant(Subject::Peer(id(CLIENT)), Grant::action("test"));
    let mut pair = Pair::connected(policy);
    for _ in 0..MAX_ASKED {
        pair.ask(WANTED_CHANNEL);
    }
    assert_eq!(pair.declined, 0);
    pair.ask(WANTED_CHANNEL);
    assert_eq!(pair.declined, 1);
}

#[test]
fn a_channel_ends_when_something_that_it_requires_is_no_longer_allowed() {
    let may = |names: &[&str]| {
        names.iter().fold(Policy::builder(), |policy, name| {
            policy.grant(Subject::Peer(id(CLIENT)), Grant::action(*name))
        })
    };
    let mut pair = listening(Pair::connected(may(&["test", "more"])));
    pair.ask("test");
    pair.ask("test");
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut offers = Vec::new();
    while let std::task::Poll::Ready(Some(offer)) =
        pair.server.listeners.poll_offer("test", &mut cx)
    {
        offers.push(offer);
    }
    let channel = ChannelKey {
        connection: offers[0].connection,
        channel: offers[0].id,
    };
    let peer = id(CLIENT);
    let mut require = |action: &str| {
        let action = Action::new(action);
        let decision = pair.server.require(wall(), (channel, &peer), &action);
        decision.is_allowed()
    };
    assert!(require("more") && require("more") && !require("nothing"));
    let times = (pair.now, wall());
    pair.server.set_policy(may(&["test"]).build(), times);
    pair.exchange();
    assert_eq!((pair.declined, &pair.ended), (1, &None), "the other stays");
}

/// What the peer does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    Show,
    Half,
    Garbage,
    BreakOff,
    WantToSee,
    Wait,
    OtherPolicy,
}

#[test]
fn whatever_a_peer_does_with_its_credentials_what_is_kept_of_it_stays_bounded() {
    const STEPS: [Step; 8] = [
        Step::Ask,
        Step::Show,
        Step::Half,
        Step::Garbage,
        Step::BreakOff,
        Step::WantToSee,
        Step::Wait,
        Step::OtherPolicy,
    ];
    let by_id = || Policy::builder().grant(Subject::Peer(id(CLIENT)), Grant::action("test"));
    let policies = [
        by_id,
        || wants_capabilities(),
        || by_id_and_capabilities(),
        || wants_capabilities().ban(id(CLIENT), "lost"),
    ];
    for seed in 0..48 {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let mut pair = listening(Pair::connected(by_id_and_capabilities()));
        let mut open = Vec::new();
        for _ in 0..120 {
            let dice = rand_core::Rng::next_u32(&mut rng) as usize;
            let step = STEPS[dice % STEPS.len()];
            match step {
                Step::Ask => drop(pair.try_ask("test")),
                Step::WantToSee => drop(pair.try_ask(WANTED_CHANNEL)),
                Step::Show | Step::Half | Step::Garbage => {
                    let Some(channel) = pair.try_ask(CREDENTIALS_CHANNEL) else {
                        continue;
                    };
                    let bytes: &[u8] = match step {
                        Step::Show => &[1, 0, 0],
                        Step::Half => &[1],
                        _ => &[0xff; 70_000],
                    };
                    pair.write(channel, bytes, !matches!(step, Step::Half));
                    open.push(channel);
                }
                Step::BreakOff => {
                    if let Some(channel) = open.pop() {
                        pair.reset(channel);
                    }
                }
                Step::Wait => pair.pass(Duration::from_millis(dice as u64 % 700)),
                Step::OtherPolicy => {
                    // A ban, which ends it all, comes seldom.
                    let few = policies.len() - usize::from(dice % 512 > 8);
                    let policy = policies[(dice / 8) % few]();
                    let times = (pair.now, wall());
                    pair.server.set_policy(policy.build(), times);
                }
            }
            pair.exchange();
            let kept = pair.server.showings.kept();
            assert!(
                kept.connections <= 1 && kept.awaited <= 1,
                "{seed} {step:?} {kept:?}"
            );
            assert!(kept.held <= MAX_HELD && kept.arriving <= MAX_PRESENTED_LEN);
        }
        // Nobody waits for ever.
        pair.pass(SHOW_LIMIT);
        let kept = pair.server.showings.kept();
        assert_eq!((kept.awaited, kept.held), (0, 0), "{seed}");
        pair.server
            .set_policy(Policy::deny_all(), (pair.now, wall()));
        pair.exchange();
        assert!(pair.ended.is_some(), "{seed}");
        let kept = pair.server.showings.kept();
        assert_eq!((kept.connections, kept.arriving), (0, 0), "{seed}");
    }
}

fn by_id_and_capabilities() -> PolicyBuilder {
    wants_capabilities().grant(Subject::Peer(id(CLIENT)), Grant::action("test"))
}
