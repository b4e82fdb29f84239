//! From a datagram to a message, without a copy and without an allocation.
//!
//! Strict in the spelling of bencoding, tolerant in what is said: unknown keys are passed over,
//! keys may stand in any order, of a key that comes twice the first of the right kind counts, and
//! an optional key with a senseless value counts as absent.

mod answer;
mod arguments;
mod field;

use std::net::SocketAddr;

use super::MAX_RECEIVED_LEN;
use super::lists::read_compact_address;
use super::message::{Body, ErrorReply, MAX_TRANSACTION_LEN, Message, NetworkTag};
use crate::bencode::{self, KeyOrder, Kind, Reader};
use answer::Answer;
use arguments::Arguments;
use field::{keep, number, string};

/// Why a datagram is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError<'a> {
    /// Longer than [`MAX_RECEIVED_LEN`]. Not to be answered.
    #[error("longer than {MAX_RECEIVED_LEN} bytes")]
    TooLong,
    /// Not exactly one bencoded dictionary. Not to be answered: there is no transaction id.
    #[error("not exactly one bencoded dictionary")]
    Bencode(#[from] bencode::Error),
    /// A dictionary without a usable `t` or `y`. Not to be answered.
    #[error("`{key}` is missing or malformed")]
    Envelope {
        /// `t` or `y`.
        key: &'static str,
    },
    /// A query that lacks what its method needs. Error 203 answers it.
    #[error("malformed query: `{key}` is missing or malformed")]
    Query {
        /// `t`.
        transaction: &'a [u8],
        /// `net`: queries of other networks are not answered.
        network: Option<NetworkTag>,
        /// The key at fault, such as `a.id`.
        key: &'static str,
    },
    /// An answer or an error that lacks what every one has. The transaction has failed, if the
    /// sender is who was asked. Not to be answered.
    #[error("malformed answer: `{key}` is missing or malformed")]
    Answer {
        /// `t`.
        transaction: &'a [u8],
        /// `net`.
        network: Option<NetworkTag>,
        /// The key at fault, `r.id` or `e`.
        key: &'static str,
    },
}

impl<'a> Message<'a> {
    /// Reads one datagram.
    ///
    /// # Errors
    /// See [`DecodeError`]: only [`DecodeError::Query`] deserves an answer.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError<'a>> {
        if datagram.len() > MAX_RECEIVED_LEN {
            return Err(DecodeError::TooLong);
        }
        let mut reader = Reader::new(datagram);
        let envelope = Envelope::read(&mut reader)?;
        reader.finish()?;
        envelope.open()
    }
}

/// The outer dictionary as it came.
#[derive(Default)]
struct Envelope<'a> {
    transaction: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    arguments: Option<Arguments<'a>>,
    answer: Option<Answer<'a>>,
    error: Option<ErrorReply<'a>>,
    version: Option<&'a [u8]>,
    network: Option<NetworkTag>,
    extension: Option<u32>,
    read_only: Option<i64>,
    external: Option<SocketAddr>,
}

impl<'a> Envelope<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, bencode::Error> {
        let mut envelope = Self::default();
        let mut keys = reader.dict(KeyOrder::Any)?;
        while let Some(key) = keys.next_key(reader)? {
            envelope.read_value(key, reader)?;
        }
        Ok(envelope)
    }

    fn read_value(&mut self, key: &'a [u8], reader: &mut Reader<'a>) -> Result<(), bencode::Error> {
        let is_dict = reader.kind() == Some(Kind::Dict);
        match key {
            b"t" => keep(&mut self.transaction, string(reader)?),
            b"y" => keep(&mut self.kind, string(reader)?),
            b"q" => keep(&mut self.method, string(reader)?),
            b"a" if is_dict && self.arguments.is_none() => {
                Arguments::read(reader, self.arguments.insert(Arguments::default()))?;
            }
            b"r" if is_dict && self.answer.is_none() => {
                Answer::read(reader, self.answer.insert(Answer::default()))?;
            }
            b"e" => keep(&mut self.error, error_reply(reader)?),
            b"v" => keep(&mut self.version, string(reader)?),
            b"net" => {
                let tag = string(reader)?.and_then(|tag| tag.try_into().ok());
                keep(&mut self.network, tag.map(NetworkTag));
            }
            b"dn" => {
                let version = number(reader)?.and_then(|version| version.try_into().ok());
                keep(&mut self.extension, version);
            }
            b"ro" => keep(&mut self.read_only, number(reader)?),
            b"ip" => {
                let address = string(reader)?.and_then(read_compact_address);
                keep(&mut self.external, address);
            }
            _ => reader.skip()?,
        }
        Ok(())
    }

    fn open(&self) -> Result<Message<'a>, DecodeError<'a>> {
        let transaction = self
            .transaction
            .filter(|transaction| transaction.len() <= MAX_TRANSACTION_LEN)
            .ok_or(DecodeError::Envelope { key: "t" })?;
        let network = self.network;
        let in_query = |key| DecodeError::Query {
            transaction,
            network,
            key,
        };
        let in_answer = |key| DecodeError::Answer {
            transaction,
            network,
            key,
        };
        let mut message = Message {
            transaction,
            body: Body::Error(ErrorReply { code: 0, text: b"" }),
            version: self.version,
            network,
            extension: self.extension,
            read_only: false,
            external: None,
        };
        match self.kind {
            Some(b"q") => {
                message.read_only = self.read_only.is_some_and(|flag| flag != 0);
                let name = self.method.ok_or(in_query("q"))?;
                let arguments = self.arguments.as_ref().ok_or(in_query("a"))?;
                message.body = Body::Query(arguments.query(name).map_err(in_query)?);
            }
            Some(b"r") => {
                message.external = self.external;
                let answer = self.answer.as_ref().ok_or(in_answer("r"))?;
                message.body = Body::Response(answer.response().ok_or(in_answer("r.id"))?);
            }
            Some(b"e") => {
                message.external = self.external;
                message.body = Body::Error(self.error.ok_or(in_answer("e"))?);
            }
            _ => return Err(DecodeError::Envelope { key: "y" }),
        }
        Ok(message)
    }
}

/// `e`: a list with a number and mostly a text.
fn error_reply<'a>(reader: &mut Reader<'a>) -> Result<Option<ErrorReply<'a>>, bencode::Error> {
    if reader.kind() != Some(Kind::List) {
        reader.skip()?;
        return Ok(None);
    }
    reader.list()?;
    let mut code = None;
    let mut text = None;
    while reader.has_item()? {
        match reader.kind() {
            Some(Kind::Int) => keep(&mut code, number(reader)?),
            _ => keep(&mut text, string(reader)?),
        }
    }
    Ok(code.map(|code| ErrorReply {
        code,
        text: text.unwrap_or_default(),
    }))
}
