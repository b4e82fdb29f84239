//! `cargo xtask test --grid`: every kind of NAT with every other, between real processes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use dhtnet_tests::device::Tools;
use dhtnet_tests::grid::{Cell, Kind, Measured, PortMapping, Timed, Trial, Way, run, table};

const BEGIN: &str = "<!-- grid: begin -->";
const END: &str = "<!-- grid: end -->";

/// Try each kind of NAT with each other, without and with mapped ports. Needs Linux and root.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Trials of each pair; each other time the other side calls
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Only pairs that have this kind, by its name in the table; twice for the pair of both
    #[arg(long, value_name = "KIND", num_args = 1)]
    only: Vec<String>,
    /// Only without or only with mapped ports
    #[arg(long, value_name = "off|on")]
    mapping: Option<String>,
    /// Folder for grid.md, grid.json and, by the numbers of the trials, what both sides said
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Put the tables into this file, between its markers
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/nat-traversal.md")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    match try_all(&Arguments::parse()) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            let _ = writeln!(io::stderr(), "grid: missed:\n  {}", faults.join("\n  "));
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "grid: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns what missed its goal.
fn try_all(arguments: &Arguments) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let tools = Tools::find().map_err(|error| format!("failed to {error}"))?;
    let said = arguments.out.join("grid-said");
    std::fs::create_dir_all(&said)?;
    let mut cells = cells(arguments);
    let mut plan: Vec<(usize, Trial)> = Vec::new();
    for round in 0..arguments.rounds {
        for (at, cell) in cells.iter().enumerate() {
            plan.push((at, Cell::trial(cell.kinds, cell.mapping, round)));
        }
    }
    let trials: Vec<Trial> = plan.iter().map(|(_, trial)| *trial).collect();
    let (begun, mut done, mut broken) = (Instant::now(), 0, Vec::new());
    run(&trials, &tools, |at, result| {
        done += 1;
        let (cell, trial) = plan[at];
        let progress = match result {
            Ok(measured) => {
                let progress = summary(&measured);
                keep_said(&said, (at + 1, trial), &measured);
                cells[cell].trials.push(measured);
                progress
            }
            Err(error) => {
                let [a, b] = trial.kinds.map(Kind::name);
                broken.push(format!("{a} × {b}: {error}"));
                error.to_string()
            }
        };
        let [listener, caller] = trial.kinds.map(Kind::name);
        let mapping = match trial.mapping {
            PortMapping::Off => "",
            PortMapping::On => ", ports mapped",
        };
        let _ = writeln!(
            io::stderr(),
            "{done}/{} ({} s) {}: {caller} calls {listener}{mapping}: {progress}",
            trials.len(),
            begun.elapsed().as_secs(),
            at + 1
        );
    });
    let markdown = table::markdown(&cells);
    writeln!(io::stdout(), "{markdown}")?;
    std::fs::write(arguments.out.join("grid.md"), &markdown)?;
    let all: Vec<_> = cells.iter().map(Cell::to_json).collect();
    std::fs::write(
        arguments.out.join("grid.json"),
        serde_json::to_string_pretty(&all)?,
    )?;
    if let Some(path) = &arguments.write {
        write(path, &markdown)?;
    }
    broken.extend(cells.iter().flat_map(|cell| cell.faults(Timed::Yes)));
    Ok(broken)
}

fn cells(arguments: &Arguments) -> Vec<Cell> {
    let wanted = |[a, b]: &[Kind; 2]| match arguments.only.as_slice() {
        [] => true,
        [one] => [a.name(), b.name()].contains(&one.as_str()),
        [one, other, ..] => {
            let (one, other) = (one.as_str(), other.as_str());
            [[one, other], [other, one]].contains(&[a.name(), b.name()])
        }
    };
    let mut cells = Vec::new();
    for (mapping, word) in [(PortMapping::Off, "off"), (PortMapping::On, "on")] {
        if arguments.mapping.as_ref().is_some_and(|only| only != word) {
            continue;
        }
        for kinds in Kind::pairs().filter(wanted) {
            // Where no router can map a port, nothing is different.
            let same = !kinds.into_iter().any(Kind::maps_ports);
            if mapping == PortMapping::On && same {
                continue;
            }
            cells.push(Cell {
                kinds,
                mapping,
                trials: Vec::new(),
            });
        }
    }
    cells
}

fn summary(measured: &Measured) -> String {
    let way = match measured.way {
        Some(Way::Direct) => "direct",
        Some(Way::Relayed) => "relayed",
        None => "no path",
    };
    let first_byte = measured.first_byte.map_or_else(String::new, |time| {
        format!(" in {:.2} s", time.as_secs_f64())
    });
    let whole = match (measured.is_whole, measured.exit) {
        (true, _) => String::new(),
        (false, exit) => format!(", exit code {exit:?}"),
    };
    let late = measured.after_giving_up.unwrap_or(0) + measured.after_exit;
    format!(
        "{way}{first_byte}{whole}, {} entries, {late} late packets, {} ports left",
        measured.entries,
        measured.left.len()
    )
}

/// What both said in a trial, for whoever looks for the cause of something.
fn keep_said(folder: &Path, (at, trial): (usize, Trial), measured: &Measured) {
    let [listener, caller] = trial.kinds.map(Kind::name);
    let text = format!(
        "{caller} calls {listener}, {:?}\n{}\n{}\n",
        trial.mapping,
        measured.to_json(),
        measured.said
    );
    // It is there for reading only; the figures stand without it.
    let _ = std::fs::write(folder.join(format!("{at}.txt")), text);
}

/// Puts the tables between the markers of `path`.
fn write(path: &Path, tables: &str) -> io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let lacking = || io::Error::other(format!("{} lacks the marker lines", path.display()));
    let (head, rest) = text.split_once(BEGIN).ok_or_else(lacking)?;
    let (_, tail) = rest.split_once(END).ok_or_else(lacking)?;
    std::fs::write(path, format!("{head}{BEGIN}\n{tables}{END}{tail}"))
}
