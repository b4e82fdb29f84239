//! Every kind of NAT with every other, a session on both sides: who gets a direct path, when, and
//! at what cost to the NATs. `docs/nat-traversal.md` has the table. Which pairs end with a direct
//! path stands in `tests/nat-grid.txt`, which the grid of real processes is held against too.

use std::fmt::Write as _;
use std::time::Duration;

use dhtnet_nat_traversal::punch::{FURTHER_AFTER, MAX_NAT_ENTRIES, MAX_PACKETS_PER_SECOND};

use super::kinds::{KINDS, Kind, Path, expected};
use super::world::{Outcome, Upnp, connect, connect_in_storm, connect_neighbours};

/// Seeds for each pair, and with `DHTNET_TEST_FULL=1`.
const SEEDS: u64 = 10;
const SEEDS_FULL: u64 = 100;

/// All runs of one pair.
struct Cell {
    a: Kind,
    b: Kind,
    runs: Vec<Outcome>,
}

impl Cell {
    fn run((a, b): (Kind, Kind), upnp: Upnp, seeds: u64) -> Self {
        let runs = (0..seeds).map(|seed| connect(a, b, upnp, seed)).collect();
        Self { a, b, runs }
    }

    fn share(&self, what: fn(&Outcome) -> Option<Duration>) -> f64 {
        let with = self.runs.iter().filter(|run| what(run).is_some()).count();
        with as f64 / self.runs.len() as f64
    }

    /// The time below which 95 % of those runs are that have one.
    fn p95(&self, what: fn(&Outcome) -> Option<Duration>) -> Option<Duration> {
        let mut times: Vec<Duration> = self.runs.iter().filter_map(what).collect();
        times.sort_unstable();
        let index = (times.len() * 95).div_ceil(100);
        times.get(index.saturating_sub(1)).copied()
    }

    fn most(&self, what: fn(&Outcome) -> usize) -> usize {
        self.runs.iter().map(what).max().unwrap_or(0)
    }

    /// What the issue asks of the pair.
    fn goal(&self) -> Goal {
        let both = |is: fn(Kind) -> bool| is(self.a) && is(self.b);
        let one = |is: fn(Kind) -> bool| is(self.a) || is(self.b);
        if expected((self.a, self.b), Upnp::Off) == Path::Relayed {
            Goal::Relayed
        } else if both(Kind::is_dependent) {
            Goal::Predicted
        } else if one(Kind::is_dependent) && !one(opens_by_itself) {
            if one(Kind::is_predictable) {
                Goal::Predicted
            } else {
                Goal::ManyPorts
            }
        } else {
            Goal::Direct
        }
    }

    fn line(&self) -> String {
        let seconds = |time: Option<Duration>| {
            time.map_or("–".to_owned(), |time| {
                format!("{:.2} s", time.as_secs_f64())
            })
        };
        format!(
            "| {} | {} | {:.0} % | {} | {} | {} | {} | {} | {} |",
            self.a.name(),
            self.b.name(),
            100.0 * self.share(|run| run.direct),
            seconds(self.p95(|run| run.direct)),
            seconds(self.p95(|run| run.connected)),
            self.most(|run| run.entries),
            self.most(|run| run.sockets),
            self.runs.iter().map(|run| run.packets).sum::<usize>() / self.runs.len(),
            self.most(|run| run.after_end),
        )
    }

    fn check(&self, faults: &mut Vec<String>) {
        let mut expect = |what: &str, holds: bool| {
            if !holds {
                faults.push(format!("{what}: {}", self.line()));
            }
        };
        let below = |time: Option<Duration>, most| time.is_some_and(|time| time <= most);
        let second = Duration::from_secs(1);
        let direct = self.share(|run| run.direct);
        expect("connects", self.share(|run| run.connected) == 1.0);
        match self.goal() {
            Goal::Direct => {
                expect("direct", direct == 1.0);
                expect("in 2 s", below(self.p95(|run| run.direct), 2 * second));
            }
            Goal::ManyPorts => {
                expect("direct in 95 %", direct >= 0.95);
                expect("in 10 s", below(self.p95(|run| run.direct), 10 * second));
            }
            Goal::Predicted => expect("direct in 90 %", direct >= 0.9),
            Goal::Relayed => expect("relayed each time", direct == 0.0),
        }
        expect(
            "any path in 3 s",
            below(self.p95(|run| run.connected), 3 * second),
        );
        expect("entries", self.most(|run| run.entries) <= MAX_NAT_ENTRIES);
        let rate = self.most(|run| run.packets_per_second);
        expect("rate", rate <= MAX_PACKETS_PER_SECOND as usize);
        expect("silence", self.most(|run| run.after_end) == 0);
        expect("sockets given back", self.most(|run| run.leaked) == 0);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Direct,
    ManyPorts,
    Predicted,
    Relayed,
}

fn opens_by_itself(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Public | Kind::FullCone | Kind::AddressRestricted
    )
}

