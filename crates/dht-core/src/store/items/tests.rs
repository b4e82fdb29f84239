//! The rules of BEP 44, the bounds, and a model.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

mod model;

use std::time::Duration;

use super::*;
use crate::item::{ItemError, ItemSigner, MAX_VALUE_LEN, MutableItem};
use crate::krpc::ErrorCode;

const OWN: Id = Id::from_bytes([0; ID_LEN]);
const LIFETIME: Duration = Duration::from_secs(ITEM_LIFETIME as u64);

/// An address that nobody else uses.
fn address(number: u32) -> IpAddr {
    IpAddr::from((0xc600_0000 + number).to_be_bytes())
}

fn store(items: usize) -> ItemStore {
    ItemStore::new(ItemLimits {
        items,
        ..ItemLimits::default()
    })
}

fn signer() -> ItemSigner {
    ItemSigner::from_seed(&[1; 32])
}

fn item(seq: i64, value: &[u8]) -> MutableItem {
    MutableItem::sign(&signer(), b"salt", seq, value).unwrap()
}

/// Puts `item` from a fixed address.
fn put(
    store: &mut ItemStore,
    now: Instant,
    item: &MutableItem,
    cas: Option<i64>,
) -> Result<(), StoreError> {
    store.put_mutable(now, &OWN, &item.as_put(b"", cas), address(1))
}

/// The bencoded byte string of `text`.
fn string(text: &str) -> Vec<u8> {
    format!("{}:{text}", text.len()).into_bytes()
}

/// Distinct values, nearest to [`OWN`] first.
fn values_by_distance(count: usize) -> Vec<Vec<u8>> {
    let mut values: Vec<_> = (0..count).map(|n| string(&format!("value {n}"))).collect();
    values.sort_by_key(|value| immutable_target(value).distance(&OWN));
    values
}

/// What is counted beside the items agrees with them.
fn check_accounts(store: &ItemStore) {
    assert_eq!(
        store.bytes(),
        store.items.values().map(StoredItem::cost).sum()
    );
    let charged = store.items.values().filter(|item| item.source.is_some());
    assert_eq!(store.charges.total(), charged.count());
    assert!(store.count() <= store.limits.items && store.bytes() <= store.limits.bytes);
}

#[test]
fn an_empty_store_allocates_nothing_and_waits_for_nothing() {
    let store = ItemStore::new(ItemLimits::default());
    assert_eq!((store.count(), store.bytes()), (0, 0));
    assert_eq!(store.next_expiry(), None);
    assert!(size_of::<ItemStore>() <= 128, "{}", size_of::<ItemStore>());
    assert!(size_of::<StoredItem>() <= 40);
}

#[test]
fn an_immutable_value_lies_under_its_own_hash_and_nowhere_else() {
    let (mut store, now) = (store(10), Instant::now());
    let value = string("Hello World!");
    store.put_immutable(now, &OWN, &value, address(1)).unwrap();
    let target: Id = "e5f96f6f38320f0f33959cb4d3d656452117aadb".parse().unwrap();
    let stored = store.get(now, &target).unwrap();
    assert_eq!(stored.value(), value);
    assert_eq!((stored.signed(), stored.seq()), (None, None));
    assert_eq!(store.count(), 1);
    let other = immutable_target(&string("Hello World?"));
    assert!(store.get(now, &other).is_none());
}

#[test]
fn a_put_without_a_key_is_an_immutable_one() {
    let (mut store, now) = (store(10), Instant::now());
    let value = string("Hello World!");
    let put = Put {
        token: b"",
        value: &value,
        mutable: None,
    };
    store.put_mutable(now, &OWN, &put, address(1)).unwrap();
    assert_eq!(
        store.get(now, &immutable_target(&value)).unwrap().value(),
        value
    );
}

#[test]
fn an_update_replaces_value_signature_and_number_together() {
    let (mut store, now) = (store(10), Instant::now());
    put(&mut store, now, &item(1, b"3:old"), None).unwrap();
    let newer = item(2, b"5:newer");
    put(&mut store, now, &newer, None).unwrap();
    let stored = store.get(now, &newer.target()).unwrap();
    let signed = stored.signed().unwrap();
    let verified = MutableItem::verified(
        &signed.key,
        b"salt",
        signed.seq,
        stored.value(),
        &signed.signature,
    );
    assert_eq!(
        verified.unwrap(),
        newer,
        "what is stored verifies as a whole"
    );
    check_accounts(&store);
}

