//! Telling pairs of the grid: what comes of two kinds of NAT, between real processes. The whole is
//! `cargo xtask test --grid`.

use dhtnet_tests::device::FOUND;
use dhtnet_tests::grid::{Cell, Goal, GridError, Kind, PortMapping, Timed, Trial, run};
use dhtnet_tests::home_router::RouterError;
use dhtnet_tests::lab::skip::{lab_or_skip, report};
use dhtnet_tests::nat_router::Nat;

use crate::pair::tools;

/// Times that a listener may store its presence record in the seconds of a trial: at the start, when
/// others have told its address, when a port is mapped, and once more for an address of each
/// family. One that has another port towards each node has nothing new to say for all that.
const MAX_RECORDS: usize = 4;

/// Runs each once and holds it against its goal, times aside. Where ports have to be met by chance,
/// one of twenty trials may miss: such a pair gets a second one.
#[track_caller]
fn all_go_as_they_should(name: &str, trials: &[Trial]) {
    if lab_or_skip(name).is_none() {
        return;
    }
    let missed = faults(name, trials);
    let (again, lost): (Vec<_>, Vec<_>) = missed.into_iter().partition(|(trial, _)| {
        let goal = Goal::of(trial.kinds, trial.mapping);
        matches!(goal, Goal::ManyPorts | Goal::Predicted)
    });
    let again: Vec<Trial> = again.into_iter().map(|(trial, _)| trial).collect();
    let mut lost: Vec<String> = lost.into_iter().map(|(_, what)| what).collect();
    lost.extend(faults(name, &again).into_iter().map(|(_, what)| what));
    assert!(lost.is_empty(), "{}", lost.join("\n\n"));
}

/// What was not as it should be in which trial, with what both sides said.
fn faults(name: &str, trials: &[Trial]) -> Vec<(Trial, String)> {
    let mut faults = Vec::new();
    run(trials, &tools(), |at, measured| {
        let Trial { kinds, mapping } = trials[at];
        match measured {
            Ok(measured) => {
                let said = measured.said.clone();
                let cell = Cell {
                    kinds,
                    mapping,
                    trials: vec![measured],
                };
                let mut found = cell.faults(Timed::No);
                let records = said.matches(FOUND).count();
                if records > MAX_RECORDS {
                    found.push(format!("{kinds:?}: its record was stored {records} times"));
                }
                if !found.is_empty() {
                    faults.push((trials[at], format!("{}\n{said}", found.join("\n"))));
                }
            }
            Err(GridError::Router(error @ RouterError::Missing(_))) => {
                report(name, &error.to_string());
            }
            Err(error) => {
                let what = format!("{kinds:?}, {mapping:?}: {error}");
                faults.push((trials[at], what));
            }
        }
    });
    faults
}

/// The listener first.
fn trial(listener: Kind, caller: Kind, mapping: PortMapping) -> Trial {
    Trial {
        kinds: [listener, caller],
        mapping,
    }
}

#[test]
fn telling_pairs_connect_as_the_table_says_and_leave_nothing_behind() {
    let name = "telling_pairs_connect_as_the_table_says_and_leave_nothing_behind";
    let pairs = [
        (Kind::Public, Kind::Behind(Nat::Symmetric)),
        (
            Kind::Behind(Nat::AddressRestricted),
            Kind::Behind(Nat::Block),
        ),
        (Kind::Behind(Nat::Double), Kind::Behind(Nat::PortNotKept)),
        (
            Kind::Behind(Nat::PortRestricted),
            Kind::Behind(Nat::Symmetric),
        ),
        (
            Kind::Behind(Nat::Ipv6Firewall),
            Kind::Behind(Nat::Ipv6Firewall),
        ),
        (Kind::Behind(Nat::Block), Kind::Behind(Nat::Double)),
        (
            Kind::Behind(Nat::SequentialWide),
            Kind::Behind(Nat::Sequential),
        ),
        (Kind::Behind(Nat::Symmetric), Kind::Behind(Nat::Symmetric)),
        (Kind::Behind(Nat::UdpBlocked), Kind::Behind(Nat::FullCone)),
    ];
    all_go_as_they_should(
        name,
        &pairs.map(|(listener, caller)| trial(listener, caller, PortMapping::Off)),
    );
}

#[test]
fn a_mapped_port_makes_pairs_direct_that_else_are_not() {
    let name = "a_mapped_port_makes_pairs_direct_that_else_are_not";
    let random = Kind::Behind(Nat::Symmetric);
    all_go_as_they_should(
        name,
        &[
            trial(random, random, PortMapping::On),
            trial(Kind::Behind(Nat::Sequential), random, PortMapping::On),
        ],
    );
}
