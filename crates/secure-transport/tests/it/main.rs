//! The transport from outside: whole connections on a virtual clock, and single sessions byte by byte.
#![allow(clippy::unwrap_used)]

mod congestion;
mod connection;
mod loss;
mod pair;
mod session;
mod stranger;
mod transfer;