#[test]
fn the_highest_number_is_kept_and_not_the_last_that_came() {
    let (mut store, now) = (store(10), Instant::now());
    put(&mut store, now, &item(5, b"4:five"), None).unwrap();
    let lower = put(&mut store, now, &item(4, b"4:four"), None);
    assert_eq!(lower, Err(StoreError::SeqTooLow));
    assert_eq!(lower.unwrap_err().code(), ErrorCode::SeqTooLow);
    let same_value = put(&mut store, now, &item(4, b"4:five"), None);
    assert_eq!(same_value, Err(StoreError::SeqTooLow));
    let stored = store.get(now, &item(5, b"4:five").target()).unwrap();
    assert_eq!(
        (stored.seq(), stored.value()),
        (Some(5), b"4:five".as_slice())
    );
}

#[test]
fn the_same_number_refreshes_the_same_value_and_refuses_another() {
    let (mut store, now) = (store(10), Instant::now());
    let first = item(1, b"5:value");
    put(&mut store, now, &first, None).unwrap();
    let later = now + LIFETIME - Duration::from_secs(1);
    assert_eq!(
        put(&mut store, later, &item(1, b"5:other"), None),
        Err(StoreError::SeqTooLow)
    );
    put(&mut store, later, &first, None).unwrap();
    let stored = store.get(now + LIFETIME, &first.target()).unwrap();
    assert_eq!(stored.value(), b"5:value");
    assert_eq!(store.count(), 1);
    check_accounts(&store);
}

#[test]
fn a_refresh_with_a_wrong_signature_is_refused() {
    let (mut store, now) = (store(10), Instant::now());
    let first = item(1, b"5:value");
    put(&mut store, now, &first, None).unwrap();
    let mut forged = first.as_put(b"", None);
    let signature = [7; 64];
    forged.mutable.as_mut().unwrap().signature = &signature;
    let refused = store.put_mutable(now, &OWN, &forged, address(1));
    assert_eq!(refused.unwrap_err().code(), ErrorCode::BadSignature);
}

#[test]
fn another_valid_signature_of_the_same_value_refreshes_too() {
    // One key with two prefixes signs one value in two ways.
    let (mut one, mut other) = ([0x40; 64], [0x40; 64]);
    (one[63], other[63]) = (1, 2);
    let [one, other] = [one, other].map(|bytes| {
        let signer = ItemSigner::from_expanded(&bytes);
        MutableItem::sign(&signer, b"", 1, b"5:value").unwrap()
    });
    assert_eq!(one.key(), other.key());
    assert_ne!(one.signature(), other.signature());
    let (mut store, now) = (store(10), Instant::now());
    put(&mut store, now, &one, None).unwrap();
    put(&mut store, now + LIFETIME / 2, &other, None).unwrap();
    let stored = store.get(now + LIFETIME, &one.target()).unwrap();
    assert_eq!(stored.reply(None), (Some(one.as_reply()), Some(1)));
}

#[test]
fn cas_is_compared_with_the_stored_number_and_not_with_the_new_one() {
    let (mut store, now) = (store(10), Instant::now());
    put(&mut store, now, &item(3, b"i3e"), None).unwrap();
    for wrong in [0, 2, 4, 5] {
        let refused = put(&mut store, now, &item(5, b"i5e"), Some(wrong));
        assert_eq!(refused, Err(StoreError::CasMismatch), "cas {wrong}");
        assert_eq!(refused.unwrap_err().code(), ErrorCode::CasMismatch);
    }
    assert_eq!(
        store.get(now, &item(3, b"i3e").target()).unwrap().seq(),
        Some(3)
    );
    put(&mut store, now, &item(5, b"i5e"), Some(3)).unwrap();
    assert_eq!(
        store.get(now, &item(3, b"i3e").target()).unwrap().seq(),
        Some(5)
    );
}

#[test]
fn cas_means_nothing_where_nothing_is_stored() {
    let (mut store, now) = (store(10), Instant::now());
    put(&mut store, now, &item(9, b"i9e"), Some(4)).unwrap();
    assert_eq!(store.count(), 1);
    let expired = now + LIFETIME;
    put(&mut store, expired, &item(2, b"i2e"), Some(4)).unwrap();
    assert_eq!(
        store.get(expired, &item(2, b"i2e").target()).unwrap().seq(),
        Some(2)
    );
    check_accounts(&store);
}

