//! The rules of the table, one by one.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::net::Ipv4Addr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::krpc::Nodes as CompactNodes;
use crate::secure_id::{is_secure, secure_id};

mod bursts;
mod properties;
mod subnets;
mod upkeep;

const MINUTE: Duration = Duration::from_secs(60);

const ANSWERED: Seen = Seen::Answered {
    round_trip: Duration::from_millis(50),
};

const PLAIN: Traits = Traits { extension: false };

const EXTENDED: Traits = Traits { extension: true };

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// A public address in a subnet of its own for each `n`.
fn address(n: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x5000_0001 + (n << 8)), 6881))
}

/// Around the id 0, so that the first bit decides between the far bucket and the near ones.
fn table(now: Instant) -> RoutingTable {
    RoutingTable::new(Id::default(), Family::V4, now)
}

/// A node in the far bucket of [`table`] whose id does not fit its address.
fn far(n: u32) -> Contact {
    let mut bytes = [0; 20];
    bytes[0] = 0x80;
    bytes[16..].copy_from_slice(&n.to_be_bytes());
    let contact = Contact::new(Id::from_bytes(bytes), address(n));
    assert!(!is_secure(&contact.id, contact.address.ip()));
    contact
}

/// A node in the far bucket of [`table`] whose id fits its address.
fn far_secure(n: u32) -> Contact {
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(n));
    let ids = std::iter::repeat_with(|| secure_id(address(n).ip(), &mut rng));
    let id = ids.take(1000).find(|id| id.as_bytes()[0] >= 0x80);
    Contact::new(id.unwrap(), address(n))
}

/// A table with `far(0..count)` in the far bucket, all of which have answered, and enough near
/// nodes that the far bucket stands alone.
fn filled(now: Instant, count: u32) -> RoutingTable {
    let mut table = table(now);
    for n in 0..K as u32 + 1 {
        let mut bytes = [0; 20];
        bytes[0] = 0x7f;
        bytes[19] = n as u8;
        let near = Contact::new(Id::from_bytes(bytes), address(1000 + n));
        table.observe(now, near, PLAIN, ANSWERED);
    }
    for n in 0..count {
        assert_eq!(
            table.observe(now, far(n), PLAIN, ANSWERED),
            Insertion::Added
        );
    }
    table
}

fn closest(table: &RoutingTable, now: Instant, target: &Id, count: usize) -> Vec<Contact> {
    let mut out = Vec::new();
    table.closest(now, target, &mut out, count);
    out
}

/// What others are told.
fn told(table: &RoutingTable, now: Instant, target: &Id) -> Vec<Contact> {
    let mut out = Vec::new();
    table.write_closest(now, target, &mut out, 100, &address(9999));
    CompactNodes::new(table.family(), &out)
        .unwrap()
        .iter()
        .collect()
}

fn state(table: &RoutingTable, now: Instant, contact: Contact) -> Option<NodeState> {
    let found = table.iter(now).find(|(listed, _)| *listed == contact);
    found.map(|(_, state)| state)
}

#[test]
fn a_node_is_good_for_15_minutes_after_its_answer() {
    let now = Instant::now();
    let mut table = table(now);
    assert_eq!(
        table.observe(now, far(1), PLAIN, ANSWERED),
        Insertion::Added
    );
    assert_eq!(
        table.observe(now, far(1), PLAIN, ANSWERED),
        Insertion::Known
    );
    let almost = now + 15 * MINUTE - Duration::from_secs(1);
    assert_eq!(state(&table, almost, far(1)), Some(NodeState::Good));
    assert!(table.is_good(almost, &far(1).address));
    assert_eq!(table.good_count(almost), 1);
    let later = now + 15 * MINUTE;
    assert_eq!(state(&table, later, far(1)), Some(NodeState::Questionable));
    assert_eq!(table.good_count(later), 0);
    table.observe(later, far(1), PLAIN, Seen::Queried);
    assert_eq!(state(&table, later, far(1)), Some(NodeState::Good));
}

