//! Where a relay stands: its own addresses, those that peers see, and the ports it listens at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dhtnet_nat_traversal::relay::{Family, NoSocket};
use tokio::net::TcpListener;

use super::streams::listen;
use crate::dht::DhtBuildError;
use crate::driver::{Mark, source_towards};
use crate::relay_server::HTTPS_PORT;

/// Addresses of the internet of each family, to ask the system which own address leads there.
/// Nothing is sent to them.
const AWAY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
];

/// Where a client's socket is bound, and under which address peers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bind: IpAddr,
    pub(super) seen: IpAddr,
}

#[derive(Debug)]
pub(super) struct Ground {
    /// The addresses of the shared sockets.
    locals: Vec<SocketAddr>,
    told: Vec<IpAddr>,
}

impl Ground {
    pub(super) fn new(locals: &[SocketAddr], told: Vec<IpAddr>) -> Self {
        Self {
            locals: locals.to_vec(),
            told,
        }
    }

    pub(super) fn told(&self) -> &[IpAddr] {
        &self.told
    }

    /// All addresses of this host, also as peers see them.
    pub(super) fn own(&self) -> Vec<IpAddr> {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let found = interfaces.iter().map(if_addrs::Interface::ip);
        found.chain(self.told.iter().copied()).collect()
    }

    /// The place of a socket of a client who came in at `arrived`.
    pub(super) fn place(&self, arrived: Option<IpAddr>, family: Family) -> Result<Place, NoSocket> {
        let is_v4 = family == Family::V4;
        let of_family = |ip: &IpAddr| ip.is_ipv4() == is_v4;
        let shared = self
            .locals
            .iter()
            .map(SocketAddr::ip)
            .find(of_family)
            .ok_or(NoSocket::FamilyUnavailable)?;
        let arrived = arrived.map(|ip| ip.to_canonical());
        let fit = |ip: &IpAddr| of_family(ip) && !ip.is_unspecified() && !is_link_local(*ip);
        let bind = arrived
            .filter(fit)
            .or(Some(shared).filter(fit))
            .or_else(|| towards(is_v4))
            .or_else(|| {
                let is_far = |ip: &IpAddr| fit(ip) && !ip.is_loopback();
                self.own().into_iter().find(is_far)
            })
            .ok_or(NoSocket::FamilyUnavailable)?;
        let seen = self.told.iter().copied().find(of_family).unwrap_or(bind);
        Ok(Place { bind, seen })
    }

    /// Listens for TCP beside each shared socket, at the given ports, which must be free; or else
    /// at the number of the UDP port and at 443, each where it can be had.
    pub(super) fn listen(
        &self,
        ports: Option<&[u16]>,
    ) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), DhtBuildError> {
        let (mut listeners, mut bound) = (Vec::new(), Vec::new());
        let is_asked = ports.is_some();
        for local in &self.locals {
            let usual = || vec![local.port(), HTTPS_PORT];
            let mut wanted = ports.map_or_else(usual, <[u16]>::to_vec);
            wanted.dedup();
            for port in wanted {
                let address = SocketAddr::new(local.ip(), port);
                match listen(address) {
                    Ok(listener) => {
                        bound.push(listener.local_addr().unwrap_or(address));
                        listeners.push(listener);
                    }
                    Err(source) if is_asked => {
                        return Err(DhtBuildError::RelayPort { address, source });
                    }
                    Err(error) => report(address, &error),
                }
            }
        }
        Ok((listeners, bound))
    }
}

fn report(address: SocketAddr, error: &io::Error) {
    tracing::info!(%address, %error, "the relay cannot be reached over TCP here");
}

/// The own address from which packets to the internet leave.
fn towards(is_v4: bool) -> Option<IpAddr> {
    let away = AWAY.iter().find(|ip| ip.is_ipv4() == is_v4)?;
    source_towards(SocketAddr::new(*away, HTTPS_PORT), Mark::default())
}

/// Such an address means nothing to a peer elsewhere.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn ground(locals: &[&str], told: &[&str]) -> Ground {
        let locals: Vec<SocketAddr> = locals.iter().map(|local| local.parse().unwrap()).collect();
        Ground::new(&locals, told.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    fn place(ground: &Ground, arrived: &str, family: Family) -> Result<(String, String), NoSocket> {
        let place = ground.place(arrived.parse().ok(), family)?;
        Ok((place.bind.to_string(), place.seen.to_string()))
    }

    fn pair(bind: &str, seen: &str) -> Result<(String, String), NoSocket> {
        Ok((bind.to_owned(), seen.to_owned()))
    }

    #[test]
    fn a_client_is_relayed_at_the_address_where_he_came_in() {
        let ground = ground(&["[::]:7", "0.0.0.0:7"], &[]);
        for arrived in ["192.0.2.7", "10.0.0.1"] {
            assert_eq!(place(&ground, arrived, Family::V4), pair(arrived, arrived));
        }
        let mapped = place(&ground, "::ffff:10.0.0.1", Family::V4);
        assert_eq!(mapped, pair("10.0.0.1", "10.0.0.1"));
        let v6 = "2001:db8::7";
        assert_eq!(place(&ground, v6, Family::V6), pair(v6, v6));
    }

    #[test]
    fn behind_a_one_to_one_nat_peers_see_the_address_that_was_told() {
        let ground = ground(&["0.0.0.0:7"], &["203.0.113.9", "2001:db8::9"]);
        let expected = pair("10.0.0.1", "203.0.113.9");
        assert_eq!(place(&ground, "10.0.0.1", Family::V4), expected);
        let own = ground.own();
        assert!(own.contains(&"203.0.113.9".parse().unwrap()));
    }

    #[test]
    fn a_family_without_a_shared_socket_is_not_relayed() {
        let ground = ground(&["192.0.2.7:7"], &[]);
        let v6 = place(&ground, "192.0.2.7", Family::V6);
        assert_eq!(v6, Err(NoSocket::FamilyUnavailable));
        // A bound address is the way out when the client came in elsewhere.
        let v4 = place(&ground, "", Family::V4);
        assert_eq!(v4, pair("192.0.2.7", "192.0.2.7"));
    }
}
