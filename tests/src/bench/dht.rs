//! Networks of real nodes on loopback: ours beside OpenDHT and the crate `mainline`.
//!
//! Each network has a network namespace of its own. Its nodes are in one process (in two where a
//! quarter of them is killed), which measures itself.

use std::time::Duration;

use super::report::{Baseline, Column, Table, median, quantile};
use super::{BenchError, Options};
use crate::device::Tools;
use crate::dht_peers::PeerError;
use crate::dht_peers::cluster::{Cluster, Place, Samples};
use crate::lab::{Host, Lab};

/// How much of it is done.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Puts and gets in a network that is well.
    pub operations: usize,
    /// Puts and gets with nodes just dead: each may take seconds.
    pub operations_among_dead: usize,
    /// Puts under a key that is listened to.
    pub pushes: usize,
    /// Before that, for what nodes do after a start to be done.
    pub rest: Duration,
    /// Span in which the traffic of idle nodes is counted.
    pub idle: Duration,
}

impl Effort {
    /// The figures of docs/bench.md.
    pub const FULL: Self = Self {
        operations: 100,
        operations_among_dead: 20,
        pushes: 20,
        rest: Duration::from_secs(90),
        idle: Duration::from_secs(30),
    };

    /// Enough to see whether it works.
    pub const QUICK: Self = Self {
        operations: 20,
        operations_among_dead: 5,
        pushes: 5,
        rest: Duration::from_secs(3),
        idle: Duration::from_secs(3),
    };
}

/// For tables and searches after a start to come to rest.
const SETTLE: Duration = Duration::from_secs(5);

const FIRST_PORT: u16 = 20_000;
const FIRST_PORT_OF_THE_DOOMED: u16 = 30_000;

/// Whose nodes, and what they are asked for.
#[derive(Debug, Clone, Copy)]
enum Peer {
    OpenDht,
    Mainline,
    Dhtnet,
}

impl Peer {
    const ALL: [Self; 3] = [Self::OpenDht, Self::Mainline, Self::Dhtnet];

    fn name(self) -> &'static str {
        match self {
            Self::OpenDht => "OpenDHT",
            Self::Mainline => "mainline",
            Self::Dhtnet => "dhtnet",
        }
    }
}

pub(super) fn well_32(options: &Options) -> Result<Table, BenchError> {
    well("dht-32", 32, options)
}

pub(super) fn well_128(options: &Options) -> Result<Table, BenchError> {
    well("dht-128", 128, options)
}

pub(super) fn well_256(options: &Options) -> Result<Table, BenchError> {
    well("dht-256", 256, options)
}

pub(super) fn dead_32(options: &Options) -> Result<Table, BenchError> {
    dead("dht-32-dead", 32, options)
}

pub(super) fn dead_128(options: &Options) -> Result<Table, BenchError> {
    dead("dht-128-dead", 128, options)
}

pub(super) fn dead_256(options: &Options) -> Result<Table, BenchError> {
    dead("dht-256-dead", 256, options)
}

/// The columns that both tables have, in their order.
fn latency_columns() -> Vec<Column> {
    let to_opendht = Baseline::Row("OpenDHT");
    let mut columns: Vec<Column> = [
        "put p50, ms",
        "put p95, ms",
        "first value p50, ms",
        "first value p95, ms",
        "get ends p50, ms",
        "get ends p95, ms",
    ]
    .map(|name| Column::new(name, to_opendht, 2))
    .into();
    columns.push(Column::new("put, %", Baseline::None, 0));
    columns.push(Column::new("found, %", Baseline::None, 0));
    columns
}

const PUSH: usize = 8;
const RESIDENT: usize = 10;
const THREADS: usize = 11;
const IDLE: usize = 12;

fn well(name: &'static str, nodes: usize, options: &Options) -> Result<Table, BenchError> {
    let to_opendht = Baseline::Row("OpenDHT");
    let mut columns = latency_columns();
    columns.push(Column::new("push p50, ms", to_opendht, 2));
    columns.push(Column::new("push p95, ms", to_opendht, 2));
    columns.push(Column::new("RSS, KiB a node", to_opendht, 0));
    columns.push(Column::new("threads a node", Baseline::None, 1));
    columns.push(Column::new("idle traffic, B/s a node", to_opendht, 1));
    let title =
        format!("{nodes} nodes on loopback; values of 64 bytes, put by one and got by another.");
    let mut table = Table::new(name, title, columns);
    in_turns(options, &mut table, |round, peer, table| {
        let lab = Lab::new()?;
        let host = lab.host("loopback")?;
        let alone = Network::start(peer, &host, place(1), options)?;
        let first = alone.cluster.usage().unwrap_or_default();
        alone.cluster.kill();
        let mut network = Network::start(peer, &host, place(nodes), options)?;
        std::thread::sleep(options.dht.rest);
        let before = loopback_bytes(&host)?;
        std::thread::sleep(options.dht.idle);
        let traffic = (loopback_bytes(&host)? - before) as f64 / options.dht.idle.as_secs_f64();
        let usage = network.cluster.usage().unwrap_or_default();
        let (name, more) = (peer.name(), usage.resident.saturating_sub(first.resident));
        table.add(name, RESIDENT, more as f64 / 1024.0 / (nodes - 1) as f64);
        table.add(name, THREADS, f64::from(usage.threads) / nodes as f64);
        table.add(name, IDLE, traffic / nodes as f64);
        let (operations, pushes) = (options.dht.operations, options.dht.pushes);
        let measured = network.measure(&format!("round{round}"), operations, pushes)?;
        for (row, samples) in measured {
            add_latencies(table, row, operations, &samples);
            add_quantiles(table, row, PUSH, &samples.push);
        }
        Ok(())
    })?;
    Ok(table)
}

