//! Keys typed one at a time and echoed by a program at a far terminal: alone, and beside a bulk
//! transfer through a forward of the same connection.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::report::{Baseline, Column, Table, quantile};
use super::super::stage::{PUMP_PORT, Stage};
use super::super::{BenchError, Options, mib_per_second, pump};
use super::terminal::Terminal;
use super::{ECHO, MOSH, MOSH_NEVER, READY_LIMIT, SSH, Shell, add_quantile, mosh};
use crate::lab::LinkSpec;

/// Where the forward of the measured client begins, on the client's host.
const ENTRY_PORT: u16 = 9300;

/// Keys before the clock counts.
const WARM_UP: usize = 20;

/// Between two keys on a cable: shorter than anybody types, to have many of them.
const PAUSE: Duration = Duration::from_millis(2);

/// Between two keys on the far link.
const PAUSE_FAR: Duration = Duration::from_millis(10);

/// How long a transfer runs before keys are typed beside it.
const SETTLE: Duration = Duration::from_secs(2);

/// One way of the far link, of 50 ms there and back.
const DELAY: Duration = Duration::from_millis(25);
const RATE: u64 = 100_000_000;

/// Which way the bulk goes.
#[derive(Clone, Copy)]
enum Way {
    Down,
    Up,
}

pub(in super::super) fn run(options: &Options) -> Result<Table, BenchError> {
    let title = format!(
        "{} keys to a program that echoes them: alone, and beside a transfer through a forward of \
         the same connection; how far the p99 is above that of typing alone, and the transfer's \
         rate.",
        options.strokes
    );
    let stage = || Stage::on_cable(options.tools.as_ref());
    measure(options, table("shell-typing", title), (&stage, PAUSE))
}

pub(in super::super) fn run_far(options: &Options) -> Result<Table, BenchError> {
    let title = format!(
        "{} keys as in shell-typing, over an emulated link: 50 ms round trip, 100 Mbit/s = {:.1} \
         MiB/s with headers, a queue of {} packets.",
        options.strokes,
        RATE as f64 / 8.0 / f64::from(1 << 20),
        LinkSpec::default().queue
    );
    let spec = LinkSpec {
        delay: DELAY,
        rate: Some(RATE),
        ..LinkSpec::default()
    };
    let stage = || Stage::on_link(options.tools.as_ref(), spec);
    measure(
        options,
        table("shell-typing-far", title),
        (&stage, PAUSE_FAR),
    )
}

fn table(name: &'static str, title: String) -> Table {
    let mut columns = vec![
        Column::new("alone, p50, ms", Baseline::Row(SSH), 2),
        Column::new("p99, ms", Baseline::Row(SSH), 2),
    ];
    for way in ["down", "up"] {
        columns.extend([
            Column::new(format!("beside bulk {way}, p50, ms"), Baseline::None, 2),
            Column::new("p99, ms", Baseline::None, 2),
            Column::new("p99 above alone, ms", Baseline::None, 2),
            Column::new(format!("bulk {way}, MiB/s"), Baseline::Row(SSH), 1),
        ]);
    }
    Table::new(name, title, columns)
}

type NewStage<'s> = dyn Fn() -> Result<Stage, BenchError> + 's;

