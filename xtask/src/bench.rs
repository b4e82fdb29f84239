//! `cargo xtask bench`: the way to the benchmark harness, which lives with the end-to-end tests.

use crate::cargo::{TOOLS, cargo};
use crate::failure::{Failure, Outcome};
use crate::process::{self, Interrupt};
use crate::test::MAINLINE_PEER;

/// Builds the release binaries that are measured, then runs the harness with `words`.
pub(crate) fn run(words: &[String], interrupt: &Interrupt) -> Outcome {
    let built = process::run(cargo(&["build", "--release"]).args(TOOLS), interrupt)?;
    if !built.success() {
        return Err(Failure::new("the release build failed"));
    }
    let words_of_peer = ["build", "--release", "--manifest-path", MAINLINE_PEER];
    let built = process::run(&mut cargo(&words_of_peer), interrupt)?;
    if !built.success() {
        println!("{MAINLINE_PEER}: not built ({built}); its rows are left out");
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
