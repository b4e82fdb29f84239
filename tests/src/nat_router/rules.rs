//! The rule sets. One table for all, with the chains in which miniupnpd puts its own rules.

use std::net::Ipv4Addr;

use super::Nat;

/// The table of a router whose address outside is `own`.
pub(super) fn of(nat: Nat, own: Ipv4Addr) -> String {
    let (memory, redirect, learn) = match nat {
        Nat::FullCone => (CONE.to_owned(), CONE_REDIRECT, CONE_LEARN),
        Nat::AddressRestricted => (format!("{CONE}{SEEN}"), CONE_REDIRECT, CONE_LEARN),
        _ => (String::new(), "", ""),
    };
    let translate = translate(nat, own);
    let forward = forward(nat);
    format!(
        "table inet upnp {{
{memory}
 counter leaving {{
 }}
 counter watched {{
 }}
 chain miniupnpd {{
 }}
 chain prerouting_miniupnpd {{
 }}
 chain postrouting_miniupnpd {{
 }}
 chain input {{
  type filter hook input priority filter
{DROP_UNINVITED}
 }}
 chain forward {{
  type filter hook forward priority filter
{forward}
 }}
 chain counting {{
  type filter hook forward priority filter + 10
  iifname \"home\" oifname \"wan\" meta l4proto {{ tcp, udp }} counter name leaving
 }}
 chain prerouting {{
  type nat hook prerouting priority dstnat
  jump prerouting_miniupnpd
{redirect}
 }}
 chain postrouting {{
  type nat hook postrouting priority srcnat
  jump postrouting_miniupnpd
{translate}
  meta nfproto ipv4 oifname \"wan\" masquerade
 }}
{learn}
}}
"
    )
}

/// At the router itself it keeps an uninvited packet from becoming a connection to it, which
/// would take the port from the host inside.
const DROP_UNINVITED: &str =
    "  iifname \"wan\" meta l4proto { tcp, udp } ct state new,invalid drop";

/// What is done to UDP beyond keeping the port where that is possible.
fn translate(nat: Nat, own: Ipv4Addr) -> String {
    let udp = "  meta nfproto ipv4 oifname \"wan\" meta l4proto udp";
    let count = |ports: u16| {
        let first = if ports > 64 { 30_000 } else { 40_000 };
        let ports: Vec<String> = (0..ports).map(|n| format!("{n}: {}", first + n)).collect();
        let (size, ports) = (ports.len(), ports.join(", "));
        format!("{udp} snat ip to {own} : numgen inc mod {size} map {{ {ports} }}")
    };
    match nat {
        Nat::PortNotKept => format!("{udp} masquerade to :20000-29999"),
        Nat::Symmetric => format!("{udp} masquerade random"),
        Nat::Block => format!("{udp} masquerade to :40000-40063 random"),
        Nat::Sequential => count(64),
        Nat::SequentialWide => count(16_384),
        _ => String::new(),
    }
}

/// What the router lets through.
fn forward(nat: Nat) -> String {
    match nat {
        Nat::FullCone => "  jump miniupnpd".to_owned(),
        Nat::UdpBlocked => "  ct state established,related accept
  iifname \"home\" oifname \"wan\" tcp dport 443 accept
  drop"
            .to_owned(),
        Nat::AddressRestricted => format!("{SEEN_FORWARD}\n  jump miniupnpd\n{DROP_UNINVITED}"),
        _ => format!("  jump miniupnpd\n{DROP_UNINVITED}"),
    }
}

/// Each port that a host inside was given leads back to it. It is learnt after the translation,
/// where it is known.
const CONE: &str = " map cone {
  type inet_service : ipv4_addr . inet_service
  flags dynamic,timeout
  timeout 300s
  size 65535
 }
";

const CONE_REDIRECT: &str = "  iifname \"wan\" meta l4proto udp dnat ip to udp dport map @cone";

const CONE_LEARN: &str = " chain learn {
  type filter hook postrouting priority srcnat + 1
  meta nfproto ipv4 oifname \"wan\" meta l4proto udp ct direction original update @cone { ct reply proto-dst : ct original ip saddr . ct original proto-src }
  meta nfproto ipv4 oifname \"wan\" meta l4proto udp ct direction reply update @cone { ct original proto-dst : ct reply ip saddr . ct reply proto-src }
 }";

/// Which address outside each port inside has sent to.
const SEEN: &str = " set seen {
  type ipv4_addr . inet_service . ipv4_addr
  flags dynamic,timeout
  timeout 300s
  size 65535
 }
";

const SEEN_FORWARD: &str =
    "  oifname \"wan\" meta l4proto udp update @seen { ip saddr . udp sport . ip daddr }
  iifname \"wan\" meta l4proto udp ip daddr . udp dport . ip saddr @seen accept";
