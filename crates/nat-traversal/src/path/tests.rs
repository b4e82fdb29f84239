//! Which path is used when, and which is dead.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use super::*;

fn path(number: u16) -> PathId {
    let text = if number >= 100 {
        format!("[2001:db8::1]:{number}")
    } else {
        format!("192.0.2.1:{number}")
    };
    PathId {
        socket: SocketId(number),
        remote: text.parse().unwrap(),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn used(paths: &mut Paths) -> Vec<(u16, Reason)> {
    std::iter::from_fn(|| paths.poll_event())
        .filter_map(|event| match event {
            Event::Use { path, reason } => Some((path.socket.0, reason)),
            _ => None,
        })
        .collect()
}

/// Lets time pass without an answer. What happened, with the milliseconds.
fn run(paths: &mut Paths, start: Instant, end: Duration) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    while let Some(at) = paths.poll_timeout().filter(|at| *at <= start + end) {
        paths.handle_timeout(at);
        let passed = (at - start).as_millis() as u64;
        events.extend(std::iter::from_fn(|| paths.poll_event()).map(|event| (passed, event)));
    }
    events
}

#[test]
fn a_direct_path_takes_over_from_a_relayed_one_and_not_the_reverse() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Relayed, ms(20));
    paths.on_works(now, path(2), PathKind::Punched, ms(200));
    paths.on_works(now, path(3), PathKind::Relayed, ms(10));
    let expected = [(1, Reason::First), (2, Reason::Better)];
    assert_eq!(used(&mut paths), expected);
    assert_eq!(paths.current(), Some(path(2)));
    assert_eq!(paths.iter().count(), 3);
}

#[test]
fn a_path_must_be_better_by_a_margin() {
    let now = Instant::now();
    let with = |first, second: PathId, round_trip| {
        let mut paths = Paths::default();
        paths.on_works(now, path(1), PathKind::Direct, ms(first));
        paths.on_works(now, second, PathKind::Direct, ms(round_trip));
        paths.current() == Some(second)
    };
    assert!(!with(20, path(2), 15));
    assert!(with(20, path(2), 14));
    assert!(!with(200, path(2), 180));
    assert!(with(200, path(2), 179));
    // IPv6 has a bonus of 3 ms.
    assert!(with(20, path(100), 17));
}

#[test]
fn a_slower_round_trip_moves_data_elsewhere_after_a_while() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(20));
    paths.on_works(now, path(2), PathKind::Direct, ms(30));
    used(&mut paths);
    paths.on_round_trip(now, path(1), ms(100));
    assert_eq!(paths.current(), Some(path(1)), "one is not enough");
    for _ in 0..10 {
        paths.on_round_trip(now, path(1), ms(100));
    }
    assert_eq!(used(&mut paths), [(2, Reason::Better)]);
}

#[test]
fn the_first_measurement_takes_the_place_of_a_guess() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works_unmeasured(now, path(1), PathKind::Direct);
    let round_trip = |paths: &Paths| paths.iter().next().map(|(.., round_trip)| round_trip);
    assert_eq!(round_trip(&paths), Some(INITIAL_ROUND_TRIP));
    paths.on_round_trip(now, path(1), ms(16));
    assert_eq!(round_trip(&paths), Some(ms(16)));
    paths.on_round_trip(now, path(1), ms(24));
    assert_eq!(
        round_trip(&paths),
        Some(ms(17)),
        "an eighth of each later one"
    );
}

#[test]
fn silence_with_something_waiting_fails_over_at_once_and_then_kills() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(50));
    paths.on_works(now, path(2), PathKind::Relayed, ms(50));
    used(&mut paths);
    paths.on_sent(now, path(1), Load::Waiting);
    paths.on_sent(now + ms(300), path(1), Load::Waiting);
    let events = run(&mut paths, now, ms(3_000));
    let expected = [
        (500, Event::Probe(path(1))),
        (
            500,
            Event::Use {
                path: path(2),
                reason: Reason::Silent,
            },
        ),
        (1_000, Event::Probe(path(1))),
        (1_500, Event::Probe(path(1))),
        (2_000, Event::Dead(path(1))),
    ];
    assert_eq!(events, expected);
}

