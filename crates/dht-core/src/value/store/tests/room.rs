//! Bounds, shares, and who makes room for whom.

use super::*;

#[test]
fn a_full_key_makes_room_for_who_has_less_there() {
    let limits = ValueLimits {
        values_per_key: 4,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    let put = |shelf: &mut Shelf, from, id| {
        let record = unsigned(1, id, b"a").encode();
        shelf
            .put_from(from, &target(1), &record)
            .map(|stored| stored.change)
    };
    for id in 0..4 {
        assert_eq!(put(&mut shelf, 1, id), Ok(Change::Added));
    }
    let full = put(&mut shelf, 1, 4);
    assert_eq!(full, Err(ValueError::FullKey));
    assert_eq!(full.unwrap_err().code(), ErrorCode::QuotaExceeded);
    assert_eq!(put(&mut shelf, 2, 5), Ok(Change::Added));
    assert_eq!(put(&mut shelf, 2, 6), Ok(Change::Added));
    // Two each: neither gives way to the other, both to a third.
    assert_eq!(put(&mut shelf, 2, 7), Err(ValueError::FullKey));
    assert_eq!(put(&mut shelf, 3, 8), Ok(Change::Added));
    assert_eq!(shelf.store.len(), 4);
}

#[test]
fn a_full_store_makes_room_for_nearer_keys() {
    let limits = ValueLimits {
        keys: 3,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    for at in [8, 4, 2] {
        shelf.put(at, &unsigned(at, 1, b"a")).unwrap();
    }
    let far = shelf.put(9, &unsigned(9, 1, b"a"));
    assert_eq!(far, Err(ValueError::FullStore));
    assert_eq!(far.unwrap_err().code(), ErrorCode::Server);
    assert_eq!(shelf.put(8, &unsigned(8, 2, b"a")), Ok(Change::Added));
    assert_eq!(shelf.put(1, &unsigned(1, 1, b"a")), Ok(Change::Added));
    assert_eq!(shelf.values(8), []);
    assert_eq!(shelf.store.key_count(), 3);

    let room = 3 * (ENTRY_COST + unsigned(1, 1, &[0; 800]).encode().len());
    let limits = ValueLimits {
        bytes: room,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    for at in [8, 4, 2] {
        shelf.put(at, &unsigned(at, 1, &[0; 800])).unwrap();
    }
    assert_eq!(shelf.store.bytes(), room);
    assert_eq!(
        shelf.put(9, &unsigned(9, 1, b"a")),
        Err(ValueError::FullStore)
    );
    assert_eq!(shelf.put(1, &unsigned(1, 1, b"a")), Ok(Change::Added));
    assert_eq!(shelf.values(8), []);
}

#[test]
fn what_has_no_room_takes_the_place_of_nothing() {
    let record = |at, id, body: &[u8]| unsigned(at, id, body).encode();
    let small = ENTRY_COST + record(1, 1, b"a").len();
    let large = ENTRY_COST + record(1, 1, &[0; 800]).len();

    // A far key would go, and would not be enough: the next one is nearer.
    let limits = ValueLimits {
        bytes: small + large,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    shelf.put(8, &unsigned(8, 1, b"a")).unwrap();
    shelf.put(2, &unsigned(2, 1, &[0; 800])).unwrap();
    let refused = shelf.put(4, &unsigned(4, 1, &[0; 800]));
    assert_eq!(refused, Err(ValueError::FullStore));
    assert_eq!((shelf.values(8).len(), shelf.values(2).len()), (1, 1));

    // A value of the crowd would go, and would not be enough.
    let limits = ValueLimits {
        values_per_key: 2,
        bytes: 2 * small,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    for id in 0..2 {
        shelf.put_from(1, &target(1), &record(1, id, b"a")).unwrap();
    }
    let refused = shelf.put_from(2, &target(1), &record(1, 9, &[0; 800]));
    assert_eq!(refused, Err(ValueError::FullStore));
    assert_eq!(shelf.values(1).len(), 2);
    // What fits in its place comes there.
    shelf.put_from(2, &target(1), &record(1, 9, b"b")).unwrap();
    assert_eq!(shelf.values(1).len(), 2);
}

#[test]
fn a_source_has_its_share_in_values_and_in_bytes() {
    let limits = ValueLimits {
        values_per_source: 2,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    shelf.put(1, &unsigned(1, 1, b"a")).unwrap();
    shelf.put(2, &signed(2, 2, 0)).unwrap();
    let over = shelf.put(3, &unsigned(3, 3, b"a"));
    assert_eq!(over, Err(ValueError::Quota));
    assert_eq!(over.unwrap_err().code(), ErrorCode::QuotaExceeded);
    // In place of what it has, or from elsewhere.
    assert_eq!(shelf.put(2, &signed(2, 2, 1)), Ok(Change::Edited));
    let record = unsigned(3, 3, b"a").encode();
    assert!(shelf.put_from(2, &target(3), &record).is_ok());
    // What expires gives its share back.
    shelf.elapsed = 10 * MINUTE;
    shelf.expire();
    let later = draft(3, 4, b"a").unsigned(shelf.wall()).unwrap().value;
    assert_eq!(shelf.put(3, &later), Ok(Change::Added));

    let cost = ENTRY_COST + unsigned(1, 1, b"a").encode().len();
    let limits = ValueLimits {
        bytes_per_source: 2 * cost,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    shelf.put(1, &unsigned(1, 1, b"a")).unwrap();
    assert_eq!(shelf.put(1, &unsigned(1, 2, b"ab")), Err(ValueError::Quota));
    assert_eq!(shelf.put(1, &unsigned(1, 2, b"a")), Ok(Change::Added));
}

#[test]
fn a_local_address_has_no_share_but_the_store_has_its_bounds() {
    let limits = ValueLimits {
        values_per_source: 2,
        keys: 4,
        ..ValueLimits::default()
    };
    let mut shelf = Shelf::new(limits);
    let local = u32::from(Ipv4Addr::LOCALHOST);
    for number in (1..=4).rev() {
        let record = unsigned(number, u64::from(number), b"a").encode();
        assert!(shelf.put_from(local, &target(number), &record).is_ok());
    }
    let record = unsigned(5, 5, b"a").encode();
    let over = shelf.put_from(local, &target(5), &record);
    assert_eq!(over.unwrap_err(), ValueError::FullStore);
    let record = unsigned(1, 9, b"a").encode();
    assert!(shelf.put_from(local, &target(1), &record).is_ok());
}

#[test]
fn much_that_expires_at_once_goes_in_bounded_steps() {
    let mut shelf = shelf();
    for number in 0..=MAX_KEYS_EXPIRED_AT_ONCE as u8 {
        shelf.put(number, &unsigned(number, 1, b"a")).unwrap();
    }
    shelf.elapsed = 10 * MINUTE;
    assert_eq!(shelf.expire().len(), MAX_KEYS_EXPIRED_AT_ONCE);
    assert_eq!(shelf.store.next_expiry(), Some(shelf.now()));
    assert_eq!(shelf.expire().len(), 1);
    assert_eq!(shelf.store.next_expiry(), None);
}