#[test]
fn a_node_that_has_never_answered_is_not_good_and_not_handed_to_others() {
    let now = Instant::now();
    let mut table = table(now);
    table.observe(now, far(1), PLAIN, Seen::Told);
    table.observe(now, far(2), PLAIN, Seen::Queried);
    assert_eq!(table.len(), 2);
    assert_eq!(table.good_count(now), 0);
    assert_eq!(told(&table, now, &Id::default()), []);
    assert_eq!(closest(&table, now, &far(1).id, 8), [far(1), far(2)]);
    table.observe(now, far(2), PLAIN, ANSWERED);
    assert_eq!(told(&table, now, &Id::default()), [far(2)]);
}

/// The fault: nodes that never count as bad.
#[test]
fn a_node_that_fails_twice_in_a_row_is_bad_and_handed_to_nobody() {
    let now = Instant::now();
    let mut table = filled(now, 1);
    table.on_failure(now, &far(0));
    assert_eq!(
        state(&table, now, far(0)),
        Some(NodeState::Questionable),
        "others are asked first"
    );
    table.observe(now, far(0), PLAIN, ANSWERED);
    assert!(table.is_good(now, &far(0).address));
    table.on_failure(now, &far(0));
    table.observe(now, far(0), PLAIN, Seen::Queried);
    table.on_failure(now, &far(0));
    assert_eq!(
        state(&table, now, far(0)),
        Some(NodeState::Bad),
        "a query excuses no failure"
    );
    assert!(!told(&table, now, &far(0).id).contains(&far(0)));
    assert!(!closest(&table, now, &far(0).id, 100).contains(&far(0)));
    // It stays for the case that we were the ones cut off, but not for long.
    table.on_failure(now, &far(0));
    assert!(table.contains(&far(0).address));
    table.on_failure(now, &far(0));
    assert!(!table.contains(&far(0).address));
}

#[test]
fn a_bad_node_is_replaced_by_one_that_waits() {
    let now = Instant::now();
    let mut table = filled(now, 8);
    assert_eq!(
        table.observe(now, far(8), PLAIN, ANSWERED),
        Insertion::Cached
    );
    assert_eq!(
        table.observe(now, far(8), PLAIN, ANSWERED),
        Insertion::Known
    );
    assert!(!table.contains(&far(8).address));
    table.on_failure(now, &far(3));
    table.on_failure(now, &far(3));
    assert!(!table.contains(&far(3).address));
    assert!(table.contains(&far(8).address));
}

#[test]
fn a_bad_node_without_replacement_gives_way_to_any_newcomer() {
    let now = Instant::now();
    let mut table = filled(now, 8);
    table.on_failure(now, &far(3));
    table.on_failure(now, &far(3));
    assert!(table.contains(&far(3).address));
    assert_eq!(
        table.observe(now, far(8), PLAIN, Seen::Told),
        Insertion::Added
    );
    assert!(!table.contains(&far(3).address));
}

#[test]
fn an_untested_node_that_fails_twice_is_dropped() {
    let now = Instant::now();
    let mut table = table(now);
    table.observe(now, far(1), PLAIN, Seen::Told);
    table.on_failure(now, &far(1));
    assert!(table.contains(&far(1).address));
    table.on_failure(now, &far(1));
    assert!(table.is_empty());
}

#[test]
fn a_full_bucket_of_good_nodes_lets_a_newcomer_wait() {
    let now = Instant::now();
    let mut table = filled(now, 8);
    assert_eq!(
        table.observe(now, far(8), PLAIN, ANSWERED),
        Insertion::Cached
    );
    assert!((0..8).all(|n| table.contains(&far(n).address)));
}

