//! How fast a network runs, and what an idle machine costs.
//!
//! `cargo run --release -p dhtnet-simnet --example network_speed [MACHINES]`: each machine pings
//! a random other one every second, which answers; the clock runs for a minute.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_simnet::{Machine, Network, NetworkConfig, Rng, Transmit};

/// A ping and its answer are as long as those of BEP 5.
const PING: &[u8; 56] = &[b'q'; 56];
const PONG: &[u8; 47] = &[b'r'; 47];

struct Pinger {
    rng: Rng,
    machines: u64,
    due: Instant,
    outgoing: Option<Transmit>,
}

impl Machine for Pinger {
    fn handle_datagram(&mut self, _: Instant, source: SocketAddr, datagram: &[u8]) {
        if datagram == PING {
            self.outgoing = Some(Transmit {
                destination: source,
                payload: PONG.to_vec(),
            });
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.due = now + Duration::from_secs(1);
        self.outgoing = Some(Transmit {
            destination: address(self.rng.next_u64() % self.machines),
            payload: PING.to_vec(),
        });
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outgoing.take()
    }
}

fn address(number: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0100_0000 + number as u32), 6881))
}

/// Resident memory of this process in bytes; 0 where `/proc` is not there.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1).map(|text| text.parse());
    let Ok(machines) = argument.unwrap_or(Ok(100_000)) else {
        return Err(io::Error::other("MACHINES is a number"));
    };
    let start = Instant::now();
    let before = resident();
    let mut network = Network::new(start, NetworkConfig::default(), 1);
    let mut rng = Rng::new(2);
    for number in 0..machines {
        let machine = Pinger {
            rng: Rng::new(number),
            machines,
            due: start + Duration::from_secs(1).mul_f64(rng.unit()),
            outgoing: None,
        };
        network.add(address(number), machine);
    }
    let idle = resident() - before;
    let began = Instant::now();
    network.run_for(Duration::from_secs(60));
    let took = began.elapsed();
    let stats = network.stats();
    let events = stats.traffic.received + stats.timeouts;
    let mut out = io::stdout();
    writeln!(out, "machines           {machines}")?;
    writeln!(out, "events             {events}")?;
    writeln!(
        out,
        "events per second  {:.0}",
        events as f64 / took.as_secs_f64()
    )?;
    writeln!(out, "bytes per idle one {}", idle / machines.max(1))?;
    writeln!(out, "of which itself    {}", size_of::<Pinger>())?;
    writeln!(out, "resident at end    {}", resident())?;
    writeln!(out, "fingerprint        {:016x}", network.fingerprint())
}
