//! The values that this node keeps for others, each until it expires.
//!
//! **Bounds** ([`ValueLimits`]): values under one key, keys, bytes in all, values and bytes of one
//! source. A full key makes room for a source that has less there than the one with most, at the
//! cost of that one; a full store makes room for a key that is nearer than its farthest, at the
//! cost of that one. A source at its limit is refused; local addresses have none.
//!
//! A value with an owner leaves its sequence number behind when it goes before an older version
//! of it would have: otherwise anybody could bring the older one back.

mod entry;
mod error;
mod quota;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::time::{Duration, Instant};

use self::entry::{Bucket, Entry, State};
pub(crate) use self::error::ValueError;
use self::quota::Quotas;
use super::draft::MAX_TTL;
use super::policy::{Edit, Offer, TypePolicy, TypeRegistry};
use super::query::{Subject, ValueQuery};
use super::record::{Body, Value, ValueKey};
use super::source::Source;
use super::time::UnixTime;
use crate::address::is_local;
use crate::id::Id;
use crate::store::farthest;

/// How far the clock of one who makes a value may be ahead of ours.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Keys of which values expire in one call of [`ValueStore::expire`]: some milliseconds of work
/// at most, the rest follows in the next call.
const MAX_KEYS_EXPIRED_AT_ONCE: usize = 64;

/// What a value costs beside its record: the entry and its share of the maps.
const ENTRY_COST: usize = 256;

/// Values under one key: a busy meeting point. One answer to all of them comes in pages.
const MAX_VALUES_PER_KEY: usize = 1024;

/// Keys that have values here.
const MAX_KEYS: usize = 16_384;

/// Bytes of all values, counting each with [`ENTRY_COST`]: 16 MiB.
const MAX_BYTES: usize = 16 << 20;

/// Values of one source, an IPv4 address or a /64.
const MAX_VALUES_PER_SOURCE: u32 = 4096;

/// Bytes of one source: an eighth of [`MAX_BYTES`].
const MAX_BYTES_PER_SOURCE: usize = MAX_BYTES / 8;

/// What a store may hold; the default is the constants above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueLimits {
    pub(crate) values_per_key: usize,
    pub(crate) keys: usize,
    pub(crate) bytes: usize,
    pub(crate) values_per_source: u32,
    pub(crate) bytes_per_source: usize,
}

impl Default for ValueLimits {
    fn default() -> Self {
        Self {
            values_per_key: MAX_VALUES_PER_KEY,
            keys: MAX_KEYS,
            bytes: MAX_BYTES,
            values_per_source: MAX_VALUES_PER_SOURCE,
            bytes_per_source: MAX_BYTES_PER_SOURCE,
        }
    }
}

/// When and whence a record came, and what this node makes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) now: Instant,
    /// The time that `now` is.
    pub(crate) wall: UnixTime,
    /// The id of this node.
    pub(crate) own: &'a Id,
    /// Who sent it.
    pub(crate) from: IpAddr,
    pub(crate) types: &'a TypeRegistry,
}

/// What a record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// There was none with its key.
    Added,
    /// It took the place of an older version.
    Edited,
    /// It is a removal, and is new.
    Removed,
    /// The same, for longer.
    Refreshed,
    /// It was known.
    Unchanged,
}

impl Change {
    /// Whether listeners want to know.
    pub(crate) const fn is_news(self) -> bool {
        matches!(self, Self::Added | Self::Edited | Self::Removed)
    }
}

/// A record was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// For how long, in whole seconds.
    pub(crate) ttl: Duration,
    pub(crate) change: Change,
    /// For the listeners.
    pub(crate) subject: Subject,
}

/// A value that is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) target: Id,
    pub(crate) subject: Subject,
}

/// What to return of the values under a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageRequest<'a> {
    pub(crate) query: &'a ValueQuery,
    /// Where to begin: the `more` of the page before.
    pub(crate) after: Option<&'a ValueKey>,
    /// Bytes that the bencoded records may take.
    pub(crate) budget: usize,
}

/// Some of the values under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<'a> {
    /// Whole records as they came, or records with the selected fields.
    pub(crate) records: Vec<Cow<'a, [u8]>>,
    /// The first value that had no room; none at the end.
    pub(crate) more: Option<ValueKey>,
}

