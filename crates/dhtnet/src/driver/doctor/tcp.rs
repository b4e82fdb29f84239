//! Whether TCP gets out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::doctor::TcpOutcome;

/// Longest that a connection is waited for: its first packet is sent again after one second.
pub(crate) const LIMIT: Duration = Duration::from_millis(2_500);

/// Connects and hangs up.
pub(crate) async fn try_tcp(to: SocketAddr) -> TcpOutcome {
    match tokio::time::timeout(LIMIT, TcpStream::connect(to)).await {
        Ok(Ok(_)) => TcpOutcome::Connected,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => TcpOutcome::Refused,
        _ => TcpOutcome::Failed,
    }
}
