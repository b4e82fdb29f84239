//! Decoders of `dnc -D`. The module is taken from the tool as it is: it needs nothing else of it.

#[path = "../../tools/forward/src/socks/codec.rs"]
#[allow(dead_code, reason = "a target has no use for what only the tool sends")]
mod codec;

use codec::{DecodeError, Transport};
use dhtnet_identity::target::Target;

/// Every message of a client. Cut short it asks for more, and never for more than it has; what is
/// decoded encodes to the same bytes; no name becomes a target of another kind.
pub(crate) fn messages(input: &[u8]) {
    if codec::decode_greeting(input).is_ok() {
        let whole = 2 + usize::from(input[1]);
        asks_for_the_rest(&input[..whole], |bytes| {
            codec::decode_greeting(bytes).map(drop)
        });
    }
    if let Ok((_, address)) = codec::decode_request(input) {
        let header = codec::encode_datagram_header(&address);
        let whole = &input[..header.len()];
        assert_eq!(header[3..], whole[3..], "an address comes back as it went");
        asks_for_the_rest(whole, |bytes| codec::decode_request(bytes).map(drop));
        if let Ok(target) = address.target(Transport::Tcp) {
            assert!(matches!(target, Target::Tcp { .. }), "{target}");
        }
    }
    if let Ok((address, payload)) = codec::decode_datagram(input) {
        let header = codec::encode_datagram_header(&address);
        assert_eq!(
            header[2..],
            input[2..payload],
            "a header comes back as it went"
        );
        asks_for_the_rest(&header, |bytes| codec::decode_datagram(bytes).map(drop));
        if let Ok(target) = address.target(Transport::Udp) {
            assert!(matches!(target, Target::Udp { .. }), "{target}");
        }
    }
}

fn asks_for_the_rest(whole: &[u8], decode: impl Fn(&[u8]) -> Result<(), DecodeError>) {
    for len in 0..whole.len() {
        match decode(&whole[..len]) {
            Err(DecodeError::Needs(more)) => assert!(more > 0 && len + more <= whole.len()),
            other => panic!("{len} of {} bytes: {other:?}", whole.len()),
        }
    }
}
