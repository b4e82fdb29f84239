//! Which routers stand near the beginning of the way: packets that may pass one or two only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::socket::{Incoming, ProbeSocket};
use crate::doctor::Outgoing;

/// Distances that are asked for. The first router is the gateway; the second tells whether another
/// private network is behind it.
const DISTANCES: [u8; 2] = [2, 3];

/// Longest that a router is waited for: those asked for are near.
pub(crate) const LIMIT: Duration = Duration::from_millis(700);

/// Sent this often: routers report only so many packets a second.
const SENDINGS: u32 = 2;

/// The routers on the way to `target`, by their distance. Those that do not report are left out.
pub(crate) async fn hops(target: SocketAddr) -> Vec<(u8, IpAddr)> {
    let asked =
        DISTANCES.map(|distance| async move { (distance, router_at(target, distance).await) });
    let found = futures_util::future::join_all(asked).await;
    let found = found.into_iter();
    found
        .filter_map(|(distance, router)| Some((distance, router?)))
        .collect()
}

async fn router_at(target: SocketAddr, distance: u8) -> Option<IpAddr> {
    let socket = ProbeSocket::bind((Ipv4Addr::UNSPECIFIED, 0).into()).ok()?;
    socket.limit_hops(distance).ok()?;
    let outgoing = Outgoing {
        to: target,
        // Nobody's protocol: whoever gets it drops it.
        payload: vec![0; 8],
    };
    for _ in 0..SENDINGS {
        let mut heard = Vec::new();
        let _ = socket.send(&outgoing, &mut heard);
        if heard.is_empty() {
            let received = tokio::time::timeout(LIMIT / SENDINGS, socket.receive()).await;
            heard = received.unwrap_or_default();
        }
        let router = heard.into_iter().find_map(|one| match one {
            Incoming::Report { by, .. } if by != target.ip() => Some(by),
            _ => None,
        });
        if router.is_some() {
            return router;
        }
    }
    None
}