#[test]
fn four_round_trips_are_waited_where_they_are_longer() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(300));
    paths.on_sent(now, path(1), Load::Waiting);
    used(&mut paths);
    let events = run(&mut paths, now, ms(5_000));
    assert_eq!(events[0], (1_200, Event::Probe(path(1))));
    // The only path is used until it is dead: noticed within 5 s.
    let end = [(4_800, Event::Dead(path(1))), (4_800, Event::AllDead)];
    assert_eq!(events[3..], end);
    assert_eq!((paths.current(), paths.poll_timeout()), (None, None));
}

#[test]
fn a_suspect_that_answers_is_used_again() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(50));
    paths.on_works(now, path(2), PathKind::Relayed, ms(50));
    paths.on_sent(now, path(1), Load::Waiting);
    run(&mut paths, now, ms(600));
    assert_eq!(paths.current(), Some(path(2)));
    paths.on_received(now + ms(700), path(1));
    assert_eq!(used(&mut paths), [(1, Reason::Better)]);
}

#[test]
fn what_is_heard_in_time_keeps_a_path() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(50));
    used(&mut paths);
    for step in 0..100 {
        let at = now + ms(400 * step);
        paths.on_sent(at, path(1), Load::Waiting);
        assert!(run(&mut paths, at, ms(390)).is_empty());
        paths.on_received(at + ms(390), path(1));
    }
}

#[test]
fn an_idle_path_is_asked_every_keepalive_and_noticed_when_it_is_dead() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(50));
    used(&mut paths);
    let due = now + KEEPALIVE;
    assert_eq!(paths.poll_timeout(), Some(due));
    paths.handle_timeout(due);
    assert_eq!(paths.poll_event(), Some(Event::Probe(path(1))));
    paths.on_received(due + ms(50), path(1));
    assert_eq!(paths.poll_timeout(), Some(due + KEEPALIVE));
    let events = run(&mut paths, due, ms(20_000));
    assert_eq!(events.last(), Some(&(16_500, Event::AllDead)));
}

#[test]
fn a_path_that_only_receives_is_kept_open_towards_the_outside() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(50));
    used(&mut paths);
    paths.on_received(now + KEEPALIVE - ms(1), path(1));
    paths.handle_timeout(now + KEEPALIVE);
    assert_eq!(paths.poll_event(), Some(Event::Probe(path(1))));
}

#[test]
fn a_forgetful_nat_makes_keepalive_more_frequent() {
    let mut paths = Paths::default();
    for (life, keepalive) in [(20, 10), (600, 15), (1, 2)] {
        paths.set_mapping_life(Duration::from_secs(life));
        assert_eq!(paths.keepalive(), Duration::from_secs(keepalive));
    }
}

#[test]
fn the_paths_of_a_socket_go_with_it() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(50));
    paths.on_works(now, path(2), PathKind::Relayed, ms(50));
    used(&mut paths);
    paths.on_socket_gone(SocketId(1));
    assert_eq!(used(&mut paths), [(2, Reason::Gone)]);
    paths.on_socket_gone(SocketId(2));
    assert_eq!(paths.poll_event(), Some(Event::AllDead));
    paths.on_socket_gone(SocketId(2));
    assert_eq!(paths.poll_event(), None);
}

#[test]
fn one_path_past_the_bound_pushes_out_the_worst_that_is_not_in_use() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Relayed, ms(900));
    for number in 2..=MAX_PATHS as u16 {
        paths.on_works(now, path(number), PathKind::Relayed, ms(1_000));
    }
    assert_eq!(paths.iter().count(), MAX_PATHS);
    paths.on_works(now, path(50), PathKind::Direct, ms(10));
    assert_eq!(paths.iter().count(), MAX_PATHS);
    assert_eq!(paths.current(), Some(path(50)));
    // What is worst now is the one that just came.
    paths.on_works(now, path(51), PathKind::Relayed, ms(5_000));
    assert!(paths.iter().all(|(id, ..)| id != path(51)));
}

