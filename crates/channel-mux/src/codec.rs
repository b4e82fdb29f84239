//! The frames of the wire: requests, answers and control messages, to and from bytes.
//!
//! A frame is a `u16` length, big-endian, and a body. A body is a `u32` kind or version and a
//! structure, both in bincode 2 (standard configuration: little-endian, variable-length integers).
//! A body is taken only if encoding what was decoded gives the same bytes again, which refuses
//! trailing bytes and over-long integers at once.
//!
//! bincode is positional, so no field can be added to a version. What a later version may want to
//! add rides in `extensions`, a list that ends every structure: an unknown extension is skipped
//! unless it is marked critical. Unknown control kinds are skipped too. Anything else needs a new
//! version number, which older peers decline by name ([`DecodeError::UnknownVersion`]).

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{MAX_EXTENSIONS, MAX_MESSAGE, MAX_REQUEST_FRAME};
use crate::reason::{CloseCode, CloseReason, DeclineCode, DeclineReason};
use crate::request::{ChannelKind, ChannelRequest, InvalidRequest, Priority};
use crate::varint;

/// Version of the protocol that is spoken here, and the oldest that is understood.
pub(crate) const VERSION: u16 = 1;

const REQUEST_V1: u32 = 1;
const ACCEPTED: u32 = 0;
const DECLINED: u32 = 1;
const HELLO: u32 = 1;
const PING: u32 = 2;
const PONG: u32 = 3;
const GO_AWAY: u32 = 4;
const BYE: u32 = 5;
const NOTE: u32 = 6;

/// No length in a body can make bincode allocate more than this, in bytes.
const DECODE_LIMIT: usize = MAX_REQUEST_FRAME;

type Config = Configuration<LittleEndian, Varint, Limit<DECODE_LIMIT>>;
const CONFIG: Config = config::standard().with_limit::<DECODE_LIMIT>();

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Cut short, or a value that its field cannot have.
    #[error("the bytes are not a valid frame body")]
    Invalid,
    /// Trailing bytes or an over-long integer.
    #[error("the encoding is not the shortest one")]
    NotCanonical,
    /// A version or kind from the future.
    #[error("version or kind {0} is not known")]
    UnknownVersion(u32),
    /// A critical extension from the future.
    #[error("extension {0} is required and not known")]
    UnknownExtension(u32),
    /// More than [`MAX_EXTENSIONS`].
    #[error("{0} extensions are too many")]
    TooManyExtensions(usize),
    /// A message longer than [`MAX_MESSAGE`].
    #[error("a message of {0} bytes is too long")]
    MessageTooLong(usize),
    /// A request that breaks a rule.
    #[error("the request is not valid")]
    Request(#[from] InvalidRequest),
}

/// A request as it is on the wire: what the application asks for, and the number that marks the
/// channel's datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(hidden)]
pub struct RequestFrame {
    /// What the application asks for.
    pub request: ChannelRequest,
    /// For datagram channels.
    pub number: Option<u64>,
}

/// The first frame of an acceptor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(hidden)]
pub enum AnswerFrame {
    /// The channel is open.
    Accepted,
    /// The channel is not.
    Declined(DeclineReason),
}

/// A message on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(hidden)]
pub enum ControlFrame {
    /// First in each direction.
    Hello(Hello),
    /// Asks for a Pong with the same nonce.
    Ping(u64),
    /// Answers a Ping.
    Pong(u64),
    /// No new channels from here on.
    GoAway(CloseReason),
    /// After a GoAway: the sender has no channel left.
    Bye,
    /// Bytes for the program on the other side, beside all channels.
    Note(Bytes),
    /// Of a later version; skipped.
    Unknown(u32),
}

/// What a side says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub struct Hello {
    /// Newest version that it speaks.
    pub version: u16,
    /// Channels that it allows at once.
    pub max_channels: u32,
    /// Incomplete and unanswered requests that it allows at once.
    pub max_pending_requests: u32,
}

#[derive(Serialize, Deserialize)]
struct Extension {
    id: u32,
    critical: bool,
    value: Bytes,
}

#[derive(Serialize, Deserialize)]
enum KindV1 {
    Stream,
    Datagrams { number: u64 },
}

#[derive(Serialize, Deserialize)]
struct RequestV1 {
    name: String,
    kind: KindV1,
    priority: u8,
    metadata: Bytes,
    extensions: Vec<Extension>,
}

