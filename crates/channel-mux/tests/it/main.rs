//! The mux against itself and against a raw peer, over a simulated connection.
#![allow(clippy::unwrap_used)]

mod answers;
mod bounds;
mod closing;
mod datagrams;
mod hostile;
mod link;
mod many;
mod model;
mod pair;
mod streams;
