//! Records: their bytes, what is no record, who signed and who can read.

use std::time::Duration;

use dhtnet_dht_core::Id;
use dhtnet_dht_core::value::split::{Joiner, MAX_ITEM_LEN};
use dhtnet_dht_core::value::{
    Body, DecodeError, DraftError, MAX_BODY_LEN, MAX_RECORD_LEN, MAX_SEALED_BODY_LEN, MAX_TTL,
    MIN_TTL, OpenValueError, OwnerKey, Prepared, UnixTime, Value, ValueId, ValueKey, ValueType,
};
use proptest::prelude::*;

use super::{
    NOW, draft, from_hex, inline, owner, recipient, records, sealed, signed, target, to_hex,
    vectors,
};

#[test]
fn each_record_is_the_one_in_the_vectors_and_reads_back() {
    let vectors = vectors();
    for (name, value) in records() {
        let record = value.encode();
        assert_eq!(
            vectors.get(name).map(|bytes| to_hex(bytes)),
            Some(to_hex(&record)),
            "{name}"
        );
        assert_eq!(Value::decode(&record), Ok(value.clone()), "{name}");
        assert_eq!(value.verify(&target()), Ok(()), "{name}");
    }
}

#[test]
fn the_example_in_the_book_is_the_signed_record_of_the_vectors() {
    let book = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/wire-format/values.md"
    );
    // Packages come without the book.
    let Ok(book) = std::fs::read_to_string(book) else {
        return;
    };
    let (_, example) = book.split_once("<!-- example -->").unwrap();
    let example = example.split("```").nth(1).unwrap();
    let hex: String = example.lines().skip(1).collect();
    assert_eq!(from_hex(&hex), vectors()["signed"]);
}

#[test]
fn a_record_that_ends_early_or_goes_on_is_refused() {
    for (name, value) in records() {
        let mut record = value.encode();
        for len in 0..record.len() {
            assert!(Value::decode(&record[..len]).is_err(), "{name}, {len}");
        }
        record.push(b'e');
        assert!(Value::decode(&record).is_err(), "{name}");
    }
}

#[test]
fn what_is_no_record_is_refused_for_what_it_is() {
    let record = |fields: &str| Value::decode(format!("d{fields}e").as_bytes());
    let i = "1:i8:\0\0\0\0\0\0\0*";
    let plain = format!("1:b4:text1:ei9e{i}1:ti3e");
    assert!(record(&plain).is_ok());
    let k = format!("1:k32:{}", "k".repeat(32));
    let s = format!("1:s64:{}", "s".repeat(64));
    let h = format!("1:h20:{}", "h".repeat(20));
    for (fields, error) in [
        (format!("1:ei9e{i}1:ti3e"), DecodeError::Missing("body")),
        (
            format!("1:b0:{i}1:ti3e"),
            DecodeError::Missing("expiry (e)"),
        ),
        ("1:b0:1:ei9e1:ti3e".into(), DecodeError::Missing("id (i)")),
        (format!("1:b0:1:ei9e{i}"), DecodeError::Missing("type (t)")),
        (
            format!("1:b0:1:di1e1:ei9e{i}1:ti3e"),
            DecodeError::TwoBodies,
        ),
        (
            format!("1:b0:1:ei9e{h}{i}1:li1e1:ti3e"),
            DecodeError::TwoBodies,
        ),
        (format!("1:di0e1:ei9e{i}1:ti3e"), DecodeError::Field('d')),
        (
            format!("1:di1e1:ei9e{i}1:ti3e"),
            DecodeError::Missing("owner (k)"),
        ),
        (
            format!("1:di1e1:ei9e{i}{k}1:ni1e{s}1:ti3e1:xi1e"),
            DecodeError::Field('x'),
        ),
        (format!("1:b0:1:ei-1e{i}1:ti3e"), DecodeError::Field('e')),
        (format!("1:b0:1:ei9e{i}1:ti65536e"), DecodeError::Field('t')),
        (format!("1:b0:1:ei9e{i}1:ti-1e"), DecodeError::Field('t')),
        (format!("{plain}1:xi0e"), DecodeError::Field('x')),
        (format!("{plain}1:yi0e"), DecodeError::UnknownKey),
        ("1:b0:1:ei9e1:i7:1234567".into(), DecodeError::Field('i')),
        (format!("1:b0:1:ei9e{i}1:k1:k"), DecodeError::Field('k')),
        (format!("1:b0:1:ei9e{i}{k}1:ni-1e"), DecodeError::Field('n')),
        (
            format!("1:b0:1:ei9e{i}{k}1:ni1e1:s0:"),
            DecodeError::Field('s'),
        ),
        (
            format!("1:ei9e{h}{i}1:ti3e"),
            DecodeError::Missing("length (l)"),
        ),
        (
            format!("1:ei9e{i}1:li1e1:ti3e"),
            DecodeError::Missing("parts (h)"),
        ),
        (format!("1:ei9e{h}{i}1:li997e1:ti3e"), DecodeError::Parts),
        (format!("1:ei9e{h}{i}1:li0e1:ti3e"), DecodeError::Parts),
        (format!("1:ei9e1:h1:h{i}1:li1e1:ti3e"), DecodeError::Parts),
    ] {
        assert_eq!(record(&fields), Err(error), "{fields}");
    }
    for missing in [&k, "1:ni1e", &s] {
        let fields = format!("1:b0:1:ei9e{i}{k}1:ni1e{s}1:ti3e").replace(missing, "");
        assert!(
            matches!(record(&fields), Err(DecodeError::Missing(_))),
            "{fields}"
        );
    }
    for not_canonical in [
        "1:ei9e1:b0:",
        "1:b0:1:b0:",
        "1:b01:x",
        "1:b0:1:ei09e",
        "i1ei2e",
    ] {
        let error = record(&format!("{not_canonical}{i}1:ti3e"));
        assert!(
            matches!(error, Err(DecodeError::Bencode(_))),
            "{not_canonical}"
        );
    }
}

