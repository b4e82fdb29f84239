//! Which first messages were already answered.

use std::collections::{HashSet, VecDeque};

/// How many ephemeral keys a responder remembers: 4,096 × 32 bytes twice, about 300 KiB with the
/// tables.
///
/// A replayed message 1 older than that costs the responder one handshake's work and memory until
/// its deadline, and still cannot become a connection: the sender lacks the keys to finish.
pub const MAX_REMEMBERED_FIRST_MESSAGES: usize = 4_096;

/// The ephemeral keys of the last [`MAX_REMEMBERED_FIRST_MESSAGES`] authentic first messages,
/// oldest out first.
#[derive(Debug, Default)]
pub(crate) struct ReplayFilter {
    seen: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl ReplayFilter {
    pub(crate) fn contains(&self, ephemeral: &[u8; 32]) -> bool {
        self.seen.contains(ephemeral)
    }

    /// Remembers `ephemeral`; `false` if it was there.
    pub(crate) fn insert(&mut self, ephemeral: [u8; 32]) -> bool {
        if !self.seen.insert(ephemeral) {
            return false;
        }
        self.order.push_back(ephemeral);
        if self.order.len() > MAX_REMEMBERED_FIRST_MESSAGES
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn a_repeat_is_noticed_until_the_bound_pushes_it_out() {
        let mut filter = ReplayFilter::default();
        for number in 0..MAX_REMEMBERED_FIRST_MESSAGES {
            assert!(filter.insert(key(number)));
        }
        assert!(!filter.insert(key(0)));
        assert!(filter.contains(&key(0)));
        assert!(filter.insert(key(MAX_REMEMBERED_FIRST_MESSAGES)));
        assert!(!filter.contains(&key(0)));
        assert!(filter.contains(&key(1)));
        assert_eq!(filter.seen.len(), MAX_REMEMBERED_FIRST_MESSAGES);
        assert_eq!(filter.order.len(), MAX_REMEMBERED_FIRST_MESSAGES);
    }
}
