//! A session alone and two with each other: order, bounds and silence.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::collections::BTreeMap;

use super::*;
use crate::check::Incoming;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn session(now: Instant, role: Role) -> Session {
    let seed = [u8::from(role == Role::Controlling); 32];
    Session::new(now, role, SessionId([1; 8]), seed)
}

fn told(from: &Session) -> Offer {
    from.offer(SystemTime::UNIX_EPOCH, Wish::Connect)
}

const A: &str = "11.0.0.1:1";
const B: &str = "11.0.0.2:2";

/// Two sessions that know each other, each with one host address.
fn pair(now: Instant) -> (Session, Session) {
    let (mut a, mut b) = (
        session(now, Role::Controlling),
        session(now, Role::Controlled),
    );
    let host = |address| Candidate::new(CandidateKind::Host, at(address));
    a.add_candidate(host(A), SocketId::MAIN);
    b.add_candidate(host(B), SocketId::MAIN);
    let (for_a, for_b) = (told(&b), told(&a));
    a.handle_offer(now, for_a);
    b.handle_offer(now, for_b);
    (a, b)
}

fn sent(session: &mut Session, now: Instant) -> Vec<Transmit> {
    let mut budget = Budget::default();
    std::iter::from_fn(|| session.poll_transmit(now, &mut budget)).collect()
}

/// Everything that a session does by itself until it is quiet, with its time.
fn run_alone(session: &mut Session, start: Instant) -> Vec<(Duration, SocketAddr)> {
    let mut all = Vec::new();
    let mut budget = Budget::default();
    let mut now = start;
    loop {
        while let Some(transmit) = session.poll_transmit(now, &mut budget) {
            all.push((now - start, transmit.destination));
        }
        let Some(next) = session.poll_timeout() else {
            return all;
        };
        assert!(next > now || !session.events.is_empty(), "it stands still");
        now = next.max(now);
        session.handle_timeout(now);
    }
}

/// Carries datagrams between the two at once, until there are none.
fn exchange(a: &mut Session, b: &mut Session, now: Instant) {
    loop {
        let (from_a, from_b) = (sent(a, now), sent(b, now));
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        for transmit in from_a.iter().filter(|t| t.destination == at(B)) {
            b.handle_datagram(now, (SocketId::MAIN, at(A)), &transmit.payload);
        }
        for transmit in from_b.iter().filter(|t| t.destination == at(A)) {
            a.handle_datagram(now, (SocketId::MAIN, at(B)), &transmit.payload);
        }
    }
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

#[test]
fn both_sides_find_the_path_and_are_quiet_afterwards() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    exchange(&mut a, &mut b, now);
    let works = Event::PathWorks {
        socket: SocketId::MAIN,
        remote: at(B),
        round_trip: Duration::ZERO,
        kind: PathKind::Direct,
        observed: Some(at(A)),
    };
    let told = [events(&mut a), events(&mut b)];
    assert_eq!(told[0][0], works);
    let new = |e: &&Event| matches!(e, Event::PathWorks { .. });
    assert!(told.iter().all(|told| told.iter().filter(new).count() == 1));
    assert!(!a.is_ended(), "more may come");
    assert!(run_alone(&mut a, now).is_empty());
    assert!(events(&mut a).is_empty());
    assert!(a.is_ended());

    a.probe(SocketId::MAIN, at(B));
    a.probe(SocketId::MAIN, at("11.0.0.9:9"));
    exchange(&mut a, &mut b, now);
    assert!(matches!(events(&mut a)[..], [Event::Answered { remote, .. }] if remote == at(B)));
}

#[test]
fn an_offer_that_does_not_come_ends_it_without_a_packet() {
    let start = Instant::now();
    let mut a = session(start, Role::Controlling);
    a.add_candidate(Candidate::new(CandidateKind::Host, at(A)), SocketId::MAIN);
    assert!(run_alone(&mut a, start).is_empty());
    assert_eq!(events(&mut a), [Event::GaveUp { why: Why::NoOffer }]);
}

#[test]
fn without_an_answer_a_pair_is_tried_for_five_seconds_and_then_there_is_silence() {
    let start = Instant::now();
    let (mut a, mut b) = pair(start);
    let request = sent(&mut b, start).remove(0);
    let all = run_alone(&mut a, start);
    assert_eq!(all.len(), GAPS.len());
    assert!(all.iter().all(|(_, to)| *to == at(B)));
    assert_eq!(events(&mut a), [Event::GaveUp { why: Why::NoPath }]);
    // Not even a check of the peer's is answered.
    let late = start + ms(60_000);
    a.handle_datagram(late, (SocketId::MAIN, at(B)), &request.payload);
    let offer = told(&b);
    a.handle_offer(late, offer);
    assert!(sent(&mut a, late).is_empty());
    assert_eq!(a.poll_timeout(), None);
}