#[test]
fn a_record_has_at_most_a_thousand_bytes() {
    let of_len = |len: usize| {
        let record = format!("d1:b{len}:{}1:ei9e1:i8:********1:ti3ee", "a".repeat(len));
        (record.len(), Value::decode(record.as_bytes()).err())
    };
    assert_eq!(of_len(966), (MAX_RECORD_LEN, None));
    let (found, max) = (MAX_RECORD_LEN + 1, MAX_RECORD_LEN);
    assert_eq!(
        of_len(967),
        (found, Some(DecodeError::TooLong { found, max }))
    );
}

#[test]
fn the_longest_record_is_within_the_bound() {
    let draft = dhtnet_dht_core::value::Draft::new(target(), ValueId(u64::MAX), vec![1; 32 * 996]);
    let draft = draft.with_kind(ValueType(u16::MAX)).with_ttl(MAX_TTL);
    let late = UnixTime(i64::MAX as u64 - MAX_TTL.as_secs());
    let made = draft.signed(late, &owner(), i64::MAX as u64).unwrap();
    let record = made.value.encode();
    assert!(record.len() <= MAX_RECORD_LEN);
    assert_eq!(Value::decode(&record), Ok(made.value));
}

#[test]
fn a_signature_holds_for_one_record_under_one_key() {
    let value = signed(b"text").value;
    assert_eq!(value.owner(), Some(OwnerKey::from(owner().id())));
    assert_eq!(value.seq(), Some(7));
    assert!(value.verify(&Id::hash_of(b"elsewhere")).is_err());
    let record = value.encode();
    let mut accepted = 0;
    for at in 0..record.len() {
        let mut changed = record.clone();
        changed[at] ^= 1;
        if let Ok(changed) = Value::decode(&changed) {
            accepted += usize::from(changed.verify(&target()).is_ok());
        }
    }
    assert_eq!(accepted, 0);
}

/// The body of a value, fetched part by part if need be.
fn fetch(made: &Prepared) -> Vec<u8> {
    let Body::Split { len, parts } = made.value.body() else {
        return inline(&made.value).to_vec();
    };
    let mut joiner = Joiner::new(*len, parts).unwrap();
    while let Some(target) = joiner.next_wanted() {
        let item = made
            .items
            .iter()
            .find(|item| item.target == target)
            .unwrap();
        assert!(item.encoded.len() <= MAX_ITEM_LEN);
        joiner.feed(&target, &item.encoded).unwrap();
    }
    joiner.into_body().unwrap()
}

