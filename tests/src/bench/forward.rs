//! One bulk TCP connection through a forward: throughput each way, and the CPU time it costs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::report::{Baseline, Column, Table};
use super::stage::{Forward, Peer, Stage};
use super::{BenchError, Options, mib_per_second, pump, start_forwards};
use crate::lab::{Host, Usage};

type Transfer = fn(&Host, SocketAddr, u64) -> io::Result<Duration>;

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let mut table = Table::new(
        "forward",
        format!(
            "One TCP connection of {} MiB through a forward, veth pair, MTU 1500; CPU of both ends.",
            options.size >> 20
        ),
        vec![
            Column::new("up, MiB/s", Baseline::Row("raw TCP"), 0),
            Column::new("down, MiB/s", Baseline::Row("raw TCP"), 0),
            Column::new("up, CPU s/GiB", Baseline::None, 2),
            Column::new("down, CPU s/GiB", Baseline::None, 2),
        ],
    );
    let stage = Stage::on_cable(options.tools.as_ref())?;
    let forwards = start_forwards(&stage, &mut table);
    for _ in 0..options.rounds {
        for forward in &forwards {
            for (column, transfer) in [pump::upload as Transfer, pump::download]
                .into_iter()
                .enumerate()
            {
                let name = forward.peer.to_string();
                let before = cpu(&stage, forward);
                match transfer(&stage.near, forward.entry, options.size) {
                    Ok(time) => {
                        let cpu = cpu(&stage, forward).saturating_sub(before).as_secs_f64();
                        table.add(&name, column, mib_per_second(options.size, time));
                        table.add(
                            &name,
                            column + 2,
                            cpu * (1_u64 << 30) as f64 / options.size as f64,
                        );
                    }
                    Err(error) => table.note(format!("{name}: a transfer failed: {error}")),
                }
            }
        }
    }
    Ok(table)
}

/// CPU time so far of the forward on both hosts; of the pump itself for raw TCP.
fn cpu(stage: &Stage, forward: &Forward) -> Duration {
    if forward.peer == Peer::Raw {
        return Usage::of_processes(&[std::process::id()]).cpu;
    }
    // Idle forwards of other peers cost nothing; this also counts what sshd and socat fork.
    let mut pids = stage.near.processes();
    pids.extend(stage.far.processes());
    Usage::of_processes(&pids).cpu
}
