//! Plans of two sides, and what carrying them out costs.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::time::{Instant, SystemTime};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::behavior::Mapping;
use crate::candidate::Candidate;
use crate::offer::{SessionId, Wish};
use crate::session::Session;

fn profile(mapping: Mapping, filtering: Filtering, ports: &[u16]) -> NatProfile {
    NatProfile {
        mapping: Some(mapping),
        filtering: Some(filtering),
        allocation: Allocation::of(ports),
        samples: ports.to_vec(),
    }
}

fn independent(filtering: Filtering) -> NatProfile {
    profile(Mapping::EndpointIndependent, filtering, &[])
}

fn dependent(ports: &[u16]) -> NatProfile {
    let filtering = Filtering::AddressAndPortDependent;
    profile(Mapping::AddressAndPortDependent, filtering, ports)
}

const RANDOM: [u16; 4] = [60_000, 2_000, 33_000, 9_000];
const SEQUENCE: [u16; 4] = [5_000, 5_001, 5_002, 5_003];
const BLOCK: [u16; 8] = [
    40_010, 40_002, 40_050, 40_033, 40_060, 40_021, 40_044, 40_007,
];

fn offer(host: u8, nat: NatProfile) -> Offer {
    let now = Instant::now();
    let session = Session::new(now, Role::Controlling, SessionId([1; 8]), [host; 32]);
    let mut offer = session.offer(SystemTime::UNIX_EPOCH, Wish::Connect);
    let address = SocketAddr::from(([11, 0, 0, host], 4_000));
    offer.candidates = vec![Candidate::new(CandidateKind::ServerReflexive, address)];
    offer.nat = nat;
    offer
}

/// What both sides do.
fn plans(a: NatProfile, b: NatProfile) -> (Plan, Plan) {
    let (a, b) = (offer(1, a), offer(2, b));
    (
        Plan::new(Role::Controlling, &a, &b),
        Plan::new(Role::Controlled, &b, &a),
    )
}

#[test]
fn plans_of_both_sides_fit_together() {
    let restricted = independent(Filtering::AddressAndPortDependent);
    let both = |plan: Plan| (plan.clone(), plan);
    assert_eq!(
        plans(restricted.clone(), restricted.clone()),
        both(Plan::Checks)
    );
    let unknown = NatProfile::default();
    assert_eq!(plans(unknown, restricted.clone()), both(Plan::Checks));
    for filtering in [Filtering::EndpointIndependent, Filtering::AddressDependent] {
        let plans = plans(dependent(&RANDOM), independent(filtering));
        assert_eq!(plans, both(Plan::Checks), "the port is learnt");
    }
    let (opens, aims) = plans(dependent(&RANDOM), restricted.clone());
    let Plan::OpenPorts { sockets, .. } = opens else {
        panic!("{opens:?}")
    };
    assert_eq!(sockets, OPEN_SOCKETS);
    let Plan::AimAtPorts { ports, delay, .. } = aims else {
        panic!("{aims:?}")
    };
    assert_eq!((ports.size(), delay), (64_512, Duration::ZERO));
    for ports in [&SEQUENCE[..], &BLOCK[..]] {
        let (opens, aims) = plans(dependent(ports), restricted.clone());
        assert!(matches!(
            opens,
            Plan::OpenPorts {
                sockets: 32..=64,
                ..
            }
        ));
        assert!(matches!(aims, Plan::AimAtPorts { .. }));
        assert_eq!(
            plans(dependent(ports), dependent(&RANDOM)),
            both(Plan::RelayOnly)
        );
    }
    let (first, second) = plans(dependent(&SEQUENCE), dependent(&BLOCK));
    let Plan::Predict {
        sockets, targets, ..
    } = first
    else {
        panic!("{first:?}")
    };
    assert_eq!(
        (sockets, targets.len()),
        (ROUND_SOCKETS, ports::ROUNDS.len())
    );
    assert!(targets.iter().all(|target| BLOCK.contains(&target.port())));
    let Plan::Predict { targets, .. } = second else {
        panic!("{second:?}")
    };
    assert_eq!(targets[0].port(), 5_003 + 40);
}

