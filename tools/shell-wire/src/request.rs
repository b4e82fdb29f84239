//! The request for a shell or a command.
//!
//! Each is a channel: its name says which, its metadata is a [`Request`], the bytes on it are standard
//! input and standard output as they are. The server then opens [`CONTROL_CHANNEL`] on the same
//! connection, on which everything else goes in the frames of [`control`](crate::control).

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use crate::user::is_user_name;

/// A login shell.
pub const SHELL_CHANNEL: &str = "dsh.shell";

/// A command line for the user's shell.
pub const COMMAND_CHANNEL: &str = "dsh.command";

/// Beside a session: window sizes and signals from the client; standard error, and how it ended,
/// from the server, which opens it. The metadata is the request's [`Token`].
pub const CONTROL_CHANNEL: &str = "dsh.control";

/// Version of the request.
const VERSION: u8 = 1;

/// Longest request, in bytes (56 KiB): all the metadata that a channel can have (`MAX_METADATA` of
/// channel-mux). Linux takes 128 KiB for one word of a command line.
pub const MAX_REQUEST: usize = 56 << 10;

/// Variables of one request; more than any terminal needs.
pub const MAX_VARIABLES: usize = 64;

/// Longest name of a kind of terminal, in bytes; terminfo's are shorter.
pub const MAX_TERM: usize = 64;

/// No length in a request can make the decoder allocate more than this, in bytes: it counts what
/// values take in memory, which is more than they take on the wire. 64 variables and 64 modes take
/// some KiB besides the text.
const DECODE_LIMIT: usize = 2 * MAX_REQUEST;

type Config = Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>>;
const CONFIG: Config = config::standard().with_limit::<DECODE_LIMIT>();

/// Which session a control channel belongs to; chosen by the client at random.
pub type Token = [u8; 16];

/// A window in characters and pixels; 0 pixels if that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// In characters.
    pub columns: u16,
    /// In characters.
    pub rows: u16,
    /// In pixels.
    pub width: u16,
    /// In pixels.
    pub height: u16,
}

impl Size {
    /// What programs take for a window when nobody knows better: a VT100's.
    pub const USUAL: Self = Self {
        columns: 80,
        rows: 24,
        width: 0,
        height: 0,
    };

    /// The same, or the usual for a window without room: programs divide by it.
    #[must_use]
    pub fn or_usual(self) -> Self {
        if self.columns == 0 || self.rows == 0 {
            Self::USUAL
        } else {
            self
        }
    }
}

/// The client's terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// The kind, as in `$TERM`.
    pub term: String,
    /// Of its window.
    pub size: Size,
    /// Opcodes and values of RFC 4254, section 8.
    pub modes: Vec<(u8, u32)>,
}

/// What a client asks for when it opens [`SHELL_CHANNEL`] or [`COMMAND_CHANNEL`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which session the control channel belongs to.
    pub token: Token,
    /// Who to be there; `None`: whom the policy says.
    pub user: Option<String>,
    /// What to run; `None` on [`SHELL_CHANNEL`] and nowhere else.
    pub command: Option<String>,
    /// Whether to make a terminal, and which.
    pub terminal: Option<Terminal>,
    /// Names and values of variables, at most [`MAX_VARIABLES`]; the server takes those of its list.
    pub environment: Vec<(String, String)>,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Cut short, trailing bytes, or a value that its field cannot have.
    #[error("the request cannot be understood")]
    Invalid,
    /// From the future.
    #[error("version {0} of the request is not known")]
    Version(u8),
    /// The command, the environment and the rest together.
    #[error("the command and its environment are {0} bytes too long")]
    TooLong(usize),
    /// No system has such a user.
    #[error("that is no name of a user")]
    User,
}

