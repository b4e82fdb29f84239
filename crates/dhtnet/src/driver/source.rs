//! Which own address packets leave from: the system decides when a socket is connected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::Mark;

/// The own address from which packets with `mark` to `target` would leave: a tunnel leads others
/// elsewhere. Nothing is sent.
pub(crate) fn source_towards(target: SocketAddr, mark: Mark) -> Option<IpAddr> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    mark.put_on(&socket).ok()?;
    socket.connect(target).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_unspecified() && !own.is_loopback()).then_some(own)
}
