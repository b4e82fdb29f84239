//! Whether the world reaches this node unasked, and so whether it serves or only asks (BEP 43).
//!
//! A node behind a NAT hears from those it asked. Only a query from an address that it did not
//! ask shows that others reach it too.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::config::{Config, Participation};
use crate::address::is_local;

/// How long a node behind a NAT serves without being reached by anybody it did not ask, before
/// it becomes read-only (BEP 43).
const PROBATION: Duration = Duration::from_secs(10 * 60);

/// Addresses remembered as asked: a busy quarter of an hour. 64 KiB, behind a NAT only.
const MAX_ASKED: usize = 1_024;

/// For how long a NAT may let answers in after a datagram out (RFC 4787, section 4.3, asks for
/// at least two minutes; five is common).
const ASKED_FOR: Duration = Duration::from_secs(5 * 60);

/// Whether others reach this node without being asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reachability {
    /// Not known; the node serves.
    #[default]
    Unknown,
    /// They do; the node serves.
    Reachable,
    /// They do not; the node only asks.
    Unreachable,
}

/// Finds out about reachability.
#[derive(Debug)]
pub(super) struct Reach {
    state: Reachability,
    /// Not to be changed by what happens.
    fixed: bool,
    /// Behind a NAT: when the trial ends.
    until: Option<Instant>,
    external: Option<IpAddr>,
}

impl Reach {
    pub(super) fn new(config: &Config) -> Self {
        let (state, fixed) = match config.participation {
            Participation::Adaptive => (Reachability::Unknown, false),
            Participation::Server => (Reachability::Reachable, true),
            Participation::ReadOnly => (Reachability::Unreachable, true),
        };
        Self {
            state,
            fixed,
            until: None,
            external: None,
        }
    }

    pub(super) fn state(&self) -> Reachability {
        self.state
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.state = Reachability::Unreachable;
        }
    }

    /// The owner knows better, for instance from a port mapping.
    pub(super) fn set(&mut self, now: Instant, state: Reachability) {
        if self.fixed {
            return;
        }
        self.state = state;
        self.until = match state {
            Reachability::Unknown => self.external.map(|_| now + PROBATION),
            Reachability::Reachable | Reachability::Unreachable => None,
        };
    }

    /// A query came from an address that was not asked.
    pub(super) fn on_unasked_query(&mut self, source: IpAddr) {
        // Who is on the near side of the NAT shows nothing.
        let near = is_local(source) && self.external.is_none_or(|ip| !is_local(ip));
        if !self.fixed && !near {
            self.state = Reachability::Reachable;
            self.until = None;
        }
    }

    /// Others agree on our address: if it is not one of this machine's, a NAT is in between.
    pub(super) fn on_external_address(&mut self, now: Instant, ip: IpAddr, config: &Config) {
        let moved = self.external.replace(ip).is_some();
        if self.fixed {
            return;
        }
        let is_own = is_local(ip) || config.local_addresses.contains(&ip);
        if is_own || config.local_addresses.is_empty() {
            self.set(now, Reachability::Reachable);
        } else if moved || self.state == Reachability::Unknown {
            self.set(now, Reachability::Unknown);
        }
    }
}

/// Addresses that were asked lately, so that their queries prove nothing.
#[derive(Debug)]
pub(crate) struct AskedAddresses {
    /// Whether it matters: there may be a NAT, and what it does is to be found out.
    enabled: bool,
    at: BTreeMap<SocketAddr, Instant>,
    /// Until then some that were asked are not among them.
    incomplete_until: Option<Instant>,
}

impl AskedAddresses {
    pub(crate) fn new(config: &Config) -> Self {
        let adaptive = config.participation == Participation::Adaptive;
        Self {
            enabled: adaptive && !config.local_addresses.is_empty(),
            at: BTreeMap::new(),
            incomplete_until: None,
        }
    }

