//! Knocking: how a caller behind a NAT is let in where the DHT has no nodes that push messages, as
//! the public Mainline.
//!
//! The caller announces itself (BEP 5) under a key that follows from the callee's id. The callee
//! looks there now and then, and sends an empty STUN message towards every address that it finds:
//! its NAT then lets the caller's handshake in. Nothing is proved by a knock and nothing is told to
//! who knocks; what an address gets is twenty bytes in each round.
//!
//! It is enough where both NATs keep the port, whoever is sent to. The callee's address comes from
//! its presence record, which any Mainline node can hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dhtnet_dht_core::Id;
use dhtnet_identity::DeviceId;
use futures_util::StreamExt;

use crate::core::path::Via;
use crate::dht::{AnnouncePort, Dht};
use crate::interfaces::is_public;
use crate::service::Service;
use crate::state::Shared;
use crate::traversal::Sessions;

/// How often the callee looks. A lookup costs some thirty small packets.
const LOOK_EVERY: Duration = Duration::from_secs(6);

/// How often the caller knocks again: those that it told may be gone.
const KNOCK_EVERY: Duration = Duration::from_secs(15);

/// Most addresses that are sent to in one round. Whoever knocks makes us send twenty bytes to each.
const MAX_KNOCKERS: usize = 16;

/// Messages to each of them in a round, so that the hole outlives a lost one.
const MESSAGES: u32 = 2;

/// Time between them.
const BETWEEN: Duration = Duration::from_secs(1);

/// Where those knock who want to reach a service of a device.
fn place(callee: &DeviceId, service: &Service) -> Id {
    service.key(b"dhtnet 1 knock", callee)
}

/// Knocks until it is dropped.
pub(crate) async fn knock(dht: &Dht, callee: &DeviceId, service: &Service) {
    loop {
        match dht
            .announce(place(callee, service), AnnouncePort::Implied)
            .await
        {
            Ok(stored) => {
                tracing::debug!(peer = %callee.short(), nodes = stored.acknowledged, "knocked");
            }
            Err(error) => tracing::debug!(peer = %callee.short(), %error, "could not knock"),
        }
        tokio::time::sleep(KNOCK_EVERY).await;
    }
}

/// Opens the NAT to those who knock, until it is dropped. Where all nodes push messages nobody has
/// to, and it only waits.
pub(crate) async fn answer_knocks(
    dht: &Dht,
    own: &Service,
    (shared, sessions): (&Arc<Shared>, &Sessions),
) {
    loop {
        if has_plain_nodes(dht) && sessions.may_use(Via::Shared) {
            let knockers = knockers(dht, place(&shared.own, own)).await;
            for _ in 0..MESSAGES {
                sessions.greet(&knockers);
                shared.wake.wake();
                tokio::time::sleep(BETWEEN).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn has_plain_nodes(dht: &Dht) -> bool {
    let nodes = dht.nodes();
    nodes.iter().any(|node| node.good && !node.extension)
}

async fn knockers(dht: &Dht, place: Id) -> Vec<SocketAddr> {
    let Ok(found) = dht.get_peers(place).await else {
        return Vec::new();
    };
    let outside =
        found.filter(|address| std::future::ready(address.port() != 0 && is_public(address.ip())));
    let knockers: Vec<SocketAddr> = outside.take(MAX_KNOCKERS).collect().await;
    if !knockers.is_empty() {
        tracing::debug!(addresses = knockers.len(), "somebody knocks");
    }
    knockers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use dhtnet_identity::DeviceKey;

    use super::*;

    #[test]
    fn each_service_of_each_device_has_a_door_of_its_own() {
        let [one, two] = [1, 2].map(|seed| DeviceKey::from_seed(&[seed; 32]).id());
        let (none, dsh) = (Service::default(), Service::new("dsh").unwrap());
        assert_ne!(place(&one, &none), place(&two, &none));
        assert_ne!(place(&one, &none), place(&one, &dsh));
    }
}
