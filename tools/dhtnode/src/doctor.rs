//! `doctor`: what works from here, as far as the node can see it itself.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::dht::{Family, Network};
use crate::output::Halt;
use crate::session::{How, Session};
use crate::verbs::addresses_text;

/// Nodes that are asked under which address they see this host. Three that agree are enough to
/// say so; the others are for those that do not tell.
const WITNESSES: usize = 8;

/// Witnesses on different hosts that it takes to speak of the mapping.
const MIN_WITNESSES: usize = 3;

/// The clock was wrong if it shows a time before this was written: 2026-11-01, in seconds of Unix
/// time.
const WRITTEN: u64 = 1_793_491_200;

/// A clock that shows a time after this is wrong as well: certificates and values would end at
/// once. 50 years after the above.
const TOO_LATE: u64 = WRITTEN + 50 * 365 * 86_400;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    /// Neither; or it cannot be said from here.
    Unknown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Bad => "bad",
            Self::Unknown => "?",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    what: String,
    verdict: Verdict,
    found: String,
}

impl Check {
    fn new(what: impl Into<String>, verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            verdict,
            found: found.into(),
        }
    }
}

/// Looks at everything and prints what it found. That something is bad is no failure of looking.
pub(crate) async fn doctor(session: &Session, how: &How) -> Result<(), Halt> {
    let ready = tokio::time::timeout(how.limit, session.ready()).await;
    let network = &session.network;
    let mut checks = Vec::new();
    for family in Family::ALL {
        let seen = tokio::time::timeout(how.limit, witnesses(network, family)).await;
        let seen = seen.unwrap_or_default();
        checks.push(udp(network, family));
        if network
            .local_addresses()
            .iter()
            .any(|at| Family::of(at) == family)
        {
            checks.push(mapping(family, &seen, &network.local_addresses()));
        }
    }
    checks.push(match ready {
        Ok(Ok(())) => reached(network),
        Ok(Err(failure)) => Check::new("DHT", Verdict::Bad, failure.to_string()),
        Err(_) => Check::new("DHT", Verdict::Bad, "no node answered in time"),
    });
    checks.push(clock(SystemTime::now()));
    let text: String = checks
        .iter()
        .map(|check| {
            format!(
                "{:3} {:12} {}\n",
                check.verdict.word(),
                check.what,
                check.found
            )
        })
        .collect();
    let json: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({ "check": check.what, "verdict": check.verdict.word(), "found": check.found })
        })
        .collect();
    how.output.print(&text, &json!({ "checks": json }))
}

/// Whether datagrams come and go.
fn udp(network: &Network, family: Family) -> Check {
    let what = format!("UDP {family}");
    let bound: Vec<SocketAddr> = network
        .local_addresses()
        .into_iter()
        .filter(|address| Family::of(address) == family)
        .collect();
    if bound.is_empty() {
        return Check::new(
            what,
            Verdict::Unknown,
            "no socket: --bind names the other family",
        );
    }
    let at = addresses_text(&bound);
    let known = network.nodes();
    let of_family = || {
        let known = known.iter();
        known.filter(|node| Family::of(&node.contact.address) == family)
    };
    let answering = of_family().filter(|node| node.is_good).count();
    match (of_family().count(), answering) {
        (0, _) => Check::new(
            what,
            Verdict::Unknown,
            format!("{at}: no node is known that could be asked"),
        ),
        (known, 0) => Check::new(
            what,
            Verdict::Bad,
            format!("{at}: none of {known} nodes answered; is UDP let through?"),
        ),
        (_, count) => Check::new(what, Verdict::Good, format!("{at}: {count} nodes answered")),
    }
}

/// What a node says about this host's address: who says it, and what.
type Seen = (IpAddr, SocketAddr);

/// Asks nodes on different hosts under which address they see this one.
async fn witnesses(network: &Network, family: Family) -> Vec<Seen> {
    let mut hosts = Vec::new();
    let mut asking = JoinSet::new();
    for node in network.nodes() {
        let address = node.contact.address;
        let is_new = !hosts.contains(&address.ip());
        if Family::of(&address) == family && node.is_good && is_new && hosts.len() < WITNESSES {
            hosts.push(address.ip());
            let network = network.clone();
            asking.spawn(async move {
                let pong = network.ping(address).await.ok()?;
                Some((address.ip(), pong.external?))
            });
        }
    }
    let mut seen = Vec::new();
    while let Some(answer) = asking.join_next().await {
        seen.extend(answer.ok().flatten());
    }
    seen
}

