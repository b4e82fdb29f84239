//! Two flows on one bottleneck: nobody starves.

use super::flow::Settings;
use super::net::{Factory, Net};
use super::{LONG_RATE, adaptive, cubic, long, seconds};

/// Shares of two flows from 10 to 30 s, the second begun at `later`.
fn shares(queue: usize, first: Factory, second: Factory, later: f64) -> [f64; 2] {
    let (there, back) = long(queue);
    let mut net = Net::new(there, back, 1);
    net.add(first, Settings::default());
    net.add(
        second,
        Settings {
            begins: seconds(later),
            ..Settings::default()
        },
    );
    net.run_until(seconds(10.0));
    let report = net.measure(seconds(30.0));
    [report.part(0, LONG_RATE), report.part(1, LONG_RATE)]
}

fn assert_shared(shares: [f64; 2], what: &str) {
    assert!(shares[0] >= 0.15 && shares[1] >= 0.15, "{what}: {shares:?}");
    assert!(shares[0] + shares[1] >= 0.85, "{what}: {shares:?}");
}

#[test]
fn a_late_flow_of_the_same_kind_gets_its_part() {
    for queue in [100, 1_000] {
        assert_shared(
            shares(queue, adaptive(), adaptive(), 3.0),
            &format!("queue of {queue}"),
        );
    }
}

#[test]
fn neither_cubic_nor_adaptive_starves_the_other_in_a_deep_queue() {
    assert_shared(shares(1_000, cubic(), adaptive(), 3.0), "adaptive last");
    assert_shared(shares(1_000, adaptive(), cubic(), 3.0), "cubic last");
}

#[test]
fn neither_cubic_nor_adaptive_starves_the_other_in_a_shallow_queue() {
    assert_shared(shares(100, cubic(), adaptive(), 3.0), "adaptive last");
    assert_shared(shares(100, adaptive(), cubic(), 3.0), "cubic last");
}
