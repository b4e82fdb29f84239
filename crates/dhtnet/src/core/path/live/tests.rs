//! What is kept for one connection has bounds, and what is asked while all goes through a relay is
//! little.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::net::SocketAddr;

use rand_core::SeedableRng;

use super::*;

fn keys() -> CheckKeys {
    let own = Credentials::derived([1; 4], [2; 16]);
    let peer = Credentials::derived([3; 4], [4; 16]);
    CheckKeys::new(&own, &peer, Role::Controlling)
}

fn peers_check(from: &CheckKeys, number: u8) -> Bytes {
    let id = TransactionId::from_bytes([number; 12]);
    from.keys
        .request(id, Nomination::None, Way::Direct)
        .unwrap()
}

fn direct(port: usize) -> Route {
    let address = SocketAddr::from(([198, 51, 100, 1], port as u16));
    Route::untried(PathAddress::to(address))
}

fn relayed() -> Route {
    let path = PathAddress::relayed(1, SocketAddr::from(([203, 0, 113, 1], 5)));
    Route {
        round_trip: Some(Duration::from_millis(20)),
        ..Route::untried(path)
    }
}

fn through_a_relay(now: Instant) -> (Live, ChaCha20Rng) {
    let rng = ChaCha20Rng::from_seed([5; 32]);
    let mut live = Live::new(now, keys(), relayed(), &[]);
    live.trials.clear();
    (live, rng)
}

/// Lets time pass until `end`. Returns to where checks went.
fn run(live: &mut Live, rng: &mut ChaCha20Rng, end: Instant) -> Vec<PathAddress> {
    let mut sent = Vec::new();
    while let Some(due) = live.poll_timeout().filter(|due| *due <= end) {
        live.handle_timeout(due, rng);
        sent.extend(std::iter::from_fn(|| live.poll_check()).map(|(_, to)| to));
        // The relay answers for as long as this lasts.
        live.machine.on_received(due, relayed().path.id());
    }
    sent.retain(|to| matches!(to.via, Via::Shared));
    sent
}

#[test]
fn six_direct_addresses_are_hoped_for_and_the_oldest_makes_room_for_a_seventh() {
    let now = Instant::now();
    let (mut live, _) = through_a_relay(now);
    for port in 0..MAX_HOPES {
        live.hope_for(now, direct(port));
    }
    assert_eq!(live.hopes.len(), MAX_HOPES);
    live.hope_for(now, direct(MAX_HOPES));
    assert_eq!(live.hopes.len(), MAX_HOPES);
    assert_eq!(live.hopes.front(), Some(&direct(MAX_HOPES)));
    assert_eq!(live.hopes.back(), Some(&direct(1)));
}

#[test]
fn two_checks_a_second_ask_for_a_direct_path_and_after_a_minute_fewer() {
    let now = Instant::now();
    let (mut live, mut rng) = through_a_relay(now);
    for port in 0..MAX_HOPES {
        live.hope_for(now, direct(port));
    }
    let first = run(&mut live, &mut rng, now + Duration::from_millis(10_500));
    let newest = direct(MAX_HOPES - 1).path;
    let of_newest = first.iter().filter(|to| **to == newest).count();
    assert_eq!((first.len(), of_newest), (20, 10));
    for port in 0..MAX_HOPES - 1 {
        assert!(first.contains(&direct(port).path), "{port} has its turn");
    }
    run(&mut live, &mut rng, now + Duration::from_secs(75));
    let later = run(&mut live, &mut rng, now + Duration::from_secs(135));
    assert_eq!(later.len(), 4 * MAX_HOPES);
}

#[test]
fn sixteen_addresses_are_tried_at_once_and_the_next_only_if_it_is_known_to_lead_to_the_peer() {
    let now = Instant::now();
    let (mut live, _) = through_a_relay(now);
    for port in 0..=MAX_TRIALS {
        live.try_out(now, direct(port));
    }
    assert_eq!(live.trials.len(), MAX_TRIALS);
    let found = Route {
        round_trip: Some(Duration::from_millis(5)),
        ..direct(MAX_TRIALS + 1)
    };
    live.add(now, found);
    assert_eq!(live.trials.len(), MAX_TRIALS);
    let last = live.trials.back().map(|trial| trial.route);
    assert_eq!(last, Some(found), "in the place of a guess");
}

#[test]
fn answers_that_wait_to_be_sent_are_bounded_and_the_oldest_is_dropped() {
    let now = Instant::now();
    let (mut live, _) = through_a_relay(now);
    let peer = CheckKeys::new(
        &Credentials::derived([3; 4], [4; 16]),
        &Credentials::derived([1; 4], [2; 16]),
        Role::Controlled,
    );
    for number in 0..=MAX_QUEUE as u8 {
        let from = direct(usize::from(number)).path;
        assert!(live.handle_check(now, from, &peers_check(&peer, number)));
    }
    assert_eq!(live.queue.len(), MAX_QUEUE);
    assert_eq!(live.poll_check().unwrap().1, direct(1).path);
}

#[test]
fn a_way_that_a_session_has_found_is_used_when_it_answers_with_the_connections_own_keys() {
    let now = Instant::now();
    let (mut live, mut rng) = through_a_relay(now);
    let found = Route {
        round_trip: Some(Duration::from_millis(5)),
        ..direct(1)
    };
    live.add(now, found);
    assert!(live.poll_change().is_none(), "it may be another program");
    let asked = run(&mut live, &mut rng, now);
    assert_eq!(asked, [found.path]);
}
