//! Default gateways and routes, as the kernel's tables in `/proc/net` show them.
//!
//! Linux only; elsewhere nothing is known, and what needs a gateway is left out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};

/// The kernel's flag for a route that is usable (`RTF_UP` in linux/route.h).
const UP: u32 = 0x1;
/// The kernel's flag for a route by way of a gateway (`RTF_GATEWAY`).
const GATEWAY: u32 = 0x2;
/// The kernel's flag for a route that refuses (`RTF_REJECT`).
const REJECT: u32 = 0x200;
/// The kernel's flag for a route learnt for one destination (`RTF_CACHE`).
const CACHE: u32 = 0x0100_0000;

/// The routers that lead out of the local network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gateways {
    /// Next hop of the IPv4 default route.
    pub(crate) v4: Option<Ipv4Addr>,
    /// Next hop of the IPv6 default route. The port is 0; the scope is that of its interface.
    pub(crate) v6: Option<SocketAddrV6>,
}

impl Gateways {
    /// The gateways of this moment.
    pub(crate) fn now() -> Self {
        let v6 = default_v6(&table("ipv6_route"));
        let v6 = v6.map(|(ip, name)| SocketAddrV6::new(ip, 0, 0, index_of(&name).unwrap_or(0)));
        Self {
            v4: default_v4(&table("route")),
            v6,
        }
    }
}

/// All routes in a form that changes only when one of them does.
pub(crate) fn all() -> Vec<String> {
    let mut found = stable(&table("route"), V4_COUNTERS, None);
    found.extend(stable(&table("ipv6_route"), V6_COUNTERS, Some(V6_FLAGS)));
    found
}

/// The index of the interface with this name.
pub(crate) fn index_of(name: &str) -> Option<u32> {
    let all = if_addrs::get_if_addrs().ok()?;
    all.iter().find(|one| one.name == name)?.index
}

/// A table of the namespace that the calling thread is in; empty where there is none.
fn table(name: &str) -> String {
    // "/proc/net" is that of the process's first thread.
    let of_thread = std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    of_thread
        .or_else(|_| std::fs::read_to_string(format!("/proc/net/{name}")))
        .unwrap_or_default()
}

/// Reference and use counters in a row of `/proc/net/route`.
const V4_COUNTERS: [usize; 2] = [4, 5];
/// Reference and use counters in a row of `/proc/net/ipv6_route`.
const V6_COUNTERS: [usize; 2] = [6, 7];
/// Where the flags of a row of `/proc/net/ipv6_route` are.
const V6_FLAGS: usize = 8;

fn stable(table: &str, counters: [usize; 2], flags: Option<usize>) -> Vec<String> {
    let rows = table.lines().map(|line| line.split_whitespace());
    let rows = rows.map(Iterator::collect::<Vec<&str>>);
    let mut found: Vec<String> = rows
        .filter(|row| {
            let flags = flags.and_then(|at| row.get(at)).and_then(|text| hex(text));
            flags.is_none_or(|flags| flags & CACHE == 0)
        })
        .map(|row| {
            let columns = row.iter().enumerate();
            let kept = columns.filter(|(at, _)| !counters.contains(at));
            kept.map(|(_, text)| *text).collect::<Vec<_>>().join(" ")
        })
        .collect();
    found.sort();
    found
}

/// The gateway of the default route with the lowest metric in `/proc/net/route`.
fn default_v4(table: &str) -> Option<Ipv4Addr> {
    let rows = table.lines().filter_map(|line| {
        let row: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = row[..] else {
            return None;
        };
        let flags = hex(flags)?;
        let is_default = hex(destination)? == 0 && hex(mask)? == 0;
        let leads_out = flags & (UP | GATEWAY | REJECT) == UP | GATEWAY;
        // The number is the address as it lies in memory.
        let gateway = Ipv4Addr::from(hex(gateway)?.to_ne_bytes());
        let metric: u32 = metric.parse().ok()?;
        (is_default && leads_out && !gateway.is_unspecified()).then_some((metric, gateway))
    });
    rows.min_by_key(|(metric, _)| *metric)
        .map(|(_, gateway)| gateway)
}

