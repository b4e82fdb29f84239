//! Through relays, and from one path to another: our relay and coturn beside the direct path, in
//! turns.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::report::{Baseline, Column, Table};
use super::{BenchError, Options, mib_per_second};
use crate::device::{Device, Tools, await_found};
use crate::dht_peers::dhtnode::{Settings, command};
use crate::lab::{Command, Families, Host, INTERFACE, Lab, Lan, Process};
use crate::nat_router::{Nat, NatRouter};
use crate::payload::write_file;
use crate::turn_server::{PASSWORD, PORT, TurnServer};

/// Longest that a process may take to get ready: to be found, to be announced, to end.
const START: Duration = Duration::from_secs(20);

/// The least that anything here carries, in MiB a second: what comes slower does not come.
const LEAST_RATE: u64 = 8;

/// Longest that a measurement takes in each round, beside what its bytes may take at that rate.
const ROUND: Duration = Duration::from_secs(70);

/// The node that everybody enters by, and that relays.
const ENTRY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 0, 200, 1), 6881);

/// Nodes of the DHT: that many have to see a relay before it is announced.
const NODES: u8 = 6;

/// Slow enough that a transfer lasts while paths change, in megabits a second.
const SLOW: u32 = 200;

/// The most that is sent in one transfer: tools that are left over end by then.
const FULL: u64 = 4 << 30;

/// How often is looked how much has arrived.
const LOOK: Duration = Duration::from_millis(5);

/// Bytes of a transfer during which a path changes: three quarters of it are left then, at [`SLOW`] two
/// seconds for a reserve that is there, and six for a path that has to be found.
const WITH_RESERVE: u64 = 60 << 20;
const WITHOUT: u64 = 200 << 20;

/// Time that is left: every wait ends with it, so that a measurement that fails ends too.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ends: Instant,
}

impl Clock {
    /// For this many rounds, of so many transfers of `size` bytes each.
    fn new(rounds: usize, transfers: u32, size: u64) -> Self {
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
        let span = (ROUND + carried(size) * transfers).saturating_mul(rounds);
        Self {
            ends: Instant::now() + span,
        }
    }

    /// What is left of `limit`.
    fn within(self, limit: Duration) -> Duration {
        limit.min(self.ends.saturating_duration_since(Instant::now()))
    }

    fn is_over(self) -> bool {
        self.within(START).is_zero()
    }
}

/// Longest that so many bytes are on their way.
fn carried(size: u64) -> Duration {
    Duration::from_secs(1 + (size >> 20) / LEAST_RATE)
}

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

    /// What the caller is told. The listener is told nothing: with `--path relay` it would not be
    /// announced, and the caller's relay serves both.
    fn words(self, server: &TurnServer) -> Vec<String> {
        let alone = ["--path".to_owned(), "relay".to_owned()];
        let uri = match self {
            Self::Direct => return Vec::new(),
            Self::Own => return alone.to_vec(),
            Self::Coturn => server.uri(),
            Self::CoturnTcp => format!("{}?transport=tcp", server.uri()),
        };
        let turn = ["--turn".to_owned(), uri];
        turn.into_iter().chain(alone).collect()
    }
}

/// Two devices behind port-restricted NATs, and both relays. Processes end first.
struct Place {
    listener: Device,
    caller: Device,
    server: TurnServer,
    nodes: Vec<(Process, Host)>,
    routers: [NatRouter; 2],
    _outside: Lan,
    lab: Lab,
    clock: Clock,
}

impl Place {
    fn new(tools: &Tools, clock: Clock) -> Result<Self, BenchError> {
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
        Ok(Self {
            listener,
            caller,
            server,
            nodes,
            routers,
            _outside: outside,
            lab,
            clock,
        })
    }

    /// Waits until our relay can be found.
    fn await_relay(&mut self) -> Result<(), BenchError> {
        let limit = self.clock.within(START);
        if let Some((relay, _)) = self.nodes.first_mut() {
            relay.await_line("that the relay can be found", limit, |line| {
                line.contains("the relay is announced").then_some(())
            })?;
        }
        Ok(())
    }

    fn dnc(device: &Device) -> Command {
        let entry = ENTRY.to_string();
        device
            .dnc()
            .lifetime(START + carried(FULL))
            .env("DHTNET_TURN_PASSWORD", PASSWORD)
            .args(["-vv", "--no-mdns", "--no-portmap", "--bootstrap", &entry])
    }

    /// Starts a transfer of `size` bytes from the caller to the listener, each told these words.
    fn begin(
        &self,
        size: u64,
        (callers, listeners): (&[String], &[String]),
    ) -> Result<(Process, Process), BenchError> {
        let folder = self.lab.folder();
        let (sent, arrived): (PathBuf, PathBuf) = (folder.join("sent"), folder.join("arrived"));
        write_file(&sent, size, 7)?;
        let listener = Self::dnc(&self.listener)
            .args(["-l", "--allow", self.caller.id()])
            .args(listeners)
            .stdout_file(&arrived);
        let mut listener = self.listener.listen(listener).map_err(other)?;
        let limit = self.clock.within(START);
        await_found(&mut listener, limit)?;
        let caller = Self::dnc(&self.caller).args(callers);
        let caller = caller.arg(self.listener.id());
        let caller = caller.stdin_file(&sent).start()?;
        Ok((listener, caller))
    }

