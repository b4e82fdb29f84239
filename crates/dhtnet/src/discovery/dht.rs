//! Finding devices by their presence records in the DHT.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dhtnet_dht_core::Family;
use dhtnet_dht_core::item::ItemSigner;
use dhtnet_dht_core::node::Item;
use dhtnet_identity::{DeviceKey, PeerAddress};
use futures_util::StreamExt;
use tokio::task::JoinHandle;

use super::{Announcement, Discovery, Lookup};
use crate::dht::Dht;
use crate::dht::presence;
use crate::interfaces;

/// Waits before the record is looked for again: a device that starts at this moment has its
/// record out within a few seconds.
const RETRIES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// How often the own addresses are looked at.
const WATCH: Duration = Duration::from_secs(5);

/// Another try when no node took the record.
const RETRY: Duration = Duration::from_secs(3);

/// Presence records, looked up and kept.
pub(crate) struct DhtDiscovery {
    dht: Dht,
    signer: ItemSigner,
    announcing: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for DhtDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dht.fmt(f)
    }
}

impl DhtDiscovery {
    pub(crate) fn new(dht: Dht, key: DeviceKey) -> Self {
        Self {
            dht,
            signer: ItemSigner::from(key),
            announcing: Mutex::new(None),
        }
    }
}

impl Discovery for DhtDiscovery {
    fn name(&self) -> &'static str {
        "the DHT"
    }

    fn lookup(&self, peer: &PeerAddress) -> Lookup {
        let (dht, id) = (self.dht.clone(), peer.id);
        let rounds = futures_util::stream::iter(0..=RETRIES.len());
        let found = rounds.then(move |round| {
            let dht = dht.clone();
            async move {
                // Nobody to ask: the other sources have to do.
                dht.ready().await.ok()?;
                if let Some(wait) = round.checked_sub(1).and_then(|before| RETRIES.get(before)) {
                    tokio::time::sleep(*wait).await;
                }
                let item = dht.get_item(presence::target(&id), presence::SALT).await;
                Some(match item {
                    Ok(Some(Item::Mutable(item))) => presence::decode(item.value()),
                    Ok(_) => Vec::new(),
                    Err(error) => {
                        tracing::debug!(%error, "looking for a presence record failed");
                        Vec::new()
                    }
                })
            }
        });
        let found = found.take_while(|found| std::future::ready(found.is_some()));
        let found = found.filter_map(std::future::ready);
        let mut told = BTreeSet::new();
        found
            .flat_map(futures_util::stream::iter)
            .filter(move |address| std::future::ready(told.insert(*address)))
            .boxed()
    }

    fn announce(&self, own: &Announcement) {
        let mut announcing = self
            .announcing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = announcing.take() {
            before.abort();
        }
        let keep = keep_announced(self.dht.clone(), self.signer.clone(), own.addresses.clone());
        *announcing = Some(tokio::spawn(keep));
    }

    fn close(&self) {
        let mut announcing = self
            .announcing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = announcing.take() {
            task.abort();
        }
    }
}

impl Drop for DhtDiscovery {
    fn drop(&mut self) {
        self.close();
    }
}

/// Stores the record, and again when an address changes or its time is over.
async fn keep_announced(dht: Dht, signer: ItemSigner, bound: Vec<SocketAddr>) {
    let mut stored: Option<(Vec<SocketAddr>, tokio::time::Instant)> = None;
    loop {
        let addresses = own_addresses(&dht, &bound);
        let is_due = stored
            .as_ref()
            .is_none_or(|(before, at)| *before != addresses || at.elapsed() >= presence::REFRESH);
        let mut wait = WATCH;
        if is_due && !addresses.is_empty() {
            match store(&dht, &signer, &addresses).await {
                Ok(nodes) => {
                    tracing::debug!(nodes, ?addresses, "presence record stored");
                    stored = Some((addresses, tokio::time::Instant::now()));
                }
                Err(reason) => {
                    tracing::debug!(%reason, "presence record not stored yet");
                    wait = RETRY;
                }
            }
        }
        tokio::time::sleep(wait).await;
    }
}

/// Stores a record; how many nodes took it.
async fn store(dht: &Dht, signer: &ItemSigner, addresses: &[SocketAddr]) -> Result<usize, String> {
    let item = presence::encode(signer, addresses, SystemTime::now());
    let item = item.map_err(|error| error.to_string())?;
    let stored = dht.put_mutable(item, None).await;
    let stored = stored.map_err(|error| error.to_string())?;
    if stored.acknowledged == 0 {
        let refused = stored.refused.first();
        return Err(refused.map_or("no node took it".to_owned(), |one| one.text.clone()));
    }
    Ok(stored.acknowledged)
}

/// Where this device can be reached: what others see, and its interfaces.
fn own_addresses(dht: &Dht, bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let external = Family::ALL
        .into_iter()
        .filter_map(|family| dht.external(family));
    let mut addresses: Vec<SocketAddr> = external.collect();
    for address in interfaces::reachable(bound) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(presence::MAX_ADDRESSES);
    addresses
}
