//! Refresh requests of our own (RFC 8656 section 7.1), beside those that the protocol sends before
//! an allocation expires.
//!
//! Any server answers Binding requests, one that was restarted and has lost its allocations too.
//! To a Refresh only one that has the allocation says yes; another one refuses with 437.

use std::collections::VecDeque;

use turn_client_proto::api::TurnConfig;
use turn_client_proto::stun::auth::{LongTermClientAuth, LongTermClientValidation};
use turn_client_proto::stun::types::message::{
    Message, MessageClass, MessageType, MessageWriteVec, TransactionId as InnerId,
};
use turn_client_proto::stun::types::prelude::{MessageWrite, MessageWriteExt};
use turn_client_proto::types::attribute::Lifetime;
use turn_client_proto::types::message::REFRESH;

use crate::stun::{TransactionId, refusal_code};

/// Requests that an answer may belong to: a question and its repetitions, each once more with
/// another nonce.
const MAX_ASKED: usize = 16;

/// Nonces in a row that may be refused. A server that was restarted refuses one, and one whose
/// nonces live shorter than a round trip refuses all.
const MAX_STALE: usize = 4;

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// This belongs to no question of ours.
    Other,
    /// Yes, signed with our password.
    Yes,
    /// It is to be asked again, for the nonce was stale.
    Again,
    /// No, with this code. Who has not seen the question cannot have made it, signed or not.
    No(u16),
    /// Nothing to go by.
    Unclear,
}

/// Signs requests, and knows their answers.
#[derive(Debug)]
pub(super) struct Refresher {
    auth: LongTermClientAuth,
    asked: VecDeque<TransactionId>,
    stale: usize,
}

impl Refresher {
    pub(super) fn new(config: &TurnConfig) -> Self {
        let mut auth = LongTermClientAuth::new();
        auth.set_credentials(config.credentials().clone().into());
        auth.set_anonymous_username(config.anonymous_username());
        Self {
            auth,
            asked: VecDeque::new(),
            stale: 0,
        }
    }

    /// A request for this many seconds more; 0 deletes the allocation. `None` when it cannot be
    /// written: what the server has told as its realm or nonce cannot be repeated.
    pub(super) fn request(&mut self, id: TransactionId, seconds: u32) -> Option<Vec<u8>> {
        let kind = MessageType::from_class_method(MessageClass::Request, REFRESH);
        let inner = id
            .as_bytes()
            .iter()
            .fold(0, |number, byte| number << 8 | u128::from(*byte));
        let mut message = Message::builder(kind, InnerId::from(inner), MessageWriteVec::new());
        message.add_attribute(&Lifetime::new(seconds)).ok()?;
        let message = self.auth.sign_outgoing_message(message).ok()?;
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(id);
        Some(message.finish())
    }

    /// Takes the answer to a request: to ours, or to one of the protocol, which may tell the realm
    /// and the nonce to sign with.
    pub(super) fn on_answer(&mut self, id: TransactionId, frame: &[u8]) -> Answer {
        let Ok(message) = Message::from_bytes(frame) else {
            return Answer::Other;
        };
        if !message.is_response() {
            return Answer::Other;
        }
        let validated = self.auth.validate_incoming_message(&message);
        if !self.asked.contains(&id) {
            return Answer::Other;
        }
        match validated {
            Ok(LongTermClientValidation::Validated(_)) if is_success(frame) => {
                self.asked.clear();
                self.stale = 0;
                Answer::Yes
            }
            Ok(LongTermClientValidation::ResendRequest(_)) if self.stale < MAX_STALE => {
                self.stale += 1;
                Answer::Again
            }
            Ok(LongTermClientValidation::ResendRequest(_)) => Answer::Unclear,
            _ => refusal_code(frame).map_or(Answer::Unclear, |(_, code)| Answer::No(code)),
        }
    }
}

/// Whether a response is a success (RFC 8489 section 5: class 0b10).
pub(super) fn is_success(frame: &[u8]) -> bool {
    let class = frame
        .first_chunk()
        .map(|kind| u16::from_be_bytes(*kind) & 0x0110);
    class == Some(0x0100)
}
