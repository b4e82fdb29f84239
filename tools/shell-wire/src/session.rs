//! Named sessions: their frames. The requests are in [`attach`], the names in [`name`].
//!
//! ```text
//! to the server   1 window: columns, rows, width, height (2 each, big endian)
//!                 2 input: bytes
//!                 3 taken: how many bytes of output and drawing were shown since attaching (8)
//! to the client   1 attached: incarnation (8), 1 if the session was made (1), bytes of this client's
//!                   input that the session has had (8), columns, rows (2 each)
//!                 2 output: bytes
//!                 3 redraw: how many bytes of output what follows stands for (8)
//!                 4 drawing: bytes that are shown but are no output
//!                 5 input seen: how many bytes of it, 50 ms ago (8)
//!                 6 line: 0 echoes, 1 is silent, 2 is raw (1)
//!                 7 size: columns, rows (2 each)
//!                 8 exited: the status (1)
//!                 9 killed: the signal's name without SIG
//!                10 failed: a text
//!                11 detached: another client has attached
//! ```
//! An unknown kind is skipped.

pub mod attach;
pub mod name;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::frame::{Frame, Garbage, decode_size, encode_size, signal_name};
use crate::request::Size;

/// A named session, to own or to view.
pub const SESSION_CHANNEL: &str = "dsh.session";

/// The list of a peer's sessions.
pub const LIST_CHANNEL: &str = "dsh.sessions";

/// Bytes of output in one frame: small enough that keys never wait long behind one.
pub const MAX_OUTPUT: usize = 16 * 1024;

/// How the far side reads what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Lines, which the terminal echoes.
    Echoing,
    /// Lines without echo: a password, for instance.
    Silent,
    /// Single characters; the program echoes, or not.
    Raw,
}

/// What who attaches is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Which life of the session it is: names are given again.
    pub incarnation: u64,
    /// Whether it was made just now.
    pub made: bool,
    /// Bytes of input of this client that the session has had.
    pub input: u64,
    /// Columns of its screen.
    pub columns: u16,
    /// Rows of its screen.
    pub rows: u16,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSession {
    /// The window has another size.
    Resize(Size),
    /// What was typed.
    Input(Bytes),
    /// Bytes of output and drawing that were shown since attaching.
    Taken(u64),
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToViewer {
    /// The session is there.
    Attached(Attached),
    /// What its programs wrote.
    Output(Bytes),
    /// Bytes of output that the drawing which follows stands for.
    Redraw(u64),
    /// Bytes that are shown but are no output.
    Drawing(Bytes),
    /// Bytes of input that the program had 50 ms ago.
    InputSeen(u64),
    /// How the line is read now.
    Line(Line),
    /// The session has another size.
    Size {
        /// Columns of its screen.
        columns: u16,
        /// Rows of its screen.
        rows: u16,
    },
    /// It ended by itself, with this status.
    Exited(u8),
    /// A signal ended it, by its name without SIG.
    Killed(String),
    /// It could not be gone on with; one line says why.
    Failed(String),
    /// Another client has attached.
    Detached,
}

impl ToSession {
    /// The frame of it.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let (kind, body) = match self {
            Self::Resize(size) => (1, encode_size(size)),
            Self::Input(bytes) => (2, bytes.clone()),
            Self::Taken(bytes) => (3, long(*bytes)),
        };
        Frame { kind, body }
    }

    /// What a frame says; `None` for a kind that is not known.
    ///
    /// # Errors
    /// [`Garbage`]: a body that its kind cannot have.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, Garbage> {
        let mut body = frame.body.clone();
        Ok(match (frame.kind, body.len()) {
            (1, _) => Some(Self::Resize(decode_size(&body)?)),
            (2, _) => Some(Self::Input(body)),
            (3, 8) => Some(Self::Taken(body.get_u64())),
            (3, _) => return Err(Garbage),
            _ => None,
        })
    }
}

