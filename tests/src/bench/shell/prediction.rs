//! How soon a typed letter shows on a slow link: with echoes guessed and without.

use std::io;
use std::time::Duration;

use super::super::report::{Baseline, Column, Table};
use super::super::stage::Stage;
use super::super::{BenchError, Options};
use super::terminal::Terminal;
use super::{DSH, MOSH, MOSH_ADAPTIVE, MOSH_NEVER, READY_LIMIT, SSH, Shell, add_quantile, mosh};
use crate::lab::{Command, LinkSpec, Process};

/// One way of the link.
const DELAY: Duration = Duration::from_millis(50);

/// After a letter: its echo has come by then, and is not taken for that of the next one.
const PAUSE: Duration = Duration::from_millis(150);

/// After a line: what the program answers has come.
const PAUSE_OF_LINE: Duration = Duration::from_millis(400);

/// Letters of a line, and lines of one round that count. One more before them does not.
const LETTERS: usize = 30;
const LINES: usize = 3;

/// Says that it is there, and answers lines; the terminal echoes.
const ANSWER_LINES: &str = "echo ready; exec cat";

/// Who is typed into.
const TYPISTS: [Typist; 6] = [
    Typist::new(SSH, Kind::Ssh),
    Typist::new(DSH, Kind::Dsh(None)),
    Typist::new("dsh -S, no guesses", Kind::Dsh(Some("never"))),
    Typist::new("dsh -S", Kind::Dsh(Some("auto"))),
    Typist::new("mosh, no guesses", Kind::Mosh(MOSH_NEVER)),
    Typist::new(MOSH, Kind::Mosh(MOSH_ADAPTIVE)),
];

struct Typist {
    row: &'static str,
    kind: Kind,
}

enum Kind {
    Ssh,
    /// With a session and this prediction, or without.
    Dsh(Option<&'static str>),
    Mosh(&'static str),
}

impl Typist {
    const fn new(row: &'static str, kind: Kind) -> Self {
        Self { row, kind }
    }
}

pub(in super::super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::new(
        "shell-prediction",
        format!(
            "{LINES} lines of {LETTERS} letters, typed with pauses over an emulated link of 100 ms \
             round trip to a program that reads lines: the time until a letter shows."
        ),
        vec![
            Column::new("p50, ms", Baseline::Row(SSH), 1),
            Column::new("p90, ms", Baseline::Row(SSH), 1),
            Column::new("p99, ms", Baseline::Row(SSH), 1),
        ],
    );
    let spec = LinkSpec {
        delay: DELAY,
        ..LinkSpec::default()
    };
    let stage = Stage::on_link(options.tools.as_ref(), spec)?;
    let shells = Shell::all(&stage, &mut table);
    for round in 0..options.rounds {
        for typist in &TYPISTS {
            let Some(command) = typist.command((&stage, &shells), round) else {
                continue;
            };
            match command.and_then(|(_server, client)| Ok(type_lines(client)?)) {
                Ok(samples) => {
                    for (column, share) in [0.5, 0.9, 0.99].into_iter().enumerate() {
                        add_quantile(&mut table, typist.row, (column, share), &samples);
                    }
                }
                Err(error) => table.note(format!("{}: {error}", typist.row)),
            }
        }
    }
    Ok(table)
}

impl Typist {
    /// The client, and its server where it has one of its own; `None` when that is not there.
    fn command(
        &self,
        (stage, shells): (&Stage, &[Shell]),
        round: usize,
    ) -> Option<Result<(Option<Process>, Command), BenchError>> {
        let shell = |name| shells.iter().find(|shell| shell.name() == name);
        let remote =
            |shell: &Shell, flags: &[&str]| Ok((None, shell.remote(stage, flags, ANSWER_LINES)));
        Some(match self.kind {
            Kind::Ssh => remote(shell(SSH)?, &["-tt"]),
            Kind::Dsh(None) => remote(shell(DSH)?, &["-tt"]),
            Kind::Dsh(Some(prediction)) => {
                let name = format!("{prediction}-{round}");
                let flags = ["-S", &name, "--predict", prediction];
                remote(shell(DSH)?, &flags)
            }
            Kind::Mosh(prediction) => {
                mosh(stage, prediction, ANSWER_LINES).map(|(server, client)| (Some(server), client))
            }
        })
    }
}

fn type_lines(command: Command) -> io::Result<Vec<f64>> {
    let mut terminal = Terminal::start(command)?;
    terminal.await_text("ready", READY_LIMIT)?;
    terminal.rest(PAUSE_OF_LINE)?;
    let mut samples = Vec::new();
    for line in 0..=LINES {
        let typed = terminal.strikes(LETTERS, PAUSE)?;
        terminal.press_return(PAUSE_OF_LINE)?;
        if line > 0 {
            samples.extend(typed);
        }
    }
    Ok(samples)
}
