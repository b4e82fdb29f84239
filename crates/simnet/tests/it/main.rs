//! A link by itself, and a network: delays, queue, losses, deaths and replay, with fixed seeds.

#![allow(clippy::unwrap_used)]

mod chances;
mod internet;
mod line;
mod network;
