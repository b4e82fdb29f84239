//! The verbs of a DHT, put to the whole network or to one node.

use dhtnet_dht_core::item::{self, MutableItem};
use dhtnet_dht_core::node::{AnnouncePort, Item, Outcome, Scope};
use dhtnet_dht_core::value::{Filter, Value, ValueQuery};
use dhtnet_dht_core::{Contact, Event, Id};
use futures_util::StreamExt;

use super::{Dht, Stored};
use crate::dht::error::DhtError;
use crate::dht::operation::{Operation, Peers, Values};

/// The verbs of a DHT with a choice of who is asked: see [`Dht::at`].
#[derive(Debug, Clone)]
pub struct At {
    pub(super) dht: Dht,
    pub(super) scope: Scope,
}

impl At {
    /// Lookups need a neighbourhood; one node can be asked at once.
    async fn ready(&self) -> Result<(), DhtError> {
        match self.scope {
            Scope::Network => self.dht.ready().await,
            Scope::Node(_) => Ok(()),
        }
    }

    /// A node that was asked alone and said nothing is an error.
    fn check(&self, outcome: Outcome) -> Result<Outcome, DhtError> {
        match self.scope {
            Scope::Node(address) if outcome.answers == 0 => Err(DhtError::NoAnswer(address)),
            _ => Ok(outcome),
        }
    }

    async fn store(&self, target: Id, mut operation: Operation) -> Result<Stored, DhtError> {
        let outcome = operation.outcome().await.ok_or(DhtError::Closed)?;
        Ok(Stored::new(target, self.check(outcome)?))
    }

    /// The nodes that the asked node tells of.
    ///
    /// # Errors
    /// [`DhtError::NoAnswer`].
    pub async fn find_node(&self, target: Id) -> Result<Vec<Contact>, DhtError> {
        self.ready().await?;
        let scope = self.scope;
        let mut operation = self
            .dht
            .begin(|node, now| node.find_node(now, target, scope))?;
        let mut told = Vec::new();
        while let Some(event) = operation.next().await {
            match event {
                Event::Nodes(_, nodes) => told = nodes,
                Event::Done(_, outcome) => {
                    let outcome = self.check(outcome)?;
                    return Ok(if scope == Scope::Network {
                        outcome.closest
                    } else {
                        told
                    });
                }
                _ => {}
            }
        }
        Err(DhtError::Closed)
    }

    /// As [`Dht::get_peers`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_peers(&self, info_hash: Id) -> Result<Peers, DhtError> {
        self.ready().await?;
        let scope = self.scope;
        let operation = self
            .dht
            .begin(|node, now| node.find_peers(now, info_hash, scope))?;
        Ok(Peers {
            operation,
            queued: Vec::new(),
            seen: std::collections::HashSet::new(),
        })
    }

    /// As [`Dht::announce`].
    ///
    /// # Errors
    /// As there, and [`DhtError::NoAnswer`].
    pub async fn announce(&self, info_hash: Id, port: AnnouncePort) -> Result<Stored, DhtError> {
        self.ready().await?;
        let scope = self.scope;
        let operation = self
            .dht
            .begin(|node, now| node.announce(now, info_hash, port, scope))?;
        self.store(info_hash, operation).await
    }

    /// As [`Dht::get_item`].
    ///
    /// # Errors
    /// As there, and [`DhtError::NoAnswer`].
    pub async fn get_item(&self, target: Id, salt: &[u8]) -> Result<Option<Item>, DhtError> {
        self.ready().await?;
        let scope = self.scope;
        let mut operation = self
            .dht
            .begin(|node, now| node.find_item(now, target, salt, scope))?;
        let mut found = None;
        while let Some(event) = operation.next().await {
            match event {
                Event::Item(_, item @ Item::Immutable(_)) => return Ok(Some(item)),
                // Each is newer than the one before.
                Event::Item(_, item) => found = Some(item),
                Event::Done(_, outcome) => {
                    if found.is_none() {
                        self.check(outcome)?;
                    }
                    return Ok(found);
                }
                _ => {}
            }
        }
        Err(DhtError::Closed)
    }

    /// As [`Dht::put_immutable`].
    ///
    /// # Errors
    /// As there, and [`DhtError::NoAnswer`].
    pub async fn put_immutable(&self, value: &[u8]) -> Result<Stored, DhtError> {
        item::check_value(value)?;
        self.ready().await?;
        let scope = self.scope;
        let begun = self
            .dht
            .inner
            .shared
            .begin(|node, now| node.put_immutable(now, value, scope))?;
        let begun = begun.ok_or(DhtError::Closed)?;
        let operation = Operation::new(self.dht.inner.shared.clone(), begun);
        self.store(item::immutable_target(value), operation).await
    }

    /// As [`Dht::put_mutable`].
    ///
    /// # Errors
    /// As there, and [`DhtError::NoAnswer`].
    pub async fn put_mutable(
        &self,
        item: MutableItem,
        cas: Option<i64>,
    ) -> Result<Stored, DhtError> {
        self.ready().await?;
        let (scope, target) = (self.scope, item.target());
        let operation = self
            .dht
            .begin(|node, now| node.put_mutable(now, item, cas, scope))?;
        self.store(target, operation).await
    }

    /// As [`Dht::put_value`].
    ///
    /// # Errors
    /// As there, and [`DhtError::NoAnswer`].
    pub async fn put_value(&self, key: Id, value: Value) -> Result<Stored, DhtError> {
        self.ready().await?;
        let scope = self.scope;
        let operation = self
            .dht
            .begin(|node, now| node.put_value(now, key, &value, scope))?;
        self.store(key, operation).await
    }

    /// As [`Dht::values`].
    ///
    /// # Errors
    /// As there.
    pub async fn values(&self, key: Id, filter: Filter) -> Result<Values, DhtError> {
        self.ready().await?;
        let scope = self.scope;
        let query = ValueQuery {
            select: None,
            filter,
        };
        let operation = self
            .dht
            .begin(|node, now| node.find_values(now, key, query, scope))?;
        let values = futures_util::stream::unfold(operation, |mut operation| async move {
            loop {
                match operation.next().await? {
                    Event::Value(_, value) => return Some((value, operation)),
                    Event::Done(..) => return None,
                    _ => {}
                }
            }
        });
        Ok(Values(values.boxed()))
    }
}