impl Request {
    /// The name of its channel.
    #[must_use]
    pub fn channel(&self) -> &'static str {
        match self.command {
            Some(_) => COMMAND_CHANNEL,
            None => SHELL_CHANNEL,
        }
    }

    /// The bytes for the metadata.
    ///
    /// # Errors
    /// [`RequestError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, RequestError> {
        let mut bytes = vec![VERSION];
        let body = bincode::serde::encode_to_vec(self, config::standard());
        bytes.extend(body.map_err(|_| RequestError::Invalid)?);
        match bytes.len().checked_sub(MAX_REQUEST) {
            None | Some(0) => Ok(bytes),
            Some(over) => Err(RequestError::TooLong(over)),
        }
    }

    /// The request in the metadata of a channel called `channel`.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(channel: &str, bytes: &[u8]) -> Result<Self, RequestError> {
        if let Some(over @ 1..) = bytes.len().checked_sub(MAX_REQUEST) {
            return Err(RequestError::TooLong(over));
        }
        let (version, body) = bytes.split_first().ok_or(RequestError::Invalid)?;
        if *version != VERSION {
            return Err(RequestError::Version(*version));
        }
        let (request, len) = bincode::serde::decode_from_slice::<Self, _>(body, CONFIG)
            .map_err(|_| RequestError::Invalid)?;
        let is_whole = len == body.len() && request.channel() == channel;
        let no_nul = |text: &str| !text.contains('\0');
        let is_sound = request.environment.len() <= MAX_VARIABLES
            && request.command.as_deref().is_none_or(no_nul)
            && request.terminal.as_ref().is_none_or(|t| {
                t.term.len() <= MAX_TERM && t.term.chars().all(|c| c.is_ascii_graphic())
            });
        if !is_whole || !is_sound {
            return Err(RequestError::Invalid);
        }
        match &request.user {
            Some(user) if !is_user_name(user) => Err(RequestError::User),
            _ => Ok(request),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn request() -> Request {
        Request {
            token: [7; 16],
            user: Some("alice".to_owned()),
            command: None,
            terminal: Some(Terminal {
                term: "xterm".to_owned(),
                size: Size {
                    columns: 132,
                    rows: 50,
                    width: 0,
                    height: 0,
                },
                modes: vec![(3, 127), (53, 1)],
            }),
            environment: vec![("LANG".to_owned(), "C".to_owned())],
        }
    }

    #[test]
    fn a_request_has_these_bytes() {
        let bytes = request().encode().unwrap();
        let mut expected = vec![1];
        expected.extend([7; 16]);
        expected.extend(b"\x01\x05alice\x00\x01\x05xterm\x84\x32\x00\x00\x02\x03\x7f\x35\x01");
        expected.extend(b"\x01\x04LANG\x01C");
        assert_eq!(bytes, expected);
        assert_eq!(Request::decode(SHELL_CHANNEL, &bytes), Ok(request()));
    }

    #[test]
    fn a_cut_or_lengthened_request_is_refused_without_harm() {
        let bytes = request().encode().unwrap();
        for len in 0..bytes.len() {
            Request::decode(SHELL_CHANNEL, &bytes[..len]).unwrap_err();
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(
            Request::decode(SHELL_CHANNEL, &longer),
            Err(RequestError::Invalid)
        );
        assert_eq!(
            Request::decode(COMMAND_CHANNEL, &bytes),
            Err(RequestError::Invalid)
        );
        assert_eq!(
            Request::decode(SHELL_CHANNEL, &[9, 0]),
            Err(RequestError::Version(9))
        );
        let hostile = [&[1][..], &[7; 16], &[0, 0, 0, 253], &[255; 8]].concat();
        assert_eq!(
            Request::decode(SHELL_CHANNEL, &hostile),
            Err(RequestError::Invalid)
        );
    }

    #[test]
    fn a_request_fills_the_metadata_and_not_a_byte_more() {
        let with = |len| Request {
            command: Some("x".repeat(len)),
            user: None,
            terminal: None,
            environment: Vec::new(),
            ..request()
        };
        let rest = with(300).encode().unwrap().len() - 300;
        let fits = with(MAX_REQUEST - rest).encode().unwrap();
        assert_eq!(fits.len(), MAX_REQUEST);
        Request::decode(COMMAND_CHANNEL, &fits).unwrap();
        let one_more = with(MAX_REQUEST - rest + 1).encode();
        assert_eq!(one_more, Err(RequestError::TooLong(1)));
    }

    #[test]
    fn what_no_system_has_is_refused() {
        let changed = |change: fn(&mut Request)| {
            let mut request = request();
            change(&mut request);
            let channel = request.channel();
            Request::decode(channel, &request.encode().unwrap()).unwrap_err()
        };
        let root = |r: &mut Request| r.user = Some("../root".to_owned());
        assert_eq!(changed(root), RequestError::User);
        assert_eq!(
            changed(|r| r.command = Some("a\0b".to_owned())),
            RequestError::Invalid
        );
        let escape = |r: &mut Request| r.terminal.as_mut().unwrap().term = "\x1b[".to_owned();
        assert_eq!(changed(escape), RequestError::Invalid);
        let many = |r: &mut Request| r.environment = vec![Default::default(); MAX_VARIABLES + 1];
        assert_eq!(changed(many), RequestError::Invalid);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(mut bytes: Vec<u8>) {
            let _ = Request::decode(SHELL_CHANNEL, &bytes);
            bytes.insert(0, VERSION);
            let _ = Request::decode(COMMAND_CHANNEL, &bytes);
        }
    }

    #[test]
    fn a_window_without_room_is_the_usual_one() {
        let none = Size {
            columns: 0,
            rows: 50,
            width: 0,
            height: 0,
        };
        assert_eq!(none.or_usual(), Size::USUAL);
        let small = Size {
            columns: 1,
            rows: 1,
            width: 0,
            height: 0,
        };
        assert_eq!(small.or_usual(), small);
    }
}
