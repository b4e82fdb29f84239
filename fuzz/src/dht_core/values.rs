//! The value layer: records, keys, queries and split bodies.

use dhtnet_dht_core::Id;
use dhtnet_dht_core::bencode;
use dhtnet_dht_core::node::Publication;
use dhtnet_dht_core::value::split::{JoinError, Joiner, MAX_ITEM_LEN, split};
use dhtnet_dht_core::value::{
    Body, Field, FieldRecord, MAX_BODY_LEN, MAX_QUERY_LEN, MAX_RECORD_LEN, Select, Value, ValueKey,
    ValueQuery,
};

use crate::with_text;

pub(crate) fn value_record(input: &[u8]) {
    let Ok(value) = Value::decode(input) else {
        return;
    };
    assert!(input.len() <= MAX_RECORD_LEN);
    assert_eq!(value.encode(), input, "there is one form");
    assert!(value.body().len() <= MAX_BODY_LEN);
    assert!(!value.supersedes(&value));
    assert!(value.is_same_but_for_expiry(&value));
    assert_eq!(value.owner().is_some(), value.seq().is_some());
    for field in Field::ALL {
        let record = value.encode_selected(Select::of(&[field]).expect("one field"));
        let fields = FieldRecord::decode(&record).expect("own record decodes");
        assert_eq!(fields.id().is_some(), field == Field::Id);
        assert_eq!(fields.body().is_some(), field == Field::Body);
    }
    let all = Select::of(&Field::ALL).expect("all fields");
    let fields = FieldRecord::decode(&value.encode_selected(all)).expect("own record decodes");
    assert_eq!(fields.id(), Some(value.id()));
    assert_eq!(fields.kind(), Some(value.kind()));
    assert_eq!(fields.expiry(), Some(value.expiry()));
    assert_eq!((fields.owner(), fields.seq()), (value.owner(), value.seq()));
    assert_eq!(fields.body(), Some(value.body()));
    let target = Id::hash_of(b"dhtnet");
    let publication = Publication::Value(target, value.clone());
    let kept = Publication::decode(&publication.encode());
    assert_eq!(
        kept.is_some(),
        value.verify(&target).is_ok(),
        "genuine or not kept"
    );
    if let Body::Split { len, parts } = value.body() {
        // Duplicates are the author's fault and found here; the shape is right already.
        let joiner = Joiner::new(*len, parts);
        assert!(!matches!(joiner, Err(JoinError::Shape { .. })));
    }
}

pub(crate) fn value_fields(input: &[u8]) {
    let Ok(fields) = FieldRecord::decode(input) else {
        return;
    };
    assert!(input.len() <= MAX_RECORD_LEN);
    assert_eq!(bencode::validate(input), Ok(()), "only the canonical form");
    assert_eq!(fields.encode(), input, "there is one form");
    assert!(fields.body().is_none_or(|body| body.len() <= MAX_BODY_LEN));
}

pub(crate) fn value_key(input: &[u8]) {
    match ValueKey::decode(input) {
        Some(key) => assert_eq!(key.encode(), input),
        None => assert!(input.len() != 8 && input.len() != 40),
    }
}

pub(crate) fn value_query(input: &[u8]) {
    let Ok(query) = ValueQuery::decode(input) else {
        return;
    };
    assert_eq!(query.encode(), input, "there is one form");
    let owner = query.filter.owner;
    // The text names owners by their device ids, and not all 32 bytes are one.
    if owner.is_none_or(|owner| owner.device_id().is_ok()) {
        assert_eq!(query.to_string().parse(), Ok(query));
    }
}

pub(crate) fn value_query_text(input: &[u8]) {
    with_text(input, |text| match text.parse::<ValueQuery>() {
        Ok(query) => {
            assert_eq!(query.to_string().parse(), Ok(query));
            let encoded = query.encode();
            assert!(encoded.len() <= MAX_QUERY_LEN);
            assert_eq!(ValueQuery::decode(&encoded), Ok(query));
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && said.len() < 400, "short: {said}");
        }
    });
}

/// First byte even: a body is cut and joined in an order that the input says. Odd: parts that
/// nobody honest made.
pub(crate) fn split_joiner(input: &[u8]) {
    match input {
        [choice, rest @ ..] if choice % 2 == 0 => cut_and_join(rest),
        [_, rest @ ..] => join_anything(rest),
        [] => {}
    }
}

