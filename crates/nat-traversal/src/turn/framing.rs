//! TURN over a stream: STUN messages and ChannelData one after the other (RFC 8656 section 12.5).

use super::error::StreamError;
use crate::stun::{HEADER_LEN, MAGIC_COOKIE};

/// Bytes of the header of ChannelData.
const CHANNEL_HEADER_LEN: usize = 4;

/// Cuts a stream into frames. Holds at most one unfinished frame and what was pushed last.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    read: usize,
}

impl Framer {
    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, without padding; `None` when more bytes are needed. An error ends
    /// the stream: what follows cannot be found again. No frame may be longer than `limit`.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Option<Vec<u8>>, StreamError> {
        let rest = &self.buffer[self.read..];
        let Some(&first) = rest.first() else {
            self.buffer = Vec::new();
            self.read = 0;
            return Ok(None);
        };
        let stun = match first {
            0x00..=0x3f => true,
            0x40..=0x4f => false,
            _ => return Err(StreamError::NotTurn),
        };
        let Some(&[_, _, high, low]) = rest.first_chunk() else {
            return Ok(None);
        };
        let value = usize::from(u16::from_be_bytes([high, low]));
        let (len, on_wire) = if stun {
            // Known early, so that no stranger makes us wait for 64 KiB of anything.
            if rest.len() >= 8 && rest[4..8] != MAGIC_COOKIE || !value.is_multiple_of(4) {
                return Err(StreamError::NotTurn);
            }
            (HEADER_LEN + value, HEADER_LEN + value)
        } else {
            let len = CHANNEL_HEADER_LEN + value;
            (len, len.next_multiple_of(4))
        };
        if len > limit {
            return Err(StreamError::TooLong { len });
        }
        let Some(frame) = rest.get(..on_wire) else {
            return Ok(None);
        };
        let frame = frame[..len].to_vec();
        self.read += on_wire;
        Ok(Some(frame))
    }
}

/// A frame as it goes into a stream: ChannelData is padded to a multiple of four.
pub(crate) fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    pad(&mut frame, 0);
    frame
}

/// The same for the frame that begins at `start` and ends with `bytes`.
pub(crate) fn pad(bytes: &mut Vec<u8>, start: usize) {
    if bytes.get(start).is_some_and(|first| first >> 6 == 0b01) {
        let len = (bytes.len() - start).next_multiple_of(4);
        bytes.resize(start + len, 0);
    }
}

/// Bytes of payload of ChannelData (RFC 8656 section 12.4), if this is that and whole.
pub(crate) fn channel_payload_len(datagram: &[u8]) -> Option<usize> {
    let &[first, _, high, low] = datagram.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    ((0x40..=0x4f).contains(&first) && CHANNEL_HEADER_LEN + len <= datagram.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn frames() -> Vec<Vec<u8>> {
        let mut message = vec![0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        message.extend([7; 12]);
        message.extend([0x80, 0x22, 0, 4, 1, 2, 3, 4]);
        let channel = |len: u8| {
            let mut frame = vec![0x40, 0, 0, len];
            frame.extend((0..len).map(|n| n ^ 0x55));
            frame
        };
        vec![channel(1), message, channel(0), channel(4), channel(255)]
    }

    fn stream() -> Vec<u8> {
        frames().into_iter().flat_map(padded).collect()
    }

    fn read(framer: &mut Framer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| framer.next(1000).unwrap()).collect()
    }

    #[test]
    fn frames_come_out_wherever_the_stream_is_cut() {
        let stream = stream();
        for cut in 0..=stream.len() {
            let mut framer = Framer::default();
            framer.push(&stream[..cut]);
            let mut found = read(&mut framer);
            framer.push(&stream[cut..]);
            found.extend(read(&mut framer));
            assert_eq!(found, frames(), "{cut}");
        }
        let mut framer = Framer::default();
        let mut found = Vec::new();
        for byte in &stream {
            framer.push(&[*byte]);
            found.extend(read(&mut framer));
        }
        assert_eq!(found, frames());
        assert_eq!(framer.buffer.capacity(), 0, "an idle stream holds nothing");
    }

    #[test]
    fn a_frame_at_the_limit_is_read_and_one_past_it_is_not() {
        for (limit, expected) in [(259, true), (258, false)] {
            let mut framer = Framer::default();
            framer.push(&padded(frames().pop().unwrap()));
            match framer.next(limit) {
                Ok(Some(frame)) => assert!(expected && frame.len() == 259),
                Ok(None) => panic!("it is whole"),
                Err(error) => {
                    assert!(!expected);
                    assert_eq!(error, StreamError::TooLong { len: 259 });
                }
            }
        }
    }

    #[test]
    fn what_is_not_turn_is_refused_by_its_first_bytes() {
        for bytes in [
            &b"\x80"[..],
            b"\xff\xff",
            b"\x00\x01\x00\x01",
            b"\x00\x01\x00\x00GET ",
        ] {
            let mut framer = Framer::default();
            framer.push(bytes);
            assert_eq!(framer.next(1000), Err(StreamError::NotTurn), "{bytes:?}");
        }
    }
}
