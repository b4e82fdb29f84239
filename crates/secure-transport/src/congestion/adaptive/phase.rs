//! The phases of the controller: what each does with a measurement, and what follows it.

use std::time::{Duration, Instant};

use super::super::constants::*;
use super::super::curve::Curve;
use super::super::filter::{RecentMin, WindowedMin};
use super::super::interval::{BestRate, Interval, Sample};
use super::super::loss::LossRate;
use super::Adaptive;

#[derive(Debug, Clone)]
pub(super) enum Phase {
    Startup,
    Drain(Drain),
    Cruise {
        /// Window to return to, spread over a round.
        target: u64,
        intervals: u32,
        until: Instant,
    },
    Probe {
        /// Packets to grow by in this round.
        step: u64,
    },
    Share {
        curve: Curve,
        check_at: Instant,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Drain {
    intervals: u32,
    /// Least round trip of the interval before.
    rtt_before: Duration,
    /// Window to return to if the queue turns out to be kept by others.
    before: u64,
    after: After,
}

/// What a drain that emptied the queue leads to.
#[derive(Debug, Clone, Copy)]
pub(super) enum After {
    /// The end of startup is a first guess: back to it if losses alone ended it and go on just
    /// the same, else probing at once.
    Startup {
        /// The loss rate that ended it; zero if a queue did.
        loss: f64,
    },
    Cruise,
}

impl Adaptive {
    pub(super) fn on_interval(&mut self, now: Instant, sample: Sample) {
        if let Phase::Drain(drain) = &self.phase {
            self.on_drain_interval(now, sample, drain.clone());
            return;
        }
        self.rate.push(&sample);
        self.last_rtt = sample.least_rtt;
        let loss = self.loss.push(&sample, self.mtu);
        let standing = self.queue_in(&sample) >= self.queue_target();
        if loss.is_some_and(|loss| loss > self.weather.bound()) {
            if self.loss.last() > MAX_WEATHER {
                self.ceiling = Some((self.window as f64 * CEILING_KEPT) as u64);
            }
            self.on_path_full(now);
            return;
        }
        match &mut self.phase {
            Phase::Cruise { .. } | Phase::Probe { .. } if standing => {
                // Our share of a full path is what we got last, not the best we ever got.
                self.rate.settle_on(&sample);
                self.on_path_full(now);
            }
            Phase::Cruise {
                intervals, until, ..
            } => {
                self.settling = self.settling.saturating_sub(1);
                *intervals = intervals.saturating_sub(1);
                if *intervals == 0 || now >= *until {
                    self.move_to_probe();
                }
            }
            Phase::Probe { step } => {
                *step = if sample.app_limited {
                    1
                } else {
                    step.saturating_mul(2)
                };
            }
            Phase::Share { check_at, .. } if now >= *check_at => {
                self.move_to_drain(now, After::Cruise);
            }
            Phase::Share { .. } if !standing => self.move_to_probe(),
            Phase::Startup | Phase::Drain(_) | Phase::Share { .. } => {}
        }
    }

    fn on_drain_interval(&mut self, now: Instant, sample: Sample, mut drain: Drain) {
        drain.intervals += 1;
        if drain.intervals == 1 {
            // What was sent before the drain still shows here, its losses and its rate.
            if matches!(drain.after, After::Startup { .. }) && sample.rate > self.rate.best() {
                self.rate.push(&sample);
            }
            self.phase = Phase::Drain(drain);
            return;
        }
        let standing = self.queue_in(&sample) >= self.queue_target() / 2;
        let overflowing = sample.loss_rate() > MAX_WEATHER;
        if (standing || overflowing) && drain.intervals < DRAIN_INTERVALS {
            self.phase = Phase::Drain(drain);
            return;
        }
        // At nine tenths of what the path delivers, what is lost is the weather's.
        let loss = sample.loss_rate();
        self.weather.push(loss);
        if standing && self.path_grew_longer(&drain, &sample) {
            self.base_rtt = WindowedMin::new(BASE_RTT_WINDOW);
            self.base_rtt.push(now, sample.least_rtt);
            self.window = drain.before;
            self.move_to_cruise(now);
        } else if standing {
            self.move_to_share(now, drain.before);
        } else if overflowing && self.window > self.min_window() {
            // No weather is that bad: the queue is shorter than any estimate of it.
            self.window = (self.window / 2).max(self.min_window());
            self.ceiling = Some(self.window);
            self.phase = Phase::Drain(Drain {
                intervals: 0,
                ..drain
            });
        } else {
            let noise = self.queue_in(&sample);
            self.noise = noise.max((self.noise + noise) / 2);
            self.loss = LossRate::default();
            match drain.after {
                After::Startup { loss: before } if before > 0.0 && loss > before / 2.0 => {
                    self.phase = Phase::Startup;
                }
                After::Startup { .. } => {
                    self.move_to_cruise(now);
                    self.move_to_probe();
                }
                After::Cruise => self.move_to_cruise(now),
            }
        }
    }

    /// A queue would have shrunk by what the drain took out of it. If it did not by even a
    /// sixteenth of that, there is none: the route is longer than it was.
    fn path_grew_longer(&self, drain: &Drain, sample: &Sample) -> bool {
        let taken = drain.before.saturating_sub(self.window) as f64;
        let expected = Duration::from_secs_f64(taken / self.rate.best().max(1.0));
        drain.rtt_before.saturating_sub(sample.least_rtt) < expected / LONGER_PATH_DIVISOR
    }

    /// The path holds no more: fall back to what it delivered.
    pub(super) fn on_path_full(&mut self, now: Instant) {
        self.reacted_at = Some(now);
        match &mut self.phase {
            Phase::Share { curve, .. } => {
                *curve = Curve::after_loss(now, self.window, self.mtu);
                self.window = (self.window as f64 * CUBIC_BETA) as u64;
            }
            Phase::Drain(drain) => drain.before = (drain.before as f64 * CUBIC_BETA) as u64,
            Phase::Startup => {
                let by_queue = self.loss_is_overflow();
                let loss = if by_queue { 0.0 } else { self.loss.last() };
                self.move_to_drain(now, After::Startup { loss });
            }
            Phase::Cruise { .. } | Phase::Probe { .. } => self.move_to_drain(now, After::Cruise),
        }
        self.window = self.window.max(self.min_window());
    }

    pub(super) fn on_ecn_mark(&mut self, now: Instant) {
        self.reacted_at = Some(now);
        if let Phase::Share { .. } | Phase::Drain(_) = self.phase {
            self.on_path_full(now);
            return;
        }
        let kept = (self.window as f64 * ECN_KEPT) as u64;
        self.window = self
            .fallback(self.base() + self.noise + ALLOWANCE)
            .min(kept)
            .max(self.min_window());
        let until = now + MIN_CRUISE;
        self.phase = Phase::Cruise {
            target: self.window,
            intervals: ECN_CRUISE_INTERVALS,
            until,
        };
    }

    /// What was delivered in `span`, but at least half of the window and no more than all of it.
    fn fallback(&self, span: Duration) -> u64 {
        let least = (self.window as f64 * MIN_KEPT) as u64;
        self.delivered_in(span).clamp(least, self.window)
    }

    fn move_to_drain(&mut self, now: Instant, after: After) {
        let before = self.window;
        self.window = self
            .fallback((self.base() + self.noise).mul_f64(DRAIN_GAIN))
            .max(self.min_window());
        self.phase = Phase::Drain(Drain {
            intervals: 0,
            rtt_before: self.last_rtt,
            before,
            after,
        });
        self.interval = Interval::new(now);
    }

    fn move_to_cruise(&mut self, now: Instant) {
        let full = self.delivered_in(self.base() + self.noise + ALLOWANCE);
        let full = full.min(self.ceiling.unwrap_or(u64::MAX));
        let target = self.window.max(full).max(self.min_window());
        // A throw of the dice (SplitMix64's step) keeps flows from probing in step.
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ self.window;
        let thrown = self.dice.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
        let part = thrown as f64 / (1u64 << 24) as f64;
        let until = now + MIN_CRUISE + CRUISE_SPREAD.mul_f64(part);
        let intervals = MIN_CRUISE_INTERVALS + (f64::from(CRUISE_INTERVALS_SPREAD) * part) as u32;
        self.settling = SETTLING_INTERVALS;
        self.usual_queue = Duration::ZERO;
        self.phase = Phase::Cruise {
            target,
            intervals,
            until,
        };
    }

    fn move_to_probe(&mut self) {
        self.ceiling = None;
        self.usual_queue = self.usual_queue.max(self.recent_queue());
        self.phase = Phase::Probe { step: 1 };
    }

    /// Persistent congestion (RFC 9002 §7.6.2): nothing measured so far holds.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.window = self.min_window();
        self.phase = Phase::Startup;
        self.rate = BestRate::default();
        self.recent_rtt = RecentMin::default();
        self.interval = Interval::new(now);
        self.loss = LossRate::default();
        self.ceiling = None;
        self.reacted_at = Some(now);
    }

    /// The model is old: start from half and grow back to it, then probe.
    pub(super) fn on_idle(&mut self, now: Instant) {
        let target = self.window;
        self.window = (target / 2).max(self.initial_window).min(target);
        self.recent_rtt = RecentMin::default();
        self.interval = Interval::new(now);
        if !matches!(self.phase, Phase::Startup) {
            let until = now + MIN_CRUISE;
            self.phase = Phase::Cruise {
                target,
                intervals: SETTLING_INTERVALS,
                until,
            };
        }
    }

    fn move_to_share(&mut self, now: Instant, window: u64) {
        self.window = window.max(self.min_window());
        let curve = Curve::at_peak(now, self.window);
        self.phase = Phase::Share {
            curve,
            check_at: now + SHARE_CHECK,
        };
    }

    pub(super) fn grow(&mut self, now: Instant, bytes: u64, rtt: Duration) {
        match &self.phase {
            Phase::Startup => self.window += bytes,
            Phase::Drain(_) => {}
            Phase::Cruise { target, .. } => {
                // Evenly, or the return alone would make a queue for a moment.
                let missing = target.saturating_sub(self.window);
                self.window += share_of(missing.saturating_mul(2), bytes, self.window).min(missing);
            }
            Phase::Probe { step } => {
                let most = self.window / PROBE_STEP_DIVISOR;
                let step = step.saturating_mul(self.mtu).min(most).max(self.mtu);
                self.window += share_of(step, bytes, self.window);
            }
            Phase::Share { curve, .. } => {
                let target = curve.target(now, rtt, self.mtu).min(self.window * 3 / 2);
                let missing = target.saturating_sub(self.window);
                self.window += share_of(missing, bytes, self.window);
            }
        }
    }
}

/// The part of `growth`, meant for a whole window, that `acked` bytes earn.
fn share_of(growth: u64, acked: u64, window: u64) -> u64 {
    (u128::from(growth) * u128::from(acked) / u128::from(window.max(1))) as u64
}
