//! Through a tunnel between two hosts: `dvpn` beside wireguard-go with and without offloads, boringtun
//! and OpenVPN, in turns, by iperf3 and ping.

mod openvpn;
mod wireguard;

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::wireguard::Program;
use super::report::{Baseline, Column, Table, quantile};
use super::{BenchError, Options};
use crate::device::{Device, Tools};
use crate::lab::{Command, Families, Host, Lab, Process};
use crate::ssh::find;

/// No measurement takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a tunnel may take to carry its first packet.
const UP_LIMIT: Duration = Duration::from_secs(20);

/// From the first packet on, until paths have been measured.
const SETTLE: Duration = Duration::from_secs(2);

/// Where each peer listens on the first host.
const PORT: u16 = 7000;

/// Rates of datagrams, Mbit/s, and tries of each: one that the machine spoils decides nothing.
const RATES: [u32; 12] = [
    100, 200, 300, 400, 500, 600, 700, 800, 1_000, 1_200, 1_500, 2_000,
];
const TRIES: u32 = 3;

/// Tunnels of which the round trips of one round are taken.
const PING_ROUNDS: usize = 5;

/// Between two looks at whether something has come up.
const POLL: Duration = Duration::from_millis(50);

/// Who makes the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    None,
    Dvpn,
    OffloadingWireguardGo,
    WireguardGo,
    Boringtun,
    OpenVpn,
}

impl Maker {
    const ALL: [Self; 6] = [
        Self::None,
        Self::Dvpn,
        Self::OffloadingWireguardGo,
        Self::WireguardGo,
        Self::Boringtun,
        Self::OpenVpn,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "no tunnel",
            Self::Dvpn => "dvpn",
            Self::OffloadingWireguardGo => "wireguard-go with offloads",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::OpenVpn => "OpenVPN",
        }
    }

    fn missing(self, reason: impl Into<String>) -> BenchError {
        BenchError::Missing {
            peer: self.name().to_owned(),
            reason: reason.into(),
        }
    }

    /// Which of the foreign programs, in which version; `None` when it is not there or none is needed.
    fn version(self, tools: Option<&Tools>) -> Option<String> {
        match self {
            Self::None | Self::Dvpn => None,
            Self::OpenVpn => openvpn::version(),
            _ => Program::find(self, tools).ok().map(|found| found.version),
        }
    }
}

/// Two hosts on a cable with offloads, and a tunnel between them. Processes end first.
struct Tunnel {
    processes: Vec<Process>,
    /// The first host's address in the tunnel.
    to: Ipv4Addr,
    hosts: [Host; 2],
    /// Control sockets, which a killed process leaves behind.
    sockets: Vec<PathBuf>,
    _lab: Lab,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for socket in &self.sockets {
            let _ = std::fs::remove_file(socket);
        }
    }
}

impl Tunnel {
    fn new(maker: Maker, tools: Option<&Tools>) -> Result<Self, BenchError> {
        let lab = Lab::new()?;
        let hosts = [lab.host("a")?, lab.host("b")?];
        lab.cable(&hosts[0], &hosts[1], Families::V4)?;
        match maker {
            Maker::None => Ok(Self {
                to: hosts[0].ipv4(),
                processes: Vec::new(),
                hosts,
                sockets: Vec::new(),
                _lab: lab,
            }),
            Maker::Dvpn => {
                let tools = tools.ok_or_else(|| maker.missing("the tools are not built"))?;
                dvpn(lab, hosts, tools)
            }
            Maker::OffloadingWireguardGo | Maker::WireguardGo | Maker::Boringtun => {
                wireguard::tunnel(&Program::find(maker, tools)?, lab, hosts)
            }
            Maker::OpenVpn => openvpn::tunnel(lab, hosts),
        }
    }

    /// Waits until the tunnel carries packets, and has found the size of its path.
    fn await_up(&self) -> Result<(), BenchError> {
        let begun = Instant::now();
        loop {
            // Without a route yet it fails at once.
            let ping = self.hosts[1].command("ping").args(["-c", "1", "-W", "1"]);
            let done = ping.arg(self.to.to_string()).start()?.finish(LIMIT)?;
            if done.code() == Some(0) {
                break;
            }
            if begun.elapsed() > UP_LIMIT {
                return Err(other(format!(
                    "nothing passes: {}",
                    self.last_words().join("; ")
                )));
            }
            std::thread::sleep(POLL);
        }
        std::thread::sleep(SETTLE);
        Ok(())
    }

    /// The last line of each process.
    fn last_words(&self) -> Vec<String> {
        let said = self.processes.iter().flat_map(|process| {
            let streams = [process.stdout(), process.stderr()];
            streams.map(|text| text.lines().last().map(str::to_owned))
        });
        said.flatten().collect()
    }

