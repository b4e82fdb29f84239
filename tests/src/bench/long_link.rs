//! One bulk stream over a long link: 40 ms round trip, 200 Mbit/s, with and without loss.
//!
//! A stream that does not end in time counts with what arrived by then.

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_congestion;

use super::report::{Baseline, Column, Table};
use super::stage::{Peer, Stage};
use super::{BenchError, Options, mib_per_second, pump};
use crate::lab::LinkSpec;
use crate::payload::MIB;

const DELAY: Duration = Duration::from_millis(20);
const RATE: u64 = 200_000_000;

/// Longest one stream is watched.
const LIMIT: Duration = Duration::from_secs(20);

/// (packets of the queue, loss in parts per million)
const LINKS: [(usize, u32); 4] = [(100, 0), (1000, 0), (100, 5000), (1000, 5000)];

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let capacity = RATE as f64 / 8.0 / MIB as f64;
    let column = |&(queue, loss): &(usize, u32)| {
        let name = format!(
            "queue {queue}, loss {} %, MiB/s",
            f64::from(loss) / 10_000.0
        );
        Column::new(name, Baseline::Fixed(capacity), 1)
    };
    let mut table = Table::new(
        "long-link",
        format!(
            "{} MiB over an emulated link: 40 ms round trip, 200 Mbit/s = {capacity:.1} MiB/s with headers.",
            options.long_link_size >> 20
        ),
        LINKS.iter().map(column).collect(),
    );
    for round in 0..options.rounds {
        for (column, (queue, loss_ppm)) in LINKS.into_iter().enumerate() {
            let seed = round as u64 + 1;
            let spec = LinkSpec {
                delay: DELAY,
                rate: Some(RATE),
                queue,
                loss_ppm,
                seed,
                ..LinkSpec::default()
            };
            for sender in [Sender::Kernel("cubic"), Sender::Kernel("bbr"), Sender::Dnc] {
                // A link of its own for each: no queue or route memory is handed on.
                let stage = Stage::on_link(options.tools.as_ref(), spec)?;
                match send(&stage, sender, options.long_link_size) {
                    Ok(rate) => table.add(&sender.name(), column, rate),
                    Err(error) => table.note(error.to_string()),
                }
            }
        }
    }
    Ok(table)
}

#[derive(Clone, Copy)]
enum Sender {
    Kernel(&'static str),
    Dnc,
}

impl Sender {
    fn name(self) -> String {
        match self {
            Self::Kernel(control) => format!("kernel TCP, {control}"),
            Self::Dnc => Peer::Dnc.to_string(),
        }
    }
}

/// MiB/s that arrived.
fn send(stage: &Stage, sender: Sender, size: u64) -> Result<f64, BenchError> {
    let forward = match sender {
        Sender::Kernel(_) => stage.forward(Peer::Raw)?,
        Sender::Dnc => stage.forward(Peer::Dnc)?,
    };
    let stream = pump::connect(&stage.near, forward.entry, b'U')?;
    if let Sender::Kernel(control) = sender {
        set_tcp_congestion(&stream, control).map_err(io::Error::from)?;
    }
    let started = Instant::now();
    let before = stage.pump.received();
    let sending = stream.try_clone()?;
    let writer = std::thread::spawn(move || {
        let mut sending = sending;
        pump::spout(&mut sending, size, Some(started + LIMIT))
    });
    while stage.pump.received() - before < size && started.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (arrived, time) = (stage.pump.received() - before, started.elapsed());
    let _ = stream.shutdown(Shutdown::Both);
    let _ = writer.join();
    Ok(mib_per_second(arrived, time))
}