/// The gateway of the default route with the lowest metric in `/proc/net/ipv6_route`, and the
/// name of its interface.
fn default_v6(table: &str) -> Option<(Ipv6Addr, String)> {
    let rows = table.lines().filter_map(|line| {
        let row: Vec<&str> = line.split_whitespace().collect();
        let [
            destination,
            length,
            _,
            _,
            gateway,
            metric,
            _,
            _,
            flags,
            name,
        ] = row[..]
        else {
            return None;
        };
        let flags = hex(flags)?;
        let is_default = hex(length)? == 0 && u128::from_str_radix(destination, 16).ok()? == 0;
        let leads_out = flags & (UP | GATEWAY | REJECT) == UP | GATEWAY;
        let gateway = Ipv6Addr::from(u128::from_str_radix(gateway, 16).ok()?);
        let metric = hex(metric)?;
        (is_default && leads_out && !gateway.is_unspecified())
            .then(|| (metric, gateway, name.to_owned()))
    });
    rows.min_by_key(|(metric, ..)| *metric)
        .map(|(_, gateway, name)| (gateway, name))
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn v4(rows: &[&str]) -> String {
        HEAD.to_owned() + &rows.join("\n")
    }

    #[test]
    #[cfg(target_endian = "little")] // The table shows numbers as they lie in memory.
    fn the_default_route_with_the_lowest_metric_names_the_gateway() {
        let table = v4(&[
            "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0",
            "eth0\t00000000\t0100000B\t0003\t0\t9\t100\t00000000\t0\t0\t0",
            "eth0\t0000000B\t00000000\t0001\t0\t0\t100\t0000FFFF\t0\t0\t0",
        ]);
        assert_eq!(default_v4(&table), Some(Ipv4Addr::new(11, 0, 0, 1)));
    }

    #[test]
    fn routes_without_a_gateway_down_or_refusing_lead_nowhere() {
        for row in [
            "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0",
            "eth0\t00000000\t0101A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0",
            "eth0\t00000000\t0101A8C0\t0203\t0\t0\t0\t00000000\t0\t0\t0",
            "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0",
            "eth0\t00000000\t0101A8C0\t0003",
            "eth0\tzz\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0",
            "",
        ] {
            assert_eq!(default_v4(&v4(&[row])), None, "{row}");
        }
        assert_eq!(default_v4(""), None);
    }

    const ZERO: &str = "00000000000000000000000000000000";
    const ROUTER: &str = "fe800000000000000000000000000001";

    #[test]
    fn the_ipv6_default_route_names_gateway_and_interface() {
        let table = format!(
            "{ZERO} 00 {ZERO} 00 {ROUTER} 00000400 00000001 00000000 00000003     eth0\n\
             {ZERO} 00 {ZERO} 00 20010db8000000000000000000000009 00000100 00000001 00000000 00000003 eth1\n\
             {ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo\n"
        );
        let found = default_v6(&table).unwrap();
        assert_eq!(found.0, "2001:db8::9".parse::<Ipv6Addr>().unwrap());
        assert_eq!(found.1, "eth1");
        let first = table.lines().next().unwrap();
        assert_eq!(
            default_v6(first).unwrap().0,
            "fe80::1".parse::<Ipv6Addr>().unwrap()
        );
        assert_eq!(default_v6(table.lines().last().unwrap()), None);
        assert_eq!(default_v6("nonsense in ten columns 1 2 3 4 5 6"), None);
    }

    #[test]
    fn counters_and_learnt_routes_do_not_count_as_a_change() {
        let row = |uses: &str, flags: &str| {
            format!("{ZERO} 00 {ZERO} 00 {ROUTER} 00000400 0000000{uses} 00000007 {flags} eth0\n")
        };
        let quiet = stable(&row("1", "00000003"), V6_COUNTERS, Some(V6_FLAGS));
        let busy = row("5", "00000003") + &row("1", "01000003");
        assert_eq!(quiet, stable(&busy, V6_COUNTERS, Some(V6_FLAGS)));
        let other = stable(&row("1", "00000001"), V6_COUNTERS, Some(V6_FLAGS));
        assert_ne!(quiet, other);
        let v4_row = "eth0\t00000000\t0101A8C0\t0003\tX\tX\t600\t00000000\t0\t0\t0";
        let [one, two] = ["1", "2"].map(|n| stable(&v4_row.replace('X', n), V4_COUNTERS, None));
        assert_eq!(one, two);
    }
}
