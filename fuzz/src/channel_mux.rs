//! Decoders of the channel-mux crate. What was accepted must come back the same when it is
//! encoded and decoded again.

use dhtnet_channel_mux::codec;

/// The body of an encoded frame: after its length.
fn body_of(frame: &[u8]) -> &[u8] {
    let (length, body) = frame
        .split_first_chunk()
        .expect("a frame begins with its length");
    assert_eq!(
        body.len(),
        usize::from(u16::from_be_bytes(*length)),
        "the length is that of the body"
    );
    body
}

pub(crate) fn request(input: &[u8]) {
    if let Ok(frame) = codec::decode_request(input) {
        let encoded = codec::encode_request(&frame);
        let again = codec::decode_request(body_of(&encoded)).expect("own request decodes");
        assert_eq!(again, frame);
    }
}

pub(crate) fn answer(input: &[u8]) {
    if let Ok(frame) = codec::decode_answer(input) {
        let encoded = codec::encode_answer(&frame);
        let again = codec::decode_answer(body_of(&encoded)).expect("own answer decodes");
        assert_eq!(again, frame);
    }
}

pub(crate) fn control(input: &[u8]) {
    if let Ok(frame) = codec::decode_control(input) {
        let encoded = codec::encode_control(&frame);
        let again = codec::decode_control(body_of(&encoded)).expect("own message decodes");
        assert_eq!(again, frame);
    }
}

pub(crate) fn datagram(input: &[u8]) {
    if let Some((_, start)) = codec::decode_datagram_prefix(input) {
        assert!(
            start <= input.len(),
            "the payload begins inside the datagram"
        );
    }
}
