//! Resident memory: an idle listener, and both sides with many channels open.

use std::io::Read;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::report::{Baseline, Column, Table};
use super::stage::{Forward, Peer, Stage, dnc_server};
use super::{BenchError, Options, pump};
use crate::lab::{Host, Usage};
use crate::payload::MIB;

/// Time for buffers of a handshake or a start to be given back.
const SETTLE: Duration = Duration::from_millis(500);

/// Descriptors that the pump's two ends need beside its channels.
const SPARE_DESCRIPTORS: u64 = 256;

pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let many = options.channels;
    let mut table = Table::new(
        "memory",
        format!("Resident memory; {many} channels are TCP connections through one forward."),
        vec![
            Column::new("idle listener, MiB", Baseline::None, 1),
            Column::new("idle forward, client, MiB", Baseline::None, 1),
            Column::new("idle forward, server, MiB", Baseline::None, 1),
            Column::new(format!("{many} channels, client, MiB"), Baseline::None, 1),
            Column::new(format!("{many} channels, server, MiB"), Baseline::None, 1),
        ],
    );
    allow_descriptors(2 * many as u64 + SPARE_DESCRIPTORS);
    for peer in [Peer::SshAes, Peer::Dnc] {
        let name = peer.to_string();
        if let Err(error) = measure(options, peer, &name, &mut table) {
            table.note(format!("{name}: {error}"));
        }
    }
    Ok(table)
}

fn measure(options: &Options, peer: Peer, name: &str, table: &mut Table) -> Result<(), BenchError> {
    let stage = Stage::on_cable(options.tools.as_ref())?;
    table.add(name, 0, idle_listener(&stage, peer)?);
    let forward = stage.forward(peer)?;
    std::thread::sleep(SETTLE);
    table.add(name, 1, resident(&stage.near));
    table.add(name, 2, resident(&stage.far));
    let held = hold(&stage, &forward, options.channels)?;
    std::thread::sleep(SETTLE);
    table.add(name, 3, resident(&stage.near));
    table.add(name, 4, resident(&stage.far));
    drop(held);
    Ok(())
}

fn idle_listener(stage: &Stage, peer: Peer) -> Result<f64, BenchError> {
    let (_server, _devices);
    if peer == Peer::Dnc {
        let (near, far) = stage.devices()?;
        _server = dnc_server(&near, &far)?;
        _devices = (near, far);
    } else {
        _server = stage.ssh_server(Peer::SshChacha)?.process;
    }
    std::thread::sleep(SETTLE);
    Ok(resident(&stage.far))
}

/// Opens `count` connections, each of which has had an answer from the far end.
fn hold(
    stage: &Stage,
    forward: &Forward,
    count: usize,
) -> Result<Vec<std::net::TcpStream>, BenchError> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = pump::connect(&stage.near, forward.entry, b'H')?;
        stream.read_exact(&mut [0])?;
        held.push(stream);
    }
    Ok(held)
}

/// Memory of all processes on a host, MiB.
fn resident(host: &Host) -> f64 {
    Usage::of_processes(&host.processes()).resident as f64 / MIB as f64
}

fn allow_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let current = Some(limit.maximum.map_or(count, |maximum| count.min(maximum)));
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current,
                maximum: limit.maximum,
            },
        );
    }
}
