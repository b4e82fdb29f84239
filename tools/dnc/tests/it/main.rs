//! The real binary, two homes, 127.0.0.1: nothing but the id and an address is exchanged.

#![allow(clippy::unwrap_used)]

mod datagrams;
mod endings;
mod forwards;
mod ping;
mod pipes;
mod place;
mod progress;
mod refusals;
mod retry;
mod reverse;
mod socks;
mod unix;
mod usage;
