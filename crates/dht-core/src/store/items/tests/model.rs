//! Lists of operations against a model that looks at everything and keeps no accounts.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;

/// One step.
#[derive(Debug, Clone)]
enum Step {
    Immutable {
        value: u8,
        from: u8,
    },
    Mutable {
        salt: u8,
        seq: i64,
        value: u8,
        cas: Option<i64>,
        from: u8,
    },
    Wait {
        seconds: u32,
    },
    Expire,
    MoveOwnId {
        first: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..24_u8, 0..4_u8).prop_map(|(value, from)| Step::Immutable { value, from }),
        4 => (0..4_u8, 0..4_i64, 0..3_u8, proptest::option::of(0..4_i64), 0..4_u8).prop_map(
            |(salt, seq, value, cas, from)| Step::Mutable { salt, seq, value, cas, from },
        ),
        1 => (1..5_000_u32).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Expire),
        1 => any::<u8>().prop_map(|first| Step::MoveOwnId { first }),
    ];
    proptest::collection::vec(step, 1..80)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    target: Id,
    value: Vec<u8>,
    seq: Option<i64>,
    from: u8,
    heard: u32,
}

impl Entry {
    /// Mutable items have a salt of one byte here.
    fn salt_len(&self) -> usize {
        usize::from(self.seq.is_some())
    }
}

#[derive(Debug)]
struct Model {
    limits: ItemLimits,
    entries: Vec<Entry>,
}

impl Model {
    fn put(&mut self, own: &Id, new: Entry, cas: Option<i64>) -> Result<(), StoreError> {
        self.entries
            .retain(|entry| new.heard - entry.heard < ITEM_LIFETIME);
        let mut after = self.entries.clone();
        let stored = after.iter().position(|entry| entry.target == new.target);
        let stored = stored.map(|at| after.remove(at));
        if let Some(stored) = &stored
            && let (Some(has), Some(seq)) = (stored.seq, new.seq)
        {
            if cas.is_some_and(|cas| cas != has) {
                return Err(StoreError::CasMismatch);
            }
            if seq < has || seq == has && stored.value != new.value {
                return Err(StoreError::SeqTooLow);
            }
        }
        let others = after.iter().filter(|entry| entry.from == new.from).count();
        if others >= self.limits.per_source && stored.is_none_or(|stored| stored.from != new.from) {
            return Err(StoreError::Quota);
        }
        let target = new.target;
        after.push(new);
        after.sort_by_key(|entry| entry.target.distance(own));
        while after.len() > self.limits.items || bytes(&after) > self.limits.bytes {
            if after.pop().is_some_and(|gone| gone.target == target) {
                return Err(StoreError::TooFar);
            }
        }
        self.entries = after;
        Ok(())
    }

    fn live(&self, seconds: u32) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter();
        entries.filter(move |entry| seconds - entry.heard < ITEM_LIFETIME)
    }
}

fn bytes(entries: &[Entry]) -> usize {
    let costs = entries
        .iter()
        .map(|entry| ITEM_OVERHEAD + entry.value.len() + entry.salt_len());
    costs.sum()
}

/// Values of very different lengths.
fn value(number: u8) -> Vec<u8> {
    string(&"v".repeat(1 + usize::from(number) * 30))
}

/// Does the step with both; they must answer alike.
fn take(step: &Step, store: &mut ItemStore, model: &mut Model, own: &Id, time: (Instant, u32)) {
    let (now, heard) = time;
    // The store looks for expired items once a minute, the model always.
    store.expire(now);
    match *step {
        Step::Immutable {
            value: number,
            from,
        } => {
            let value = value(number);
            let target = immutable_target(&value);
            let did = store.put_immutable(now, own, &value, address(from.into()));
            let new = Entry {
                target,
                value,
                seq: None,
                from,
                heard,
            };
            assert_eq!(did, model.put(own, new, None));
        }
        Step::Mutable {
            salt,
            seq,
            value: number,
            cas,
            from,
        } => {
            let value = value(number);
            let item = MutableItem::sign(&signer(), &[salt], seq, &value).unwrap();
            let put = item.as_put(b"", cas);
            let did = store.put_mutable(now, own, &put, address(from.into()));
            let target = item.target();
            let new = Entry {
                target,
                value,
                seq: Some(seq),
                from,
                heard,
            };
            assert_eq!(did, model.put(own, new, cas));
        }
        Step::Wait { .. } | Step::Expire | Step::MoveOwnId { .. } => {}
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 200,
        rng_seed: RngSeed::Fixed(44),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn the_store_does_what_a_model_does_that_looks_at_everything(steps in steps()) {
        let limits = ItemLimits { items: 8, bytes: 8 * ITEM_OVERHEAD + 1_800, per_source: 4 };
        let mut store = ItemStore::new(limits);
        let mut model = Model { limits, entries: Vec::new() };
        let (start, mut seconds, mut own) = (Instant::now(), 0, OWN);
        let mut now = start;
        for step in steps {
            match step {
                Step::Wait { seconds: passed } => {
                    seconds += passed;
                    now = start + Duration::from_secs(seconds.into());
                }
                Step::Expire => store.expire(now),
                Step::MoveOwnId { first } => own = Id::from_bytes([first; ID_LEN]),
                _ => take(&step, &mut store, &mut model, &own, (now, seconds)),
            }
            check_accounts(&store);
            for entry in model.live(seconds) {
                let stored = store.get(now, &entry.target).unwrap();
                prop_assert_eq!(stored.value(), entry.value.as_slice());
                prop_assert_eq!(stored.seq(), entry.seq);
            }
            let live = store.items.keys().filter(|target| store.get(now, target).is_some());
            prop_assert_eq!(live.count(), model.live(seconds).count());
        }
    }
}