#[test]
fn a_questionable_node_is_challenged_and_stays_if_it_answers() {
    let start = Instant::now();
    let mut table = filled(start, 8);
    let now = start + 20 * MINUTE;
    for n in (0..8).filter(|&n| n != 5) {
        table.observe(now, far(n), PLAIN, ANSWERED);
    }
    let insertion = table.observe(now, far(8), PLAIN, ANSWERED);
    assert_eq!(insertion, Insertion::Challenge(far(5)));
    assert_eq!(
        table.observe(now, far(9), PLAIN, ANSWERED),
        Insertion::Cached,
        "once at a time"
    );
    table.observe(now, far(5), PLAIN, ANSWERED);
    assert!(table.is_good(now, &far(5).address));
    assert_eq!(
        table.observe(now, far(10), PLAIN, ANSWERED),
        Insertion::Cached
    );
}

#[test]
fn a_challenged_node_that_fails_gives_its_place_to_the_newcomer() {
    let start = Instant::now();
    let mut table = filled(start, 8);
    let now = start + 20 * MINUTE;
    let Insertion::Challenge(old) = table.observe(now, far(8), PLAIN, ANSWERED) else {
        panic!("nobody was challenged");
    };
    table.on_failure(now, &old);
    table.on_failure(now, &old);
    assert!(!table.contains(&old.address));
    assert!(table.contains(&far(8).address));
}

#[test]
fn a_node_that_answered_takes_the_place_of_one_that_never_did() {
    let now = Instant::now();
    let mut table = table(now);
    for n in 0..8 {
        table.observe(now, far(n), PLAIN, Seen::Told);
    }
    assert_eq!(
        table.observe(now, far(8), PLAIN, Seen::Told),
        Insertion::Challenge(far(8))
    );
    // All are in one bucket that does not split them apart.
    assert_eq!(
        table.observe(now, far(9), PLAIN, ANSWERED),
        Insertion::Added
    );
    assert!(table.contains(&far(9).address));
}

#[test]
fn an_impostor_with_the_id_of_a_good_node_is_refused() {
    let now = Instant::now();
    let mut table = filled(now, 2);
    let impostor = Contact::new(far(1).id, address(77));
    for seen in [Seen::Told, Seen::Queried, ANSWERED] {
        assert_eq!(
            table.observe(now, impostor, PLAIN, seen),
            Insertion::Refused
        );
    }
    assert!(table.is_good(now, &far(1).address));
    assert!(!table.contains(&impostor.address));
}

#[test]
fn a_node_that_moved_takes_its_place_back_once_the_old_address_is_silent() {
    let start = Instant::now();
    let mut table = filled(start, 2);
    let now = start + 16 * MINUTE;
    let moved = Contact::new(far(1).id, address(77));
    assert_eq!(
        table.observe(now, moved, PLAIN, Seen::Queried),
        Insertion::Refused
    );
    let insertion = table.observe(now, moved, PLAIN, ANSWERED);
    assert_eq!(insertion, Insertion::Challenge(far(1)));
    table.on_failure(now, &far(1));
    table.on_failure(now, &far(1));
    assert_eq!(table.observe(now, moved, PLAIN, ANSWERED), Insertion::Added);
    assert!(table.contains(&moved.address));
    assert!(!table.contains(&far(1).address));
}

#[test]
fn only_the_address_itself_can_say_that_it_has_another_id() {
    let now = Instant::now();
    let mut table = filled(now, 2);
    let renamed = Contact::new(far(40).id, far(1).address);
    // It is asked, but not each time that somebody says so.
    let asked = Insertion::Challenge(far(1));
    for expected in [asked, Insertion::Refused, Insertion::Refused] {
        let insertion = table.observe(now, renamed, PLAIN, Seen::Queried);
        assert_eq!(insertion, expected);
        assert_eq!(state(&table, now, far(1)), Some(NodeState::Good));
    }
    assert_eq!(
        table.observe(now, renamed, PLAIN, ANSWERED),
        Insertion::Added
    );
    assert_eq!(state(&table, now, far(1)), None);
}

