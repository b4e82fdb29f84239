//! `cargo xtask ci`: what a change must pass, cheapest first, stopping at the first failure.
//!
//! Each step writes a log into target/xtask/ci; the end of it is shown when the step fails. All
//! tests share one profile, so the tree is compiled three times: checked by clippy, built for the
//! tests, optimised for the demo.

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cargo::{cargo, has_subcommand, log_dir};
use crate::failure::{Failure, Outcome, Tried};
use crate::process::{self, Interrupt};

/// Lines of a failed step's log that are shown.
const TAIL_LINES: usize = 60;

/// One thing to pass: commands that run one after another.
struct Step {
    name: &'static str,
    /// Why it cannot run here, if so.
    skip: Option<&'static str>,
    commands: Vec<Command>,
}

/// How a step ended, for the table.
struct Row {
    name: &'static str,
    verdict: String,
    took: Duration,
}

/// Runs all steps, or the one called `only`.
pub(crate) fn run(only: Option<&str>, interrupt: &Interrupt) -> Outcome {
    let mut steps = steps();
    if let Some(only) = only {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        steps.retain(|step| step.name == only);
        if steps.is_empty() {
            return Err(Failure::usage(format!(
                "no step `{only}`; there are: {}",
                names.join(" ")
            )));
        }
    }
    let mut rows = Vec::new();
    let mut outcome = Ok(());
    for step in steps {
        let start = Instant::now();
        let name = step.name;
        let result = pass(step, interrupt);
        let verdict = result
            .as_ref()
            .map_or_else(ToString::to_string, Clone::clone);
        println!(
            "{name:8} {verdict} ({:.1} s)",
            start.elapsed().as_secs_f64()
        );
        rows.push(Row {
            name,
            verdict,
            took: start.elapsed(),
        });
        if let Err(failure) = result {
            outcome = Err(failure);
            break;
        }
    }
    print_table(&rows);
    outcome
}

fn steps() -> Vec<Step> {
    let mut documents = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    documents.env("RUSTDOCFLAGS", "-D warnings");
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml"];
    let peer = ["--manifest-path", crate::test::MAINLINE_PEER];
    let no_deny = "cargo-deny is not installed (cargo xtask setup --ci builds it)";
    vec![
        step(
            "lock",
            vec![
                cargo(&["fetch", "--locked"]),
                with(&["fetch", "--locked"], &fuzz),
                with(&["fetch", "--locked"], &peer),
            ],
        ),
        step(
            "format",
            vec![
                cargo(&["fmt", "--all", "--check"]),
                with(&["fmt", "--check"], &fuzz),
                with(&["fmt", "--check"], &peer),
            ],
        ),
        step("tidy", vec![xtask(&["tidy"])]),
        Step {
            name: "deny",
            skip: (!has_subcommand("deny")).then_some(no_deny),
            // The advisory database needs the network: `cargo deny check advisories` by hand.
            commands: vec![cargo(&["deny", "check", "licenses", "bans", "sources"])],
        },
        step(
            "clippy",
            vec![
                cargo(&[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--locked",
                    "--",
                    "-D",
                    "warnings",
                ]),
                with(
                    &["clippy", "--lib", "--tests", "--locked"],
                    &[&fuzz[..], &["--", "-D", "warnings"]].concat(),
                ),
                with(
                    &["clippy", "--locked"],
                    &[&peer[..], &["--", "-D", "warnings"]].concat(),
                ),
            ],
        ),
        step("docs", vec![documents]),
        step("test", vec![xtask(&["test"])]),
        step("demo", vec![xtask(&["demo", "--size", "16"])]),
    ]
}

fn step(name: &'static str, commands: Vec<Command>) -> Step {
    Step {
        name,
        skip: None,
        commands,
    }
}

fn with(words: &[&str], more: &[&str]) -> Command {
    cargo(&[words, more].concat())
}

fn xtask(words: &[&str]) -> Command {
    with(&["run", "--quiet", "--package", "xtask", "--"], words)
}

/// `Ok` with the word for the table.
fn pass(step: Step, interrupt: &Interrupt) -> Outcome<String> {
    if let Some(reason) = step.skip {
        return Ok(format!("skipped: {reason}"));
    }
    let folder = log_dir().join("ci");
    fs::create_dir_all(&folder).tried(|| format!("create {}", folder.display()))?;
    let path = folder.join(format!("{}.log", step.name));
    let mut log = File::create(&path).tried(|| format!("create {}", path.display()))?;
    let mut last_line = String::new();
    for mut command in step.commands {
        let recorded = process::record(&mut command, interrupt, &mut log)?;
        if !recorded.status.success() {
            let from = recorded.lines.len().saturating_sub(TAIL_LINES);
            println!("{}", recorded.lines[from..].join("\n"));
            return Err(Failure::new(format!(
                "{} failed; whole log: {}",
                step.name,
                path.display()
            )));
        }
        last_line = recorded.lines.last().cloned().unwrap_or_default();
    }
    Ok(if step.name == "test" {
        format!("ok: {last_line}")
    } else {
        "ok".to_owned()
    })
}

fn print_table(rows: &[Row]) {
    println!("\n{:8} {:>8}  result", "step", "seconds");
    for row in rows {
        println!(
            "{:8} {:>8.1}  {}",
            row.name,
            row.took.as_secs_f64(),
            row.verdict
        );
    }
    let total: Duration = rows.iter().map(|row| row.took).sum();
    println!("{:8} {:>8.1}", "total", total.as_secs_f64());
}
