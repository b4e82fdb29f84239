//! The table of our own in nftables; no other table is touched.
//!
//! What a chain of ours accepts, another table may still drop: the host's own firewall stays in
//! force. [`closed_forwarding`] finds the commonest case, so that it can be told; also where the
//! firewall is one of the older iptables, which nft does not list.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use dhtnet_identity::target::Network;
use serde::{Deserialize, Serialize};

use super::SystemError;
use super::route::Family;
use crate::plan::{Forwarding, Inbound, KillSwitch, Plan, SubnetNat};

/// Networks that are not the internet: private, shared and link-local (RFC 1918, RFC 6598,
/// RFC 3927).
const PRIVATE_V4: &str =
    "{ 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 }";

/// The same for IPv6 (RFC 4193, RFC 4291).
const PRIVATE_V6: &str = "{ fc00::/7, fe80::/10 }";

/// What is needed to get and keep an address on the local network, which the kill switch lets
/// pass: DHCP, and neighbour and router discovery.
const LOCAL_UPKEEP: &str = "\
    udp sport 68 udp dport 67 accept
    udp sport 546 udp dport 547 accept
    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept
";

/// Groups of our interfaces (ip-link(8)), by which networks on one machine know each other: those that
/// forward nothing to other interfaces, and those that do. "dhvp" in ASCII, as the mark.
pub(super) const TUNNELS: u32 = crate::plan::NODE_MARK;
pub(super) const FORWARDING_TUNNELS: u32 = TUNNELS + 1;

/// The group of the interface of a plan.
pub(super) fn group_of(plan: &Plan) -> u32 {
    match plan.forwarding.is_on() {
        true => FORWARDING_TUNNELS,
        false => TUNNELS,
    }
}

/// A table as text for `nft -f`, and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) body: String,
}

/// How the host is, apart from the plan.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Host {
    /// Families that it forwarded before: packets between its other interfaces are not ours.
    pub(super) forwards_v4: bool,
    pub(super) forwards_v6: bool,
    /// It drops packets that come from where answers would not go.
    pub(super) filters_strictly: bool,
}

impl Table {
    /// The table for `plan`; `None` when nothing needs one.
    pub(super) fn of(plan: &Plan, host: Host) -> Option<Self> {
        let forward = forward_chain(plan, host);
        let mut body = forward.unwrap_or_default();
        body.push_str(&nat_chain(plan));
        if plan.kill_switch == KillSwitch::On {
            body.push_str(&kill_switch_chain(plan));
        }
        if let Some(mark) = plan.mark.filter(|_| plan.is_full_tunnel()) {
            if host.filters_strictly {
                body.push_str(&mark_chains(mark));
            }
            body.push_str(&address_guard(plan));
        }
        (!body.is_empty()).then(|| Self {
            name: format!("dhtnet_{}", plan.interface),
            body,
        })
    }

    /// Puts the table in force, in the place of one of the same name, in one step.
    pub(super) fn load(&self) -> Result<(), SystemError> {
        let Self { name, body } = self;
        load(&format!(
            "table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{body}}}\n"
        ))
    }

    /// Takes the table away, if it is there.
    pub(super) fn remove(&self) -> Result<(), SystemError> {
        let name = &self.name;
        load(&format!("table inet {name}\ndelete table inet {name}\n"))
    }
}

fn forward_chain(plan: &Plan, host: Host) -> Option<String> {
    let forwarding = &plan.forwarding;
    let tun = &plan.interface;
    let mut rules = String::new();
    if forwarding.isolated {
        let _ = writeln!(rules, "    iifname {tun:?} oifname {tun:?} drop");
    }
    if !forwarding.is_on() {
        return (!rules.is_empty()).then(|| in_forward_chain(&rules));
    }
    for direction in ["iifname", "oifname"] {
        let _ = writeln!(
            rules,
            "    {direction} {tun:?} tcp flags syn / syn,rst tcp option maxseg size set rt mtu"
        );
    }
    let _ = writeln!(
        rules,
        "    iifname {tun:?} oifname != {tun:?} ct state established,related accept"
    );
    for family in Family::BOTH {
        rules.push_str(&outward_rule(tun, forwarding, family));
    }
    if forwarding.inbound == Inbound::RepliesOnly {
        let _ = writeln!(
            rules,
            "    iifname != {tun:?} oifname {tun:?} ct state new,invalid drop"
        );
    }
    for (forwards, family) in [(host.forwards_v4, "ipv4"), (host.forwards_v6, "ipv6")] {
        if !forwards {
            let _ = writeln!(
                rules,
                "    meta nfproto {family} iifname != {tun:?} oifname != {tun:?} \
                 iifgroup != {FORWARDING_TUNNELS:#x} oifgroup != {FORWARDING_TUNNELS:#x} drop"
            );
        }
    }
    Some(in_forward_chain(&rules))
}

