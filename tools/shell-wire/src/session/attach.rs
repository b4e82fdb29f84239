//! The requests for a session and for the list of sessions.

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use super::name::SessionName;
use crate::request::{COMMAND_CHANNEL, MAX_REQUEST, Request, RequestError, SHELL_CHANNEL};
use crate::user::is_user_name;

/// Version of both forms.
const VERSION: u8 = 1;

type Config = Configuration<LittleEndian, Varint, Limit<MAX_REQUEST>>;
const CONFIG: Config = config::standard().with_limit::<MAX_REQUEST>();

/// What who attaches may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Type, and have the window's size. There is one owner; the former is detached.
    Own,
    /// Look.
    View,
}

/// What a client that was attached has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which life of the session: names are given again.
    pub incarnation: u64,
    /// How many bytes of its output.
    pub output: u64,
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    name: String,
    part: Part,
    seen: Option<Seen>,
    request: Vec<u8>,
}

/// What a client asks for when it opens [`SESSION_CHANNEL`](super::SESSION_CHANNEL).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Which session.
    pub name: SessionName,
    /// To type, or to look.
    pub part: Part,
    /// Of who was attached before.
    pub seen: Option<Seen>,
    /// What to make the session of, if there is none of this name; its terminal is there, and its
    /// token tells clients apart that come back.
    pub request: Request,
}

impl Attach {
    /// The bytes for the metadata.
    ///
    /// # Errors
    /// [`RequestError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, RequestError> {
        let encoded = Encoded {
            name: self.name.to_string(),
            part: self.part,
            seen: self.seen,
            request: self.request.encode()?,
        };
        let mut bytes = vec![VERSION];
        let body = bincode::serde::encode_to_vec(&encoded, config::standard());
        bytes.extend(body.map_err(|_| RequestError::Invalid)?);
        match bytes.len().checked_sub(MAX_REQUEST) {
            None | Some(0) => Ok(bytes),
            Some(over) => Err(RequestError::TooLong(over)),
        }
    }

    /// What is in the metadata.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        let encoded: Encoded = body(bytes)?;
        let request = Request::decode(SHELL_CHANNEL, &encoded.request)
            .or_else(|_| Request::decode(COMMAND_CHANNEL, &encoded.request))?;
        if request.terminal.is_none() {
            return Err(RequestError::Invalid);
        }
        Ok(Self {
            name: encoded.name.parse().map_err(|_| RequestError::Invalid)?,
            part: encoded.part,
            seen: encoded.seen,
            request,
        })
    }
}

/// What a client asks for when it opens [`LIST_CHANNEL`](super::LIST_CHANNEL).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// Whose sessions; `None`: of whom the policy says.
    pub user: Option<String>,
}

impl ListRequest {
    /// The bytes for the metadata.
    ///
    /// # Errors
    /// [`RequestError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, RequestError> {
        let mut bytes = vec![VERSION];
        let body = bincode::serde::encode_to_vec(self, config::standard());
        bytes.extend(body.map_err(|_| RequestError::Invalid)?);
        Ok(bytes)
    }

    /// What is in the metadata.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        let request: Self = body(bytes)?;
        match &request.user {
            Some(user) if !is_user_name(user) => Err(RequestError::User),
            _ => Ok(request),
        }
    }
}

fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    let (version, body) = bytes.split_first().ok_or(RequestError::Invalid)?;
    if *version != VERSION {
        return Err(RequestError::Version(*version));
    }
    let (decoded, len) = bincode::serde::decode_from_slice::<T, _>(body, CONFIG)
        .map_err(|_| RequestError::Invalid)?;
    (len == body.len())
        .then_some(decoded)
        .ok_or(RequestError::Invalid)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;
    use crate::request::{Size, Terminal};

    fn attach() -> Attach {
        Attach {
            name: "work".parse().unwrap(),
            part: Part::View,
            seen: Some(Seen {
                incarnation: 7,
                output: 300,
            }),
            request: Request {
                token: [9; 16],
                user: None,
                command: None,
                terminal: Some(Terminal {
                    term: "vt100".to_owned(),
                    size: Size::USUAL,
                    modes: Vec::new(),
                }),
                environment: Vec::new(),
            },
        }
    }

    #[test]
    fn the_request_to_attach_has_these_bytes() {
        let bytes = attach().encode().unwrap();
        let request = attach().request.encode().unwrap();
        let mut expected = b"\x01\x04work\x01\x01\x07\xfb\x2c\x01".to_vec();
        expected.push(u8::try_from(request.len()).unwrap());
        expected.extend(request);
        assert_eq!(bytes, expected);
        assert_eq!(Attach::decode(&bytes), Ok(attach()));
    }

    #[test]
    fn cut_or_lengthened_requests_are_refused() {
        let bytes = attach().encode().unwrap();
        for len in 0..bytes.len() {
            Attach::decode(&bytes[..len]).unwrap_err();
        }
        Attach::decode(&[&bytes[..], b"x"].concat()).unwrap_err();
        assert_eq!(Attach::decode(&[2]), Err(RequestError::Version(2)));
        let list = ListRequest {
            user: Some("alice".to_owned()),
        };
        let bytes = list.encode().unwrap();
        assert_eq!(bytes, b"\x01\x01\x05alice");
        for len in 0..bytes.len() {
            ListRequest::decode(&bytes[..len]).unwrap_err();
        }
        assert_eq!(ListRequest::decode(&bytes), Ok(list));
    }

    #[test]
    fn a_session_has_a_terminal_and_a_plain_name() {
        let mut without = attach();
        without.request.terminal = None;
        assert_eq!(
            Attach::decode(&without.encode().unwrap()),
            Err(RequestError::Invalid)
        );
        let mut bytes = attach().encode().unwrap();
        bytes[2] = b' ';
        assert_eq!(Attach::decode(&bytes), Err(RequestError::Invalid));
        let list = ListRequest {
            user: Some("../x".to_owned()),
        };
        assert_eq!(
            ListRequest::decode(&list.encode().unwrap()),
            Err(RequestError::User)
        );
    }
}
