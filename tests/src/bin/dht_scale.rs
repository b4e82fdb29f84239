//! Plays the DHT at scale on a virtual clock and prints what it measured.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use dhtnet_tests::dht_scale::{Plan, Report, SCENARIOS, run};

/// Simulate a DHT of production nodes on a virtual clock.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Nodes at the beginning
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    nodes: u32,
    /// What happens (repeatable); all if none is given: brief, plain, deaths, churn, partition,
    /// hostile, sybils, late-sybils
    #[arg(long, value_name = "NAME", value_parser = SCENARIOS.map(|(name, _)| name))]
    scenario: Vec<String>,
    /// What all chances are drawn from
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Values stored and lookups made in each measurement
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = clap::value_parser!(u16).range(2..=10_000))]
    samples: u16,
    /// Play everything twice and fail unless both runs are the same to the byte
    #[arg(long)]
    replay: bool,
    /// Print JSON, an array of reports
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match simulate(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "dht_scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments) -> io::Result<()> {
    let plan = Plan {
        nodes: arguments.nodes as usize,
        seed: arguments.seed,
        samples: arguments.samples.into(),
    };
    let mut reports: Vec<Report> = Vec::new();
    for (name, _) in SCENARIOS {
        let wanted = &arguments.scenario;
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        writeln!(io::stderr(), "dht_scale: {name} …")?;
        let Some(report) = run(name, plan) else {
            continue;
        };
        if arguments.replay {
            let again = run(name, plan).map(|again| (again.fingerprint, again.figures().to_vec()));
            if again != Some((report.fingerprint, report.figures().to_vec())) {
                return Err(io::Error::other(format!("{name} does not repeat itself")));
            }
            writeln!(io::stderr(), "dht_scale: {name} repeats itself to the byte")?;
        }
        if !arguments.json {
            writeln!(io::stdout(), "{report}")?;
        }
        reports.push(report);
    }
    if arguments.json {
        let all: Vec<_> = reports.iter().map(Report::to_json).collect();
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}
