//! One transfer both ways between two devices, and everything that is measured of it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ChildStdout;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::expected::{self, Path};
use super::meter::EntryMeter;
use super::street::{ENTRY, RELAY, Street, WITHOUT_UDP};
use super::{GridError, Kind, Place, Places, PortMapping};
use crate::device::{Tools, await_found};
use crate::lab::{Finished, Process};
use crate::nat_router::NatRouter;
use crate::payload::Stream;

/// No process of a trial runs longer.
const LIMIT: Duration = Duration::from_secs(45);

/// How long a caller may try, as `-w` takes it: half as long again as the longest goal.
const CALL_SECONDS: &str = "15";

/// How long a device may take until it can be found.
const READY: Duration = Duration::from_secs(20);

/// How long a listener may take to have a port mapped: a search by UPnP takes up to three seconds.
const MAP_LIMIT: Duration = Duration::from_secs(8);

/// How long a connection that began over a relay is given to get a direct path.
const BETTER: Duration = Duration::from_secs(12);

/// How long nothing may leave a router after a device has given up, and after it has ended.
const SILENCE: Duration = Duration::from_secs(5);

/// How long it is counted what devices still try directly over whose connection a relay carries, and
/// who have given up: a second less than the first rung of the ladder of retries.
const OVER_RELAY: Duration = Duration::from_secs(4);

/// How long a device may take until it has given up: five seconds of checks, ten of many ports.
const GIVING_UP: Duration = Duration::from_secs(20);

/// How often it is looked whether a device has given up.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes each way: more than a flight, so that the path carries a conversation.
const PAYLOAD: usize = 64 << 10;

/// One pair, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// What the listener is behind, and what the caller is.
    pub kinds: [Kind; 2],
    /// Whether their routers map ports.
    pub mapping: PortMapping,
}

/// The path of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From device to device.
    Direct,
    /// Through a relay.
    Relayed,
}

impl Way {
    /// What a line of `dnc -vv` says of it. An address of the relay is one of the relay's, also
    /// where it was the other side that asked for it.
    fn of(line: &str) -> Option<Self> {
        let (kind, address) = if let Some((_, way)) = line.split_once(" via ") {
            let mut words = way.split_whitespace();
            (words.next()?, words.next()?)
        } else {
            let (_, change) = line.split_once("another path ")?;
            let value = |key: &str| {
                let mut words = change.split_whitespace();
                let value = words.find_map(|word| word.strip_prefix(key));
                value.map(|value| value.trim_matches('"'))
            };
            (value("kind=")?, value("to=")?)
        };
        let address: SocketAddr = address.parse().ok()?;
        match kind {
            "relayed" => Some(Self::Relayed),
            "direct" | "lan" if address.ip() == IpAddr::V4(*ENTRY.ip()) => Some(Self::Relayed),
            "direct" | "lan" => Some(Self::Direct),
            _ => None,
        }
    }
}

/// What came of a trial.
#[derive(Debug)]
pub struct Measured {
    /// The path in the end; `None` when there was none.
    pub way: Option<Way>,
    /// From the start of the caller's process to the first byte of the listener.
    pub first_byte: Option<Duration>,
    /// From the start of the caller's process until a direct path was in use.
    pub direct: Option<Duration>,
    /// Both payloads arrived whole, and both processes ended well.
    pub is_whole: bool,
    /// The caller's exit code.
    pub exit: Option<i32>,
    /// The most entries that one router had at once: those of the DHT as well.
    pub entries: u32,
    /// Packets that a router let out towards the other side in the five seconds after both had
    /// given up and had no connection; `None` where they had one.
    pub after_giving_up: Option<u64>,
    /// Packets a second that both routers together let out towards each other after both had given
    /// up to find a direct path, and were connected through a relay.
    pub hoping: Option<f64>,
    /// Packets that left the routers in the five seconds after both processes had ended.
    pub after_exit: u64,
    /// Ports that are still mapped after that.
    pub left: Vec<String>,
    /// What both said.
    pub said: String,
}

impl Measured {
    /// All figures.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        json!({
            "path": self.way.map(|way| match way {
                Way::Direct => "direct",
                Way::Relayed => "relayed",
            }),
            "first_byte_ms": millis(self.first_byte),
            "direct_ms": millis(self.direct),
            "whole": self.is_whole,
            "exit": self.exit,
            "entries": self.entries,
            "packets_after_giving_up": self.after_giving_up,
            "packets_a_second_while_relayed": self.hoping,
            "packets_after_exit": self.after_exit,
            "mappings_left": self.left.len(),
        })
    }
}

