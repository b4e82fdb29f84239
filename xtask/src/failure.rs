//! How a task fails: one clear line and an exit code.

use std::fmt;
use std::io;

/// What a task gives back.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a task ended early. Codes: 1 failed, 2 wrong usage, 130 interrupted.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// The task failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }

    /// The command line was wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 2,
        }
    }

    /// Ctrl-C or SIGTERM.
    pub(crate) fn interrupted() -> Self {
        Self {
            message: "interrupted".to_owned(),
            code: 130,
        }
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Whether the user asked for the end.
    pub(crate) fn is_interrupt(&self) -> bool {
        self.code == 130
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

/// Says what was tried when the operating system refused.
pub(crate) trait Tried<T> {
    /// `failed to WHAT: REASON`.
    fn tried(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| Failure::new(format!("failed to {}: {error}", what())))
    }
}
