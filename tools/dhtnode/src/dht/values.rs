//! The value layer: many values under one key.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use dhtnet::dht::value::{
    DEFAULT_TTL, Draft, DraftError, Filter, OwnerKey, Prepared, UnixTime, Value, ValueId, ValueKey,
    ValueQuery, ValueType,
};
use dhtnet::dht::{Dht, ValueEvent};
use dhtnet_cli::Failure;
use dhtnet_identity::{DeviceId, DeviceKey};
use futures_util::StreamExt;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{Id, Network, Storing, failure, stored};
use crate::keys::owner_text;
use crate::reports::{Change, Content, KeptValue, Stored};

/// A value to be put under a key.
pub(crate) struct NewValue {
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: u16,
    /// Random if none.
    pub(crate) id: Option<u64>,
    /// In seconds; the library's if none.
    pub(crate) ttl: Option<u32>,
    /// Of a signed value; one more than what is stored if none.
    pub(crate) seq: Option<i64>,
    pub(crate) signer: Option<DeviceKey>,
    pub(crate) recipient: Option<DeviceId>,
}

impl NewValue {
    fn life(&self) -> Duration {
        self.ttl
            .map_or(DEFAULT_TTL, |ttl| Duration::from_secs(ttl.into()))
    }
}

/// Which values are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted(Filter);

impl Default for Wanted {
    fn default() -> Self {
        Self(ValueQuery::ALL.filter)
    }
}

impl Wanted {
    /// Reads conditions as they stand behind WHERE: `type = 3 AND seq >= 7`.
    pub(crate) fn parse(conditions: &str) -> Result<Self, String> {
        format!("WHERE {conditions}")
            .parse::<ValueQuery>()
            .map(|query| Self(query.filter))
            .map_err(|error| error.to_string())
    }
}

impl Network {
    /// The values under `key`.
    pub(crate) async fn values(
        &self,
        key: Id,
        wanted: &Wanted,
        via: Option<SocketAddr>,
    ) -> Result<Values, Failure> {
        let found = match via {
            Some(address) => self.dht.at(address).values(key, wanted.0).await,
            None => self.dht.values(key, wanted.0).await,
        };
        Ok(Values {
            found: found.map_err(|error| failure(&error))?,
            reader: self.reader(key, via),
        })
    }

    /// The values under `key` and their changes.
    pub(crate) async fn listen(&self, key: Id, wanted: &Wanted) -> Result<Changes, Failure> {
        let events = self.dht.listen(key, wanted.0).await;
        Ok(Changes {
            events: events.map_err(|error| failure(&error))?,
            reader: self.reader(key, None),
        })
    }

    /// Adds a value; its id, and how that went.
    pub(crate) async fn put_value(
        &self,
        key: Id,
        value: NewValue,
        storing: Storing,
    ) -> Result<(u64, Stored), Failure> {
        let id = match value.id {
            Some(id) => id,
            None => getrandom::u64().map_err(|error| no_randomness(&error))?,
        };
        let seq = self.seq_for(key, id, &value).await?;
        let owner = value.signer.clone();
        let life = value.life();
        let prepared = prepare(key, ValueId(id), seq, value)?;
        let put = match storing {
            Storing::Once => self.dht.put_prepared(key, prepared).await,
            Storing::At(address) => self.dht.at(address).put_prepared(key, prepared).await,
            Storing::Always => {
                let dht = &self.dht;
                dht.publish_permanent(key, prepared, life, owner).await
            }
        };
        Ok((id, stored(put)?))
    }

    /// Leaves a removal in the place of a signed value; none if there is no such value.
    pub(crate) async fn remove_value(
        &self,
        key: Id,
        id: u64,
        owner: &DeviceKey,
    ) -> Result<Option<Stored>, Failure> {
        let Some(value) = self.newest(key, id, owner).await? else {
            return Ok(None);
        };
        let removal = value
            .removed_by(owner, &key)
            .map_err(|error| Failure::failed(format!("cannot remove the value: {error}")))?;
        stored(self.dht.put_value(key, removal).await).map(Some)
    }

    /// The number of a signed value: as given, else one more than what is stored.
    async fn seq_for(&self, key: Id, id: u64, value: &NewValue) -> Result<u64, Failure> {
        match (value.seq, &value.signer, value.id) {
            (Some(seq), _, _) => Ok(seq.unsigned_abs()),
            // Only a value whose id was given can be there already.
            (None, Some(owner), Some(_)) => {
                let stored = self.newest(key, id, owner).await?;
                Ok(stored
                    .and_then(|value| value.seq())
                    .map_or(0, |seq| seq.saturating_add(1)))
            }
            _ => Ok(0),
        }
    }

