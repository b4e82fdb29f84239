//! The store's rules one by one, its bounds, and operation lists against a simple model.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

mod model;
mod room;

use std::net::Ipv4Addr;

use dhtnet_identity::DeviceKey;

use super::*;
use crate::krpc::ErrorCode;
use crate::value::draft::Draft;
use crate::value::policy::{EditPolicy, Refusal};
use crate::value::query::{Field, Filter, Select};
use crate::value::record::{MAX_RECORD_LEN, ValueId, ValueType};

const WALL: UnixTime = UnixTime(1_800_000_000);
const MINUTE: Duration = Duration::from_secs(60);

fn own() -> Id {
    Id::from_bytes([0; 20])
}

fn target(number: u8) -> Id {
    Id::from_bytes([number; 20])
}

fn host(number: u32) -> IpAddr {
    Ipv4Addr::from(number).into()
}

fn owner(number: u8) -> DeviceKey {
    DeviceKey::from_seed(&[number; 32])
}

/// A store with its clocks.
struct Shelf {
    store: ValueStore,
    start: Instant,
    /// Since `start`.
    elapsed: Duration,
    types: TypeRegistry,
}

impl Shelf {
    fn new(limits: ValueLimits) -> Self {
        Self {
            store: ValueStore::new(limits),
            start: Instant::now(),
            elapsed: Duration::ZERO,
            types: TypeRegistry::new(),
        }
    }

    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    fn wall(&self) -> UnixTime {
        WALL.plus(self.elapsed)
    }

    fn put_from(&mut self, from: u32, at: &Id, record: &[u8]) -> Result<Stored, ValueError> {
        let arrival = Arrival {
            now: self.now(),
            wall: self.wall(),
            own: &own(),
            from: host(from),
            types: &self.types,
        };
        let stored = self.store.put(&arrival, at, record);
        self.check();
        stored
    }

    fn put(&mut self, at: u8, value: &Value) -> Result<Change, ValueError> {
        let stored = self.put_from(1, &target(at), &value.encode());
        stored.map(|stored| stored.change)
    }

