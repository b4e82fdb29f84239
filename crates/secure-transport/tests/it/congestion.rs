//! Congestion control over simulated links: two quinn-proto endpoints per flow, a virtual clock.
//!
//! Figures are parts of the link's rate; headers leave 95.8 % of it to the application. The table
//! of the design record is printed by
//! `cargo test -p dhtnet-secure-transport --test it congestion::table -- --nocapture`.

#![allow(clippy::disallowed_methods, reason = "an instant to count from")]

mod changes;
mod flow;
mod lan;
mod net;
mod plaintext;
mod rough;
mod sharing;
mod table;
mod typing;

use std::sync::Arc;
use std::time::Duration;

use dhtnet_secure_transport::congestion::AdaptiveConfig;
use dhtnet_simnet::{LinkConfig, Queue};
use quinn_proto::congestion::CubicConfig;

use self::net::Factory;

fn adaptive() -> Factory {
    Arc::new(AdaptiveConfig::default())
}

fn cubic() -> Factory {
    Arc::new(CubicConfig::default())
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The rate of [`long`], bits per second.
const LONG_RATE: f64 = 200e6;

/// 200 Mbit/s, 40 ms there and back, a queue of so many packets: a bandwidth-delay product of
/// 676 full packets.
fn long(queue: usize) -> (LinkConfig, LinkConfig) {
    let delay = Duration::from_millis(20);
    let there = LinkConfig::default()
        .with_rate(LONG_RATE as u64)
        .with_delay(delay)
        .with_queue(Queue::Packets(queue));
    (there, LinkConfig::default().with_delay(delay))
}
