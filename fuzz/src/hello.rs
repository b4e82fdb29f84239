//! What two nodes say of themselves in the handshake. The module is taken from the facade as it is:
//! it needs nothing else of it.

#[path = "../../crates/dhtnet/src/hello.rs"]
#[allow(dead_code, reason = "only the decoder and the encoder are tried")]
mod decoder;

use decoder::Hello;

/// What every version ends a hello with that is longer, and must not mean anything here.
const APPENDED: &[u8] = &[0xff; 3];

/// A hello that is read says the same when it is written again, with more behind it, and without
/// the flags it wants nothing.
pub(crate) fn hello(input: &[u8]) {
    let Some(read) = Hello::decode(input) else {
        return;
    };
    let bytes = read.encode();
    let flags = bytes.len() - 1;
    assert_eq!(bytes[..flags], input[..flags]);
    assert_eq!(Hello::decode(&bytes), Some(read));
    assert_eq!(Hello::decode(&[&bytes, APPENDED].concat()), Some(read));
    let bare = Hello::decode(&bytes[..bytes.len() - 1]).expect("the flags may be left out");
    assert_eq!(bare.instance, read.instance);
    assert!(!bare.wants && !bare.shows);
    for len in 0..bytes.len() - 1 {
        assert_eq!(Hello::decode(&bytes[..len]), None);
    }
}
