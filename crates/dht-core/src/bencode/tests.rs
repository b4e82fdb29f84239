//! Spellings that are refused, limits at and past their edge, and what is read comes back.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

#[test]
fn every_value_has_one_spelling() {
    let good: &[&[u8]] = &[
        b"i0e",
        b"i-1e",
        b"i10e",
        b"0:",
        b"1:e",
        b"10:0123456789",
        b"le",
        b"de",
        b"d0:lee",
        b"d1:a0:1:b0:e",
        b"i99999999999999999999e",
    ];
    for bytes in good {
        assert_eq!(validate(bytes), Ok(()), "{}", bytes.escape_ascii());
    }
    let bad: &[(&[u8], Error)] = &[
        (b"", Error::Truncated),
        (b"ie", Error::Integer),
        (b"i-e", Error::Integer),
        (b"i-0e", Error::Integer),
        (b"i00e", Error::Integer),
        (b"i01e", Error::Integer),
        (b"i-01e", Error::Integer),
        (b"i+1e", Error::Unexpected(b'+')),
        (b"i 1e", Error::Unexpected(b' ')),
        (b"i--1e", Error::Unexpected(b'-')),
        (b"i1", Error::Truncated),
        (b"i", Error::Truncated),
        (b"00:", Error::Length),
        (b"01:a", Error::Length),
        (b"2:a", Error::Truncated),
        (b"1a", Error::Unexpected(b'a')),
        (b"1", Error::Truncated),
        (b"1x:aaaaaaa", Error::Unexpected(b'x')),
        (b"-1:a", Error::Unexpected(b'-')),
        (b":", Error::Unexpected(b':')),
        (b"99999999999999999999999999:a", Error::Truncated),
        (b"e", Error::Unexpected(b'e')),
        (b"l", Error::Truncated),
        (b"li1e", Error::Truncated),
        (b"d1:ae", Error::Unexpected(b'e')),
        (b"di1ei2ee", Error::Unexpected(b'i')),
        (b"dlelee", Error::Unexpected(b'l')),
        (b"d1:a", Error::Truncated),
        (b"d1:a0:", Error::Truncated),
        (b"d1:b0:1:a0:e", Error::KeyOrder),
        (b"d1:a0:1:a0:e", Error::KeyOrder),
        (b"ld1:b0:1:a0:ee", Error::KeyOrder),
        (b"lee", Error::Trailing),
        (b"0:0:", Error::Trailing),
        (b"x", Error::Unexpected(b'x')),
    ];
    for (bytes, error) in bad {
        assert_eq!(validate(bytes), Err(*error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn keys_in_two_branches_are_compared_with_their_own_kind_only() {
    assert_eq!(validate(b"ld1:b0:ed1:a0:ee"), Ok(()));
    assert_eq!(validate(b"d1:ad1:z0:e1:bd1:a0:ee"), Ok(()));
}

#[test]
fn integers_are_read_to_64_bits_and_skipped_at_any_length() {
    let cases: &[(&[u8], Result<i64, Error>)] = &[
        (b"i9223372036854775807e", Ok(i64::MAX)),
        (b"i9223372036854775808e", Err(Error::TooBig)),
        (b"i-9223372036854775808e", Ok(i64::MIN)),
        (b"i-9223372036854775809e", Err(Error::TooBig)),
        (b"i123456789012345678901e", Err(Error::TooBig)),
    ];
    for (bytes, number) in cases {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.int(), *number);
        let mut reader = Reader::new(bytes);
        reader.skip().unwrap();
        assert_eq!(reader.finish(), Ok(()));
    }
}

#[test]
fn the_deepest_value_is_read_and_one_level_more_is_refused() {
    for open in ["l", "d0:"] {
        // `d0:` needs a value within the innermost dictionary.
        let filled = |depth: usize| {
            let mut bytes = open.repeat(depth).into_bytes();
            bytes.extend_from_slice(b"0:");
            bytes.extend(vec![b'e'; depth]);
            bytes
        };
        assert_eq!(validate(&filled(MAX_DEPTH)), Ok(()));
        assert!(Value::decode(&filled(MAX_DEPTH)).is_ok());
        assert_eq!(validate(&filled(MAX_DEPTH + 1)), Err(Error::TooDeep));
        assert_eq!(Value::decode(&filled(MAX_DEPTH + 1)), Err(Error::TooDeep));
    }
}

#[test]
fn sixty_thousand_opening_bytes_are_refused_without_a_stack() {
    for input in [
        vec![b'l'; 60_000],
        b"l".repeat(30_000).into_iter().chain(*b"e").collect(),
        b"d0:".repeat(20_000),
        b"ld0:".repeat(15_000),
    ] {
        assert_eq!(validate(&input), Err(Error::TooDeep));
        assert_eq!(Reader::new(&input).skip(), Err(Error::TooDeep));
        assert_eq!(Value::decode(&input), Err(Error::TooDeep));
    }
}

#[test]
fn a_reader_stands_still_at_a_value_of_another_kind() {
    let mut reader = Reader::new(b"l1:ai2ed1:b0:ee");
    assert_eq!(reader.int(), Err(Error::WrongKind));
    assert_eq!(reader.bytes(), Err(Error::WrongKind));
    assert!(matches!(reader.dict(KeyOrder::Any), Err(Error::WrongKind)));
    reader.list().unwrap();
    assert!(reader.has_item().unwrap());
    assert_eq!(reader.int(), Err(Error::WrongKind));
    assert_eq!(reader.bytes(), Ok(&b"a"[..]));
    assert!(reader.has_item().unwrap());
    assert_eq!(reader.list(), Err(Error::WrongKind));
    assert_eq!(reader.int(), Ok(2));
    assert_eq!(reader.raw(), Ok(&b"d1:b0:e"[..]));
    assert_eq!(reader.finish(), Err(Error::Trailing));
    assert!(!reader.has_item().unwrap());
    assert_eq!(reader.finish(), Ok(()));
    assert_eq!(reader.has_item(), Err(Error::Truncated));
    assert_eq!(reader.bytes(), Err(Error::Truncated));
}

#[test]
fn key_order_is_checked_only_where_it_is_asked_for() {
    for (bytes, ordered) in [
        (&b"d1:a0:1:b0:e"[..], true),
        (b"d1:b0:1:a0:e", false),
        (b"d1:a0:1:a0:e", false),
        (b"d1:b0:2:aa0:e", false),
    ] {
        for order in [KeyOrder::Any, KeyOrder::Canonical] {
            let mut reader = Reader::new(bytes);
            let mut keys = reader.dict(order).unwrap();
            let end = loop {
                match keys.next_key(&mut reader) {
                    Ok(Some(_)) => reader.skip().unwrap(),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            let expected = ordered || order == KeyOrder::Any;
            assert_eq!(end.is_ok(), expected, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_tree_takes_the_first_of_two_equal_keys_and_sorts() {
    let value = Value::decode(b"d1:bi1e1:ai2e1:bi3ee").unwrap();
    let mut out = Vec::new();
    value.encode(&mut out);
    assert_eq!(out, b"d1:ai2e1:bi1ee");
}

#[test]
fn a_tree_is_shown_as_readable_text() {
    let value = Value::decode(b"d1:ai-1e3:b\"c2:\x00\xffe").unwrap();
    assert_eq!(value.to_string(), r#"{"a": -1, "b\"c": 0x00ff}"#);
    let value = Value::decode(b"l5:a str0:lei0edee").unwrap();
    assert_eq!(value.to_string(), r#"["a str", "", [], 0, {}]"#);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Int),
        vec(any::<u8>(), 0..24).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::List),
            btree_map(vec(any::<u8>(), 0..6), inner, 0..5).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_canonical_and_comes_back(value in values()) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        prop_assert_eq!(validate(&bytes), Ok(()));
        prop_assert_eq!(Value::decode(&bytes), Ok(value));
        for len in 0..bytes.len() {
            prop_assert!(validate(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_canonical_or_refused(bytes in vec(prop::sample::select(&b"ilde0123:-a"[..]), 0..24)) {
        if validate(&bytes).is_ok()
            && let Ok(value) = Value::decode(&bytes)
        {
            let mut again = Vec::new();
            value.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}