#[test]
fn nodes_with_the_extension_win_four_places_and_no_more() {
    let now = Instant::now();
    let mut table = filled(now, 8);
    for n in 100..104 {
        assert_eq!(
            table.observe(now, far(n), EXTENDED, ANSWERED),
            Insertion::Added
        );
    }
    assert_eq!(
        table.observe(now, far(104), EXTENDED, ANSWERED),
        Insertion::Cached
    );
    assert_eq!(table.extension_count(), EXTENSION_PLACES);
    assert_eq!(table.traits(&far(100).address), Some(EXTENDED));
    let mut out = Vec::new();
    table.closest_extension(now, &far(100).id, &mut out, 8);
    assert_eq!(out, [far(100), far(101), far(102), far(103)]);
}

#[test]
fn nodes_without_the_extension_do_not_win_those_places_back() {
    let now = Instant::now();
    let mut table = filled(now, 4);
    for n in 100..104 {
        assert_eq!(
            table.observe(now, far(n), EXTENDED, ANSWERED),
            Insertion::Added
        );
    }
    for n in 200..240 {
        table.observe(now, far_secure(n), PLAIN, ANSWERED);
    }
    assert_eq!(table.extension_count(), EXTENSION_PLACES);
}

#[test]
fn a_forged_query_does_not_change_what_a_node_speaks() {
    let now = Instant::now();
    let mut table = table(now);
    table.observe(now, far(1), EXTENDED, ANSWERED);
    table.observe(now, far(1), PLAIN, Seen::Queried);
    assert_eq!(table.traits(&far(1).address), Some(EXTENDED));
}

#[test]
fn a_node_with_a_secure_id_takes_the_place_of_one_without() {
    let now = Instant::now();
    let mut table = filled(now, 8);
    for n in 200..208 {
        let contact = far_secure(n);
        assert_eq!(
            table.observe(now, contact, PLAIN, ANSWERED),
            Insertion::Added
        );
    }
    assert!((0..8).all(|n| !table.contains(&far(n).address)));
    let later = now + Duration::from_secs(1);
    let insertion = table.observe(later, far(9), PLAIN, ANSWERED);
    assert_eq!(insertion, Insertion::Cached);
}

#[test]
fn of_insecure_nodes_the_slowest_gives_way_first() {
    let now = Instant::now();
    let mut table = filled(now, 8);
    let slow = Seen::Answered {
        round_trip: Duration::from_secs(2),
    };
    table.observe(now, far(6), PLAIN, slow);
    table.observe(now, far_secure(200), PLAIN, ANSWERED);
    assert!(!table.contains(&far(6).address));
}

#[test]
fn the_own_id_and_what_cannot_be_sent_to_are_refused() {
    let now = Instant::now();
    let mut table = table(now);
    let own = Contact::new(table.own_id(), address(1));
    assert_eq!(table.observe(now, own, PLAIN, ANSWERED), Insertion::Refused);
    for text in ["1.2.3.4:0", "0.0.0.0:1", "224.0.0.1:1", "[2001:db8::1]:1"] {
        let contact = Contact::new(far(1).id, text.parse().unwrap());
        assert_eq!(
            table.observe(now, contact, PLAIN, ANSWERED),
            Insertion::Refused,
            "{text}"
        );
    }
    assert!(table.is_empty());
    assert_eq!(table.heap_bytes(), 0);
}

#[test]
fn an_answer_does_not_tell_the_asker_of_itself() {
    let now = Instant::now();
    let table = filled(now, 3);
    let mut out = Vec::new();
    table.write_closest(now, &far(1).id, &mut out, 2, &far(1).address);
    let nodes = CompactNodes::new(Family::V4, &out).unwrap();
    assert_eq!(nodes.iter().collect::<Vec<_>>(), [far(0), far(2)]);
}

#[test]
fn good_nodes_come_before_nearer_questionable_ones() {
    let start = Instant::now();
    let mut table = filled(start, 3);
    let now = start + 16 * MINUTE;
    table.observe(now, far(2), PLAIN, ANSWERED);
    assert_eq!(
        closest(&table, now, &far(0).id, 3),
        [far(2), far(0), far(1)]
    );
}

