//! Keeps a relay announced while others can reach it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Announcement;
use super::directory::{INTERVAL, RETRY, relay_directory};
use crate::dht::{AnnouncePort, Dht, Family};

/// How often it is looked whether others reach this host: their reports come with each answer.
const LOOK: Duration = Duration::from_secs(2);

/// Announces until the DHT ends: `dht` gives the handle as long as somebody holds it. `told` are
/// addresses whose reachability somebody vouches for.
pub(crate) async fn announce(
    dht: impl Fn() -> Option<Dht>,
    told: Vec<IpAddr>,
    said: watch::Sender<Announcement>,
) {
    let mut looks = tokio::time::interval(LOOK);
    let mut due = Instant::now();
    loop {
        looks.tick().await;
        let Some(dht) = dht() else {
            return;
        };
        let own = own_addresses(&told);
        let seen = Family::ALL.map(|family| dht.external(family));
        let standing = judge(&own, !told.is_empty(), seen);
        if standing != Standing::Reachable {
            said.send_replace(standing.into());
            // Once it is reachable it is announced at once.
            due = Instant::now();
            continue;
        }
        if Instant::now() < due || dht.nodes().is_empty() {
            continue;
        }
        let stored = dht.announce(relay_directory(), AnnouncePort::Implied).await;
        let nodes = stored.map_or(0, |stored| {
            stored.acknowledged + usize::from(stored.stored_here)
        });
        due = Instant::now() + if nodes == 0 { RETRY } else { INTERVAL };
        said.send_replace(match nodes {
            0 => Announcement::NotStored,
            nodes => Announcement::Stored { nodes },
        });
    }
}

fn own_addresses(told: &[IpAddr]) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let found = interfaces.iter().map(if_addrs::Interface::ip);
    found.chain(told.iter().copied()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Unknown,
    Elsewhere(SocketAddr),
    Reachable,
}

impl From<Standing> for Announcement {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Elsewhere(seen) => Self::Unreachable { seen },
            Standing::Unknown | Standing::Reachable => Self::Waiting,
        }
    }
}

/// Whether others reach this host: if they see it under one of its own addresses, there is no NAT
/// in between. One family is enough.
fn judge(own: &[IpAddr], is_vouched: bool, seen: [Option<SocketAddr>; 2]) -> Standing {
    let is_own = |seen: &SocketAddr| own.contains(&seen.ip());
    let mut seen = seen.into_iter().flatten();
    if is_vouched {
        return Standing::Reachable;
    }
    match seen.next() {
        None => Standing::Unknown,
        Some(first) if is_own(&first) || seen.any(|other| is_own(&other)) => Standing::Reachable,
        Some(first) => Standing::Elsewhere(first),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn a_relay_is_announced_where_others_see_its_own_address() {
        let own: Vec<IpAddr> = ["10.0.0.1", "203.0.113.1", "2001:db8::1"]
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect();
        let at = |text: &str| text.parse::<SocketAddr>().ok();
        let nat = at("198.51.100.1:7").unwrap();
        for (seen, expected) in [
            ([None, None], Standing::Unknown),
            ([at("203.0.113.1:7"), None], Standing::Reachable),
            ([None, at("[2001:db8::1]:7")], Standing::Reachable),
            ([Some(nat), at("[2001:db8::1]:7")], Standing::Reachable),
            ([Some(nat), None], Standing::Elsewhere(nat)),
            ([Some(nat), at("[2001:db8::2]:7")], Standing::Elsewhere(nat)),
        ] {
            assert_eq!(judge(&own, false, seen), expected, "{seen:?}");
            assert_eq!(judge(&own, true, seen), Standing::Reachable);
        }
    }
}
