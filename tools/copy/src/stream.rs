//! Frames on byte streams.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use crate::CopyError;
use crate::frame::{Frame, HEADER_LEN, decode_header};

/// Small frames are gathered up to this size; a block is larger and goes straight through.
const BUFFER: usize = 64 * 1024;

/// Reads frames.
pub(crate) struct FrameReader<R> {
    stream: BufReader<R>,
    /// Grows to the longest body that came.
    body: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self {
            stream: BufReader::with_capacity(BUFFER, stream),
            body: Vec::new(),
        }
    }

    /// Whether the next frame is there already, so that reading it waits for nobody.
    pub(crate) fn has_frame(&self) -> bool {
        let buffered = self.stream.buffer();
        let Some((header, rest)) = buffered.split_first_chunk() else {
            return false;
        };
        decode_header(*header).is_ok_and(|(_, length)| length <= rest.len())
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`CopyError::Cut`] when the stream ends; [`CopyError::Aborted`] when the peer gave up.
    pub(crate) fn next_frame(&mut self) -> Result<Frame<'_>, CopyError> {
        if self.stream.fill_buf()?.is_empty() {
            return Err(CopyError::Cut);
        }
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header)?;
        let (kind, length) = decode_header(header)?;
        if self.body.len() < length {
            self.body.resize(length, 0);
        }
        self.stream.read_exact(&mut self.body[..length])?;
        match Frame::decode(kind, &self.body[..length])? {
            Frame::Abort { reason } => Err(CopyError::Aborted(crate::name::shown(reason))),
            frame => Ok(frame),
        }
    }
}

/// Writes frames.
pub(crate) struct FrameWriter<W: Write> {
    stream: BufWriter<W>,
    scratch: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub(crate) fn new(stream: W) -> Self {
        Self {
            stream: BufWriter::with_capacity(BUFFER, stream),
            scratch: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.scratch.clear();
        frame.encode(&mut self.scratch);
        self.stream.write_all(&self.scratch)?;
        match frame {
            Frame::Data(block) => self.stream.write_all(block),
            _ => Ok(()),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    /// Tells the other side why this one gives up; it may be gone.
    pub(crate) fn abort(&mut self, error: &CopyError) {
        if let Some(reason) = error.for_peer() {
            let reason = reason.as_bytes();
            let _ = self.send(&Frame::Abort { reason });
        }
        let _ = self.flush();
    }
}