#[derive(Serialize, Deserialize)]
struct AcceptedV1 {
    extensions: Vec<Extension>,
}

#[derive(Serialize, Deserialize)]
struct DeclinedV1 {
    code: u8,
    message: String,
    extensions: Vec<Extension>,
}

#[derive(Serialize, Deserialize)]
struct HelloV1 {
    version: u16,
    max_channels: u32,
    max_pending_requests: u32,
    extensions: Vec<Extension>,
}

#[derive(Serialize, Deserialize)]
struct GoAwayV1 {
    code: u8,
    message: String,
    extensions: Vec<Extension>,
}

/// A request as a frame, length included.
#[doc(hidden)]
#[must_use]
pub fn encode_request(frame: &RequestFrame) -> Bytes {
    let request = &frame.request;
    let kind = match frame.number {
        Some(number) => KindV1::Datagrams { number },
        None => KindV1::Stream,
    };
    let body = RequestV1 {
        name: request.name.clone(),
        kind,
        priority: priority_to_wire(request.priority),
        metadata: request.metadata.clone(),
        extensions: Vec::new(),
    };
    encode_frame(REQUEST_V1, &body)
}

/// A request from a frame's body.
///
/// # Errors
/// See [`DecodeError`].
#[doc(hidden)]
pub fn decode_request(body: &[u8]) -> Result<RequestFrame, DecodeError> {
    let (version, rest) = split_kind(body)?;
    if version != REQUEST_V1 {
        return Err(DecodeError::UnknownVersion(version));
    }
    let wire: RequestV1 = decode_canonical(rest)?;
    check_extensions(&wire.extensions)?;
    let (kind, number) = match wire.kind {
        KindV1::Stream => (ChannelKind::Stream, None),
        KindV1::Datagrams { number } if number <= varint::MAX => {
            (ChannelKind::Datagrams, Some(number))
        }
        KindV1::Datagrams { .. } => return Err(DecodeError::Invalid),
    };
    let request = ChannelRequest::new(wire.name, kind)
        .metadata(wire.metadata)
        .priority(priority_from_wire(wire.priority));
    request.validate()?;
    Ok(RequestFrame { request, number })
}

/// An answer as a frame, length included.
#[doc(hidden)]
#[must_use]
pub fn encode_answer(answer: &AnswerFrame) -> Bytes {
    match answer {
        AnswerFrame::Accepted => encode_frame(
            ACCEPTED,
            &AcceptedV1 {
                extensions: Vec::new(),
            },
        ),
        AnswerFrame::Declined(reason) => encode_frame(
            DECLINED,
            &DeclinedV1 {
                code: reason.code().to_wire(),
                message: reason.message().to_owned(),
                extensions: Vec::new(),
            },
        ),
    }
}

/// An answer from a frame's body.
///
/// # Errors
/// See [`DecodeError`].
#[doc(hidden)]
pub fn decode_answer(body: &[u8]) -> Result<AnswerFrame, DecodeError> {
    let (kind, rest) = split_kind(body)?;
    match kind {
        ACCEPTED => {
            check_extensions(&decode_canonical::<AcceptedV1>(rest)?.extensions)?;
            Ok(AnswerFrame::Accepted)
        }
        DECLINED => {
            let wire: DeclinedV1 = decode_canonical(rest)?;
            check_extensions(&wire.extensions)?;
            let message = check_message(wire.message)?;
            let code = DeclineCode::from_wire(wire.code);
            Ok(AnswerFrame::Declined(DeclineReason::new(code, message)))
        }
        kind => Err(DecodeError::UnknownVersion(kind)),
    }
}

/// A control message as a frame, length included. [`ControlFrame::Unknown`] has an empty body.
#[doc(hidden)]
#[must_use]
pub fn encode_control(message: &ControlFrame) -> Bytes {
    match message {
        ControlFrame::Hello(hello) => encode_frame(
            HELLO,
            &HelloV1 {
                version: hello.version,
                max_channels: hello.max_channels,
                max_pending_requests: hello.max_pending_requests,
                extensions: Vec::new(),
            },
        ),
        ControlFrame::Ping(nonce) => encode_frame(PING, nonce),
        ControlFrame::Pong(nonce) => encode_frame(PONG, nonce),
        ControlFrame::GoAway(reason) => encode_frame(
            GO_AWAY,
            &GoAwayV1 {
                code: reason.code().to_wire(),
                message: reason.message().to_owned(),
                extensions: Vec::new(),
            },
        ),
        ControlFrame::Bye => encode_frame(BYE, &()),
        ControlFrame::Note(body) => encode_frame(NOTE, body),
        ControlFrame::Unknown(kind) => encode_frame(*kind, &()),
    }
}

