//! Names into addresses, within a time limit.

use std::net::SocketAddr;
use std::time::Duration;

/// Longest that a name is looked for. The system's own resolver waits five seconds for each of its
/// servers; one that takes longer than this makes every start slow.
pub(crate) const LIMIT: Duration = Duration::from_millis(2_000);

/// The addresses of `HOST:PORT`, or why there are none.
pub(crate) async fn look_up(name: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    match tokio::time::timeout(LIMIT, tokio::net::lookup_host(name)).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}
