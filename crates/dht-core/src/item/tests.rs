//! What is signed, byte for byte, and the codes of refusals.

use super::*;

#[test]
fn the_signed_bytes_are_those_of_bep_44() {
    let plain = signed_bytes(b"", 1, b"12:Hello World!");
    assert_eq!(plain, b"3:seqi1e1:v12:Hello World!");
    let salted = signed_bytes(b"foobar", 1, b"12:Hello World!");
    assert_eq!(salted, b"4:salt6:foobar3:seqi1e1:v12:Hello World!");
}

#[test]
fn each_fault_has_the_code_that_bep_44_gives_it() {
    assert_eq!(ItemError::TooBig.code().code(), 205);
    assert_eq!(ItemError::BadSignature.code().code(), 206);
    assert_eq!(ItemError::BadKey.code().code(), 206);
    assert_eq!(ItemError::SaltTooBig.code().code(), 207);
    assert_eq!(ItemError::NotBencoded.code().code(), 203);
    assert_eq!(ItemError::NegativeSeq.code().code(), 203);
}

#[test]
fn a_put_and_a_reply_carry_the_item_word_for_word() {
    let signer = ItemSigner::from_seed(&[1; 32]);
    let item = MutableItem::sign(&signer, b"salt", 4, b"4:spam").unwrap_or_else(|e| panic!("{e}"));
    let put = item.as_put(b"token", Some(3));
    let expected = MutablePut {
        key: item.key(),
        signature: item.signature(),
        seq: 4,
        salt: b"salt",
        cas: Some(3),
    };
    assert_eq!((put.token, put.value), (&b"token"[..], &b"4:spam"[..]));
    assert_eq!(put.mutable, Some(expected));
    let reply = item.as_reply();
    assert_eq!(reply.value, b"4:spam");
    assert_eq!(reply.signed, Some((item.key(), item.signature())));
}