fn in_forward_chain(rules: &str) -> String {
    format!(
        "  chain forwarded {{\n    type filter hook forward priority filter; policy accept;\n{rules}  }}\n"
    )
}

/// What of one family may leave the tunnel for other interfaces.
fn outward_rule(tun: &str, forwarding: &Forwarding, family: Family) -> String {
    let (address, proto, private) = match family {
        Family::V4 => ("ip", "ipv4", PRIVATE_V4),
        Family::V6 => ("ip6", "ipv6", PRIVATE_V6),
    };
    let offered = set_of(&forwarding.subnets, family);
    let from = format!("    iifname {tun:?} oifname != {tun:?}");
    match (offered, forwarding.exit) {
        (None, false) => format!("{from} meta nfproto {proto} drop\n"),
        (Some(offered), false) => format!("{from} {address} daddr != {offered} drop\n"),
        (None, true) => format!("{from} {address} daddr {private} drop\n"),
        (Some(offered), true) => {
            format!("{from} {address} daddr != {offered} {address} daddr {private} drop\n")
        }
    }
}

fn nat_chain(plan: &Plan) -> String {
    let forwarding = &plan.forwarding;
    let with_nat = forwarding.subnet_nat == SubnetNat::On && !forwarding.subnets.is_empty();
    if !forwarding.exit && !with_nat {
        return String::new();
    }
    let tun = &plan.interface;
    let mut rules = String::new();
    for family in Family::BOTH {
        let word = match family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let own: Vec<Network> = plan.networks().collect();
        let (Some(own), offered) = (set_of(&own, family), set_of(&forwarding.subnets, family))
        else {
            continue;
        };
        let except = match (&offered, forwarding.subnet_nat, forwarding.exit) {
            (Some(offered), SubnetNat::Off, _) => format!(" {word} daddr != {offered}"),
            (Some(offered), SubnetNat::On, false) => format!(" {word} daddr {offered}"),
            (None, _, false) => continue,
            _ => String::new(),
        };
        let _ = writeln!(
            rules,
            "    {word} saddr {own} oifname != {tun:?}{except} masquerade"
        );
    }
    if rules.is_empty() {
        return rules;
    }
    format!(
        "  chain sources {{\n    type nat hook postrouting priority srcnat; policy accept;\n{rules}  }}\n"
    )
}

/// Nothing leaves but through the tunnel, those of other networks of ours, loopback and as the node's
/// own packets; neither does what is forwarded for others. What comes out of the tunnel is judged by
/// the other chains.
fn kill_switch_chain(plan: &Plan) -> String {
    let tun = &plan.interface;
    let others = format!("oifgroup {{ {TUNNELS:#x}, {FORWARDING_TUNNELS:#x} }} accept");
    let mark = plan
        .mark
        .map(|mark| format!("    meta mark {mark:#010x} accept\n"))
        .unwrap_or_default();
    format!(
        "  chain kill_switch {{\n    type filter hook output priority filter; policy accept;\n    \
         oifname {{ \"lo\", {tun:?} }} accept\n    {others}\n{mark}{LOCAL_UPKEEP}    \
         reject with icmpx type admin-prohibited\n  }}\n  \
         chain kill_switch_forwarded {{\n    type filter hook forward priority filter; policy accept;\n    \
         iifname {tun:?} accept\n    oifname {tun:?} accept\n    {others}\n    \
         reject with icmpx type admin-prohibited\n  }}\n"
    )
}

/// Answers to the node's packets carry its mark, so that the strict check of their source looks
/// where those packets went.
fn mark_chains(mark: u32) -> String {
    format!(
        "  chain remember {{\n    type filter hook postrouting priority mangle; policy accept;\n    \
         meta mark {mark:#010x} ct mark set meta mark\n  }}\n  \
         chain recall {{\n    type filter hook prerouting priority mangle; policy accept;\n    \
         ct mark {mark:#010x} meta mark set ct mark\n  }}\n"
    )
}

/// Nobody outside the tunnel reaches, or finds out, the addresses inside.
fn address_guard(plan: &Plan) -> String {
    let tun = &plan.interface;
    let mut rules = String::new();
    for (address, _) in &plan.addresses {
        let word = match address {
            IpAddr::V4(_) => "ip",
            IpAddr::V6(_) => "ip6",
        };
        let _ = writeln!(
            rules,
            "    iifname != {{ \"lo\", {tun:?} }} {word} daddr {address} fib saddr type != local drop"
        );
    }
    format!(
        "  chain guard {{\n    type filter hook prerouting priority raw; policy accept;\n{rules}  }}\n"
    )
}