#[test]
fn what_a_stranger_sends_is_not_answered() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let mut stranger = Session::new(now, Role::Controlled, SessionId([1; 8]), [9; 32]);
    stranger.add_candidate(Candidate::new(CandidateKind::Host, at(B)), SocketId::MAIN);
    stranger.handle_offer(now, told(&a));
    sent(&mut a, now);
    for datagram in sent(&mut stranger, now)
        .iter()
        .map(|t| &t.payload[..])
        .chain([&b"junk"[..]])
    {
        let handled = a.handle_datagram(now, (SocketId::MAIN, at(B)), datagram);
        assert_eq!(handled, Handled::NotOurs);
    }
    assert!(sent(&mut a, now).is_empty());
    let request = sent(&mut b, now).remove(0);
    let handled = a.handle_datagram(now, (SocketId::MAIN, at(B)), &request.payload);
    assert_eq!(handled, Handled::Taken);
}

#[test]
fn a_check_before_the_offer_is_answered_and_returned_when_the_offer_is_here() {
    let now = Instant::now();
    let (mut a, mut b) = (
        session(now, Role::Controlling),
        session(now, Role::Controlled),
    );
    a.add_candidate(Candidate::new(CandidateKind::Host, at(A)), SocketId::MAIN);
    b.add_candidate(Candidate::new(CandidateKind::Host, at(B)), SocketId::MAIN);
    b.handle_offer(now, told(&a));
    let request = sent(&mut b, now).remove(0);
    // It comes from another port than b knows of.
    let seen = at("11.0.0.2:7777");
    a.handle_datagram(now, (SocketId::MAIN, seen), &request.payload);
    assert_eq!(sent(&mut a, now).len(), 1, "the answer");
    a.handle_offer(now, told(&b));
    let checked: Vec<SocketAddr> = sent(&mut a, now).iter().map(|t| t.destination).collect();
    assert!(checked.contains(&seen));
}

#[test]
fn ipv6_and_hosts_begin_first_and_relayed_pairs_beside_them() {
    let now = Instant::now();
    let mut a = session(now, Role::Controlling);
    let mut b = session(now, Role::Controlled);
    for (kind, address, socket) in [
        (CandidateKind::Host, A, 0),
        (CandidateKind::Host, "[2a00::1]:1", 1),
        (CandidateKind::Relayed, "11.9.0.1:1", 2),
    ] {
        a.add_candidate(Candidate::new(kind, at(address)), SocketId(socket));
    }
    for port in 1..=6 {
        let host = SocketAddr::new(at(B).ip(), port);
        b.add_candidate(Candidate::new(CandidateKind::Host, host), SocketId::MAIN);
    }
    for (kind, address) in [
        (CandidateKind::Mapped, "[2a00::2]:1"),
        (CandidateKind::ServerReflexive, "11.0.0.2:99"),
        (CandidateKind::Relayed, "11.9.0.1:2"),
    ] {
        b.add_candidate(Candidate::new(kind, at(address)), SocketId(1));
    }
    a.handle_offer(now, told(&b));
    let mut first = BTreeMap::new();
    let mut order = Vec::new();
    for (time, to) in run_alone(&mut a, now) {
        first.entry(to).or_insert_with(|| {
            order.push(to);
            time
        });
    }
    assert_eq!(order[0].port(), 1);
    assert!(order[..2].iter().all(|to| to.ip() == at(B).ip()));
    assert!(first[&at("[2a00::2]:1")] < first[&at("11.0.0.2:99")]);
    assert!(
        first[&at("11.9.0.1:2")] <= ms(250),
        "the relay does not wait"
    );
}

#[test]
fn checks_keep_their_pace() {
    let now = Instant::now();
    for (addresses, pace) in [(4, PACE_OF_FEW), (12, PACE)] {
        let mut a = session(now, Role::Controlling);
        a.add_candidate(Candidate::new(CandidateKind::Host, at(A)), SocketId::MAIN);
        let mut offer = told(&session(now, Role::Controlled));
        offer.candidates = (1..=addresses)
            .map(|port| Candidate::new(CandidateKind::Host, SocketAddr::new(at(B).ip(), port)))
            .collect();
        a.handle_offer(now, offer);
        let mut first = BTreeMap::new();
        for (time, to) in run_alone(&mut a, now) {
            first.entry(to).or_insert(time);
        }
        let times: Vec<Duration> = first.values().copied().collect();
        assert_eq!(times.len(), usize::from(addresses));
        assert!(times.windows(2).all(|two| two[1] - two[0] >= pace));
    }
}