#[test]
fn the_peer_is_followed_to_another_path_and_back_when_the_first_still_lives() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(20));
    paths.on_works(now, path(2), PathKind::Relayed, ms(20));
    used(&mut paths);
    paths.on_peer_moved(now, path(2));
    assert_eq!(paths.poll_event(), Some(Event::Probe(path(1))));
    assert_eq!(used(&mut paths), [(2, Reason::PeerMoved)]);
    // What is unknown is not followed.
    paths.on_peer_moved(now, path(3));
    assert_eq!(paths.current(), Some(path(2)));
    paths.on_round_trip(now + ms(20), path(1), ms(20));
    assert_eq!(used(&mut paths), [(1, Reason::Better)]);
}

#[test]
fn a_path_that_was_left_and_does_not_answer_is_not_taken_again() {
    let start = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(start, path(1), PathKind::Direct, ms(20));
    paths.on_works(start, path(2), PathKind::Relayed, ms(20));
    paths.on_peer_moved(start, path(2));
    used(&mut paths);
    paths.on_round_trip(start + ms(100), path(2), ms(20));
    let events = run(&mut paths, start, ms(5_000));
    assert!(
        events.contains(&(1_500, Event::Dead(path(1)))),
        "{events:?}"
    );
    assert_eq!(paths.current(), Some(path(2)));
}

#[test]
fn after_a_change_of_network_all_paths_are_asked_at_once_and_dead_ones_found_in_two_seconds() {
    let start = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(start, path(1), PathKind::Direct, ms(20));
    paths.on_works(start, path(2), PathKind::Relayed, ms(20));
    used(&mut paths);
    paths.on_network_change(start);
    let asked: Vec<Event> = std::iter::from_fn(|| paths.poll_event()).collect();
    assert_eq!(asked, [Event::Probe(path(1)), Event::Probe(path(2))]);
    paths.on_round_trip(start + ms(30), path(2), ms(30));
    let events = run(&mut paths, start, ms(3_000));
    let used = Event::Use {
        path: path(2),
        reason: Reason::Silent,
    };
    assert!(events.contains(&(500, used)), "{events:?}");
    assert!(
        events.contains(&(1_500, Event::Dead(path(1)))),
        "{events:?}"
    );
}

#[test]
fn a_path_that_turns_out_to_be_relayed_is_left_for_a_direct_one() {
    let now = Instant::now();
    let mut paths = Paths::default();
    paths.on_works(now, path(1), PathKind::Direct, ms(5));
    paths.on_works(now, path(2), PathKind::Direct, ms(50));
    used(&mut paths);
    paths.set_kind(path(1), PathKind::Relayed);
    assert_eq!(used(&mut paths), [(2, Reason::Better)]);
}

#[test]
fn who_follows_leaves_the_choice_within_a_class_to_the_peer() {
    let now = Instant::now();
    let mut paths = Paths::following();
    paths.on_works(now, path(1), PathKind::Relayed, ms(50));
    paths.on_works(now, path(2), PathKind::Relayed, ms(5));
    assert_eq!(used(&mut paths), [(1, Reason::First)]);
    paths.on_peer_uses(path(2));
    assert_eq!(used(&mut paths), [(2, Reason::PeerMoved)]);
    paths.on_works(now, path(3), PathKind::Direct, ms(90));
    assert_eq!(used(&mut paths), [(3, Reason::Better)]);
    // Direct before relayed, whatever the peer does for the moment; unknown paths are not followed.
    paths.on_peer_uses(path(2));
    paths.on_peer_uses(path(9));
    assert_eq!(used(&mut paths), []);
    let mut chooses = Paths::default();
    chooses.on_works(now, path(1), PathKind::Relayed, ms(50));
    chooses.on_works(now, path(2), PathKind::Relayed, ms(49));
    chooses.on_peer_uses(path(2));
    assert_eq!(used(&mut chooses), [(1, Reason::First)]);
}