#[test]
fn a_get_with_a_number_leaves_out_what_the_asker_has_and_always_tells_the_number() {
    let (mut store, now) = (store(10), Instant::now());
    let item = item(5, b"i5e");
    put(&mut store, now, &item, None).unwrap();
    let stored = store.get(now, &item.target()).unwrap();
    for since in [None, Some(0), Some(4)] {
        assert_eq!(
            stored.reply(since),
            (Some(item.as_reply()), Some(5)),
            "{since:?}"
        );
    }
    for since in [Some(5), Some(6)] {
        assert_eq!(stored.reply(since), (None, Some(5)), "{since:?}");
    }
    store.put_immutable(now, &OWN, b"i1e", address(1)).unwrap();
    let immutable = store.get(now, &immutable_target(b"i1e")).unwrap();
    let (reply, seq) = immutable.reply(Some(7));
    assert_eq!((reply.unwrap().value, seq), (b"i1e".as_slice(), None));
}

#[test]
fn nothing_is_stored_before_its_signature_was_checked() {
    let (mut store, now) = (store(10), Instant::now());
    let item = item(1, b"5:value");
    let mut put = item.as_put(b"", None);
    put.value = b"5:other";
    let refused = store.put_mutable(now, &OWN, &put, address(1));
    assert_eq!(refused, Err(StoreError::Item(ItemError::BadSignature)));
    assert_eq!(
        (store.count(), store.bytes(), store.next_expiry()),
        (0, 0, None)
    );
}

#[test]
fn each_fault_of_a_put_is_refused_with_its_own_code() {
    let (mut store, now) = (store(10), Instant::now());
    let item = item(1, b"5:value");
    let longer = [b"997:".as_slice(), &[b'x'; 997]].concat();
    assert_eq!(longer.len(), MAX_VALUE_LEN + 1);
    let long_salt = [b's'; 65];
    let valid = item.as_put(b"", None);
    let mutable = valid.mutable.unwrap();
    let with = |mutable| Put {
        mutable: Some(mutable),
        ..valid
    };
    let faults = [
        (
            Put {
                value: &longer,
                ..valid
            },
            ErrorCode::TooBig,
        ),
        (
            Put {
                value: &longer,
                mutable: None,
                ..valid
            },
            ErrorCode::TooBig,
        ),
        (
            Put {
                value: b"5:valu",
                ..valid
            },
            ErrorCode::Protocol,
        ),
        (
            Put {
                value: b"i1ei2e",
                mutable: None,
                ..valid
            },
            ErrorCode::Protocol,
        ),
        (
            with(MutablePut {
                salt: &long_salt,
                ..mutable
            }),
            ErrorCode::SaltTooBig,
        ),
        (
            with(MutablePut {
                salt: b"tlas",
                ..mutable
            }),
            ErrorCode::BadSignature,
        ),
        (with(MutablePut { seq: -1, ..mutable }), ErrorCode::Protocol),
        (
            with(MutablePut {
                key: &[0xff; 32],
                ..mutable
            }),
            ErrorCode::BadSignature,
        ),
    ];
    for (put, code) in faults {
        let refused = store.put_mutable(now, &OWN, &put, address(1)).unwrap_err();
        assert_eq!(refused.code(), code);
    }
    assert_eq!(store.count(), 0);
}

#[test]
fn an_item_expires_two_hours_after_it_was_last_put() {
    let (mut store, now) = (store(10), Instant::now());
    store.put_immutable(now, &OWN, b"i1e", address(1)).unwrap();
    let target = immutable_target(b"i1e");
    let before = now + LIFETIME - Duration::from_secs(1);
    assert!(store.get(before, &target).is_some());
    store
        .put_immutable(before, &OWN, b"i1e", address(1))
        .unwrap();
    assert!(store.get(now + LIFETIME, &target).is_some(), "refreshed");
    let end = before + LIFETIME;
    assert!(store.get(end - Duration::from_secs(1), &target).is_some());
    assert!(
        store.get(end, &target).is_none(),
        "gone for readers before it is swept"
    );
    store.expire(store.next_expiry().unwrap());
    assert_eq!(store.count(), 1, "the first look finds it refreshed");
    assert_eq!(store.next_expiry(), Some(end));
    store.expire(end);
    assert_eq!(
        (store.count(), store.bytes(), store.next_expiry()),
        (0, 0, None)
    );
    check_accounts(&store);
}

