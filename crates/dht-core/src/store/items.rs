//! Items that others put here (BEP 44).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::time::Instant;

use super::StoreError;
use super::clock::Clock;
use super::farthest::farthest;
use super::source::{Charges, Source};
use crate::id::{ID_LEN, Id};
use crate::item::{
    ItemKey, check_signature, check_unsigned, check_value, immutable_target, mutable_target,
    target_of,
};
use crate::krpc::{ItemReply, MutablePut, Put};

/// Most items unless configured otherwise. libtorrent keeps 700; here the pieces of larger values
/// are items too.
pub(crate) const MAX_ITEMS: usize = 2_000;

/// Most bytes of items unless configured otherwise, each counted as [`ITEM_OVERHEAD`] and its
/// value: 1,801 of the largest signed ones.
pub(crate) const MAX_ITEM_BYTES: usize = 2 * 1024 * 1024;

/// Most items of one source unless configured otherwise: a tenth of all.
pub(crate) const MAX_ITEMS_PER_SOURCE: usize = MAX_ITEMS / 10;

/// For how long an item is kept after it was last put, in seconds. BEP 44 lets items expire after
/// two hours and asks owners to put them again every hour.
pub(crate) const ITEM_LIFETIME: u32 = 2 * 60 * 60;

/// Bytes of an item beside its value, without what the map and the allocator add.
pub(crate) const ITEM_OVERHEAD: usize = ID_LEN + size_of::<StoredItem>() + size_of::<SignedPart>();

/// How much a store holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemLimits {
    /// Items; default [`MAX_ITEMS`].
    pub items: usize,
    /// Bytes of them; default [`MAX_ITEM_BYTES`].
    pub bytes: usize,
    /// Items of one source; default [`MAX_ITEMS_PER_SOURCE`].
    pub per_source: usize,
}

impl Default for ItemLimits {
    fn default() -> Self {
        Self {
            items: MAX_ITEMS,
            bytes: MAX_ITEM_BYTES,
            per_source: MAX_ITEMS_PER_SOURCE,
        }
    }
}

/// Items by target. Empty it takes no memory beyond itself.
#[derive(Debug)]
pub(crate) struct ItemStore {
    limits: ItemLimits,
    items: BTreeMap<Id, StoredItem>,
    bytes: usize,
    charges: Charges,
    clock: Clock,
}

/// An item that was checked and stored.
#[derive(Debug)]
pub(crate) struct StoredItem {
    /// The value, and behind it the salt.
    bytes: Box<[u8]>,
    salt_len: u8,
    signed: Option<Box<SignedPart>>,
    source: Option<Source>,
    heard: u32,
}

/// What only a mutable item has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignedPart {
    /// `k`.
    pub key: ItemKey,
    /// `sig`.
    pub signature: [u8; 64],
    /// `seq`.
    pub seq: i64,
}

impl StoredItem {
    /// The bencoded value.
    pub(crate) fn value(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - usize::from(self.salt_len)]
    }

    /// What a mutable item was put with; else empty.
    pub(crate) fn salt(&self) -> &[u8] {
        &self.bytes[self.bytes.len() - usize::from(self.salt_len)..]
    }

    /// Key, signature and number; none for an immutable item.
    pub(crate) fn signed(&self) -> Option<&SignedPart> {
        self.signed.as_deref()
    }

    /// The stored `seq`; none for an immutable item.
    pub(crate) fn seq(&self) -> Option<i64> {
        self.signed.as_ref().map(|signed| signed.seq)
    }

    /// What the answer to a `get` with this `seq` says: the item, unless the asker has it, and
    /// the stored `seq` in any case.
    pub(crate) fn reply(&self, since: Option<i64>) -> (Option<ItemReply<'_>>, Option<i64>) {
        let seq = self.seq();
        let asker_has_it = seq.zip(since).is_some_and(|(seq, since)| seq <= since);
        let item = (!asker_has_it).then(|| ItemReply {
            value: self.value(),
            signed: self.signed().map(|signed| (&signed.key, &signed.signature)),
        });
        (item, seq)
    }

    fn cost(&self) -> usize {
        ITEM_OVERHEAD + self.bytes.len()
    }
}

impl ItemStore {
    /// An empty store.
    pub(crate) const fn new(limits: ItemLimits) -> Self {
        Self {
            limits,
            items: BTreeMap::new(),
            bytes: 0,
            charges: Charges::new(),
            clock: Clock::new(ITEM_LIFETIME),
        }
    }

