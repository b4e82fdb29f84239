//! The frames of the control channel.
//!
//! ```text
//! to the server   1 window: columns, rows, width, height (2 each, big endian)
//!                 2 signal: its name without SIG
//! to the client   1 standard error: bytes
//!                 2 exited: the status (1)
//!                 3 killed: the signal's name without SIG
//!                 4 failed: a text
//! ```
//! An unknown kind is skipped, so that a later version may add some.

use bytes::Bytes;

use crate::frame::{Frame, Garbage, decode_size, encode_size, signal_name};
use crate::request::Size;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToServer {
    /// The window has another size.
    Resize(Size),
    /// A signal for the command, by its name without SIG.
    Signal(String),
}

impl ToServer {
    /// The frame of it.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let (kind, body) = match self {
            Self::Resize(size) => (1, encode_size(size)),
            Self::Signal(name) => (2, Bytes::copy_from_slice(name.as_bytes())),
        };
        Frame { kind, body }
    }

    /// What a frame says; `None` for a kind that is not known.
    ///
    /// # Errors
    /// [`Garbage`]: a body that its kind cannot have.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, Garbage> {
        match frame.kind {
            1 => decode_size(&frame.body).map(|size| Some(Self::Resize(size))),
            2 => signal_name(&frame.body).map(|name| Some(Self::Signal(name))),
            _ => Ok(None),
        }
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
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
    /// The frame of it.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let (kind, body) = match self {
            Self::Stderr(bytes) => (1, bytes.clone()),
            Self::Exited(status) => (2, Bytes::copy_from_slice(&[*status])),
            Self::Killed(name) => (3, Bytes::copy_from_slice(name.as_bytes())),
            Self::Failed(text) => (4, Bytes::copy_from_slice(text.as_bytes())),
        };
        Frame { kind, body }
    }

    /// What a frame says; `None` for a kind that is not known.
    ///
    /// # Errors
    /// [`Garbage`]: a body that its kind cannot have.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, Garbage> {
        let body = &frame.body;
        Ok(match (frame.kind, body.as_ref()) {
            (1, _) => Some(Self::Stderr(body.clone())),
            (2, [status]) => Some(Self::Exited(*status)),
            (2, _) => return Err(Garbage),
            (3, name) => Some(Self::Killed(signal_name(name)?)),
            (4, text) => Some(Self::Failed(String::from_utf8_lossy(text).into_owned())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use bytes::BytesMut;

    use super::*;
    use crate::frame::MAX_SIGNAL;

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