    fn iperf(&self, words: &[&str]) -> Result<serde_json::Value, BenchError> {
        let server = self.hosts[0].command("iperf3").args(["-s", "-1", "-J"]);
        let _server = server.lifetime(LIMIT).start()?;
        // It says nothing when it is ready.
        std::thread::sleep(Duration::from_millis(300));
        let client = self.hosts[1].command("iperf3").args(["-J", "-c"]);
        let client = client.arg(self.to.to_string()).args(words);
        let told = client.lifetime(LIMIT).start()?.finish(LIMIT)?;
        let told: serde_json::Value =
            serde_json::from_str(&told.text()).map_err(io::Error::other)?;
        match told["error"].as_str() {
            None => Ok(told),
            Some(error) => Err(io::Error::other(error.to_owned()).into()),
        }
    }

    /// Gbit/s of one TCP connection, and processor seconds of both ends for each GiB.
    fn tcp(&self, words: &[&str], seconds: &str) -> Result<(f64, Option<f64>), BenchError> {
        let before = self.processor_time();
        let told = self.iperf(&[&["-t", seconds], words].concat())?;
        let after = self.processor_time();
        let sum = &told["end"]["sum_received"];
        let (bits, bytes) = (sum["bits_per_second"].as_f64(), sum["bytes"].as_f64());
        let (bits, bytes) = bits
            .zip(bytes)
            .ok_or_else(|| io::Error::other("no result"))?;
        let gib = bytes / f64::from(1 << 30);
        let used = (after - before).as_secs_f64();
        let per_gib = (!self.processes.is_empty() && gib > 0.0).then(|| used / gib);
        Ok((bits / 1e9, per_gib))
    }

    fn processor_time(&self) -> Duration {
        let usage = self.processes.iter().filter_map(Process::usage);
        usage.map(|usage| usage.cpu).sum()
    }

    fn resident_mib(&self) -> Option<f64> {
        let usage = self.processes.iter().filter_map(Process::usage);
        let most = usage.map(|usage| usage.resident).max()?;
        Some(most as f64 / f64::from(1 << 20))
    }

    /// Round trips of small packets, microseconds.
    fn ping(&self) -> Result<Vec<f64>, BenchError> {
        let ping = self.hosts[1].command("ping");
        let ping = ping.args(["-c", "200", "-i", "0.01", "-W", "1"]);
        let done = ping.arg(self.to.to_string()).start()?.finish(LIMIT)?;
        let text = done.text();
        let times = text
            .lines()
            .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok());
        Ok(times.map(|time: f64| time * 1000.0).collect())
    }

    /// The largest of some rates of datagrams of 1,200 bytes, Mbit/s, of which less than one in 200
    /// is lost in two of three tries.
    fn datagrams(&self) -> Result<f64, BenchError> {
        let mut best = 0.0;
        for rate in RATES {
            let (mut passed, mut failed) = (0, 0);
            while 2 * passed <= TRIES && 2 * failed <= TRIES {
                match self.carries(rate)? {
                    true => passed += 1,
                    false => failed += 1,
                }
            }
            if passed < failed {
                break;
            }
            best = f64::from(rate);
        }
        Ok(best)
    }

    /// Whether datagrams at this rate, Mbit/s, are sent and arrive.
    fn carries(&self, rate: u32) -> Result<bool, BenchError> {
        let wanted = format!("{rate}M");
        let told = self.iperf(&["-u", "-l", "1200", "-t", "2", "-b", &wanted])?;
        let sum = &told["end"]["sum"];
        let lost = sum["lost_percent"].as_f64().unwrap_or(100.0);
        let sent = sum["bits_per_second"].as_f64().unwrap_or_default() / 1e6;
        Ok(lost <= 0.5 && sent >= 0.9 * f64::from(rate))
    }
}

fn other(error: impl std::fmt::Display) -> BenchError {
    io::Error::other(error.to_string()).into()
}

fn dvpn(lab: Lab, [a, b]: [Host; 2], tools: &Tools) -> Result<Tunnel, BenchError> {
    if !tools.path("dvpn").is_file() {
        return Err(Maker::Dvpn.missing("dvpn is not built"));
    }
    let bind = format!("0.0.0.0:{PORT}");
    let devices = (Device::new(a, tools)?, Device::new(b, tools)?);
    let run = |device: &Device| -> Command {
        let command = device.host().command(tools.path("dvpn"));
        let words = ["--no-mdns", "--no-portmap"];
        device.with_home(command).args(words).lifetime(LIMIT * 5)
    };
    let (server, client) = &devices;
    let serving = run(server).args(["-l", "--bind", &bind, "--allow", client.id()]);
    let mut serving = serving.start()?;
    let is_up = |line: &str| line.contains("is up on").then_some(());
    serving.await_line("that the network is up", UP_LIMIT, is_up)?;
    let address = format!("{}@{}:{PORT}", server.id(), server.host().ipv4());
    let mut joined = run(client).arg(address).start()?;
    joined.await_line("that the network is up", UP_LIMIT, is_up)?;
    Ok(Tunnel {
        processes: vec![joined, serving],
        to: Ipv4Addr::new(10, 80, 77, 1),
        hosts: [devices.0.into_host(), devices.1.into_host()],
        sockets: Vec::new(),
        _lab: lab,
    })
}

