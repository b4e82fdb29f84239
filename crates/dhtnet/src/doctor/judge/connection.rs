//! The sum: whether a connection by key can work from here.

use crate::doctor::finding::{Finding, Status, Topic};

/// Judges by the other findings.
pub(super) fn connection(findings: &[Finding]) -> Finding {
    let topic = Topic::Connection;
    let status = |topic: Topic| {
        let found = findings.iter().find(|finding| finding.topic == topic);
        found.map_or(Status::Unknown, |finding| finding.status)
    };
    for needed in [Topic::Home, Topic::Descriptors, Topic::Clock] {
        if status(needed) == Status::Broken {
            return Finding::broken(
                topic,
                format!("cannot work: {needed} is broken"),
                format!("see {needed}"),
            );
        }
    }
    let udp = [Topic::UdpIpv4, Topic::UdpIpv6].map(status);
    let works = |found: &Finding| found.topic == Topic::Relay && found.status == Status::Ok;
    let relay = findings.iter().any(works);
    if !udp.contains(&Status::Ok) {
        return without_udp(findings, relay);
    }
    match status(Topic::Dht) {
        Status::Ok => {}
        Status::Unknown => {
            return Finding::unknown(
                topic,
                "works on the local network, and by ID@ADDRESS:PORT; no DHT was asked",
                "name a node of the network: -b HOST:PORT",
            );
        }
        _ => {
            return Finding::broken(
                topic,
                "cannot work by the key alone: the DHT does not answer",
                "see bootstrap; with ID@ADDRESS:PORT, and on the local network, it works",
            );
        }
    }
    if status(Topic::Mtu) == Status::Broken {
        return Finding::broken(topic, "cannot work: packets are cut too short", "see mtu");
    }
    let is_relayed = relay || status(Topic::Relays) == Status::Ok;
    match (status(Topic::Mapping), status(Topic::UdpIpv6)) {
        (Status::Weak, ipv6) if !is_relayed && ipv6 != Status::Ok => Finding::weak(
            topic,
            "works, but not to peers behind a NAT like this one: the mapping depends on the peer",
            "see mapping",
        ),
        _ => Finding::ok(topic, "works from here by the key alone"),
    }
}

fn without_udp(findings: &[Finding], has_relay: bool) -> Finding {
    let topic = Topic::Connection;
    if has_relay {
        return Finding::weak(
            topic,
            "works through the relay alone: no UDP gets through",
            "see udp-ipv4; direct connections need UDP",
        );
    }
    let is_unknown = |topic| {
        let mut all = findings.iter();
        all.any(|finding| finding.topic == topic && finding.status == Status::Unknown)
    };
    if is_unknown(Topic::UdpIpv4) && is_unknown(Topic::Dht) {
        return Finding::unknown(
            topic,
            "nobody was asked outside the local network",
            "name a node of the network: -b HOST:PORT",
        );
    }
    Finding::broken(
        topic,
        "cannot work beyond the local network: nothing outside answers",
        "see udp-ipv4 and bootstrap",
    )
}
