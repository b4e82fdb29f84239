//! The handle of a DHT and its verbs.

mod at;
mod report;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::blocklist::Blocklist;
use dhtnet_dht_core::item::{self, MutableItem};
use dhtnet_dht_core::node::{
    AnnouncePort, Item, KnownNode, Mapping, Pong, Publication, Sample, Scope,
};
use dhtnet_dht_core::value::{Filter, Value};
use dhtnet_dht_core::{Event, Family, Id, Node, OperationId};
use tokio::task::JoinHandle;

pub use self::at::At;
pub use self::report::{LookupReport, Stats, StatsOfFamily, Stored};
use super::error::DhtError;
use super::operation::{Operation, Peers, Subscription, Values};
use super::relaying::Relaying;
use super::saving::StateFile;
use super::shared::DhtShared;

/// How long [`Dht::ready`] waits for the bootstrap nodes: the tries of the first ten seconds.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// A node of the DHT. Cheap to clone; the last clone that is dropped ends it.
#[derive(Clone)]
pub struct Dht {
    pub(super) inner: Arc<Running>,
}

pub(super) struct Running {
    pub(super) shared: Arc<DhtShared>,
    pub(super) local_addresses: Vec<SocketAddr>,
    pub(super) helpers: HelperNames,
    pub(super) state_file: Option<StateFile>,
    pub(super) started: Instant,
    pub(super) tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
    /// The task of an own socket; none where the socket is a node's.
    pub(super) driver: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pub(super) relay: Option<Relaying>,
}

/// Who helps in, for messages.
#[derive(Debug, Default)]
pub(super) struct HelperNames {
    pub(super) names: Vec<String>,
    pub(super) addresses: std::sync::Mutex<Vec<SocketAddr>>,
    pub(super) dns_error: std::sync::Mutex<Option<String>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.close();
        let mut tasks = self
            .tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for task in tasks.drain(..) {
            task.abort();
        }
    }
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dht({:?})", self.inner.local_addresses)
    }
}

