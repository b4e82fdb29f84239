//! Decoders of the secure-transport crate.

use dhtnet_secure_transport::{
    Frame, FrameReader, HandshakeError, MAX_APPLICATION_LEN, MAX_HANDSHAKE_MESSAGE_LEN,
    MAX_OFFERED_AEADS, Message1, Message2, accepts_version,
};

/// The first byte is the size of the pieces in which the rest arrives.
pub(crate) fn frames(input: &[u8]) {
    let Some((&piece, bytes)) = input.split_first() else {
        return;
    };
    let in_pieces = read_frames(bytes, usize::from(piece).max(1));
    let at_once = read_frames(bytes, bytes.len().max(1));
    assert_eq!(
        in_pieces, at_once,
        "frames do not depend on how they arrive"
    );
    let Ok(frames) = at_once else { return };
    let mut encoded = Vec::new();
    for frame in &frames {
        if let Frame::Noise(message) = frame {
            assert!(message.len() <= MAX_HANDSHAKE_MESSAGE_LEN);
        }
        frame.encode(&mut encoded);
    }
    assert!(
        bytes.starts_with(&encoded),
        "frames are written as they were read"
    );
}

fn read_frames(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, HandshakeError> {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for mut rest in bytes.chunks(piece) {
        while !rest.is_empty() {
            let (frame, after) = reader.read(rest)?;
            frames.extend(frame);
            rest = after;
        }
    }
    Ok(frames)
}

pub(crate) fn message1(input: &[u8]) {
    if let Ok(message) = Message1::decode(input) {
        assert!((1..=MAX_OFFERED_AEADS).contains(&message.aeads.len()));
        assert!(message.application.len() <= MAX_APPLICATION_LEN);
        assert_eq!(message.encode(), input, "one spelling");
    }
}

pub(crate) fn message2(input: &[u8]) {
    if let Ok(message) = Message2::decode(input) {
        assert!(message.application.len() <= MAX_APPLICATION_LEN);
        assert_eq!(message.encode(), input, "one spelling");
    }
}

pub(crate) fn gate(input: &[u8]) {
    if accepts_version(input) {
        let first = input.first().expect("an empty datagram is refused");
        let is_short = first & 0x80 == 0;
        assert!(
            is_short || first & 0x40 != 0,
            "a long header has the fixed bit"
        );
    }
}
