//! Binding messages (RFC 8489 section 3) with what ICE (RFC 8445 section 7.1) and behaviour
//! discovery (RFC 5780 section 7) add.

use std::net::SocketAddr;

use stun_rs::attributes::StunAttribute;
use stun_rs::attributes::discovery::{
    ChangeRequest as ChangeAttribute, ChangeRequestFlags, OtherAddress, ResponseOrigin,
};
use stun_rs::attributes::ice::{IceControlled, IceControlling, Priority, UseCandidate};
use stun_rs::attributes::stun::{
    ErrorCode, Fingerprint, MessageIntegrity, UnknownAttributes, UserName, XorMappedAddress,
};
use stun_rs::methods::BINDING;
use stun_rs::{
    MessageClass, MessageDecoder, MessageEncoder, StunMessage, StunMessageBuilder, get_input_text,
};
use thiserror::Error;

use super::attributes::{kind, understand, walk};
use super::integrity::IntegrityKey;
use super::{MAX_MESSAGE_LEN, TransactionId};

/// Characters kept of the reason of an error: it is for people.
const MAX_REASON_CHARS: usize = 128;

/// Error codes (RFC 8489 section 14.8, RFC 8445 section 7.3.1.1).
pub mod code {
    /// Malformed, or credentials are missing.
    pub const BAD_REQUEST: u16 = 400;
    /// The credentials are wrong.
    pub const UNAUTHENTICATED: u16 = 401;
    /// An attribute that had to be understood was not.
    pub const UNKNOWN_ATTRIBUTE: u16 = 420;
    /// Both agents take the same role.
    pub const ROLE_CONFLICT: u16 = 487;
    /// The server is at fault; to be tried again.
    pub const SERVER_ERROR: u16 = 500;
}

/// Any Binding message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A question.
    Request(BindingRequest),
    /// Its answer.
    Response(BindingResponse),
    /// Its refusal.
    Error(BindingError),
    /// Something that wants no answer: a keepalive (RFC 8445 section 11).
    Indication(TransactionId),
}

/// The roles of two ICE agents, with their tiebreakers (RFC 8445 section 7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceRole {
    /// Nominates.
    Controlling(u64),
    /// Follows.
    Controlled(u64),
}

/// From where a server is asked to answer (RFC 5780 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeRequest {
    /// From its other port, at the same address.
    Port,
    /// From its other address, at the same port.
    Address,
    /// From its other address and its other port.
    AddressAndPort,
}

/// A Binding request. What a plain one needs is its id:
/// [`BindingRequest::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingRequest {
    /// Its id.
    pub transaction_id: TransactionId,
    /// USERNAME, less than 509 bytes; says which password belongs to it.
    pub username: Option<String>,
    /// PRIORITY that a peer-reflexive candidate would get (RFC 8445 section 7.1.1).
    pub priority: Option<u32>,
    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub role: Option<IceRole>,
    /// USE-CANDIDATE: the pair is nominated (RFC 8445 section 7.1.2).
    pub use_candidate: bool,
    /// CHANGE-REQUEST.
    pub change: Option<ChangeRequest>,
    /// Types of attributes that had to be understood and were not. Not sent.
    pub unknown: Vec<u16>,
}

/// The answer to a Binding request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingResponse {
    /// The id of the request.
    pub transaction_id: TransactionId,
    /// From where the request came: XOR-MAPPED-ADDRESS, or the MAPPED-ADDRESS of old servers.
    pub mapped: SocketAddr,
    /// OTHER-ADDRESS: the address and port that a change of both would answer from (RFC 5780
    /// section 7.4).
    pub other: Option<SocketAddr>,
    /// RESPONSE-ORIGIN: from where the server says it answers.
    pub origin: Option<SocketAddr>,
}

/// The refusal of a Binding request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingError {
    /// The id of the request.
    pub transaction_id: TransactionId,
    /// The [`code`], 300 to 699.
    pub code: u16,
    /// What it means, for people: at most 128 characters, no control characters among them.
    pub reason: String,
    /// With [`code::UNKNOWN_ATTRIBUTE`]: which.
    pub unknown: Vec<u16>,
}

