//! Items against the vectors of BEP 44, through the public API.

use dhtnet_dht_core::Id;
use dhtnet_dht_core::item::{
    ItemError, ItemKey, ItemSigner, MAX_SALT_LEN, MAX_VALUE_LEN, MutableItem, immutable_target,
    mutable_target,
};
use dhtnet_identity::DeviceKey;

const VECTORS: &str = include_str!("../vectors/bep44.txt");

/// A line of the vectors about a mutable item.
struct Vector {
    name: &'static str,
    value: &'static [u8],
    key: ItemKey,
    secret: [u8; 64],
    salt: &'static [u8],
    seq: i64,
    target: Id,
    signature: [u8; 64],
}

fn lines() -> impl Iterator<Item = Vec<&'static str>> {
    VECTORS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('|').collect())
}

fn mutable() -> Vec<Vector> {
    let fields = lines().filter(|fields| !fields[2].is_empty());
    fields
        .map(|fields| Vector {
            name: fields[0],
            value: fields[1].as_bytes(),
            key: hex(fields[2]),
            secret: hex(fields[3]),
            salt: fields[4].as_bytes(),
            seq: fields[5].parse().unwrap(),
            target: fields[6].parse().unwrap(),
            signature: hex(fields[7]),
        })
        .collect()
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    assert_eq!(text.len(), N * 2);
    std::array::from_fn(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
}

#[test]
fn the_published_mutable_items_verify_and_lie_where_they_should() {
    let vectors = mutable();
    assert_eq!(vectors.len(), 3);
    for v in vectors {
        let item =
            MutableItem::verified(&v.key, v.salt, v.seq, v.value, &v.signature).expect(v.name);
        assert_eq!(item.target(), v.target, "{}", v.name);
        assert_eq!(mutable_target(&v.key, v.salt), v.target, "{}", v.name);
        assert_eq!(item.key(), &v.key);
        assert_eq!(
            (item.salt(), item.seq(), item.value()),
            (v.salt, v.seq, v.value)
        );
        assert_eq!(item.signature(), &v.signature);
    }
}

#[test]
fn the_published_expanded_key_makes_the_published_signatures() {
    for v in mutable() {
        let signer = ItemSigner::from_expanded(&v.secret);
        assert_eq!(signer.key(), v.key, "{}", v.name);
        let item = MutableItem::sign(&signer, v.salt, v.seq, v.value).unwrap();
        assert_eq!(item.signature(), &v.signature, "{}", v.name);
        assert_eq!(item.target(), v.target, "{}", v.name);
    }
}

#[test]
fn the_published_immutable_item_lies_where_it_should() {
    let fields = lines().find(|fields| fields[2].is_empty()).unwrap();
    assert_eq!(
        immutable_target(fields[1].as_bytes()),
        fields[6].parse().unwrap()
    );
}

/// The item's number, if it verifies.
fn check(
    key: &ItemKey,
    salt: &[u8],
    seq: i64,
    value: &[u8],
    signature: &[u8; 64],
) -> Result<i64, ItemError> {
    MutableItem::verified(key, salt, seq, value, signature).map(|item| item.seq())
}

#[test]
fn an_answer_is_the_immutable_value_asked_for_only_if_it_hashes_to_the_target() {
    let asked = immutable_target(b"12:Hello World!");
    for answer in ["12:Hello World?", "12:hello World!", "12:Hello World", ""] {
        assert_ne!(immutable_target(answer.as_bytes()), asked, "{answer}");
    }
}

#[test]
fn whatever_is_changed_in_an_item_its_signature_fails() {
    for v in mutable() {
        let bad = Err(ItemError::BadSignature);
        assert_eq!(
            check(&v.key, v.salt, v.seq, b"12:Hello World?", &v.signature),
            bad
        );
        assert_eq!(check(&v.key, v.salt, v.seq + 1, v.value, &v.signature), bad);
        assert_eq!(check(&v.key, b"foobaz", v.seq, v.value, &v.signature), bad);
        let other = ItemSigner::from_seed(&[1; 32]).key();
        assert_eq!(check(&other, v.salt, v.seq, v.value, &v.signature), bad);
        for bit in 0..512 {
            let mut signature = v.signature;
            signature[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                check(&v.key, v.salt, v.seq, v.value, &signature),
                bad,
                "bit {bit}"
            );
        }
    }
}

#[test]
fn a_device_key_and_its_seed_sign_alike() {
    let from_seed = ItemSigner::from_seed(&[7; 32]);
    let from_device = ItemSigner::from(DeviceKey::from_seed(&[7; 32]));
    let sign = |signer| MutableItem::sign(signer, b"salt", 3, b"i1e").unwrap();
    assert_eq!(sign(&from_seed), sign(&from_device));
    let item = sign(&from_seed);
    let again = MutableItem::verified(
        item.key(),
        item.salt(),
        item.seq(),
        item.value(),
        item.signature(),
    );
    assert_eq!(again, Ok(item));
}

#[test]
fn lengths_are_taken_up_to_the_bounds_and_not_one_past_them() {
    let signer = ItemSigner::from_seed(&[1; 32]);
    let longest = [b"996:".as_slice(), &[b'x'; 996]].concat();
    assert_eq!(longest.len(), MAX_VALUE_LEN);
    let longer = [b"997:".as_slice(), &[b'x'; 997]].concat();
    let sign = |salt: &[u8], value: &[u8]| MutableItem::sign(&signer, salt, 0, value);
    let item = sign(&[b's'; MAX_SALT_LEN], &longest).unwrap();
    let taken = |salt: &[u8], value: &[u8]| {
        MutableItem::verified(item.key(), salt, 0, value, item.signature())
    };
    assert_eq!(taken(item.salt(), &longest).unwrap(), item);
    assert_eq!(sign(b"", &longer), Err(ItemError::TooBig));
    assert_eq!(taken(b"", &longer), Err(ItemError::TooBig));
    assert_eq!(sign(&[b's'; 65], b"i1e"), Err(ItemError::SaltTooBig));
    assert_eq!(taken(&[b's'; 65], b"i1e"), Err(ItemError::SaltTooBig));
}

#[test]
fn what_is_not_one_bencoded_value_or_has_a_negative_number_is_no_item() {
    let signer = ItemSigner::from_seed(&[1; 32]);
    for value in [
        "",
        "i1",
        "i1ei2e",
        "hello",
        "5:hell",
        "l",
        "d1:bi1e1:ai2ee",
        "i01e",
    ] {
        let signed = MutableItem::sign(&signer, b"", 0, value.as_bytes());
        assert_eq!(signed, Err(ItemError::NotBencoded), "{value}");
    }
    assert_eq!(
        MutableItem::sign(&signer, b"", -1, b"i1e"),
        Err(ItemError::NegativeSeq)
    );
    let top = MutableItem::sign(&signer, b"", i64::MAX, b"i1e").unwrap();
    let verified =
        MutableItem::verified(top.key(), b"", i64::MAX, b"i1e", top.signature()).unwrap();
    assert_eq!(verified, top);
}

#[test]
fn keys_with_which_anything_would_verify_are_refused() {
    // The neutral element, and a y that belongs to no point.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let mut signature = [0; 64];
    signature[0] = 1;
    for key in [neutral, no_point] {
        let item = MutableItem::verified(&key, b"", 1, b"i1e", &signature);
        assert_eq!(item, Err(ItemError::BadKey));
    }
}

#[test]
fn a_reader_keeps_the_highest_number_and_not_the_last_it_was_told() {
    let signer = ItemSigner::from_seed(&[1; 32]);
    let numbers = [3, 9, 4, 9, 1];
    let mut best: Option<MutableItem> = None;
    for seq in numbers {
        let found = MutableItem::sign(&signer, b"s", seq, b"i1e").unwrap();
        if best.as_ref().is_none_or(|best| found.supersedes(best)) {
            best = Some(found);
        }
    }
    let best = best.unwrap();
    assert_eq!(best.seq(), 9);
    let other_salt = MutableItem::sign(&signer, b"t", 10, b"i1e").unwrap();
    assert!(!other_salt.supersedes(&best), "it is another item");
    assert!(!best.supersedes(&best.clone()));
}

#[test]
fn a_signer_does_not_print_its_secret() {
    let seed = ItemSigner::from_seed(&[0x5a; 32]);
    let expanded = ItemSigner::from_expanded(&[0x5a; 64]);
    for signer in [seed, expanded] {
        let text = format!("{signer:?}");
        assert!(text.ends_with("…, secret)"), "{text}");
        assert!(!text.contains("5a5a") && text.len() < 40, "{text}");
    }
}
