//! The growth of a window among loss-based flows: CUBIC (RFC 9438).

use std::time::{Duration, Instant};

use super::constants::{CUBIC_BETA, CUBIC_C};

/// The curve from the last loss on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Curve {
    began: Instant,
    /// Window before the loss, in bytes.
    peak: f64,
    /// Seconds from the loss until the curve is back at the peak.
    back_at: f64,
}

impl Curve {
    /// A curve that begins at its peak.
    pub(super) fn at_peak(now: Instant, window: u64) -> Self {
        Self {
            began: now,
            peak: window as f64,
            back_at: 0.0,
        }
    }

    /// A curve that begins with a loss at `window`; the window falls to `CUBIC_BETA` of it.
    pub(super) fn after_loss(now: Instant, window: u64, mtu: u64) -> Self {
        let packets = window as f64 / mtu as f64;
        let back_at = (packets * (1.0 - CUBIC_BETA) / CUBIC_C).cbrt();
        Self {
            began: now,
            peak: window as f64,
            back_at,
        }
    }

    /// The window that the curve asks for at `now`, at a round trip of `rtt`.
    pub(super) fn target(&self, now: Instant, rtt: Duration, mtu: u64) -> u64 {
        let elapsed = now.saturating_duration_since(self.began).as_secs_f64();
        let mtu = mtu as f64;
        let cubic = CUBIC_C * (elapsed - self.back_at).powi(3) * mtu + self.peak;
        // RFC 9438 §4.3: never slower than Reno would be.
        let alpha = 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA);
        let rounds = elapsed / rtt.as_secs_f64().max(1e-6);
        let begun = if self.back_at > 0.0 {
            self.peak * CUBIC_BETA
        } else {
            self.peak
        };
        cubic.max(begun + alpha * rounds * mtu).max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // an instant to count from

    use super::*;

    const MTU: u64 = 1_000;

    #[test]
    fn after_a_loss_it_starts_at_beta_and_returns_to_the_peak() {
        let now = Instant::now();
        let rtt = Duration::from_secs(1);
        let curve = Curve::after_loss(now, 1_000_000, MTU);
        let first = curve.target(now, rtt, MTU);
        assert!((699_000..701_000).contains(&first), "{first}");
        // cbrt(1000 * 0.3 / 0.4) = 9.086 s.
        let back = curve.target(now + Duration::from_millis(9_086), rtt, MTU);
        assert!((999_000..1_001_000).contains(&back), "{back}");
        assert!(curve.target(now + Duration::from_secs(20), rtt, MTU) > 1_400_000);
    }

    #[test]
    fn small_windows_grow_as_reno_does() {
        let now = Instant::now();
        let curve = Curve::after_loss(now, 10_000, MTU);
        let target = curve.target(now + Duration::from_secs(1), Duration::from_millis(10), MTU);
        // 100 rounds of 0.53 packets on top of 7.
        assert!((59_000..61_000).contains(&target), "{target}");
    }
}
