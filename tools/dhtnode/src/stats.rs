//! The counters of a node: as a table, as a line that moves, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

/// Counters since the start, of one node or of several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    /// By family: "IPv4", "IPv6".
    pub(crate) tables: BTreeMap<&'static str, Table>,
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
    /// Datagrams that were not answered, by the reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Own queries that nobody answered.
    pub(crate) unanswered: u64,
    pub(crate) stored: Kept,
    pub(crate) lookups: u64,
    pub(crate) uptime: Duration,
    /// Nodes in this process.
    pub(crate) nodes: usize,
    /// Those of them that found others.
    pub(crate) ready: usize,
    /// Those of them that only ask.
    pub(crate) read_only: usize,
    /// What was relayed for others; none without a relay.
    pub(crate) relay: Option<Relayed>,
}

/// What a relay does for others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Relayed {
    /// At this moment.
    pub(crate) clients: u64,
    /// TCP connections at this moment.
    pub(crate) streams: u64,
    pub(crate) payloads: u64,
    pub(crate) bytes: u64,
    /// Payloads dropped because a rate was exceeded.
    pub(crate) over_quota: u64,
    /// Requests refused.
    pub(crate) refused: u64,
    /// Payloads that no socket took.
    pub(crate) lost: u64,
}

impl Relayed {
    fn json(&self) -> Value {
        json!({
            "clients": self.clients,
            "streams": self.streams,
            "payloads": self.payloads,
            "bytes": self.bytes,
            "over_quota": self.over_quota,
            "refused": self.refused,
            "lost": self.lost,
        })
    }
}

/// One family's routing table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) good: u64,
    pub(crate) questionable: u64,
    /// Nodes in the whole network, estimated from how near the nearest are.
    pub(crate) network_size: Option<u64>,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Traffic {
    /// Datagrams.
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// Queries by their method, and what else is told apart.
    pub(crate) messages: BTreeMap<String, u64>,
}

/// What others stored here.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kept {
    pub(crate) peers: u64,
    pub(crate) items: u64,
    pub(crate) values: u64,
    pub(crate) listeners: u64,
}

impl Traffic {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        add_counts(&mut self.messages, &other.messages);
        self.bytes += other.bytes;
    }

    fn json(&self) -> Value {
        json!({ "datagrams": self.count, "bytes": self.bytes, "messages": self.messages })
    }
}

fn add_counts(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *to.entry(name.clone()).or_default() += count;
    }
}

impl Stats {
    /// The counters of several nodes in one: sums, the longest uptime, the largest estimate.
    pub(crate) fn total(nodes: impl IntoIterator<Item = Self>) -> Self {
        let mut total = Self::default();
        for node in nodes {
            for (family, table) in node.tables {
                let sum = total.tables.entry(family).or_default();
                sum.good += table.good;
                sum.questionable += table.questionable;
                sum.network_size = sum.network_size.max(table.network_size);
            }
            total.received.add(&node.received);
            total.sent.add(&node.sent);
            add_counts(&mut total.dropped, &node.dropped);
            total.stored.peers += node.stored.peers;
            total.stored.items += node.stored.items;
            total.stored.values += node.stored.values;
            total.stored.listeners += node.stored.listeners;
            total.unanswered += node.unanswered;
            total.lookups += node.lookups;
            total.uptime = total.uptime.max(node.uptime);
            total.nodes += node.nodes;
            total.ready += node.ready;
            total.read_only += node.read_only;
            // One node of a process relays at most.
            total.relay = total.relay.or(node.relay);
        }
        total
    }

