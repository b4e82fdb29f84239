//! A rate with a burst.

use std::time::{Duration, Instant};

/// Fills steadily; a burst of one second's worth after a pause.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    per_second: u32,
    /// When it is full again.
    full: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant, per_second: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            full: now,
        }
    }

    /// Takes `amount`, if it is there.
    pub(super) fn take(&mut self, now: Instant, amount: usize) -> bool {
        let amount = u64::try_from(amount).unwrap_or(u64::MAX);
        let cost = amount.saturating_mul(1_000_000_000) / u64::from(self.per_second);
        let full = self.full.max(now) + Duration::from_nanos(cost.min(60_000_000_000));
        if full > now + Duration::from_secs(1) {
            return false;
        }
        self.full = full;
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use super::*;

    #[test]
    fn a_rate_holds_after_its_burst() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(begin, 1000);
        let taken = |bucket: &mut Bucket, now| (0..5000).filter(|_| bucket.take(now, 1)).count();
        assert_eq!(taken(&mut bucket, begin), 1000);
        assert_eq!(taken(&mut bucket, begin + Duration::from_millis(500)), 500);
        assert_eq!(taken(&mut bucket, begin + Duration::from_secs(60)), 1000);
        assert!(!bucket.take(begin + Duration::from_secs(120), 1001));
        assert!(bucket.take(begin + Duration::from_secs(120), 1000));
        assert!(!bucket.take(begin + Duration::from_secs(240), usize::MAX));
    }
}