fn dead(name: &'static str, nodes: usize, options: &Options) -> Result<Table, BenchError> {
    let title = format!("{nodes} nodes on loopback, a quarter of which was killed just before.");
    let mut table = Table::new(name, title, latency_columns());
    in_turns(options, &mut table, |round, peer, table| {
        let lab = Lab::new()?;
        let host = lab.host("loopback")?;
        let doomed = nodes / 4;
        let mut staying = Network::start(peer, &host, place(nodes - doomed), options)?;
        let place = Place {
            nodes: doomed,
            first_port: FIRST_PORT_OF_THE_DOOMED,
            bootstrap: Some(FIRST_PORT),
        };
        let doomed = Network::start(peer, &host, place, options)?;
        std::thread::sleep(SETTLE);
        // Without anything asked, those who stay would hardly know those who die.
        let operations = options.dht.operations_among_dead;
        staying.measure(&format!("before{round}"), operations, 0)?;
        doomed.cluster.kill();
        for (row, samples) in staying.measure(&format!("after{round}"), operations, 0)? {
            add_latencies(table, row, operations, &samples);
        }
        Ok(())
    })?;
    Ok(table)
}

fn place(nodes: usize) -> Place {
    Place {
        nodes,
        first_port: FIRST_PORT,
        bootstrap: None,
    }
}

/// Each peer in each round; one that fails is a note under the table.
fn in_turns(
    options: &Options,
    table: &mut Table,
    mut measure: impl FnMut(usize, Peer, &mut Table) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    for round in 0..options.rounds {
        for peer in Peer::ALL {
            match measure(round, peer, table) {
                Ok(()) => {}
                Err(BenchError::Lab(error)) => return Err(error.into()),
                Err(error) => table.note(format!("{}: {error}", peer.name())),
            }
        }
    }
    Ok(())
}

/// A network of one peer's nodes.
struct Network {
    peer: Peer,
    cluster: Cluster,
}

impl Network {
    fn start(peer: Peer, host: &Host, place: Place, options: &Options) -> Result<Self, BenchError> {
        let cluster = match peer {
            Peer::OpenDht => Cluster::opendht(host, place)?,
            Peer::Mainline => Cluster::mainline(host, place, tools(options)?)?,
            Peer::Dhtnet => Cluster::own(host, place)?,
        };
        Ok(Self { peer, cluster })
    }

    /// Samples by row.
    fn measure(
        &mut self,
        label: &str,
        operations: usize,
        pushes: usize,
    ) -> Result<Vec<(&'static str, Samples)>, BenchError> {
        let values = self.cluster.measure(label, operations, pushes)?;
        let mut rows = vec![(self.peer.name(), values)];
        if matches!(self.peer, Peer::Dhtnet) {
            let items = self.cluster.measure_items(label, operations)?;
            rows.push(("dhtnet, mutable items", items));
        }
        Ok(rows)
    }
}

fn tools(options: &Options) -> Result<&Tools, BenchError> {
    options.tools.as_ref().ok_or_else(|| BenchError::Missing {
        peer: "mainline".to_owned(),
        reason: "the tools are not built".to_owned(),
    })
}

fn add_latencies(table: &mut Table, row: &str, operations: usize, samples: &Samples) {
    for (number, list) in [&samples.put, &samples.first, &samples.get]
        .into_iter()
        .enumerate()
    {
        add_quantiles(table, row, 2 * number, list);
    }
    for (column, list) in [(6, &samples.put), (7, &samples.first)] {
        table.add(row, column, 100.0 * list.len() as f64 / operations as f64);
    }
}

/// Median and 95th percentile, in `column` and the next.
fn add_quantiles(table: &mut Table, row: &str, column: usize, samples: &[f64]) {
    for (column, sample) in [
        (column, median(samples)),
        (column + 1, quantile(samples, 0.95)),
    ] {
        if let Some(sample) = sample {
            table.add(row, column, sample);
        }
    }
}

/// Bytes that went over the loopback of `host`, headers included.
fn loopback_bytes(host: &Host) -> Result<u64, BenchError> {
    let table = host.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let received = table.lines().find_map(|line| {
        let (_, counters) = line.trim().split_once("lo:")?;
        counters.split_whitespace().next()?.parse().ok()
    });
    received.ok_or_else(|| PeerError::Io(std::io::Error::other("no counters of lo")).into())
}