/// Values under keys.
#[derive(Debug)]
pub(crate) struct ValueStore {
    limits: ValueLimits,
    keys: BTreeMap<Id, Bucket>,
    /// When to look at which key: never later than something expires there.
    deadlines: BTreeSet<(Instant, Id)>,
    quotas: Quotas,
    bytes: usize,
    len: usize,
}

impl ValueStore {
    pub(crate) const fn new(limits: ValueLimits) -> Self {
        Self {
            limits,
            keys: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            quotas: Quotas::new(),
            bytes: 0,
            len: 0,
        }
    }

    /// Values and what removed ones left, under all keys.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes, counting each value with [`ENTRY_COST`].
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the encoded value `record` under `target`. Cheap checks come first, the signature
    /// last but the policy of the type.
    pub(crate) fn put(
        &mut self,
        arrival: &Arrival<'_>,
        target: &Id,
        record: &[u8],
    ) -> Result<Stored, ValueError> {
        let value = Value::decode(record)?;
        let policy = arrival.types.policy(value.kind());
        let lasts = self.lasts(arrival, policy, &value)?;
        let subject = value.subject();
        let until = arrival.now + lasts;
        let known = self.find(target, &value.key());
        let known = known.filter(|entry| entry.kept_until > arrival.now);
        let (change, old) = match known {
            None => (Change::Added, None),
            Some(entry) => entry.compare(&value)?,
        };
        if change == Change::Unchanged {
            let ttl = known.map_or(lasts, |entry| {
                entry.expires.saturating_duration_since(arrival.now)
            });
            return Ok(Stored {
                ttl,
                change,
                subject,
            });
        }
        let source = Source::of(arrival.from);
        let replaced = known.map(Entry::charge);
        // Many nodes of one local address are normal: for those the store's own bounds have to do.
        if !is_local(arrival.from) {
            self.quotas
                .check(source, ENTRY_COST + record.len(), replaced, &self.limits)?;
        }
        value.verify(target)?;
        check_policies(arrival, policy, target, (&value, old.as_ref()))?;
        let kept_until = known.map_or(until, |entry| entry.kept_until.max(until));
        let same = known.filter(|_| change == Change::Refreshed);
        let entry = Entry {
            subject,
            arrived: same.map_or(arrival.now, |entry| entry.arrived),
            state: if value.is_removal() {
                State::Removed
            } else {
                State::Held
            },
            expires: until,
            kept_until,
            source,
            record: record.into(),
        };
        self.insert(arrival, target, entry)?;
        let change = match change {
            Change::Refreshed => Change::Refreshed,
            _ if value.is_removal() => Change::Removed,
            change => change,
        };
        Ok(Stored {
            ttl: lasts,
            change,
            subject,
        })
    }

    /// A page of what lies under `target`: values in the order of their keys, removals among
    /// them, so that who asks several nodes learns of a removal from any. A selection of fields
    /// leaves removals out.
    ///
    /// A first value too large for the budget makes an empty page with `more`: to be asked for
    /// with a larger budget.
    pub(crate) fn page(&self, now: Instant, target: &Id, request: &PageRequest<'_>) -> Page<'_> {
        let mut page = Page {
            records: Vec::new(),
            more: None,
        };
        let Some(bucket) = self.keys.get(target) else {
            return page;
        };
        let mut left = request.budget;
        for entry in bucket.from(request.after) {
            if !request.query.filter.matches(&entry.subject) {
                continue;
            }
            let Some(record) = entry.selected(now, request.query) else {
                continue;
            };
            let cost = string_cost(record.len());
            if cost > left {
                page.more = Some(entry.subject.key);
                break;
            }
            left -= cost;
            page.records.push(record);
        }
        page
    }

    /// The value `key` under `target` as `query` selects it: what is pushed to a listener. None
    /// where it is gone.
    pub(crate) fn record(
        &self,
        now: Instant,
        target: &Id,
        (key, query): (&ValueKey, &ValueQuery),
    ) -> Option<Cow<'_, [u8]>> {
        self.find(target, key)?.selected(now, query)
    }