/// Waits until a process shows that it is ready.
fn await_sign(
    process: &mut Process,
    is_ready: impl Fn(&Process) -> bool,
) -> Result<(), BenchError> {
    let begun = Instant::now();
    while !is_ready(process) {
        if process.poll_exit()?.is_some() || begun.elapsed() > UP_LIMIT {
            let said = format!("{}{}", process.stdout(), process.stderr());
            let last = said.lines().last().unwrap_or("it said nothing");
            return Err(other(format!("it does not come up: {last}")));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// What a program prints.
fn output(command: Command) -> Result<String, BenchError> {
    let done = command.start()?.finish(LIMIT)?;
    match done.code() {
        Some(0) => Ok(done.text()),
        _ => Err(other(done.stderr)),
    }
}

/// The suite.
pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let title = "One tunnel between two hosts, MTU 1500: TCP by iperf3 up and down, processor time of both \
                 ends, datagrams of 1,200 bytes with less than 0.5 % lost in two of three tries, memory.";
    let tools = options.tools.as_ref();
    let ratio = || Baseline::Row(wireguard_go(tools).name());
    let columns = vec![
        Column::new("TCP up, Gbit/s", ratio(), 2),
        Column::new("TCP down, Gbit/s", ratio(), 2),
        Column::new("CPU s/GiB", ratio(), 2),
        Column::new("UDP, Mbit/s", ratio(), 0),
        Column::new("RSS, MiB", Baseline::None, 1),
    ];
    let mut table = Table::new("vpn", title.to_owned(), columns);
    if find("iperf3").is_none() {
        table.note("iperf3 is not installed");
        return Ok(table);
    }
    let seconds = if options.rounds > 1 { "5" } else { "2" };
    in_turns(options.rounds, tools, &mut table, |tunnel, row, table| {
        measure(tunnel, (row, seconds), table)
    });
    Ok(table)
}

/// The suite of round trips. Each tunnel is made anew for each of many rounds: on which processors
/// its processes come to run decides about as much as the program does.
pub(super) fn run_ping(options: &Options) -> Result<Table, BenchError> {
    let tools = options.tools.as_ref();
    let ratio = || Baseline::Row(Maker::OpenVpn.name());
    let rounds = options.rounds * PING_ROUNDS;
    let mut table = Table::new(
        "vpn-ping",
        format!(
            "Small packets through a tunnel, 200 in each of {rounds} rounds of a new tunnel, 10 ms apart: medians of \
             the rounds."
        ),
        vec![
            Column::new("p50, µs", ratio(), 0),
            Column::new("p90, µs", ratio(), 0),
        ],
    );
    in_turns(rounds, tools, &mut table, |tunnel, row, table| {
        let times = tunnel.ping()?;
        for (column, share) in [0.5, 0.9].into_iter().enumerate() {
            let time = quantile(&times, share);
            let time = time.ok_or_else(|| io::Error::other("no answer to ping"))?;
            table.add(row, column, time);
        }
        Ok(())
    });
    Ok(table)
}

/// The wireguard-go that others are compared with.
fn wireguard_go(tools: Option<&Tools>) -> Maker {
    match Program::find(Maker::OffloadingWireguardGo, tools) {
        Ok(_) => Maker::OffloadingWireguardGo,
        Err(_) => Maker::WireguardGo,
    }
}

/// Measures all makers' tunnels in turns, and names their versions.
fn in_turns(
    rounds: usize,
    tools: Option<&Tools>,
    table: &mut Table,
    measure: impl Fn(&Tunnel, &'static str, &mut Table) -> Result<(), BenchError>,
) {
    for _ in 0..rounds {
        for maker in Maker::ALL {
            let measured = Tunnel::new(maker, tools).and_then(|tunnel| {
                tunnel.await_up()?;
                measure(&tunnel, maker.name(), table)
            });
            if let Err(error) = measured {
                table.note(match error {
                    BenchError::Missing { .. } => error.to_string(),
                    error => format!("{}: {error}", maker.name()),
                });
            }
        }
    }
    let versions = Maker::ALL.into_iter().filter_map(|maker| {
        let version = maker.version(tools)?;
        Some(format!("{} {version}", maker.name()))
    });
    let versions: Vec<String> = versions.collect();
    if !versions.is_empty() {
        table.note(format!("Versions: {}.", versions.join(", ")));
    }
}

fn measure(
    tunnel: &Tunnel,
    (row, seconds): (&'static str, &str),
    table: &mut Table,
) -> Result<(), BenchError> {
    let (up, per_gib) = tunnel.tcp(&[], seconds)?;
    table.add(row, 0, up);
    if let Some(per_gib) = per_gib {
        table.add(row, 2, per_gib);
    }
    table.add(row, 1, tunnel.tcp(&["-R"], seconds)?.0);
    table.add(row, 3, tunnel.datagrams()?);
    if let Some(resident) = tunnel.resident_mib() {
        table.add(row, 4, resident);
    }
    Ok(())
}