    /// Waits until so many bytes are there.
    fn await_len(&self, (listener, caller): (&Process, &Process), len: u64) -> io::Result<()> {
        let limit = self.clock.within(START + carried(len));
        let begun = Instant::now();
        while listener.stdout_len() < len {
            if begun.elapsed() >= limit {
                let (came, said) = (listener.stdout_len(), last_line(caller));
                let what = format!("{came} of {len} bytes came in {limit:.0?}; {said}");
                return Err(io::Error::other(what));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Time from the first byte that arrives to the last.
    fn transfer(&self, way: Way, size: u64) -> Result<Duration, BenchError> {
        let (listener, mut caller) = self.begin(size, (&way.words(&self.server), &[]))?;
        self.await_len((&listener, &caller), 1)?;
        let (begun, before) = (Instant::now(), listener.stdout_len());
        self.await_len((&listener, &caller), size)?;
        let took = begun.elapsed();
        caller.await_exit(self.clock.within(START))?;
        // What was there when the clock started does not count.
        Ok(took.mul_f64(size as f64 / (size - before.min(size - 1)) as f64))
    }

    /// The longest time without data while the direct path ends.
    fn fall_back(&self) -> Result<Duration, BenchError> {
        let words = ["--turn".to_owned(), self.server.uri()];
        let size = WITH_RESERVE;
        let (listener, mut caller) = self.begin(size, (&words, &words))?;
        self.await_len((&listener, &caller), size / 4)?;
        self.cut(1)?;
        let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
        while last < size {
            let len = listener.stdout_len();
            if len > last {
                longest = longest.max(since.elapsed());
                (last, since) = (len, Instant::now());
            }
            if since.elapsed() >= self.clock.within(START) {
                let what = format!("nothing came for {START:?}; {}", last_line(&caller));
                return Err(io::Error::other(what).into());
            }
            std::thread::sleep(LOOK);
        }
        self.await_path(&mut caller, "relayed")?;
        caller.await_exit(self.clock.within(START))?;
        Ok(longest)
    }

    /// Waits until the caller has said that its path is of this kind now.
    fn await_path(&self, caller: &mut Process, kind: &str) -> Result<(), BenchError> {
        let told = format!("kind=\"{kind}\"");
        let limit = self.clock.within(START);
        caller.await_line(&format!("that the path is {kind}"), limit, |line| {
            (line.contains("another path") && line.contains(&told)).then_some(())
        })?;
        Ok(())
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
        let (listener, mut caller) = self.begin(WITHOUT, (&words, &words))?;
        self.await_len((&listener, &caller), WITHOUT / 4)?;
        self.join()?;
        let begun = Instant::now();
        self.await_path(&mut caller, "direct")?;
        let took = begun.elapsed();
        self.await_len((&listener, &caller), WITHOUT)?;
        caller.await_exit(self.clock.within(START))?;
        Ok(took)
    }
}

/// What a process said last.
fn last_line(process: &Process) -> String {
    let said = process.stderr();
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it says nothing").to_owned()
}

fn other(error: impl std::fmt::Display) -> BenchError {
    io::Error::other(error.to_string()).into()
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

/// Notes under the table what failed: the first line, for a process's last words are many.
fn note(table: &mut Table, row: &str, error: &BenchError) {
    let error = error.to_string();
    table.note(format!(
        "{row}: {}",
        error.lines().next().unwrap_or_default()
    ));
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
    let ways = Way::ALL.len() as u32;
    let clock = Clock::new(options.rounds, ways, options.size);
    let mut place = Place::new(&tools, clock)?;
    if let Err(error) = place.await_relay() {
        note(&mut table, Way::Own.name(), &error);
    }
    for _ in 0..options.rounds {
        for way in Way::ALL {
            if clock.is_over() {
                table.note(format!("{}: no time is left", way.name()));
                continue;
            }
            match place.transfer(way, options.size) {
                Ok(time) => table.add(way.name(), 0, mib_per_second(options.size, time)),
                Err(error) => note(&mut table, way.name(), &error),
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
    let place = Place::new(
        &tools,
        Clock::new(options.rounds, 1, WITHOUT + WITH_RESERVE),
    )?;
    for router in &place.routers {
        router.set_rate(SLOW).map_err(other)?;
    }
    for _ in 0..options.rounds {
        let up = ("relay to direct", place.upgrade());
        let down = ("direct to relay", place.fall_back());
        for (row, took) in [up, down] {
            match took {
                Ok(took) => table.add(row, 0, took.as_secs_f64() * 1000.0),
                Err(error) => note(&mut table, row, &error),
            }
        }
        place.join()?;
    }
    Ok(table)
}
