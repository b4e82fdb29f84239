//! Rough weather: heavy and bursty loss, jitter, marks, slow lines with small queues.

use std::time::Duration;

use dhtnet_simnet::{LinkConfig, LossBursts, Queue};

use super::flow::Settings;
use super::net::{Net, Report};
use super::{LONG_RATE, adaptive, long, seconds};

fn run(there: LinkConfig, back: LinkConfig, from: f64, to: f64) -> Report {
    let mut net = Net::new(there, back, 1);
    net.add(adaptive(), Settings::default());
    net.run_until(seconds(from));
    net.measure(seconds(to))
}

#[test]
fn up_to_five_percent_of_random_loss_cost_little_more_than_themselves() {
    for loss in [0.01, 0.03, 0.05] {
        let (there, back) = long(1_000);
        let report = run(there.with_loss(loss), back, 2.0, 8.0);
        assert!(report.part(0, LONG_RATE) >= 0.80, "{loss}: {report:?}");
        assert!(
            report.shares[0].retransmitted < loss + 0.03,
            "{loss}: {report:?}"
        );
    }
}

#[test]
fn bursts_of_loss_are_not_taken_for_congestion() {
    let (there, back) = long(300);
    let bursts = LossBursts {
        begin: 0.0005,
        end: 0.1,
    };
    let report = run(
        there.with_rate(50_000_000).with_loss_bursts(bursts),
        back,
        3.0,
        13.0,
    );
    assert!(report.part(0, 50e6) >= 0.80, "{report:?}");
}

#[test]
fn jitter_of_a_quarter_of_the_round_trip_is_not_taken_for_a_queue() {
    let (there, back) = long(300);
    let there = there
        .with_rate(50_000_000)
        .with_jitter(Duration::from_millis(10));
    let report = run(there, back, 3.0, 13.0);
    assert!(report.part(0, 50e6) >= 0.80, "{report:?}");
}

#[test]
fn marks_replace_losses() {
    let (there, back) = long(1_000);
    let report = run(
        there.with_mark_threshold(Queue::Packets(100)),
        back,
        2.0,
        8.0,
    );
    assert!(report.link.marked > 0);
    assert!(report.part(0, LONG_RATE) >= 0.85, "{report:?}");
    assert_eq!(report.shares[0].retransmitted, 0.0);
    assert!(report.mean_wait < Duration::from_millis(10), "{report:?}");
}

#[test]
fn a_slow_line_with_a_small_queue_is_filled_and_not_flooded() {
    for (queue, loss, least) in [(10, 0.0, 0.8), (20, 0.0, 0.8), (60, 0.02, 0.7)] {
        let delay = Duration::from_millis(150);
        let there = LinkConfig::default()
            .with_rate(1_000_000)
            .with_delay(delay)
            .with_queue(Queue::Packets(queue))
            .with_loss(loss);
        let report = run(there, LinkConfig::default().with_delay(delay), 10.0, 60.0);
        assert!(report.part(0, 1e6) >= least, "{queue} {loss}: {report:?}");
        assert!(
            report.shares[0].retransmitted < loss + 0.03,
            "{queue} {loss}: {report:?}"
        );
    }
}
