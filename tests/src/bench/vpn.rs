//! Through a tunnel between two hosts: `dvpn` beside wireguard-go, boringtun and OpenVPN, in turns,
//! by iperf3 and ping.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::report::{Baseline, Column, Table};
use super::{BenchError, Options};
use crate::device::{Device, Tools};
use crate::lab::{Command, Families, Host, Lab, Process};
use crate::ssh::find;

/// No measurement takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a tunnel may take to carry its first packet.
const UP_LIMIT: Duration = Duration::from_secs(20);

/// Where each peer listens on the first host.
const PORT: u16 = 7000;

/// Rates of datagrams, Mbit/s, and tries of each: one that the machine spoils decides nothing.
const RATES: [u32; 12] = [
    100, 200, 300, 400, 500, 600, 700, 800, 1_000, 1_200, 1_500, 2_000,
];
const TRIES: u32 = 3;

/// The interfaces of wireguard-go and boringtun have names unlike any other in all namespaces: their
/// control sockets share one folder.
fn interface(prefix: &str, side: usize) -> String {
    format!("{prefix}{}{side}", std::process::id() % 100_000)
}

/// Who makes the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    None,
    Dvpn,
    WireguardGo,
    Boringtun,
    OpenVpn,
}

impl Maker {
    const ALL: [Self; 5] = [
        Self::None,
        Self::Dvpn,
        Self::WireguardGo,
        Self::Boringtun,
        Self::OpenVpn,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "no tunnel",
            Self::Dvpn => "dvpn",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::OpenVpn => "OpenVPN",
        }
    }

    fn missing(self, reason: &str) -> BenchError {
        BenchError::Missing {
            peer: self.name().to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// Two hosts on a cable with offloads, and a tunnel between them. Processes end first.
struct Tunnel {
    processes: Vec<Process>,
    /// The first host's address in the tunnel.
    to: Ipv4Addr,
    hosts: [Host; 2],
    _lab: Lab,
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
                _lab: lab,
            }),
            Maker::Dvpn => {
                let tools = tools.ok_or_else(|| maker.missing("the tools are not built"))?;
                dvpn(lab, hosts, tools)
            }
            Maker::WireguardGo | Maker::Boringtun => wireguard(maker, lab, hosts),
            Maker::OpenVpn => openvpn(lab, hosts),
        }
    }

    /// Waits until the tunnel carries packets, and has found the size of its path.
    fn await_up(&self) -> Result<(), BenchError> {
        let ping = self.hosts[1].command("ping");
        let limit = UP_LIMIT.as_secs().to_string();
        let ping = ping.args(["-c", "5", "-i", "0.4", "-w", &limit]);
        let done = ping.arg(self.to.to_string()).start()?.finish(LIMIT)?;
        match done.code() {
            Some(0) => Ok(()),
            _ => Err(io::Error::other(format!("nothing passes: {}", self.said())).into()),
        }
    }

    fn said(&self) -> String {
        let said = self.processes.iter().map(Process::stderr);
        said.collect::<Vec<_>>().join("; ")
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

    /// Median round trip of small packets, microseconds.
    fn ping(&self) -> Result<f64, BenchError> {
        let ping = self.hosts[1].command("ping");
        let ping = ping.args(["-c", "200", "-i", "0.01", "-W", "1"]);
        let done = ping.arg(self.to.to_string()).start()?.finish(LIMIT)?;
        let mut times: Vec<f64> = done
            .text()
            .lines()
            .filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok())
            .collect();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2);
        let median = median.ok_or_else(|| io::Error::other("no answer to ping"))?;
        Ok(median * 1000.0)
    }

    /// The largest of some rates of datagrams of 1,200 bytes, Mbit/s, of which less than one in 200
    /// is lost in two of three tries.
    fn datagrams(&self) -> Result<f64, BenchError> {
        let mut best = 0.0;
        for rate in RATES {
            let mut failed = 0;
            for _ in 0..TRIES {
                failed += u32::from(!self.carries(rate)?);
            }
            if 2 * failed > TRIES {
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
        _lab: lab,
    })
}

/// What a program prints.
fn output(command: Command) -> Result<String, BenchError> {
    let done = command.start()?.finish(LIMIT)?;
    match done.code() {
        Some(0) => Ok(done.text()),
        _ => Err(other(done.stderr)),
    }
}

/// wireguard-go and boringtun are set up alike, by `wg`.
fn wireguard(maker: Maker, lab: Lab, hosts: [Host; 2]) -> Result<Tunnel, BenchError> {
    let (program, words): (&str, &[&str]) = match maker {
        Maker::Boringtun => ("boringtun-cli", &["-f", "--disable-drop-privileges"]),
        _ => ("wireguard-go", &["-f"]),
    };
    for needed in [program, "wg"] {
        find(needed).ok_or_else(|| maker.missing(&format!("{needed} is not installed")))?;
    }
    let keys = lab.folder().to_owned();
    let mut public = Vec::new();
    for (side, host) in hosts.iter().enumerate() {
        let secret = output(host.command("wg").arg("genkey"))?;
        std::fs::write(keys.join(format!("wg{side}")), &secret)?;
        let of_secret = host.command("wg").arg("pubkey").stdin_bytes(secret);
        public.push(output(of_secret)?.trim().to_owned());
    }
    let mut processes = Vec::new();
    let prefix = if maker == Maker::Boringtun {
        "bt"
    } else {
        "wg"
    };
    for (side, host) in hosts.iter().enumerate() {
        let name = interface(prefix, side);
        let command = host.command(program).args(words).arg(&name);
        let command = command
            .env("WG_PROCESS_FOREGROUND", "1")
            .lifetime(LIMIT * 5);
        processes.push(command.start()?);
        std::thread::sleep(Duration::from_millis(700));
        let key: PathBuf = keys.join(format!("wg{side}"));
        let set = host
            .command("wg")
            .args(["set", &name, "listen-port", &PORT.to_string()]);
        let set = set.args([
            "private-key",
            &key.to_string_lossy(),
            "peer",
            &public[1 - side],
        ]);
        let allowed = format!("10.99.0.{}/32", 2 - side);
        let end = format!("{}:{PORT}", hosts[1 - side].ipv4());
        output(set.args(["allowed-ips", &allowed, "endpoint", &end]))?;
        let own = side + 1;
        host.ip(&format!(
            "addr add 10.99.0.{own}/24 dev {name}\nlink set {name} mtu 1420 up"
        ))?;
    }
    Ok(Tunnel {
        processes,
        to: Ipv4Addr::new(10, 99, 0, 1),
        hosts,
        _lab: lab,
    })
}

