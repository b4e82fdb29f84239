//! Starts of clients: a command that does nothing, and a terminal.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::super::report::{Baseline, Column, Table};
use super::super::stage::Stage;
use super::super::{BenchError, Options};
use super::terminal::Terminal;
use super::{READY_LIMIT, SSH, Shell};

/// Starts of each peer in one round.
const STARTS: usize = 10;

pub(in super::super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::new(
        "shell-start",
        "From the start of the client, with the address known: to the end of the client of a \
         command that does nothing, and to the first words of a program at a terminal.",
        vec![
            Column::new("true, ms", Baseline::Row(SSH), 1),
            Column::new("terminal, ms", Baseline::Row(SSH), 1),
        ],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let shells = Shell::all(&stage, &mut table);
    for _ in 0..options.rounds * STARTS {
        for shell in &shells {
            for (column, took) in [command(&stage, shell), terminal(&stage, shell)]
                .into_iter()
                .enumerate()
            {
                match took {
                    Ok(took) => table.add(shell.name(), column, took.as_secs_f64() * 1e3),
                    Err(error) => table.note(format!("{}: {error}", shell.name())),
                }
            }
        }
    }
    Ok(table)
}

fn command(stage: &Stage, shell: &Shell) -> Result<Duration, BenchError> {
    let command = shell.remote(stage, &[], "true").stdout_pipe();
    let started = Instant::now();
    let mut process = command.start()?;
    let mut output = Vec::new();
    if let Some(mut stdout) = process.take_stdout() {
        stdout.read_to_end(&mut output)?;
    }
    let status = process.wait()?;
    let took = started.elapsed();
    if status.success() && output.is_empty() {
        return Ok(took);
    }
    let said = format!("{status}: {}", process.stderr().trim());
    Err(io::Error::other(said).into())
}

fn terminal(stage: &Stage, shell: &Shell) -> Result<Duration, BenchError> {
    let command = shell.remote(stage, &["-tt"], "echo ready");
    let started = Instant::now();
    let mut terminal = Terminal::start(command)?;
    terminal.await_text("ready", READY_LIMIT)?;
    Ok(started.elapsed())
}
