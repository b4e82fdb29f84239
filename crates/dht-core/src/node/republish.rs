//! Storing again what is to stay: own items, values and announcements, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_identity::DeviceKey;

use super::operation::{AnnouncePort, Task};
use super::operations::Scope;
use super::{Node, OperationId, Outcome, Refusal};
use crate::bencode::{Reader, Writer};
use crate::id::Id;
use crate::item::{self, ItemError, MutableItem};
use crate::krpc::{Body, ErrorCode, Message, Method, MutablePut, Query, Want};
use crate::value::{MAX_TTL, MIN_TTL, UnixTime, Value};

/// Time between two that are stored again: a restart with many does not become a storm.
const SPACING: Duration = Duration::from_millis(500);

/// Publications that a node keeps up: at one in half a second they all fit into half an hour.
pub(super) const MAX_PUBLICATIONS: usize = 3_600;

/// Peers are forgotten after half an hour, so announcements go out twice as often.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Another try when no node stored it.
const RETRY: Duration = Duration::from_secs(60);

/// Tries that a permanent value has in the second half of its life, when its rounds are lost.
const TRIES: u32 = 8;

/// A permanent value is renewed when this share of its life or less is left. Rounds come after
/// half of it at the latest, minus a tenth, so that values put together do not stay together.
const RENEWED_ABOVE: f64 = 0.6;

/// Keys by which a node renews signed values: one person's devices and roles.
pub const MAX_OWNERS: usize = 64;

/// Something that stays in the DHT while this node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// An immutable item, bencoded.
    Immutable(Vec<u8>),
    /// A mutable item.
    Mutable(MutableItem),
    /// A value under a key, until it expires.
    Value(Id, Value),
    /// A value under a key, renewed before it expires: it lives for this long from each renewal,
    /// as long as this node runs. A signed one is renewed if its owner's key was given to
    /// [`Node::add_owner`]; until then it is stored again as it is, until it expires.
    Permanent(Id, Value, Duration),
    /// This host as a peer of an info hash.
    Peer(Id, AnnouncePort),
}

impl Publication {
    fn task(&self) -> (Task, Id) {
        match self {
            Self::Immutable(value) => {
                let target = item::immutable_target(value);
                let value = value.as_slice().into();
                (Task::PutImmutable { target, value }, target)
            }
            Self::Mutable(item) => {
                let item = Box::new(item.clone());
                let target = item.target();
                (Task::PutMutable { item, cas: None }, target)
            }
            Self::Value(target, value) | Self::Permanent(target, value, _) => {
                let (target, record) = (*target, value.encode().into());
                (Task::PutValue { target, record }, target)
            }
            Self::Peer(info_hash, port) => {
                let (info_hash, port) = (*info_hash, *port);
                (Task::Announce { info_hash, port }, info_hash)
            }
        }
    }
}

impl Publication {
    /// The key under which it lies.
    #[must_use]
    pub fn target(&self) -> Id {
        match self {
            Self::Immutable(value) => item::immutable_target(value),
            Self::Mutable(item) => item.target(),
            Self::Value(target, _) | Self::Permanent(target, ..) => *target,
            Self::Peer(info_hash, _) => *info_hash,
        }
    }

    /// For a file: the KRPC query that stores it, without a token; of a permanent value a list of
    /// that and its life in seconds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (task, _) = self.task();
        let mut out = Vec::new();
        if let Some(method) = task.store(b"") {
            let query = Query {
                sender: Id::default(),
                want: Want::default(),
                method,
                padding: 0,
            };
            let message = Message::new(b"p", Body::Query(query));
            message.encode(&mut out);
        }
        if let Self::Permanent(_, _, life) = self {
            let query = std::mem::take(&mut out);
            let mut writer = Writer::new(&mut out);
            writer.list();
            writer.bytes(&query);
            writer.int(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
            writer.end();
        }
        out
    }