/// With TLS for the keys and AES-128-GCM for the packets, which it is fastest with here.
fn openvpn(lab: Lab, hosts: [Host; 2]) -> Result<Tunnel, BenchError> {
    for needed in ["openvpn", "openssl"] {
        let missing = || Maker::OpenVpn.missing(&format!("{needed} is not installed"));
        find(needed).ok_or_else(missing)?;
    }
    let mut ends = Vec::new();
    for host in &hosts {
        ends.push(End::new(host, lab.folder())?);
    }
    let mut processes = Vec::new();
    for (side, host) in hosts.iter().enumerate() {
        let (own, peer) = (
            format!("10.98.0.{}", side + 1),
            format!("10.98.0.{}", 2 - side),
        );
        let role = ["--tls-server", "--tls-client"][side];
        let command = host.command("openvpn").args(["--dev", "tun", role]);
        let command = command.args(["--ifconfig", &own, &peer, "--dh", "none"]);
        let remote = hosts[1 - side].ipv4().to_string();
        let command = command.args(["--remote", &remote, "--port", &PORT.to_string()]);
        let command = command.args(["--data-ciphers", "AES-128-GCM"]);
        let command = command.arg("--cert").arg(&ends[side].certificate);
        let command = command.arg("--key").arg(&ends[side].key);
        let command = command.args(["--peer-fingerprint", &ends[1 - side].fingerprint]);
        processes.push(command.lifetime(LIMIT * 5).start()?);
    }
    Ok(Tunnel {
        processes,
        to: Ipv4Addr::new(10, 98, 0, 1),
        hosts,
        _lab: lab,
    })
}

/// What one end of OpenVPN shows.
struct End {
    certificate: PathBuf,
    key: PathBuf,
    fingerprint: String,
}

impl End {
    fn new(host: &Host, folder: &Path) -> Result<Self, BenchError> {
        let (certificate, key) = (
            folder.join(format!("openvpn-{}.crt", host.name())),
            folder.join(format!("openvpn-{}.key", host.name())),
        );
        let make = host.command("openssl").args(["req", "-x509", "-nodes"]);
        let make = make.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        let make = make.args(["-subj", "/CN=end", "-days", "2", "-keyout"]);
        output(make.arg(&key).arg("-out").arg(&certificate))?;
        let ask = host.command("openssl").args(["x509", "-noout", "-sha256"]);
        let told = output(ask.arg("-fingerprint").arg("-in").arg(&certificate))?;
        let (_, fingerprint) = told
            .trim()
            .split_once('=')
            .ok_or_else(|| other("no fingerprint"))?;
        Ok(Self {
            certificate,
            key,
            fingerprint: fingerprint.to_owned(),
        })
    }
}

/// The suite.
pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let title = "One tunnel between two hosts, MTU 1500: TCP by iperf3 up and down, processor time of both \
                 ends, datagrams of 1,200 bytes with less than 0.5 % lost in two of three tries, ping, memory.";
    let ratio = || Baseline::Row("wireguard-go");
    let columns = vec![
        Column::new("TCP up, Gbit/s", ratio(), 2),
        Column::new("TCP down, Gbit/s", ratio(), 2),
        Column::new("CPU s/GiB", Baseline::None, 2),
        Column::new("UDP, Mbit/s", Baseline::None, 0),
        Column::new("ping p50, µs", Baseline::None, 0),
        Column::new("RSS, MiB", Baseline::None, 1),
    ];
    let mut table = Table::new("vpn", title.to_owned(), columns);
    if find("iperf3").is_none() {
        table.note("iperf3 is not installed");
        return Ok(table);
    }
    let seconds = if options.rounds > 1 { "5" } else { "2" };
    for _ in 0..options.rounds {
        for maker in Maker::ALL {
            let measured = Tunnel::new(maker, options.tools.as_ref())
                .and_then(|tunnel| measure(&tunnel, (maker.name(), seconds), &mut table));
            if let Err(error) = measured {
                table.note(match error {
                    BenchError::Missing { .. } => error.to_string(),
                    error => format!("{}: {error}", maker.name()),
                });
            }
        }
    }
    Ok(table)
}

fn measure(
    tunnel: &Tunnel,
    (row, seconds): (&'static str, &str),
    table: &mut Table,
) -> Result<(), BenchError> {
    tunnel.await_up()?;
    table.add(row, 4, tunnel.ping()?);
    let (up, per_gib) = tunnel.tcp(&[], seconds)?;
    table.add(row, 0, up);
    if let Some(per_gib) = per_gib {
        table.add(row, 2, per_gib);
    }
    table.add(row, 1, tunnel.tcp(&["-R"], seconds)?.0);
    table.add(row, 3, tunnel.datagrams()?);
    if let Some(resident) = tunnel.resident_mib() {
        table.add(row, 5, resident);
    }
    Ok(())
}
