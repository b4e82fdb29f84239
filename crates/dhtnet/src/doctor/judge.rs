//! What facts mean: verdicts and next steps. No sockets, no clock: facts in, findings out.

mod connection;
mod host;
mod mtu;
mod nat;
mod reach;
mod relay;
mod router;

use std::fmt::Display;

use super::facts::Facts;
use super::finding::{Finding, Topic};

/// All findings, the sum first.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        host::home(&facts.home),
        host::descriptors(&facts.descriptors),
        host::clock(&facts.clock),
        reach::bootstrap(facts),
        reach::udp_v4(facts),
        reach::udp_v6(facts),
        reach::ipv6(&facts.v6),
        reach::dht(facts),
        nat::external(facts),
        nat::mapping(&facts.v4),
        nat::ports(&facts.v4),
        nat::filtering(facts),
        nat::hairpin(&facts.v4),
        router::double_nat(facts),
        router::port_mapping(facts),
        relay::relays(facts),
        relay::tcp_443(facts),
        mtu::mtu(facts),
    ];
    let at = findings
        .iter()
        .position(|found| found.topic == Topic::Relays);
    let named = relay::named(&facts.named_relays);
    findings.splice(at.unwrap_or_default()..at.unwrap_or_default(), named);
    findings.insert(0, connection::connection(&findings));
    findings
}

/// `1 node`, `2 nodes`.
fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// The items with commas between; of many the first few.
fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    /// A line stays readable with this many addresses.
    const MAX_SHOWN: usize = 4;
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let more = items.len().saturating_sub(MAX_SHOWN);
    let shown = items[..items.len() - more].join(", ");
    match more {
        0 => shown,
        _ => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