    fn page(&self, at: u8, request: &PageRequest<'_>) -> Page<'_> {
        self.store.page(self.now(), &target(at), request)
    }

    fn values(&self, at: u8) -> Vec<Value> {
        let request = PageRequest {
            query: &ValueQuery::ALL,
            after: None,
            budget: usize::MAX,
        };
        let page = self.page(at, &request);
        let records = page.records.iter();
        records
            .map(|record| Value::decode(record).unwrap())
            .collect()
    }

    fn expire(&mut self) -> Vec<ValueId> {
        let expired = self.store.expire(self.now());
        self.check();
        expired.iter().map(|gone| gone.subject.key.id).collect()
    }

    /// The sums agree with what is there.
    fn check(&self) {
        let store = &self.store;
        let entries = || store.keys.values().flat_map(|bucket| &bucket.entries);
        assert_eq!(store.len(), entries().count());
        assert_eq!(store.bytes(), entries().map(Entry::cost).sum::<usize>());
        assert_eq!(store.deadlines.len(), store.key_count());
        for (key, bucket) in &store.keys {
            assert!(store.deadlines.contains(&(bucket.deadline, *key)));
            let soonest = bucket.entries.iter().map(Entry::next_deadline).min();
            assert!(bucket.deadline <= soonest.unwrap());
        }
        let mut sources: Vec<Source> = entries().map(|entry| entry.source).collect();
        sources.sort();
        sources.dedup();
        assert_eq!(store.quotas.len(), sources.len());
        assert!(store.bytes() <= store.limits.bytes);
        assert!(store.key_count() <= store.limits.keys);
    }
}

fn shelf() -> Shelf {
    Shelf::new(ValueLimits::default())
}

fn draft(at: u8, id: u64, body: &[u8]) -> Draft {
    Draft::new(target(at), ValueId(id), body.to_vec())
}

fn unsigned(at: u8, id: u64, body: &[u8]) -> Value {
    draft(at, id, body).unsigned(WALL).unwrap().value
}

fn signed(at: u8, id: u64, seq: u64) -> Value {
    let body = format!("version {seq}");
    let draft = draft(at, id, body.as_bytes());
    draft.signed(WALL, &owner(1), seq).unwrap().value
}

#[test]
fn many_values_lie_under_one_key_until_each_expires() {
    let mut shelf = shelf();
    let long = draft(1, 2, b"b").with_ttl(20 * MINUTE);
    let long = long.unsigned(WALL).unwrap().value;
    assert_eq!(shelf.put(1, &long), Ok(Change::Added));
    assert_eq!(shelf.put(1, &unsigned(1, 1, b"a")), Ok(Change::Added));
    assert_eq!(shelf.values(1), [unsigned(1, 1, b"a"), long.clone()]);
    assert_eq!(shelf.values(2), []);
    assert_eq!(shelf.store.next_expiry(), Some(shelf.start + 10 * MINUTE));
    shelf.elapsed = 10 * MINUTE;
    // Expired means gone, looked through or not.
    assert_eq!(shelf.values(1), [long]);
    assert_eq!(shelf.expire(), [ValueId(1)]);
    assert_eq!(shelf.expire(), []);
    shelf.elapsed = 20 * MINUTE;
    assert_eq!(shelf.expire(), [ValueId(2)]);
    assert_eq!(shelf.store.next_expiry(), None);
    assert_eq!((shelf.store.len(), shelf.store.bytes()), (0, 0));
}

#[test]
fn nobody_can_take_the_id_of_another() {
    let mut shelf = shelf();
    let value = unsigned(1, 1, b"mine");
    shelf.put(1, &value).unwrap();
    let taken = shelf.put(1, &unsigned(1, 1, b"yours"));
    assert_eq!(taken, Err(ValueError::Taken));
    assert_eq!(taken.unwrap_err().code(), ErrorCode::PolicyRefused);
    // The same id with an owner is another value.
    let with_owner = signed(1, 1, 0);
    assert_eq!(shelf.put(1, &with_owner), Ok(Change::Added));
    let other = draft(1, 1, b"third").signed(WALL, &owner(2), 0).unwrap();
    assert_eq!(shelf.put(1, &other.value), Ok(Change::Added));
    assert_eq!(shelf.values(1).len(), 3);
    assert_eq!(shelf.values(1)[0], value);
}

#[test]
fn the_same_value_for_longer_is_a_refresh_and_for_shorter_is_nothing() {
    let mut shelf = shelf();
    let value = unsigned(1, 1, b"a");
    shelf.put(1, &value).unwrap();
    assert_eq!(shelf.put(1, &value), Ok(Change::Unchanged));
    let longer = value
        .renewed(&target(1), WALL.plus(20 * MINUTE), None)
        .unwrap();
    let stored = shelf.put_from(2, &target(1), &longer.encode()).unwrap();
    assert_eq!(
        (stored.change, stored.ttl),
        (Change::Refreshed, 20 * MINUTE)
    );
    shelf.elapsed = MINUTE;
    let stored = shelf.put_from(2, &target(1), &value.encode()).unwrap();
    assert_eq!(
        (stored.change, stored.ttl),
        (Change::Unchanged, 19 * MINUTE)
    );
    assert_eq!(shelf.values(1), [longer]);
    shelf.elapsed = 10 * MINUTE;
    assert_eq!(shelf.expire(), []);
    assert_eq!(shelf.store.next_expiry(), Some(shelf.start + 20 * MINUTE));
}

#[test]
fn the_owner_alone_edits_and_only_with_a_higher_number() {
    let mut shelf = shelf();
    let first = signed(1, 1, 5);
    shelf.put(1, &first).unwrap();
    assert_eq!(shelf.put(1, &signed(1, 1, 6)), Ok(Change::Edited));
    assert_eq!(shelf.values(1), [signed(1, 1, 6)]);
    let low = shelf.put(1, &first);
    assert_eq!(low, Err(ValueError::SeqTooLow { stored: 6 }));
    assert_eq!(low.unwrap_err().code(), ErrorCode::SeqTooLow);
    let same = draft(1, 1, b"other").signed(WALL, &owner(1), 6).unwrap();
    let refused = shelf.put(1, &same.value);
    assert_eq!(refused, Err(ValueError::SeqTooLow { stored: 6 }));
    let renewed = signed(1, 1, 6)
        .renewed(&target(1), WALL.plus(30 * MINUTE), Some(&owner(1)))
        .unwrap();
    assert_eq!(shelf.put(1, &renewed), Ok(Change::Refreshed));
}

#[test]
fn a_signature_for_another_key_or_over_other_contents_is_refused() {
    let mut shelf = shelf();
    let value = signed(1, 1, 0);
    let refused = shelf.put(2, &value).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadSignature);
    let mut longer = value.clone();
    longer.expiry = WALL.plus(11 * MINUTE);
    assert_eq!(
        shelf.put(1, &longer).unwrap_err().code(),
        ErrorCode::BadSignature
    );
    shelf.put(1, &value).unwrap();
    assert_eq!(
        shelf.put(1, &longer).unwrap_err().code(),
        ErrorCode::BadSignature
    );
    assert_eq!(shelf.values(1), [value]);
}