    /// The values and removals under `target` that came in the last `age`.
    pub(crate) fn arrived_within(
        &self,
        now: Instant,
        target: &Id,
        age: Duration,
    ) -> impl Iterator<Item = &Subject> {
        let entries = self.keys.get(target).into_iter();
        let entries = entries.flat_map(|bucket| &bucket.entries);
        let is_new = move |entry: &&Entry| {
            let lies_here = entry.expires > now && !entry.record.is_empty();
            lies_here && now.saturating_duration_since(entry.arrived) < age
        };
        entries.filter(is_new).map(|entry| &entry.subject)
    }

    /// The first key after `after`, of all where that is none.
    pub(crate) fn next_key(&self, after: Option<&Id>) -> Option<Id> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = self.keys.range((after, Bound::Unbounded));
        keys.next().map(|(target, _)| *target)
    }

    /// Keys with values.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// When [`expire`](Self::expire) is to be called next.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Forgets what has expired, and tells which values those were. It looks at a bounded number
    /// of keys; where more are due, [`next_expiry`](Self::next_expiry) says so.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Expired> {
        let mut expired = Vec::new();
        for _ in 0..MAX_KEYS_EXPIRED_AT_ONCE {
            match self.deadlines.first() {
                Some((at, _)) if *at <= now => {}
                _ => break,
            }
            let Some((_, target)) = self.deadlines.pop_first() else {
                break;
            };
            self.expire_under(now, target, &mut expired);
        }
        expired
    }

    fn expire_under(&mut self, now: Instant, target: Id, expired: &mut Vec<Expired>) {
        let Some(bucket) = self.keys.get_mut(&target) else {
            return;
        };
        let mut freed = Freed::default();
        bucket.entries.retain_mut(|entry| {
            let has_ended = entry.expires <= now && !entry.record.is_empty();
            if has_ended && entry.state == State::Held {
                let subject = entry.subject;
                expired.push(Expired { target, subject });
            }
            if entry.kept_until <= now {
                freed.forget(&mut self.quotas, entry);
                return false;
            }
            if has_ended {
                freed.shrink(&mut self.quotas, entry);
            }
            true
        });
        // Retained capacity of a once busy key is memory for nothing.
        bucket.entries.shrink_to_fit();
        match bucket.entries.iter().map(Entry::next_deadline).min() {
            Some(next) => {
                bucket.deadline = next;
                self.deadlines.insert((next, target));
            }
            None => {
                self.keys.remove(&target);
            }
        }
        self.bytes -= freed.bytes;
        self.len -= freed.entries;
    }

    fn find(&self, target: &Id, key: &ValueKey) -> Option<&Entry> {
        self.keys.get(target)?.find(key)
    }

    /// For how long a value is kept: what is left of its life, at most what its type allows.
    fn lasts(
        &self,
        arrival: &Arrival<'_>,
        policy: &TypePolicy,
        value: &Value,
    ) -> Result<Duration, ValueError> {
        if value.expiry() <= arrival.wall {
            return Err(ValueError::Expired);
        }
        let lasts = value.expiry().since(arrival.wall);
        if lasts > MAX_TTL + MAX_CLOCK_SKEW {
            return Err(ValueError::TooFar);
        }
        let (found, max) = (value.body().len(), policy.max_body());
        if found > max as usize {
            return Err(ValueError::BodyTooLong { found, max });
        }
        // A removal stays as long as what it removed may be brought back.
        let max = if value.is_removal() {
            MAX_TTL
        } else {
            policy.max_ttl()
        };
        Ok(lasts.min(max))
    }

    fn insert(
        &mut self,
        arrival: &Arrival<'_>,
        target: &Id,
        entry: Entry,
    ) -> Result<(), ValueError> {
        let replaced = self.find(target, &entry.subject.key).map(Entry::cost);
        let victim = match replaced {
            Some(_) => None,
            None => self.victim_under(target, entry.source)?,
        };
        let freed = replaced.or(victim.map(|(_, cost)| cost));
        let added = entry.cost().saturating_sub(freed.unwrap_or_default());
        self.make_room_for(arrival.own, target, added)?;
        if let Some((at, _)) = victim {
            self.drop_entry(target, at);
        }
        self.bytes += entry.cost();
        self.quotas.add(entry.charge());
        let deadline = entry.next_deadline();
        let bucket = self.keys.entry(*target).or_insert_with(|| Bucket {
            deadline,
            entries: Vec::new(),
        });
        if deadline < bucket.deadline || bucket.entries.is_empty() {
            self.deadlines.remove(&(bucket.deadline, *target));
            bucket.deadline = deadline;
            self.deadlines.insert((deadline, *target));
        }
        match bucket.insert(entry) {
            None => self.len += 1,
            Some(old) => {
                self.bytes -= old.cost();
                self.quotas.remove(old.charge());
            }
        }
        Ok(())
    }

    /// What has to go under a key for one more of `source`, by its place, and what it takes; none where
    /// there is room.
    fn victim_under(
        &self,
        target: &Id,
        source: Source,
    ) -> Result<Option<(usize, usize)>, ValueError> {
        let Some(bucket) = self.keys.get(target) else {
            return Ok(None);
        };
        if bucket.entries.len() < self.limits.values_per_key {
            return Ok(None);
        }
        let at = bucket.most_crowded(source).ok_or(ValueError::FullKey)?;
        Ok(Some((at, bucket.entries[at].cost())))
    }

    fn drop_entry(&mut self, target: &Id, at: usize) {
        if let Some(bucket) = self.keys.get_mut(target) {
            let dropped = bucket.entries.remove(at);
            self.bytes -= dropped.cost();
            self.len -= 1;
            self.quotas.remove(dropped.charge());
        }
    }

    /// Room for `cost` bytes under `target`, at the cost of farther keys. If that would take one that is
    /// nearer, none is dropped.
    fn make_room_for(&mut self, own: &Id, target: &Id, cost: usize) -> Result<(), ValueError> {
        let mut dropped: Vec<(Id, Bucket)> = Vec::new();
        let mut freed = 0;
        let needs_key = !self.keys.contains_key(target);
        while self.bytes - freed + cost > self.limits.bytes
            || (needs_key && self.keys.len() >= self.limits.keys)
        {
            let farther = farthest(&self.keys, own)
                .filter(|id| own.distance(id) > own.distance(target))
                .and_then(|id| self.keys.remove_entry(&id));
            let Some((id, bucket)) = farther else {
                self.keys.extend(dropped);
                return Err(ValueError::FullStore);
            };
            freed += bucket.entries.iter().map(Entry::cost).sum::<usize>();
            dropped.push((id, bucket));
        }
        self.bytes -= freed;
        for (id, bucket) in dropped {
            self.deadlines.remove(&(bucket.deadline, id));
            self.len -= bucket.entries.len();
            for entry in &bucket.entries {
                self.quotas.remove(entry.charge());
            }
        }
        Ok(())
    }
}

