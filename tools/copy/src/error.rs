//! Why a whole copy ends; what happens to single files is in [`Event`](crate::Event).

use std::io;

use crate::frame::DecodeError;

/// Why a copy ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The other side is gone. What was copied is there, and a second run goes on from here.
    #[error("the connection ended before the copy was complete")]
    Cut,
    /// The streams to the other side failed.
    #[error("the connection failed")]
    Stream(#[source] io::Error),
    /// The other side gave up, and says why.
    #[error("the peer ended the copy: {0}")]
    Aborted(String),
    /// The other side refuses what was asked of it, before anything was copied.
    #[error("{0}")]
    Refused(String),
    /// The destination cannot be used.
    #[error("{path}: {reason}")]
    Destination {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two sources would become the same file.
    #[error("two sources are called {0:?}; copy them one after the other, or into two directories")]
    SameName(String),
    /// More than can be asked for at once.
    #[error("{0} sources; at most {max} at a time", max = crate::bounds::MAX_SOURCES)]
    TooMany(usize),
    /// Longer than the system's paths, or all sources together than a request.
    #[error("{0}: the path is too long")]
    TooLong(String),
    /// The other side does not keep to the protocol.
    #[error("the peer broke the rules of the copy: {0}")]
    Violation(&'static str),
    /// The other side sent what cannot be read.
    #[error("the peer broke the rules of the copy")]
    Malformed(#[from] DecodeError),
}

impl CopyError {
    /// What the other side is told, when it is worth telling.
    pub(crate) fn for_peer(&self) -> Option<String> {
        match self {
            Self::Cut | Self::Stream(_) | Self::Aborted(_) | Self::Refused(_) => None,
            Self::Malformed(error) => Some(format!("{self}: {error}")),
            _ => Some(self.to_string()),
        }
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Self::Cut,
            _ => Self::Stream(error),
        }
    }
}

/// The system's word for an error, without its number: `no space left on device`.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => "it failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_is_told_in_words() {
        let error = io::Error::from(rustix::io::Errno::NOSPC);
        assert_eq!(plain(&error), "no space left on device");
    }
}
