//! Keys typed on a connection that carries bulk: how much longer they take than alone.

#![allow(clippy::print_stdout, reason = "the table is for who runs the test")]

use std::time::Duration;

use dhtnet_simnet::{LinkConfig, Queue};

use super::flow::Settings;
use super::net::{Factory, Net};
use super::{adaptive, seconds};

/// What keys waited beyond the path's own delay, and what the bulk got.
struct Outcome {
    p50: Duration,
    p99: Duration,
    goodput: f64,
}

/// Thirty seconds beside bulk, after startup.
fn type_beside_bulk(factory: Factory, (rate, delay): (u64, Duration), queue: usize) -> Outcome {
    let there = LinkConfig::default()
        .with_rate(rate)
        .with_delay(delay)
        .with_queue(Queue::Packets(queue));
    let back = LinkConfig::default().with_delay(delay);
    let mut net = Net::new(there, back, 1);
    let settings = Settings {
        keys: Some(Duration::from_millis(17)),
        ack_every: Some(9),
        ..Settings::default()
    };
    net.add(factory, settings);
    net.run_until(seconds(2.0));
    let before = net.flow(0).keys.delays.len();
    let report = net.measure(seconds(32.0));
    let mut delays = net.flow(0).keys.delays.split_off(before);
    delays.sort();
    let quantile = |share: f64| {
        let place = (delays.len() as f64 * share) as usize;
        delays[place].saturating_sub(delay)
    };
    Outcome {
        p50: quantile(0.5),
        p99: quantile(0.99),
        goodput: report.part(0, rate as f64),
    }
}

#[test]
fn keys_beside_bulk_wait_for_a_short_queue_only() {
    println!("Mbit/s | round trip ms | queue | wait p50 ms | p99 ms | goodput %");
    for (rate, delay, queue, most) in [
        (100, 25, 1_000, 10),
        (100, 25, 100, 10),
        (200, 20, 1_000, 10),
        (50, 25, 1_000, 15),
    ] {
        let path = (rate * 1_000_000, Duration::from_millis(delay));
        let Outcome { p50, p99, goodput } = type_beside_bulk(adaptive(), path, queue);
        println!(
            "{rate} | {} | {queue} | {:.1} | {:.1} | {:.1}",
            2 * delay,
            p50.as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
            goodput * 100.0
        );
        let what = format!("{rate} Mbit/s, queue {queue}");
        assert!(p99 <= Duration::from_millis(most), "{what}: {p99:?}");
        assert!(goodput >= 0.9, "{what}: {goodput}");
    }
}
