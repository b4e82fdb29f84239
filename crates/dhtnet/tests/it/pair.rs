//! Two nodes that know each other's address.

use std::net::SocketAddr;
use std::time::Duration;

use dhtnet::identity::policy::{Grant, Policy, Subject};
use dhtnet::{ChannelRequest, DeviceId, DeviceKey, Incoming, Listener, Node, PeerAddress};

/// No test waits longer for anything: a hang is a failure with a name.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn key(seed: u8) -> DeviceKey {
    DeviceKey::from_seed(&[seed; 32])
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn allow(peer: DeviceId) -> Policy {
    Policy::builder()
        .grant(Subject::Peer(peer), Grant::everything())
        .build()
}

pub(crate) async fn node(seed: u8, policy: Policy) -> Node {
    Node::builder(key(seed))
        .bind(loopback())
        .mdns(false)
        .policy(policy)
        .build()
        .await
        .unwrap()
}

pub(crate) fn address(node: &Node) -> PeerAddress {
    PeerAddress {
        id: node.id(),
        hints: node.local_addresses(),
    }
}

/// A client, and a server that allows it everything.
pub(crate) async fn pair() -> (Node, Node) {
    let client = node(1, Policy::deny_all()).await;
    let server = node(2, allow(client.id())).await;
    (client, server)
}

/// Fails the test instead of waiting for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("the test waits for something that never comes")
}

/// Opens a channel and gives both ends.
pub(crate) async fn open(
    client: &Node,
    server: &Node,
    listener: &mut Listener,
    request: ChannelRequest,
) -> (dhtnet::Channel, dhtnet::Channel) {
    let to = address(server);
    let (ours, theirs) = tokio::join!(within(client.connect(&to, request)), async {
        let incoming: Incoming = within(listener.accept()).await.unwrap();
        incoming.accept()
    });
    (ours.unwrap(), theirs)
}