/// Why bytes are not a Binding message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame is not STUN's, an attribute leaves it, or it is longer than
    /// [`MAX_MESSAGE_LEN`].
    #[error("not a STUN message")]
    Frame,
    /// The method is not Binding.
    #[error("STUN method {0:#05x} is not Binding")]
    Method(u16),
    /// The value of an attribute is malformed.
    #[error("malformed attribute {0:#06x}")]
    Attribute(u16),
    /// The FINGERPRINT does not fit.
    #[error("wrong fingerprint")]
    Fingerprint,
    /// A response without an address, or an error without a code.
    #[error("attribute {0:#06x} is missing")]
    Missing(u16),
    /// A response with an attribute that has to be understood and is not (RFC 8489
    /// section 6.3.3).
    #[error("unknown attribute {0:#06x}")]
    Unknown(u16),
}

/// Why a message cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Empty, 509 bytes or longer, or with control characters.
    #[error("the user name cannot be sent")]
    Username,
    /// Not 300 to 699.
    #[error("error code {0} is out of range")]
    Code(u16),
    /// Longer than [`MAX_MESSAGE_LEN`].
    #[error("the message is too long")]
    TooLong,
}

impl Message {
    /// Reads a Binding message and checks its FINGERPRINT, if it has one. MESSAGE-INTEGRITY is
    /// *not* checked: that needs a key, and for a request the key depends on its user name. Do it
    /// with [`verify`](super::verify) before anything in the message is believed.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let understood = understand(datagram).ok_or(DecodeError::Frame)?;
        check_fingerprint(datagram)?;
        let (message, _) = MessageDecoder::default()
            .decode(&understood.message)
            .map_err(|_| DecodeError::Attribute(malformed(&understood.message)))?;
        if message.method() != BINDING {
            return Err(DecodeError::Method(message.method().as_u16()));
        }
        let transaction_id = TransactionId::from_bytes(*message.transaction_id().as_bytes());
        match message.class() {
            MessageClass::Request => Ok(Self::Request(BindingRequest::read(
                &message,
                understood.unknown,
            ))),
            MessageClass::Indication => Ok(Self::Indication(transaction_id)),
            _ if !understood.unknown.is_empty() => Err(DecodeError::Unknown(understood.unknown[0])),
            MessageClass::SuccessResponse => BindingResponse::read(&message).map(Self::Response),
            MessageClass::ErrorResponse => BindingError::read(&message).map(Self::Error),
        }
    }

    /// Its id.
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        match self {
            Self::Request(request) => request.transaction_id,
            Self::Response(response) => response.transaction_id,
            Self::Error(error) => error.transaction_id,
            Self::Indication(id) => *id,
        }
    }

    /// A keepalive, with FINGERPRINT: 28 bytes.
    #[must_use]
    pub fn indication(id: TransactionId) -> Vec<u8> {
        finish(builder(MessageClass::Indication, id), None).expect("a header fits")
    }
}

impl BindingRequest {
    /// A request without attributes.
    #[must_use]
    pub fn new(transaction_id: TransactionId) -> Self {
        Self {
            transaction_id,
            username: None,
            priority: None,
            role: None,
            use_candidate: false,
            change: None,
            unknown: Vec::new(),
        }
    }

    /// Its bytes, with FINGERPRINT, and with MESSAGE-INTEGRITY when there is a key.
    ///
    /// # Errors
    /// [`EncodeError::Username`].
    pub fn encode(&self, key: Option<&IntegrityKey>) -> Result<Vec<u8>, EncodeError> {
        let mut message = builder(MessageClass::Request, self.transaction_id);
        if let Some(username) = &self.username {
            let username = UserName::new(username).map_err(|_| EncodeError::Username)?;
            message = message.with_attribute(username);
        }
        if let Some(priority) = self.priority {
            message = message.with_attribute(Priority::new(priority));
        }
        message = match self.role {
            Some(IceRole::Controlling(tiebreaker)) => {
                message.with_attribute(IceControlling::new(tiebreaker))
            }
            Some(IceRole::Controlled(tiebreaker)) => {
                message.with_attribute(IceControlled::new(tiebreaker))
            }
            None => message,
        };
        if self.use_candidate {
            message = message.with_attribute(UseCandidate::default());
        }
        if let Some(change) = self.change {
            message = message.with_attribute(change.attribute());
        }
        finish(message, key)
    }

