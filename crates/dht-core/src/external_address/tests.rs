//! Voters, honest and not.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use super::*;

fn voter(n: u8) -> SocketAddr {
    SocketAddr::from(([20, 0, n, 1], 6881))
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Votes of the voters with these numbers.
fn vote(
    external: &mut ExternalAddress,
    now: Instant,
    voters: std::ops::Range<u8>,
    seen: &str,
) -> Option<SocketAddr> {
    voters
        .filter_map(|n| external.on_vote(now, voter(n), at(seen)))
        .last()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn four_that_agree_are_believed_and_three_are_not() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    assert_eq!(vote(&mut external, now, 0..3, "203.0.113.5:4000"), None);
    assert_eq!(external.believed(), None);
    let seen = at("203.0.113.5:4000");
    assert_eq!(external.on_vote(now, voter(3), seen), Some(seen));
    assert_eq!(external.believed(), Some(seen));
    assert_eq!(
        external.on_vote(now, voter(4), seen),
        None,
        "only a change is told"
    );
}

/// The fault: a table rebuilt because one liar reported another external address.
#[test]
fn one_liar_changes_nothing_however_often_it_votes() {
    let start = Instant::now();
    let mut external = ExternalAddress::new();
    vote(&mut external, start, 0..4, "203.0.113.5:4000");
    for n in 0..10_000_u64 {
        let now = start + seconds(n);
        // From all addresses of its subnet.
        let liar = SocketAddr::from(([66, 6, 6, n as u8], 1000 + (n % 1000) as u16));
        assert_eq!(external.on_vote(now, liar, at("198.51.100.9:9")), None);
    }
    assert_eq!(external.believed(), Some(at("203.0.113.5:4000")));
}

#[test]
fn a_minority_of_liars_changes_nothing() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    vote(&mut external, now, 0..6, "203.0.113.5:4000");
    assert_eq!(vote(&mut external, now, 100..105, "198.51.100.9:9"), None);
    assert_eq!(external.believed(), Some(at("203.0.113.5:4000")));
}

#[test]
fn a_new_address_is_believed_once_most_of_the_last_voters_see_it() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    vote(&mut external, now, 0..16, "203.0.113.5:4000");
    assert_eq!(vote(&mut external, now, 0..10, "203.0.113.77:4000"), None);
    let changed = vote(&mut external, now, 10..16, "203.0.113.77:4000");
    assert_eq!(changed, Some(at("203.0.113.77:4000")));
}

#[test]
fn in_a_network_of_two_the_only_voter_is_believed_after_a_while() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    let seen = at("203.0.113.5:4000");
    assert_eq!(external.on_vote(now, voter(1), seen), None);
    assert_eq!(external.on_vote(now + seconds(59), voter(1), seen), None);
    assert_eq!(
        external.on_vote(now + seconds(60), voter(1), seen),
        Some(seen)
    );
    // But alone it cannot change its mind for us.
    for later in [61, 200, 1000] {
        let lie = at("198.51.100.9:9");
        assert_eq!(external.on_vote(now + seconds(later), voter(1), lie), None);
    }
}

#[test]
fn in_a_network_of_three_the_two_others_can_report_a_change() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    vote(&mut external, now, 1..3, "203.0.113.5:4000");
    let first = vote(&mut external, now + seconds(60), 1..3, "203.0.113.5:4000");
    assert_eq!(first, Some(at("203.0.113.5:4000")));
    assert_eq!(
        vote(&mut external, now + seconds(100), 1..3, "203.0.113.7:4000"),
        None
    );
    let second = vote(&mut external, now + seconds(160), 1..3, "203.0.113.7:4000");
    assert_eq!(second, Some(at("203.0.113.7:4000")));
}

#[test]
fn few_voters_that_disagree_are_not_believed() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    for later in [0, 100, 200] {
        vote(
            &mut external,
            now + seconds(later),
            1..3,
            "203.0.113.5:4000",
        );
        vote(&mut external, now + seconds(later), 3..4, "198.51.100.9:9");
    }
    assert_eq!(external.believed(), None);
}

#[test]
fn neighbours_in_a_local_network_vote_one_by_one() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    let seen = at("192.168.1.2:4000");
    let votes: Vec<_> = (10..14)
        .filter_map(|n| external.on_vote(now, SocketAddr::from(([192, 168, 1, n], 1)), seen))
        .collect();
    assert_eq!(votes, [seen]);
}

#[test]
fn the_port_that_most_see_is_believed() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    vote(&mut external, now, 0..1, "203.0.113.5:1111");
    vote(&mut external, now, 1..5, "203.0.113.5:4000");
    assert_eq!(external.believed(), Some(at("203.0.113.5:4000")));
    assert_eq!(external.mapping(), Mapping::EndpointIndependent);
}

#[test]
fn different_ports_for_different_voters_show_an_endpoint_dependent_mapping() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    assert_eq!(external.mapping(), Mapping::Unknown);
    for n in 0..6 {
        let seen = SocketAddr::from(([203, 0, 113, 5], 4000 + u16::from(n)));
        external.on_vote(now, voter(n), seen);
    }
    assert_eq!(external.mapping(), Mapping::EndpointDependent);
}

#[test]
fn impossible_reports_are_no_votes() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    for seen in [
        "0.0.0.0:1",
        "1.2.3.4:0",
        "224.0.0.1:1",
        "127.0.0.1:1",
        "10.0.0.1:1",
        "[2001:db8::1]:1",
    ] {
        vote(&mut external, now, 0..8, seen);
    }
    assert!(external.votes.is_empty());
    assert_eq!(external.believed(), None);
}

#[test]
fn votes_are_bounded_and_grow_old() {
    let now = Instant::now();
    let mut external = ExternalAddress::new();
    vote(&mut external, now, 0..16, "203.0.113.5:4000");
    assert_eq!(external.votes.len(), MAX_VOTES);
    vote(&mut external, now, 16..17, "203.0.113.5:4000");
    assert_eq!(external.votes.len(), MAX_VOTES);
    vote(
        &mut external,
        now + VOTE_LIFETIME,
        20..21,
        "203.0.113.5:4000",
    );
    assert_eq!(external.votes.len(), 1);
}
