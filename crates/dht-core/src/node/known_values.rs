//! Which values an operation has told already, so that each change is told once.

use std::collections::BTreeMap;

use crate::value::{UnixTime, Value, ValueKey};

/// Values that one operation remembers. Those beyond are not told: a key with so many is not
/// meant to be read whole.
pub(crate) const MAX_KNOWN_VALUES: usize = 8_192;

#[derive(Debug, Clone, Copy)]
struct Known {
    seq: Option<u64>,
    expiry: UnixTime,
    removed: bool,
}

/// What a value is to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It was not known, or not in this version.
    Fresh,
    /// Its owner has removed what was told before.
    Removed,
    /// Nothing that was not known.
    Old,
}

/// Values by key, with what is needed to tell a newer one from an older.
#[derive(Debug, Default)]
pub(crate) struct KnownValues(BTreeMap<ValueKey, Known>);

impl KnownValues {
    pub(crate) fn on_value(&mut self, value: &Value, wall: UnixTime) -> News {
        if value.expiry() <= wall {
            return News::Old;
        }
        let (seq, removed) = (value.seq(), value.is_removal());
        let expiry = value.expiry();
        let next = Known {
            seq,
            expiry,
            removed,
        };
        let Some(known) = self.0.get_mut(&value.key()) else {
            if self.0.len() < MAX_KNOWN_VALUES {
                self.0.insert(value.key(), next);
                return if removed { News::Old } else { News::Fresh };
            }
            return News::Old;
        };
        if seq > known.seq {
            let was_removed = known.removed;
            *known = next;
            return match (was_removed, removed) {
                (_, false) => News::Fresh,
                (false, true) => News::Removed,
                (true, true) => News::Old,
            };
        }
        if seq == known.seq && removed == known.removed {
            known.expiry = known.expiry.max(expiry);
        }
        News::Old
    }

    /// Takes out what expired; gives those that were there until now.
    pub(crate) fn expire(&mut self, wall: UnixTime) -> Vec<ValueKey> {
        let mut gone = Vec::new();
        self.0.retain(|key, known| {
            let over = known.expiry <= wall;
            if over && !known.removed {
                gone.push(*key);
            }
            !over
        });
        gone
    }

    /// When something expires next.
    pub(crate) fn next_expiry(&self) -> Option<UnixTime> {
        self.0.values().map(|known| known.expiry).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use std::time::Duration;

    use dhtnet_identity::DeviceKey;

    use super::*;
    use crate::id::Id;
    use crate::value::{Draft, ValueId};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn draft(id: u64) -> Draft {
        Draft::new(Id::default(), ValueId(id), b"x".to_vec()).with_ttl(Duration::from_secs(600))
    }

    #[test]
    fn each_change_is_told_once_and_nothing_old_comes_back() {
        let key = DeviceKey::from_seed(&[1; 32]);
        let signed = |seq| draft(1).signed(NOW, &key, seq).unwrap().value;
        let removal = signed(2).removed_by(&key, &Id::default()).unwrap();
        let back = signed(4);
        let mut known = KnownValues::default();
        for (value, news) in [
            (&signed(1), News::Fresh),
            (&signed(1), News::Old),
            (&signed(2), News::Fresh),
            (&signed(1), News::Old),
            (&removal, News::Removed),
            (&removal, News::Old),
            (&signed(2), News::Old),
            (&back, News::Fresh),
        ] {
            assert_eq!(known.on_value(value, NOW), news);
        }
        let end = NOW.plus(Duration::from_secs(600));
        assert_eq!(known.next_expiry(), Some(end));
        assert_eq!(known.expire(end), [back.key()]);
        assert_eq!(known.on_value(&back, end), News::Old, "it has expired");
    }

    #[test]
    fn values_beyond_the_bound_are_not_told() {
        let value = |id| draft(id).unsigned(NOW).unwrap().value;
        let mut known = KnownValues::default();
        for id in 0..MAX_KNOWN_VALUES as u64 {
            assert_eq!(known.on_value(&value(id), NOW), News::Fresh);
        }
        let one_more = value(MAX_KNOWN_VALUES as u64);
        assert_eq!(known.on_value(&one_more, NOW), News::Old);
    }
}
