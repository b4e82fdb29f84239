//! What a DHT node does when the network of its machine changes.

use std::net::SocketAddr;
use std::time::Duration;

use dhtnet_dht_core::Node;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Dht;

/// Nodes that are asked from where they see us now, and answers that are waited for: those of a few
/// networks tell a NAT's kind.
const ASKED: usize = 8;
const ENOUGH: usize = 3;

/// Nobody is waited for longer.
const PATIENCE: Duration = Duration::from_millis(500);

impl Dht {
    /// Forgets what others have said about this node's addresses, and asks the nearest of those
    /// that answered before to say it anew. Ends when they have, or half a second later.
    pub(crate) async fn on_network_change(&self) {
        self.inner
            .shared
            .with(|node: &mut Node, _| node.on_network_change());
        let mut nodes = self.nodes();
        nodes.retain(|node| node.good);
        nodes.sort_by_key(|node| node.round_trip);
        let addresses = nodes.iter().map(|node| node.contact.address);
        let asked: Vec<SocketAddr> = addresses.take(ASKED).collect();
        let pings: FuturesUnordered<_> = asked.into_iter().map(|at| self.ping(at)).collect();
        let answers = pings.filter(|pong| std::future::ready(pong.is_ok()));
        // Silence tells enough.
        let _ = tokio::time::timeout(PATIENCE, answers.take(ENOUGH).count()).await;
    }
}