/// What a pass over a key freed.
#[derive(Default)]
struct Freed {
    bytes: usize,
    entries: usize,
}

impl Freed {
    fn forget(&mut self, quotas: &mut Quotas, entry: &Entry) {
        self.bytes += entry.cost();
        self.entries += 1;
        quotas.remove(entry.charge());
    }

    /// Leaves the sequence number alone.
    fn shrink(&mut self, quotas: &mut Quotas, entry: &mut Entry) {
        self.bytes += entry.record.len();
        quotas.remove(entry.charge());
        entry.forget_record();
        quotas.add(entry.charge());
    }
}

fn check_policies(
    arrival: &Arrival<'_>,
    policy: &TypePolicy,
    target: &Id,
    (value, old): (&Value, Option<&Value>),
) -> Result<(), ValueError> {
    let offer = Offer {
        target,
        value,
        from: arrival.from,
    };
    if let Some(old) = old {
        policy.edit_policy().check(&Edit { old, new: offer })?;
    }
    // What the owner takes back needs no leave.
    if !matches!(value.body(), Body::Removed) {
        policy.check(&offer)?;
    }
    Ok(())
}

/// Bytes that a byte string of `len` bytes takes in a message.
const fn string_cost(len: usize) -> usize {
    let digits = match len {
        0..=9 => 1,
        10..=99 => 2,
        100..=999 => 3,
        _ => 4,
    };
    digits + 1 + len
}

#[cfg(test)]
mod tests;
