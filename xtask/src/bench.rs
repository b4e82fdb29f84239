//! `cargo xtask bench`: the way to the benchmark harness, which lives with the end-to-end tests.

use crate::cargo::cargo;
use crate::failure::{Failure, Outcome};
use crate::process::{self, Interrupt};

/// Builds the release binaries that are measured, then runs the harness with `words`.
pub(crate) fn run(words: &[String], interrupt: &Interrupt) -> Outcome {
    let built = process::run(
        &mut cargo(&["build", "--release", "-p", "dnc", "-p", "crtmgr"]),
        interrupt,
    )?;
    if !built.success() {
        return Err(Failure::new("the release build failed"));
    }
    let mut harness = cargo(&[
        "run",
        "--release",
        "-p",
        "dhtnet-tests",
        "--bin",
        "bench",
        "--",
    ]);
    harness
        .args(words)
        .env("DHTNET_BIN_DIR", crate::cargo::target_dir().join("release"));
    let status = process::run(&mut harness, interrupt)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new("the benchmark failed"))
    }
}