    /// Stores or refreshes an immutable item under the hash of `value`, for [`ITEM_LIFETIME`].
    /// `own` is this node's id in the family that it was asked over.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub(crate) fn put_immutable(
        &mut self,
        now: Instant,
        own: &Id,
        value: &[u8],
        from: IpAddr,
    ) -> Result<(), StoreError> {
        check_value(value)?;
        self.sweep_if_due(now);
        let target = immutable_target(value);
        match self.live(now, &target) {
            Some(stored) if stored.value() != value => Err(StoreError::TargetTaken),
            Some(_) => self.refresh(now, &target, from),
            None => self.insert(
                now,
                own,
                target,
                &NewItem {
                    value,
                    salt: b"",
                    signed: None,
                    from,
                },
            ),
        }
    }

    /// Stores, replaces or refreshes the item that `put` carries, for [`ITEM_LIFETIME`]: a
    /// mutable one by the rules of BEP 44, else as [`Self::put_immutable`]. Its token is not
    /// looked at here.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub(crate) fn put_mutable(
        &mut self,
        now: Instant,
        own: &Id,
        put: &Put<'_>,
        from: IpAddr,
    ) -> Result<(), StoreError> {
        let Some(mutable) = &put.mutable else {
            return self.put_immutable(now, own, put.value, from);
        };
        let MutablePut {
            key,
            signature,
            seq,
            salt,
            ..
        } = *mutable;
        check_unsigned(salt, seq, put.value)?;
        self.sweep_if_due(now);
        let target = mutable_target(key, salt);
        let stored = self.live(now, &target);
        check_succession(stored, mutable, put.value)?;
        // What is stored word for word was checked when it came.
        let known = stored.is_some_and(|stored| stored.seq() == Some(seq));
        if known && stored.and_then(StoredItem::signed).map(|s| &s.signature) == Some(signature) {
            return self.refresh(now, &target, from);
        }
        check_signature(key, salt, seq, put.value, signature)?;
        if known {
            return self.refresh(now, &target, from);
        }
        let signed = SignedPart {
            key: *key,
            signature: *signature,
            seq,
        };
        let item = NewItem {
            value: put.value,
            salt,
            signed: Some(signed),
            from,
        };
        self.insert(now, own, target, &item)
    }

    /// As [`Self::put_mutable`], for an item that another node has kept for `age` seconds. One that
    /// is here already does not live longer by it: only its owner decides that.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub(crate) fn take_over(
        &mut self,
        now: Instant,
        own: &Id,
        (put, age): (&Put<'_>, u32),
        from: IpAddr,
    ) -> Result<(), StoreError> {
        if age >= ITEM_LIFETIME {
            return Err(StoreError::Expired);
        }
        let target = target_of(put);
        let seq = put.mutable.as_ref().map(|mutable| mutable.seq);
        let known = self.live(now, &target);
        if known.is_some_and(|known| known.seq() == seq && known.value() == put.value) {
            return Ok(());
        }
        self.put_mutable(now, own, put, from)?;
        let heard = self.clock.stamp_aged(now, age);
        if let Some(item) = self.items.get_mut(&target) {
            item.heard = heard;
        }
        Ok(())
    }

    /// How long ago the item at `target` was put, in seconds; none where there is none.
    pub(crate) fn age(&self, now: Instant, target: &Id) -> Option<u32> {
        let item = self.live(now, target)?;
        Some(self.clock.seconds(now).saturating_sub(item.heard))
    }

    /// The first target after `after`, of all where that is none.
    pub(crate) fn next_target(&self, after: Option<&Id>) -> Option<Id> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut targets = self.items.range((after, Bound::Unbounded));
        targets.next().map(|(target, _)| *target)
    }

    /// The item at `target`, unless it has expired.
    pub(crate) fn get(&self, now: Instant, target: &Id) -> Option<&StoredItem> {
        self.live(now, target)
    }

    /// Items; those that expired in the last minute may be counted still.
    pub(crate) fn count(&self) -> usize {
        self.items.len()
    }

    /// Bytes of the items, as they count against [`ItemLimits::bytes`].
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frees the memory of what has expired. Looks through the whole store: call it when
    /// [`Self::next_expiry`] has come.
    pub(crate) fn expire(&mut self, now: Instant) {
        let seconds = self.clock.seconds(now);
        self.items.retain(|_, item| {
            let expired = self.clock.has_expired(item.heard, seconds);
            if expired {
                self.bytes -= item.cost();
                self.charges.remove(item.source);
            }
            !expired
        });
        let oldest = self.items.values().map(|item| item.heard).min();
        self.clock.on_swept(seconds, oldest);
    }

    /// When to call [`Self::expire`]; never while the store is empty.
    #[cfg(test)]
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.clock.next_sweep()
    }

    fn sweep_if_due(&mut self, now: Instant) {
        if self.clock.is_due(now) {
            self.expire(now);
        }
    }

    fn live(&self, now: Instant, target: &Id) -> Option<&StoredItem> {
        let item = self.items.get(target)?;
        let expired = self.clock.has_expired(item.heard, self.clock.seconds(now));
        (!expired).then_some(item)
    }

    /// Lets the item at `target` live on, charged to who asked for that: nobody keeps things
    /// alive on the account of others.
    fn refresh(&mut self, now: Instant, target: &Id, from: IpAddr) -> Result<(), StoreError> {
        let source = Source::of(from);
        let heard = self.clock.stamp(now);
        let Some(item) = self.items.get_mut(target) else {
            return Ok(());
        };
        if item.source != source {
            if !self.charges.has_room(source, self.limits.per_source) {
                return Err(StoreError::Quota);
            }
            self.charges.remove(item.source);
            self.charges.add(source);
            item.source = source;
        }
        item.heard = heard;
        Ok(())
    }

    /// Puts the item there whole, in the place of what may be there.
    fn insert(
        &mut self,
        now: Instant,
        own: &Id,
        target: Id,
        new: &NewItem<'_>,
    ) -> Result<(), StoreError> {
        let source = Source::of(new.from);
        let replaced = self.items.get(&target);
        let is_charged = replaced.is_some_and(|item| item.source == source);
        if !is_charged && !self.charges.has_room(source, self.limits.per_source) {
            return Err(StoreError::Quota);
        }
        self.make_room(
            own,
            &target,
            ITEM_OVERHEAD + new.value.len() + new.salt.len(),
        )?;
        let item = StoredItem {
            bytes: [new.value, new.salt].concat().into(),
            // At most 64 bytes (BEP 44).
            salt_len: new.salt.len() as u8,
            signed: new.signed.map(Box::new),
            source,
            heard: self.clock.stamp(now),
        };
        self.bytes += item.cost();
        self.charges.add(source);
        if let Some(replaced) = self.items.insert(target, item) {
            self.bytes -= replaced.cost();
            self.charges.remove(replaced.source);
        }
        Ok(())
    }

    /// Drops the items farthest from `own` until one of `cost` bytes fits at `target`. If that
    /// would take items that are nearer than `target`, none is dropped.
    fn make_room(&mut self, own: &Id, target: &Id, cost: usize) -> Result<(), StoreError> {
        let replaced = self.items.get(target).map_or(0, StoredItem::cost);
        let added = usize::from(replaced == 0);
        let mut dropped: Vec<(Id, StoredItem)> = Vec::new();
        while self.items.len() + added > self.limits.items
            || self.bytes - replaced + cost > self.limits.bytes
        {
            let farther = farthest(&self.items, own)
                .filter(|id| id.distance(own) > target.distance(own))
                .and_then(|id| self.items.remove_entry(&id));
            let Some((id, item)) = farther else {
                self.bytes += dropped.iter().map(|(_, item)| item.cost()).sum::<usize>();
                self.items.extend(dropped);
                return Err(StoreError::TooFar);
            };
            self.bytes -= item.cost();
            dropped.push((id, item));
        }
        for (_, item) in dropped {
            self.charges.remove(item.source);
        }
        Ok(())
    }
}

/// An item that may be stored.
struct NewItem<'a> {
    value: &'a [u8],
    salt: &'a [u8],
    signed: Option<SignedPart>,
    from: IpAddr,
}

/// Whether a mutable item may follow what is stored: `cas` names the stored `seq`, and `seq` is
/// higher, or the same with the same value (BEP 44). Where nothing is stored anything may.
fn check_succession(
    stored: Option<&StoredItem>,
    new: &MutablePut<'_>,
    value: &[u8],
) -> Result<(), StoreError> {
    let Some(stored) = stored else { return Ok(()) };
    let Some(signed) = stored.signed().filter(|signed| signed.key == *new.key) else {
        return Err(StoreError::TargetTaken);
    };
    if new.cas.is_some_and(|cas| cas != signed.seq) {
        return Err(StoreError::CasMismatch);
    }
    if new.seq < signed.seq || (new.seq == signed.seq && stored.value() != value) {
        return Err(StoreError::SeqTooLow);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
