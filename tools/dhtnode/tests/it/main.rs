//! `dhtnode` as its users meet it: processes on 127.0.0.1.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod daemon;
mod items;
mod nodes;
mod place;
mod prompt;
mod relay;
mod usage;
mod values;
