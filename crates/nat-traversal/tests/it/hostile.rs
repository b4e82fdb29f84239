//! Bytes and calls in any order: nothing panics, stands still or passes a bound.

#![allow(clippy::disallowed_methods, reason = "an instant to count from")]

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use dhtnet_nat_traversal::behavior::{Allocation, Filtering, Mapping};
use dhtnet_nat_traversal::candidate::{Candidate, CandidateKind, SocketId};
use dhtnet_nat_traversal::offer::{NatProfile, Offer, SessionId, Wish};
use dhtnet_nat_traversal::path::{Event as PathEvent, Load, MAX_PATHS, PathId, Paths};
use dhtnet_nat_traversal::punch::{Budget, MAX_NAT_ENTRIES, MAX_PACKETS_PER_SECOND, Need, Role};
use dhtnet_nat_traversal::session::{PathKind, Session, Transmit};
use proptest::collection::vec;
use proptest::prelude::*;

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (0u8..3, 1u16..5).prop_map(|(host, port)| SocketAddr::from(([11, 0, 0, host], port))),
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ]
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let kind = prop::sample::select(vec![
        CandidateKind::Host,
        CandidateKind::Mapped,
        CandidateKind::ServerReflexive,
        CandidateKind::Relayed,
    ]);
    (kind, address()).prop_map(|(kind, address)| Candidate::new(kind, address))
}

fn profile() -> impl Strategy<Value = NatProfile> {
    let allocation = prop_oneof![
        Just(None),
        Just(Some(Allocation::Random)),
        any::<i16>().prop_map(|step| Some(Allocation::Sequential { step })),
        any::<(u16, u16)>().prop_map(|(low, high)| Some(Allocation::Block { low, high })),
    ];
    (any::<bool>(), allocation, vec(any::<u16>(), 0..5)).prop_map(
        |(dependent, allocation, samples)| NatProfile {
            mapping: dependent.then_some(Mapping::AddressAndPortDependent),
            filtering: Some(Filtering::AddressAndPortDependent),
            allocation,
            samples,
        },
    )
}

/// What happens to a session.
#[derive(Debug, Clone)]
enum Step {
    Candidate(Candidate, u16),
    Offer(NatProfile, Vec<Candidate>),
    /// What the session has sent, back from anywhere: `usize` chooses what.
    Echo(usize, SocketAddr),
    Junk(Vec<u8>, SocketAddr),
    SocketGone(u16),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (candidate(), 0u16..4).prop_map(|(candidate, socket)| Step::Candidate(candidate, socket)),
        (profile(), vec(candidate(), 0..6)).prop_map(|(nat, all)| Step::Offer(nat, all)),
        (any::<usize>(), address()).prop_map(|(which, from)| Step::Echo(which, from)),
        (vec(any::<u8>(), 0..60), address()).prop_map(|(bytes, from)| Step::Junk(bytes, from)),
        (0u16..4).prop_map(Step::SocketGone),
        (0u64..3_000).prop_map(Step::Wait),
    ]
}

/// A session, its driver and the same peer for all its offers.
struct World {
    now: Instant,
    session: Session,
    peer: Session,
    budget: Budget,
    sent: Vec<(Instant, Transmit)>,
    opened: u16,
}

impl World {
    fn new(nat: NatProfile) -> Self {
        let now = Instant::now();
        let id = SessionId([1; 8]);
        let mut session = Session::new(now, Role::Controlling, id, [1; 32]);
        session.set_nat(nat);
        Self {
            now,
            session,
            peer: Session::new(now, Role::Controlled, id, [2; 32]),
            budget: Budget::default(),
            sent: Vec::new(),
            opened: 100,
        }
    }

