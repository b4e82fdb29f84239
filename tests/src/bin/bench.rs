//! `cargo xtask bench`: measures the tools beside their peers in two network namespaces.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use dhtnet_tests::bench::report::{Table, replace_tables};
use dhtnet_tests::bench::{Options, SUITES};
use dhtnet_tests::device::Tools;
use dhtnet_tests::dht_peers::own_cluster;

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// Measure dnc beside ssh, socat and raw TCP, the DHT beside OpenDHT and mainline. Needs Linux and
/// root.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// 64 MiB and one round instead of 1 GiB and three
    #[arg(long)]
    quick: bool,
    /// Measure only this (repeatable); "shell" and "dht" are all of theirs
    #[arg(long, value_name = "NAME", value_parser = names())]
    only: Vec<String>,
    /// Print every sample as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Put the tables into this file, between its markers, in place of those of the same name
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/bench.md")]
    write: Option<PathBuf>,
    /// MiB of a bulk transfer
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    size: Option<u64>,
    /// Rounds of each measurement
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: Option<u8>,
}

/// What the names of several measurements begin with.
const GROUPS: [&str; 2] = ["shell", "dht"];

/// What can be asked for.
fn names() -> PossibleValuesParser {
    GROUPS
        .into_iter()
        .chain(SUITES.map(|(name, _)| name))
        .into()
}

/// Whether `only` asks for the measurement called `name`.
fn is_meant(only: &str, name: &str) -> bool {
    let rest = name.strip_prefix(only).unwrap_or(".");
    rest.is_empty() || (GROUPS.contains(&only) && rest.starts_with('-'))
}

fn main() -> ExitCode {
    // A network of ours to be measured is a process of its own.
    let mut words = std::env::args().skip(1);
    let outcome = if words.next().as_deref() == Some(own_cluster::VERB) {
        own_cluster::serve(&words.collect::<Vec<_>>())
    } else {
        run(&Arguments::parse())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let tools = Tools::find();
    if let Err(error) = &tools {
        writeln!(io::stderr(), "bench: dnc is left out: failed to {error}")?;
    }
    let mut options = match arguments.quick {
        true => Options::quick(tools.ok()),
        false => Options::full(tools.ok()),
    };
    if let Some(size) = arguments.size {
        options.size = size << 20;
        options.long_link_size = options.long_link_size.min(options.size);
    }
    if let Some(rounds) = arguments.rounds {
        options.rounds = rounds.into();
    }
    let mut tables = Vec::new();
    for (name, suite) in SUITES {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| is_meant(only, name)) {
            continue;
        }
        writeln!(io::stderr(), "bench: {name} …")?;
        let table = suite(&options)?;
        if !arguments.json {
            writeln!(io::stdout(), "{}", table.to_markdown())?;
        }
        tables.push(table);
    }
    if arguments.json {
        let all: Vec<_> = tables.iter().map(Table::to_json).collect();
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&all)?)?;
    }
    match &arguments.write {
        Some(path) => Ok(write(path, &tables)?),
        None => Ok(()),
    }
}

/// Puts `tables` between the markers of `path`; tables of other names stay.
fn write(path: &Path, tables: &[Table]) -> io::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let lacking = || io::Error::other(format!("{} lacks the marker lines", path.display()));
    let (head, rest) = text.split_once(BEGIN).ok_or_else(lacking)?;
    let (old, tail) = rest.split_once(END).ok_or_else(lacking)?;
    let figures = replace_tables(old, tables);
    std::fs::write(path, format!("{head}{BEGIN}\n{figures}{END}{tail}"))
}
