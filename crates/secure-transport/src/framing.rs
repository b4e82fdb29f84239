//! Frames inside the QUIC CRYPTO streams: `type (1) ‖ length (2, big endian) ‖ body`.

use crate::handshake_error::HandshakeError;

/// Longest Noise message, in bytes.
///
/// Message 1 is 96 bytes of keys and tags, 51 of AEADs, id and lengths, up to 1,024 of application
/// bytes, and transport parameters, which take about 150; the rest is room for later parameters.
pub const MAX_HANDSHAKE_MESSAGE_LEN: usize = 2_048;

/// One handshake frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Type 1: a Noise message. At most [`MAX_HANDSHAKE_MESSAGE_LEN`] bytes.
    Noise(Vec<u8>),
    /// Type 2, always empty: the sender holds the Handshake keys.
    Finished,
}

const NOISE: u8 = 1;
const FINISHED: u8 = 2;
const HEADER_LEN: usize = 3;

impl Frame {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, body) = match self {
            Self::Noise(message) => (NOISE, message.as_slice()),
            Self::Finished => (FINISHED, &[][..]),
        };
        let len = u16::try_from(body.len()).expect("messages are bounded far below 64 KiB");
        out.push(kind);
        out.extend(len.to_be_bytes());
        out.extend(body);
    }
}

/// Puts frames together from CRYPTO bytes, which arrive in pieces of any size.
///
/// Holds at most [`MAX_HANDSHAKE_MESSAGE_LEN`] + 3 bytes of an unfinished frame. A wrong header is
/// refused as soon as it is there, before its body is waited for.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffered: Vec<u8>,
}

impl FrameReader {
    /// Takes `bytes` up to the end of the first whole frame.
    ///
    /// Returns the frame, if `bytes` completed one, and the bytes after it.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Malformed`] for an unknown type, a length above the bound, or a finished
    /// frame with a body. The reader is not usable after that.
    pub fn read<'a>(
        &mut self,
        bytes: &'a [u8],
    ) -> Result<(Option<Frame>, &'a [u8]), HandshakeError> {
        let rest = self.fill_to(HEADER_LEN, bytes);
        let Some(&[kind, high, low]) = self.buffered.first_chunk::<HEADER_LEN>() else {
            return Ok((None, rest));
        };
        let body_len = usize::from(u16::from_be_bytes([high, low]));
        match kind {
            NOISE if body_len <= MAX_HANDSHAKE_MESSAGE_LEN => {}
            FINISHED if body_len == 0 => {}
            _ => return Err(HandshakeError::Malformed),
        }
        let rest = self.fill_to(HEADER_LEN + body_len, rest);
        if self.buffered.len() < HEADER_LEN + body_len {
            return Ok((None, rest));
        }
        let mut body = std::mem::take(&mut self.buffered);
        body.drain(..HEADER_LEN);
        let frame = if kind == NOISE {
            Frame::Noise(body)
        } else {
            Frame::Finished
        };
        Ok((Some(frame), rest))
    }

    /// Moves bytes over until `len` are buffered; returns those left.
    fn fill_to<'a>(&mut self, len: usize, bytes: &'a [u8]) -> &'a [u8] {
        let missing = len.saturating_sub(self.buffered.len()).min(bytes.len());
        let (taken, rest) = bytes.split_at(missing);
        self.buffered.extend_from_slice(taken);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, HandshakeError> {
        let mut reader = FrameReader::default();
        let mut frames = Vec::new();
        for mut chunk in bytes.chunks(piece) {
            loop {
                let (frame, rest) = reader.read(chunk)?;
                frames.extend(frame);
                chunk = rest;
                if chunk.is_empty() {
                    break;
                }
            }
        }
        Ok(frames)
    }

    #[test]
    fn frames_have_exactly_these_bytes() {
        let mut out = Vec::new();
        Frame::Noise(vec![0xaa, 0xbb]).encode(&mut out);
        Frame::Finished.encode(&mut out);
        assert_eq!(out, [1, 0, 2, 0xaa, 0xbb, 2, 0, 0]);
    }

    #[test]
    fn frames_round_trip_in_pieces_of_any_size() {
        let frames = [
            Frame::Noise((0..=255).collect()),
            Frame::Finished,
            Frame::Noise(vec![]),
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            frame.encode(&mut bytes);
        }
        for piece in 1..=bytes.len() {
            assert_eq!(frames_of(&bytes, piece).unwrap(), frames);
        }
    }

    #[test]
    fn a_cut_frame_is_waited_for_at_every_length() {
        let mut bytes = Vec::new();
        Frame::Noise(vec![9; 300]).encode(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(frames_of(&bytes[..len], 7).unwrap(), []);
        }
    }

    #[test]
    fn the_length_bound_is_exact() {
        let mut bytes = Vec::new();
        Frame::Noise(vec![1; MAX_HANDSHAKE_MESSAGE_LEN]).encode(&mut bytes);
        assert_eq!(frames_of(&bytes, 1_000).unwrap().len(), 1);
        let len = u16::try_from(MAX_HANDSHAKE_MESSAGE_LEN + 1)
            .unwrap()
            .to_be_bytes();
        let header = [NOISE, len[0], len[1]];
        assert_eq!(frames_of(&header, 3), Err(HandshakeError::Malformed));
    }

    #[test]
    fn unknown_types_and_finished_with_a_body_are_refused() {
        for kind in [0, 3, 255] {
            assert_eq!(frames_of(&[kind, 0, 0], 1), Err(HandshakeError::Malformed));
        }
        assert_eq!(
            frames_of(&[FINISHED, 0, 1, 0], 4),
            Err(HandshakeError::Malformed)
        );
    }
}