    /// A query goes to this address, which opens the way back through a NAT.
    pub(crate) fn on_asked(&mut self, now: Instant, address: SocketAddr) {
        if !self.enabled {
            return;
        }
        if self.at.len() >= MAX_ASKED && !self.at.contains_key(&address) {
            self.at
                .retain(|_, at| now.saturating_duration_since(*at) < ASKED_FOR);
            if self.at.len() >= MAX_ASKED {
                self.incomplete_until = Some(now + ASKED_FOR);
                return;
            }
        }
        self.at.insert(address, now);
    }

    /// Whether a query from this address shows that others reach this node.
    pub(crate) fn is_unasked(&self, now: Instant, address: &SocketAddr) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < ASKED_FOR;
        self.enabled
            && self.incomplete_until.is_none_or(|until| until <= now)
            && !self.at.get(address).is_some_and(is_recent)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use super::*;

    const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    fn config() -> Config {
        Config::default().local_addresses(vec![IpAddr::from([192, 168, 1, 5])])
    }

    fn address(n: u32) -> SocketAddr {
        SocketAddr::from(((0x0b00_0000 + n).to_be_bytes(), 6881))
    }

    #[test]
    fn a_node_behind_a_nat_that_nobody_reaches_only_asks_after_ten_minutes() {
        let (now, config) = (Instant::now(), config());
        let mut reach = Reach::new(&config);
        reach.on_external_address(now, OUTSIDE, &config);
        assert_eq!(reach.state(), Reachability::Unknown);
        assert_eq!(reach.poll_timeout(), Some(now + PROBATION));
        reach.handle_timeout(now + PROBATION - Duration::from_nanos(1));
        assert_eq!(reach.state(), Reachability::Unknown);
        reach.handle_timeout(now + PROBATION);
        assert_eq!(reach.state(), Reachability::Unreachable);
        reach.on_unasked_query(address(1).ip());
        assert_eq!(
            reach.state(),
            Reachability::Reachable,
            "later is not too late"
        );
    }

    #[test]
    fn a_query_from_the_near_side_of_the_nat_shows_nothing() {
        let (now, config) = (Instant::now(), config());
        let mut reach = Reach::new(&config);
        reach.on_external_address(now, OUTSIDE, &config);
        reach.on_unasked_query(IpAddr::from([192, 168, 1, 9]));
        assert_eq!(reach.state(), Reachability::Unknown);
    }

    #[test]
    fn another_external_address_starts_another_trial() {
        let (now, config) = (Instant::now(), config());
        let mut reach = Reach::new(&config);
        reach.on_external_address(now, OUTSIDE, &config);
        reach.on_unasked_query(address(1).ip());
        reach.on_external_address(now, IpAddr::from([198, 51, 100, 8]), &config);
        assert_eq!(reach.state(), Reachability::Unknown);
        assert_eq!(reach.poll_timeout(), Some(now + PROBATION));
    }

    #[test]
    fn the_addresses_asked_are_bounded_and_past_the_bound_nothing_is_concluded() {
        let now = Instant::now();
        let mut asked = AskedAddresses::new(&config());
        (0..MAX_ASKED as u32).for_each(|n| asked.on_asked(now, address(n)));
        assert!(!asked.is_unasked(now, &address(0)));
        assert!(asked.is_unasked(now, &address(1 << 20)));
        asked.on_asked(now, address(MAX_ASKED as u32));
        assert_eq!(asked.at.len(), MAX_ASKED);
        assert!(
            !asked.is_unasked(now, &address(1 << 20)),
            "perhaps it was asked"
        );
        let later = now + ASKED_FOR;
        assert!(asked.is_unasked(later, &address(1 << 20)));
        assert!(
            asked.is_unasked(later, &address(0)),
            "the NAT has forgotten"
        );
        asked.on_asked(later, address(MAX_ASKED as u32));
        assert_eq!(asked.at.len(), 1);
    }
}
