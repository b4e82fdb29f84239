//! Operation lists against a store told in the simplest way.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// One step of a user of the store.
#[derive(Debug, Clone)]
enum Step {
    Put { id: u64, seq: u64, minutes: u32 },
    Unsigned { id: u64, body: u8, minutes: u32 },
    Remove { id: u64, seq: u64 },
    Wait { minutes: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_u64, 0..5_u64, 1..60_u32).prop_map(|(id, seq, minutes)| Step::Put {
            id,
            seq,
            minutes
        }),
        (0..3_u64, 0..2_u8, 1..60_u32).prop_map(|(id, body, minutes)| Step::Unsigned {
            id,
            body,
            minutes
        }),
        (0..3_u64, 0..5_u64).prop_map(|(id, seq)| Step::Remove { id, seq }),
        (1..30_u32).prop_map(|minutes| Step::Wait { minutes }),
    ]
}

/// What must hold of a signed value, told in the simplest way: the greatest version ever taken,
/// and until when any version taken could still be valid.
#[derive(Default)]
struct Version {
    seq: u64,
    expiry: u64,
    guarded: u64,
    removed: bool,
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut shelf = shelf();
    let mut model: BTreeMap<u64, Version> = BTreeMap::new();
    let mut plain: BTreeMap<u64, (u8, u64)> = BTreeMap::new();
    for step in steps {
        let wall = shelf.wall();
        match *step {
            Step::Put { id, seq, minutes } => {
                let ttl = minutes * MINUTE;
                let made = draft(1, id, b"x")
                    .with_ttl(ttl)
                    .signed(wall, &owner(1), seq);
                let value = made.unwrap().value;
                check_signed(&mut model, wall, &value, &shelf.put(1, &value))?;
            }
            Step::Remove { id, seq } => {
                let value = draft(1, id, b"x")
                    .signed(wall, &owner(1), seq)
                    .unwrap()
                    .value;
                let removal = value.removed_by(&owner(1), &target(1)).unwrap();
                check_signed(&mut model, wall, &removal, &shelf.put(1, &removal))?;
            }
            Step::Unsigned { id, body, minutes } => {
                let made = draft(1, id, &[body])
                    .with_ttl(minutes * MINUTE)
                    .unsigned(wall);
                let value = made.unwrap().value;
                let put = shelf.put(1, &value);
                let known = plain
                    .get(&id)
                    .filter(|(_, expiry)| *expiry > wall.0)
                    .copied();
                let is_taken = known.is_some_and(|(stored, _)| stored != body);
                prop_assert_eq!(put.is_err(), is_taken);
                if !is_taken {
                    let expiry = known.map_or(0, |(_, expiry)| expiry).max(value.expiry().0);
                    plain.insert(id, (body, expiry));
                }
            }
            Step::Wait { minutes } => {
                shelf.elapsed += minutes * MINUTE;
                shelf.expire();
            }
        }
        let wall = shelf.wall().0;
        let signed = model
            .values()
            .filter(|version| version.expiry > wall)
            .count();
        let unsigned = plain.values().filter(|(_, expiry)| *expiry > wall).count();
        prop_assert_eq!(shelf.values(1).len(), signed + unsigned);
    }
    Ok(())
}

fn check_signed(
    model: &mut BTreeMap<u64, Version>,
    wall: UnixTime,
    value: &Value,
    put: &Result<Change, ValueError>,
) -> Result<(), TestCaseError> {
    let (seq, expiry) = (value.seq().unwrap(), value.expiry().0);
    let known = model
        .get(&value.id().0)
        .filter(|known| known.guarded > wall.0);
    let removed = value.is_removal();
    let is_refused = known.is_some_and(|known| {
        let is_same = known.seq == seq && known.removed == removed;
        let is_over = known.expiry <= wall.0;
        known.seq > seq || (known.seq == seq && (!is_same || (is_over && known.removed)))
    });
    prop_assert_eq!(put.is_err(), is_refused, "{:?}", put);
    if !is_refused {
        let mut next = Version {
            seq,
            expiry,
            guarded: expiry,
            removed,
        };
        if let Some(known) = known {
            next.guarded = next.guarded.max(known.guarded);
            if known.seq == seq {
                next.expiry = next.expiry.max(known.expiry);
            }
        }
        model.insert(value.id().0, next);
    }
    Ok(())
}

/// Cases of a property, the same in every run.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        rng_seed: RngSeed::Fixed(0x6468_746e_6574),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn the_store_does_what_a_simple_model_does(steps in proptest::collection::vec(step(), 1..40)) {
        run(&steps)?;
    }
}
