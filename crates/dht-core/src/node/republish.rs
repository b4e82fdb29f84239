//! Storing again what is to stay: own items, values and announcements, one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::operation::{AnnouncePort, Task};
use super::operations::Scope;
use super::{Node, OperationId, Outcome};
use crate::id::Id;
use crate::item::{self, ItemError, MutableItem};
use crate::krpc::{Body, Message, Method, MutablePut, Query, Want};
use crate::value::Value;

/// Time between two that are stored again: a restart with many does not become a storm.
const SPACING: Duration = Duration::from_millis(500);

/// Publications that a node keeps up: at one in half a second they all fit into half an hour.
pub(super) const MAX_PUBLICATIONS: usize = 3_600;

/// Peers are forgotten after half an hour, so announcements go out twice as often.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Another try when no node stored it.
const RETRY: Duration = Duration::from_secs(60);

/// Something that stays in the DHT while this node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// An immutable item, bencoded.
    Immutable(Vec<u8>),
    /// A mutable item.
    Mutable(MutableItem),
    /// A value under a key, until it expires.
    Value(Id, Value),
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
            Self::Value(target, value) => {
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
            Self::Value(target, _) => *target,
            Self::Peer(info_hash, _) => *info_hash,
        }
    }

    /// For a file: the KRPC query that stores it, without a token.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (task, _) = self.task();
        let mut out = Vec::new();
        if let Some(method) = task.store(b"") {
            let message = Message {
                transaction: b"p",
                body: Body::Query(Query {
                    sender: Id::default(),
                    want: Want::default(),
                    method,
                    padding: 0,
                }),
                version: None,
                network: None,
                extension: None,
                read_only: false,
                external: None,
            };
            message.encode(&mut out);
        }
        out
    }

    /// Reads what [`Publication::encode`] wrote, and checks it: none for anything else, or what
    /// is not genuine.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
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
        interval: Duration,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return true;
        };
        let interval = match entry.publication {
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

impl Node {
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
        self.republish
            .entries
            .retain(|_, entry| match &entry.publication {
                Publication::Value(_, value) => value.expiry() > wall,
                _ => true,
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
