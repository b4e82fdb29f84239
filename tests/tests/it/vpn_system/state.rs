//! Everything of a host that a VPN may touch, as text to compare.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dhtnet_tests::lab::Host;

use crate::pair::LIMIT;

/// Addresses, routes and rules of both families and all tables, nftables, sysctls, the resolver.
pub(super) fn state(host: &Host) -> String {
    let mut text = String::new();
    for command in [
        "ip -o link",
        "ip -o addr",
        "ip -4 -o route show table all",
        "ip -6 -o route show table all",
        "ip -4 rule",
        "ip -6 rule",
        "nft list ruleset",
    ] {
        let mut words = command.split(' ');
        let program = words.next().unwrap_or_default();
        let finished = host.command(program).args(words).start().unwrap();
        let finished = finished.finish(LIMIT).unwrap();
        assert_eq!(finished.code(), Some(0), "{command}: {}", finished.stderr);
        for line in finished.text().lines() {
            let _ = writeln!(text, "{command}: {line}");
        }
    }
    for root in ["/proc/sys/net/ipv4", "/proc/sys/net/ipv6"] {
        host.run(|| append_knobs(Path::new(root), &mut text))
            .unwrap();
    }
    text.push_str(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    text
}

fn append_knobs(folder: &Path, text: &mut String) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            append_knobs(&path, text);
        } else if let Ok(value) = fs::read_to_string(&path) {
            let _ = writeln!(text, "{}={}", path.display(), value.trim());
        }
    }
}

/// The same, or the end of the test with the lines that differ.
#[track_caller]
pub(super) fn assert_as_before(before: &str, after: &str, whose: &str) {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = old.iter().filter(|line| !new.contains(line));
    let come = new.iter().filter(|line| !old.contains(line));
    let gone = gone.map(|line| format!("- {line}\n"));
    let difference: String = gone.chain(come.map(|line| format!("+ {line}\n"))).collect();
    assert!(before == after, "{whose}:\n{difference}");
}
