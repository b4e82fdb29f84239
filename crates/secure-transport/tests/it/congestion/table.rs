//! The table of docs/design/0003-congestion-control.md, and the bounds it must keep.

#![allow(clippy::print_stdout, reason = "the table is for who runs the test")]

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::congestion::{BbrConfig, NewRenoConfig};

use super::flow::Settings;
use super::net::{Factory, Net, Report};
use super::{LONG_RATE, adaptive, cubic, long, seconds};

fn controllers() -> [(&'static str, Factory); 4] {
    [
        ("Adaptive", adaptive()),
        ("CUBIC", cubic()),
        ("NewReno", Arc::new(NewRenoConfig::default())),
        ("BBR", Arc::new(BbrConfig::default())),
    ]
}

fn run(factory: Factory, queue: usize, loss: f64) -> Report {
    let (there, back) = long(queue);
    let mut net = Net::new(there.with_loss(loss), back, 1);
    net.add(factory, Settings::default());
    net.run_until(seconds(2.0));
    net.measure(seconds(8.0))
}

#[test]
fn table_of_a_long_link_with_and_without_random_loss() {
    println!("controller | queue | loss % | goodput % | retransmitted % | mean wait ms");
    for (queue, loss) in [(1_000, 0.0), (100, 0.0), (1_000, 0.005), (100, 0.005)] {
        for (name, factory) in controllers() {
            let report = run(factory, queue, loss);
            let goodput = report.part(0, LONG_RATE);
            let retransmitted = report.shares[0].retransmitted;
            let wait = report.mean_wait;
            println!(
                "{name} | {queue} | {} | {:.1} | {:.2} | {:.1}",
                loss * 100.0,
                goodput * 100.0,
                retransmitted * 100.0,
                wait.as_secs_f64() * 1e3,
            );
            if name == "Adaptive" {
                let least = if loss > 0.0 { 0.70 } else { 0.85 };
                assert!(goodput >= least, "{queue} {loss}: {goodput}");
                assert!(
                    retransmitted < loss + 0.03,
                    "{queue} {loss}: {retransmitted}"
                );
                assert!(wait < Duration::from_millis(40), "{queue} {loss}: {wait:?}");
            }
        }
    }
}

#[test]
fn one_seed_gives_one_run() {
    let first = run(adaptive(), 100, 0.005);
    let again = run(adaptive(), 100, 0.005);
    assert_eq!(first.link, again.link);
    assert_eq!(first.shares[0].goodput, again.shares[0].goodput);
}
