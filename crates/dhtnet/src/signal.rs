//! Messages between two devices that have no path yet, left for each other in the DHT.
//!
//! A device listens at a key derived from its id. Who wants to reach it puts a value there, signed
//! inside and sealed to it: the nodes that keep the value push it at once and learn neither who
//! calls nor, beyond the key, who is called. The answer is left at a key that only the two know.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dhtnet_dht_core::Id;
use dhtnet_dht_core::value::{
    Body, Draft, DraftError, Filter, Prepared, UnixTime, Value, ValueId, ValueType,
};
use dhtnet_identity::{DeviceId, DeviceKey};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use crate::dht::{Dht, DhtError, ValueEvent};
use crate::service::{Service, Services};

/// The type of a message that asks for a path.
pub(crate) const OFFER: ValueType = ValueType(0x6f66);

/// The type of the answer to it.
pub(crate) const ANSWER: ValueType = ValueType(0x616e);

/// How long nodes keep a message: as long as an offer is believed to be fresh.
const MESSAGE_TTL: Duration = Duration::from_secs(60);

/// Bytes of a message that fit into one record, sealed and signed.
pub(crate) const MAX_MESSAGE_LEN: usize = 700;

/// A message, and who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) sender: DeviceId,
    pub(crate) message: Vec<u8>,
}

/// Sends and receives messages for one device.
#[derive(Clone)]
pub(crate) struct Signaller {
    dht: Dht,
    key: DeviceKey,
    services: Arc<Services>,
}

impl fmt::Debug for Signaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signaller({})", self.key.id().short())
    }
}

/// Where offers to a service of a device lie. An offer is sealed for its place, so that one to another
/// service cannot be read there.
pub(crate) fn offers_to(callee: &DeviceId, service: &Service) -> Id {
    service.key(b"dhtnet 1 offers", callee)
}

/// Where the answer to an offer lies; `secret` is in the offer.
pub(crate) fn answer_to(secret: &[u8]) -> Id {
    let mut name = b"dhtnet 1 answer".to_vec();
    name.extend(secret);
    Id::hash_of(&name)
}

impl Signaller {
    pub(crate) fn new(dht: Dht, key: DeviceKey, services: Arc<Services>) -> Self {
        Self { dht, key, services }
    }

    /// What this device listens as, and what it looks for.
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// The DHT in use.
    pub(crate) fn dht(&self) -> &Dht {
        &self.dht
    }

    /// Waits until the DHT can be used.
    pub(crate) async fn ready(&self) -> Result<(), DhtError> {
        self.dht.ready().await
    }

    /// Puts a message to `recipient` at `place`. Returns how many nodes took it.
    pub(crate) async fn send(
        &self,
        (place, kind): (Id, ValueType),
        recipient: &DeviceId,
        message: Vec<u8>,
        rng: &mut ChaCha20Rng,
    ) -> Result<usize, SignalError> {
        let found = message.len();
        if found > MAX_MESSAGE_LEN {
            return Err(SignalError::TooLong { found });
        }
        let prepared = self.seal((place, kind), recipient, message, rng)?;
        let stored = self.dht.put_value(place, prepared.value).await?;
        match stored.acknowledged {
            0 => Err(SignalError::NobodyTookIt {
                refused: stored.refused.len(),
                silent: stored.silent,
            }),
            nodes => Ok(nodes),
        }
    }

    fn seal(
        &self,
        (place, kind): (Id, ValueType),
        recipient: &DeviceId,
        message: Vec<u8>,
        rng: &mut ChaCha20Rng,
    ) -> Result<Prepared, DraftError> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = UnixTime(since_1970.unwrap_or_default().as_secs());
        Draft::new(place, ValueId(rng.next_u64()), message)
            .with_kind(kind)
            .with_ttl(MESSAGE_TTL)
            .sealed_for(now, recipient, Some((&self.key, 0)), rng)
    }

    /// Messages to this device at `place`, from now on and those that lie there. What was not
    /// sealed to it, or not signed, is left out. Ends with the DHT.
    pub(crate) async fn receive(
        &self,
        place: Id,
        kind: ValueType,
    ) -> Result<BoxStream<'static, Signal>, DhtError> {
        let filter = Filter {
            kind: Some(kind),
            ..Filter::default()
        };
        let changes = self.dht.listen(place, filter).await?;
        let key = self.key.clone();
        let opened = changes.filter_map(move |change| {
            let signal = match change {
                ValueEvent::New(value) => open(&key, &place, &value),
                _ => None,
            };
            std::future::ready(signal)
        });
        Ok(opened.boxed())
    }
}

fn open(key: &DeviceKey, place: &Id, value: &Value) -> Option<Signal> {
    // Messages fit into one record; whatever does not is none.
    let Body::Inline(body) = value.body() else {
        return None;
    };
    let inner = value
        .open(key, place, body)
        .inspect_err(|error| tracing::trace!(%error, "not a message to us"))
        .ok()?;
    let sender = inner.owner()?.device_id().ok()?;
    let Body::Inline(message) = inner.body() else {
        return None;
    };
    Some(Signal {
        sender,
        message: message.clone(),
    })
}

/// Why a message could not be left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SignalError {
    /// More than [`MAX_MESSAGE_LEN`].
    #[error("a message between devices has at most {MAX_MESSAGE_LEN} bytes, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// No node acknowledged it.
    #[error("no node of the DHT took the message: {refused} refused, {silent} said nothing")]
    NobodyTookIt {
        /// Nodes that refused.
        refused: usize,
        /// Nodes that were asked and did not answer.
        silent: usize,
    },
    /// It could not be sealed.
    #[error("the message cannot be sealed")]
    Seal(#[from] DraftError),
    /// The DHT failed.
    #[error("the DHT failed")]
    Dht(#[from] DhtError),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_of_offers_and_answers_differ_by_device_service_and_secret() {
        let [one, two] = [1, 2].map(|seed| DeviceKey::from_seed(&[seed; 32]).id());
        let (none, dsh) = (Service::default(), Service::new("dsh").unwrap());
        assert_ne!(offers_to(&one, &none), offers_to(&two, &none));
        assert_ne!(offers_to(&one, &none), offers_to(&one, &dsh));
        assert_ne!(answer_to(b"a"), answer_to(b"b"));
        assert_ne!(offers_to(&one, &none), answer_to(one.as_bytes()));
    }
}