impl ToViewer {
    /// The frame of it.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let (kind, body) = match self {
            Self::Attached(attached) => {
                let mut body = BytesMut::with_capacity(21);
                body.put_u64(attached.incarnation);
                body.put_u8(u8::from(attached.made));
                body.put_u64(attached.input);
                body.put_u16(attached.columns);
                body.put_u16(attached.rows);
                (1, body.freeze())
            }
            Self::Output(bytes) => (2, bytes.clone()),
            Self::Redraw(output) => (3, long(*output)),
            Self::Drawing(bytes) => (4, bytes.clone()),
            Self::InputSeen(bytes) => (5, long(*bytes)),
            Self::Line(mode) => (6, Bytes::copy_from_slice(&[line_number(*mode)])),
            Self::Size { columns, rows } => (7, numbers(&[*columns, *rows])),
            Self::Exited(status) => (8, Bytes::copy_from_slice(&[*status])),
            Self::Killed(name) => (9, Bytes::copy_from_slice(name.as_bytes())),
            Self::Failed(text) => (10, Bytes::copy_from_slice(text.as_bytes())),
            Self::Detached => (11, Bytes::new()),
        };
        Frame { kind, body }
    }

    /// What a frame says; `None` for a kind that is not known.
    ///
    /// # Errors
    /// [`Garbage`]: a body that its kind cannot have.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, Garbage> {
        let mut body = frame.body.clone();
        Ok(match (frame.kind, body.len()) {
            (1, 21) => Some(Self::Attached(Attached {
                incarnation: body.get_u64(),
                made: body.get_u8() == 1,
                input: body.get_u64(),
                columns: body.get_u16(),
                rows: body.get_u16(),
            })),
            (2, _) => Some(Self::Output(body)),
            (3, 8) => Some(Self::Redraw(body.get_u64())),
            (4, _) => Some(Self::Drawing(body)),
            (5, 8) => Some(Self::InputSeen(body.get_u64())),
            (6, 1) => Some(Self::Line(line_of(body[0])?)),
            (7, 4) => Some(Self::Size {
                columns: body.get_u16(),
                rows: body.get_u16(),
            }),
            (8, 1) => Some(Self::Exited(body[0])),
            (9, _) => Some(Self::Killed(signal_name(&body)?)),
            (10, _) => Some(Self::Failed(String::from_utf8_lossy(&body).into_owned())),
            (11, _) => Some(Self::Detached),
            (1 | 3 | 5..=8, _) => return Err(Garbage),
            _ => None,
        })
    }
}

fn line_number(mode: Line) -> u8 {
    match mode {
        Line::Echoing => 0,
        Line::Silent => 1,
        Line::Raw => 2,
    }
}

fn line_of(number: u8) -> Result<Line, Garbage> {
    match number {
        0 => Ok(Line::Echoing),
        1 => Ok(Line::Silent),
        2 => Ok(Line::Raw),
        _ => Err(Garbage),
    }
}

fn numbers(numbers: &[u16]) -> Bytes {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn long(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn from_server() -> Vec<ToViewer> {
        vec![
            ToViewer::Attached(Attached {
                incarnation: 1 << 60,
                made: true,
                input: 5,
                columns: 80,
                rows: 24,
            }),
            ToViewer::Output(Bytes::from_static(b"text")),
            ToViewer::Redraw(9),
            ToViewer::Drawing(Bytes::from_static(b"\x1b[H")),
            ToViewer::InputSeen(3),
            ToViewer::Line(Line::Silent),
            ToViewer::Size {
                columns: 1,
                rows: 2,
            },
            ToViewer::Exited(7),
            ToViewer::Killed("TERM".to_owned()),
            ToViewer::Failed("no".to_owned()),
            ToViewer::Detached,
        ]
    }

    #[test]
    fn every_frame_comes_back() {
        for said in from_server() {
            assert_eq!(ToViewer::decode(&said.frame()).unwrap(), Some(said));
        }
        let size = Size {
            columns: 1,
            rows: 2,
            width: 3,
            height: 4,
        };
        for said in [
            ToSession::Resize(size),
            ToSession::Input(Bytes::from_static(b"ls\r")),
            ToSession::Taken(1 << 40),
        ] {
            assert_eq!(ToSession::decode(&said.frame()).unwrap(), Some(said));
        }
    }

    #[test]
    fn the_frames_have_these_bytes() {
        assert_eq!(
            &ToViewer::Size {
                columns: 80,
                rows: 24
            }
            .frame()
            .encode()[..],
            b"\x07\x00\x04\x00\x50\x00\x18"
        );
        assert_eq!(
            &ToSession::Taken(258).frame().encode()[..],
            b"\x03\x00\x08\x00\x00\x00\x00\x00\x00\x01\x02"
        );
    }

    #[test]
    fn bodies_of_another_length_are_garbage_and_unknown_kinds_are_skipped() {
        for said in from_server() {
            let mut frame = said.frame();
            frame.body = [&frame.body[..], b"x"].concat().into();
            // What has no fixed length may be longer.
            let _ = ToViewer::decode(&frame);
            for len in 0..frame.body.len() {
                let cut = Frame {
                    kind: frame.kind,
                    body: frame.body.slice(..len),
                };
                let _ = ToViewer::decode(&cut);
                let _ = ToSession::decode(&cut);
            }
        }
        let short = Frame {
            kind: 3,
            body: Bytes::from_static(b"1234567"),
        };
        ToViewer::decode(&short).unwrap_err();
        ToSession::decode(&short).unwrap_err();
        let unknown = Frame {
            kind: 99,
            body: Bytes::new(),
        };
        assert_eq!(ToViewer::decode(&unknown).unwrap(), None);
        assert_eq!(ToSession::decode(&unknown).unwrap(), None);
    }
}
