//! Splitting and joining, and parts that no honest author makes.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

fn noise(len: usize) -> Vec<u8> {
    let mut body = vec![0; len];
    ChaCha20Rng::seed_from_u64(len as u64).fill_bytes(&mut body);
    body
}

/// Fetches everything, newest wish first where `backwards`.
fn join(parts: &Parts, backwards: usize) -> Vec<u8> {
    let mut joiner = Joiner::new(parts.len, &parts.parts).unwrap();
    loop {
        let mut wanted: Vec<Id> = joiner.wanted().collect();
        if wanted.is_empty() {
            break;
        }
        if backwards == 1 {
            wanted.reverse();
        }
        let item = parts.items.iter().find(|item| item.target == wanted[0]);
        joiner.feed(&wanted[0], &item.unwrap().encoded).unwrap();
    }
    joiner.into_body().unwrap()
}

#[test]
fn a_body_comes_back_from_its_parts_at_every_edge() {
    let edges = [
        1,
        LEAF_LEN - 1,
        LEAF_LEN,
        LEAF_LEN + 1,
        MAX_DIRECT_PARTS * LEAF_LEN,
        MAX_DIRECT_PARTS * LEAF_LEN + 1,
        HASHES_IN_INDEX * LEAF_LEN,
        HASHES_IN_INDEX * LEAF_LEN + 1,
        MAX_BODY_LEN,
    ];
    for len in edges {
        let body = noise(len);
        let parts = split(&body).unwrap();
        assert!(is_shape(parts.len, parts.parts.len()));
        assert!(parts.parts.len() <= MAX_DIRECT_PARTS);
        for item in &parts.items {
            assert!(item.encoded.len() <= MAX_ITEM_LEN);
            assert_eq!(item.target, Id::hash_of(&item.encoded));
        }
        assert_eq!(join(&parts, 0), body);
        assert_eq!(join(&parts, 1), body);
    }
    assert_eq!(split(&[]), Err(SplitError { found: 0 }));
    let long = vec![0; MAX_BODY_LEN + 1];
    assert_eq!(split(&long), Err(SplitError { found: 65_537 }));
}

#[test]
fn equal_parts_are_stored_and_fetched_once() {
    let body = vec![0; MAX_BODY_LEN];
    let parts = split(&body).unwrap();
    // One full leaf, the last leaf, two index items.
    assert_eq!(parts.items.len(), 4);
    assert_eq!(join(&parts, 0), body);
    assert_eq!(join(&parts, 1), body);
}

#[test]
fn a_part_that_was_not_asked_for_or_was_changed_is_refused_and_still_wanted() {
    let parts = split(&noise(3 * LEAF_LEN)).unwrap();
    let mut joiner = Joiner::new(parts.len, &parts.parts).unwrap();
    let item = &parts.items[0];
    let mut changed = item.encoded.clone();
    changed[10] ^= 1;
    let error = joiner.feed(&item.target, &changed).unwrap_err();
    assert_eq!(error, JoinError::WrongHash);
    assert!(!error.is_final());
    for len in 0..item.encoded.len() {
        let short = &item.encoded[..len];
        assert_eq!(joiner.feed(&item.target, short), Err(JoinError::WrongHash));
    }
    assert_eq!(joiner.feed(&item.target, &item.encoded), Ok(()));
    let again = joiner.feed(&item.target, &item.encoded).unwrap_err();
    assert_eq!(again, JoinError::Unwanted);
    assert!(!again.is_final());
    assert!(!joiner.is_complete());
    assert_eq!(joiner.into_body(), None);
}

#[test]
fn the_length_decides_how_many_parts_a_record_names() {
    let ids = vec![Id::default(); MAX_DIRECT_PARTS + 1];
    let shape = |len, parts| Joiner::new(len, &ids[..parts]).err();
    assert_eq!(shape(0, 0), Some(JoinError::Shape { len: 0, parts: 0 }));
    for (len, parts) in [(1, 0), (1, 2), (LEAF_LEN as u32 + 1, 1), (65_537, 2)] {
        assert_eq!(shape(len, parts), Some(JoinError::Shape { len, parts }));
    }
    let direct = (MAX_DIRECT_PARTS * LEAF_LEN) as u32;
    assert_eq!(shape(direct, MAX_DIRECT_PARTS), None);
    let parts = MAX_DIRECT_PARTS + 1;
    let len = direct + 1;
    assert_eq!(shape(len, parts), Some(JoinError::Shape { len, parts }));
    assert_eq!(shape(len, 1), None);
    assert_eq!(
        shape(u32::MAX, 1),
        Some(JoinError::Shape {
            len: u32::MAX,
            parts: 1
        })
    );
    assert_eq!(shape(65_536, 2), Some(JoinError::DuplicateIndex));
}

