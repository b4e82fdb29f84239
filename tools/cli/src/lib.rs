//! What the command line tools share.
//!
//! A tool is a `main` of a few lines over a `run(words, io, shutdown)`:
//!
//! 1. [`process::start_async`] (or [`process::start`]) gives it the command line, the three
//!    streams and the signals, and ends the process with the [`ExitCode`] it returns;
//! 2. [`command_line::parse`] makes flags of the words, the environment and `config.toml`;
//! 3. the groups of [`flags`] are the flags that several tools share;
//! 4. [`Home`], [`own_identity`] and [`Peer`] turn them into a key, contacts and peers;
//! 5. whatever goes wrong is a [`Failure`]: one line and an exit code; [`Talk`] says it on stderr.
//!
//! With the feature `network`, `node` opens a node as the flags say and words the errors of
//! connecting, `services` says as what it is found, and `policy` keeps it at what the flags and
//! `policy.toml` allow. Nothing here writes to stdout except the pages that were asked for ([`pages`]).

pub mod command_line;
mod configuration;
pub mod credentials;
mod exit_code;
pub mod failure;
pub mod flags;
mod home;
pub mod logging;
#[cfg(feature = "network")]
pub mod node;
pub mod open_files;
pub mod own_identity;
pub mod pages;
pub mod passphrase;
mod peer;
#[cfg(feature = "network")]
pub mod policy;
pub mod process;
pub mod service;
#[cfg(feature = "network")]
pub mod services;
mod shutdown;
mod state_file;
pub mod talk;

pub use exit_code::ExitCode;
pub use failure::Failure;
pub use home::Home;
pub use peer::Peer;
pub use process::Io;
pub use shutdown::{Interrupts, Shutdown, ShutdownTrigger};
pub use state_file::StateFile;
pub use talk::{Talk, Verbosity};
