//! Ways around: relays, and TCP for when UDP is blocked.

use dhtnet_nat_traversal::turn::AllocationError;

use super::{count, list};
use crate::doctor::facts::{Facts, RelayFacts, RelayOutcome, TcpOutcome};
use crate::doctor::finding::{Finding, Topic};
use crate::relays::RelayTransport;

/// One finding for each relay that the user named, or one that there is none.
pub(super) fn named(relays: &[RelayFacts]) -> Vec<Finding> {
    if relays.is_empty() {
        return vec![Finding::unknown(
            Topic::Relay,
            "no TURN server is given",
            "one is needed only where mapping is weak or UDP is blocked: --turn turn:USER@HOST:PORT",
        )];
    }
    relays.iter().map(relay).collect()
}

fn relay(found: &RelayFacts) -> Finding {
    let topic = Topic::Relay;
    let server = &found.server;
    match &found.outcome {
        RelayOutcome::Allocated {
            relayed,
            transport,
            took,
        } => Finding::ok(
            topic,
            format!(
                "{server} gave the address {relayed} over {} in {} ms",
                transport.as_str(),
                took.as_millis()
            ),
        )
        .with("relayed", relayed.to_string().as_str()),
        RelayOutcome::Answers => Finding::ok(
            topic,
            format!("{server} answers; whom it admits shows when it is used"),
        ),
        RelayOutcome::NoAddress(reason) => Finding::broken(
            topic,
            format!("{server} is not found ({reason})"),
            "correct the name of the relay",
        ),
        RelayOutcome::NotConnected(reason) => Finding::broken(
            topic,
            format!("{server} cannot be connected to ({reason})"),
            "check its address and port, and whether a firewall stands between",
        ),
        RelayOutcome::Failed {
            transport: RelayTransport::Udp,
            error: AllocationError::Disconnected,
        } => Finding::broken(
            topic,
            format!("{server} refuses: nobody listens at that UDP port"),
            "check its address and port, or use ?transport=tcp",
        ),
        RelayOutcome::Failed { transport, error } => Finding::broken(
            topic,
            format!("{server} over {}: {error}", transport.as_str()),
            error.next_step(),
        ),
    }
}

pub(super) fn relays(facts: &Facts) -> Finding {
    let topic = Topic::Relays;
    if facts.v4.answers.is_empty() && facts.v6.answers.is_empty() {
        return Finding::unknown(topic, "not looked for: the DHT does not answer", "see dht");
    }
    let (announced, answering) = (&facts.announced_relays, &facts.answering_relays);
    match (announced.len(), answering.len()) {
        (0, _) => Finding::weak(
            topic,
            "none is announced in this DHT",
            "two devices behind NATs with random ports need one: run one on a reachable host, \
             dhtnode run --relay, or name a TURN server, --turn",
        ),
        (some, 0) => Finding::weak(
            topic,
            format!("{} announced, none of them answers", count(some, "relay")),
            "try again later, or name a TURN server: --turn",
        ),
        (some, _) => Finding::ok(
            topic,
            format!(
                "{} tried, {} answers",
                count(some, "announced relay"),
                list(answering)
            ),
        ),
    }
}

pub(super) fn tcp_443(facts: &Facts) -> Finding {
    let topic = Topic::Tcp443;
    let with = |outcome| {
        let tries = facts.tcp.iter().filter(move |one| one.outcome == outcome);
        tries.map(|one| one.to.ip())
    };
    if with(TcpOutcome::Connected).next().is_some() {
        return Finding::ok(
            topic,
            format!(
                "gets out: {} took a connection",
                list(with(TcpOutcome::Connected))
            ),
        );
    }
    let name_one = "it matters only where UDP is blocked; name a relay on port 443 to try it: \
                    --turn turn:USER@HOST:443?transport=tcp";
    if facts.tcp.is_empty() {
        return Finding::unknown(topic, "nobody is known who could be asked", name_one);
    }
    match with(TcpOutcome::Refused).next() {
        Some(_) => Finding::unknown(
            topic,
            format!(
                "refused by {}: nobody serves that port, or a firewall says so",
                list(with(TcpOutcome::Refused))
            ),
            name_one,
        ),
        None => Finding::unknown(
            topic,
            format!(
                "none of {} took a connection",
                count(facts.tcp.len(), "host")
            ),
            name_one,
        ),
    }
}