/// Two bytes of length; the rest is the body, repeated, and the order of its items.
fn cut_and_join(input: &[u8]) {
    let Some((len, pattern)) = input.split_first_chunk::<2>() else {
        return;
    };
    if pattern.is_empty() {
        return;
    }
    let len = usize::from(u16::from_be_bytes(*len)) + 1;
    let body: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
    let parts = split(&body).expect("1 to 65,536 bytes");
    assert_eq!(parts.len as usize, len);
    for item in &parts.items {
        assert!(item.encoded.len() <= MAX_ITEM_LEN);
        assert_eq!(Id::hash_of(&item.encoded), item.target);
    }
    let mut joiner = Joiner::new(parts.len, &parts.parts).expect("own parts");
    for step in 0.. {
        let wanted: Vec<Id> = joiner.wanted().collect();
        if wanted.is_empty() {
            break;
        }
        assert!(step <= parts.items.len(), "each item is fetched once");
        let choice = usize::from(pattern[step % pattern.len()]);
        let target = wanted[choice % wanted.len()];
        let item = parts.items.iter().find(|item| item.target == target);
        let item = item.expect("nothing else is wanted");
        let mut wrong = item.encoded.clone();
        wrong[0] ^= 1;
        assert_eq!(joiner.feed(&target, &wrong), Err(JoinError::WrongHash));
        joiner.feed(&target, &item.encoded).expect("the right item");
        assert_eq!(
            joiner.feed(&target, &item.encoded),
            Err(JoinError::Unwanted)
        );
    }
    assert_eq!(joiner.into_body(), Some(body));
}

/// Most items that [`join_anything`] makes, and targets that it lists.
const MAX_ITEMS: usize = 80;

/// Three bytes of length, the number of parts, for each the number of an item; then the items,
/// each with two bytes of length. An item that begins with `X` becomes a list of the targets of
/// the items before it.
fn join_anything(input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<4>() else {
        return;
    };
    let [high, middle, low, count] = *head;
    let len = u32::from_be_bytes([0, high, middle, low]);
    let (choices, mut rest) = rest.split_at(rest.len().min(usize::from(count)));
    let mut items: Vec<(Id, Vec<u8>)> = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<2>()
        && items.len() < MAX_ITEMS
    {
        let (item, after) = after.split_at(after.len().min(u16::from_be_bytes(*len).into()));
        rest = after;
        let encoded = match item {
            [b'X', list @ ..] => index_item(list, &items),
            _ => item.to_vec(),
        };
        items.push((Id::hash_of(&encoded), encoded));
    }
    let parts: Vec<Id> = choices
        .iter()
        .map(|choice| match items.get(usize::from(*choice)) {
            Some((target, _)) => *target,
            None => Id::hash_of(&[*choice]),
        })
        .collect();
    let Ok(mut joiner) = Joiner::new(len, &parts) else {
        return;
    };
    for (target, encoded) in items.iter().chain(&items) {
        let before = joiner.wanted().count();
        let fed = joiner.feed(target, encoded);
        if fed.is_ok() {
            assert!(encoded.len() <= MAX_ITEM_LEN);
        }
        assert!(
            joiner.wanted().count() <= MAX_ITEMS,
            "leaves and index items"
        );
        let is_refused = fed.is_err_and(|error| !error.is_final());
        assert!(!is_refused || joiner.wanted().count() == before);
    }
    if joiner.is_complete() {
        assert_eq!(joiner.into_body().map(|body| body.len() as u32), Some(len));
    }
}

/// An item that lists targets of `items` by their numbers.
fn index_item(list: &[u8], items: &[(Id, Vec<u8>)]) -> Vec<u8> {
    let known = |number: &u8| items.get(usize::from(*number)).map(|(target, _)| *target);
    let hashes: Vec<u8> = list
        .iter()
        .take(MAX_ITEMS)
        .flat_map(|number| *known(number).unwrap_or_default().as_bytes())
        .collect();
    let mut encoded = hashes.len().to_string().into_bytes();
    encoded.push(b':');
    encoded.extend(hashes);
    encoded
}
