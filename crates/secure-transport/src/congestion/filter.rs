//! The least value of the recent past, in constant memory.

use std::time::{Duration, Instant};

/// Minimum over a window of time, kept as two halves that take turns.
///
/// What it forgets is between half a window and a whole window old. It turns only when it is
/// fed, so that silence does not age the model.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowedMin<T> {
    half: Duration,
    turned: Option<Instant>,
    current: Option<T>,
    previous: Option<T>,
}

impl<T: Copy + PartialOrd> WindowedMin<T> {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            half: window / 2,
            turned: None,
            current: None,
            previous: None,
        }
    }

    pub(super) fn push(&mut self, now: Instant, value: T) {
        let turned = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(turned) >= self.half {
            self.previous = self.current.take();
            self.turned = Some(now);
        }
        self.current = lesser(self.current, Some(value));
    }

    pub(super) fn min(&self) -> Option<T> {
        lesser(self.current, self.previous)
    }
}

fn lesser<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The least of the newest values: what a queue adds now, without the spikes.
///
/// It looks back over one to two spans, each of at least eight values and of the time given with
/// them, so that one burst of the sender does not pass for a queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RecentMin {
    began: Option<Instant>,
    count: u32,
    current: Option<Duration>,
    previous: Option<Duration>,
}

impl RecentMin {
    const VALUES: u32 = 8;

    pub(super) fn push(&mut self, now: Instant, value: Duration, span: Duration) {
        let began = *self.began.get_or_insert(now);
        self.current = lesser(self.current, Some(value));
        self.count += 1;
        if self.count >= Self::VALUES && now.saturating_duration_since(began) >= span {
            self.previous = self.current.take();
            self.count = 0;
            self.began = None;
        }
    }

    /// `None` until a first span has passed.
    pub(super) fn min(&self) -> Option<Duration> {
        self.previous
            .and_then(|previous| lesser(self.current, Some(previous)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    #![allow(clippy::disallowed_methods)] // an instant to count from

    use super::*;

    #[test]
    fn a_minimum_is_kept_for_half_a_window_and_gone_after_a_whole_one() {
        let start = Instant::now();
        let mut filter = WindowedMin::new(Duration::from_secs(10));
        filter.push(start, 5);
        filter.push(start + Duration::from_secs(1), 9);
        filter.push(start + Duration::from_secs(5), 9);
        assert_eq!(filter.min(), Some(5));
        filter.push(start + Duration::from_secs(10), 9);
        assert_eq!(filter.min(), Some(9));
    }

    #[test]
    fn silence_alone_forgets_nothing() {
        let start = Instant::now();
        let mut filter = WindowedMin::new(Duration::from_secs(10));
        filter.push(start, 5);
        filter.push(start + Duration::from_secs(600), 9);
        assert_eq!(filter.min(), Some(5));
    }

    #[test]
    fn the_recent_minimum_ignores_spikes_and_follows_a_lasting_rise() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut recent = RecentMin::default();
        let mut push = |at: u64, value: u64| {
            recent.push(start + ms(at), ms(value), ms(4));
            recent.min()
        };
        for at in 0..7 {
            assert_eq!(push(at, 40), None);
        }
        assert_eq!(push(7, 90), Some(ms(40)));
        assert_eq!(push(8, 90), Some(ms(40)));
        for at in 9..25 {
            push(at, 60);
        }
        assert_eq!(push(25, 60), Some(ms(60)));
    }

    #[test]
    fn a_burst_shorter_than_the_span_is_no_queue() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut recent = RecentMin::default();
        for _ in 0..100 {
            recent.push(start, ms(50), ms(4));
        }
        recent.push(start + ms(4), ms(40), ms(4));
        assert_eq!(recent.min(), Some(ms(40)));
    }
}