fn set_of(networks: &[Network], family: Family) -> Option<String> {
    let mut all: Vec<&Network> = networks
        .iter()
        .filter(|network| Family::of(network.address()) == family)
        .collect();
    // Elements of a set may not overlap.
    all.sort_by_key(|network| network.prefix_len());
    let mut kept: Vec<&Network> = Vec::new();
    for network in all {
        if !kept.iter().any(|wider| wider.includes(network)) {
            kept.push(network);
        }
    }
    let texts: Vec<String> = kept.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| format!("{{ {} }}", texts.join(", ")))
}

/// Chains that drop what no rule of theirs accepts, as `FAMILY TABLE CHAIN`; not where a rule names
/// `interface`, which its owner then knows of.
pub(super) fn closed_forwarding(interface: &str) -> Vec<String> {
    let listed = output("nft", &["-j", "list", "ruleset"]);
    let mut closed = closed_chains(listed.unwrap_or_default().as_bytes(), interface);
    for (names, program, family) in OLDER_TABLES {
        let has_filter =
            fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == "filter"));
        let rules = has_filter.then(|| output(program, &["-S"])).flatten();
        if rules.is_some_and(|rules| is_closed(&rules, interface)) {
            closed.push(format!("{family} filter FORWARD of {program}"));
        }
    }
    closed
}

/// Where the kernel names the tables of the older iptables, and the program that lists them.
const OLDER_TABLES: [(&str, &str, &str); 2] = [
    ("/proc/net/ip_tables_names", "iptables-legacy", "ip"),
    ("/proc/net/ip6_tables_names", "ip6tables-legacy", "ip6"),
];

/// Whether rules as `iptables -S` lists them forward nothing by themselves, nor know `interface`.
fn is_closed(rules: &str, interface: &str) -> bool {
    let mut words = rules.lines().map(str::split_whitespace);
    let is_policy = |line: &str| line.trim() == "-P FORWARD DROP";
    rules.lines().any(is_policy) && !words.any(|mut words| words.any(|word| word == interface))
}

fn closed_chains(json: &[u8], interface: &str) -> Vec<String> {
    let Ok(listed) = serde_json::from_slice::<serde_json::Value>(json) else {
        return Vec::new();
    };
    let objects = listed["nftables"].as_array().cloned().unwrap_or_default();
    let own = format!("dhtnet_{interface}");
    let quoted = format!("{interface:?}");
    let names_it = |object: &serde_json::Value| {
        let rule = &object["rule"];
        rule["table"] != own && rule["expr"].to_string().contains(&quoted)
    };
    if objects.iter().any(names_it) {
        return Vec::new();
    }
    let chains = objects.iter().map(|object| &object["chain"]);
    chains
        .filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop")
        .filter_map(|chain| {
            let text = |key: &str| chain[key].as_str().map(str::to_owned);
            Some(format!(
                "{} {} {}",
                text("family")?,
                text("table")?,
                text("name")?
            ))
        })
        .collect()
}

/// What a program prints, if it is there and does not fail.
fn output(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    let text = || String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(text)
}

/// Whether nftables can be asked for anything: the program is there, and the kernel knows it.
///
/// # Errors
/// [`SystemError::NoNft`], [`SystemError::NoNftables`].
pub(super) fn check() -> Result<(), SystemError> {
    nft(&["list", "tables"], "").map_err(|error| match error {
        SystemError::Nft { said } => SystemError::NoNftables { said },
        other => other,
    })
}

fn load(script: &str) -> Result<(), SystemError> {
    nft(&["-f", "-"], script)
}