    /// Reads what [`Publication::encode`] wrote, and checks it: none for anything else, or what
    /// is not genuine.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.first() == Some(&b'l') {
            return Self::decode_permanent(bytes);
        }
        let Body::Query(query) = Message::decode(bytes).ok()?.body else {
            return None;
        };
        match query.method {
            Method::Put(put) => match put.mutable {
                None => {
                    item::check_value(put.value).ok()?;
                    Some(Self::Immutable(put.value.to_vec()))
                }
                Some(MutablePut {
                    key,
                    signature,
                    seq,
                    salt,
                    ..
                }) => MutableItem::verified(key, salt, seq, put.value, signature)
                    .ok()
                    .map(Self::Mutable),
            },
            Method::ValuePut { target, record, .. } => {
                let value = Value::decode(record).ok()?;
                value.verify(&target).ok()?;
                Some(Self::Value(target, value))
            }
            Method::AnnouncePeer {
                info_hash, port, ..
            } => {
                let port = port.map_or(AnnouncePort::Implied, AnnouncePort::Number);
                Some(Self::Peer(info_hash, port))
            }
            _ => None,
        }
    }

    fn decode_permanent(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        reader.list().ok()?;
        let query = reader.bytes().ok()?;
        let life = u64::try_from(reader.int().ok()?).ok()?;
        if reader.has_item().ok()? || query.first() == Some(&b'l') {
            return None;
        }
        reader.finish().ok()?;
        let life = Duration::from_secs(life);
        match Self::decode(query)? {
            Self::Value(target, value) if (MIN_TTL..=MAX_TTL).contains(&life) => {
                Some(Self::Permanent(target, value, life))
            }
            _ => None,
        }
    }

    /// The value with its key.
    fn value(&self) -> Option<(&Id, &Value)> {
        match self {
            Self::Value(target, value) | Self::Permanent(target, value, _) => Some((target, value)),
            _ => None,
        }
    }

    /// Lets a permanent value live for longer when nearly half of its time is over.
    fn renew(&mut self, wall: UnixTime, owners: &[Arc<DeviceKey>]) {
        let Self::Permanent(target, value, life) = self else {
            return;
        };
        if value.expiry().since(wall) > life.mul_f64(RENEWED_ABOVE) {
            return;
        }
        let owner = value.owner();
        let key = owners
            .iter()
            .find(|key| owner.is_some_and(|owner| owner == key.id().into()));
        if let Ok(renewed) = value.renewed(target, wall.plus(*life), key.map(Arc::as_ref)) {
            *value = renewed;
        }
    }

    /// Whether it is over: nothing can be stored any more.
    fn is_over(&self, wall: UnixTime) -> bool {
        self.value()
            .is_some_and(|(_, value)| value.expiry() <= wall)
    }
}

#[derive(Debug)]
struct Entry {
    publication: Publication,
    /// None while it is being stored.
    next_at: Option<Instant>,
    /// Whether its first round was told.
    told: bool,
}

/// All publications and when they are due.
#[derive(Debug, Default)]
pub(super) struct Republish {
    entries: BTreeMap<OperationId, Entry>,
    /// Keys to renew values with.
    owners: Vec<Arc<DeviceKey>>,
    /// Not before this.
    free_at: Option<Instant>,
    due: Option<Instant>,
}

impl Republish {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn remove(&mut self, id: OperationId) {
        self.entries.remove(&id);
        self.plan();
    }

    fn plan(&mut self) {
        let next = self
            .entries
            .values()
            .filter_map(|entry| entry.next_at)
            .min();
        self.due = next.map(|next| self.free_at.map_or(next, |free| next.max(free)));
    }

    /// A round is through. Whether it is one that nobody was told of yet.
    pub(super) fn on_done(
        &mut self,
        now: Instant,
        id: OperationId,
        outcome: &Outcome,
        (interval, jitter): (Duration, f64),
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return true;
        };
        if entry.publication.value().is_some() && is_superseded(outcome) {
            let told = entry.told;
            self.remove(id);
            return !told;
        }
        let interval = match entry.publication {
            Publication::Permanent(_, _, life) if outcome.acknowledged == 0 => {
                interval.min(RETRY).min(life / 2 / TRIES).max(SPACING)
            }
            Publication::Permanent(_, _, life) => {
                interval.min(life / 2).mul_f64(1.0 - jitter / 10.0)
            }
            _ if outcome.acknowledged == 0 => interval.min(RETRY),
            Publication::Peer(..) => interval.min(ANNOUNCE_INTERVAL),
            _ => interval,
        };
        entry.next_at = Some(now + interval);
        let first = !std::mem::replace(&mut entry.told, true);
        self.plan();
        first
    }
}

