//! A large file through the streams of a command, from the far side and to it.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::report::{Baseline, Column, Table};
use super::super::stage::Stage;
use super::super::{BenchError, Options, mib_per_second, pump};
use super::{SSH, Shell};
use crate::payload::MIB;

/// Longest one transfer may take.
const LIMIT: Duration = Duration::from_secs(300);

pub(in super::super) fn run(options: &Options) -> Result<Table, BenchError> {
    let size = options.size;
    let mut table = Table::new(
        "shell-cat",
        format!(
            "{} MiB of a file in memory through a command, without a terminal: `cat FILE` there, \
             and `wc -c` there with the file as standard input here.",
            size / MIB
        ),
        vec![
            Column::new("cat, MiB/s", Baseline::Row(SSH), 0),
            Column::new("wc, MiB/s", Baseline::Row(SSH), 0),
        ],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let file = folder.path().join("large");
    pump::spout(&mut File::create(&file)?, size, None)?;
    let shells = Shell::all(&stage, &mut table);
    for _ in 0..options.rounds {
        for shell in &shells {
            let ways = [from_there, to_there].map(|way| way(&stage, shell, &file, size));
            for (column, took) in ways.into_iter().enumerate() {
                match took {
                    Ok(took) => table.add(shell.name(), column, mib_per_second(size, took)),
                    Err(error) => table.note(format!("{}: {error}", shell.name())),
                }
            }
        }
    }
    Ok(table)
}

fn from_there(
    stage: &Stage,
    shell: &Shell,
    file: &Path,
    size: u64,
) -> Result<Duration, BenchError> {
    let command = shell.remote(stage, &[], &format!("cat {}", file.display()));
    let command = command.lifetime(LIMIT).stdout_pipe();
    let begun = Instant::now();
    let mut process = command.start()?;
    let stdout = process.take_stdout();
    let mut stdout = stdout.ok_or_else(|| io::Error::other("no pipe"))?;
    let count = pump::swallow(&mut stdout, None)?;
    let status = process.wait()?;
    let took = begun.elapsed();
    if status.success() && count == size {
        return Ok(took);
    }
    let said = process.stderr();
    let what = format!("{count} of {size} bytes came, {status}: {}", said.trim());
    Err(io::Error::other(what).into())
}

fn to_there(stage: &Stage, shell: &Shell, file: &Path, size: u64) -> Result<Duration, BenchError> {
    let command = shell.remote(stage, &[], "wc -c").lifetime(LIMIT);
    let begun = Instant::now();
    let mut process = command.stdin_file(file).start()?;
    process.wait()?;
    let took = begun.elapsed();
    let finished = process.finish(LIMIT)?;
    if finished.code() == Some(0) && finished.text().trim() == size.to_string() {
        return Ok(took);
    }
    let (counted, said) = (finished.text(), finished.stderr);
    let what = format!(
        "{} of {size} bytes arrived: {}",
        counted.trim(),
        said.trim()
    );
    Err(io::Error::other(what).into())
}