#[test]
fn pairs_that_the_peer_makes_are_bounded_and_known_ones_stay() {
    let now = Instant::now();
    let (mut a, b) = pair(now);
    for port in 10..10 + 2 * MAX_PAIRS as u16 {
        let id = TransactionId::from_bytes([port as u8; 12]);
        let request = b.keys.request(id, Nomination::None, Way::Direct).unwrap();
        let from = SocketAddr::new(at(B).ip(), port);
        a.handle_datagram(now, (SocketId::MAIN, from), &request);
        assert!(a.list.iter().count() <= MAX_PAIRS);
        assert!(a.queue.len() <= MAX_QUEUE);
    }
    assert_eq!(a.list.iter().count(), MAX_PAIRS);
    assert_eq!(a.queue.len(), MAX_QUEUE);
    assert!(a.list.find((SocketId::MAIN, at(B))).is_some());
}

#[test]
fn who_wants_no_relay_answers_no_check_that_came_through_one_even_before_the_peer_tells_of_it() {
    let now = Instant::now();
    for (relays, way, answered) in [
        (RelayUse::Any, Way::Relayed, true),
        (RelayUse::None, Way::Relayed, false),
        (RelayUse::None, Way::Direct, true),
    ] {
        let (mut a, b) = pair(now);
        a.set_relays(relays);
        let id = TransactionId::from_bytes([7; 12]);
        let request = b.keys.request(id, Nomination::None, way).unwrap();
        let relay = SocketAddr::from(([203, 0, 113, 9], 50_000));
        let handled = a.handle_datagram(now, (SocketId::MAIN, relay), &request);
        assert_eq!(handled, Handled::Taken);
        assert_eq!(!a.queue.is_empty(), answered, "{relays:?} {way:?}");
        assert_eq!(a.list.find((SocketId::MAIN, relay)).is_some(), answered);
    }
}

#[test]
fn checks_before_the_offer_are_bounded() {
    let now = Instant::now();
    let mut a = session(now, Role::Controlling);
    let mut b = session(now, Role::Controlled);
    b.handle_offer(now, told(&a));
    for port in 1..=MAX_CANDIDATES as u16 + 1 {
        let id = TransactionId::from_bytes([port as u8; 12]);
        let request = b.keys.request(id, Nomination::None, Way::Direct).unwrap();
        let from = SocketAddr::new(at(B).ip(), port);
        a.handle_datagram(now, (SocketId::MAIN, from), &request);
    }
    assert_eq!(a.early.len(), MAX_CANDIDATES);
}

#[test]
fn later_offers_add_candidates_up_to_the_bound_and_only_the_same_peers() {
    let now = Instant::now();
    let (mut a, b) = pair(now);
    let mut offer = told(&b);
    for port in 100..=100 + MAX_CANDIDATES as u16 {
        let address = SocketAddr::new(at(B).ip(), port);
        offer.candidates = vec![Candidate::new(CandidateKind::Host, address)];
        a.handle_offer(now, offer.clone());
    }
    assert_eq!(
        a.peer.as_ref().unwrap().offer.candidates.len(),
        MAX_CANDIDATES
    );
    let stranger = Session::new(now, Role::Controlled, SessionId([1; 8]), [9; 32]);
    a.handle_offer(now, told(&stranger));
    let known = &a.peer.as_ref().unwrap().offer.credentials;
    assert_eq!(known, &b.credentials);
}

#[test]
fn a_socket_that_is_gone_takes_its_pairs_along() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    a.remove_socket(SocketId::MAIN);
    assert!(sent(&mut a, now).is_empty());
    assert!(told(&a).candidates.is_empty());
}