/// Whether all who answered have a newer version of a value, or its removal.
fn is_superseded(outcome: &Outcome) -> bool {
    let newer = ErrorCode::SeqTooLow.code();
    let says_newer = |refusal: &Refusal| refusal.code == newer;
    outcome.acknowledged == 0
        && !outcome.stored_here
        && outcome.silent == 0
        && !outcome.refused.is_empty()
        && outcome.refused.iter().all(says_newer)
}

impl Node {
    /// Gives the node a key, with which it renews the permanent values of that owner. At most
    /// [`MAX_OWNERS`]; whether it was taken.
    pub fn add_owner(&mut self, key: Arc<DeviceKey>) -> bool {
        let owners = &mut self.republish.owners;
        let is_known = owners.iter().any(|known| known.id() == key.id());
        if !is_known && owners.len() < MAX_OWNERS {
            owners.push(key);
            return true;
        }
        is_known
    }

    /// A value takes the place of what is published: the older version is stored no more.
    pub(super) fn end_older(&mut self, target: &Id, value: &Value) {
        self.republish.entries.retain(|_, entry| {
            let published = entry.publication.value();
            !published.is_some_and(|(at, old)| {
                at == target && old.key() == value.key() && value.seq() > old.seq()
            })
        });
        self.republish.plan();
    }

    /// Stores something now and again, until [`Node::cancel`]. The first round ends with
    /// [`super::Event::Done`]; later ones are silent.
    ///
    /// # Errors
    /// [`ItemError`] when an immutable value is too large or not bencoded.
    pub fn publish(
        &mut self,
        now: Instant,
        publication: Publication,
    ) -> Result<OperationId, ItemError> {
        if let Publication::Immutable(value) = &publication {
            item::check_value(value)?;
        }
        if let Some((target, value)) = publication.value() {
            let (target, value) = (*target, value.clone());
            self.end_older(&target, &value);
        }
        let id = self.next_id();
        let (task, target) = publication.task();
        if self.republish.entries.len() < MAX_PUBLICATIONS {
            let entry = Entry {
                publication,
                next_at: None,
                told: false,
            };
            self.republish.entries.insert(id, entry);
        }
        self.begin_as(now, id, task, (target, Scope::Network));
        Ok(id)
    }

    /// Goes on with what was published in the last run: paced, the first at once.
    pub fn resume(&mut self, now: Instant, publication: Publication) -> OperationId {
        let id = self.next_id();
        if self.republish.entries.len() < MAX_PUBLICATIONS {
            let entry = Entry {
                publication,
                next_at: Some(now),
                told: true,
            };
            self.republish.entries.insert(id, entry);
            self.republish.plan();
        }
        id
    }

    /// Stores everything that is published again now, paced.
    pub fn republish_now(&mut self, now: Instant) {
        for entry in self.republish.entries.values_mut() {
            if entry.next_at.is_some() {
                entry.next_at = Some(now);
            }
        }
        self.republish.plan();
    }

    /// What is kept up, for saving.
    pub fn publications(&self) -> impl Iterator<Item = (OperationId, &Publication)> {
        let entries = self.republish.entries.iter();
        entries.map(|(id, entry)| (*id, &entry.publication))
    }

    pub(super) fn on_republish_due(&mut self, now: Instant) {
        if self.republish.due.is_none_or(|due| due > now) {
            return;
        }
        let wall = self.moment(now).wall;
        let owners = &self.republish.owners;
        self.republish.entries.retain(|_, entry| {
            if entry.next_at.is_some_and(|at| at <= now) {
                entry.publication.renew(wall, owners);
            }
            !entry.publication.is_over(wall)
        });
        // The one that has waited longest.
        let due = |entry: &Entry| entry.next_at.filter(|at| *at <= now);
        let next = self
            .republish
            .entries
            .iter_mut()
            .filter_map(|(id, entry)| due(entry).map(|at| (at, *id, entry)))
            .min_by_key(|(at, id, _)| (*at, *id));
        if let Some((_, id, entry)) = next {
            entry.next_at = None;
            let (task, target) = entry.publication.task();
            self.republish.free_at = Some(now + SPACING);
            self.begin_as(now, id, task, (target, Scope::Network));
        }
        self.republish.plan();
    }
}
