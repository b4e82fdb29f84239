//! Lookups against networks that are known whole.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::secure_id::secure_id;

/// Nodes of which each knows up to [`K`] in each of its buckets, as real ones do.
struct World {
    nodes: Vec<Contact>,
    at: BTreeMap<SocketAddr, usize>,
    known: Vec<Vec<usize>>,
    rng: ChaCha20Rng,
}

/// An address of its own /24.
fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([11, (n >> 8) as u8, n as u8, 1], 6881))
}

impl World {
    /// `count` nodes with secure ids.
    fn new(count: usize, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let node = |n| Contact::new(secure_id(address(n).ip(), &mut rng), address(n));
        let nodes: Vec<_> = (0..count).map(node).collect();
        let mut known = Vec::new();
        for node in &nodes {
            let mut buckets = BTreeMap::<usize, Vec<usize>>::new();
            let start = rng.next_u32() as usize;
            for n in (0..count).map(|n| (start + n * 7919) % count) {
                let prefix = nodes[n].id.common_prefix(&node.id);
                let bucket = buckets.entry(prefix).or_default();
                if nodes[n].id != node.id && bucket.len() < K && !bucket.contains(&n) {
                    bucket.push(n);
                }
            }
            known.push(buckets.into_values().flatten().collect());
        }
        Self {
            at: nodes.iter().map(|node| node.address).zip(0..).collect(),
            nodes,
            known,
            rng,
        }
    }

    fn target(&mut self) -> Id {
        Id::random(&mut self.rng)
    }

    /// What node `n` answers.
    fn told_by(&self, n: usize, target: &Id) -> Vec<Contact> {
        let mut told: Vec<_> = self.known[n].iter().map(|&n| self.nodes[n]).collect();
        told.sort_by_key(|node| node.id.distance(target));
        told.truncate(K);
        told
    }

    /// The nodes of `alive` nearest to `target`.
    fn nearest(&self, target: &Id, alive: impl Fn(usize) -> bool) -> Vec<Contact> {
        let alive = (0..self.nodes.len()).filter(|n| alive(*n));
        let mut nodes: Vec<_> = alive.map(|n| self.nodes[n]).collect();
        nodes.sort_by_key(|node| node.id.distance(target));
        nodes.truncate(K);
        nodes
    }

    fn lookup(&mut self, target: Id, seeds: usize) -> Lookup {
        let mut lookup = Lookup::new(target, Reach::Network, self.nodes.len() as u64);
        for _ in 0..seeds {
            let seed = self.rng.next_u32() as usize % self.nodes.len();
            lookup.add_seed(self.nodes[seed]);
        }
        lookup
    }

    /// Runs a lookup to its end. `answer` gives what a node tells; None where it is silent.
    fn run(&self, lookup: &mut Lookup, answer: impl Fn(usize) -> Option<Vec<Contact>>) {
        let mut asked = VecDeque::new();
        loop {
            while let Some(next) = lookup.poll_query() {
                asked.push_back(next);
            }
            let Some(next) = asked.pop_front() else {
                break;
            };
            match self.at.get(&next.address).and_then(|&n| answer(n)) {
                Some(told) => {
                    let id = self.nodes[self.at[&next.address]].id;
                    lookup.on_answer(next.address, id, Some(b"token"), told.into_iter());
                }
                None => {
                    lookup.on_overdue(next.address);
                    lookup.on_given_up(next.address);
                }
            }
        }
        assert!(lookup.is_decided(), "{lookup:?}");
    }
}

fn found(lookup: &Lookup) -> Vec<Contact> {
    lookup.closest().map(|(contact, _)| contact).collect()
}

/// `id` with its first `bits` as in `target` and the next one different.
fn id_near(target: &Id, bits: usize, rng: &mut ChaCha20Rng) -> Id {
    target.random_at(bits, rng)
}

/// Lookups in which no rule but distance counts.
fn plain(target: Id) -> Lookup {
    Lookup::new(target, Reach::Network, 0)
}

/// A node at a local address, where no id is insecure and no subnet has one place only.
fn local(n: u16, id: Id) -> Contact {
    Contact::new(id, SocketAddr::from(([127, 0, 0, 1], n)))
}

