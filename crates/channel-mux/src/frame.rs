//! Reads one length-prefixed frame off a stream, piece by piece, and not a byte more.
//!
//! What follows the frame stays in the link, so that payload is never copied through here.

use bytes::{Bytes, BytesMut};

use crate::link::{Link, ReadError, StreamId};

const HEADER: usize = 2;

/// A frame on its way in. Holds at most `max` + 2 bytes, and only those that arrived.
#[derive(Debug)]
pub(crate) struct FrameReader {
    max: usize,
    partial: BytesMut,
}

/// Why there is no frame (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// More bytes are to come.
    Blocked,
    /// The frame claims more than the reader takes.
    TooLong { length: usize },
    /// The stream ended before the frame did.
    Ended,
    /// The peer reset the stream.
    Reset(u32),
}

impl FrameReader {
    /// Takes frames with a body of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            partial: BytesMut::new(),
        }
    }

    /// Bytes held.
    pub(crate) fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Bytes that the body of the frame on its way has, as far as its header is there.
    pub(crate) fn announced(&self) -> usize {
        match self.partial[..] {
            [high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
            _ => 0,
        }
    }

    /// The body of the next frame.
    pub(crate) fn read(&mut self, link: &mut dyn Link, id: StreamId) -> Result<Bytes, FrameError> {
        loop {
            let missing = self.missing()?;
            if missing == 0 {
                let mut frame = std::mem::take(&mut self.partial).freeze();
                return Ok(frame.split_off(HEADER));
            }
            match link.read(id, missing) {
                Ok(Some(bytes)) => self.partial.extend_from_slice(&bytes),
                Err(ReadError::Blocked) => return Err(FrameError::Blocked),
                Err(ReadError::Reset(code)) => return Err(FrameError::Reset(code)),
                Ok(None) | Err(ReadError::Closed) => return Err(FrameError::Ended),
            }
        }
    }

    /// Bytes still to come of the header, or, once it is there, of the body.
    fn missing(&self) -> Result<usize, FrameError> {
        let [high, low, ..] = self.partial[..] else {
            return Ok(HEADER - self.partial.len());
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > self.max {
            return Err(FrameError::TooLong { length });
        }
        Ok(HEADER + length - self.partial.len())
    }
}
