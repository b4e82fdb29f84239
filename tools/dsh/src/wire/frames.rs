//! The frames of the control channel: a kind, a length, a body.
//!
//! ```text
//! kind (1) ‖ length of the body (2, big endian) ‖ body
//!
//! to the server   1 window: columns, rows, width, height (2 each, big endian)
//!                 2 signal: its name without SIG
//! to the client   1 standard error: bytes
//!                 2 exited: the status (1)
//!                 3 killed: the signal's name without SIG
//!                 4 failed: a text
//! ```
//! An unknown kind is skipped, so that a later version may add some.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dhtnet::RecvHalf;

use super::Size;

/// Longest body, in bytes: all that the length can say.
pub(crate) const MAX_BODY: usize = u16::MAX as usize;

/// Longest name of a signal, in bytes.
const MAX_SIGNAL: usize = 16;

const HEADER: usize = 3;

/// A frame as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Bytes,
}

impl Frame {
    /// Kind and length, which stand before the body. A body that is too long is cut.
    pub(crate) fn encode(&self) -> Bytes {
        let body = &self.body[..self.body.len().min(MAX_BODY)];
        let mut bytes = BytesMut::with_capacity(HEADER + body.len());
        bytes.put_u8(self.kind);
        bytes.put_u16(body.len() as u16);
        bytes.put_slice(body);
        bytes.freeze()
    }

    /// Takes a whole frame from the front; `None` while a part is missing.
    fn take(buffer: &mut BytesMut) -> Option<Self> {
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

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToServer {
    /// The window has another size.
    Resize(Size),
    /// A signal for the command, by its name without SIG.
    Signal(String),
}

impl ToServer {
    pub(crate) fn frame(&self) -> Frame {
        let (kind, body) = match self {
            Self::Resize(size) => {
                let mut body = BytesMut::with_capacity(8);
                [size.columns, size.rows, size.width, size.height]
                    .into_iter()
                    .for_each(|number| body.put_u16(number));
                (1, body.freeze())
            }
            Self::Signal(name) => (2, Bytes::copy_from_slice(name.as_bytes())),
        };
        Frame { kind, body }
    }

    /// `None` for a kind that is not known.
    pub(crate) fn decode(frame: &Frame) -> io::Result<Option<Self>> {
        match frame.kind {
            1 => {
                let mut body = frame.body.clone();
                if body.len() != 8 {
                    return Err(garbage());
                }
                Ok(Some(Self::Resize(Size {
                    columns: body.get_u16(),
                    rows: body.get_u16(),
                    width: body.get_u16(),
                    height: body.get_u16(),
                })))
            }
            2 => signal_name(&frame.body).map(|name| Some(Self::Signal(name))),
            _ => Ok(None),
        }
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToClient {
    /// Bytes of standard error.
    Stderr(Bytes),
    /// It ended by itself, with this status.
    Exited(u8),
    /// A signal ended it, by its name without SIG.
    Killed(String),
    /// It could not be gone on with; one line says why.
    Failed(String),
}

impl ToClient {
    pub(crate) fn frame(&self) -> Frame {
        let (kind, body) = match self {
            Self::Stderr(bytes) => (1, bytes.clone()),
            Self::Exited(status) => (2, Bytes::copy_from_slice(&[*status])),
            Self::Killed(name) => (3, Bytes::copy_from_slice(name.as_bytes())),
            Self::Failed(text) => (4, Bytes::copy_from_slice(text.as_bytes())),
        };
        Frame { kind, body }
    }

    /// `None` for a kind that is not known.
    pub(crate) fn decode(frame: &Frame) -> io::Result<Option<Self>> {
        let body = &frame.body;
        Ok(match (frame.kind, body.as_ref()) {
            (1, _) => Some(Self::Stderr(body.clone())),
            (2, [status]) => Some(Self::Exited(*status)),
            (2, _) => return Err(garbage()),
            (3, name) => Some(Self::Killed(signal_name(name)?)),
            (4, text) => Some(Self::Failed(String::from_utf8_lossy(text).into_owned())),
            _ => None,
        })
    }
}

pub(crate) fn signal_name(bytes: &[u8]) -> io::Result<String> {
    let is_plain = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if bytes.is_empty() || bytes.len() > MAX_SIGNAL || !bytes.iter().all(is_plain) {
        return Err(garbage());
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

pub(crate) fn garbage() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a control message cannot be understood",
    )
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    #[test]
    fn messages_have_these_bytes_and_come_back() {
        let size = Size {
            columns: 80,
            rows: 24,
            width: 640,
            height: 384,
        };
        let to_server: [(ToServer, &[u8]); 2] = [
            (
                ToServer::Resize(size),
                b"\x01\x00\x08\x00\x50\x00\x18\x02\x80\x01\x80",
            ),
            (ToServer::Signal("INT".to_owned()), b"\x02\x00\x03INT"),
        ];
        for (message, bytes) in to_server {
            assert_eq!(message.frame().encode(), bytes);
            assert_eq!(ToServer::decode(&message.frame()).unwrap(), Some(message));
        }
        let to_client: [(ToClient, &[u8]); 4] = [
            (
                ToClient::Stderr(Bytes::from_static(b"e\n")),
                b"\x01\x00\x02e\n",
            ),
            (ToClient::Exited(7), b"\x02\x00\x01\x07"),
            (ToClient::Killed("KILL".to_owned()), b"\x03\x00\x04KILL"),
            (ToClient::Failed("no".to_owned()), b"\x04\x00\x02no"),
        ];
        for (message, bytes) in to_client {
            assert_eq!(message.frame().encode(), bytes);
            assert_eq!(ToClient::decode(&message.frame()).unwrap(), Some(message));
        }
    }

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

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(bytes.as_slice());
            while let Some(frame) = Frame::take(&mut buffer) {
                let _ = (ToServer::decode(&frame), ToClient::decode(&frame));
            }
        }
    }

    #[test]
    fn garbage_is_an_error_and_the_unknown_is_skipped() {
        let frame = |kind, body: &'static [u8]| Frame {
            kind,
            body: Bytes::from_static(body),
        };
        for wrong in [
            frame(1, b"short"),
            frame(2, b""),
            frame(2, b"int"),
            frame(2, b"A B"),
        ] {
            ToServer::decode(&wrong).unwrap_err();
        }
        for wrong in [frame(2, b""), frame(2, b"12"), frame(3, b"\x1b[2J")] {
            ToClient::decode(&wrong).unwrap_err();
        }
        ToServer::decode(&Frame {
            kind: 2,
            body: Bytes::from(vec![b'A'; MAX_SIGNAL + 1]),
        })
        .unwrap_err();
        assert_eq!(ToServer::decode(&frame(77, b"?")).unwrap(), None);
        assert_eq!(ToClient::decode(&frame(77, b"?")).unwrap(), None);
    }
}