#[test]
fn only_one_of_the_punched_paths_stays_and_the_other_sockets_are_given_back() {
    let now = Instant::now();
    let mut a = session(now, Role::Controlling);
    let mut b = session(now, Role::Controlled);
    let dependent = NatProfile {
        mapping: Some(crate::behavior::Mapping::AddressAndPortDependent),
        ..NatProfile::default()
    };
    a.set_nat(dependent);
    let seen = |address| Candidate::new(CandidateKind::ServerReflexive, at(address));
    a.add_candidate(seen(A), SocketId::MAIN);
    b.add_candidate(seen(B), SocketId::MAIN);
    a.handle_offer(now, told(&b));
    b.handle_offer(now, told(&a));
    let Some(Need::Sockets(count)) = a.poll_need() else {
        panic!("no sockets are asked for")
    };
    assert_eq!(a.effort(), Effort::ManyPorts);
    let sockets: Vec<SocketId> = (10..10 + count).map(SocketId).collect();
    a.add_sockets(&sockets);

    // Two of b's tries hit.
    for socket in [20, 30] {
        let id = TransactionId::from_bytes([socket as u8; 12]);
        let request = b.keys.request(id, Nomination::None, Way::Direct).unwrap();
        a.handle_datagram(now, (SocketId(socket), at(B)), &request);
    }
    let mut answers = Vec::new();
    let mut later = now;
    while answers.len() < 2 {
        for transmit in sent(&mut a, later).into_iter().filter(|t| t.socket.0 >= 10) {
            let opened = b.keys.open(&transmit.payload);
            if let Some(Incoming::Request { id, .. }) = opened
                && [20, 30].contains(&transmit.socket.0)
            {
                answers.push((transmit.socket, b.keys.answer(id, at(A))));
            }
        }
        later += ms(5);
    }
    for (socket, answer) in &answers {
        a.handle_datagram(later, (*socket, at(B)), answer);
    }
    let told = events(&mut a);
    let [Event::PathWorks { socket, kind, .. }] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((socket, kind), (answers[0].0, PathKind::Punched));
    let released: Vec<Need> = std::iter::from_fn(|| a.poll_need()).collect();
    assert_eq!(released.len(), usize::from(count) - 1);
    assert!(!released.contains(&Need::Release(socket)));
    // The peer is told which.
    let nominations = sent(&mut a, later);
    let chosen = nominations
        .iter()
        .map(|t| (t.socket, b.keys.open(&t.payload)));
    let wanted = chosen.filter(|(_, opened)| {
        let nomination = Nomination::UseThis;
        matches!(opened, Some(Incoming::Request { nomination: n, .. }) if *n == nomination)
    });
    assert_eq!(
        wanted.map(|(socket, _)| socket).collect::<Vec<_>>(),
        [socket]
    );
}

#[test]
fn a_nomination_that_comes_before_the_offer_is_not_waited_for_again() {
    let now = Instant::now();
    let mut a = session(now, Role::Controlling);
    let mut b = session(now, Role::Controlled);
    a.set_nat(NatProfile {
        mapping: Some(crate::behavior::Mapping::AddressAndPortDependent),
        ..NatProfile::default()
    });
    let seen = |address| Candidate::new(CandidateKind::ServerReflexive, at(address));
    a.add_candidate(seen(A), SocketId::MAIN);
    b.add_candidate(seen(B), SocketId::MAIN);
    // Towards b its NAT gives a another port than b is told.
    let seen_by_b = at("11.0.0.1:9");
    let exchange = |a: &mut Session, b: &mut Session| {
        loop {
            let (from_a, from_b) = (sent(a, now), sent(b, now));
            let to_a = |t: &&Transmit| t.destination == seen_by_b;
            for transmit in &from_a {
                b.handle_datagram(now, (SocketId::MAIN, seen_by_b), &transmit.payload);
            }
            for transmit in from_b.iter().filter(to_a) {
                a.handle_datagram(now, (SocketId::MAIN, at(B)), &transmit.payload);
            }
            if from_a.is_empty() && from_b.is_empty() {
                return;
            }
        }
    };
    let works = |e: &Event| matches!(e, Event::PathWorks { .. });
    // Nothing filters at b, so a has its path, and says so, before b is told who answers.
    a.handle_offer(now, told(&b));
    exchange(&mut a, &mut b);
    assert!(events(&mut a).iter().any(works));
    assert!(events(&mut b).is_empty());
    b.handle_offer(now, told(&a));
    exchange(&mut a, &mut b);
    assert!(events(&mut b).iter().any(works));
}

#[test]
fn entries_that_others_have_used_up_stop_punching_and_nothing_else() {
    let start = Instant::now();
    let mut budget = Budget::default();
    let mut now = start;
    for port in 1..=crate::punch::MAX_ATTEMPTS {
        now += ms(5);
        let remote = SocketAddr::new(at(B).ip(), 10_000 + port);
        let key = (SocketId(9), remote);
        budget.take(now, key, Purpose::Punch).unwrap();
    }
    let mut a = session(now, Role::Controlling);
    let mut b = session(now, Role::Controlled);
    let seen = |address| Candidate::new(CandidateKind::ServerReflexive, at(address));
    a.add_candidate(seen(A), SocketId::MAIN);
    b.add_candidate(seen(B), SocketId::MAIN);
    b.set_nat(NatProfile {
        mapping: Some(crate::behavior::Mapping::AddressAndPortDependent),
        ..NatProfile::default()
    });
    let begun = now;
    a.handle_offer(now, told(&b));
    let mut sent = 0;
    while a.phase == Phase::Active {
        while let Some(transmit) = a.poll_transmit(now, &mut budget) {
            assert_eq!(transmit.destination, at(B));
            sent += 1;
        }
        now = a.poll_timeout().unwrap().max(now);
        a.handle_timeout(now);
    }
    assert_eq!(sent, GAPS.len());
    assert!(now - begun <= Duration::from_secs(10), "{:?}", now - begun);
}
