//! As metrics, in the text form that Prometheus scrapes.
//!
//! The form is a line for each value; a library for it would want to own the counters, which are
//! in another process here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Status;

/// One family of metrics: its samples as `{labels} value`.
struct Family {
    kind: &'static str,
    help: &'static str,
    samples: Vec<(String, String)>,
}

/// All networks as metrics.
pub fn metrics(all: &[Status]) -> String {
    let mut families: BTreeMap<&'static str, Family> = BTreeMap::new();
    let mut add = |name, (kind, help), labels: &[(&str, &str)], value: String| {
        let family = families.entry(name).or_insert(Family {
            kind,
            help,
            samples: Vec::new(),
        });
        family.samples.push((braced(labels), value));
    };
    for status in all {
        let network = ("network", status.name.as_str());
        add(
            "dvpn_mtu_bytes",
            ("gauge", "Largest packet of the interface."),
            &[network],
            status.mtu.to_string(),
        );
        add(
            "dvpn_up_seconds",
            ("gauge", "Time since the network came up."),
            &[network],
            status.up_seconds.to_string(),
        );
        for (reason, count) in &status.drops {
            let labels = [network, ("reason", reason)];
            add(
                "dvpn_dropped_packets_total",
                ("counter", "Packets that were not carried."),
                &labels,
                count.to_string(),
            );
        }
        for peer in &status.peers {
            let labels = [
                network,
                ("peer", peer.id.as_str()),
                ("name", peer.name.as_deref().unwrap_or_default()),
            ];
            let connected = u8::from(peer.is_connected).to_string();
            add(
                "dvpn_peer_connected",
                ("gauge", "Whether the peer can be reached."),
                &labels,
                connected,
            );
            add(
                "dvpn_peer_received_bytes_total",
                ("counter", "Bytes of packets from the peer."),
                &labels,
                peer.received_bytes.to_string(),
            );
            add(
                "dvpn_peer_sent_bytes_total",
                ("counter", "Bytes of packets to the peer."),
                &labels,
                peer.sent_bytes.to_string(),
            );
            if let Some(seconds) = peer.last_handshake_seconds {
                add(
                    "dvpn_peer_last_handshake_seconds",
                    ("gauge", "Time since the last handshake."),
                    &labels,
                    seconds.to_string(),
                );
            }
            if let Some(rtt) = peer.path.as_ref().and_then(|path| path.rtt_ms) {
                add(
                    "dvpn_peer_rtt_seconds",
                    ("gauge", "Round trip to the peer."),
                    &labels,
                    format!("{}", rtt / 1e3),
                );
            }
        }
    }
    let mut text = String::new();
    for (name, family) in families {
        let _ = writeln!(
            text,
            "# HELP {name} {}\n# TYPE {name} {}",
            family.help, family.kind
        );
        for (labels, value) in family.samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

fn braced(labels: &[(&str, &str)]) -> String {
    let escaped = |value: &str| {
        value
            .replace('\\', r"\\")
            .replace('"', r#"\""#)
            .replace('\n', r"\n")
    };
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn each_family_has_its_type_once_and_a_line_for_each_value() {
        let text = metrics(&[sample::status(), sample::status()]);
        let b = "b".repeat(56);
        for line in [
            "# TYPE dvpn_dropped_packets_total counter".to_owned(),
            "dvpn_dropped_packets_total{network=\"home\",reason=\"spoofed_source\"} 3".to_owned(),
            format!(
                "dvpn_peer_received_bytes_total{{network=\"home\",peer=\"{b}\",name=\"anna\"}} 1048576"
            ),
            format!("dvpn_peer_rtt_seconds{{network=\"home\",peer=\"{b}\",name=\"anna\"}} 0.00125"),
            "dvpn_mtu_bytes{network=\"home\"} 1340".to_owned(),
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no {line} in\n{text}"
            );
        }
        assert_eq!(text.matches("# TYPE dvpn_mtu_bytes").count(), 1);
        assert!(!text.contains("last_handshake_seconds{network=\"home\",peer=\"c"));
        assert_eq!(metrics(&[]), "");
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(braced(&[("a", "x\"\\\ny")]), r#"{a="x\"\\\ny"}"#);
    }
}
