//! Which command is meant, and the help text.

use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::process::Interrupt;
use crate::{bench, ci, demo, setup, test, tidy};

const HELP: &str = "\
cargo xtask COMMAND

  setup [--check] [--ci] [--bench]
                                install what the tests need (Debian, as root); --check only looks;
                                --ci also builds cargo-nextest and cargo-deny, --bench boringtun
                                and unpacks a wireguard-go with offloads
  test [--filter X] [--release] [--no-setup]
                                build, run every test, doctest and fuzz corpus, add up the counts;
                                --release: end-to-end tests use the release binaries
  test --grid [--rounds N] [--write]
                                every kind of NAT with every other, in simulation (100 seeds) and
                                between real processes, N times each (default 1, about 5 minutes);
                                --write puts the table into docs/nat-traversal.md
  ci [--only STEP]              everything a change must pass, with a timing table
  demo [--size MIB]             two fresh devices send each other a file by device id (default 256)
  bench [ARGS...]               the benchmark of docs/bench.md; ARGS go to the harness
  tidy                          layering, purity of the protocol crates, sizes, names, documents
";

/// Runs the command that `words` name.
pub(crate) fn run(words: &[String]) -> Outcome {
    let Some((command, rest)) = words.split_first() else {
        return Err(Failure::usage(format!("no command given\n\n{HELP}")));
    };
    if command == "bench" {
        return bench::run(rest, &Interrupt::watch()?);
    }
    let mut arguments = Arguments::new(rest);
    if matches!(command.as_str(), "help" | "--help" | "-h") || arguments.flag("--help") {
        print!("{HELP}");
        return Ok(());
    }
    match command.as_str() {
        "setup" => {
            let options = setup::Options::parse(&mut arguments);
            arguments.finish()?;
            setup::run(options, &Interrupt::watch()?)
        }
        "test" => {
            let options = test::Options::parse(&mut arguments)?;
            arguments.finish()?;
            test::run(&options, &Interrupt::watch()?)
        }
        "ci" => {
            let only = arguments.value("--only")?;
            arguments.finish()?;
            ci::run(only.as_deref(), &Interrupt::watch()?)
        }
        "demo" => {
            let size_mib = arguments
                .number("--size")?
                .unwrap_or(demo::DEFAULT_SIZE_MIB);
            arguments.finish()?;
            demo::run(size_mib, &Interrupt::watch()?)
        }
        "tidy" => {
            arguments.finish()?;
            tidy::run()
        }
        unknown => Err(Failure::usage(format!(
            "unknown command `{unknown}`\n\n{HELP}"
        ))),
    }
}
