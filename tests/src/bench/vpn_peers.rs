//! What a `dvpn` server holds in memory for clients that are there and say nothing.

use std::time::Duration;

use super::report::{Baseline, Column, Table};
use super::{BenchError, Options};
use crate::device::{Device, Tools};
use crate::lab::{Families, Lab, Lan, Process};
use crate::payload::MIB;

/// Clients of the second figure.
const CLIENTS: usize = 100;

/// How long one client may take to be in the network, many others starting beside it.
const UP_LIMIT: Duration = Duration::from_secs(60);

/// No process lives longer.
const LIFETIME: Duration = Duration::from_secs(300);

/// Silence before memory is read: the handshakes' buffers are given back, and paths have been
/// measured.
const SETTLE: Duration = Duration::from_secs(10);

const PORT: u16 = 7000;

/// Ends clients first.
struct Office {
    clients: Vec<(Process, Device)>,
    serving: Process,
    _server: Device,
    _lan: Lan,
    _lab: Lab,
}

impl Office {
    fn new(tools: &Tools, clients: usize) -> Result<Self, BenchError> {
        let lab = Lab::new()?;
        let lan = lab.lan()?;
        let device = |name: &str| -> Result<Device, BenchError> {
            let host = lab.host(name)?;
            lan.attach(&host, Families::V4)?;
            Ok(Device::new(host, tools)?)
        };
        let server = device("server")?;
        let devices = (0..clients).map(|_| device("client"));
        let devices: Vec<Device> = devices.collect::<Result<_, _>>()?;
        let run = |device: &Device| {
            let command = device.host().command(tools.path("dvpn"));
            let words = ["--no-mdns", "--no-portmap"];
            device.with_home(command).args(words).lifetime(LIFETIME)
        };
        let is_up = |line: &str| line.contains("is up on").then_some(());
        let bind = format!("0.0.0.0:{PORT}");
        let allowed = devices.iter().flat_map(|client| ["--allow", client.id()]);
        let serving = run(&server).args(["-l", "--bind", &bind]).args(allowed);
        let mut serving = serving.start()?;
        serving.await_line("that the network is up", UP_LIMIT, is_up)?;
        let address = format!("{}@{}:{PORT}", server.id(), server.host().ipv4());
        let mut clients = Vec::new();
        for device in devices {
            clients.push((run(&device).arg(&address).start()?, device));
        }
        for (client, _) in &mut clients {
            client.await_line("that it is in the network", UP_LIMIT, is_up)?;
        }
        Ok(Self {
            clients,
            serving,
            _server: server,
            _lan: lan,
            _lab: lab,
        })
    }
}

/// The suite.
pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let title = format!("Resident memory of processes in a network of {CLIENTS} idle clients.");
    let columns = vec![
        Column::new("server with 1 client, MiB", Baseline::None, 1),
        Column::new(
            format!("server with {CLIENTS} clients, MiB"),
            Baseline::None,
            1,
        ),
        Column::new(format!("one of {CLIENTS} clients, MiB"), Baseline::None, 1),
    ];
    let mut table = Table::new("vpn-peers", title, columns);
    let tools = options.tools.as_ref();
    let Some(tools) = tools.filter(|tools| tools.path("dvpn").is_file()) else {
        table.note("dvpn is not built");
        return Ok(table);
    };
    for _ in 0..options.rounds {
        for (column, clients) in [(0, 1), (1, CLIENTS)] {
            let office = Office::new(tools, clients)?;
            std::thread::sleep(SETTLE);
            add(&mut table, column, &office.serving);
            if let Some((client, _)) = office.clients.last().filter(|_| clients > 1) {
                add(&mut table, 2, client);
            }
        }
    }
    Ok(table)
}

fn add(table: &mut Table, column: usize, process: &Process) {
    if let Some(usage) = process.usage() {
        table.add("dvpn", column, usage.resident as f64 / MIB as f64);
    }
}
