//! A link by itself: rate, delay, queue, losses and replay, with fixed seeds.

#![allow(clippy::unwrap_used)]

mod chances;
mod line;
