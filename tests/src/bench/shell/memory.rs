//! Memory of a server: while it waits, and for each session at a terminal.

use std::time::Duration;

use super::super::report::{Baseline, Column, Table};
use super::super::stage::Stage;
use super::super::{BenchError, Options};
use super::terminal::Terminal;
use super::{DSH, READY_LIMIT, SSH, Shell};
use crate::lab::{Host, Usage};
use crate::payload::MIB;

/// Sessions at once.
const COUNTS: [usize; 3] = [1, 10, 50];

/// Sessions with names that a server keeps for one device.
const MAX_NAMED: usize = 16;

/// Time for buffers of a handshake or a start to be given back.
const SETTLE: Duration = Duration::from_millis(1000);

/// What the sessions run; its own memory does not count.
const PROGRAM: &str = "echo ready; exec cat";

pub(in super::super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut columns = vec![
        Column::new("idle, RSS, MiB", Baseline::None, 1),
        Column::new("anonymous, MiB", Baseline::None, 1),
    ];
    for count in COUNTS {
        columns.extend([
            Column::new(format!("each of {count}, RSS, MiB"), Baseline::Row(SSH), 2),
            Column::new("anonymous, MiB", Baseline::Row(SSH), 2),
        ]);
    }
    let mut table = Table::new(
        "shell-memory",
        "A server's own processes, without the programs that its sessions run: resident memory, \
         which counts files of programs once for each process, and the part that is no file's; \
         idle, and what each of some sessions at a terminal adds, each with a connection of its own.",
        columns,
    );
    for _ in 0..options.rounds {
        for (row, is_named) in [(SSH, false), (DSH, false), ("dsh -S", true)] {
            if let Err(error) = measure(options, (row, is_named), &mut table) {
                table.note(format!("{row}: {error}"));
            }
        }
    }
    Ok(table)
}

fn measure(
    options: &Options,
    (row, is_named): (&str, bool),
    table: &mut Table,
) -> Result<(), BenchError> {
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let (shell, program) = match row {
        SSH => (Shell::ssh(&stage)?, "sshd"),
        _ => (Shell::dsh(&stage)?, "dsh"),
    };
    std::thread::sleep(SETTLE);
    let idle = Memory::of(&stage.far, program);
    table.add(row, 0, idle.resident);
    table.add(row, 1, idle.anonymous);
    let mut open = Vec::new();
    for (place, count) in COUNTS.into_iter().enumerate() {
        if is_named && count > MAX_NAMED {
            table.note(format!(
                "{row}: one device may have no {count} sessions with names"
            ));
            continue;
        }
        while open.len() < count {
            let name = format!("s{}", open.len());
            let session = ["-S", &name];
            let flags: &[&str] = if is_named { &session } else { &["-tt"] };
            let mut terminal = Terminal::start(shell.remote(&stage, flags, PROGRAM))?;
            terminal.await_text("ready", READY_LIMIT)?;
            open.push(terminal);
        }
        std::thread::sleep(SETTLE);
        let with = Memory::of(&stage.far, program);
        let each = |with: f64, idle: f64| (with - idle) / count as f64;
        table.add(row, 2 + 2 * place, each(with.resident, idle.resident));
        table.add(row, 3 + 2 * place, each(with.anonymous, idle.anonymous));
    }
    Ok(())
}

/// MiB of the processes of one program.
#[derive(Default)]
struct Memory {
    resident: f64,
    anonymous: f64,
}

impl Memory {
    /// Of those whose name begins so: `sshd-session` is a part of sshd.
    fn of(host: &Host, program: &str) -> Self {
        let is_own = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.starts_with(program))
        };
        let own: Vec<u32> = host.processes().into_iter().filter(is_own).collect();
        let usage = Usage::of_processes(&own);
        Self {
            resident: usage.resident as f64 / MIB as f64,
            anonymous: usage.anonymous as f64 / MIB as f64,
        }
    }
}
