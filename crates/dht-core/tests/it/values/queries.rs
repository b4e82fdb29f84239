//! Queries: as text, on the wire, and the records that answer them.

use dhtnet_dht_core::value::{
    DecodeError, Field, FieldRecord, Filter, MAX_QUERY_LEN, OwnerKey, ParseQueryError, Select,
    ValueId, ValueQuery, ValueType,
};
use proptest::prelude::*;

use super::{owner, records, to_hex, vectors};

fn full() -> ValueQuery {
    ValueQuery {
        select: Select::of(&Field::ALL),
        filter: Filter {
            id: Some(ValueId(0x2a)),
            kind: Some(ValueType(3)),
            owner: Some(owner().id().into()),
            min_seq: Some(7),
        },
    }
}

fn parse(text: &str) -> Result<ValueQuery, String> {
    text.parse()
        .map_err(|error: ParseQueryError| error.to_string())
}

#[test]
fn a_query_is_the_one_in_the_vectors_and_reads_back() {
    let vectors = vectors();
    for (name, query) in [("query", full()), ("query-all", ValueQuery::ALL)] {
        let bytes = query.encode();
        let vector = vectors.get(name).map(|bytes| to_hex(bytes));
        assert_eq!(vector, Some(to_hex(&bytes)), "{name}");
        assert_eq!(ValueQuery::decode(&bytes), Ok(query));
        for len in 0..bytes.len() {
            assert!(ValueQuery::decode(&bytes[..len]).is_err(), "{len}");
        }
    }
    let longest = ValueQuery {
        filter: Filter {
            kind: Some(ValueType(u16::MAX)),
            min_seq: Some(i64::MAX as u64),
            ..full().filter
        },
        ..full()
    };
    assert!(longest.encode().len() <= MAX_QUERY_LEN);
    assert_eq!(ValueQuery::decode(&longest.encode()), Ok(longest));
}

#[test]
fn a_query_in_any_other_form_is_refused() {
    let decode = |text: &str| ValueQuery::decode(text.as_bytes());
    for (text, error) in [
        ("d1:f0:e", DecodeError::Field('f')),
        ("d1:f2:tbe", DecodeError::Field('f')),
        ("d1:f2:bbe", DecodeError::Field('f')),
        ("d1:f1:se", DecodeError::Field('f')),
        ("d1:i1:xe", DecodeError::Field('i')),
        ("d1:k1:xe", DecodeError::Field('k')),
        ("d1:ni-1ee", DecodeError::Field('n')),
        ("d1:ti65536ee", DecodeError::Field('t')),
        ("d1:zi1ee", DecodeError::UnknownKey),
    ] {
        assert_eq!(decode(text), Err(error), "{text}");
    }
    for text in ["", "le", "de1", "d1:ti1e1:ni1ee", "d1:ti1e1:ti1ee"] {
        let error = decode(text);
        assert!(matches!(error, Err(DecodeError::Bencode(_))), "{text}");
    }
    let (found, max) = (MAX_QUERY_LEN + 1, MAX_QUERY_LEN);
    let long = decode(&"d".repeat(found));
    assert_eq!(long, Err(DecodeError::TooLong { found, max }));
}

#[test]
fn a_filter_meets_all_of_its_conditions() {
    let records = records();
    let found = |filter: Filter| -> Vec<&str> {
        let matching = records
            .iter()
            .filter(|(_, value)| filter.matches(&value.subject()));
        matching.map(|(name, _)| *name).collect()
    };
    let all = Filter::default();
    assert_eq!(found(all).len(), records.len());
    let owned = Filter {
        owner: full().filter.owner,
        ..all
    };
    assert_eq!(found(owned), ["signed", "removal", "split"]);
    let newer = Filter {
        min_seq: Some(8),
        ..all
    };
    assert_eq!(found(newer), ["removal"]);
    let any_seq = Filter {
        min_seq: Some(0),
        ..all
    };
    assert_eq!(found(any_seq), ["signed", "removal", "split"]);
    let other_id = Filter {
        id: Some(ValueId(1)),
        ..all
    };
    assert_eq!(found(other_id).len(), 0);
    let other_kind = Filter {
        kind: Some(ValueType(4)),
        ..all
    };
    assert_eq!(found(other_kind).len(), 0);
}

#[test]
fn a_selected_record_has_these_fields_and_no_others() {
    for (_, value) in records() {
        for bits in 1..64_usize {
            let fields = Field::ALL.into_iter().enumerate();
            let fields = fields.filter(|(at, _)| bits & (1 << at) != 0);
            let fields: Vec<Field> = fields.map(|(_, field)| field).collect();
            let select = Select::of(&fields).unwrap();
            let has = |field| fields.contains(&field);
            let bytes = value.encode_selected(select);
            let read = FieldRecord::decode(&bytes).unwrap();
            assert_eq!(read.id(), Some(value.id()).filter(|_| has(Field::Id)));
            assert_eq!(read.kind(), Some(value.kind()).filter(|_| has(Field::Type)));
            assert_eq!(
                read.expiry(),
                Some(value.expiry()).filter(|_| has(Field::Expiry))
            );
            assert_eq!(read.owner(), value.owner().filter(|_| has(Field::Owner)));
            assert_eq!(read.seq(), value.seq().filter(|_| has(Field::Seq)));
            assert_eq!(read.body(), Some(value.body()).filter(|_| has(Field::Body)));
            assert_eq!(read.is_sealed(), value.is_sealed() && has(Field::Body));
            for len in 0..bytes.len() {
                assert!(FieldRecord::decode(&bytes[..len]).is_err());
            }
        }
    }
    assert_eq!(Select::of(&[]), None);
    let signature = format!("d1:s64:{}e", "s".repeat(64));
    let error = FieldRecord::decode(signature.as_bytes());
    assert_eq!(error, Err(DecodeError::Field('s')));
}

