//! `cargo xtask test`: everything that can be tested, and an honest count at the end.
//!
//! Runs: unit and integration tests (cargo-nextest where it is installed, else `cargo test`),
//! doctests, and the fuzz corpora. Two variables are set for the tests:
//! - `DHTNET_BIN_DIR`: the folder with the tools' binaries, built before;
//! - `DHTNET_SKIP_LOG`: a file to which a test that cannot run here appends `name: reason`, one
//!   line. Such a test returns early and its runner counts it as passed; here it is moved to the
//!   skipped ones and named.

mod counts;
mod grid;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arguments::Arguments;
use crate::cargo::{TOOLS, cargo, has_subcommand, log_dir, root, target_dir};
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{self, Interrupt};
use counts::Counts;

/// A foreign participant of the DHT, with a lock file of its own.
pub(crate) const MAINLINE_PEER: &str = "tests/peers/mainline/Cargo.toml";

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    filter: Option<String>,
    release: bool,
    no_setup: bool,
    grid: Option<grid::Options>,
}

impl Options {
    /// `--filter X`: only tests whose name contains X; `--release`: release binaries under the
    /// end-to-end tests; `--no-setup`: install nothing; `--grid`: the grid of NATs alone.
    pub(crate) fn parse(arguments: &mut Arguments) -> Outcome<Self> {
        Ok(Self {
            filter: arguments.value("--filter")?,
            release: arguments.flag("--release"),
            no_setup: arguments.flag("--no-setup"),
            grid: grid::Options::parse(arguments)?,
        })
    }
}

/// Runs all tests; fails when one failed, or when the filter matched none.
pub(crate) fn run(options: &Options, interrupt: &Interrupt) -> Outcome {
    if !options.no_setup
        && let Err(failure) = crate::setup::ensure(interrupt)
    {
        if failure.is_interrupt() {
            return Err(failure);
        }
        println!("setup: {failure}");
    }
    if let Some(grid) = &options.grid {
        return grid::run(grid, interrupt);
    }
    let session = Session::new(options, interrupt)?;
    session.build()?;
    let mut counts = session.workspace()?;
    counts.add(&session.doctests()?);
    counts.add(&session.fuzz_corpora()?);
    let skip_log = fs::read_to_string(&session.skip_log).unwrap_or_default();
    counts.move_skipped(&skip_log);
    for skipped in counts.reasons() {
        println!("SKIPPED: {skipped}");
    }
    println!("{counts}");
    if counts.failed() > 0 {
        return Err(Failure::new(format!("{} tests failed", counts.failed())));
    }
    match &options.filter {
        Some(filter) if counts.ran() == 0 => {
            Err(Failure::new(format!("no test has `{filter}` in its name")))
        }
        _ => Ok(()),
    }
}

struct Session<'a> {
    options: &'a Options,
    interrupt: &'a Interrupt,
    skip_log: PathBuf,
    binaries: PathBuf,
}

impl<'a> Session<'a> {
    fn new(options: &'a Options, interrupt: &'a Interrupt) -> Outcome<Self> {
        let folder = log_dir();
        fs::create_dir_all(&folder).tried(|| format!("create {}", folder.display()))?;
        let skip_log = folder.join("skipped.log");
        fs::write(&skip_log, "").tried(|| format!("write {}", skip_log.display()))?;
        let binaries = target_dir().join(if options.release { "release" } else { "debug" });
        Ok(Self {
            options,
            interrupt,
            skip_log,
            binaries,
        })
    }

    /// Binaries and tests in one call, so that both are built from the same set of features.
    fn build(&self) -> Outcome {
        self.must(
            &mut cargo(&["build", "--workspace", "--bins", "--tests"]),
            "the build",
        )?;
        if self.options.release {
            let mut build = cargo(&["build", "--release"]);
            self.must(build.args(TOOLS), "the release build")?;
        }
        self.build_foreign_peer()
    }

    /// The crate `mainline` in a program, beside the tools. Without it, tests say that they skip.
    fn build_foreign_peer(&self) -> Outcome {
        let mut words = vec!["build", "--manifest-path", MAINLINE_PEER];
        words.extend(self.options.release.then_some("--release"));
        let status = process::run(&mut cargo(&words), self.interrupt)?;
        if !status.success() {
            println!("{MAINLINE_PEER}: not built ({status})");
        }
        Ok(())
    }

    fn workspace(&self) -> Outcome<Counts> {
        if has_subcommand("nextest") {
            let mut command = cargo(&["nextest", "run", "--workspace", "--no-tests=pass"]);
            command.args(&self.options.filter);
            self.count(&mut command, "the tests")
        } else {
            let words = [
                "test",
                "--workspace",
                "--no-fail-fast",
                "--lib",
                "--bins",
                "--tests",
            ];
            self.count(self.filtered(&mut cargo(&words)), "the tests")
        }
    }

    fn doctests(&self) -> Outcome<Counts> {
        let mut command = cargo(&["test", "--workspace", "--no-fail-fast", "--doc"]);
        self.count(self.filtered(&mut command), "the doctests")
    }

    fn fuzz_corpora(&self) -> Outcome<Counts> {
        let manifest = root().join("fuzz/Cargo.toml");
        let mut command = cargo(&["test", "--tests", "--manifest-path"]);
        command.arg(manifest);
        self.count(
            self.filtered(&mut command),
            "the replay of the fuzz corpora",
        )
    }

    fn filtered<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Some(filter) = &self.options.filter {
            command.arg("--").arg(filter);
        }
        command
    }

    /// Runs and adds up; a bad status without a failed test means that something did not build.
    fn count(&self, command: &mut Command, what: &str) -> Outcome<Counts> {
        self.with_environment(command);
        let recorded = process::record(command, self.interrupt, std::io::stdout())?;
        let counts = Counts::read(&recorded.lines, self.options.filter.is_some());
        if !recorded.status.success() && counts.failed() == 0 {
            return Err(Failure::new(format!("{what} did not run to the end")));
        }
        Ok(counts)
    }

    fn must(&self, command: &mut Command, what: &str) -> Outcome {
        let status = process::run(command, self.interrupt)?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("{what} failed")))
        }
    }

    fn with_environment(&self, command: &mut Command) {
        let (binaries, skip_log): (&Path, &Path) = (&self.binaries, &self.skip_log);
        command
            .env("DHTNET_BIN_DIR", binaries)
            .env("DHTNET_SKIP_LOG", skip_log);
    }
}
