//! Finding devices by their presence records in the DHT.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dhtnet_dht_core::Family;
use dhtnet_dht_core::item::{ItemSigner, MutableItem};
use dhtnet_dht_core::node::{Item, Mapping};
use dhtnet_identity::{DeviceId, DeviceKey, PeerAddress};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Announcement, Discovery, Lookup, OtherServices};
use crate::dht::presence;
use crate::dht::{Dht, Refusal, Stored};
use crate::interfaces::{self, Changes};
use crate::port_mapping::{Mappings, public_addresses};
use crate::service::{Service, Services};

/// Waits before the record is looked for again: a device that starts at this moment has its
/// record out within a few seconds, and a little later one with the address that others see.
const RETRIES: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// How often the own addresses are looked at when nothing tells of a change: what others see of
/// this device changes without a word.
const WATCH: Duration = Duration::from_secs(5);

/// Another try when no node took the record.
const RETRY: Duration = Duration::from_secs(3);

/// What a node answers whose record has the same number or a higher one (BEP 44).
const SEQUENCE_TOO_LOW: i64 = 302;

/// Least time between two records: their numbers are seconds, and nodes take no other record with
/// the same number.
const SPACING: Duration = Duration::from_secs(1);

/// How much later than [`presence::REFRESH`] a record of a running program may come, clocks that
/// differ a little included.
const SLACK: Duration = Duration::from_secs(5 * 60);

/// How long records of other services are waited for when the first was found. The look-ups run at the
/// same time over the same nodes; that of a record that nobody made takes until the last node was silent.
const FURTHER_RECORDS: Duration = Duration::from_millis(200);

/// Brings the services of a device with the newest records to the front; the others stay in their
/// order. Does so at its end: who gives up waiting finds them as they were.
pub(crate) async fn newest_first(dht: &Dht, id: &DeviceId, services: &mut [Service]) {
    let mut looking: FuturesUnordered<_> = services
        .iter()
        .enumerate()
        .map(async |(at, service)| (at, record(dht, id, service).await))
        .collect();
    let mut numbers = vec![None; services.len()];
    while let Some((at, found)) = looking.next().await {
        numbers[at] = found.map(|record| record.seq());
        if numbers[at].is_some() {
            break;
        }
    }
    let further = async {
        while let Some((at, found)) = looking.next().await {
            numbers[at] = found.map(|record| record.seq());
        }
    };
    let _ = tokio::time::timeout(FURTHER_RECORDS, further).await;
    drop(looking);
    let mut dated: Vec<_> = numbers.into_iter().zip(services.iter().cloned()).collect();
    dated.sort_by_key(|(number, _)| Reverse(*number));
    for (place, (_, service)) in services.iter_mut().zip(dated) {
        *place = service;
    }
}

/// Presence records, looked up and kept.
pub(crate) struct DhtDiscovery {
    dht: Dht,
    signer: ItemSigner,
    services: Arc<Services>,
    changes: Option<Changes>,
    mappings: Option<Mappings>,
    announcing: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for DhtDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dht.fmt(f)
    }
}

impl DhtDiscovery {
    pub(crate) fn new(dht: Dht, key: DeviceKey, services: Arc<Services>) -> Self {
        Self {
            dht,
            signer: ItemSigner::from(key),
            services,
            changes: None,
            mappings: None,
            announcing: Mutex::new(None),
        }
    }

    /// Looks at the own addresses again at each change of the network.
    pub(crate) fn on_change(mut self, changes: Option<Changes>) -> Self {
        self.changes = changes;
        self
    }

    /// Announces what routers have mapped, as it changes.
    pub(crate) fn mappings(mut self, mappings: Option<Mappings>) -> Self {
        self.mappings = mappings;
        self
    }
}