#[test]
fn the_round_trip_is_smoothed() {
    let now = Instant::now();
    let mut table = table(now);
    let answered = |millis| Seen::Answered {
        round_trip: Duration::from_millis(millis),
    };
    table.observe(now, far(1), PLAIN, Seen::Told);
    assert_eq!(table.round_trip(&far(1)), None);
    table.observe(now, far(1), PLAIN, answered(80));
    assert_eq!(table.round_trip(&far(1)), Some(Duration::from_millis(80)));
    table.observe(now, far(1), PLAIN, answered(160));
    assert_eq!(table.round_trip(&far(1)), Some(Duration::from_millis(90)));
    table.observe(now, far(2), PLAIN, answered(1_000_000));
    assert!(table.round_trip(&far(2)).unwrap() > Duration::from_secs(6));
    table.observe(now, far(3), PLAIN, answered(0));
    assert!(table.round_trip(&far(3)).unwrap() > Duration::ZERO);
}

#[test]
fn a_new_own_id_keeps_the_nodes_that_fit() {
    let now = Instant::now();
    let mut table = table(now);
    let mut rng = rng();
    for n in 0..5000 {
        table.observe(
            now,
            Contact::new(Id::random(&mut rng), address(n)),
            PLAIN,
            ANSWERED,
        );
    }
    let before = table.len();
    let own = Id::random(&mut rng);
    table.set_own_id(now, own);
    assert_eq!(table.own_id(), own);
    // The far half stays whole, and a bucket or two fill anew out of what was far.
    assert!(table.len() >= 2 * K, "{} of {before}", table.len());
    assert!(table.good_count(now) == table.len());
    assert!(closest(&table, now, &own, 8).len() == 8);
}

#[test]
fn the_size_of_the_network_is_estimated() {
    let now = Instant::now();
    let mut rng = rng();
    assert_eq!(table(now).estimated_size(now), 1);
    let mut few = table(now);
    for n in 0..5 {
        few.observe(now, far(n), PLAIN, ANSWERED);
    }
    assert_eq!(few.estimated_size(now), 6, "ourselves included");
    for size in [100_u32, 1000, 5000] {
        let mut sum = 0.0;
        for _ in 0..16 {
            let own = Id::random(&mut rng);
            let mut table = RoutingTable::new(own, Family::V4, now);
            for n in 1..size {
                table.observe(
                    now,
                    Contact::new(Id::random(&mut rng), address(n)),
                    PLAIN,
                    ANSWERED,
                );
            }
            let ratio = table.estimated_size(now) as f64 / f64::from(size);
            assert!((0.2..5.0).contains(&ratio), "{ratio} of {size}");
            sum += ratio;
        }
        assert!(
            (0.75..1.25).contains(&(sum / 16.0)),
            "{} of {size}",
            sum / 16.0
        );
    }
}

#[test]
fn an_entry_and_a_table_are_small() {
    assert!(size_of::<entry::Entry<V4_LEN>>() <= 44);
    assert!(size_of::<entry::Entry<V6_LEN>>() <= 56);
    let now = Instant::now();
    let mut rng = rng();
    let mut table = table(now);
    for n in 0..20_000 {
        table.observe(
            now,
            Contact::new(Id::random(&mut rng), address(n)),
            PLAIN,
            ANSWERED,
        );
    }
    assert!(table.len() > 80);
    assert!(
        table.heap_bytes() <= 14 * 1024,
        "{} bytes",
        table.heap_bytes()
    );
}

#[test]
fn a_flood_of_ids_near_ours_stays_within_the_bounds() {
    let now = Instant::now();
    let mut table = table(now);
    let mut rng = rng();
    for n in 0..6000 {
        let id = Id::default().random_at(n as usize % ID_BITS, &mut rng);
        table.observe(now, Contact::new(id, address(n)), PLAIN, ANSWERED);
    }
    assert!(table.len() <= MAX_BUCKETS * K);
    assert!(table.cached_count() <= MAX_BUCKETS * K);
    let Nodes::V4(nodes) = &table.nodes else {
        panic!("a table of IPv4");
    };
    // Deeper than this there are fewer ids than places.
    assert_eq!(nodes.buckets.len(), MAX_BUCKETS - 2);
}
