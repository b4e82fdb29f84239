//! Whether the gateway speaks PCP: its ANNOUNCE (RFC 6887 section 14.1) changes nothing there.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// PCP servers listen here (RFC 6887 section 19.1).
const PORT: u16 = 5351;

/// Bytes of a header (RFC 6887 section 7.1).
const HEADER_LEN: usize = 24;

/// The first answer is waited for this long, then twice as long: the gateway is on the link.
const WAITS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
];

/// Whether it answers, and if so whether it agrees; `None` for silence.
pub(crate) async fn asks_pcp(own: Ipv4Addr, gateway: Ipv4Addr) -> Option<bool> {
    let socket = UdpSocket::bind((own, 0)).await.ok()?;
    socket.connect((IpAddr::V4(gateway), PORT)).await.ok()?;
    let mut request = [0; HEADER_LEN];
    request[0] = 2; // The version.
    // The opcode, 0, and the lifetime, 0, stand already.
    request[8..].copy_from_slice(&own.to_ipv6_mapped().octets());
    for wait in WAITS {
        socket.send(&request).await.ok()?;
        let mut answer = [0; 1_100];
        let received = tokio::time::timeout(wait, socket.recv(&mut answer)).await;
        match received {
            // Version 2, a response to ANNOUNCE, and the result.
            Ok(Ok(len)) if len >= HEADER_LEN && answer[0] == 2 && answer[1] == 0x80 => {
                return Some(answer[3] == 0);
            }
            // NAT-PMP's answer to a version that it does not know.
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_)) => return None,
        }
    }
    None
}
