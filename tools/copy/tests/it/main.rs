//! Copies between two folders of this machine, over streams that the tests can cut, and with peers
//! that do not keep to the protocol.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod cuts;
mod hostile_receivers;
mod hostile_senders;
mod place;
mod resumed;
mod script;
mod threads;
mod trees;