#[test]
fn a_full_store_takes_what_is_nearer_and_drops_the_farthest_for_it() {
    let now = Instant::now();
    let values = values_by_distance(12);
    let mut store = store(10);
    for (number, value) in values.iter().skip(1).take(10).enumerate() {
        store
            .put_immutable(now, &OWN, value, address(number as u32))
            .unwrap();
    }
    assert_eq!(
        store.count(),
        10,
        "full, and everything was taken up to here"
    );
    let too_far = store
        .put_immutable(now, &OWN, &values[11], address(50))
        .unwrap_err();
    assert_eq!(
        (too_far, too_far.code()),
        (StoreError::TooFar, ErrorCode::Server)
    );
    assert!(
        store.get(now, &immutable_target(&values[11])).is_none(),
        "refused is not stored"
    );
    store
        .put_immutable(now, &OWN, &values[0], address(51))
        .unwrap();
    let held = |value: &Vec<u8>| store.get(now, &immutable_target(value)).is_some();
    assert!(values[..10].iter().all(held));
    assert!(!held(&values[10]), "the farthest had to go");
    check_accounts(&store);
}

#[test]
fn the_bound_on_bytes_drops_as_many_as_it_takes_or_none() {
    let now = Instant::now();
    let mut store = ItemStore::new(ItemLimits {
        bytes: 3 * (ITEM_OVERHEAD + 100),
        ..ItemLimits::default()
    });
    let values = |text_len: usize| {
        let texts = (0..200).map(|tag| format!("{tag:0>text_len$}"));
        let mut values: Vec<_> = texts.map(|text| string(&text)).collect();
        values.sort_by_key(|value| immutable_target(value).distance(&OWN));
        values
    };
    let (small, large) = (values(97), values(196));
    assert_eq!((small[0].len(), large[0].len()), (100, 200));
    for value in [&small[30], &small[60], &small[150]] {
        store.put_immutable(now, &OWN, value, address(1)).unwrap();
    }
    assert_eq!(store.bytes(), store.limits.bytes, "exactly full");
    let one_past = store.put_immutable(now, &OWN, &small[190], address(1));
    assert_eq!(one_past, Err(StoreError::TooFar));
    // A larger one needs the room of two; of these three two are nearer than this one.
    let distance = |value: &Vec<u8>| immutable_target(value).distance(&OWN);
    let between = distance(&small[60])..distance(&small[150]);
    let between = large
        .iter()
        .find(|value| between.contains(&distance(value)))
        .unwrap();
    let refused = store.put_immutable(now, &OWN, between, address(1));
    assert_eq!(
        refused,
        Err(StoreError::TooFar),
        "it would take a nearer one too"
    );
    assert_eq!(store.count(), 3, "none was dropped for it");
    check_accounts(&store);
    store
        .put_immutable(now, &OWN, &large[0], address(1))
        .unwrap();
    assert_eq!(store.count(), 2, "two small ones made room");
    assert!(store.get(now, &immutable_target(&small[30])).is_some());
    check_accounts(&store);
}

#[test]
fn what_another_node_passes_on_lives_as_long_as_it_would_have_there() {
    let now = Instant::now();
    let minute = |count: u64| now + Duration::from_secs(60 * count);
    let mut store = ItemStore::new(ItemLimits::default());
    let old = item(1, b"3:old");
    let take = |store: &mut ItemStore, now, item: &MutableItem, age| {
        let put = item.as_put(b"", None);
        store.take_over(now, &OWN, (&put, age), address(1))
    };
    let hour = ITEM_LIFETIME / 2;
    assert_eq!(
        take(&mut store, now, &old, ITEM_LIFETIME),
        Err(StoreError::Expired)
    );
    assert_eq!(take(&mut store, now, &old, hour), Ok(()));
    assert_eq!(store.age(now, &old.target()), Some(hour));
    assert_eq!(store.get(now, &old.target()).unwrap().salt(), b"salt");
    // It does not live longer by being passed on again, but by its owner's word.
    assert_eq!(take(&mut store, minute(30), &old, 0), Ok(()));
    assert!(store.get(minute(59), &old.target()).is_some());
    assert!(store.get(minute(60), &old.target()).is_none());
    assert_eq!(take(&mut store, now, &item(2, b"3:new"), hour), Ok(()));
    assert_eq!(take(&mut store, now, &old, 0), Err(StoreError::SeqTooLow));
    put(&mut store, minute(30), &item(2, b"3:new"), None).unwrap();
    assert!(store.get(minute(149), &old.target()).is_some());
    store.expire(minute(150));
    assert_eq!(store.count(), 0);
    check_accounts(&store);
}