impl Dht {
    /// The addresses of the sockets, one for each family.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.inner.local_addresses.clone()
    }

    /// This node's id in a family; none where there is no socket for it.
    #[must_use]
    pub fn id(&self, family: Family) -> Option<Id> {
        self.inner.shared.lock().node.id(family)
    }

    /// The address under which several nodes see this one.
    #[must_use]
    pub fn external(&self, family: Family) -> Option<SocketAddr> {
        self.inner.shared.lock().node.external_address(family)
    }

    /// What the reports of others say about the NAT in between.
    pub(crate) fn mapping(&self, family: Family) -> Mapping {
        self.inner.shared.lock().node.mapping(family)
    }

    /// This node's addresses as others report them, the oldest report first; at most 16. Reports
    /// of few, and of liars, are among them.
    pub fn observed(&self, family: Family) -> Vec<SocketAddr> {
        self.inner.shared.lock().node.observed_addresses(family)
    }

    /// Waits until lookups work: the neighbourhood in at least one family is known. A node that
    /// was given nobody to ask is ready at once: it begins a network. Cancel-safe.
    ///
    /// # Errors
    /// [`DhtError::NobodyAnswered`], [`DhtError::NoAddress`] after ten seconds; the node goes on
    /// trying.
    pub async fn ready(&self) -> Result<(), DhtError> {
        let helpers = &self.inner.helpers;
        if helpers.names.is_empty() && lock(&helpers.addresses).is_empty() {
            return Ok(());
        }
        let mut readiness = self.inner.shared.readiness.subscribe();
        let ready = readiness.wait_for(|now| now.ready.contains(&true));
        let outcome = tokio::time::timeout(READY_LIMIT, ready).await;
        match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(DhtError::Closed),
            Err(_) => Err(self.not_ready()),
        }
    }

    /// Whether it was shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.shared.is_closed()
    }

    /// The addresses of the nodes by which the network is entered, as far as they are known.
    pub(crate) fn entrances(&self) -> Vec<SocketAddr> {
        lock(&self.inner.helpers.addresses).clone()
    }

    /// Enters the network now, where that has not come to anything yet.
    pub(crate) fn enter_again(&self) {
        let entrances = self.entrances();
        self.inner.shared.with(|node, now| {
            for address in entrances {
                node.add_bootstrap(now, address);
            }
            node.enter_again(now);
        });
    }

    fn not_ready(&self) -> DhtError {
        let helpers = &self.inner.helpers;
        let asked = lock(&helpers.addresses).len();
        let reason = lock(&helpers.dns_error).clone();
        match reason {
            Some(reason) if asked == 0 => DhtError::NoAddress {
                names: helpers.names.join(", "),
                reason,
            },
            _ => DhtError::NobodyAnswered {
                asked,
                seconds: READY_LIMIT.as_secs(),
            },
        }
    }

    /// How the node is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let now = Instant::now();
        let inner = self.inner.shared.lock();
        let node = &inner.node;
        let families = Family::ALL
            .into_iter()
            .filter_map(|family| {
                node.id(family)?;
                let nodes: Vec<KnownNode> = node.nodes(now, family).collect();
                Some(StatsOfFamily {
                    family,
                    id: node.id(family),
                    ready: node.is_ready(family),
                    external: node.external_address(family),
                    good: nodes.iter().filter(|node| node.good).count(),
                    extension: nodes.iter().filter(|node| node.extension).count(),
                    nodes: nodes.len(),
                    estimated_size: node.estimated_size(now, family),
                })
            })
            .collect();
        Stats {
            families,
            counters: node.counters(),
            stored: node.stored(),
            publications: node.publications().count(),
            read_only: node.is_read_only(),
            uptime: now.saturating_duration_since(self.inner.started),
        }
    }

    /// The nodes in the tables.
    #[must_use]
    pub fn nodes(&self) -> Vec<KnownNode> {
        let now = Instant::now();
        let inner = self.inner.shared.lock();
        let of = |family| inner.node.nodes(now, family).collect::<Vec<_>>();
        Family::ALL.into_iter().flat_map(of).collect()
    }

    /// Adds somebody to be asked while nobody else is known.
    pub fn add_bootstrap(&self, address: SocketAddr) {
        lock(&self.inner.helpers.addresses).push(address);
        self.inner
            .shared
            .with(|node, now| node.add_bootstrap(now, address));
    }

    /// Replaces the addresses that are never talked to.
    pub fn set_blocklist(&self, blocklist: Blocklist) {
        let list = (!blocklist.is_empty()).then(|| Arc::new(blocklist));
        self.inner
            .shared
            .with(|node, now| node.set_blocklist(now, list));
    }

    /// Everything is asked of this one node and nobody else.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> At {
        At {
            dht: self.clone(),
            scope: Scope::Node(address),
        }
    }

    pub(super) fn everywhere(&self) -> At {
        At {
            dht: self.clone(),
            scope: Scope::Network,
        }
    }

    /// Asks one node whether it is there.
    ///
    /// # Errors
    /// [`DhtError::NoAnswer`].
    pub async fn ping(&self, address: SocketAddr) -> Result<Pong, DhtError> {
        let mut operation = self.begin(|node, now| node.ping(now, address))?;
        while let Some(event) = operation.next().await {
            match event {
                Event::Pong(_, pong) => return Ok(pong),
                Event::Done(..) => return Err(DhtError::NoAnswer(address)),
                _ => {}
            }
        }
        Err(DhtError::Closed)
    }

    /// The nodes nearest to `target`.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn closest(&self, target: Id) -> Result<LookupReport, DhtError> {
        self.ready().await?;
        let mut operation = self.begin(|node, now| node.find_node(now, target, Scope::Network))?;
        let outcome = operation.outcome().await.ok_or(DhtError::Closed)?;
        Ok(LookupReport {
            closest: outcome.closest,
            hops: outcome.hops,
            queries: outcome.queries,
            answers: outcome.answers,
            elapsed: outcome.elapsed,
        })
    }

    /// Peers of an info hash.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn get_peers(&self, info_hash: Id) -> Result<Peers, DhtError> {
        self.everywhere().get_peers(info_hash).await
    }

    /// Says that this host is a peer of an info hash.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn announce(&self, info_hash: Id, port: AnnouncePort) -> Result<Stored, DhtError> {
        self.everywhere().announce(info_hash, port).await
    }

    /// The item at `target` (BEP 44); of a mutable one the newest that the nearest nodes have.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn get_item(&self, target: Id, salt: &[u8]) -> Result<Option<Item>, DhtError> {
        self.everywhere().get_item(target, salt).await
    }

    /// The immutable item at `target`, bencoded. Ends with the first node that has it.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn get_immutable(&self, target: Id) -> Result<Option<Vec<u8>>, DhtError> {
        let item = self.get_item(target, b"").await?;
        Ok(match item {
            Some(Item::Immutable(value)) => Some(value),
            _ => None,
        })
    }

    /// The newest mutable item of a key and salt.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn get_mutable(
        &self,
        key: &[u8; 32],
        salt: &[u8],
    ) -> Result<Option<MutableItem>, DhtError> {
        let target = item::mutable_target(key, salt);
        let item = self.get_item(target, salt).await?;
        Ok(match item {
            Some(Item::Mutable(item)) => Some(item),
            _ => None,
        })
    }

    /// Stores an immutable item: a bencoded value of at most 1,000 bytes.
    ///
    /// # Errors
    /// [`DhtError::Item`], [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn put_immutable(&self, value: &[u8]) -> Result<Stored, DhtError> {
        self.everywhere().put_immutable(value).await
    }

    /// Stores a mutable item; with `cas` only where that `seq` is stored now.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn put_mutable(
        &self,
        item: MutableItem,
        cas: Option<i64>,
    ) -> Result<Stored, DhtError> {
        self.everywhere().put_mutable(item, cas).await
    }

    /// A sample of the info hashes that one node keeps (BEP 51).
    ///
    /// # Errors
    /// [`DhtError::NoAnswer`]: also of a node that does not know the question.
    pub async fn sample(&self, address: SocketAddr, target: Id) -> Result<Sample, DhtError> {
        let mut operation = self.begin(|node, now| node.sample(now, address, target))?;
        while let Some(event) = operation.next().await {
            match event {
                Event::Sample(_, sample) => return Ok(sample),
                Event::Done(..) => return Err(DhtError::NoAnswer(address)),
                _ => {}
            }
        }
        Err(DhtError::Closed)
    }

    /// Stores a value under a key of the value layer. Nodes that do not speak it are not asked.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn put_value(&self, key: Id, value: Value) -> Result<Stored, DhtError> {
        self.everywhere().put_value(key, value).await
    }

    /// The values under a key.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn values(&self, key: Id, filter: Filter) -> Result<Values, DhtError> {
        self.everywhere().values(key, filter).await
    }

    /// Listens to a key: the values that are there, those that come, and when they go.
    ///
    /// # Errors
    /// [`DhtError::Closed`], and those of [`Dht::ready`].
    pub async fn listen(&self, key: Id, filter: Filter) -> Result<Subscription, DhtError> {
        self.ready().await?;
        self.begin(|node, now| node.listen(now, key, filter))
            .map(Subscription)
    }

    /// Stores something and keeps it stored while this node runs, and after a restart where there
    /// is a state file: it is written there before anything is reported.
    ///
    /// # Errors
    /// [`DhtError::Item`], [`DhtError::Save`], and those of [`Dht::ready`].
    pub async fn publish(&self, publication: Publication) -> Result<Stored, DhtError> {
        let target = publication.target();
        let mut operation = match self
            .inner
            .shared
            .begin(|node, now| node.publish(now, publication))?
        {
            Some(begun) => Operation::new(self.inner.shared.clone(), begun),
            None => return Err(DhtError::Closed),
        };
        self.save().await?;
        self.ready().await?;
        let outcome = operation.outcome().await.ok_or(DhtError::Closed)?;
        operation.detach();
        Ok(Stored::new(target, outcome))
    }

    /// What is kept stored.
    #[must_use]
    pub fn publications(&self) -> Vec<(OperationId, Publication)> {
        let inner = self.inner.shared.lock();
        let all = inner.node.publications();
        all.map(|(id, publication)| (id, publication.clone()))
            .collect()
    }

    /// No longer stores again what lies at `target`. Returns how many publications ended.
    ///
    /// # Errors
    /// [`DhtError::Save`].
    pub async fn unpublish(&self, target: Id) -> Result<usize, DhtError> {
        let ended = self.inner.shared.with(|node, now| {
            let there = node.publications();
            let ids: Vec<OperationId> = there
                .filter(|(_, publication)| publication.target() == target)
                .map(|(id, _)| id)
                .collect();
            for id in &ids {
                node.cancel(now, *id);
            }
            ids.len()
        });
        self.save().await?;
        Ok(ended)
    }

    /// Stores everything that is kept stored once more, one after the other.
    pub fn republish_now(&self) {
        self.inner.shared.with(|node, now| node.republish_now(now));
    }

    /// Writes the state file, if there is one.
    ///
    /// # Errors
    /// [`DhtError::Save`].
    pub async fn save(&self) -> Result<(), DhtError> {
        match &self.inner.state_file {
            Some(file) => file.save(&self.inner.shared).await,
            None => Ok(()),
        }
    }

    /// Saves the state and ends the node. Whoever waits for an operation is told.
    pub async fn shutdown(&self) {
        if let Err(error) = self.save().await {
            tracing::warn!(%error, "the DHT's state is lost");
        }
        self.inner.shared.close();
        if let Some(driver) = self.inner.driver.lock().await.take() {
            // A driver that panicked has reported that itself.
            let _ = driver.await;
        }
    }

    pub(super) fn begin(
        &self,
        verb: impl FnOnce(&mut Node, Instant) -> OperationId,
    ) -> Result<Operation, DhtError> {
        let begun = self
            .inner
            .shared
            .begin(|node, now| Ok::<_, DhtError>(verb(node, now)))?;
        begun
            .map(|begun| Operation::new(self.inner.shared.clone(), begun))
            .ok_or(DhtError::Closed)
    }
}

pub(super) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