#[test]
fn the_nearest_of_all_nodes_are_found_when_all_answer() {
    let mut queries = Vec::new();
    for seed in 0..20 {
        let mut world = World::new(400, seed);
        let target = world.target();
        let mut lookup = world.lookup(target, 2);
        world.run(&mut lookup, |n| Some(world.told_by(n, &target)));
        assert_eq!(found(&lookup), world.nearest(&target, |_| true), "{seed}");
        assert!(
            lookup.hops() >= 2 && lookup.hops() <= 12,
            "{}",
            lookup.hops()
        );
        queries.push(lookup.queries());
    }
    queries.sort_unstable();
    assert!(queries[10] <= 40, "{queries:?}");
}

#[test]
fn the_nearest_of_the_living_are_found_when_a_quarter_is_silent() {
    let mut right = 0;
    for seed in 0..20 {
        let mut world = World::new(400, seed);
        let target = world.target();
        let mut lookup = world.lookup(target, 4);
        let is_alive = |n: usize| !n.is_multiple_of(4);
        world.run(&mut lookup, |n| {
            is_alive(n).then(|| world.told_by(n, &target))
        });
        let nearest = world.nearest(&target, is_alive);
        let found = found(&lookup);
        right += nearest.iter().filter(|node| found.contains(node)).count();
    }
    assert!(right >= 20 * K * 98 / 100, "{right}");
}

#[test]
fn more_dead_seeds_than_places_do_not_end_a_lookup() {
    let mut world = World::new(100, 3);
    let target = world.target();
    let mut lookup = plain(target);
    for port in 1..=40 {
        lookup.add_address(SocketAddr::from(([12, 0, port, 1], port.into())));
    }
    lookup.add_seed(world.nodes[17]);
    world.run(&mut lookup, |n| Some(world.told_by(n, &target)));
    assert_eq!(found(&lookup), world.nearest(&target, |_| true));
}

#[test]
fn one_path_of_lies_does_not_hide_the_truth() {
    for seed in 0..10 {
        let mut world = World::new(300, seed);
        let target = world.target();
        let mut lookup = plain(target);
        // The liar comes first, on a path of its own, and tells of nodes nearer than any; each of
        // them answers the same.
        let mut rng = ChaCha20Rng::seed_from_u64(99);
        let lies: Vec<_> = (0..MAX_TOLD)
            .map(|n| local(n as u16 + 1, id_near(&target, 30, &mut rng)))
            .collect();
        let liar = local(999, id_near(&target, 1, &mut rng));
        lookup.add_seed(liar);
        lookup.add_seed(world.nodes[5]);
        let mut asked = VecDeque::new();
        let mut truth = 0;
        loop {
            asked.extend(std::iter::from_fn(|| lookup.poll_query()));
            let Some(next) = asked.pop_front() else {
                break;
            };
            match world.at.get(&next.address) {
                Some(&n) => {
                    let told = world.told_by(n, &target);
                    truth += 1;
                    lookup.on_answer(next.address, world.nodes[n].id, None, told.into_iter());
                }
                None => {
                    let id = next.id.unwrap();
                    lookup.on_answer(next.address, id, None, lies.iter().copied());
                }
            }
        }
        assert!(lookup.is_decided());
        let nearest = world.nearest(&target, |_| true);
        let answered = |node: &Contact| {
            let at = lookup.position(node.address);
            at.is_some_and(|at| lookup.candidates[at].state == State::Answered)
        };
        assert!(nearest.iter().all(answered), "{seed}: {truth} asked");
    }
}

