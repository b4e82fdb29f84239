//! Through relays, and from one path to another: our relay and coturn beside the direct path, in
//! turns.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::report::{Baseline, Column, Table};
use super::{BenchError, Options, mib_per_second};
use crate::device::{Device, Tools};
use crate::dht_peers::dhtnode::{Settings, command};
use crate::lab::{Command, Families, Host, INTERFACE, Lab, Lan, Process};
use crate::nat_router::{Nat, NatRouter};
use crate::payload::write_file;
use crate::turn_server::{PASSWORD, PORT, TurnServer};

/// Longest that one transfer may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The node that everybody enters by, and that relays.
const ENTRY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 0, 200, 1), 6881);

/// Nodes of the DHT: that many have to see a relay before it is announced.
const NODES: u8 = 6;

/// Slow enough that a transfer lasts while paths change, in megabits a second.
const SLOW: u32 = 200;

/// How often is looked how much has arrived.
const LOOK: Duration = Duration::from_millis(5);

/// A way to the other side.
#[derive(Debug, Clone, Copy)]
enum Way {
    Direct,
    Own,
    Coturn,
    CoturnTcp,
}

impl Way {
    const ALL: [Self; 4] = [Self::Direct, Self::Own, Self::Coturn, Self::CoturnTcp];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Own => "dhtnode run --relay",
            Self::Coturn => "coturn, UDP",
            Self::CoturnTcp => "coturn, TCP",
        }
    }

    /// What `dnc` is told.
    fn words(self, server: &TurnServer) -> Vec<String> {
        let words = match self {
            Self::Direct => return Vec::new(),
            Self::Own => vec!["--path".to_owned(), "relay".to_owned()],
            Self::Coturn => vec!["--turn".to_owned(), server.uri()],
            Self::CoturnTcp => vec![
                "--turn".to_owned(),
                format!("{}?transport=tcp", server.uri()),
            ],
        };
        let alone = ["--path".to_owned(), "relay".to_owned()];
        if matches!(self, Self::Own) {
            words
        } else {
            words.into_iter().chain(alone).collect()
        }
    }
}

/// Two devices behind port-restricted NATs, and both relays. Processes end first.
struct Place {
    listener: Device,
    caller: Device,
    server: TurnServer,
    _nodes: Vec<(Process, Host)>,
    routers: [NatRouter; 2],
    _outside: Lan,
    lab: Lab,
}

impl Place {
    fn new(tools: &Tools) -> Result<Self, BenchError> {
        let lab = Lab::new()?;
        let outside = lab.lan()?;
        let mut nodes = Vec::new();
        for number in 0..NODES {
            nodes.push(node(&lab, &outside, tools, number).map_err(other)?);
        }
        let router = |number| NatRouter::new(&lab, &outside, (Nat::PortRestricted, number));
        let routers = [router(1).map_err(other)?, router(2).map_err(other)?];
        let device = |at: usize| {
            let host = routers[at].inside(&lab, 10)?;
            Device::new(host, tools).map_err(other)
        };
        let (listener, caller) = (device(0)?, device(1)?);
        let server = TurnServer::start(&lab, &outside, (1, PORT), "").map_err(other)?;
        if let Some((relay, _)) = nodes.first_mut() {
            relay.await_line("that the relay can be found", LIMIT, |line| {
                line.contains("the relay is announced").then_some(())
            })?;
        }
        Ok(Self {
            listener,
            caller,
            server,
            _nodes: nodes,
            routers,
            _outside: outside,
            lab,
        })
    }

    fn dnc(device: &Device) -> Command {
        let entry = ENTRY.to_string();
        device
            .dnc()
            .lifetime(LIMIT)
            .env("DHTNET_TURN_PASSWORD", PASSWORD)
            .args(["-vv", "--no-mdns", "--no-portmap", "--bootstrap", &entry])
    }

    /// Starts a transfer of `size` bytes from the caller to the listener.
    fn begin(&self, size: u64, words: &[String]) -> Result<(Process, Process), BenchError> {
        let folder = self.lab.folder();
        let (sent, arrived): (PathBuf, PathBuf) = (folder.join("sent"), folder.join("arrived"));
        write_file(&sent, size, 7)?;
        let listener = Self::dnc(&self.listener)
            .args(["-l", "--allow", self.caller.id()])
            .args(words)
            .stdout_file(&arrived);
        let mut listener = self.listener.listen(listener).map_err(other)?;
        listener.await_line("that it can be found", LIMIT, |line| {
            line.contains("presence record stored").then_some(())
        })?;
        let caller = Self::dnc(&self.caller).args(words).arg(self.listener.id());
        let caller = caller.stdin_file(&sent).start()?;
        Ok((listener, caller))
    }

    /// Time from the first byte that arrives to the last.
    fn transfer(&self, way: Way, size: u64) -> Result<Duration, BenchError> {
        let (listener, mut caller) = self.begin(size, &way.words(&self.server))?;
        await_len(&listener, 1)?;
        let (begun, before) = (Instant::now(), listener.stdout_len());
        await_len(&listener, size)?;
        let took = begun.elapsed();
        caller.await_exit(LIMIT)?;
        // What was there when the clock started does not count.
        Ok(took.mul_f64(size as f64 / (size - before.min(size - 1)) as f64))
    }

