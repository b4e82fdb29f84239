//! The real binary, two homes, 127.0.0.1: nothing but the id and an address is exchanged.

#![allow(clippy::unwrap_used)]

mod endings;
mod forwards;
mod pipes;
mod place;
mod refusals;
mod usage;
