//! So many a second, and no more.

use std::time::{Duration, Instant};

/// Counts within each second anew.
#[derive(Debug)]
pub(crate) struct PerSecond {
    limit: u32,
    since: Instant,
    taken: u32,
}

impl PerSecond {
    pub(crate) fn new(now: Instant, limit: u32) -> Self {
        Self {
            limit,
            since: now,
            taken: 0,
        }
    }

    /// Takes one, if there is one left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.taken = 0;
        }
        let is_left = self.taken < self.limit;
        self.taken += u32::from(is_left);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_number_and_no_more() {
        let begin = Instant::now();
        let mut budget = PerSecond::new(begin, 3);
        let taken = |budget: &mut PerSecond, now| (0..10).filter(|_| budget.take(now)).count();
        assert_eq!(taken(&mut budget, begin), 3);
        assert_eq!(taken(&mut budget, begin + Duration::from_millis(999)), 0);
        assert_eq!(taken(&mut budget, begin + Duration::from_secs(1)), 3);
    }
}
