//! How much is lost, and how much of that is not congestion.

use super::constants::{LOSS_SAMPLE_PACKETS, LOSS_TOLERANCE, MAX_WEATHER};
use super::interval::Sample;

/// The loss rate over as many intervals as give a meaningful number of packets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LossRate {
    delivered: u64,
    lost: u64,
    last: f64,
}

impl LossRate {
    /// Takes in an interval; a reading if there were packets enough since the last one.
    pub(super) fn push(&mut self, sample: &Sample, mtu: u64) -> Option<f64> {
        self.delivered += sample.delivered;
        self.lost += sample.lost;
        if self.delivered + self.lost < LOSS_SAMPLE_PACKETS * mtu {
            return None;
        }
        self.last = self.lost as f64 / (self.delivered + self.lost) as f64;
        (self.delivered, self.lost) = (0, 0);
        Some(self.last)
    }

    /// The last reading; zero before the first.
    pub(super) fn last(&self) -> f64 {
        self.last
    }
}

/// Loss that goes on when the path is not full: read while draining.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    loss: Option<f64>,
}

impl Weather {
    /// Takes in the loss rate of a drain; readings are averaged with weight one half.
    pub(super) fn push(&mut self, loss: f64) {
        self.loss = Some(self.loss.map_or(loss, |old| (old + loss) / 2.0));
    }

    /// The part of the packets that is lost whatever the window; at most [`MAX_WEATHER`].
    pub(super) fn loss(&self) -> f64 {
        self.loss.unwrap_or(0.0).min(MAX_WEATHER)
    }

    /// The loss rate above which the path is full. A quarter of the weather goes on top, because
    /// readings of a steady 5 % scatter by about 1 %.
    pub(super) fn bound(&self) -> f64 {
        self.loss() * 1.25 + LOSS_TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn sample(delivered: u64, lost: u64) -> Sample {
        Sample {
            delivered,
            lost,
            rate: 0.0,
            least_rtt: Duration::ZERO,
            app_limited: false,
        }
    }

    #[test]
    fn a_reading_needs_two_hundred_and_fifty_six_packets() {
        let mut loss = LossRate::default();
        assert_eq!(loss.push(&sample(124_000, 4_000), 1_000), None);
        assert_eq!(loss.push(&sample(124_000, 4_000), 1_000), Some(1.0 / 32.0));
        assert_eq!(loss.push(&sample(124_000, 4_000), 1_000), None);
    }

    #[test]
    fn the_weather_raises_the_bound_up_to_its_own_limit() {
        let mut weather = Weather::default();
        assert_eq!(weather.bound(), LOSS_TOLERANCE);
        weather.push(0.04);
        assert_eq!(weather.bound(), 0.05 + LOSS_TOLERANCE);
        weather.push(0.0);
        assert_eq!(weather.loss(), 0.02);
        for _ in 0..20 {
            weather.push(0.5);
        }
        assert_eq!(weather.loss(), MAX_WEATHER);
    }
}