    /// The JSON form.
    pub(crate) fn json(&self) -> Value {
        let tables: serde_json::Map<String, Value> = self
            .tables
            .iter()
            .map(|(family, table)| {
                let table = json!({
                    "good": table.good,
                    "questionable": table.questionable,
                    "network_size": table.network_size,
                });
                ((*family).to_owned(), table)
            })
            .collect();
        let mut json = json!({
            "uptime": self.uptime.as_secs(),
            "nodes": self.nodes,
            "ready": self.ready,
            "read_only": self.read_only,
            "tables": tables,
            "received": self.received.json(),
            "sent": self.sent.json(),
            "dropped": self.dropped,
            "unanswered": self.unanswered,
            "stored": {
                "peers": self.stored.peers,
                "items": self.stored.items,
                "values": self.stored.values,
                "listeners": self.stored.listeners,
            },
            "lookups": self.lookups,
        });
        if let Some(relay) = &self.relay {
            json["relay"] = relay.json();
        }
        json
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:10} {value}"); // A String takes everything.
        };
        row("uptime", duration_text(self.uptime));
        row("state", self.state_text());
        for (family, table) in &self.tables {
            row(family, table_text(table));
        }
        for (name, traffic) in [("received", &self.received), ("sent", &self.sent)] {
            let count = traffic.count;
            let size = size_text(traffic.bytes);
            let by_method = counts_text(&traffic.messages);
            row(name, format!("{count} datagrams, {size}{by_method}"));
        }
        let dropped: u64 = self.dropped.values().sum();
        row(
            "dropped",
            format!("{dropped}{}", counts_text(&self.dropped)),
        );
        let Kept {
            peers,
            items,
            values,
            listeners,
        } = self.stored;
        row(
            "stored",
            format!("{peers} peers, {items} items, {values} values; {listeners} listeners"),
        );
        row("lookups", self.lookups.to_string());
        row("unanswered", format!("{} queries", self.unanswered));
        if let Some(relay) = &self.relay {
            let size = size_text(relay.bytes);
            let Relayed {
                clients,
                streams,
                payloads,
                over_quota,
                refused,
                lost,
                ..
            } = relay;
            row(
                "relay",
                format!(
                    "{clients} clients, {streams} TCP connections, {payloads} payloads, {size}; \
                     {over_quota} over a rate, {lost} lost, {refused} requests refused"
                ),
            );
        }
        text
    }

    /// One line: where it stands, and what moved since `before`, `interval` ago.
    pub(crate) fn line(&self, before: &Self, interval: Duration) -> String {
        let rate = |now: u64, then: u64| {
            now.saturating_sub(then) as f64 / interval.as_secs_f64().max(0.001)
        };
        let mut line = format!("up {}", duration_text(self.uptime));
        for (family, table) in &self.tables {
            let _ = write!(line, "  {family} {}+{}", table.good, table.questionable);
            if let Some(size) = table.network_size {
                let _ = write!(line, " of ~{size}");
            }
        }
        let Kept {
            peers,
            items,
            values,
            listeners,
        } = self.stored;
        let dropped = |stats: &Self| stats.dropped.values().sum();
        let _ = write!(
            line,
            "  in {} ({:.1}/s, {}/s)  out {} ({:.1}/s, {}/s)  dropped {} ({:.1}/s)  lookups {}  \
             stored {peers} peers {items} items {values} values {listeners} listeners",
            self.received.count,
            rate(self.received.count, before.received.count),
            size_text(rate(self.received.bytes, before.received.bytes) as u64),
            self.sent.count,
            rate(self.sent.count, before.sent.count),
            size_text(rate(self.sent.bytes, before.sent.bytes) as u64),
            dropped(self),
            rate(dropped(self), dropped(before)),
            self.lookups,
        );
        if let Some(relay) = &self.relay {
            let then = before.relay.unwrap_or_default();
            let _ = write!(
                line,
                "  relay {} clients {} ({:.1}/s, {}/s) over rate {} refused {}",
                relay.clients,
                relay.payloads,
                rate(relay.payloads, then.payloads),
                size_text(rate(relay.bytes, then.bytes) as u64),
                relay.over_quota,
                relay.refused,
            );
        }
        line.push('\n');
        line
    }

    fn state_text(&self) -> String {
        let ready = match (self.nodes, self.ready) {
            (1, 1) => "has found others".to_owned(),
            (1, _) => "knows no other node yet".to_owned(),
            (nodes, ready) => format!("{ready} of {nodes} nodes have found others"),
        };
        match (self.nodes, self.read_only) {
            (_, 0) => format!("{ready}, answers"),
            (1, _) => format!("{ready}, only asks"),
            (_, some) => format!("{ready}, {some} only ask"),
        }
    }
}