fn measure(
    options: &Options,
    mut table: Table,
    (new_stage, pause): (&NewStage<'_>, Duration),
) -> Result<Table, BenchError> {
    let stage = new_stage()?;
    let shells = Shell::all(&stage, &mut table);
    for _ in 0..options.rounds {
        for shell in &shells {
            let typed = type_into(&stage, shell, (options.strokes, pause), &mut table);
            if let Err(error) = typed {
                table.note(format!("{}: {error}", shell.name()));
            }
        }
        if let Err(error) = type_into_mosh(&stage, (options.strokes, pause), &mut table) {
            table.note(error.to_string());
        }
    }
    Ok(table)
}

fn type_into(
    stage: &Stage,
    shell: &Shell,
    (strokes, pause): (usize, Duration),
    table: &mut Table,
) -> Result<(), BenchError> {
    let name = shell.name();
    let spec = format!("127.0.0.1:{ENTRY_PORT}:127.0.0.1:{PUMP_PORT}");
    let mut terminal = Terminal::start(shell.remote(stage, &["-tt", "-L", &spec], ECHO))?;
    terminal.await_text("ready", READY_LIMIT)?;
    terminal.strikes(WARM_UP, pause)?;
    let alone = terminal.strikes(strokes, pause)?;
    add_quantile(table, name, (0, 0.5), &alone);
    add_quantile(table, name, (1, 0.99), &alone);
    for (way, first) in [(Way::Down, 2), (Way::Up, 6)] {
        let bulk = Bulk::start(stage, way)?;
        terminal.rest(SETTLE)?;
        let (begun, before) = (Instant::now(), bulk.count(stage));
        let beside = terminal.strikes(strokes, pause)?;
        let (count, took) = (bulk.count(stage) - before, begun.elapsed());
        bulk.end();
        terminal.rest(SETTLE)?;
        add_quantile(table, name, (first, 0.5), &beside);
        add_quantile(table, name, (first + 1, 0.99), &beside);
        if let (Some(beside), Some(alone)) = (quantile(&beside, 0.99), quantile(&alone, 0.99)) {
            table.add(name, first + 2, beside - alone);
        }
        table.add(name, first + 3, mib_per_second(count, took));
    }
    Ok(())
}

/// mosh carries no forwards.
fn type_into_mosh(
    stage: &Stage,
    (strokes, pause): (usize, Duration),
    table: &mut Table,
) -> Result<(), BenchError> {
    let (_server, client) = mosh(stage, MOSH_NEVER, ECHO)?;
    let mut terminal = Terminal::start(client)?;
    let ready = terminal.await_text("ready", READY_LIMIT);
    let typed = ready.and_then(|()| {
        terminal.strikes(WARM_UP, pause)?;
        terminal.strikes(strokes, pause)
    });
    let typed = typed.map_err(|error| io::Error::other(format!("{MOSH}: {error}")))?;
    add_quantile(table, MOSH, (0, 0.5), &typed);
    add_quantile(table, MOSH, (1, 0.99), &typed);
    Ok(())
}

/// A transfer that goes on until it is ended.
struct Bulk {
    way: Way,
    stream: TcpStream,
    came: Arc<AtomicU64>,
    worker: JoinHandle<()>,
}

impl Bulk {
    fn start(stage: &Stage, way: Way) -> io::Result<Self> {
        let entry = SocketAddr::from((Ipv4Addr::LOCALHOST, ENTRY_PORT));
        let purpose = match way {
            Way::Down => b'D',
            Way::Up => b'U',
        };
        let stream = pump::connect(&stage.near, entry, purpose)?;
        let came = Arc::new(AtomicU64::new(0));
        let (mut working, counter) = (stream.try_clone()?, Arc::clone(&came));
        // Its end is that the stream is shut.
        let worker = std::thread::spawn(move || match way {
            Way::Down => {
                let endless = u64::MAX.to_le_bytes();
                let asked = io::Write::write_all(&mut working, &endless);
                drop(asked.and_then(|()| pump::swallow(&mut working, Some(&counter))));
            }
            Way::Up => drop(pump::spout(&mut working, u64::MAX, None)),
        });
        Ok(Self {
            way,
            stream,
            came,
            worker,
        })
    }

    /// Bytes that have arrived.
    fn count(&self, stage: &Stage) -> u64 {
        match self.way {
            Way::Down => self.came.load(Ordering::Relaxed),
            Way::Up => stage.pump.received(),
        }
    }

    fn end(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        drop(self.stream);
        let _ = self.worker.join();
    }
}