#[test]
fn a_text_is_read_as_it_is_meant() {
    let owner = owner().id();
    let text = format!(
        "select ID,type , owner,seq,expiry,body where id=0x2A and type = 3 \
         AND owner={owner} and seq>=7"
    );
    assert_eq!(parse(&text), Ok(full()));
    for all in ["", "  ", "SELECT *", "select id, *"] {
        assert_eq!(parse(all), Ok(ValueQuery::ALL), "{all}");
    }
    let only_where = parse("WHERE type=3").unwrap();
    assert_eq!(
        (only_where.select, only_where.filter.kind),
        (None, Some(ValueType(3)))
    );
    let last = parse("WHERE id = 18446744073709551615").unwrap();
    assert_eq!(last.filter.id, Some(ValueId(u64::MAX)));
}

#[test]
fn an_error_says_what_to_write() {
    let error = |text: &str| parse(text).unwrap_err();
    for (text, expected) in [
        (
            "GET id",
            r#"a query begins with SELECT or WHERE, not with "GET""#,
        ),
        (
            "SELECT",
            "write *, or one of id, type, owner, seq, expiry, body, instead of nothing",
        ),
        (
            "SELECT name",
            r#"write *, or one of id, type, owner, seq, expiry, body, instead of "name""#,
        ),
        (
            "SELECT id type",
            r#"write a comma, WHERE or nothing instead of "type""#,
        ),
        (
            "WHERE",
            "write a condition on id, type, owner or seq instead of nothing",
        ),
        (
            "WHERE body = 1",
            r#"write a condition on id, type, owner or seq instead of "body""#,
        ),
        ("WHERE type 3", r#"write type = … instead of type "3""#),
        ("WHERE seq = 3", r#"write seq >= … instead of seq "=""#),
        (
            "WHERE type = 65536",
            r#"write a number from 0 to 65535 for type instead of "65536""#,
        ),
        (
            "WHERE type = +3",
            r#"write a number from 0 to 65535 for type instead of "+3""#,
        ),
        (
            "WHERE type =",
            "write a number from 0 to 65535 for type instead of nothing",
        ),
        (
            "WHERE id = 0x",
            r#"write a number from 0 to 18446744073709551615 for id instead of "0x""#,
        ),
        (
            "WHERE seq >= 9223372036854775808",
            r#"write a number from 0 to 9223372036854775807 for seq instead of "9223372036854775808""#,
        ),
        (
            "WHERE owner = me",
            r#"write the id of a device for owner instead of "me""#,
        ),
        (
            "WHERE type = 1 AND type = 2",
            "write one condition on type, not two",
        ),
        (
            "WHERE type = 1 OR id = 2",
            r#"write AND or nothing instead of "OR""#,
        ),
        (
            "WHERE type = 1 AND",
            "write a condition on id, type, owner or seq instead of nothing",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    let long = "x".repeat(1025);
    assert_eq!(error(&long), "a query has at most 1024 bytes, not 1025");
    assert!(error(&long[1..]).len() < 120);
}

#[test]
fn a_query_written_out_reads_back() {
    assert_eq!(ValueQuery::ALL.to_string(), "SELECT *");
    let text = full().to_string();
    assert!(
        text.starts_with("SELECT body, expiry, id, owner, seq, type WHERE id = 0x"),
        "{text}"
    );
    assert_eq!(parse(&text), Ok(full()));
    let no_device = OwnerKey([0xff; 32]);
    assert_eq!(no_device.to_string(), "ff".repeat(32));
}

proptest! {
    #![proptest_config(super::cases(128))]

    #[test]
    fn every_query_reads_back(
        bits in 0..64_usize,
        (id, kind) in (any::<Option<u64>>(), any::<Option<u16>>()),
        min_seq in proptest::option::of(0..(1_u64 << 63)),
        is_owned in any::<bool>(),
    ) {
        let fields = Field::ALL.into_iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
        let fields: Vec<Field> = fields.map(|(_, field)| field).collect();
        let query = ValueQuery {
            select: Select::of(&fields),
            filter: Filter {
                id: id.map(ValueId),
                kind: kind.map(ValueType),
                owner: is_owned.then(|| owner().id().into()),
                min_seq,
            },
        };
        prop_assert_eq!(ValueQuery::decode(&query.encode()), Ok(query));
        prop_assert_eq!(parse(&query.to_string()), Ok(query));
    }

    #[test]
    fn no_text_and_no_bytes_make_a_reader_panic(
        text in "(SELECT|WHERE|id|type|owner|seq|AND|=|>=|,|\\*|[0-9]+|é| ){0,12}",
        bytes in proptest::collection::vec(any::<u8>(), 0..140),
    ) {
        let _ = parse(&text);
        let _ = FieldRecord::decode(&bytes);
        if let Ok(query) = ValueQuery::decode(&bytes) {
            prop_assert_eq!(query.encode(), bytes);
        }
    }
}