fn nft(words: &[&str], input: &str) -> Result<(), SystemError> {
    let mut child = Command::new("nft")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| SystemError::NoNft { source })?;
    if let Some(mut stdin) = child.stdin.take() {
        // An nft that does not read says why by its exit code.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|source| SystemError::NoNft { source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(SystemError::Nft {
        said: said.lines().next().unwrap_or("no reason given").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn plan() -> Plan {
        Plan {
            addresses: vec![
                ("10.80.77.1".parse().unwrap(), 24),
                ("fd5a::1".parse().unwrap(), 64),
            ],
            ..Plan::of_interface("dvpn0")
        }
    }

    #[test]
    fn a_plan_without_forwarding_needs_no_table() {
        assert_eq!(Table::of(&plan(), Host::default()), None);
    }

    #[test]
    fn an_exit_node_masks_its_peers_and_keeps_them_off_private_networks() {
        let mut plan = plan();
        plan.forwarding.exit = true;
        let body = Table::of(&plan, Host::default()).unwrap().body;
        for line in [
            "iifname \"dvpn0\" oifname != \"dvpn0\" ip daddr { 10.0.0.0/8,",
            "iifname \"dvpn0\" oifname != \"dvpn0\" ip6 daddr { fc00::/7, fe80::/10 } drop",
            "iifname != \"dvpn0\" oifname \"dvpn0\" ct state new,invalid drop",
            "meta nfproto ipv4 iifname != \"dvpn0\" oifname != \"dvpn0\" iifgroup != 0x64687671 \
             oifgroup != 0x64687671 drop",
            "ip saddr { 10.80.77.0/24 } oifname != \"dvpn0\" masquerade",
            "ip6 saddr { fd5a::/64 } oifname != \"dvpn0\" masquerade",
        ] {
            assert!(body.contains(line), "no {line:?} in:\n{body}");
        }
        assert!(!body.contains("iifname \"dvpn0\" oifname \"dvpn0\" drop"));
    }

    #[test]
    fn offered_subnets_are_all_that_peers_reach_without_an_exit() {
        let mut plan = plan();
        plan.forwarding.subnets = vec![
            "192.168.1.0/24".parse().unwrap(),
            "192.168.1.0/28".parse().unwrap(),
        ];
        plan.forwarding.isolated = true;
        let host = Host {
            forwards_v4: true,
            ..Host::default()
        };
        let body = Table::of(&plan, host).unwrap().body;
        for line in [
            "iifname \"dvpn0\" oifname \"dvpn0\" drop",
            "ip daddr != { 192.168.1.0/24 } drop",
            "meta nfproto ipv6 drop",
            "ip saddr { 10.80.77.0/24 } oifname != \"dvpn0\" ip daddr { 192.168.1.0/24 } masquerade",
            "meta nfproto ipv6 iifname != \"dvpn0\" oifname != \"dvpn0\" iifgroup",
        ] {
            assert!(body.contains(line), "no {line:?} in:\n{body}");
        }
        assert!(
            !body.contains("meta nfproto ipv4 iifname !="),
            "a router stays one"
        );
        plan.forwarding.subnet_nat = SubnetNat::Off;
        assert!(!Table::of(&plan, host).unwrap().body.contains("masquerade"));
    }

    #[test]
    fn the_kill_switch_lets_the_tunnel_and_the_nodes_own_packets_out() {
        let mut plan = plan();
        plan.kill_switch = KillSwitch::On;
        plan.mark = Some(0x6468);
        let body = Table::of(&plan, Host::default()).unwrap().body;
        assert!(body.contains("oifname { \"lo\", \"dvpn0\" } accept"));
        assert!(body.contains("meta mark 0x00006468 accept"));
        let others = "oifgroup { 0x64687670, 0x64687671 } accept";
        assert_eq!(body.matches(others).count(), 2, "{body}");
        let (output, forwarded) = body.split_once("chain kill_switch_forwarded").unwrap();
        for chain in [output, forwarded] {
            let reject = chain.find("reject with").unwrap();
            assert!(reject > chain.rfind("accept\n").unwrap(), "{chain}");
        }
        assert!(!forwarded.contains("mark"), "{forwarded}");
    }

    #[test]
    fn a_host_that_forwards_nothing_by_itself_is_noticed() {
        let json = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}},
            {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "x", "name": "f", "hook": "forward", "policy": "accept"}}]}"#;
        assert_eq!(closed_chains(json, "dvpn0"), ["ip filter FORWARD"]);
        assert_eq!(closed_chains(b"none", "dvpn0"), [""; 0]);
        let text = String::from_utf8_lossy(json);
        let rule = |table: &str| {
            let rule = format!(
                "{{\"rule\": {{\"table\": {table:?}, \"expr\": [{{\"match\": {{\"right\": \"dvpn0\"}}}}]}}}},"
            );
            text.replacen('[', &format!("[{rule}"), 1)
        };
        let known = |table: &str| closed_chains(rule(table).as_bytes(), "dvpn0").is_empty();
        assert!(known("filter"), "a host that lets the interface through");
        assert!(!known("dhtnet_dvpn0"), "our own rules let nothing through");
    }

    #[test]
    fn an_older_firewall_that_forwards_nothing_is_noticed() {
        let rules = "-P INPUT ACCEPT\n-P FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\n";
        assert!(is_closed(rules, "dvpn0"));
        assert!(!is_closed(
            &format!("{rules}-A FORWARD -i dvpn0 -j ACCEPT\n"),
            "dvpn0"
        ));
        assert!(!is_closed("-P INPUT DROP\n-P FORWARD ACCEPT\n", "dvpn0"));
    }
}