    /// The longest time without data while `change` happens to a transfer that goes `words`' way.
    fn gap(
        &self,
        change: impl Fn(&Self) -> Result<(), BenchError>,
    ) -> Result<Duration, BenchError> {
        let words = ["--turn".to_owned(), self.server.uri()];
        let size = 60 << 20;
        let (listener, mut caller) = self.begin(size, &words)?;
        await_len(&listener, size / 4)?;
        change(self)?;
        let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
        while last < size {
            let len = listener.stdout_len();
            if len > last {
                longest = longest.max(since.elapsed());
                (last, since) = (len, Instant::now());
            }
            if since.elapsed() > LIMIT / 4 {
                return Err(io::Error::other(format!("nothing came: {}", caller.stderr())).into());
            }
            std::thread::sleep(LOOK);
        }
        caller.await_exit(LIMIT)?;
        Ok(longest)
    }

    fn cut(&self, from: usize) -> Result<(), BenchError> {
        let other_router = IpAddr::V4(Ipv4Addr::new(11, 0, 2 - from as u8, 101));
        self.routers[from].cut_off(&[other_router]).map_err(other)
    }

    fn join(&self) -> Result<(), BenchError> {
        let [one, two] = &self.routers;
        one.cut_off(&[]).and(two.cut_off(&[])).map_err(other)
    }

    /// Time from the moment when a direct path becomes possible until it is used.
    fn upgrade(&self) -> Result<Duration, BenchError> {
        self.cut(1)?;
        let words = ["--turn".to_owned(), self.server.uri()];
        let (listener, mut caller) = self.begin(60 << 20, &words)?;
        await_len(&listener, 15 << 20)?;
        self.join()?;
        let begun = Instant::now();
        caller.await_line("that the path is direct", LIMIT, |line| {
            (line.contains("another path") && line.contains("kind=\"direct\"")).then_some(())
        })?;
        let took = begun.elapsed();
        caller.await_exit(LIMIT)?;
        Ok(took)
    }
}

fn other(error: impl std::fmt::Display) -> BenchError {
    io::Error::other(error.to_string()).into()
}

fn await_len(listener: &Process, len: u64) -> Result<(), BenchError> {
    let begun = Instant::now();
    while listener.stdout_len() < len {
        if begun.elapsed() > LIMIT {
            let what = format!("only {} bytes came", listener.stdout_len());
            return Err(io::Error::other(what).into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn node(
    lab: &Lab,
    outside: &Lan,
    tools: &Tools,
    number: u8,
) -> Result<(Process, Host), Box<dyn std::error::Error>> {
    let host = lab.host("node")?;
    outside.attach(&host, Families::V4)?;
    let bind = SocketAddrV4::new(Ipv4Addr::new(11, 0, 200 + number, 1), ENTRY.port());
    let change = format!(
        "addr flush dev {INTERFACE}\naddr add {}/16 dev {INTERFACE}",
        bind.ip()
    );
    host.ip(&change)?;
    let settings = Settings {
        bind,
        bootstrap: (number > 0).then_some(ENTRY),
        network: None,
        home: &lab.folder().join(format!("node-{number}")),
    };
    let mut node = command(&host, tools, settings)?.arg("run");
    if number == 0 {
        let rates = ["--relay-rate", "10G", "--relay-total-rate", "10G"];
        node = node.arg("--relay").args(rates);
    }
    Ok((node.start()?, host))
}

fn tools(options: &Options, table: &mut Table) -> Option<Tools> {
    if options.tools.is_none() {
        table.note("the tools are not built");
    }
    options.tools.clone()
}

/// Throughput.
pub(super) fn run(options: &Options) -> Result<Table, BenchError> {
    let title = format!(
        "{} MiB between two port-restricted NATs, directly and through a relay, by `dnc`.",
        options.size >> 20
    );
    let columns = vec![Column::new("MiB/s", Baseline::Row("direct"), 0)];
    let mut table = Table::new("relay", title, columns);
    let Some(tools) = tools(options, &mut table) else {
        return Ok(table);
    };
    let place = Place::new(&tools)?;
    for _ in 0..options.rounds {
        for way in Way::ALL {
            match place.transfer(way, options.size) {
                Ok(time) => table.add(way.name(), 0, mib_per_second(options.size, time)),
                Err(error) => table.note(format!("{}: {error}", way.name())),
            }
        }
    }
    Ok(table)
}

/// Changes of the path.
pub(super) fn run_changes(options: &Options) -> Result<Table, BenchError> {
    let title = format!(
        "A transfer at {SLOW} Mbit/s between two port-restricted NATs with coturn as reserve: time until the new path is used (to direct), longest time without data (to the relay)."
    );
    let columns = vec![Column::new("ms", Baseline::None, 0)];
    let mut table = Table::new("path-change", title, columns);
    let Some(tools) = tools(options, &mut table) else {
        return Ok(table);
    };
    let place = Place::new(&tools)?;
    for router in &place.routers {
        router.set_rate(SLOW).map_err(other)?;
    }
    for _ in 0..options.rounds {
        let up = ("relay to direct", place.upgrade());
        let down = ("direct to relay", place.gap(|place| place.cut(1)));
        for (row, took) in [up, down] {
            match took {
                Ok(took) => table.add(row, 0, took.as_secs_f64() * 1000.0),
                Err(error) => table.note(format!("{row}: {error}")),
            }
        }
        place.join()?;
    }
    Ok(table)
}