fn table_text(table: &Table) -> String {
    let mut text = format!(
        "{} good nodes, {} questionable",
        table.good, table.questionable
    );
    if let Some(size) = table.network_size {
        let _ = write!(text, ", about {size} in the network");
    }
    text
}

/// ` (ping 3, get 2)`, the most frequent first; nothing if there is nothing.
fn counts_text(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    if counts.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    format!(" ({})", parts.join(", "))
}

fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

fn size_text(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(received: u64, bytes: u64) -> Stats {
        let table = Table {
            good: 8,
            questionable: 2,
            network_size: Some(120),
        };
        Stats {
            tables: BTreeMap::from([("IPv4", table)]),
            received: Traffic {
                count: received + 1,
                messages: BTreeMap::from([("ping".to_owned(), received), ("put".to_owned(), 1)]),
                bytes,
            },
            uptime: Duration::from_secs(75),
            nodes: 1,
            ready: 1,
            ..Stats::default()
        }
    }

    #[test]
    fn the_line_shows_what_moved_since_the_last_one() {
        let line = stats(40, 4_096).line(&stats(20, 2_048), Duration::from_secs(2));
        assert_eq!(
            line,
            "up 1m15s  IPv4 8+2 of ~120  in 41 (10.0/s, 1.0 KiB/s)  out 0 (0.0/s, 0 B/s)  \
             dropped 0 (0.0/s)  lookups 0  stored 0 peers 0 items 0 values 0 listeners\n"
        );
    }

    #[test]
    fn a_relay_is_counted_in_the_line_the_table_and_json() {
        let relaying = |payloads, bytes| Stats {
            relay: Some(Relayed {
                clients: 2,
                streams: 1,
                payloads,
                bytes,
                ..Relayed::default()
            }),
            ..stats(40, 100)
        };
        let line = relaying(30, 4_096).line(&relaying(10, 2_048), Duration::from_secs(2));
        let expected = "  relay 2 clients 30 (10.0/s, 1.0 KiB/s) over rate 0 refused 0\n";
        assert!(line.ends_with(expected), "{line}");
        let table = relaying(30, 4_096).table();
        let expected =
            "relay      2 clients, 1 TCP connections, 30 payloads, 4.0 KiB; 0 over a rate";
        assert!(table.contains(expected), "{table}");
        let total = Stats::total([relaying(30, 4_096), stats(1, 1)]);
        assert_eq!(total.json()["relay"]["payloads"], json!(30));
        assert_eq!(stats(1, 1).json().get("relay"), None);
    }

    #[test]
    fn the_table_names_the_methods_most_frequent_first() {
        let table = stats(40, 4_096).table();
        assert!(
            table.contains("state      has found others, answers\n"),
            "{table}"
        );
        assert!(
            table.contains("IPv4       8 good nodes, 2 questionable, about 120 in the network\n")
        );
        assert!(table.contains("received   41 datagrams, 4.0 KiB (ping 40, put 1)\n"));
        assert!(table.contains("dropped    0\n"));
    }

    #[test]
    fn a_cluster_is_the_sum_of_its_nodes() {
        let total = Stats::total([
            stats(40, 100),
            Stats {
                ready: 0,
                ..stats(2, 10)
            },
        ]);
        assert_eq!(
            (total.nodes, total.ready, total.received.bytes),
            (2, 1, 110)
        );
        assert_eq!(total.received.messages["ping"], 42);
        assert_eq!(total.tables["IPv4"].good, 16);
        assert_eq!(total.tables["IPv4"].network_size, Some(120));
        assert!(
            total
                .table()
                .contains("1 of 2 nodes have found others, answers")
        );
        assert_eq!(total.json()["received"]["datagrams"], json!(44));
    }
}