#[test]
fn many_ports_wait_where_ipv6_or_a_mapped_port_may_do() {
    let restricted = independent(Filtering::AddressAndPortDependent);
    let (mut a, mut b) = (offer(1, dependent(&RANDOM)), offer(2, restricted));
    let delay = |a: &Offer, b: &Offer| match Plan::new(Role::Controlling, a, b) {
        Plan::OpenPorts { delay, .. } => delay,
        plan => panic!("{plan:?}"),
    };
    assert_eq!(delay(&a, &b), Duration::ZERO);
    let v6 = Candidate::new(CandidateKind::Host, "[2a00::1]:1".parse().unwrap());
    a.candidates.push(v6);
    assert_eq!(delay(&a, &b), Duration::ZERO);
    b.candidates.push(v6);
    assert_eq!(delay(&a, &b), HEAD_START);
    b.candidates.pop();
    let mapped = Candidate::new(CandidateKind::Mapped, "11.0.0.2:5".parse().unwrap());
    b.candidates.push(mapped);
    assert_eq!(delay(&a, &b), HEAD_START);
}

#[test]
fn without_a_public_address_there_is_nothing_to_punch() {
    let (mut a, b) = (offer(1, dependent(&RANDOM)), offer(2, dependent(&RANDOM)));
    a.candidates.clear();
    assert_eq!(Plan::new(Role::Controlling, &a, &b), Plan::Checks);
}

/// All aims of a plan whose sockets are there at once.
fn aims(punch: &mut Punch, start: Instant) -> Vec<(Duration, SocketId, SocketAddr)> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut all = Vec::new();
    let (mut now, mut opened) = (start, 0);
    while !punch.is_over(now) {
        punch.handle_timeout(now);
        while let Some(Need::Sockets(count)) = punch.poll_need() {
            let sockets: Vec<SocketId> = (1..=count).map(|n| SocketId(opened + n)).collect();
            punch.on_sockets(&sockets);
            opened += count;
        }
        while let Some((socket, to)) = punch.poll_aim(now, &mut rng) {
            all.push((now - start, socket, to));
        }
        now = punch.poll_timeout().unwrap();
    }
    all
}

fn at_most(plan: Plan, most: u16) -> Vec<(Duration, SocketId, SocketAddr)> {
    let start = Instant::now();
    let aims = aims(&mut Punch::new(start, plan), start);
    let entries: std::collections::BTreeSet<_> =
        aims.iter().map(|(_, socket, to)| (*socket, *to)).collect();
    assert!(entries.len() <= usize::from(most), "{}", entries.len());
    let paced = |two: &[(Duration, SocketId, SocketAddr)]| two[1].0 - two[0].0 >= PUNCH_INTERVAL;
    assert!(aims.windows(2).all(paced));
    aims
}

#[test]
fn every_plan_keeps_the_bound_of_entries_and_its_pace() {
    let restricted = || independent(Filtering::AddressAndPortDependent);
    let (opens, aims) = plans(dependent(&RANDOM), restricted());
    let both = OPEN_SOCKETS + FURTHER_SOCKETS;
    assert!(both <= MAX_ATTEMPTS);
    assert_eq!(at_most(opens, both).len(), usize::from(both));
    let tries = at_most(aims, MAX_ATTEMPTS);
    assert_eq!(tries.len(), usize::from(MAX_ATTEMPTS));
    assert!(tries.last().unwrap().0 < Duration::from_millis(2_500));
    // The largest block in which a port is predicted, on both sides.
    let wide = NatProfile {
        allocation: Some(Allocation::Block {
            low: 40_000,
            high: 40_511,
        }),
        ..dependent(&BLOCK)
    };
    let (first, second) = plans(wide.clone(), wide);
    assert!(matches!(&first, Plan::Predict { targets, .. } if targets.len() == 1));
    for plan in [first, second] {
        assert_eq!(at_most(plan, MAX_ATTEMPTS).len(), 2 * (512 + 64));
    }
    for (a, b) in [(&SEQUENCE[..], &SEQUENCE[..]), (&SEQUENCE, &BLOCK)] {
        let (first, second) = plans(dependent(a), dependent(b));
        at_most(first, MAX_ATTEMPTS);
        at_most(second, MAX_ATTEMPTS);
    }
}