#[test]
fn a_removal_by_the_owner_stands_until_what_it_removed_would_have_expired() {
    let mut shelf = shelf();
    let long = draft(1, 1, b"long").with_ttl(60 * MINUTE);
    let long = long.signed(WALL, &owner(1), 0).unwrap().value;
    shelf.put(1, &long).unwrap();
    // A removal that says it ends earlier.
    let short = signed(1, 1, 1);
    let removal = short.removed_by(&owner(1), &target(1)).unwrap();
    assert_eq!(shelf.put(1, &removal), Ok(Change::Removed));
    assert_eq!(shelf.put(1, &removal), Ok(Change::Unchanged));
    assert_eq!(shelf.values(1), [removal]);
    for elapsed in [1, 11, 59] {
        shelf.elapsed = elapsed * MINUTE;
        // The end of a removal is no news.
        assert_eq!(shelf.expire(), []);
        let again = shelf.put(1, &long);
        assert_eq!(again, Err(ValueError::SeqTooLow { stored: 2 }));
    }
    assert_eq!(shelf.values(1), []);
    shelf.elapsed = 60 * MINUTE;
    assert_eq!(shelf.expire(), []);
    assert_eq!(shelf.store.len(), 0);
}

#[test]
fn an_older_version_does_not_come_back_when_the_newer_one_expires() {
    let mut shelf = shelf();
    let old = draft(1, 1, b"old").with_ttl(60 * MINUTE);
    let old = old.signed(WALL, &owner(1), 0).unwrap().value;
    shelf.put(1, &old).unwrap();
    let new = signed(1, 1, 1);
    shelf.put(1, &new).unwrap();
    shelf.elapsed = 10 * MINUTE;
    assert_eq!(shelf.expire(), [ValueId(1)]);
    assert_eq!(shelf.expire(), []);
    let again = shelf.put(1, &old);
    assert_eq!(again, Err(ValueError::SeqTooLow { stored: 1 }));
    // The owner may bring the newest back.
    let renewed = new.renewed(&target(1), WALL.plus(20 * MINUTE), Some(&owner(1)));
    assert_eq!(shelf.put(1, &renewed.unwrap()), Ok(Change::Added));
    shelf.elapsed = 20 * MINUTE;
    assert_eq!(shelf.expire(), [ValueId(1)]);
}

