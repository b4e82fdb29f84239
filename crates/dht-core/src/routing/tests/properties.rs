//! Lists of operations against what must hold after each.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::address::{Subnet, is_local};

#[derive(Debug, Clone)]
enum Operation {
    Observe {
        id: u8,
        address: u8,
        kind: u8,
        extension: bool,
    },
    Fail(u8),
    Remove(u8),
    Wait(u16),
    Maintain,
    Move(u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        20 => (any::<u8>(), any::<u8>(), 0..4_u8, any::<bool>()).prop_map(
            |(id, address, kind, extension)| Operation::Observe { id, address, kind, extension }
        ),
        10 => (any::<u8>(), 0..4_u8, any::<bool>()).prop_map(
            |(id, kind, extension)| Operation::Observe { id, address: id, kind, extension }
        ),
        4 => any::<u8>().prop_map(Operation::Fail),
        1 => any::<u8>().prop_map(Operation::Remove),
        2 => (0..600_u16).prop_map(Operation::Wait),
        3 => Just(Operation::Maintain),
        1 => any::<u8>().prop_map(Operation::Move),
    ]
}

/// A few ids at every depth.
fn id(n: u8) -> Id {
    let mut bytes = [0; 20];
    bytes[0] = 0xff_u8.checked_shr(u32::from(n % 9)).unwrap_or(0) ^ (n >> 7);
    bytes[19] = n;
    Id::from_bytes(bytes)
}

/// Three in four are in few subnets, the rest are local.
fn place(n: u8) -> SocketAddr {
    match n % 4 {
        0 => SocketAddr::from(([10, 0, 0, n], 1)),
        _ => SocketAddr::from(([50, 0, n % 40, n], 1)),
    }
}

fn check(table: &RoutingTable, now: Instant) {
    let Nodes::V4(nodes) = &table.nodes else {
        panic!("a table of IPv4");
    };
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for (depth, bucket) in nodes.buckets.iter().enumerate() {
        let last = depth + 1 == nodes.buckets.len();
        for entries in [bucket.nodes(), bucket.waiting()] {
            assert!(entries.len() <= K);
            let mut subnets = BTreeSet::new();
            for contact in entries.iter().map(entry::Entry::contact) {
                let prefix = contact.id.common_prefix(&table.own_id());
                assert!(prefix == depth || last && prefix > depth);
                assert_ne!(contact.id, table.own_id());
                assert!(ids.insert(contact.id), "an id twice");
                assert!(addresses.insert(contact.address), "an address twice");
                if !is_local(contact.address.ip()) {
                    let subnet = Subnet::of(contact.address.ip());
                    assert!(subnets.insert(subnet), "a subnet twice");
                    all.push(subnet);
                }
            }
        }
    }
    all.sort_unstable();
    assert!(
        all.chunk_by(|a, b| a == b)
            .all(|same| same.len() <= MAX_PER_SUBNET)
    );
    assert_eq!(table.iter(now).count(), table.len());
}

/// Sorting all of the table.
fn brute_force(table: &RoutingTable, now: Instant, target: &Id, worst: NodeState) -> Vec<Contact> {
    let mut all: Vec<_> = table
        .iter(now)
        .filter(|(_, state)| *state <= worst)
        .collect();
    all.sort_by_key(|(contact, state)| (*state, contact.id.distance(target)));
    all.into_iter().map(|(contact, _)| contact).collect()
}

fn check_closest(table: &RoutingTable, now: Instant, target: &Id, count: usize) {
    let mut expected = brute_force(table, now, target, NodeState::Untested);
    expected.truncate(count);
    assert_eq!(closest(table, now, target, count), expected);
    let expected = brute_force(table, now, target, NodeState::Questionable);
    assert_eq!(
        told(table, now, target),
        &expected[..expected.len().min(100)]
    );
}

fn apply(table: &mut RoutingTable, now: &mut Instant, operation: &Operation) {
    match *operation {
        Operation::Observe {
            id: n,
            address,
            kind,
            extension,
        } => {
            let seen = [Seen::Told, Seen::Queried, ANSWERED, ANSWERED][usize::from(kind)];
            let contact = Contact::new(id(n), place(address));
            let had = table.contains(&contact.address);
            let insertion = table.observe(*now, contact, Traits { extension }, seen);
            let has = table.contains(&contact.address);
            match insertion {
                Insertion::Added => assert!(has),
                Insertion::Cached => assert!(!has),
                Insertion::Challenge(asked) if asked == contact => assert!(!has),
                Insertion::Challenge(old) => assert!(table.contains(&old.address)),
                Insertion::Known => {}
                Insertion::Refused => assert!(!has || had),
            }
        }
        Operation::Fail(n) => table.on_failure(*now, &Contact::new(id(n), place(n))),
        Operation::Remove(n) => {
            table.remove(&place(n));
            assert!(!table.contains(&place(n)));
        }
        Operation::Wait(seconds) => *now += Duration::from_secs(u64::from(seconds)),
        Operation::Maintain => {
            let due = table.next_due(*now);
            let ping = table.questionable(*now);
            let refresh = table.refresh_due(*now, &mut rng());
            if due > *now {
                assert_eq!(
                    (ping, refresh),
                    (None, None),
                    "work before it was said to be due"
                );
            } else if ping.is_none() && refresh.is_none() {
                assert!(table.next_due(*now) > *now, "due without work");
            }
        }
        Operation::Move(n) => table.set_own_id(*now, id(n)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_bounds_hold_and_the_closest_are_exact(
        operations in proptest::collection::vec(operation(), 0..200),
        target: u8,
        count in 0..20_usize,
    ) {
        let mut now = Instant::now();
        let mut table = table(now);
        for operation in &operations {
            apply(&mut table, &mut now, operation);
            check(&table, now);
        }
        check_closest(&table, now, &id(target), count);
    }

    /// The fault: look-ups that skip nodes by chance.
    #[test]
    fn no_node_is_skipped_when_the_closest_are_asked_for(
        seed: u64,
        size in 1..400_u32,
        count in 1..40_usize,
    ) {
        let start = Instant::now();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut table = RoutingTable::new(Id::random(&mut rng), Family::V4, start);
        let now = start + 16 * MINUTE;
        for n in 0..size {
            let contact = Contact::new(Id::random(&mut rng), address(n));
            let at = if n % 3 == 0 { start } else { now };
            table.observe(at, contact, PLAIN, ANSWERED);
        }
        for _ in 0..10 {
            check_closest(&table, now, &Id::random(&mut rng), count);
        }
        check_closest(&table, now, &table.own_id(), count);
    }
}
