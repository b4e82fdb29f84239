//! What came back, and how long it took.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// Round trips whose times are kept for the percentile; of a longer run the last so many count.
const MAX_KEPT: usize = 65_536;

/// Counts of a run of `dnc ping`.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: u64,
    received: u64,
    total: Duration,
    shortest: Option<Duration>,
    longest: Duration,
    /// The last [`MAX_KEPT`], as a ring.
    kept: Vec<Duration>,
}

impl Tally {
    /// One was sent; returns its number, from 1.
    pub(crate) fn send(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// One came back.
    pub(crate) fn receive(&mut self, rtt: Duration) {
        let place = (self.received % MAX_KEPT as u64) as usize;
        match self.kept.get_mut(place) {
            Some(oldest) => *oldest = rtt,
            None => self.kept.push(rtt),
        }
        self.received += 1;
        self.total += rtt;
        self.shortest = Some(self.shortest.map_or(rtt, |shortest| shortest.min(rtt)));
        self.longest = self.longest.max(rtt);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether anything came back.
    pub(crate) fn is_answered(&self) -> bool {
        self.received > 0
    }

    /// Percent that did not come back; 0 when nothing was sent.
    fn lost(&self) -> f64 {
        match self.sent {
            0 => 0.0,
            sent => (sent - self.received.min(sent)) as f64 * 100.0 / sent as f64,
        }
    }

    /// The smallest time that at least 95 in 100 of those kept do not exceed.
    fn p95(&self) -> Option<Duration> {
        let mut sorted = self.kept.clone();
        sorted.sort_unstable();
        sorted
            .get((sorted.len() * 95).div_ceil(100).checked_sub(1)?)
            .copied()
    }

    /// Shortest, mean, 95th percentile and longest; `None` before the first.
    fn times(&self) -> Option<[Duration; 4]> {
        let mean = self.total.div_f64(self.received.max(1) as f64);
        Some([self.shortest?, mean, self.p95()?, self.longest])
    }

    /// As the event `summary`.
    pub(crate) fn object(&self) -> Value {
        let times = self.times().map(|times| times.map(milliseconds));
        let time = |at: usize| times.map(|times| times[at]);
        json!({
            "event": "summary",
            "sent": self.sent,
            "received": self.received,
            "lost_percent": self.lost(),
            "min": time(0),
            "avg": time(1),
            "p95": time(2),
            "max": time(3),
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, received, lost) = (self.sent, self.received, self.lost());
        write!(f, "{sent} sent, {received} received, {lost:.0}% lost")?;
        let Some(times) = self.times() else {
            return Ok(());
        };
        let [min, avg, p95, max] = times.map(milliseconds);
        write!(
            f,
            "; min/avg/p95/max = {min:.2}/{avg:.2}/{p95:.2}/{max:.2} ms"
        )
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sent: u64, times: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..sent {
            tally.send();
        }
        for time in times {
            tally.receive(Duration::from_millis(time));
        }
        tally
    }

    #[test]
    fn the_summary_has_counts_and_times() {
        assert_eq!(tally(0, []).to_string(), "0 sent, 0 received, 0% lost");
        assert_eq!(tally(2, []).to_string(), "2 sent, 0 received, 100% lost");
        assert_eq!(
            tally(3, [10, 30]).to_string(),
            "3 sent, 2 received, 33% lost; min/avg/p95/max = 10.00/20.00/30.00/30.00 ms"
        );
        assert_eq!(
            tally(100, 1..=100).to_string(),
            "100 sent, 100 received, 0% lost; min/avg/p95/max = 1.00/50.50/95.00/100.00 ms"
        );
    }

    #[test]
    fn a_long_run_keeps_the_last_times_only() {
        let kept = MAX_KEPT as u64;
        let old = std::iter::repeat_n(1000, MAX_KEPT);
        let all = tally(2 * kept, old.clone());
        assert_eq!(all.p95(), Some(Duration::from_secs(1)));
        let new = tally(2 * kept, old.chain(std::iter::repeat_n(1, MAX_KEPT)));
        assert_eq!(new.kept.len(), MAX_KEPT);
        assert_eq!(new.p95(), Some(Duration::from_millis(1)));
        assert_eq!(new.longest, Duration::from_secs(1));
    }
}
