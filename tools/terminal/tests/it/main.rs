//! The screen model against itself, with streams of all kinds.

#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

mod properties;
mod recorded;
mod restoring;
