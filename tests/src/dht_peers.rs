//! Participants of the DHT: foreign programs and our own, each behind the same few verbs.
//!
//! libtorrent, the crate `mainline` and OpenDHT run in small drivers of `tests/peers`, which take
//! requests as lines of JSON; `dhtnode` takes commands on its standard input; Transmission is
//! started and looked at from outside. One that is not installed is [`PeerError::Missing`], with
//! what to install.

pub mod cluster;
mod conversation;
pub mod dhtnode;
pub mod driver;
pub mod own_cluster;
pub mod transmission;

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;

use crate::lab::ProcessError;

/// Debian's own interpreter: its packages belong to no other.
const PYTHON: &str = "/usr/bin/python3";

/// Why a peer did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It is not on this machine.
    #[error("{peer} is missing: {reason}")]
    Missing {
        /// Who.
        peer: &'static str,
        /// What to install or to build.
        reason: String,
    },
    /// It ended, or said nothing in time.
    #[error("{peer} did not answer {request}: {state}; it said: {said}")]
    Silent {
        /// Who.
        peer: String,
        /// What it was asked.
        request: String,
        /// Whether it ended.
        state: String,
        /// End of its standard error.
        said: String,
    },
    /// It answered, and not with what was asked for.
    #[error("{peer} answered {request} with {answer}")]
    Answer {
        /// Who.
        peer: String,
        /// What it was asked.
        request: String,
        /// What it said.
        answer: String,
    },
    /// Its process cannot be followed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It cannot be started.
    #[error("start a peer: {0}")]
    Io(#[from] io::Error),
}

/// An item that can be changed: who signs, and which of the signer's items it is.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// Seed of the Ed25519 key (RFC 8032).
    pub seed: &'a [u8; 32],
    /// Salt of BEP 44; empty for none.
    pub salt: &'a str,
}

/// What every participant of the Mainline DHT can do. Values are texts, stored as byte strings.
pub trait MainlinePeer {
    /// For messages.
    fn name(&self) -> &str;

    /// Where its DHT listens.
    fn address(&self) -> SocketAddrV4;

    /// Nodes in its routing table.
    ///
    /// # Errors
    /// As [`MainlinePeer::announce`].
    fn nodes(&mut self) -> Result<usize, PeerError>;

    /// Announces itself under `hash` (40 hexadecimal digits) and returns the announced port.
    ///
    /// # Errors
    /// When it does not answer, or with a failure.
    fn announce(&mut self, hash: &str) -> Result<u16, PeerError>;

    /// Peers under `hash`.
    ///
    /// # Errors
    /// As [`MainlinePeer::announce`]; finding none is no error.
    fn peers(&mut self, hash: &str) -> Result<Vec<SocketAddrV4>, PeerError>;

    /// Stores an immutable item and returns its target, 40 hexadecimal digits.
    ///
    /// # Errors
    /// As [`MainlinePeer::announce`]; also when no node took it.
    fn put(&mut self, value: &str) -> Result<String, PeerError>;

    /// The immutable item of a target.
    ///
    /// # Errors
    /// As [`MainlinePeer::announce`]; finding none is no error.
    fn get(&mut self, target: &str) -> Result<Option<String>, PeerError>;

    /// Stores `value` under the next sequence number, and returns the public key in hexadecimal.
    ///
    /// # Errors
    /// As [`MainlinePeer::put`].
    fn put_mutable(&mut self, signer: Signer<'_>, value: &str) -> Result<String, PeerError>;

    /// The newest item of a public key, with its sequence number.
    ///
    /// # Errors
    /// As [`MainlinePeer::announce`]; finding none is no error.
    fn get_mutable(&mut self, public: &str, salt: &str)
    -> Result<Option<(i64, String)>, PeerError>;
}

/// Whether Debian's Python can import `module`.
fn require_module(peer: &'static str, module: &str, package: &str) -> Result<(), PeerError> {
    let found = Path::new(PYTHON).is_file()
        && std::process::Command::new(PYTHON)
            .args(["-c", &format!("import {module}")])
            .stderr(std::process::Stdio::null())
            .status()?
            .success();
    if found {
        return Ok(());
    }
    Err(PeerError::Missing {
        peer,
        reason: format!("install {package} (cargo xtask setup)"),
    })
}