#[test]
fn a_grown_update_that_finds_no_room_leaves_the_old_item_whole() {
    let now = Instant::now();
    let old = item(1, b"3:old");
    let cost = ITEM_OVERHEAD + old.value().len() + old.salt().len();
    let mut store = ItemStore::new(ItemLimits {
        bytes: cost,
        ..ItemLimits::default()
    });
    put(&mut store, now, &old, None).unwrap();
    assert_eq!(
        put(&mut store, now, &item(2, b"6:longer"), None),
        Err(StoreError::TooFar)
    );
    assert_eq!(
        store.get(now, &old.target()).unwrap().reply(None).0,
        Some(old.as_reply())
    );
    put(&mut store, now, &item(2, b"3:new"), None).unwrap();
    check_accounts(&store);
}

#[test]
fn one_address_stores_up_to_its_quota_and_not_one_more() {
    let now = Instant::now();
    let mut store = ItemStore::new(ItemLimits::default());
    let values = values_by_distance(MAX_ITEMS_PER_SOURCE + 1);
    for value in &values[1..] {
        store.put_immutable(now, &OWN, value, address(1)).unwrap();
    }
    let over = store
        .put_immutable(now, &OWN, &values[0], address(1))
        .unwrap_err();
    assert_eq!(
        (over, over.code()),
        (StoreError::Quota, ErrorCode::QuotaExceeded)
    );
    assert!(
        store.get(now, &immutable_target(&values[0])).is_none(),
        "refused is not stored"
    );
    store
        .put_immutable(now, &OWN, &values[1], address(1))
        .unwrap();
    store
        .put_immutable(now, &OWN, &values[0], address(2))
        .unwrap();
    check_accounts(&store);
    let later = now + LIFETIME;
    store
        .put_immutable(later, &OWN, &values[0], address(1))
        .unwrap();
    check_accounts(&store);
}

#[test]
fn who_refreshes_an_item_is_charged_for_it() {
    let (mut store, now) = (store(10), Instant::now());
    store.limits.per_source = 1;
    store.put_immutable(now, &OWN, b"i1e", address(1)).unwrap();
    store.put_immutable(now, &OWN, b"i1e", address(2)).unwrap();
    let over = store.put_immutable(now, &OWN, b"i2e", address(2));
    assert_eq!(over, Err(StoreError::Quota));
    store.put_immutable(now, &OWN, b"i2e", address(1)).unwrap();
    let foreign = store.put_immutable(now, &OWN, b"i2e", address(2));
    assert_eq!(foreign, Err(StoreError::Quota));
    check_accounts(&store);
}

#[test]
fn local_addresses_are_held_back_by_the_whole_store_alone() {
    let now = Instant::now();
    let mut store = ItemStore::new(ItemLimits::default());
    for number in 0..MAX_ITEMS_PER_SOURCE + 50 {
        let value = string(&number.to_string());
        store
            .put_immutable(now, &OWN, &value, IpAddr::from([127, 0, 0, 1]))
            .unwrap();
    }
    check_accounts(&store);
}

#[test]
fn the_default_bounds_are_reached_and_never_passed() {
    let now = Instant::now();
    let mut store = ItemStore::new(ItemLimits::default());
    let local = IpAddr::from([127, 0, 0, 1]);
    let mut refused = 0;
    for number in 0..MAX_ITEMS + 500 {
        let value = string(&format!("{number:0>995}"));
        assert_eq!(value.len(), 999);
        refused += usize::from(store.put_immutable(now, &OWN, &value, local).is_err());
    }
    let cost = ITEM_OVERHEAD + 999;
    assert_eq!(store.count(), MAX_ITEM_BYTES / cost);
    assert!(store.bytes() + cost > MAX_ITEM_BYTES);
    assert!(refused > 0);
    check_accounts(&store);
    let mut store = ItemStore::new(ItemLimits::default());
    for number in 0..MAX_ITEMS + 500 {
        let _ = store.put_immutable(now, &OWN, &string(&number.to_string()), local);
    }
    assert_eq!(store.count(), MAX_ITEMS);
    check_accounts(&store);
}
