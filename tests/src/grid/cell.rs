//! All trials of one pair, and what is asked of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::expected::{self, Path};
use super::{Kind, Measured, PortMapping, RELAY, Trial, Way};

/// Entries that one device may have in its router (`punch::MAX_NAT_ENTRIES`).
const MAX_ENTRIES: u64 = 1_024;

/// Packets a second that two devices may send towards each other's router while a relay carries their
/// connection: each asks six direct addresses once, so that a way that opens is used within a second
/// (12).
const MAX_HOPING: f64 = 16.0;

/// What is asked of a pair (issue 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Direct each time, in 2 s.
    Direct,
    /// One port is not known: direct in 95 %, in 10 s.
    ManyPorts,
    /// Ports that can be predicted: direct in 90 %, in 10 s.
    Predicted,
    /// Relayed each time, in 3 s.
    Relayed,
}

impl Goal {
    /// The goal of a pair.
    #[must_use]
    pub fn of([a, b]: [Kind; 2], mapping: PortMapping) -> Self {
        let one = |is: fn(Kind) -> bool| is(a) || is(b);
        let both_dependent = a.is_dependent() && b.is_dependent();
        if expected::path([a, b], mapping) == Some(Path::Relayed) {
            Self::Relayed
        } else if mapping == PortMapping::On && one(Kind::maps_ports) {
            Self::Direct
        } else if both_dependent {
            Self::Predicted
        } else if one(Kind::is_dependent) && !one(Kind::opens_by_itself) {
            if one(Kind::is_predictable) {
                Self::Predicted
            } else {
                Self::ManyPorts
            }
        } else {
            Self::Direct
        }
    }

    /// The share that has to be direct, and the time that 95 % may take.
    fn direct(self) -> Option<(f64, Duration)> {
        match self {
            Self::Direct => Some((1.0, Duration::from_secs(2))),
            Self::ManyPorts => Some((0.95, Duration::from_secs(10))),
            Self::Predicted => Some((0.9, Duration::from_secs(10))),
            Self::Relayed => None,
        }
    }
}

/// All trials of one pair.
#[derive(Debug)]
pub struct Cell {
    /// The pair, in the order of [`Kind::ALL`].
    pub kinds: [Kind; 2],
    /// Whether the routers map ports.
    pub mapping: PortMapping,
    /// What came of each.
    pub trials: Vec<Measured>,
}

impl Cell {
    /// Its goal.
    #[must_use]
    pub fn goal(&self) -> Goal {
        Goal::of(self.kinds, self.mapping)
    }

    /// Whether its trials end without a connection, as [`Trial::lacks_a_relay`].
    #[must_use]
    pub fn lacks_a_relay(&self) -> bool {
        Self::trial(self.kinds, self.mapping, 0).lacks_a_relay()
    }

    /// The share of trials of which something holds.
    #[must_use]
    pub fn share(&self, holds: impl Fn(&Measured) -> bool) -> f64 {
        let with = self.trials.iter().filter(|trial| holds(trial)).count();
        with as f64 / self.trials.len().max(1) as f64
    }

    /// The time below which that share of trials is, of those that have one.
    #[must_use]
    pub fn quantile(
        &self,
        percent: usize,
        time: impl Fn(&Measured) -> Option<Duration>,
    ) -> Option<Duration> {
        let mut times: Vec<Duration> = self.trials.iter().filter_map(time).collect();
        times.sort_unstable();
        let index = (times.len() * percent).div_ceil(100);
        times.get(index.saturating_sub(1)).copied()
    }

    /// The most of a figure.
    #[must_use]
    pub fn most(&self, figure: impl Fn(&Measured) -> u64) -> u64 {
        self.trials.iter().map(figure).max().unwrap_or(0)
    }

