//! Bounds, expiry, families, chance, and a model.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

mod model;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::clock::SWEEP_EVERY;
use super::super::swarm::{MAX_PEERS_PER_HASH, MAX_PORTS_PER_SOURCE};
use super::*;
use crate::krpc::ErrorCode;

const LIFETIME: Duration = Duration::from_secs(PEER_LIFETIME as u64);
const SECOND: Duration = Duration::from_secs(1);

fn hash(number: u32) -> Id {
    Id::hash_of(&number.to_be_bytes())
}

/// An IPv4 host that nobody else has.
fn v4(host: u32, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0xc600_0000 + host), port))
}

/// An IPv6 host in a network that nobody else has.
fn v6(host: u16, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, host, 0, 0, 0, 1), port))
}

fn own() -> Id {
    Id::from_bytes([0; 20])
}

fn announce(
    store: &mut PeerStore,
    now: Instant,
    info_hash: u32,
    peer: SocketAddr,
) -> Result<(), StoreError> {
    store.announce(now, (&own(), hash(info_hash)), peer, peer.ip())
}

/// All peers of one family, in order.
fn all(store: &PeerStore, now: Instant, info_hash: u32, family: Family) -> Vec<SocketAddr> {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut peers = Vec::new();
    store.peers(
        now,
        &hash(info_hash),
        family,
        usize::MAX,
        &mut rng,
        |peer| peers.push(peer),
    );
    peers.sort();
    peers
}

/// What is counted beside the peers agrees with them.
fn check_accounts(store: &PeerStore) {
    let peers = store
        .hashes
        .iter()
        .map(|hash| hash.v4.len() + hash.v6.len());
    assert_eq!(store.peer_count(), peers.sum());
    let addresses = store.hashes.iter().flat_map(|hash| {
        let v4 = (0..hash.v4.len()).filter_map(|at| hash.v4.live(at, &store.clock, 0));
        v4.chain((0..hash.v6.len()).filter_map(|at| hash.v6.live(at, &store.clock, 0)))
    });
    let charged = addresses.filter(|address| Source::of(address.ip()).is_some());
    assert_eq!(store.charges.total(), charged.count());
    assert_eq!(store.places.len(), store.hashes.len());
    for (id, &at) in &store.places {
        assert_eq!(store.hashes[at as usize].id, *id);
    }
    assert!(store.count() <= MAX_INFO_HASHES && store.peer_count() <= MAX_PEERS);
}

#[test]
fn an_empty_store_allocates_nothing_and_waits_for_nothing() {
    let store = PeerStore::new();
    assert_eq!(
        (store.count(), store.peer_count(), store.next_expiry()),
        (0, 0, None)
    );
    assert_eq!(store.hashes.capacity(), 0);
    assert!(size_of::<PeerStore>() <= 128, "{}", size_of::<PeerStore>());
    assert!(all(&store, Instant::now(), 1, Family::V4).is_empty());
    let mut samples = Vec::new();
    store.samples(
        Instant::now(),
        &mut ChaCha20Rng::seed_from_u64(1),
        20,
        &mut samples,
    );
    assert!(samples.is_empty());
}

#[test]
fn addresses_of_one_family_never_come_with_the_other() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    let mapped: SocketAddr = "[::ffff:198.51.100.7]:1".parse().unwrap();
    announce(&mut store, now, 1, v4(1, 10)).unwrap();
    announce(&mut store, now, 1, v6(1, 11)).unwrap();
    announce(&mut store, now, 1, mapped).unwrap();
    let mut expected = vec![v4(1, 10), canonical(mapped)];
    expected.sort();
    assert_eq!(all(&store, now, 1, Family::V4), expected);
    assert_eq!(all(&store, now, 1, Family::V6), [v6(1, 11)]);
    assert_eq!((store.count(), store.peer_count()), (1, 3));
    check_accounts(&store);
}

#[test]
fn a_node_announces_its_own_address_only_and_never_port_zero() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    let foreign = store
        .announce(now, (&own(), hash(1)), v4(1, 10), v4(2, 10).ip())
        .unwrap_err();
    assert_eq!(
        (foreign, foreign.code()),
        (StoreError::BadAddress, ErrorCode::Protocol)
    );
    assert_eq!(
        announce(&mut store, now, 1, v4(1, 0)),
        Err(StoreError::BadAddress)
    );
    assert_eq!(store.count(), 0);
}

