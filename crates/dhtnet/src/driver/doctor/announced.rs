//! Whether relays that are announced in the DHT answer: a request for an address without a
//! password, which each refuses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// Each is asked this often, with this time between.
const SENDINGS: usize = 2;
const PAUSE: Duration = Duration::from_millis(400);

/// Longest that all of them take.
#[cfg(test)]
pub(crate) const ANNOUNCED_LIMIT: Duration = PAUSE.saturating_mul(SENDINGS as u32);

/// Allocate (RFC 8656 section 18), without attributes: a length of 0, and the cookie of STUN.
const ALLOCATE: [u8; 8] = [0x00, 0x03, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];

/// An error response to it.
const REFUSED: [u8; 2] = [0x01, 0x13];

/// Those of `relays` that answer. `id` makes our transactions.
pub(crate) async fn answering(relays: &[SocketAddr], id: [u8; 12]) -> Vec<SocketAddr> {
    let asked = relays
        .iter()
        .map(|relay| async move { (*relay, answers(*relay, id).await) });
    let found = futures_util::future::join_all(asked).await;
    let found = found.into_iter().filter(|(_, answers)| *answers);
    found.map(|(relay, _)| relay).collect()
}

async fn answers(relay: SocketAddr, id: [u8; 12]) -> bool {
    let any = match relay {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let Ok(socket) = UdpSocket::bind(any).await else {
        return false;
    };
    if socket.connect(relay).await.is_err() {
        return false;
    }
    let request = [&ALLOCATE[..], &id].concat();
    for _ in 0..SENDINGS {
        if socket.send(&request).await.is_err() {
            return false;
        }
        let mut answer = [0; 1_500];
        if let Ok(received) = tokio::time::timeout(PAUSE, socket.recv(&mut answer)).await {
            return received.is_ok_and(|len| {
                len >= 20
                    && answer[..2] == REFUSED
                    && answer[4..8] == ALLOCATE[4..]
                    && answer[8..20] == id
            });
        }
    }
    false
}
