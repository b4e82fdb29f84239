//! `cargo xtask test --grid`: every kind of NAT with every other, twice over. In simulation by the
//! tests of `crates/nat-traversal`, on 100 seeds; between real processes by the program `grid` of
//! the end-to-end tests. Both are held against one file and against the goals of each pair.

use crate::arguments::Arguments;
use crate::cargo::{cargo, log_dir, target_dir};
use crate::failure::{Failure, Outcome};
use crate::process::{self, Interrupt};

/// What was asked for.
#[derive(Debug)]
pub(super) struct Options {
    rounds: u64,
    write: bool,
}

impl Options {
    /// `--grid`, and with it `--rounds N` (trials of each pair) and `--write` (the tables into the
    /// book); `None` without `--grid`.
    pub(super) fn parse(arguments: &mut Arguments) -> Outcome<Option<Self>> {
        if !arguments.flag("--grid") {
            return Ok(None);
        }
        Ok(Some(Self {
            rounds: arguments.number("--rounds")?.unwrap_or(1),
            write: arguments.flag("--write"),
        }))
    }
}

/// Builds the tools in release, since times are taken, and runs both grids.
pub(super) fn run(options: &Options, interrupt: &Interrupt) -> Outcome {
    let tools = ["-p", "dnc", "-p", "crtmgr", "-p", "dhtnode"];
    let mut build = cargo(&["build", "--release"]);
    must(build.args(tools), "the release build", interrupt)?;
    let words = [
        "test",
        "-p",
        "dhtnet-nat-traversal",
        "--test",
        "it",
        "grid::",
    ];
    let mut simulated = cargo(&words);
    simulated.env("DHTNET_TEST_FULL", "1");
    let simulated = must(&mut simulated, "the simulated grid", interrupt);
    if let Err(failure) = &simulated
        && failure.is_interrupt()
    {
        return simulated;
    }
    let words = ["run", "-p", "dhtnet-tests", "--bin", "grid", "--"];
    let mut real = cargo(&words);
    real.args(["--rounds", &options.rounds.to_string(), "--out"])
        .arg(log_dir())
        .args(options.write.then_some("--write"))
        .env("DHTNET_BIN_DIR", target_dir().join("release"));
    must(&mut real, "the grid of real processes", interrupt)?;
    println!(
        "grid: the tables and all figures are in {}",
        log_dir().display()
    );
    simulated
}

fn must(command: &mut std::process::Command, what: &str, interrupt: &Interrupt) -> Outcome {
    if process::run(command, interrupt)?.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("{what} failed")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn parse(words: &[&str]) -> Outcome<Option<Options>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut arguments = Arguments::new(&words);
        let options = Options::parse(&mut arguments)?;
        arguments.finish()?;
        Ok(options)
    }

    #[test]
    fn the_grid_has_options_of_its_own_that_mean_nothing_without_it() {
        assert!(parse(&[]).unwrap().is_none());
        let plain = parse(&["--grid"]).unwrap().unwrap();
        assert_eq!((plain.rounds, plain.write), (1, false));
        let full = parse(&["--grid", "--rounds", "10", "--write"]).unwrap();
        assert_eq!(full.map(|full| (full.rounds, full.write)), Some((10, true)));
        assert_eq!(parse(&["--rounds", "10"]).unwrap_err().code(), 2);
    }
}
