//! Short fast paths: the window must never be what limits.

use std::time::Duration;

use dhtnet_simnet::{LinkConfig, Queue};

use super::flow::Settings;
use super::net::{Factory, Net, Report};
use super::{adaptive, cubic, seconds};

/// A LAN path of 0.1 ms and jitter, one acknowledgement per ten packets; measured from 50 ms on.
fn run(factory: Factory, rate: f64, queue: usize, jitter: Duration, loss: f64) -> (Report, u64) {
    let delay = Duration::from_micros(50);
    let there = LinkConfig::default()
        .with_rate(rate as u64)
        .with_delay(delay)
        .with_jitter(jitter)
        .with_queue(Queue::Packets(queue))
        .with_loss(loss);
    let mut net = Net::new(there, LinkConfig::default().with_delay(delay), 1);
    net.add(
        factory,
        Settings {
            ack_every: Some(10),
            ..Settings::default()
        },
    );
    net.run_until(seconds(0.05));
    let report = net.measure(seconds(0.25));
    (report, net.smallest_window)
}

#[test]
fn five_gigabits_with_jitter_are_used_from_the_start() {
    for jitter in [0, 200, 1_000].map(Duration::from_micros) {
        let (report, window) = run(adaptive(), 5e9, 1_000, jitter, 0.0);
        let rate = report.shares[0].goodput * 8.0;
        assert!(rate >= 4e9, "jitter {jitter:?}: {rate}");
        // 5 Gbit/s for the mean round trip with 0.2 ms of jitter, 0.2 ms: 125 kB.
        assert!(window >= 250_000, "jitter {jitter:?}: {window}");
        assert!(report.shares[0].retransmitted < 0.03);
    }
}

#[test]
fn a_lan_is_used_no_worse_than_by_cubic() {
    let jitter = Duration::from_micros(200);
    for (rate, loss) in [(5e9, 0.0), (1e9, 0.0), (5e9, 0.001)] {
        let ours = run(adaptive(), rate, 1_000, jitter, loss).0.part(0, rate);
        let theirs = run(cubic(), rate, 1_000, jitter, loss).0.part(0, rate);
        // More than 95.8 % is data that arrived before and was held back by a gap.
        assert!(
            ours >= theirs.min(0.958) * 0.98,
            "{rate} {loss}: {ours} against {theirs}"
        );
    }
}

#[test]
fn a_socket_buffer_of_a_hundred_packets_is_not_flooded() {
    let (report, _) = run(adaptive(), 1e9, 100, Duration::from_micros(200), 0.0);
    assert!(report.part(0, 1e9) >= 0.85, "{report:?}");
    assert!(report.shares[0].retransmitted < 0.06, "{report:?}");
}
