//! Tests of the public API, in one binary.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
#![allow(clippy::disallowed_methods)] // An instant to count from.

mod allocator;
mod amplification;
mod bootstrap;
mod custody;
mod faults;
mod items;
mod krpc;
mod listen;
mod lossy;
mod mutations;
mod net;
mod networks;
mod node;
mod old_faults;
mod packets;
mod permanent;
mod reunion;
mod roles;
mod speed;
mod spoofing;
mod storing;
mod values;