impl Discovery for DhtDiscovery {
    fn name(&self) -> &'static str {
        "the DHT"
    }

    fn lookup(&self, peer: &PeerAddress) -> Lookup {
        let (dht, id) = (self.dht.clone(), peer.id);
        let services = self.services.clone();
        let rounds = futures_util::stream::iter(0..=RETRIES.len());
        let found = rounds.then(move |round| {
            let (dht, services) = (dht.clone(), services.clone());
            async move {
                // Nobody to ask: the other sources have to do.
                dht.ready().await.ok()?;
                if let Some(wait) = round.checked_sub(1).and_then(|before| RETRIES.get(before)) {
                    tokio::time::sleep(*wait).await;
                }
                let sought = services.sought.iter();
                let records = sought.map(|service| record(&dht, &id, service));
                let records = futures_util::future::join_all(records).await;
                let found = records.into_iter().flatten();
                let found = found.flat_map(|record| presence::decode(record.value()));
                Some(found.collect::<Vec<SocketAddr>>())
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

    /// One after the other: it is not urgent.
    fn lookup_others(&self, peer: &PeerAddress) -> OtherServices {
        let (dht, id) = (self.dht.clone(), peer.id);
        let others = futures_util::stream::iter(self.services.others.clone());
        others
            .filter_map(move |service| {
                let dht = dht.clone();
                async move {
                    let record = record(&dht, &id, &service).await?;
                    is_recent(SystemTime::now(), record.seq()).then_some(service)
                }
            })
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
        let own = Own {
            dht: self.dht.clone(),
            bound: own.addresses.clone(),
            changes: self.changes.clone(),
            mappings: self.mappings.clone(),
            signer: self.signer.clone(),
            salt: self.services.own.presence_salt(&own.id),
        };
        *announcing = Some(tokio::spawn(keep_announced(own)));
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
async fn keep_announced(mut own: Own) {
    let mut stored: Option<(Vec<SocketAddr>, Instant)> = None;
    let mut tried: Option<Instant> = None;
    loop {
        if let Some(tried) = tried {
            tokio::time::sleep_until(tried + SPACING).await;
        }
        let addresses = own.addresses();
        let is_due = stored
            .as_ref()
            .is_none_or(|(before, at)| *before != addresses || at.elapsed() >= presence::REFRESH);
        let mut wait = WATCH;
        if is_due && !addresses.is_empty() {
            tried = Some(Instant::now());
            match own.store(&addresses).await {
                Ok(nodes) => {
                    tracing::debug!(nodes, ?addresses, "presence record stored");
                    stored = Some((addresses, Instant::now()));
                }
                Err(reason) => {
                    tracing::debug!(%reason, "presence record not stored yet");
                    wait = RETRY;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = next(&mut own.changes) => {}
            () = next(&mut own.mappings) => {}
        }
    }
}

/// Waits for a change; for ever when nothing tells of any.
async fn next<T>(changes: &mut Option<watch::Receiver<T>>) {
    if let Some(receiver) = changes {
        if receiver.changed().await.is_ok() {
            return;
        }
        *changes = None;
    }
    std::future::pending::<()>().await;
}

/// The record of a service, if nodes have one.
async fn record(dht: &Dht, id: &DeviceId, service: &Service) -> Option<MutableItem> {
    let target = presence::target(id, service);
    match dht.get_item(target, &service.presence_salt(id)).await {
        Ok(Some(Item::Mutable(item))) => Some(item),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "looking for a presence record failed");
            None
        }
    }
}

/// Whether a program that signed its record with this number, the time in seconds, is running still:
/// it would have renewed it otherwise.
fn is_recent(now: SystemTime, seq: i64) -> bool {
    let Ok(signed) = u64::try_from(seq) else {
        return false;
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let age = now.unwrap_or_default().as_secs().abs_diff(signed);
    age <= (presence::REFRESH + SLACK).as_secs()
}

fn taken(stored: &Stored) -> Result<usize, String> {
    if stored.acknowledged == 0 {
        let refused = stored.refused.first();
        return Err(refused.map_or("no node took it".to_owned(), |one| one.text.clone()));
    }
    Ok(stored.acknowledged)
}

/// Where this device can be reached, and what tells that it changed.
struct Own {
    dht: Dht,
    bound: Vec<SocketAddr>,
    changes: Option<Changes>,
    mappings: Option<Mappings>,
    signer: ItemSigner,
    salt: Vec<u8>,
}

impl Own {
    /// Stores a record; how many nodes took it. A program of this device that has just ended may have
    /// stored one in the same second, or with a clock that was ahead: then the number goes above that.
    async fn store(&self, addresses: &[SocketAddr]) -> Result<usize, String> {
        let stored = self.put(addresses, None).await?;
        let is_old = |refusal: &Refusal| refusal.code == SEQUENCE_TOO_LOW;
        if stored.acknowledged == 0 && stored.refused.iter().any(is_old) {
            let kept = self.dht.get_item(stored.target, &self.salt).await;
            if let Ok(Some(Item::Mutable(kept))) = kept {
                let stored = self.put(addresses, Some(kept.seq())).await?;
                return taken(&stored);
            }
        }
        taken(&stored)
    }

    async fn put(&self, addresses: &[SocketAddr], above: Option<i64>) -> Result<Stored, String> {
        let signer = (&self.signer, self.salt.as_slice());
        let item = presence::encode(signer, addresses, (SystemTime::now(), above));
        let item = item.map_err(|error| error.to_string())?;
        let stored = self.dht.put_mutable(item, None).await;
        stored.map_err(|error| error.to_string())
    }

    /// What nodes of several networks see alike, where they are too few for the DHT to believe it.
    fn agreed(&self, family: Family) -> Option<SocketAddr> {
        let seen = self.dht.observed(family);
        let first = *seen.first()?;
        (seen.len() >= 2 && seen.iter().all(|address| *address == first)).then_some(first)
    }

    /// What routers have mapped, what others see, and the interfaces.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        if let Some(mappings) = &self.mappings {
            addresses.extend(public_addresses(&mappings.borrow()));
        }
        // A port that each remote sees another of leads nobody here, and the one that most see
        // changes with every look.
        let tells = |family: &Family| self.dht.mapping(*family) != Mapping::EndpointDependent;
        let external = Family::ALL
            .into_iter()
            .filter(tells)
            .filter_map(|family| self.dht.external(family).or_else(|| self.agreed(family)));
        for address in external.chain(interfaces::reachable(&self.bound)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(presence::MAX_ADDRESSES);
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_not_renewed_is_no_sign_of_a_running_program() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for seq in [1_800_000_000, 1_799_998_500, 1_800_000_060] {
            assert!(is_recent(now, seq), "{seq}");
        }
        for seq in [1_799_998_499, 1_800_001_501, 0, -1, i64::MIN, i64::MAX] {
            assert!(!is_recent(now, seq), "{seq}");
        }
    }
}
