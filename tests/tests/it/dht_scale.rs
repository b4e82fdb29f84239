//! The DHT at scale: production nodes on a virtual clock.

use dhtnet_tests::dht_scale::{Plan, Report, run};

fn value(report: &Report, name: &str) -> f64 {
    let value = report.value(name);
    value.unwrap_or_else(|| panic!("no figure `{name}` in {report}"))
}

/// Everything that a network of 10,000 nodes has to fulfil, before and after three of
/// ten die. Nothing here depends on how fast the machine is.
#[test]
fn a_large_network_finds_its_neighbours_and_its_values_and_outlives_a_third_of_its_nodes() {
    let plan = Plan {
        nodes: 10_000,
        seed: 1,
        samples: 200,
    };
    let report = run("brief", plan).unwrap();
    let at_least =
        |name: &str, least: f64| assert!(value(&report, name) >= least, "{name}: {report}");
    let at_most = |name: &str, most: f64| assert!(value(&report, name) <= most, "{name}: {report}");
    at_least("nodes that are ready", 99.9);
    at_least("of the 8 neighbours of a node, in its table", 95.0);
    at_least("lookup: ended", 100.0);
    at_least("lookup: of the 8 nearest, found", 95.0);
    at_most("lookup: hops, p95", 6.0);
    at_most("lookup: messages, p95", 70.0);
    at_most("lookup: time, p95", 2_000.0);
    at_least("put: acknowledgements, mean", 7.5);
    at_least("get: found", 99.0);
    at_least("get at once after 30 % died: found", 99.0);
    for name in ["get", "get at once after 30 % died"] {
        at_most(&format!("{name}: forged values accepted"), 0.0);
    }
}

#[test]
fn a_fifth_of_hostile_nodes_hides_no_value_and_slips_none_in() {
    let plan = Plan {
        nodes: 500,
        seed: 3,
        samples: 100,
    };
    let report = run("hostile", plan).unwrap();
    assert!(value(&report, "hostile nodes") > 15.0, "{report}");
    assert!(value(&report, "get: found") >= 99.0, "{report}");
    assert!(
        value(&report, "get: forged values accepted") == 0.0,
        "{report}"
    );
}

#[test]
fn sybils_around_a_key_do_not_hide_its_value() {
    for name in ["sybils", "late-sybils"] {
        let plan = Plan {
            nodes: 500,
            seed: 4,
            samples: 100,
        };
        let report = run(name, plan).unwrap();
        assert!(
            value(&report, "put: honest among the nearest") >= 6.0,
            "{report}"
        );
        assert!(value(&report, "get: found") >= 99.0, "{report}");
        assert!(
            value(&report, "get: forged values accepted") == 0.0,
            "{report}"
        );
    }
}

#[test]
fn the_same_seed_replays_a_network_to_the_byte() {
    let plan = |seed| Plan {
        nodes: 300,
        seed,
        samples: 50,
    };
    let first = run("brief", plan(5)).unwrap();
    let again = run("brief", plan(5)).unwrap();
    assert_eq!(first.fingerprint, again.fingerprint);
    assert_eq!(first.figures(), again.figures());
    assert_ne!(
        first.fingerprint,
        run("brief", plan(6)).unwrap().fingerprint
    );
}
