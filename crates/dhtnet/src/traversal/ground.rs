//! Where this device stands: its addresses of every kind, and what its NAT does.

use std::net::SocketAddr;
use std::sync::Arc;

use dhtnet_dht_core::Family;
use dhtnet_nat_traversal::behavior::{Allocation, Mapping};
use dhtnet_nat_traversal::candidate::{Candidate, CandidateKind, SocketId};
use dhtnet_nat_traversal::offer::{MAX_SAMPLES, NatProfile};

use super::Sessions;
use crate::core::path::MAIN_V6;
use crate::dht::Dht;
use crate::interfaces;
use crate::port_mapping::{Mappings, public_addresses};
use crate::relays::{PathPreference, Relays};

/// Ports for each report, within which all lie that a NAT counted one after the other.
const CLOSE: usize = 4;

/// Looked at anew for each session.
pub(crate) struct Ground {
    pub(crate) bound: Vec<SocketAddr>,
    pub(crate) dht: Dht,
    pub(crate) mappings: Option<Mappings>,
    pub(crate) relays: Arc<Relays>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) preference: PathPreference,
}

/// The shared socket that sends to this address.
pub(crate) fn main_socket(address: &SocketAddr) -> SocketId {
    if address.is_ipv4() {
        SocketId::MAIN
    } else {
        MAIN_V6
    }
}

impl Ground {
    /// Own addresses, best first, each with its socket.
    pub(crate) fn candidates(&self) -> Vec<(Candidate, SocketId)> {
        if self.preference == PathPreference::Relay {
            return Vec::new();
        }
        let hosts = interfaces::reachable(&self.bound);
        let hosts = hosts
            .into_iter()
            .map(|address| Candidate::new(CandidateKind::Host, address));
        let mapped: Vec<SocketAddr> = match &self.mappings {
            Some(mappings) => public_addresses(&mappings.borrow()).collect(),
            None => Vec::new(),
        };
        let mapped = mapped
            .into_iter()
            .map(|address| Candidate::new(CandidateKind::Mapped, address));
        let seen = Family::ALL.into_iter().flat_map(|family| {
            let mut seen = self.seen(family);
            // The newest first: a port that was seen long ago may be another's now.
            seen.reverse();
            seen
        });
        let seen = seen.map(|address| Candidate::new(CandidateKind::ServerReflexive, address));
        let all = hosts.chain(mapped).chain(seen);
        all.map(|candidate| (candidate, main_socket(&candidate.address)))
            .collect()
    }

    /// Under which addresses STUN servers and nodes of the DHT see this device; the latter not
    /// where they see the relay that carries the DHT's datagrams.
    fn seen(&self, family: Family) -> Vec<SocketAddr> {
        let mut seen = self.sessions.stun().seen(family);
        if family == Family::V6 || self.relays.reach().is_open() {
            seen.extend(self.dht.observed(family));
        }
        seen
    }

    /// The NAT before the socket of IPv4, as nodes of the DHT see it from different networks.
    pub(crate) fn nat(&self) -> NatProfile {
        if self.preference == PathPreference::Relay {
            return NatProfile::default();
        }
        let seen = self.seen(Family::V4);
        let own = interfaces::reachable(&self.bound);
        profile(&seen, &own)
    }
}

/// What the addresses that others saw, oldest first, say about the NAT.
fn profile(seen: &[SocketAddr], own: &[SocketAddr]) -> NatProfile {
    let ports: Vec<u16> = seen.iter().map(SocketAddr::port).collect();
    let mut recent = ports[ports.len().saturating_sub(MAX_SAMPLES)..].to_vec();
    // Nodes that are asked together answer in any order. Ports that lie side by side were counted.
    let spread = recent.iter().max().zip(recent.iter().min());
    if spread.is_some_and(|(high, low)| usize::from(high - low) < CLOSE * recent.len()) {
        recent.sort_unstable();
    }
    let untouched = !seen.is_empty() && seen.iter().all(|address| own.contains(address));
    let mapping = if untouched {
        Some(Mapping::EndpointIndependent)
    } else if ports.len() < 2 {
        None
    } else if ports.windows(2).all(|pair| pair[0] == pair[1]) {
        Some(Mapping::EndpointIndependent)
    } else {
        // Which of the two dependent kinds it is makes no difference to what is done.
        Some(Mapping::AddressAndPortDependent)
    };
    let depends = mapping == Some(Mapping::AddressAndPortDependent);
    NatProfile {
        mapping,
        filtering: None,
        allocation: Allocation::of(&recent).filter(|_| depends),
        samples: recent,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([11, 0, 0, 1], port))
    }

    #[test]
    fn one_report_says_nothing_and_equal_ones_that_the_port_is_kept() {
        assert_eq!(profile(&[], &[]).mapping, None);
        assert_eq!(profile(&[at(5)], &[]).mapping, None);
        let kept = profile(&[at(5), at(5)], &[]);
        assert_eq!(kept.mapping, Some(Mapping::EndpointIndependent));
        assert_eq!(kept.allocation, None);
    }

    #[test]
    fn different_ports_make_a_dependent_mapping_with_its_order() {
        let ports = [40_000, 40_001, 40_002, 40_003].map(at);
        let found = profile(&ports, &[]);
        assert!(found.is_dependent());
        assert_eq!(found.allocation, Some(Allocation::Sequential { step: 1 }));
        assert_eq!(found.samples, [40_000, 40_001, 40_002, 40_003]);
    }

    #[test]
    fn an_address_of_an_own_interface_means_no_nat() {
        let found = profile(&[at(7)], &[at(7)]);
        assert_eq!(found.mapping, Some(Mapping::EndpointIndependent));
    }
}
