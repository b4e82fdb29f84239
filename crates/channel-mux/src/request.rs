//! What an opener asks for: a channel by name, its kind, metadata and priority.

use bytes::Bytes;
use thiserror::Error;

use crate::limits::{MAX_METADATA, MAX_NAME};

/// How a channel carries its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChannelKind {
    /// Two reliable byte streams, one each way, each ended on its own.
    Stream,
    /// Unreliable, unordered datagrams both ways.
    Datagrams,
}

/// Which channels go first when the connection cannot carry all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Whatever can wait: file transfer.
    Bulk,
    /// Neither.
    #[default]
    Normal,
    /// Whatever a person waits for: keystrokes.
    Interactive,
}

impl Priority {
    /// The number for [`Link::set_priority`](crate::Link::set_priority): above 0 for
    /// [`Priority::Interactive`], 0 (what a QUIC stream has unless told otherwise) for
    /// [`Priority::Normal`], below 0 for [`Priority::Bulk`]. The control stream is above all.
    #[must_use]
    pub fn link_priority(self) -> i32 {
        match self {
            Self::Bulk => -10,
            Self::Normal => 0,
            Self::Interactive => 10,
        }
    }
}

/// The request for a channel; the opener writes it, the acceptor answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelRequest {
    /// Name of the service, 1 to [`MAX_NAME`] bytes without control characters: `dnc.pipe`.
    pub name: String,
    /// Stream or datagrams.
    pub kind: ChannelKind,
    /// For the acceptor's application, at most [`MAX_METADATA`] bytes; opaque to the mux.
    pub metadata: Bytes,
    /// Applied by both ends to what they send on the channel.
    pub priority: Priority,
}

impl ChannelRequest {
    /// A reliable channel, no metadata, normal priority.
    pub fn stream(name: impl Into<String>) -> Self {
        Self::new(name.into(), ChannelKind::Stream)
    }

    /// A datagram channel, no metadata, normal priority.
    pub fn datagrams(name: impl Into<String>) -> Self {
        Self::new(name.into(), ChannelKind::Datagrams)
    }

    /// Sets the metadata: at most [`MAX_METADATA`] bytes, none by default.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Sets the priority, [`Priority::Normal`] by default.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Checks what the wire format does not express by itself.
    ///
    /// # Errors
    /// The first rule that the request breaks.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        if self.name.is_empty() {
            return Err(InvalidRequest::EmptyName);
        }
        if self.name.len() > MAX_NAME {
            return Err(InvalidRequest::NameTooLong {
                length: self.name.len(),
            });
        }
        if self.name.chars().any(char::is_control) {
            return Err(InvalidRequest::ControlCharacter);
        }
        if self.metadata.len() > MAX_METADATA {
            return Err(InvalidRequest::MetadataTooLong {
                length: self.metadata.len(),
            });
        }
        Ok(())
    }

    pub(crate) fn new(name: String, kind: ChannelKind) -> Self {
        Self {
            name,
            kind,
            metadata: Bytes::new(),
            priority: Priority::Normal,
        }
    }
}

/// Why a request cannot be sent, or is declined as [`DeclineCode::BadRequest`](crate::DeclineCode).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The name has no characters.
    #[error("the channel name is empty")]
    EmptyName,
    /// The name is longer than [`MAX_NAME`].
    #[error("the channel name has {length} bytes, {MAX_NAME} are allowed")]
    NameTooLong {
        /// Bytes of the name.
        length: usize,
    },
    /// The name has a control character, which would reach logs and terminals.
    #[error("the channel name contains a control character")]
    ControlCharacter,
    /// The metadata is longer than [`MAX_METADATA`].
    #[error("the metadata has {length} bytes, {MAX_METADATA} are allowed")]
    MetadataTooLong {
        /// Bytes of the metadata.
        length: usize,
    },
}