fn seeds() -> u64 {
    if std::env::var_os("DHTNET_TEST_FULL").is_some() {
        SEEDS_FULL
    } else {
        SEEDS
    }
}

/// Two threads: the grid is the longest test of the crate.
#[allow(clippy::disallowed_methods, reason = "the tests are nobody's protocol")]
fn run_all(pairs: &[(Kind, Kind)], upnp: Upnp, seeds: u64) -> Vec<Cell> {
    let half = pairs.len().div_ceil(2);
    std::thread::scope(|scope| {
        let threads: Vec<_> = pairs
            .chunks(half)
            .map(|part| {
                scope.spawn(move || {
                    let cells = part.iter().map(|pair| Cell::run(*pair, upnp, seeds));
                    cells.collect::<Vec<_>>()
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.flatten().collect()
    })
}

#[test]
fn every_pair_of_nats_connects_as_well_as_it_can_and_politely() {
    let seeds = seeds();
    let pairs: Vec<(Kind, Kind)> = KINDS
        .iter()
        .enumerate()
        .flat_map(|(at, a)| KINDS[at..].iter().map(move |b| (*a, *b)))
        .collect();
    let cells = run_all(&pairs, Upnp::Off, seeds);
    let mut table = String::new();
    let mut faults = Vec::new();
    for cell in &cells {
        writeln!(table, "{}", cell.line()).unwrap();
        cell.check(&mut faults);
    }
    println!("{seeds} seeds\n{table}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_port_that_the_router_has_opened_makes_every_pair_direct_and_punching_needless() {
    let behind_nat = [
        Kind::PortRestricted,
        Kind::Sequential,
        Kind::Block,
        Kind::SymmetricRandom,
    ];
    let others = KINDS.iter().filter(|kind| **kind != Kind::UdpBlocked);
    let pairs: Vec<(Kind, Kind)> = others
        .flat_map(|b| behind_nat.iter().map(move |a| (*a, *b)))
        .collect();
    for cell in run_all(&pairs, Upnp::On, seeds().div_ceil(4)) {
        println!("{}", cell.line());
        assert_eq!(expected((cell.a, cell.b), Upnp::On), Path::Direct);
        assert!(
            cell.share(|run| run.direct) == 1.0
                && cell.p95(|run| run.direct) <= Some(Duration::from_secs(2))
                && cell.most(|run| run.entries) < 100
                && cell.most(|run| run.sockets + run.after_end) == 0,
            "{}",
            cell.line()
        );
    }
}

#[test]
fn two_peers_behind_one_nat_use_the_network_they_share() {
    for kind in KINDS.iter().filter(|kind| **kind != Kind::Public) {
        for seed in 0..seeds() {
            let run = connect_neighbours(*kind, seed);
            let direct = run.direct.unwrap();
            assert!(direct < Duration::from_millis(500), "{kind:?}: {direct:?}");
            assert_eq!((run.sockets, run.after_end), (0, 0), "{kind:?}");
        }
    }
}

#[test]
fn what_the_first_sockets_missed_the_further_ones_hit() {
    for (a, b) in [
        (Kind::SymmetricRandom, Kind::PortRestricted),
        (Kind::PortRestricted, Kind::SymmetricRandom),
    ] {
        let seeds = 0..seeds();
        let runs: Vec<Outcome> = seeds
            .map(|seed| connect_in_storm(a, b, FURTHER_AFTER, seed))
            .collect();
        let direct = runs.iter().filter(|run| run.direct.is_some()).count();
        // Of a hundred, two miss.
        assert!(direct * 10 >= runs.len() * 9, "{direct} of {}", runs.len());
        for run in &runs {
            assert!(run.entries <= MAX_NAT_ENTRIES, "{}", run.entries);
            let rate = run.packets_per_second;
            assert!(rate <= MAX_PACKETS_PER_SECOND as usize, "{rate}");
            assert!(
                run.direct
                    .is_none_or(|took| took <= Duration::from_secs(10))
            );
            assert_eq!((run.after_end, run.leaked), (0, 0));
        }
    }
}
