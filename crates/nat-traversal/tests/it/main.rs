//! The crate from outside.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

mod behavior;
mod grid;
mod hostile;
mod kinds;
mod relay;
mod relay_streams;
mod relay_world;
mod stun;
mod turn;
mod world;
