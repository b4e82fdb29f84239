//! Measuring in intervals: at least a round trip, at least a few milliseconds.

use std::time::{Duration, Instant};

use super::constants::MIN_INTERVAL;

/// What is counted while an interval runs.
///
/// It ends with the first acknowledgement of a packet sent after it began, so it spans at least
/// one round trip, and not before [`MIN_INTERVAL`]. Over that span bunched acknowledgements
/// hardly tell on the delivery rate, and the least round trip is what the queue never fell below.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    began: Instant,
    delivered: u64,
    lost: u64,
    least_rtt: Option<Duration>,
    /// Bytes of those delivered while the application left the window unused.
    limited: u64,
    newest_acked: Option<Instant>,
}

/// A finished interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Bytes acknowledged.
    pub(super) delivered: u64,
    /// Bytes declared lost.
    pub(super) lost: u64,
    /// Bytes acknowledged per second.
    pub(super) rate: f64,
    /// Least round trip, acknowledgement delay included.
    pub(super) least_rtt: Duration,
    /// Whether the application left the window unused for most of them.
    pub(super) app_limited: bool,
}

impl Sample {
    /// Lost bytes as a part of all whose fate became known.
    pub(super) fn loss_rate(&self) -> f64 {
        self.lost as f64 / (self.delivered + self.lost).max(1) as f64
    }
}

impl Interval {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            delivered: 0,
            lost: 0,
            least_rtt: None,
            limited: 0,
            newest_acked: None,
        }
    }

    pub(super) fn on_ack(&mut self, sent: Instant, rtt: Duration, bytes: u64, app_limited: bool) {
        self.delivered += bytes;
        self.limited += if app_limited { bytes } else { 0 };
        self.least_rtt = Some(self.least_rtt.map_or(rtt, |least| least.min(rtt)));
        self.newest_acked = self.newest_acked.max(Some(sent));
    }

    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// Ends the interval if it has lasted, and begins the next.
    pub(super) fn try_finish(&mut self, now: Instant) -> Option<Sample> {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < MIN_INTERVAL || self.newest_acked? < self.began {
            return None;
        }
        let sample = Sample {
            delivered: self.delivered,
            lost: self.lost,
            rate: self.delivered as f64 / elapsed.as_secs_f64(),
            least_rtt: self.least_rtt?,
            app_limited: self.limited * 2 > self.delivered,
        };
        *self = Self::new(now);
        Some(sample)
    }
}

/// The best delivery rate of the last few intervals.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BestRate {
    recent: [f64; Self::KEPT],
}

impl BestRate {
    /// Enough to bridge one disturbed interval, few enough to see a shrinking share at once.
    const KEPT: usize = 3;

    /// Takes in a sample; one that the application limited counts only if it is the best.
    pub(super) fn push(&mut self, sample: &Sample) {
        if !sample.app_limited || sample.rate > self.best() {
            self.recent.rotate_right(1);
            self.recent[0] = sample.rate;
        }
    }

    /// Forgets all but this sample, unless the application limited it.
    pub(super) fn settle_on(&mut self, sample: &Sample) {
        if !sample.app_limited {
            self.recent = [sample.rate; Self::KEPT];
        }
    }

    /// Bytes per second; zero before the first sample.
    pub(super) fn best(&self) -> f64 {
        self.recent.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    #![allow(clippy::disallowed_methods)] // an instant to count from

    use super::*;

    #[test]
    fn an_interval_needs_an_acknowledgement_of_its_own_packets() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut interval = Interval::new(at(100));
        interval.on_ack(at(99), Duration::from_millis(40), 1_000, false);
        assert_eq!(interval.try_finish(at(139)), None);
        interval.on_lost(500);
        interval.on_ack(at(100), Duration::from_millis(50), 1_000, false);
        let sample = interval.try_finish(at(150)).unwrap();
        assert_eq!((sample.delivered, sample.lost), (2_000, 500));
        assert_eq!(sample.rate, 40_000.0);
        assert_eq!(sample.least_rtt, Duration::from_millis(40));
    }

    #[test]
    fn on_short_paths_an_interval_covers_many_round_trips() {
        let start = Instant::now();
        let mut interval = Interval::new(start);
        let rtt = Duration::from_micros(200);
        interval.on_ack(start + rtt, rtt, 1_000, false);
        assert_eq!(interval.try_finish(start + rtt * 2), None);
        assert!(interval.try_finish(start + MIN_INTERVAL).is_some());
    }

    #[test]
    fn rates_limited_by_the_application_never_lower_the_best() {
        let mut best = BestRate::default();
        let sample = |rate, app_limited| Sample {
            delivered: 1,
            lost: 0,
            rate,
            least_rtt: Duration::ZERO,
            app_limited,
        };
        best.push(&sample(100.0, false));
        for _ in 0..9 {
            best.push(&sample(10.0, true));
        }
        assert_eq!(best.best(), 100.0);
        best.push(&sample(120.0, true));
        assert_eq!(best.best(), 120.0);
        for _ in 0..3 {
            best.push(&sample(10.0, false));
        }
        assert_eq!(best.best(), 10.0);
    }
}