/// A control message from a frame's body; one of an unknown kind is no error.
///
/// # Errors
/// See [`DecodeError`].
#[doc(hidden)]
pub fn decode_control(body: &[u8]) -> Result<ControlFrame, DecodeError> {
    let (kind, rest) = split_kind(body)?;
    Ok(match kind {
        HELLO => {
            let wire: HelloV1 = decode_canonical(rest)?;
            check_extensions(&wire.extensions)?;
            ControlFrame::Hello(Hello {
                version: wire.version,
                max_channels: wire.max_channels,
                max_pending_requests: wire.max_pending_requests,
            })
        }
        PING => ControlFrame::Ping(decode_canonical(rest)?),
        PONG => ControlFrame::Pong(decode_canonical(rest)?),
        GO_AWAY => {
            let wire: GoAwayV1 = decode_canonical(rest)?;
            check_extensions(&wire.extensions)?;
            let message = check_message(wire.message)?;
            ControlFrame::GoAway(CloseReason::new(CloseCode::from_wire(wire.code), message))
        }
        BYE => {
            decode_canonical::<()>(rest)?;
            ControlFrame::Bye
        }
        NOTE => ControlFrame::Note(decode_canonical(rest)?),
        kind => ControlFrame::Unknown(kind),
    })
}

/// The channel number of a datagram and where its payload begins; `None` when it has no number
/// in the shortest form.
#[doc(hidden)]
#[must_use]
pub fn decode_datagram_prefix(datagram: &[u8]) -> Option<(u64, usize)> {
    varint::decode(datagram)
}

fn priority_to_wire(priority: Priority) -> u8 {
    match priority {
        Priority::Normal => 0,
        Priority::Interactive => 1,
        Priority::Bulk => 2,
    }
}

/// A priority is a wish: one from the future is normal.
fn priority_from_wire(priority: u8) -> Priority {
    match priority {
        1 => Priority::Interactive,
        2 => Priority::Bulk,
        _ => Priority::Normal,
    }
}

fn check_extensions(extensions: &[Extension]) -> Result<(), DecodeError> {
    if extensions.len() > MAX_EXTENSIONS {
        return Err(DecodeError::TooManyExtensions(extensions.len()));
    }
    match extensions.iter().find(|extension| extension.critical) {
        Some(extension) => Err(DecodeError::UnknownExtension(extension.id)),
        None => Ok(()),
    }
}

fn check_message(message: String) -> Result<String, DecodeError> {
    if message.len() > MAX_MESSAGE {
        return Err(DecodeError::MessageTooLong(message.len()));
    }
    Ok(message)
}

fn encode_frame(kind: u32, value: &impl Serialize) -> Bytes {
    let mut frame = vec![0, 0];
    frame.extend(encode(&kind));
    frame.extend(encode(value));
    let length = u16::try_from(frame.len() - 2).unwrap_or(u16::MAX);
    frame[..2].copy_from_slice(&length.to_be_bytes());
    frame.into()
}

/// What is encoded here was bounded before (requests are validated, messages cut), so that
/// bincode's only error, its limit, is out of reach.
fn encode(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, CONFIG).unwrap_or_default()
}

fn split_kind(body: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    let (kind, used) = bincode::serde::decode_from_slice::<u32, _>(body, CONFIG)
        .map_err(|_| DecodeError::Invalid)?;
    let (head, rest) = body.split_at_checked(used).ok_or(DecodeError::Invalid)?;
    if encode(&kind) != head {
        return Err(DecodeError::NotCanonical);
    }
    Ok((kind, rest))
}

fn decode_canonical<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::serde::decode_from_slice::<T, _>(body, CONFIG)
        .map_err(|_| DecodeError::Invalid)?;
    if used != body.len() || encode(&value) != body {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
#[path = "codec/tests.rs"]
mod tests;