#[test]
fn a_peer_expires_45_minutes_after_its_last_announcement() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    announce(&mut store, now, 1, v4(1, 10)).unwrap();
    announce(&mut store, now, 1, v4(2, 10)).unwrap();
    announce(&mut store, now, 2, v6(3, 10)).unwrap();
    let again = now + Duration::from_secs(30 * 60);
    announce(&mut store, again, 1, v4(1, 10)).unwrap();
    assert_eq!(store.peer_count(), 3, "it is the same peer");
    assert_eq!(all(&store, now + LIFETIME - SECOND, 1, Family::V4).len(), 2);
    assert_eq!(all(&store, now + LIFETIME, 1, Family::V4), [v4(1, 10)]);
    assert!(all(&store, now + LIFETIME, 2, Family::V6).is_empty());
    assert_eq!(store.next_expiry(), Some(now + LIFETIME));
    store.expire(now + LIFETIME);
    assert_eq!((store.count(), store.peer_count()), (1, 1));
    check_accounts(&store);
    assert_eq!(store.next_expiry(), Some(again + LIFETIME));
    store.expire(again + LIFETIME);
    assert_eq!(
        (store.count(), store.peer_count(), store.next_expiry()),
        (0, 0, None)
    );
    check_accounts(&store);
}

#[test]
fn the_whole_store_is_looked_through_once_a_minute_at_most() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    for second in 0..30 {
        let then = now + SECOND * second;
        announce(&mut store, then, second, v4(second, 10)).unwrap();
    }
    store.expire(now + LIFETIME);
    let pause = Duration::from_secs(SWEEP_EVERY.into());
    assert_eq!(store.next_expiry(), Some(now + LIFETIME + pause));
    store.expire(now + LIFETIME + pause);
    assert_eq!(store.count(), 0);
}

#[test]
fn expired_info_hashes_are_no_samples() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    announce(&mut store, now, 1, v4(1, 10)).unwrap();
    announce(&mut store, now + SECOND, 2, v4(1, 10)).unwrap();
    let mut samples = Vec::new();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    store.samples(now + LIFETIME, &mut rng, 20, &mut samples);
    assert_eq!(samples, hash(2).as_bytes());
}

#[test]
fn samples_are_distinct_and_every_info_hash_comes_up() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    for number in 0..100 {
        announce(&mut store, now, number, v4(number, 10)).unwrap();
    }
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let mut samples = vec![0xff];
        store.samples(now, &mut rng, 20, &mut samples);
        assert_eq!(samples.len(), 1 + 20 * 20, "appended");
        let ids: std::collections::BTreeSet<_> = samples[1..]
            .chunks(20)
            .map(|id| Id::from_slice(id).unwrap())
            .collect();
        assert_eq!(ids.len(), 20);
        seen.extend(ids);
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn where_there_are_more_peers_than_asked_for_chance_decides() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    for host in 0..200 {
        announce(&mut store, now, 1, v4(host, 10)).unwrap();
    }
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut draw = || {
        let mut peers = Vec::new();
        store.peers(now, &hash(1), Family::V4, 50, &mut rng, |peer| {
            peers.push(peer);
        });
        peers.sort();
        peers.dedup();
        assert_eq!(peers.len(), 50);
        peers
    };
    let mut seen = draw();
    assert_ne!(seen, draw());
    for _ in 0..40 {
        seen.extend(draw());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 200, "nobody is left out");
}

#[test]
fn a_full_list_of_peers_drops_the_longest_unheard_for_a_new_one() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    for host in 0..MAX_PEERS_PER_HASH as u32 {
        announce(&mut store, now + SECOND * host, 1, v4(host, 10)).unwrap();
    }
    let now = now + SECOND * 600;
    announce(&mut store, now, 1, v4(0, 10)).unwrap();
    assert_eq!(all(&store, now, 1, Family::V4).len(), MAX_PEERS_PER_HASH);
    announce(&mut store, now, 1, v4(9_999, 10)).unwrap();
    let peers = all(&store, now, 1, Family::V4);
    assert_eq!(peers.len(), MAX_PEERS_PER_HASH);
    assert!(peers.contains(&v4(9_999, 10)) && peers.contains(&v4(0, 10)));
    assert!(!peers.contains(&v4(1, 10)), "the oldest left");
    announce(&mut store, now, 1, v6(1, 10)).unwrap();
    assert_eq!(
        store.peer_count(),
        MAX_PEERS_PER_HASH + 1,
        "the other family has its own list"
    );
    check_accounts(&store);
}

#[test]
fn one_host_holds_a_few_places_of_a_list_and_replaces_its_own() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    announce(&mut store, now, 1, v4(2, 10)).unwrap();
    announce(&mut store, now, 1, v6(2, 10)).unwrap();
    let last = 100 + MAX_PORTS_PER_SOURCE as u16;
    for port in 100..=last {
        let later = now + SECOND * u32::from(port);
        announce(&mut store, later, 1, v4(1, port)).unwrap();
        let SocketAddr::V6(mut host) = v6(1, port) else {
            unreachable!()
        };
        let mut octets = host.ip().octets();
        octets[15] = port as u8;
        host.set_ip(octets.into());
        announce(&mut store, later, 1, host.into()).unwrap();
    }
    let now = now + SECOND * 300;
    for family in Family::ALL {
        let peers = all(&store, now, 1, family);
        assert_eq!(peers.len(), 1 + MAX_PORTS_PER_SOURCE, "{family}");
        let mut ports = peers.iter().map(SocketAddr::port);
        assert!(!ports.any(|port| port == 100), "the first left");
    }
    assert!(all(&store, now, 1, Family::V4).contains(&v4(2, 10)));
    check_accounts(&store);
}