impl Trial {
    /// Whether it ends without a connection, since there is no relay and no other way.
    #[must_use]
    pub fn lacks_a_relay(&self) -> bool {
        let is_usable = |kind: &Kind| RELAY.is_some() && (kind.has_udp() || WITHOUT_UDP);
        self.expected() == Some(Path::Relayed) && !self.kinds.iter().all(is_usable)
    }

    /// The path that both grids are to end with.
    #[must_use]
    pub fn expected(&self) -> Option<Path> {
        expected::path(self.kinds, self.mapping)
    }

    /// Does it, with a place `at_work` for as long as the devices are.
    ///
    /// # Errors
    /// When it cannot be made; [`Measured`] tells of everything else.
    pub fn run(&self, tools: &Tools, at_work: &Places) -> Result<Measured, GridError> {
        let street = Street::new(tools, self.kinds, self.mapping)?;
        let place = at_work.take();
        let mut listener = self.listen(&street)?;
        let translators = street.routers().iter().flat_map(NatRouter::translators);
        let meter = EntryMeter::start(translators.cloned().collect())?;
        let call = self.call(&street, &mut listener, place)?;
        let (listener, after_giving_up) = if call.way.is_some() {
            (listener.finish(LIMIT)?, None)
        } else {
            let (ended, packets) = give_up(listener, &street)?;
            (ended, Some(packets))
        };
        let entries = meter.most();
        drop(meter);
        let before = sum(&street, NatRouter::sent)?;
        std::thread::sleep(SILENCE);
        let after_exit = sum(&street, NatRouter::sent)? - before;
        let mut left = Vec::new();
        for router in street.routers() {
            left.extend(router.opened()?);
        }
        let arrived = listener.stdout == payload(2);
        Ok(Measured {
            way: call.way,
            first_byte: call.first_byte,
            direct: call.direct,
            is_whole: call.is_whole && arrived && listener.code() == Some(0),
            exit: call.exit,
            entries,
            after_giving_up,
            hoping: call.hoping,
            after_exit,
            left,
            said: format!("caller:\n{}\nlistener:\n{}", call.said, listener.stderr),
        })
    }

    /// `dnc -l` that lets the caller in, once it can be found and its port is mapped.
    fn listen(&self, street: &Street) -> Result<Process, GridError> {
        let device = &street.listener;
        let mut command = device
            .dnc()
            .args(["-l", "-vv", "--no-mdns", "--bootstrap", &ENTRY.to_string()])
            .args(["--allow", street.caller.id()])
            .stdin_bytes(payload(1));
        if self.mapping == PortMapping::Off {
            command = command.arg("--no-portmap");
        }
        let mut listener = device.listen(command)?;
        if self.kinds[0].has_udp() || WITHOUT_UDP {
            await_found(&mut listener, READY)?;
        }
        if self.mapping == PortMapping::On
            && self.kinds[0].maps_ports()
            && let Some(router) = street.routers().first()
        {
            router.await_opened(MAP_LIMIT)?;
        }
        Ok(listener)
    }

    /// `dnc` to the listener, of which it knows the id alone. It sends when it has the path that
    /// it is expected to get.
    fn call(
        &self,
        street: &Street,
        listener: &mut Process,
        place: Place<'_>,
    ) -> Result<Call, GridError> {
        let mut command = street
            .caller
            .dnc()
            .args(["-vv", "--no-mdns", "-w", CALL_SECONDS])
            .args(["--bootstrap", &ENTRY.to_string()])
            .stdin_pipe()
            .stdout_pipe();
        if self.mapping == PortMapping::Off {
            command = command.arg("--no-portmap");
        }
        let begun = Instant::now();
        let mut caller = command.arg(street.listener.id()).start()?;
        let output = caller.take_stdout().map(read).transpose()?;
        let mut way = caller.await_line("a path", LIMIT, Way::of).ok();
        let mut direct = (way == Some(Way::Direct)).then(|| begun.elapsed());
        if way == Some(Way::Relayed) && self.expected() == Some(Path::Direct) {
            let is_direct = |line: &str| Way::of(line).filter(|way| *way == Way::Direct);
            if caller
                .await_line("a direct path", BETTER, is_direct)
                .is_ok()
            {
                (way, direct) = (Some(Way::Direct), Some(begun.elapsed()));
            }
        }
        let hoping = match (way, self.expected()) {
            (Some(Way::Relayed), Some(Path::Relayed)) => {
                drop(place);
                stay_over_relay([&mut caller, listener], street)?
            }
            _ => None,
        };
        if let Some(mut input) = caller.take_stdin().filter(|_| way.is_some()) {
            // What it does not take shows in its exit and at the listener.
            let _ = input.write_all(&payload(2));
        }
        let ended = caller.finish(LIMIT)?;
        let (first, received) = match output {
            Some(reading) => reading
                .join()
                .map_err(|_| std::io::Error::other("the reader ended"))?,
            None => (None, Vec::new()),
        };
        Ok(Call {
            way,
            first_byte: first.map(|at| at.saturating_duration_since(begun)),
            direct,
            is_whole: received == payload(1) && ended.code() == Some(0),
            exit: ended.code(),
            hoping,
            said: ended.stderr,
        })
    }
}