#[test]
fn a_body_is_inline_as_long_as_its_record_is_short_enough() {
    for len in [0, 1, 700, 800, 900, 1000, 1001, 40_000, MAX_BODY_LEN] {
        let body = vec![7; len];
        let made = signed(&body);
        let record = made.value.encode();
        assert!(record.len() <= MAX_RECORD_LEN);
        assert_eq!(Value::decode(&record), Ok(made.value.clone()));
        assert_eq!(made.value.verify(&target()), Ok(()));
        assert_eq!(fetch(&made), body);
        assert_eq!(made.value.body().len(), len);
        assert_eq!(made.items.is_empty(), len <= 800, "{len}");
    }
    let long = draft(&vec![7; MAX_BODY_LEN + 1]).unsigned(NOW);
    let (found, max) = (MAX_BODY_LEN + 1, MAX_BODY_LEN);
    assert_eq!(long, Err(DraftError::BodyTooLong { found, max }));
}

#[test]
fn a_life_is_between_a_second_and_seven_days() {
    for ttl in [MIN_TTL, MAX_TTL] {
        let value = draft(b"text").with_ttl(ttl).unsigned(NOW).unwrap().value;
        assert_eq!(value.expiry(), NOW.plus(ttl));
    }
    let short = Duration::from_millis(999);
    for found in [Duration::ZERO, short, MAX_TTL + MIN_TTL, Duration::MAX] {
        let error = draft(b"text").with_ttl(found).unsigned(NOW);
        assert_eq!(error, Err(DraftError::Ttl { found }));
    }
    let error = draft(b"text").signed(NOW, &owner(), 1 << 63);
    assert_eq!(error, Err(DraftError::Seq { found: 1 << 63 }));
}

#[test]
fn only_the_recipient_reads_a_sealed_value_and_knows_its_author() {
    for len in [4, 500, 2000, 40_000, MAX_SEALED_BODY_LEN] {
        let body = vec![7; len];
        let made = sealed(&body, Some((&owner(), 7)));
        assert!(made.value.is_sealed());
        assert_eq!((made.value.owner(), made.value.seq()), (None, None));
        let outer = fetch(&made);
        let opened = made.value.open(&recipient(), &target(), &outer).unwrap();
        assert_eq!(inline(&opened), body);
        assert_eq!(opened.owner(), Some(owner().id().into()));
        assert_eq!(opened.seq(), Some(7));
        assert_eq!(opened.id(), made.value.id());
        for (key, place) in [
            (owner(), target()),
            (recipient(), Id::hash_of(b"elsewhere")),
        ] {
            let error = made.value.open(&key, &place, &outer);
            assert!(matches!(error, Err(OpenValueError::Seal(_))));
        }
    }
    let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::seed_from_u64(1);
    let (found, max) = (MAX_SEALED_BODY_LEN + 1, MAX_SEALED_BODY_LEN);
    let long = draft(&vec![7; found]).sealed_for(NOW, &recipient().id(), None, &mut rng);
    assert_eq!(long, Err(DraftError::BodyTooLong { found, max }));
}

#[test]
fn a_sealed_value_without_author_opens_and_names_none() {
    let made = sealed(b"text", None);
    let opened = made
        .value
        .open(&recipient(), &target(), inline(&made.value));
    assert_eq!(opened.unwrap().owner(), None);
}

#[test]
fn a_sealed_body_in_another_record_does_not_pass() {
    let body = inline(&sealed(b"text", Some((&owner(), 7))).value).to_vec();
    // The same body under another id.
    let other = dhtnet_dht_core::value::Draft::new(target(), ValueId(1), body.clone())
        .with_kind(ValueType(3));
    let mut record = other.unsigned(NOW).unwrap().value.encode();
    record.truncate(record.len() - 1);
    record.extend(b"1:xi1ee");
    let other = Value::decode(&record).unwrap();
    let error = other.open(&recipient(), &target(), &body);
    assert_eq!(error, Err(OpenValueError::Mismatch));
    let plain = signed(b"text").value;
    let error = plain.open(&recipient(), &target(), b"text");
    assert_eq!(error, Err(OpenValueError::NotSealed));
}

