//! The virtual clock: an instant that moves only when it is told to.

use std::time::{Duration, Instant};

/// A clock that only moves forward, and only when a test moves it.
///
/// It starts at an instant of the caller's choice; what a test sees are differences to it, so
/// runs started at different real times are alike.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    now: Instant,
}

impl Clock {
    /// A clock that stands at `start`.
    pub fn new(start: Instant) -> Self {
        Self { start, now: start }
    }

    /// The current virtual instant.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Moves to `instant`; an instant in the past leaves the clock where it is.
    pub fn advance_to(&mut self, instant: Instant) {
        self.now = self.now.max(instant);
    }

    /// Moves forward by `step`.
    pub fn advance(&mut self, step: Duration) {
        self.now += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_runs_backwards() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        clock.advance(Duration::from_secs(2));
        clock.advance_to(start + Duration::from_secs(1));
        assert_eq!(clock.elapsed(), Duration::from_secs(2));
        clock.advance_to(start + Duration::from_secs(3));
        assert_eq!(clock.now(), start + Duration::from_secs(3));
    }
}
