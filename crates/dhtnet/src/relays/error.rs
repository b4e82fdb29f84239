//! What can go wrong with a relay.

use std::io;

use dhtnet_nat_traversal::turn::AllocationError;

/// Why a relay cannot be used, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The relay's own answer, or its silence.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
    /// The name of its host has no address.
    #[error("its name cannot be resolved: {reason}")]
    Name {
        /// The system's reason.
        reason: String,
    },
    /// There is no TCP or TLS connection to it.
    #[error("it cannot be reached by TCP: {reason}")]
    Connect {
        /// The system's reason.
        reason: String,
    },
    /// It is a TURN server, but none that takes a device's key for a password.
    #[error("it is no relay of this system and wants a user name and password")]
    NotOurs,
    /// There is a user name without a password.
    #[error("its password is missing")]
    NoPassword,
    /// This device has ended it.
    #[error("it is not used any more")]
    Closed,
}

impl RelayError {
    pub(crate) fn connecting(error: &io::Error) -> Self {
        Self::Connect {
            reason: error.to_string(),
        }
    }

    /// What somebody can do, as a sentence without its full stop.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Allocation(error) => error.next_step(),
            Self::Name { .. } => "check the name of the relay, or give its address",
            Self::Connect { .. } => "check the address and port of the relay, or use UDP",
            Self::NotOurs => "name the user in its URI: turn:USER@HOST:PORT",
            Self::NoPassword => "give the password of its user in a file or the environment",
            Self::Closed => "allocate again",
        }
    }
}