/// What came of the caller.
struct Call {
    way: Option<Way>,
    first_byte: Option<Duration>,
    direct: Option<Duration>,
    is_whole: bool,
    exit: Option<i32>,
    hoping: Option<f64>,
    said: String,
}

fn payload(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAYLOAD];
    Stream::new(seed).fill(&mut bytes);
    bytes
}

/// When the first byte came, and all of them.
type Received = (Option<Instant>, Vec<u8>);

fn read(mut output: ChildStdout) -> std::io::Result<JoinHandle<Received>> {
    let work = move || {
        let mut all = vec![0];
        if output.read_exact(&mut all).is_err() {
            return (None, Vec::new());
        }
        let first = Instant::now();
        // What is missing shows when it is compared.
        let _ = output.read_to_end(&mut all);
        (Some(first), all)
    };
    std::thread::Builder::new()
        .name("output".into())
        .spawn(work)
}

const GAVE_UP: &str = "no path through the NATs";

/// Whether each call that was made or answered has come to its end. A connection over a relay has
/// several, to find something better.
fn has_given_up(said: &str) -> bool {
    let count = |words: &str| said.matches(words).count();
    let calls = count("calling through the DHT") + count("answering a call");
    calls > 0 && count(GAVE_UP) >= calls
}

/// Waits until both have given up to find a direct path, and counts what is sent from router to
/// router in a second after that; `None` when one does not give up.
fn stay_over_relay(devices: [&mut Process; 2], street: &Street) -> Result<Option<f64>, GridError> {
    let deadline = Instant::now() + GIVING_UP;
    for device in devices {
        while !has_given_up(&device.stderr()) {
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
    }
    let before = sum(street, NatRouter::sent_to_watched)?;
    std::thread::sleep(OVER_RELAY);
    let sent = sum(street, NatRouter::sent_to_watched)? - before;
    Ok(Some(sent as f64 / OVER_RELAY.as_secs_f64()))
}

/// The caller has ended. Waits until the listener has given up too, if it was ever asked, and
/// counts what is sent to the other side after that.
fn give_up(mut listener: Process, street: &Street) -> Result<(Finished, u64), GridError> {
    if listener.stderr().contains("answering a call") {
        listener.await_line("that it has given up", LIMIT, |line| {
            line.contains(GAVE_UP).then_some(())
        })?;
    }
    let before = sum(street, NatRouter::sent_to_watched)?;
    std::thread::sleep(SILENCE);
    let after = sum(street, NatRouter::sent_to_watched)?;
    listener.signal(Signal::TERM);
    Ok((listener.finish(LIMIT)?, after - before))
}

fn sum(
    street: &Street,
    count: fn(&NatRouter) -> Result<u64, crate::home_router::RouterError>,
) -> Result<u64, GridError> {
    let mut all = 0;
    for router in street.routers() {
        all += count(router)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_read_from_what_dnc_says() {
        let line = "dnc: connected to zryrpfmi… via direct 11.0.1.101:16992 in 837 ms";
        assert_eq!(Way::of(line), Some(Way::Direct));
        let line = "dnc: connected to zryrpfmi… via relayed 11.0.1.101:50000 in 420 ms";
        assert_eq!(Way::of(line), Some(Way::Relayed));
        let line = "INFO dhtnet::state: another path peer=zryrpfmi to=[2001:db8::1]:4 kind=\"direct\" why=\"x\"";
        assert_eq!(Way::of(line), Some(Way::Direct));
        assert_eq!(Way::of("dnc: done with zryrpfmi…"), None);
    }

    #[test]
    fn the_peers_address_at_the_relay_is_no_direct_path() {
        let line = "dnc: connected to zryrpfmi… via direct 11.0.200.1:41645 in 0 ms";
        assert_eq!(Way::of(line), Some(Way::Relayed));
    }
}