    /// What is stored of one value of this owner.
    async fn newest(&self, key: Id, id: u64, owner: &DeviceKey) -> Result<Option<Value>, Failure> {
        let place = ValueKey {
            owner: Some(OwnerKey(*owner.id().as_bytes())),
            id: ValueId(id),
        };
        let mut found = self
            .dht
            .values(key, Wanted::default().0)
            .await
            .map_err(|error| failure(&error))?;
        let mut newest: Option<Value> = None;
        while let Some(value) = found.next().await {
            let is_newer = newest.as_ref().is_none_or(|old| value.supersedes(old));
            if value.key() == place && is_newer {
                newest = Some(value);
            }
        }
        Ok(newest)
    }

    fn reader(&self, key: Id, via: Option<SocketAddr>) -> Reader {
        Reader {
            dht: self.dht.clone(),
            via,
            key,
            own: self.key.clone(),
        }
    }
}

/// Values, as they are found.
pub(crate) struct Values {
    found: dhtnet::dht::Values,
    reader: Reader,
}

impl Values {
    /// The next one that can be put together; none when the look-up is over.
    pub(crate) async fn next(&mut self) -> Option<Result<KeptValue, Failure>> {
        let value = self.found.next().await?;
        Some(self.reader.read(&value).await)
    }
}

/// Changes, as they come.
pub(crate) struct Changes {
    events: dhtnet::dht::Subscription,
    reader: Reader,
}

impl Changes {
    /// The next one; none when the node was ended.
    pub(crate) async fn next(&mut self) -> Option<Result<Change, Failure>> {
        loop {
            match self.events.next().await? {
                ValueEvent::New(value) => {
                    return Some(self.reader.read(&value).await.map(Change::New));
                }
                ValueEvent::Gone(key) => {
                    return Some(Ok(Change::Gone {
                        owner: key.owner.map(|owner| owner_text(&owner.0)),
                        id: key.id.0,
                    }));
                }
                ValueEvent::Listening(nodes) => return Some(Ok(Change::Listening(nodes))),
                _ => {}
            }
        }
    }
}

/// Puts values together and opens those for this device.
struct Reader {
    dht: Dht,
    via: Option<SocketAddr>,
    key: Id,
    own: Option<DeviceKey>,
}

impl Reader {
    async fn read(&self, value: &Value) -> Result<KeptValue, Failure> {
        let body = match self.via {
            Some(address) => self.dht.at(address).body(value).await,
            None => self.dht.body(value).await,
        };
        let body = body.map_err(|error| failure(&error))?;
        let opened = match &self.own {
            Some(own) if value.is_sealed() => value.open(own, &self.key, &body).ok(),
            _ => None,
        };
        let author = opened.as_ref().unwrap_or(value);
        let content = match (&opened, value.is_sealed()) {
            (Some(inner), _) => Content::Clear {
                bytes: self
                    .dht
                    .body(inner)
                    .await
                    .map_err(|error| failure(&error))?,
                was_encrypted: true,
            },
            (None, true) => Content::Sealed,
            (None, false) => Content::Clear {
                bytes: body,
                was_encrypted: false,
            },
        };
        Ok(KeptValue {
            id: value.id().0,
            kind: value.kind().0,
            owner: author.owner().map(|owner| owner_text(&owner.0)),
            seq: author.seq(),
            ttl: value.expiry().since(now()).as_secs(),
            content,
        })
    }
}

fn prepare(key: Id, id: ValueId, seq: u64, value: NewValue) -> Result<Prepared, Failure> {
    let mut draft = Draft::new(key, id, value.bytes).with_kind(ValueType(value.kind));
    if let Some(ttl) = value.ttl {
        draft = draft.with_ttl(Duration::from_secs(ttl.into()));
    }
    let prepared = match (&value.recipient, &value.signer) {
        (Some(recipient), signer) => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| no_randomness(&error))?;
            let author = signer.as_ref().map(|key| (key, seq));
            draft.sealed_for(now(), recipient, author, &mut ChaCha20Rng::from_seed(seed))
        }
        (None, Some(signer)) => draft.signed(now(), signer, seq),
        (None, None) => draft.unsigned(now()),
    };
    prepared.map_err(|error| {
        let failure = Failure::usage(format!("this cannot be stored: {error}"));
        match error {
            DraftError::Ttl { .. } => failure.advise("give another --ttl"),
            DraftError::BodyTooLong { .. } => failure.advise("cut it into several values"),
            _ => failure,
        }
    })
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime(since.unwrap_or_default().as_secs())
}

fn no_randomness(error: &getrandom::Error) -> Failure {
    Failure::failed(format!("the system gives no random bytes: {error}"))
}