#[test]
fn one_address_announces_up_to_its_quota_and_not_one_more() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    let quota = MAX_PEERS_PER_SOURCE as u32;
    for number in 0..quota {
        announce(&mut store, now, number, v4(1, 10)).unwrap();
    }
    let over = announce(&mut store, now, quota, v4(1, 10)).unwrap_err();
    assert_eq!(
        (over, over.code()),
        (StoreError::Quota, ErrorCode::QuotaExceeded)
    );
    assert!(
        all(&store, now, quota, Family::V4).is_empty(),
        "refused is not stored"
    );
    assert_eq!(
        store.count(),
        MAX_PEERS_PER_SOURCE,
        "and leaves no empty info hash"
    );
    announce(&mut store, now, 5, v4(1, 10)).unwrap();
    announce(&mut store, now, quota, v4(2, 10)).unwrap();
    check_accounts(&store);
    announce(&mut store, now + LIFETIME, quota, v4(1, 10)).unwrap();
    check_accounts(&store);
}

#[test]
fn info_hashes_are_taken_up_to_the_bound_and_not_one_past_it() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    let bound = MAX_INFO_HASHES as u32;
    for number in 0..bound {
        announce(&mut store, now, number, v4(number, 10)).unwrap();
    }
    // The farthest makes room for what is nearer, and for nothing else.
    let by_distance = |number: &u32| hash(*number).distance(&own());
    let far = (0..bound).max_by_key(by_distance).unwrap();
    let further = (bound..).find(|number| by_distance(number) > by_distance(&far));
    let nearer = (bound..).find(|number| by_distance(number) < by_distance(&far));
    let full = announce(&mut store, now, further.unwrap(), v4(bound, 10)).unwrap_err();
    assert_eq!((full, full.code()), (StoreError::TooFar, ErrorCode::Server));
    assert_eq!(all(&store, now, far, Family::V4), [v4(far, 10)]);
    announce(&mut store, now, nearer.unwrap(), v4(bound, 10)).unwrap();
    assert!(all(&store, now, far, Family::V4).is_empty());
    assert_eq!(
        (store.count(), store.peer_count()),
        (MAX_INFO_HASHES, MAX_INFO_HASHES)
    );
    let known = (0..bound).find(|number| *number != far).unwrap();
    announce(&mut store, now, known, v4(bound, 10)).unwrap();
    check_accounts(&store);
    announce(&mut store, now + LIFETIME, bound, v4(bound, 10)).unwrap();
    assert_eq!(
        store.count(),
        1,
        "there is room as soon as something has expired"
    );
    check_accounts(&store);
}

#[test]
fn peers_are_taken_up_to_the_bound_and_not_one_past_it() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    let lists = (MAX_PEERS / MAX_PEERS_PER_HASH) as u32;
    for list in 0..lists {
        for place in 0..MAX_PEERS_PER_HASH as u32 {
            let host = list / 100 * 1_000 + place;
            announce(&mut store, now, list, v4(host, 10)).unwrap();
        }
    }
    assert_eq!(store.peer_count(), MAX_PEERS);
    assert_eq!(
        announce(&mut store, now, lists, v4(70_000, 10)),
        Err(StoreError::Full)
    );
    assert_eq!(
        store.count(),
        lists as usize,
        "a refused peer leaves no empty info hash"
    );
    announce(&mut store, now, 0, v4(70_000, 10)).unwrap();
    assert_eq!(
        store.peer_count(),
        MAX_PEERS,
        "it took the place of another"
    );
    check_accounts(&store);
}

#[test]
fn local_addresses_are_held_back_by_the_whole_store_alone() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    for port in 1..=MAX_PEERS_PER_HASH as u16 + 1 {
        announce(&mut store, now, 1, SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    }
    assert_eq!(all(&store, now, 1, Family::V4).len(), MAX_PEERS_PER_HASH);
    check_accounts(&store);
}

#[test]
fn memory_goes_back_when_a_crowd_has_left() {
    let (mut store, now) = (PeerStore::new(), Instant::now());
    for number in 0..1_000 {
        announce(&mut store, now, number, v4(number, 10)).unwrap();
    }
    for host in 0..300 {
        announce(&mut store, now, 0, v4(host, 10)).unwrap();
    }
    let later = now + LIFETIME;
    announce(&mut store, later - SECOND, 0, v4(1, 10)).unwrap();
    store.expire(later);
    assert_eq!(store.peer_count(), 1);
    assert!(store.hashes.capacity() <= 8 && store.hashes[0].v4.capacity() <= 8);
    check_accounts(&store);
}