#[test]
fn a_network_has_one_place_unless_too_few_are_left() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let target = Id::random(&mut rng);
    let ip = |net: u8, host: u8| SocketAddr::from(([11, 0, net, host], 6881));
    let secure = |at: SocketAddr, rng: &mut ChaCha20Rng| Contact::new(secure_id(at.ip(), rng), at);
    let crowd: Vec<_> = (1..=20).map(|host| secure(ip(1, host), &mut rng)).collect();
    let answer = |lookup: &mut Lookup, node: &Contact| {
        lookup.add_seed(*node);
        lookup.on_answer(node.address, node.id, None, std::iter::empty());
    };
    let mut lookup = plain(target);
    crowd.iter().for_each(|node| answer(&mut lookup, node));
    assert_eq!(found(&lookup).len(), K, "there is nobody else");
    for net in 2..=8 {
        let other = secure(ip(net, 1), &mut rng);
        answer(&mut lookup, &other);
    }
    let of_crowd = |node: &&Contact| node.address.to_string().starts_with("11.0.1.");
    let found = found(&lookup);
    assert_eq!(found.len(), K);
    assert_eq!(found.iter().filter(of_crowd).count(), 1, "{found:?}");
    let nearest = crowd.iter().min_by_key(|node| node.id.distance(&target));
    assert!(found.contains(nearest.unwrap()));
}

#[test]
fn ids_that_follow_from_the_address_come_before_others() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let target = Id::random(&mut rng);
    let mut lookup = plain(target);
    for n in 0..20 {
        let near = Contact::new(id_near(&target, 60, &mut rng), address(n));
        lookup.add_seed(near);
    }
    for n in 100..110 {
        let secure = Contact::new(secure_id(address(n).ip(), &mut rng), address(n));
        lookup.add_seed(secure);
    }
    let first: Vec<_> = (0..6).filter_map(|_| lookup.poll_query()).collect();
    assert!(
        first.iter().all(|asked| asked.address >= address(100)),
        "{first:?}"
    );
}

#[test]
fn unexpectedly_near_nodes_take_at_most_half_of_the_places() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let target = Id::random(&mut rng);
    // In a network of 1,024 there should be one node sharing 10 bits.
    for (size, expected) in [(1_024, K / 2), (100, K)] {
        let mut lookup = Lookup::new(target, Reach::Network, size);
        for port in 1..=20 {
            let near = local(port, id_near(&target, 20, &mut rng));
            let far = local(port + 100, id_near(&target, 5, &mut rng));
            for node in [near, far] {
                lookup.add_seed(node);
                lookup.on_answer(node.address, node.id, None, std::iter::empty());
            }
        }
        let found = found(&lookup);
        let near = found.iter().filter(|node| node.address.port() <= 20);
        assert_eq!((found.len(), near.count()), (K, expected), "{size}");
    }
}

#[test]
fn where_a_node_is_overdue_somebody_else_is_asked() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut lookup = plain(Id::random(&mut rng));
    for port in 1..=40 {
        lookup.add_seed(local(port, Id::random(&mut rng)));
    }
    let mut asked: Vec<_> = std::iter::from_fn(|| lookup.poll_query()).collect();
    assert_eq!(asked.len(), PATHS * MAX_PARALLEL);
    lookup.on_overdue(asked[0].address);
    asked.extend(lookup.poll_query());
    assert_eq!(asked.len(), PATHS * MAX_PARALLEL + 1);
    assert_eq!(lookup.poll_query(), None);
    assert!(!lookup.is_decided());
}

#[test]
fn what_is_given_up_does_not_hold_up_the_decision_and_a_late_answer_still_counts() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let target = Id::random(&mut rng);
    let mut lookup = plain(target);
    let (silent, other) = (
        local(1, id_near(&target, 9, &mut rng)),
        local(2, id_near(&target, 3, &mut rng)),
    );
    lookup.add_seed(silent);
    lookup.add_seed(other);
    while lookup.poll_query().is_some() {}
    lookup.on_answer(other.address, other.id, Some(b"t"), std::iter::empty());
    lookup.on_overdue(silent.address);
    assert!(!lookup.is_decided(), "it may still come");
    lookup.on_given_up(silent.address);
    assert!(lookup.is_decided());
    assert_eq!(found(&lookup), [other]);
    lookup.on_answer(silent.address, silent.id, Some(b"u"), std::iter::empty());
    assert_eq!(found(&lookup), [silent, other]);
    let tokens: Vec<_> = lookup.closest().map(|(_, token)| token.unwrap()).collect();
    assert_eq!(tokens, [b"u", b"t"]);
}