    fn take(&mut self, step: Step) {
        let main = SocketId::MAIN;
        match step {
            Step::Candidate(candidate, socket) => {
                self.session.add_candidate(candidate, SocketId(socket));
            }
            Step::Offer(nat, candidates) => {
                let mut offer = self.peer.offer(SystemTime::UNIX_EPOCH, Wish::Update);
                (offer.nat, offer.candidates) = (nat, candidates);
                let own = self.session.offer(SystemTime::UNIX_EPOCH, Wish::Update);
                self.peer.handle_offer(self.now, own);
                self.session.handle_offer(self.now, offer);
            }
            Step::Echo(which, from) if !self.sent.is_empty() => {
                // The peer answers what it gets, and its answers come back.
                let (_, transmit) = self.sent[which % self.sent.len()].clone();
                let own = (transmit.socket, from);
                self.peer.handle_datagram(self.now, own, &transmit.payload);
                while let Some(answer) = self.peer.poll_transmit(self.now, &mut Budget::default()) {
                    let back = (transmit.socket, transmit.destination);
                    self.session
                        .handle_datagram(self.now, back, &answer.payload);
                }
            }
            Step::Junk(bytes, from) => {
                self.session.handle_datagram(self.now, (main, from), &bytes);
            }
            Step::SocketGone(socket) => self.session.remove_socket(SocketId(socket)),
            Step::Wait(ms) => return self.wait(Duration::from_millis(ms)),
            Step::Echo(..) => {}
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.session.poll_transmit(self.now, &mut self.budget) {
            self.sent.push((self.now, transmit));
        }
        while let Some(need) = self.session.poll_need() {
            if let Need::Sockets(count) = need {
                let all: Vec<SocketId> = (self.opened..self.opened + count).map(SocketId).collect();
                self.opened += count;
                self.session.add_sockets(&all);
            }
        }
        while self.session.poll_event().is_some() {}
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut still = 0;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            still = if at > self.now { 0 } else { still + 1 };
            assert!(still < 10, "it stands still");
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_an_offer_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Offer::decode(&bytes);
        let with_version = [&[1, 1][..], &bytes].concat();
        if let Ok(offer) = Offer::decode(&with_version) {
            prop_assert_eq!(Offer::decode(&offer.encode()), Ok(offer));
        }
    }

    #[test]
    fn a_session_keeps_its_bounds_whatever_happens(
        nat in profile(),
        steps in vec(step(), 1..40),
    ) {
        let mut world = World::new(nat);
        for step in steps {
            world.take(step);
            prop_assert!(world.budget.entries(world.now) <= MAX_NAT_ENTRIES);
        }
        world.wait(Duration::from_secs(60));
        let quiet = world.sent.len();
        world.wait(Duration::from_secs(600));
        prop_assert_eq!(world.sent.len(), quiet, "it ends");
        let times: Vec<Instant> = world.sent.iter().map(|(at, _)| *at).collect();
        let most = MAX_PACKETS_PER_SECOND as usize;
        for late in times.windows(most + 1) {
            prop_assert!(late[most] - late[0] >= Duration::from_secs(1));
        }
    }

    #[test]
    fn the_path_in_use_is_one_that_works(
        steps in vec((0u8..6, 0u16..12, 0u64..2_000), 1..80),
    ) {
        let mut now = Instant::now();
        let mut paths = Paths::default();
        for (what, number, ms) in steps {
            let id = PathId {
                socket: SocketId(number),
                remote: SocketAddr::from(([11, 0, 0, 1], number)),
            };
            let time = Duration::from_millis(ms);
            match what {
                0 => paths.on_works(now, id, PathKind::Direct, time),
                1 => paths.on_works(now, id, PathKind::Relayed, time),
                2 => paths.on_sent(now, id, Load::Waiting),
                3 => paths.on_round_trip(now, id, time),
                4 => paths.on_socket_gone(SocketId(number)),
                _ => {
                    let end = now + time;
                    let mut turns = 0;
                    while let Some(at) = paths.poll_timeout().filter(|at| *at <= end) {
                        paths.handle_timeout(at.max(now));
                        turns += 1;
                        prop_assert!(turns < 1_000, "it stands still");
                    }
                    now = end;
                }
            }
            let known: Vec<PathId> = paths.iter().map(|(id, ..)| id).collect();
            prop_assert!(known.len() <= MAX_PATHS);
            match paths.current() {
                Some(current) => prop_assert!(known.contains(&current)),
                None => prop_assert!(known.is_empty()),
            }
            while let Some(event) = paths.poll_event() {
                if let PathEvent::Dead(dead) = event {
                    prop_assert!(paths.current() != Some(dead) || known.contains(&dead));
                }
            }
        }
    }
}
