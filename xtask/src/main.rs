//! Developer tasks: `cargo xtask setup | test | ci | demo | bench | tidy`.
//!
//! Each command is one file; what they share is in `failure` (how a task fails), `process` (child
//! processes that never outlive the task), `cargo` (calling cargo) and `arguments`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer tool talks to a terminal"
)]

mod arguments;
mod bench;
mod cargo;
mod ci;
mod demo;
mod failure;
mod process;
mod setup;
mod test;
mod tidy;
mod usage;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match usage::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
