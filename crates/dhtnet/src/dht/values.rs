//! Values of any size: a long body lies in immutable items, which are stored before the value
//! and fetched after it.

use std::sync::Arc;
use std::time::Duration;

use dhtnet_dht_core::Id;
use dhtnet_dht_core::node::Publication;
use dhtnet_dht_core::value::split::Joiner;
use dhtnet_dht_core::value::{Body, Prepared, Value};
use dhtnet_identity::DeviceKey;
use futures_util::{StreamExt, TryStreamExt};

use super::error::DhtError;
use super::handle::{At, Dht, Stored};

/// Items of one body that are stored or fetched at once. Each is a lookup of its own.
const AT_ONCE: usize = 8;

/// A value with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullValue {
    /// The value.
    pub value: Value,
    /// Its body, put together; of a sealed one as it was sealed.
    pub body: Vec<u8>,
}

impl At {
    /// Stores what a [`Draft`](dhtnet_dht_core::value::Draft) made: first the items of a long
    /// body, then the value under its key.
    ///
    /// # Errors
    /// [`DhtError::Value`] when an item of the body was not stored anywhere, and those of
    /// [`Dht::put_value`].
    pub async fn put_prepared(&self, key: Id, prepared: Prepared) -> Result<Stored, DhtError> {
        // By value: a closure over borrowed items makes a future that cannot be spawned.
        let items = futures_util::stream::iter(prepared.items);
        items
            .map(|item| async move { self.put_immutable(&item.encoded).await })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|stored| async move { all_stored(&stored) })
            .await?;
        self.put_value(key, prepared.value).await
    }

    /// Fetches the body of a value, wherever it lies.
    ///
    /// # Errors
    /// [`DhtError::Value`] when a part is missing or is not what the value says.
    pub async fn body(&self, value: &Value) -> Result<Vec<u8>, DhtError> {
        let (len, parts) = match value.body() {
            Body::Inline(bytes) => return Ok(bytes.clone()),
            Body::Split { len, parts } => (*len, parts),
            Body::Removed => return Ok(Vec::new()),
        };
        let wrong = |error: dhtnet_dht_core::value::split::JoinError| {
            DhtError::Value(format!("the body of the value is not as it says: {error}"))
        };
        let mut joiner = Joiner::new(len, parts).map_err(wrong)?;
        while !joiner.is_complete() {
            let wanted: Vec<Id> = joiner.wanted().collect();
            let fetched: Vec<(Id, Option<Vec<u8>>)> = futures_util::stream::iter(wanted)
                .map(|target| async move {
                    let item = self.get_item(target, b"").await?;
                    let bytes = match item {
                        Some(dhtnet_dht_core::node::Item::Immutable(bytes)) => Some(bytes),
                        _ => None,
                    };
                    Ok::<_, DhtError>((target, bytes))
                })
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            for (target, bytes) in fetched {
                let bytes = bytes.ok_or_else(|| {
                    DhtError::Value(format!("a part of the body was not found: {target}"))
                })?;
                joiner.feed(&target, &bytes).map_err(wrong)?;
            }
        }
        joiner
            .into_body()
            .ok_or_else(|| DhtError::Value("the body of the value is incomplete".to_owned()))
    }
}

impl Dht {
    /// As [`At::put_prepared`], in the network.
    ///
    /// # Errors
    /// As there.
    pub async fn put_prepared(&self, key: Id, prepared: Prepared) -> Result<Stored, DhtError> {
        self.everywhere().put_prepared(key, prepared).await
    }

    /// As [`Dht::put_prepared`], and keeps all of it stored until the value expires.
    ///
    /// # Errors
    /// As there, and [`DhtError::Save`].
    pub async fn publish_prepared(&self, key: Id, prepared: Prepared) -> Result<Stored, DhtError> {
        let value = self.publish_items(prepared).await?;
        self.publish(Publication::Value(key, value)).await
    }

    /// As [`Dht::publish_prepared`], and renews the value, each time for `life`, as long as this
    /// node runs and after its next start. A signed one is renewed with `owner`, its owner's key;
    /// after a restart with that of [`DhtSettings::owner`](super::DhtSettings::owner).
    ///
    /// # Errors
    /// As there.
    pub async fn publish_permanent(
        &self,
        key: Id,
        prepared: Prepared,
        life: Duration,
        owner: Option<DeviceKey>,
    ) -> Result<Stored, DhtError> {
        if let Some(owner) = owner {
            let owner = Arc::new(owner);
            self.inner.shared.with(|node, _| node.add_owner(owner));
        }
        let value = self.publish_items(prepared).await?;
        self.publish(Publication::Permanent(key, value, life)).await
    }

    async fn publish_items(&self, prepared: Prepared) -> Result<Value, DhtError> {
        let items = futures_util::stream::iter(prepared.items);
        items
            .map(|item| self.publish(Publication::Immutable(item.encoded)))
            .buffer_unordered(AT_ONCE)
            .try_for_each(|stored| async move { all_stored(&stored) })
            .await?;
        Ok(prepared.value)
    }

    /// As [`At::body`], in the network.
    ///
    /// # Errors
    /// As there.
    pub async fn body(&self, value: &Value) -> Result<Vec<u8>, DhtError> {
        self.everywhere().body(value).await
    }
}

fn all_stored(stored: &Stored) -> Result<(), DhtError> {
    if stored.acknowledged > 0 || stored.stored_here {
        return Ok(());
    }
    Err(DhtError::Value(format!(
        "a part of the body was not stored: {} nodes refused, {} said nothing",
        stored.refused.len(),
        stored.silent
    )))
}