    fn read(message: &StunMessage, unknown: Vec<u16>) -> Self {
        let mut request = Self::new(id_of(message));
        request.unknown = unknown;
        for attribute in message.attributes() {
            match attribute {
                StunAttribute::UserName(name) => request.username = Some(name.as_str().to_owned()),
                StunAttribute::Priority(priority) => request.priority = Some(priority.as_u32()),
                StunAttribute::IceControlling(tiebreaker) => {
                    request.role = Some(IceRole::Controlling(tiebreaker.as_u64()));
                }
                StunAttribute::IceControlled(tiebreaker) => {
                    request.role = Some(IceRole::Controlled(tiebreaker.as_u64()));
                }
                StunAttribute::UseCandidate(_) => request.use_candidate = true,
                StunAttribute::ChangeRequest(change) => {
                    request.change = ChangeRequest::read(*change);
                }
                _ => {}
            }
        }
        request
    }
}

impl ChangeRequest {
    fn attribute(self) -> ChangeAttribute {
        let flags = match self {
            Self::Port => ChangeRequestFlags::ChangePort.into(),
            Self::Address => ChangeRequestFlags::ChangeIp.into(),
            Self::AddressAndPort => ChangeRequestFlags::ChangeIp | ChangeRequestFlags::ChangePort,
        };
        ChangeAttribute::new(Some(flags))
    }

    fn read(attribute: ChangeAttribute) -> Option<Self> {
        let flags = attribute.flags();
        let address = flags.contains(ChangeRequestFlags::ChangeIp);
        let port = flags.contains(ChangeRequestFlags::ChangePort);
        match (address, port) {
            (true, true) => Some(Self::AddressAndPort),
            (true, false) => Some(Self::Address),
            (false, true) => Some(Self::Port),
            (false, false) => None,
        }
    }
}

impl BindingResponse {
    /// The plain answer: this is where you come from.
    #[must_use]
    pub fn new(transaction_id: TransactionId, mapped: SocketAddr) -> Self {
        Self {
            transaction_id,
            mapped,
            other: None,
            origin: None,
        }
    }

    /// Its bytes, with FINGERPRINT, and with MESSAGE-INTEGRITY when there is a key.
    #[must_use]
    pub fn encode(&self, key: Option<&IntegrityKey>) -> Vec<u8> {
        let mut message = builder(MessageClass::SuccessResponse, self.transaction_id)
            .with_attribute(XorMappedAddress::from(self.mapped));
        if let Some(origin) = self.origin {
            message = message.with_attribute(ResponseOrigin::from(origin));
        }
        if let Some(other) = self.other {
            message = message.with_attribute(OtherAddress::from(other));
        }
        finish(message, key).expect("three addresses fit")
    }

    fn read(message: &StunMessage) -> Result<Self, DecodeError> {
        let (mut xored, mut plain, mut other, mut origin) = (None, None, None, None);
        for attribute in message.attributes() {
            match attribute {
                StunAttribute::XorMappedAddress(at) => xored = Some(canonical(at.socket_address())),
                StunAttribute::MappedAddress(at) => plain = Some(canonical(at.socket_address())),
                StunAttribute::OtherAddress(at) => other = Some(canonical(at.socket_address())),
                StunAttribute::ResponseOrigin(at) => origin = Some(canonical(at.socket_address())),
                _ => {}
            }
        }
        Ok(Self {
            transaction_id: id_of(message),
            mapped: xored
                .or(plain)
                .ok_or(DecodeError::Missing(kind::XOR_MAPPED_ADDRESS))?,
            other,
            origin,
        })
    }
}

impl BindingError {
    /// A refusal with nothing but its code.
    #[must_use]
    pub fn new(transaction_id: TransactionId, code: u16) -> Self {
        Self {
            transaction_id,
            code,
            reason: String::new(),
            unknown: Vec::new(),
        }
    }