#[test]
fn what_was_sent_to_one_recipient_cannot_be_passed_on_as_if_sent_to_another() {
    // The recipient opens a value and seals the signed record inside to somebody else.
    let made = sealed(b"text", Some((&owner(), 7)));
    let inner = made
        .value
        .open(&recipient(), &target(), inline(&made.value))
        .unwrap();
    let target = target();
    let purpose = dhtnet_identity::sealed::Purpose {
        domain: "dhtnet 1 value",
        context: target.as_bytes(),
    };
    let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::seed_from_u64(2);
    let third = dhtnet_identity::DeviceKey::from_seed(&[3; 32]);
    let passed = third
        .id()
        .seal(&purpose, &inner.encode(), &mut rng)
        .unwrap();
    let error = made.value.open(&third, &target, &passed);
    assert!(matches!(error, Err(OpenValueError::Author(_))), "{error:?}");
    // Nor can it be put in the open.
    assert!(inner.verify(&target).is_err());
}

#[test]
fn of_two_versions_the_newer_and_longer_one_is_kept() {
    let old = signed(b"old").value;
    let new = draft(b"new").signed(NOW, &owner(), 8).unwrap().value;
    let removal = new.removed_by(&owner(), &target()).unwrap();
    assert!(new.supersedes(&old) && !old.supersedes(&new));
    assert!(removal.supersedes(&new) && !removal.supersedes(&removal));
    let later = NOW.plus(MAX_TTL);
    let longer = new.renewed(&target(), later, Some(&owner())).unwrap();
    assert_eq!(longer.verify(&target()), Ok(()));
    assert!(longer.supersedes(&new) && !new.supersedes(&longer));
    let stranger = draft(b"new").unsigned(NOW).unwrap().value;
    assert!(!longer.supersedes(&stranger) && !stranger.supersedes(&longer));
}

#[test]
fn the_key_of_a_value_has_8_or_40_bytes() {
    for (_, value) in records() {
        let key = value.key();
        let bytes = key.encode();
        assert_eq!(bytes.len(), if key.owner.is_some() { 40 } else { 8 });
        assert_eq!(ValueKey::decode(&bytes), Some(key));
    }
    for len in (0..64).filter(|len| ![8, 40].contains(len)) {
        assert_eq!(ValueKey::decode(&vec![1; len]), None, "{len}");
    }
}

proptest! {
    #![proptest_config(super::cases(64))]

    #[test]
    fn every_value_reads_back(
        (id, kind, seq) in (any::<u64>(), any::<u16>(), 0..(1_u64 << 63)),
        ttl in 1..=604_800_u64,
        body in proptest::collection::vec(any::<u8>(), 0..3000),
        is_signed in any::<bool>(),
    ) {
        let draft = dhtnet_dht_core::value::Draft::new(target(), ValueId(id), body.clone())
            .with_kind(ValueType(kind))
            .with_ttl(Duration::from_secs(ttl));
        let made = if is_signed {
            draft.signed(NOW, &owner(), seq).unwrap()
        } else {
            draft.unsigned(NOW).unwrap()
        };
        let record = made.value.encode();
        prop_assert!(record.len() <= MAX_RECORD_LEN);
        let read = Value::decode(&record).unwrap();
        prop_assert_eq!(&read, &made.value);
        prop_assert_eq!(read.verify(&target()), Ok(()));
        prop_assert_eq!(fetch(&made), body);
    }

    #[test]
    fn what_is_read_is_written_the_same(
        at in any::<proptest::sample::Index>(),
        (place, byte) in (any::<proptest::sample::Index>(), any::<u8>()),
    ) {
        let records = records();
        let mut record = records[at.index(records.len())].1.encode();
        let place = place.index(record.len());
        record[place] = byte;
        if let Ok(value) = Value::decode(&record) {
            prop_assert_eq!(value.encode(), record);
        }
    }
}