#[test]
fn success_gives_back_all_sockets_but_the_one_in_use() {
    let start = Instant::now();
    let (opens, _) = plans(
        dependent(&RANDOM),
        independent(Filtering::AddressAndPortDependent),
    );
    let mut punch = Punch::new(start, opens);
    assert_eq!(punch.poll_need(), Some(Need::Sockets(OPEN_SOCKETS)));
    punch.on_sockets(&[SocketId(5), SocketId(6), SocketId(7)]);
    punch.stop(Some(SocketId(6)));
    let needs: Vec<Need> = std::iter::from_fn(|| punch.poll_need()).collect();
    assert_eq!(needs, [5, 7].map(|n| Need::Release(SocketId(n))));
    // Those that come too late go back too.
    punch.on_sockets(&[SocketId(8)]);
    assert_eq!(punch.poll_need(), Some(Need::Release(SocketId(8))));
    assert_eq!(punch.poll_timeout(), None);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    assert_eq!(punch.poll_aim(start, &mut rng), None);
}

#[test]
fn more_sockets_are_opened_once_where_nothing_was_hit_and_the_ports_are_random() {
    let restricted = || independent(Filtering::AddressAndPortDependent);
    let further = |ports: &[u16], exhausted: bool| {
        let start = Instant::now();
        let (opens, _) = plans(dependent(ports), restricted());
        let mut punch = Punch::new(start, opens);
        assert!(matches!(punch.poll_need(), Some(Need::Sockets(_))));
        if exhausted {
            punch.exhaust();
        }
        punch.handle_timeout(start + FURTHER_AFTER - Duration::from_nanos(1));
        assert_eq!(punch.poll_need(), None);
        punch.handle_timeout(start + FURTHER_AFTER);
        let asked = punch.poll_need();
        punch.handle_timeout(start + 2 * FURTHER_AFTER);
        assert_eq!(punch.poll_need(), None, "once");
        asked
    };
    let all = Some(Need::Sockets(FURTHER_SOCKETS));
    assert_eq!(further(&RANDOM, false), all);
    assert_eq!(further(&RANDOM, true), None, "there are no entries left");
    assert_eq!(further(&BLOCK, false), None);
    assert_eq!(further(&SEQUENCE, false), None);
}

/// In how many of these tries none of the sockets got one of the ports that are aimed at. Each set of
/// sockets has to miss them.
fn misses(seeds: std::ops::Range<u64>, sets: &[u16]) -> usize {
    let is_miss = |seed: &u64| {
        let mut rng = ChaCha20Rng::seed_from_u64(*seed);
        let mut port = || 1_024 + (rand_core::Rng::next_u32(&mut rng) % 64_512) as usize;
        let mut aimed = vec![false; 65_536];
        for _ in 0..MAX_ATTEMPTS {
            let mut aim = port();
            while std::mem::replace(&mut aimed[aim], true) {
                aim = port();
            }
        }
        let sockets: u16 = sets.iter().sum();
        (0..sockets).all(|_| !aimed[port()])
    };
    seeds.filter(is_miss).count()
}

#[test]
fn the_second_set_of_sockets_turns_one_failure_in_300_into_one_in_10_000() {
    let seeds = 0..4_000;
    let first = misses(seeds.clone(), &[OPEN_SOCKETS]);
    let both = misses(seeds, &[OPEN_SOCKETS, FURTHER_SOCKETS]);
    assert!((4..=30).contains(&first), "13 are expected: {first}");
    assert!(both <= 2, "0.3 are expected: {both}");
}

#[test]
fn the_smaller_id_controls() {
    let ids = [1, 2].map(|seed| dhtnet_identity::DeviceKey::from_seed(&[seed; 32]).id());
    let roles = (Role::of(&ids[0], &ids[1]), Role::of(&ids[1], &ids[0]));
    assert_ne!(roles.0, roles.1);
    let smaller = ids.iter().min_by_key(|id| id.as_bytes()).unwrap();
    assert_eq!(roles.0 == Role::Controlling, smaller == &ids[0]);
}

#[test]
fn sockets_are_asked_for_when_the_delay_is_over_and_not_when_it_was_needless() {
    let start = Instant::now();
    let plan = |delay| Plan::OpenPorts {
        sockets: 7,
        target: SocketAddr::from(([11, 0, 0, 2], 4_000)),
        delay,
    };
    let mut punch = Punch::new(start, plan(HEAD_START));
    assert_eq!(punch.poll_need(), None);
    let due = start + HEAD_START;
    assert_eq!(punch.poll_timeout(), Some(due));
    punch.handle_timeout(due);
    assert_eq!(punch.poll_need(), Some(Need::Sockets(7)));
    let mut stopped = Punch::new(start, plan(HEAD_START));
    stopped.stop(None);
    stopped.handle_timeout(due);
    assert_eq!(stopped.poll_need(), None);
}