#[test]
fn an_index_of_another_length_or_with_an_index_inside_ends_the_join() {
    let len = (40 * LEAF_LEN) as u32;
    let start = |index: &Item| Joiner::new(len, &[index.target]).unwrap();

    let short = Item::of(&vec![1; 39 * ID_LEN]);
    let error = start(&short).feed(&short.target, &short.encoded);
    let expected = 40 * ID_LEN;
    let found = 39 * ID_LEN;
    assert_eq!(error, Err(JoinError::WrongLength { expected, found }));
    assert!(error.unwrap_err().is_final());

    // A part that would be an index too: its length gives it away.
    let inner = Item::of(&vec![1; 40 * ID_LEN]);
    let outer = Item::of(&inner.target.as_bytes().repeat(40));
    let mut joiner = start(&outer);
    joiner.feed(&outer.target, &outer.encoded).unwrap();
    assert_eq!(
        joiner.feed(&inner.target, &inner.encoded),
        Err(JoinError::WrongLength {
            expected: LEAF_LEN,
            found: 800
        })
    );

    // Two index items, the first of which names the second.
    let second = Item::of(&vec![2; 17 * ID_LEN]);
    let mut hashes = noise(HASHES_IN_INDEX * ID_LEN);
    hashes[..ID_LEN].copy_from_slice(second.target.as_bytes());
    let first = Item::of(&hashes);
    let mut joiner = Joiner::new(65_536, &[first.target, second.target]).unwrap();
    let error = joiner.feed(&first.target, &first.encoded);
    assert_eq!(error, Err(JoinError::Loop));
    let mut joiner = Joiner::new(65_536, &[first.target, second.target]).unwrap();
    joiner.feed(&second.target, &second.encoded).unwrap();
    let error = joiner.feed(&first.target, &first.encoded);
    assert_eq!(error, Err(JoinError::Loop));
}

#[test]
fn a_part_that_is_no_byte_string_ends_the_join() {
    let too_long = Item::of(&vec![0; LEAF_LEN + 1]).encoded;
    let with_rest = b"1:ae".to_vec();
    for encoded in [b"i1e".to_vec(), b"le".to_vec(), with_rest, vec![], too_long] {
        let target = Id::hash_of(&encoded);
        let mut joiner = Joiner::new(1, &[target]).unwrap();
        let error = joiner.feed(&target, &encoded).unwrap_err();
        assert_eq!(error, JoinError::NotBytes);
        assert!(error.is_final());
    }
}

#[test]
fn a_leaf_at_two_places_with_two_lengths_ends_the_join() {
    let leaf = Item::of(&[5; LEAF_LEN]);
    let mut joiner = Joiner::new(LEAF_LEN as u32 + 1, &[leaf.target, leaf.target]).unwrap();
    assert_eq!(joiner.wanted().count(), 1);
    let error = joiner.feed(&leaf.target, &leaf.encoded);
    let (expected, found) = (1, LEAF_LEN);
    assert_eq!(error, Err(JoinError::WrongLength { expected, found }));
}

#[test]
fn nothing_is_allocated_for_a_body_of_which_nothing_came() {
    let parts = split(&noise(MAX_BODY_LEN)).unwrap();
    let mut joiner = Joiner::new(parts.len, &parts.parts).unwrap();
    let index = parts.items.last().unwrap();
    joiner.feed(&index.target, &index.encoded).unwrap();
    assert_eq!(joiner.body.capacity(), 0);
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
    #![proptest_config(cases(32))]

    #[test]
    fn every_body_comes_back(
        seed in any::<u8>(),
        len in 1..=MAX_BODY_LEN,
        period in 1..3000_usize,
        backwards in 0..2_usize,
    ) {
        // Periods bring equal leaves.
        let body: Vec<u8> = (0..len).map(|at| (at % period) as u8 ^ seed).collect();
        prop_assert_eq!(join(&split(&body).unwrap(), backwards), body);
    }

    #[test]
    fn no_item_makes_a_joiner_panic(
        len in 0..70_000_u32,
        parts in 0..70_usize,
        items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..1100), 0..8),
    ) {
        let items: Vec<Item> = items.iter().map(|bytes| Item::of(bytes)).collect();
        let targets: Vec<Id> = items.iter().map(|item| item.target).cycle().take(parts).collect();
        if let Ok(mut joiner) = Joiner::new(len, &targets) {
            for item in &items {
                let _ = joiner.feed(&item.target, &item.encoded);
            }
        }
    }
}
