//! For people, in the manner of `wg show`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{PeerStatus, Status};

/// All networks, an empty line between them.
pub fn text(all: &[Status]) -> String {
    let networks: Vec<String> = all.iter().map(network).collect();
    networks.join("\n")
}

fn network(status: &Status) -> String {
    let mut text = String::new();
    let name = match status.name == status.interface {
        true => status.interface.clone(),
        false => format!("{} ({})", status.interface, status.name),
    };
    let _ = writeln!(text, "interface: {name}");
    let _ = writeln!(text, "  id: {}", status.id);
    let _ = writeln!(
        text,
        "  role: {}, up for {}",
        status.role,
        duration(status.up_seconds)
    );
    let _ = writeln!(text, "  addresses: {}", list(&status.addresses));
    let _ = writeln!(text, "  mtu: {}", status.mtu);
    if !status.routes.is_empty() {
        let _ = writeln!(text, "  routes: {}", list(&status.routes));
    }
    append_drops(&mut text, &status.drops);
    for peer in &status.peers {
        text.push('\n');
        append_peer(&mut text, peer);
    }
    text
}

fn append_peer(text: &mut String, peer: &PeerStatus) {
    let _ = match &peer.name {
        Some(name) => writeln!(text, "peer: {name}\n  id: {}", peer.id),
        None => writeln!(text, "peer: {}", peer.id),
    };
    let _ = writeln!(text, "  addresses: {}", list(&peer.addresses));
    let _ = match (&peer.path, peer.is_connected) {
        (Some(path), true) => {
            let rtt = path
                .rtt_ms
                .map(|ms| format!(", {ms:.1} ms"))
                .unwrap_or_default();
            writeln!(text, "  path: {} {}{rtt}", path.kind, path.address)
        }
        (None, true) => writeln!(text, "  path: unknown"),
        (_, false) => writeln!(text, "  path: none, not connected"),
    };
    if let Some(seconds) = peer.last_handshake_seconds {
        let _ = writeln!(text, "  latest handshake: {} ago", duration(seconds));
    }
    let _ = writeln!(
        text,
        "  transfer: {} received, {} sent",
        size(peer.received_bytes),
        size(peer.sent_bytes)
    );
}

fn append_drops(text: &mut String, drops: &BTreeMap<String, u64>) {
    let counted = drops.iter().filter(|(_, count)| **count > 0);
    let words: Vec<String> = counted
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if !words.is_empty() {
        let _ = writeln!(text, "  dropped: {}", words.join(", "));
    }
}

fn list(words: &[String]) -> String {
    match words {
        [] => "none".to_owned(),
        words => words.join(", "),
    }
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
}

fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut shown = bytes as f64;
    let mut name = "B";
    for unit in units {
        if shown < 1_024.0 {
            break;
        }
        shown /= 1_024.0;
        name = unit;
    }
    format!("{shown:.2} {name}")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_status_reads_like_that_of_other_tunnels() {
        let (a, b, c) = ("a".repeat(56), "b".repeat(56), "c".repeat(56));
        let expected = format!(
            "interface: dvpn0 (home)\n  id: {a}\n  role: server, up for 1 h 1 min\n  \
             addresses: 10.80.77.1/24, fd5a::1/64\n  mtu: 1340\n  routes: 10.9.0.0/16\n  \
             dropped: 2 no_route, 3 spoofed_source\n\n\
             peer: anna\n  id: {b}\n  addresses: 10.80.77.2/32\n  \
             path: direct 192.0.2.7:4433, 1.2 ms\n  latest handshake: 1 min 15 s ago\n  \
             transfer: 1.00 MiB received, 1000 B sent\n\n\
             peer: {c}\n  addresses: none\n  path: none, not connected\n  \
             transfer: 0 B received, 0 B sent\n"
        );
        assert_eq!(text(&[sample::status()]), expected);
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn sizes_and_times_have_fitting_units() {
        let sizes = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (5 << 30, "5.00 GiB"),
        ];
        for (bytes, shown) in sizes {
            assert_eq!(size(bytes), shown);
        }
        let times = [(59, "59 s"), (3_599, "59 min 59 s"), (90_000, "1 d 1 h")];
        for (seconds, shown) in times {
            assert_eq!(duration(seconds), shown);
        }
    }
}