    /// Its bytes, with FINGERPRINT, and with MESSAGE-INTEGRITY when there is a key.
    ///
    /// # Errors
    /// [`EncodeError::Code`], and [`EncodeError::TooLong`].
    pub fn encode(&self, key: Option<&IntegrityKey>) -> Result<Vec<u8>, EncodeError> {
        let code = stun_rs::ErrorCode::new(self.code, &self.reason)
            .map_err(|_| EncodeError::Code(self.code))?;
        let mut message = builder(MessageClass::ErrorResponse, self.transaction_id)
            .with_attribute(ErrorCode::new(code));
        if !self.unknown.is_empty() {
            message = message.with_attribute(UnknownAttributes::from(self.unknown.as_slice()));
        }
        finish(message, key)
    }

    fn read(message: &StunMessage) -> Result<Self, DecodeError> {
        let mut error = Self::new(id_of(message), 0);
        for attribute in message.attributes() {
            match attribute {
                StunAttribute::ErrorCode(code) => {
                    error.code = code.error_code().error_code();
                    let reason = code.error_code().reason().chars();
                    error.reason = reason
                        .filter(|character| !character.is_control())
                        .take(MAX_REASON_CHARS)
                        .collect();
                }
                StunAttribute::UnknownAttributes(unknown) => {
                    error.unknown = unknown.attributes().to_vec();
                }
                _ => {}
            }
        }
        if error.code == 0 {
            return Err(DecodeError::Missing(kind::ERROR_CODE));
        }
        Ok(error)
    }
}

fn id_of(message: &StunMessage) -> TransactionId {
    TransactionId::from_bytes(*message.transaction_id().as_bytes())
}

/// Servers on dual-stack sockets may report IPv4 in the clothes of IPv6.
fn canonical(address: &SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The type of the first attribute that stun-rs refuses by itself.
fn malformed(message: &[u8]) -> u16 {
    let attributes = walk(message).unwrap_or_default();
    let header = &message[..super::HEADER_LEN];
    let alone = attributes.iter().find(|attribute| {
        let len = attribute.value.len().next_multiple_of(4) + 4;
        let mut alone = header.to_vec();
        alone[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        alone.extend(&message[attribute.offset..attribute.offset + len]);
        MessageDecoder::default().decode(&alone).is_err()
    });
    alone.map_or(0, |attribute| attribute.kind)
}

/// The attribute must be the last (RFC 8489 section 14.7).
fn check_fingerprint(datagram: &[u8]) -> Result<(), DecodeError> {
    let attributes = walk(datagram).ok_or(DecodeError::Frame)?;
    let Some(at) = attributes
        .iter()
        .position(|attribute| attribute.kind == kind::FINGERPRINT)
    else {
        return Ok(());
    };
    let value: &[u8; 4] = attributes[at]
        .value
        .try_into()
        .map_err(|_| DecodeError::Fingerprint)?;
    let input = get_input_text::<Fingerprint>(datagram).ok_or(DecodeError::Fingerprint)?;
    if at + 1 == attributes.len() && Fingerprint::from(value).validate(&input) {
        Ok(())
    } else {
        Err(DecodeError::Fingerprint)
    }
}

fn builder(class: MessageClass, id: TransactionId) -> StunMessageBuilder {
    StunMessageBuilder::new(BINDING, class)
        .with_transaction_id(stun_rs::TransactionId::from(id.as_bytes()))
}

fn finish(
    mut message: StunMessageBuilder,
    key: Option<&IntegrityKey>,
) -> Result<Vec<u8>, EncodeError> {
    if let Some(key) = key {
        message = message.with_attribute(MessageIntegrity::new(key.encoding().clone()));
    }
    let message = message.with_attribute(Fingerprint::default()).build();
    let mut bytes = [0; MAX_MESSAGE_LEN];
    let len = MessageEncoder::default()
        .encode(&mut bytes, &message)
        .map_err(|_| EncodeError::TooLong)?;
    Ok(bytes[..len].to_vec())
}