#[test]
fn one_node_asked_alone_is_waited_for_until_its_query_expires() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut lookup = Lookup::new(Id::random(&mut rng), Reach::Given, 1_000);
    let at = local(1, Id::default()).address;
    lookup.add_address(at);
    assert_eq!(
        lookup.poll_query(),
        Some(Asked {
            address: at,
            id: None
        })
    );
    lookup.on_overdue(at);
    lookup.on_given_up(at);
    assert!(!lookup.is_decided());
    assert_eq!(lookup.poll_query(), None);
    let told = (2..9).map(|port| local(port, Id::random(&mut rng)));
    let mut answered = lookup;
    answered.on_answer(
        at,
        Id::random(&mut ChaCha20Rng::seed_from_u64(2)),
        None,
        told,
    );
    assert!(answered.is_decided());
    assert_eq!(answered.poll_query(), None, "nobody else is asked");
    answered.on_failure(at);
    assert!(answered.is_decided());
}

#[test]
fn the_candidates_of_a_path_are_bounded_and_do_not_push_out_those_of_the_other() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let target = Id::random(&mut rng);
    let mut lookup = plain(target);
    let (liar, honest) = (
        local(1, id_near(&target, 1, &mut rng)),
        local(2, id_near(&target, 0, &mut rng)),
    );
    lookup.add_seed(liar);
    lookup.add_seed(honest);
    while lookup.poll_query().is_some() {}
    let friend = local(3, id_near(&target, 0, &mut rng));
    lookup.on_answer(honest.address, honest.id, None, std::iter::once(friend));
    let mut port = 100;
    let mut next = Some(liar);
    while let Some(node) = next {
        let lies: Vec<_> = (0..20)
            .map(|n| local(port + n, id_near(&target, 40, &mut rng)))
            .collect();
        port += 20;
        lookup.on_answer(node.address, node.id, None, lies.into_iter());
        assert!(lookup.candidates.len() <= PATHS * MAX_CANDIDATES);
        let asked = std::iter::from_fn(|| lookup.poll_query());
        let asked: Vec<_> = asked
            .filter(|asked| asked.address != friend.address)
            .collect();
        next = asked
            .first()
            .map(|asked| Contact::new(asked.id.unwrap(), asked.address));
    }
    assert!(lookup.position(friend.address).is_some());
}

#[test]
fn an_endless_chain_of_nearer_nodes_ends_with_a_decision() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let target = Id::random(&mut rng);
    let mut lookup = plain(target);
    lookup.add_seed(local(1, id_near(&target, 0, &mut rng)));
    let (mut bits, mut asked_in_all) = (1, 0);
    let mut asked = VecDeque::new();
    loop {
        asked.extend(std::iter::from_fn(|| lookup.poll_query()));
        let Some(next) = asked.pop_front() else {
            break;
        };
        asked_in_all += 1;
        bits = (bits + 1).min(159);
        let nearer = |n: u16| local(asked_in_all * 8 + n + 1, id_near(&target, bits, &mut rng));
        let nearer: Vec<_> = (0..8).map(nearer).collect();
        lookup.on_answer(next.address, next.id.unwrap(), None, nearer.into_iter());
    }
    assert_eq!(asked_in_all, MAX_QUERIES);
    assert!(lookup.is_decided());
    assert_eq!(found(&lookup).len(), K);
}

#[test]
fn an_outsider_leads_to_a_network_that_the_own_table_does_not_know() {
    let mut world = World::new(400, 11);
    let island: Vec<Contact> = (0..20).map(|n| world.nodes[n]).collect();
    for n in 0..400 {
        let within = |other: &usize| (*other < 20) == (n < 20);
        world.known[n].retain(within);
    }
    let target = world.target();
    let answer = |n: usize| Some(world.told_by(n, &target));
    let mut alone = plain(target);
    let mut reunited = plain(target);
    for contact in &island {
        alone.add_seed(*contact);
        reunited.add_seed(*contact);
    }
    reunited.add_outsider(world.nodes[399].address, None);
    world.run(&mut alone, answer);
    world.run(&mut reunited, answer);
    assert!(found(&alone).iter().all(|found| island.contains(found)));
    assert_eq!(found(&reunited), world.nearest(&target, |_| true));
}
