//! The frames of `dsh cp`.

use dhtnet_copy::frame::{DecodeError, Frame, HEADER_LEN, decode_header};

/// One frame with its header, as either side reads it. What is decoded encodes to the same bytes, and
/// nothing is waited for that is longer than a request.
pub(crate) fn frame(input: &[u8]) {
    let Some((header, body)) = input.split_first_chunk::<HEADER_LEN>() else {
        return;
    };
    let Ok((kind, length)) = decode_header(*header) else {
        return;
    };
    assert!(length <= dhtnet_copy::bounds::MAX_REQUEST);
    if body.len() != length {
        return;
    }
    match Frame::decode(kind, body) {
        Ok(frame) => {
            let mut again = Vec::new();
            frame.encode(&mut again);
            if let Frame::Data(block) = frame {
                again.extend_from_slice(block);
            }
            assert_eq!(again, input, "{frame:?}");
        }
        Err(DecodeError::Kind(_) | DecodeError::TooLong(_)) => {
            panic!("the header was taken for one of a frame")
        }
        Err(_) => {}
    }
}
