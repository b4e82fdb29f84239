//! Frames out of a channel.

use std::io;

use bytes::BytesMut;
use dhtnet::RecvHalf;
use dhtnet_shell_wire::frame::{Frame, MAX_BODY};

/// Frames out of the receiving direction of a channel. Holds at most one frame and what came with
/// its end.
pub(crate) struct Frames {
    recv: RecvHalf,
    buffer: BytesMut,
}

impl Frames {
    pub(crate) fn new(recv: RecvHalf) -> Self {
        let buffer = BytesMut::new();
        Self { recv, buffer }
    }

    /// The next frame; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// Those of the channel; `UnexpectedEof` for an end within a frame.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = Frame::take(&mut self.buffer) {
                return Ok(Some(frame));
            }
            match self.recv.read_chunk(MAX_BODY).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}