/// What the addresses that others see tell about a NAT between.
fn mapping(family: Family, seen: &[Seen], local: &[SocketAddr]) -> Check {
    let what = format!("NAT {family}");
    let mut external: Vec<SocketAddr> = seen.iter().map(|(_, address)| *address).collect();
    external.sort_unstable();
    external.dedup();
    let Some(first) = external.first() else {
        return Check::new(
            what,
            Verdict::Unknown,
            "no node told under which address it sees this host",
        );
    };
    if seen.len() < MIN_WITNESSES {
        return Check::new(
            what,
            Verdict::Unknown,
            format!(
                "seen as {} by {} hosts, too few to say more",
                addresses_text(&external),
                seen.len()
            ),
        );
    }
    let is_kept = |address: &SocketAddr| local.iter().any(|at| at.port() == address.port());
    if external.len() == 1 {
        let port = if is_kept(first) {
            "with the port of this host"
        } else {
            "on another port"
        };
        return Check::new(
            what,
            Verdict::Good,
            format!(
                "{} hosts see this one as {first}, {port}: the mapping does not depend on who is \
                 asked",
                seen.len()
            ),
        );
    }
    Check::new(
        what,
        Verdict::Bad,
        format!(
            "different hosts see this one under different addresses ({}): the mapping depends on \
             who is asked, or there are several ways out",
            addresses_text(&external)
        ),
    )
}

/// How the node stands in the network.
fn reached(network: &Network) -> Check {
    let stats = network.stats();
    let nodes: u64 = stats.tables.values().map(|table| table.good).sum();
    let size = stats
        .tables
        .values()
        .filter_map(|table| table.network_size)
        .max();
    let mut found = format!("{nodes} nodes are known and answer");
    if let Some(size) = size {
        found.push_str(&format!(", the network has about {size}"));
    }
    found.push_str(if stats.read_only > 0 {
        "; this node only asks so far, as nobody is known to reach it from outside"
    } else {
        "; this node answers others"
    });
    Check::new("DHT", Verdict::Good, found)
}

/// Whether the clock can be right. Values and records carry times.
fn clock(now: SystemTime) -> Check {
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let (verdict, found) = match seconds {
        0..WRITTEN => (Verdict::Bad, "shows a time in the past; set it"),
        TOO_LATE.. => (Verdict::Bad, "shows a time in the far future; set it"),
        _ => (
            Verdict::Good,
            "shows a possible time; it was not compared with another clock",
        ),
    };
    Check::new("clock", verdict, found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seen(addresses: &[&str]) -> Vec<Seen> {
        addresses
            .iter()
            .zip(1..)
            .map(|(address, host)| (IpAddr::from([192, 0, 2, host]), address.parse().unwrap()))
            .collect()
    }

    fn verdict(addresses: &[&str]) -> Verdict {
        let local = ["0.0.0.0:4000".parse().unwrap()];
        mapping(Family::V4, &seen(addresses), &local).verdict
    }

    #[test]
    fn three_hosts_that_agree_tell_that_the_mapping_is_one() {
        let same = "198.51.100.7:4000";
        assert_eq!(verdict(&[]), Verdict::Unknown);
        assert_eq!(verdict(&[same, same]), Verdict::Unknown);
        assert_eq!(verdict(&[same, same, same]), Verdict::Good);
        assert_eq!(verdict(&[same, same, "198.51.100.7:4001"]), Verdict::Bad);
        let local = ["0.0.0.0:4000".parse().unwrap()];
        let found = mapping(Family::V4, &seen(&[same; 3]), &local).found;
        assert!(found.contains("with the port of this host"), "{found}");
    }

    #[test]
    fn a_clock_before_this_program_or_long_after_it_is_wrong() {
        let at = |seconds| clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).verdict;
        assert_eq!(at(0), Verdict::Bad);
        assert_eq!(at(WRITTEN - 1), Verdict::Bad);
        assert_eq!(at(WRITTEN), Verdict::Good);
        assert_eq!(at(TOO_LATE - 1), Verdict::Good);
        assert_eq!(at(TOO_LATE), Verdict::Bad);
        assert_eq!(
            clock(SystemTime::UNIX_EPOCH - Duration::from_secs(9)).verdict,
            Verdict::Bad
        );
    }
}