#[test]
fn a_value_without_owner_and_a_stranger_remove_nothing() {
    let value = unsigned(1, 1, b"a");
    let error = value.removed_by(&owner(1), &target(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the value has no owner, so nobody can change or remove it"
    );
    let mine = signed(1, 1, 0);
    assert!(mine.removed_by(&owner(2), &target(1)).is_err());
    // A removal of his own is another value.
    let mut shelf = shelf();
    shelf.put(1, &mine).unwrap();
    let his = draft(1, 1, b"his")
        .signed(WALL, &owner(2), 7)
        .unwrap()
        .value;
    let removal = his.removed_by(&owner(2), &target(1)).unwrap();
    assert_eq!(shelf.put(1, &removal), Ok(Change::Removed));
    assert!(shelf.values(1).contains(&mine));
}

#[test]
fn a_value_lasts_between_now_and_seven_days_and_a_late_clock() {
    let mut shelf = shelf();
    let until = |seconds| {
        let mut value = unsigned(1, 1, b"a");
        value.expiry = UnixTime(seconds);
        value
    };
    let latest = WALL.plus(MAX_TTL + MAX_CLOCK_SKEW).0;
    for (expiry, error) in [
        (0, ValueError::Expired),
        (WALL.0, ValueError::Expired),
        (latest + 1, ValueError::TooFar),
        (i64::MAX as u64, ValueError::TooFar),
    ] {
        let refused = shelf.put(1, &until(expiry));
        assert_eq!(refused, Err(error));
        assert_eq!(refused.unwrap_err().code(), ErrorCode::BadExpiry);
    }
    let stored = shelf.put_from(1, &target(1), &until(latest).encode());
    assert_eq!(stored.unwrap().ttl, MAX_TTL);
    let stored = shelf.put_from(1, &target(2), &until(WALL.0 + 1).encode());
    assert_eq!(stored.unwrap().ttl, Duration::from_secs(1));
}

#[test]
fn the_policy_of_a_type_limits_length_life_storing_and_editing() {
    let mut shelf = shelf();
    let policy = TypePolicy::new("note".into())
        .with_max_ttl(2 * MINUTE)
        .with_max_body(9)
        .with_edit_policy(EditPolicy::Nobody)
        .with_store_policy(Box::new(|offer| match offer.value.body() {
            Body::Inline(bytes) if bytes == b"bad" => Err(Refusal("no bad notes".into())),
            _ => Ok(()),
        }));
    shelf.types.register(ValueType(3), policy);
    let note = |id, body: &[u8]| {
        let draft = draft(1, id, body).with_kind(ValueType(3));
        draft.unsigned(WALL).unwrap().value
    };
    let stored = shelf.put_from(1, &target(1), &note(1, b"123456789").encode());
    assert_eq!(stored.unwrap().ttl, 2 * MINUTE);
    let long = shelf.put(1, &note(2, b"1234567890")).unwrap_err();
    assert_eq!(long, ValueError::BodyTooLong { found: 10, max: 9 });
    assert_eq!(long.code(), ErrorCode::TooBig);
    let bad = shelf.put(1, &note(3, b"bad")).unwrap_err();
    assert_eq!(
        (bad.code(), bad.to_string().as_str()),
        (ErrorCode::PolicyRefused, "no bad notes")
    );

    let version = |seq| {
        let draft = draft(1, 4, b"x").with_kind(ValueType(3));
        draft.signed(WALL, &owner(1), seq).unwrap().value
    };
    shelf.put(1, &version(0)).unwrap();
    let edit = shelf.put(1, &version(1)).unwrap_err();
    assert_eq!(edit.code(), ErrorCode::PolicyRefused);
    let removal = version(0).removed_by(&owner(1), &target(1)).unwrap();
    assert_eq!(shelf.put(1, &removal), Ok(Change::Removed));
}

#[test]
fn a_rule_sees_both_versions() {
    let mut shelf = shelf();
    let rule = EditPolicy::Rule(Box::new(|edit| {
        let step = edit.new.value.seq() == edit.old.seq().map(|seq| seq + 1);
        step.then_some(())
            .ok_or(Refusal("one step at a time".into()))
    }));
    let policy = TypePolicy::new("steps".into()).with_edit_policy(rule);
    shelf.types.register(ValueType(0), policy);
    shelf.put(1, &signed(1, 1, 0)).unwrap();
    assert!(shelf.put(1, &signed(1, 1, 2)).is_err());
    assert_eq!(shelf.put(1, &signed(1, 1, 1)), Ok(Change::Edited));
    assert_eq!(shelf.types.by_name("steps"), Some(ValueType(0)));
    assert_eq!(shelf.types.by_name("user data"), Some(ValueType(0)));
    assert_eq!(shelf.types.policy(ValueType(9)).name(), "user data");
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let mut shelf = shelf();
    for id in 0..20 {
        shelf
            .put(1, &unsigned(1, id, &vec![7; id as usize * 40]))
            .unwrap();
    }
    let all = shelf.values(1);
    for budget in [MAX_RECORD_LEN + 5, 2000, 5000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let request = PageRequest {
                query: &ValueQuery::ALL,
                after: after.as_ref(),
                budget,
            };
            let page = shelf.page(1, &request);
            let size: usize = page
                .records
                .iter()
                .map(|record| string_cost(record.len()))
                .sum();
            assert!(size <= budget);
            assert!(!page.records.is_empty());
            found.extend(
                page.records
                    .iter()
                    .map(|record| Value::decode(record).unwrap()),
            );
            after = page.more;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, all);
    }
    let request = PageRequest {
        query: &ValueQuery::ALL,
        after: None,
        budget: 10,
    };
    let page = shelf.page(1, &request);
    assert_eq!((page.records.len(), page.more), (0, Some(all[0].key())));
}

#[test]
fn a_query_gives_the_values_and_the_fields_it_asks_for() {
    let mut shelf = shelf();
    shelf.put(1, &unsigned(1, 1, b"a")).unwrap();
    shelf.put(1, &signed(1, 2, 4)).unwrap();
    let removal = signed(1, 3, 0).removed_by(&owner(1), &target(1)).unwrap();
    shelf.put(1, &removal).unwrap();
    let query = ValueQuery {
        select: Select::of(&[Field::Id, Field::Seq]),
        filter: Filter {
            owner: Some(owner(1).id().into()),
            ..Filter::default()
        },
    };
    let request = PageRequest {
        query: &query,
        after: None,
        budget: 1000,
    };
    let page = shelf.page(1, &request);
    assert_eq!(page.records, [&b"d1:i8:\0\0\0\0\0\0\0\x021:ni4ee"[..]]);
    assert_eq!(page.more, None);
    let now = shelf.now();
    let pushed = |key: &ValueKey, query| shelf.store.record(now, &target(1), (key, query));
    assert!(pushed(&removal.key(), &ValueQuery::ALL).is_some());
    assert!(pushed(&removal.key(), &query).is_none());
}

#[test]
fn bytes_that_are_no_record_are_refused_with_their_code() {
    let mut shelf = shelf();
    let error = |shelf: &mut Shelf, record: &[u8]| {
        shelf.put_from(1, &target(1), record).unwrap_err().code()
    };
    assert_eq!(error(&mut shelf, b""), ErrorCode::Protocol);
    assert_eq!(error(&mut shelf, b"de"), ErrorCode::Protocol);
    let long = vec![b'd'; MAX_RECORD_LEN + 1];
    assert_eq!(error(&mut shelf, &long), ErrorCode::TooBig);
    assert_eq!(shelf.store.len(), 0);
}
