//! Why a request is declined and why a connection is closed: a code and a short message.

use std::fmt;

use crate::limits::MAX_MESSAGE;

/// What kind of refusal a decline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeclineCode {
    /// The acceptor's policy does not allow it.
    Policy,
    /// Nothing listens under that name.
    NoListener,
    /// What the channel should lead to could not be reached or started.
    TargetFailed,
    /// A bound of the acceptor is reached; later may work.
    Busy,
    /// The acceptor is closing the connection.
    ShuttingDown,
    /// The request breaks a rule, or is of a version or kind that the acceptor does not know.
    BadRequest,
    /// The channel ended without an answer: reset before it, or not answered in time.
    Unanswered,
    /// A code of a later version.
    Other(u8),
}

impl DeclineCode {
    pub(crate) fn to_wire(self) -> u8 {
        match self {
            Self::Policy => 1,
            Self::NoListener => 2,
            Self::TargetFailed => 3,
            Self::Busy => 4,
            Self::ShuttingDown => 5,
            Self::BadRequest => 6,
            Self::Unanswered => 7,
            Self::Other(code) => code,
        }
    }

    pub(crate) fn from_wire(code: u8) -> Self {
        match code {
            1 => Self::Policy,
            2 => Self::NoListener,
            3 => Self::TargetFailed,
            4 => Self::Busy,
            5 => Self::ShuttingDown,
            6 => Self::BadRequest,
            7 => Self::Unanswered,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for DeclineCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => f.write_str("not allowed by the peer's policy"),
            Self::NoListener => f.write_str("nothing listens under that name"),
            Self::TargetFailed => f.write_str("the target failed"),
            Self::Busy => f.write_str("the peer is busy"),
            Self::ShuttingDown => f.write_str("the peer is shutting down"),
            Self::BadRequest => f.write_str("the peer does not understand the request"),
            Self::Unanswered => f.write_str("the peer did not answer"),
            Self::Other(code) => write!(f, "declined with code {code}"),
        }
    }
}

/// Why a request was declined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclineReason {
    code: DeclineCode,
    message: String,
}

impl DeclineReason {
    /// A message of more than [`MAX_MESSAGE`] bytes is cut at a character.
    pub fn new(code: DeclineCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: cut(message.into()),
        }
    }

    /// What kind of refusal it is.
    #[must_use]
    pub fn code(&self) -> DeclineCode {
        self.code
    }

    /// The acceptor's words, possibly none. The peer chose them: not to be trusted on a terminal
    /// without escaping.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<DeclineCode> for DeclineReason {
    fn from(code: DeclineCode) -> Self {
        Self {
            code,
            message: String::new(),
        }
    }
}

impl fmt::Display for DeclineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// What kind of end a graceful close is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// The application ends.
    Shutdown,
    /// The connection was not used.
    Idle,
    /// The policy no longer allows the peer.
    Policy,
    /// Another connection to the same peer takes over.
    Replaced,
    /// A code of a later version.
    Other(u8),
}

impl CloseCode {
    pub(crate) fn to_wire(self) -> u8 {
        match self {
            Self::Shutdown => 1,
            Self::Idle => 2,
            Self::Policy => 3,
            Self::Replaced => 4,
            Self::Other(code) => code,
        }
    }

    pub(crate) fn from_wire(code: u8) -> Self {
        match code {
            1 => Self::Shutdown,
            2 => Self::Idle,
            3 => Self::Policy,
            4 => Self::Replaced,
            other => Self::Other(other),
        }
    }
}

/// Why a side closes the connection gracefully.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    code: CloseCode,
    message: String,
}

impl CloseReason {
    /// A message of more than [`MAX_MESSAGE`] bytes is cut at a character.
    pub fn new(code: CloseCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: cut(message.into()),
        }
    }

    /// What kind of end it is.
    #[must_use]
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// The closing side's words, possibly none; not to be trusted on a terminal.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        Self {
            code,
            message: String::new(),
        }
    }
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_at_the_bound_is_kept_and_one_past_it_is_cut() {
        let at = "x".repeat(MAX_MESSAGE);
        assert_eq!(
            DeclineReason::new(DeclineCode::Busy, at.clone()).message(),
            at
        );
        let past = "x".repeat(MAX_MESSAGE + 1);
        assert_eq!(DeclineReason::new(DeclineCode::Busy, past).message(), at);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let reason = CloseReason::new(CloseCode::Idle, "ä".repeat(MAX_MESSAGE));
        assert_eq!(reason.message().len(), MAX_MESSAGE);
        let odd = CloseReason::new(CloseCode::Idle, format!("x{}", "ä".repeat(MAX_MESSAGE)));
        assert_eq!(odd.message().len(), MAX_MESSAGE - 1);
    }

    #[test]
    fn every_code_survives_the_wire() {
        for code in 0..=u8::MAX {
            assert_eq!(DeclineCode::from_wire(code).to_wire(), code);
            assert_eq!(CloseCode::from_wire(code).to_wire(), code);
        }
    }

    #[test]
    fn a_reason_reads_as_a_sentence() {
        let reason = DeclineReason::new(DeclineCode::TargetFailed, "connection refused");
        assert_eq!(reason.to_string(), "the target failed: connection refused");
        assert_eq!(
            DeclineReason::from(DeclineCode::Busy).to_string(),
            "the peer is busy"
        );
    }
}
