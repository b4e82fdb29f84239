//! A frame: a kind, a length, a body.
//!
//! ```text
//! kind (1) ‖ length of the body (2, big endian) ‖ body
//! ```
//! What the kinds mean is said where the channel is: [`control`](crate::control) and
//! [`session`](crate::session). An unknown kind is skipped, so that a later version may add some.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::request::Size;

/// Longest body, in bytes: all that the length can say.
pub const MAX_BODY: usize = u16::MAX as usize;

/// Longest name of a signal, in bytes.
pub(crate) const MAX_SIGNAL: usize = 16;

const HEADER: usize = 3;

/// A body that its kind cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a control message cannot be understood")]
pub struct Garbage;

impl From<Garbage> for std::io::Error {
    fn from(garbage: Garbage) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, garbage)
    }
}

/// A frame as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub kind: u8,
    /// At most [`MAX_BODY`] bytes.
    pub body: Bytes,
}

impl Frame {
    /// The bytes of it. A body that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body = &self.body[..self.body.len().min(MAX_BODY)];
        let mut bytes = BytesMut::with_capacity(HEADER + body.len());
        bytes.put_u8(self.kind);
        bytes.put_u16(body.len() as u16);
        bytes.put_slice(body);
        bytes.freeze()
    }

    /// Takes a whole frame from the front; `None` while a part is missing, and then nothing is taken.
    pub fn take(buffer: &mut BytesMut) -> Option<Self> {
        let header = buffer.first_chunk::<HEADER>()?;
        let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
        let kind = header[0];
        if buffer.len() < HEADER + len {
            return None;
        }
        buffer.advance(HEADER);
        let body = buffer.split_to(len).freeze();
        Some(Self { kind, body })
    }
}

/// The name of a signal without SIG, or a number.
pub(crate) fn signal_name(bytes: &[u8]) -> Result<String, Garbage> {
    let is_plain = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if bytes.is_empty() || bytes.len() > MAX_SIGNAL || !bytes.iter().all(is_plain) {
        return Err(Garbage);
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// A size as four numbers of 16 bits.
pub(crate) fn encode_size(size: &Size) -> Bytes {
    [size.columns, size.rows, size.width, size.height]
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

pub(crate) fn decode_size(mut body: &[u8]) -> Result<Size, Garbage> {
    if body.len() != 8 {
        return Err(Garbage);
    }
    Ok(Size {
        columns: body.get_u16(),
        rows: body.get_u16(),
        width: body.get_u16(),
        height: body.get_u16(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_from_any_cut() {
        let frames = [
            Frame {
                kind: 1,
                body: Bytes::from_static(b"abc"),
            },
            Frame {
                kind: 9,
                body: Bytes::new(),
            },
            Frame {
                kind: 2,
                body: Bytes::from(vec![5; MAX_BODY]),
            },
        ];
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.encode().to_vec())
            .collect();
        for step in [1, 2, 3, 7, 40_000] {
            let mut buffer = BytesMut::new();
            let mut taken = Vec::new();
            for chunk in bytes.chunks(step) {
                buffer.extend_from_slice(chunk);
                while let Some(frame) = Frame::take(&mut buffer) {
                    taken.push(frame);
                }
            }
            assert_eq!(taken, frames);
            assert!(buffer.is_empty());
        }
        let too_long = Frame {
            kind: 1,
            body: Bytes::from(vec![0; MAX_BODY + 1]),
        };
        assert_eq!(too_long.encode().len(), HEADER + MAX_BODY);
    }
}
