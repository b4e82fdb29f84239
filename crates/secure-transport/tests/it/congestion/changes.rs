//! Paths and applications that change while the connection lives.

use std::time::Duration;

use super::flow::{Settings, Source};
use super::net::Net;
use super::{LONG_RATE, adaptive, long, seconds};

#[test]
fn a_rate_that_falls_and_rises_is_followed() {
    let (there, back) = long(300);
    let mut net = Net::new(there.clone(), back, 1);
    net.add(adaptive(), Settings::default());
    net.run_until(seconds(5.0));
    net.reconfigure(there.clone().with_rate(20_000_000));
    net.run_until(seconds(8.0));
    assert!(net.measure(seconds(14.0)).part(0, 20e6) >= 0.85);
    net.reconfigure(there);
    net.run_until(seconds(18.0));
    assert!(net.measure(seconds(24.0)).part(0, LONG_RATE) >= 0.85);
}

#[test]
fn a_route_that_becomes_longer_is_no_queue() {
    let (there, back) = long(300);
    let mut net = Net::new(there.clone(), back, 1);
    net.add(adaptive(), Settings::default());
    net.run_until(seconds(5.0));
    net.reconfigure(there.with_delay(Duration::from_millis(60)));
    net.run_until(seconds(10.0));
    assert!(net.measure(seconds(16.0)).part(0, LONG_RATE) >= 0.85);
}

#[test]
fn an_outage_of_three_seconds_is_over_when_it_is_over() {
    let (there, back) = long(300);
    let mut net = Net::new(there.clone(), back, 1);
    net.add(adaptive(), Settings::default());
    net.run_until(seconds(5.0));
    net.reconfigure(there.clone().with_loss(1.0));
    net.run_until(seconds(8.0));
    net.reconfigure(there);
    net.run_until(seconds(12.0));
    assert!(net.measure(seconds(16.0)).part(0, LONG_RATE) >= 0.85);
}

#[test]
fn an_application_below_the_rate_of_the_link_is_never_held_back() {
    for loss in [0.0, 0.01] {
        let (there, back) = long(300);
        let mut net = Net::new(there.with_loss(loss), back, 1);
        let source = Source::Chunks(250_000, Duration::from_millis(20));
        net.add(
            adaptive(),
            Settings {
                source,
                ..Settings::default()
            },
        );
        net.run_until(seconds(3.0));
        let report = net.measure(seconds(9.0));
        assert!(report.part(0, 100e6) >= 0.98, "{loss}: {report:?}");
    }
}

#[test]
fn bulk_after_a_long_pause_neither_bursts_nor_crawls() {
    let (there, back) = long(300);
    let mut net = Net::new(there, back, 1);
    let source = Source::Chunks(20_000_000, Duration::from_secs(15));
    net.add(
        adaptive(),
        Settings {
            source,
            ..Settings::default()
        },
    );
    net.run_until(seconds(14.0));
    // 20 MB take 0.84 s at the full rate.
    let report = net.measure(seconds(16.3));
    assert!(report.shares[0].goodput * 2.3 >= 19_900_000.0, "{report:?}");
    assert!(report.shares[0].retransmitted < 0.03, "{report:?}");
}

#[test]
fn typing_does_not_spoil_the_start_of_bulk() {
    let (there, back) = long(300);
    let mut net = Net::new(there, back, 1);
    let source = Source::Chunks(50, Duration::from_millis(150));
    net.add(
        adaptive(),
        Settings {
            source,
            ..Settings::default()
        },
    );
    net.run_until(seconds(20.0));
    net.flow(0).turn_to_bulk();
    assert!(net.measure(seconds(21.0)).part(0, LONG_RATE) >= 0.5);
    assert!(net.measure(seconds(24.0)).part(0, LONG_RATE) >= 0.85);
}
