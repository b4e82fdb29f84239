//! End-to-end tests with the built tools, each on hosts of its own in network namespaces.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at its first surprise"
)]

mod lab_works;