    /// What is not as it should be, a line each, with the pair and the figure; times are looked at
    /// when `timed` says so.
    #[must_use]
    pub fn faults(&self, timed: Timed) -> Vec<String> {
        let [a, b] = self.kinds.map(Kind::name);
        let mapped = match self.mapping {
            PortMapping::Off => "",
            PortMapping::On => ", with mapped ports",
        };
        let mut faults = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                faults.push(format!("{a} × {b}{mapped}: {what}"));
            }
        };
        self.expect_path(&mut expect);
        if timed == Timed::Yes {
            self.expect_times(&mut expect);
        }
        self.expect_politeness(&mut expect);
        faults
    }

    fn expect_path(&self, expect: &mut impl FnMut(bool, String)) {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        if self.lacks_a_relay() {
            let refused = self.share(|trial| trial.way.is_none() && trial.exit == Some(3));
            let said = format!("exit code 3 in {}", percent(refused));
            expect(refused == 1.0, said);
        } else {
            let whole = self.share(|trial| trial.is_whole);
            expect(whole == 1.0, format!("connected in {}", percent(whole)));
        }
        let direct = self.share(|trial| trial.way == Some(Way::Direct));
        let enough = match self.goal().direct() {
            Some((share, _)) => direct >= share,
            None => direct == 0.0,
        };
        expect(enough, format!("direct in {}", percent(direct)));
    }

    fn expect_times(&self, expect: &mut impl FnMut(bool, String)) {
        let mut within = |what: &str, p95: Option<Duration>, limit: Duration| {
            let in_time = p95.is_some_and(|time| time <= limit);
            let took = p95.map_or("never".to_owned(), |time| format!("after {time:.2?}"));
            expect(
                in_time,
                format!("{what} {took}, p95, and {limit:?} are allowed"),
            );
        };
        if let Some((_, limit)) = self.goal().direct() {
            within("direct", self.quantile(95, |trial| trial.direct), limit);
        }
        let first_byte = self.quantile(95, |trial| trial.first_byte);
        match self.goal() {
            _ if self.lacks_a_relay() => {}
            // Without a relay there is nothing until the ports have met.
            Goal::ManyPorts | Goal::Predicted if RELAY.is_none() => {}
            _ => within("first byte", first_byte, Duration::from_secs(3)),
        }
    }

    fn expect_politeness(&self, expect: &mut impl FnMut(bool, String)) {
        let entries = self.most(|trial| trial.entries.into());
        let few = entries <= MAX_ENTRIES;
        expect(few, format!("{entries} entries in a router"));
        let late = self.most(|trial| trial.after_giving_up.unwrap_or(0));
        expect(late == 0, format!("{late} packets after giving up"));
        let hoping = self.trials.iter().filter_map(|trial| trial.hoping);
        let hoping = hoping.fold(0.0, f64::max);
        expect(
            hoping <= MAX_HOPING,
            format!("{hoping:.1} packets a second towards the other router while relayed"),
        );
        let late = self.most(|trial| trial.after_exit);
        expect(late == 0, format!("{late} packets after the end"));
        let left = self.most(|trial| trial.left.len() as u64);
        expect(left == 0, format!("{left} ports left mapped"));
    }

    /// All figures.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "a": self.kinds[0].name(),
            "b": self.kinds[1].name(),
            "mapped_ports": self.mapping == PortMapping::On,
            "goal": match self.goal() {
                Goal::Direct => "direct",
                Goal::ManyPorts => "many ports",
                Goal::Predicted => "predicted ports",
                Goal::Relayed => "relayed",
            },
            "trials": self.trials.iter().map(Measured::to_json).collect::<Vec<_>>(),
        })
    }

    /// The trials of a pair: each other time the other one calls.
    #[must_use]
    pub fn trial(kinds: [Kind; 2], mapping: PortMapping, round: u32) -> Trial {
        let [a, b] = kinds;
        let kinds = if round.is_multiple_of(2) {
            [a, b]
        } else {
            [b, a]
        };
        Trial { kinds, mapping }
    }
}

/// Whether times count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    /// They do: the machine is to be measured.
    Yes,
    /// The machine may be busy with other things.
    No,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;
    use crate::nat_router::Nat;

    const RANDOM: Kind = Kind::Behind(Nat::Symmetric);
    const RESTRICTED: Kind = Kind::Behind(Nat::PortRestricted);

    fn good() -> Measured {
        Measured {
            way: Some(Way::Direct),
            first_byte: Some(Duration::from_millis(300)),
            direct: Some(Duration::from_millis(300)),
            is_whole: true,
            exit: Some(0),
            entries: 900,
            after_giving_up: None,
            hoping: None,
            after_exit: 0,
            left: vec![],
            said: String::new(),
        }
    }

    fn cell(kinds: [Kind; 2], trials: Vec<Measured>) -> Cell {
        Cell {
            kinds,
            mapping: PortMapping::Off,
            trials,
        }
    }

    #[test]
    fn the_goal_follows_from_both_nats_and_from_mapped_ports() {
        let of = |a, b| Goal::of([a, b], PortMapping::Off);
        let counting = Kind::Behind(Nat::Sequential);
        assert_eq!(of(Kind::Public, RANDOM), Goal::Direct);
        assert_eq!(of(RESTRICTED, RANDOM), Goal::ManyPorts);
        assert_eq!(of(counting, RESTRICTED), Goal::Predicted);
        assert_eq!(of(counting, counting), Goal::Predicted);
        assert_eq!(of(RANDOM, counting), Goal::Relayed);
        assert_eq!(Goal::of([RANDOM, RANDOM], PortMapping::On), Goal::Direct);
        let blocked = Kind::Behind(Nat::UdpBlocked);
        assert_eq!(Goal::of([blocked, RANDOM], PortMapping::On), Goal::Relayed);
    }

    #[test]
    fn a_missed_goal_is_named_with_its_pair_and_figure() {
        let kinds = [RESTRICTED, RESTRICTED];
        assert_eq!(cell(kinds, vec![good()]).faults(Timed::Yes), [""; 0]);
        let slow = Some(Duration::from_millis(2_001));
        let bad = Measured {
            direct: slow,
            entries: 1_025,
            after_exit: 3,
            left: vec!["dnat".to_owned()],
            ..good()
        };
        let faults = cell(kinds, vec![good(), bad]).faults(Timed::Yes);
        assert_eq!(
            faults,
            [
                "port-restricted × port-restricted: direct after 2.00s, p95, and 2s are allowed",
                "port-restricted × port-restricted: 1025 entries in a router",
                "port-restricted × port-restricted: 3 packets after the end",
                "port-restricted × port-restricted: 1 ports left mapped",
            ]
        );
    }

    #[test]
    fn one_of_twenty_may_miss_where_many_ports_are_tried() {
        let relayed = || Measured {
            way: Some(Way::Relayed),
            direct: None,
            ..good()
        };
        let with = |missed: usize| {
            let mut trials: Vec<Measured> = (0..missed).map(|_| relayed()).collect();
            trials.extend((missed..20).map(|_| good()));
            cell([RESTRICTED, RANDOM], trials).faults(Timed::Yes)
        };
        assert_eq!(with(1), [""; 0]);
        assert_eq!(with(2), ["port-restricted × random: direct in 90 %"]);
    }
}
