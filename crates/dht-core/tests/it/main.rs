//! Tests of the public API, in one binary.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod bootstrap;
mod faults;
mod items;
mod krpc;
mod listen;
mod net;
mod networks;
mod node;
mod packets;
mod roles;
mod speed;
mod storing;
mod values;
