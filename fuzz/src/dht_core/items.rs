//! Signed items and own publications.

use dhtnet_dht_core::item::{ItemError, ItemSigner, MAX_SALT_LEN, MAX_VALUE_LEN, MutableItem};
use dhtnet_dht_core::krpc::{Body, Message, Method};
use dhtnet_dht_core::node::Publication;

/// Public key, signature, number (big-endian), length of the salt, salt, value.
pub(crate) fn mutable_item(input: &[u8]) {
    let Some((key, rest)) = input.split_first_chunk::<32>() else {
        return;
    };
    let Some((signature, rest)) = rest.split_first_chunk::<64>() else {
        return;
    };
    let Some((seq, rest)) = rest.split_first_chunk::<8>() else {
        return;
    };
    let Some((&salt_len, rest)) = rest.split_first() else {
        return;
    };
    let (salt, value) = rest.split_at(rest.len().min(usize::from(salt_len)));
    let seq = i64::from_be_bytes(*seq);
    if let Ok(item) = MutableItem::verified(key, salt, seq, value, signature) {
        check(&item);
    }
    // The same, signed by a key that is at hand.
    match MutableItem::sign(&ItemSigner::from_seed(key), salt, seq, value) {
        Ok(item) => {
            check(&item);
            let mut forged = *item.signature();
            forged[0] ^= 1;
            let refused = MutableItem::verified(item.key(), salt, seq, value, &forged);
            assert_eq!(refused, Err(ItemError::BadSignature));
        }
        Err(error) => {
            let refused = MutableItem::verified(key, salt, seq, value, signature);
            assert_eq!(refused, Err(error), "both know the same rules");
        }
    }
}

fn check(item: &MutableItem) {
    assert!(item.value().len() <= MAX_VALUE_LEN && item.salt().len() <= MAX_SALT_LEN);
    assert!(item.seq() >= 0);
    let signature = item.signature();
    let again = MutableItem::verified(item.key(), item.salt(), item.seq(), item.value(), signature);
    assert_eq!(again.as_ref(), Ok(item));
    let publication = Publication::Mutable(item.clone());
    let encoded = publication.encode();
    assert_eq!(Publication::decode(&encoded), Some(publication));
    let Ok(Message {
        body: Body::Query(query),
        ..
    }) = Message::decode(&encoded)
    else {
        panic!("a publication is a query");
    };
    let is_put = matches!(query.method, Method::Put(put) if put == item.as_put(b"", None));
    assert!(is_put, "what it says is the put of the item");
}

/// The bytes of one publication, as the state file keeps them.
pub(crate) fn publication(input: &[u8]) {
    if let Some(publication) = Publication::decode(input) {
        let again = Publication::decode(&publication.encode());
        assert_eq!(again.as_ref(), Some(&publication));
        assert_eq!(
            again.map(|again| again.target()),
            Some(publication.target())
        );
    }
}
