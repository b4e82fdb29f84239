//! The controller: phases over the measured model.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::constants::*;
use super::curve::Curve;
use super::filter::{RecentMin, WindowedMin};
use super::interval::{BestRate, Interval, Sample};
use super::loss::{LossRate, Weather};

/// Makes [`Adaptive`] controllers; give it to
/// `quinn_proto::TransportConfig::congestion_controller_factory`.
#[derive(Debug, Clone)]
pub struct AdaptiveConfig {
    initial_window: u64,
}

impl Default for AdaptiveConfig {
    /// An initial window of 14,720 bytes (RFC 9002 §7.2).
    fn default() -> Self {
        Self {
            initial_window: 14_720,
        }
    }
}

impl AdaptiveConfig {
    /// Bytes that may be in flight before the first acknowledgement. Default: 14,720 (RFC 9002
    /// §7.2). Less than four packets is raised to four.
    pub fn initial_window(&mut self, bytes: u64) -> &mut Self {
        self.initial_window = bytes;
        self
    }
}

impl ControllerFactory for AdaptiveConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Adaptive::new(&self, now, current_mtu))
    }
}

#[derive(Debug, Clone)]
enum Phase {
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
struct Drain {
    intervals: u32,
    /// Least round trip of the interval before.
    rtt_before: Duration,
    /// Window to return to if the queue turns out to be kept by others.
    before: u64,
    after: After,
}

/// What a drain that emptied the queue leads to.
#[derive(Debug, Clone, Copy)]
enum After {
    /// The end of startup is a first guess: back to it if losses alone ended it and go on just
    /// the same, else probing at once.
    Startup {
        /// The loss rate that ended it; zero if a queue did.
        loss: f64,
    },
    Cruise,
}

/// A congestion controller; see the [module](super) for the model.
#[derive(Debug, Clone)]
pub struct Adaptive {
    mtu: u64,
    initial_window: u64,
    window: u64,
    phase: Phase,
    interval: Interval,
    rate: BestRate,
    base_rtt: WindowedMin<Duration>,
    recent_rtt: RecentMin,
    /// Least round trip of the last interval.
    last_rtt: Duration,
    /// What a drained path still adds to the base round trip: jitter, and the queues of others.
    noise: Duration,
    /// The longest queue of this cruise, which nobody asked for: bunched acknowledgements, jitter.
    usual_queue: Duration,
    loss: LossRate,
    weather: Weather,
    /// Set by losses beyond the weather: the queue is shorter than our allowance. Lifted by a
    /// probe.
    ceiling: Option<u64>,
    /// Intervals of the return from a drain that are left.
    settling: u32,
    /// Losses of packets sent up to here belong to the last reaction.
    reacted_at: Option<Instant>,
    batch: Batch,
    last_sent: Instant,
    in_flight: u64,
    dice: u64,
    /// What was sent before does not tell about this path.
    born: Instant,
    carried: Carried,
}

/// Room for what is still in flight on the path before, so that it does not keep the new one from
/// being used. Shared by all clones of a controller.
#[derive(Debug, Clone, Default)]
struct Carried(Arc<AtomicU64>);

/// The acknowledgements of one ACK frame.
#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    bytes: u64,
    newest: Option<(Instant, Duration)>,
}

impl Adaptive {
    fn new(config: &AdaptiveConfig, now: Instant, mtu: u16) -> Self {
        let mtu = u64::from(mtu);
        let initial_window = config.initial_window.max(MIN_WINDOW_PACKETS * mtu);
        Self {
            mtu,
            initial_window,
            window: initial_window,
            phase: Phase::Startup,
            interval: Interval::new(now),
            rate: BestRate::default(),
            base_rtt: WindowedMin::new(BASE_RTT_WINDOW),
            recent_rtt: RecentMin::default(),
            last_rtt: Duration::ZERO,
            noise: Duration::ZERO,
            usual_queue: Duration::ZERO,
            loss: LossRate::default(),
            weather: Weather::default(),
            ceiling: None,
            settling: 0,
            reacted_at: None,
            batch: Batch::default(),
            last_sent: now,
            in_flight: 0,
            dice: 0,
            born: now,
            carried: Carried::default(),
        }
    }

    /// Allows `bytes` more to be in flight until it is known what became of the packets that
    /// another path has swallowed.
    pub(crate) fn carry(&self, bytes: u64) {
        self.carried.0.store(bytes, Ordering::Relaxed);
    }

    fn min_window(&self) -> u64 {
        MIN_WINDOW_PACKETS * self.mtu
    }

    /// Base round trip; zero before the first acknowledgement.
    fn base(&self) -> Duration {
        self.base_rtt.min().unwrap_or_default()
    }

    fn queue_target(&self) -> Duration {
        (self.base() / QUEUE_TARGET_DIVISOR).max(MIN_QUEUE_TARGET)
    }

    /// Bytes that the measured rate delivers in `span`, random losses made up for.
    fn delivered_in(&self, span: Duration) -> u64 {
        (self.rate.best() * span.as_secs_f64() / (1.0 - self.weather.loss())) as u64
    }

    /// The queue that stood throughout an interval. Sparse packets tell nothing: their
    /// acknowledgements wait for company (RFC 9000 §13.2.1).
    fn queue_in(&self, sample: &Sample) -> Duration {
        if sample.app_limited {
            return Duration::ZERO;
        }
        sample.least_rtt.saturating_sub(self.base())
    }

    /// The queue now, without spikes.
    fn recent_queue(&self) -> Duration {
        self.recent_rtt
            .min()
            .unwrap_or_default()
            .saturating_sub(self.base())
    }

    /// Whether a loss now is due to a queue that ran over.
    fn loss_is_overflow(&self) -> bool {
        if matches!(self.phase, Phase::Cruise { .. }) && self.settling > 0 {
            return false;
        }
        if matches!(self.phase, Phase::Share { .. }) && self.weather.loss() > SHARED_LOSS {
            return false;
        }
        let bound = (self.base() / LOSS_QUEUE_DIVISOR).max(MIN_LOSS_QUEUE);
        self.recent_queue() >= bound + self.noise
    }

    fn on_interval(&mut self, now: Instant, sample: Sample) {
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
    fn on_path_full(&mut self, now: Instant) {
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

    fn on_ecn_mark(&mut self, now: Instant) {
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
    fn start_over(&mut self, now: Instant) {
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
    fn on_idle(&mut self, now: Instant) {
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

    fn grow(&mut self, now: Instant, bytes: u64, rtt: Duration) {
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

    fn on_packet_acked(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool) {
        if sent < self.born {
            return;
        }
        let rtt = now.saturating_duration_since(sent);
        self.batch.bytes += bytes;
        if self.batch.newest.is_none_or(|(newest, _)| newest <= sent) {
            self.batch.newest = Some((sent, rtt));
        }
        self.interval.on_ack(sent, rtt, bytes, app_limited);
    }

    fn on_round_trip(&mut self, now: Instant, rtt: Duration, app_limited: bool) {
        if app_limited && self.base_rtt.min().is_some_and(|least| rtt >= least) {
            return;
        }
        self.base_rtt.push(now, rtt);
        let span = (self.base() / RECENT_DIVISOR).min(MAX_RECENT);
        self.recent_rtt.push(now, rtt, span);
        if matches!(self.phase, Phase::Cruise { .. }) && self.settling == 0 {
            self.usual_queue = self.usual_queue.max(self.recent_queue());
        }
    }

    fn startup_is_over(&self) -> bool {
        let bound =
            (self.base() / STARTUP_QUEUE_DIVISOR).clamp(MIN_QUEUE_TARGET, MAX_STARTUP_QUEUE);
        matches!(self.phase, Phase::Startup) && self.recent_queue() >= bound
    }

    /// Whether a probe has made a queue of its own, after a first interval that measures the rate.
    /// What is on the way by then makes the queue longer by as much again, and what somebody types
    /// meanwhile waits for all of it.
    fn probe_is_over(&self) -> bool {
        let bound = (self.base() / PROBE_QUEUE_DIVISOR).max(MIN_QUEUE_TARGET);
        matches!(self.phase, Phase::Probe { step: 2.. })
            && self.recent_queue() >= self.usual_queue.max(self.noise) + bound
    }
}

/// The part of `growth`, meant for a whole window, that `acked` bytes earn.
fn share_of(growth: u64, acked: u64, window: u64) -> u64 {
    (u128::from(growth) * u128::from(acked) / u128::from(window.max(1))) as u64
}

impl Controller for Adaptive {
    fn on_sent(&mut self, now: Instant, bytes: u64, _last_packet_number: u64) {
        let idle = now.saturating_duration_since(self.last_sent);
        if idle >= IDLE_RESTART && self.in_flight == 0 {
            self.on_idle(now);
        }
        self.last_sent = now;
        self.in_flight += bytes;
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        self.on_packet_acked(now, sent, bytes, app_limited);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        let batch = std::mem::take(&mut self.batch);
        self.in_flight = in_flight;
        let Some((_, rtt)) = batch.newest else { return };
        if in_flight < self.window {
            self.carry(0);
        }
        self.on_round_trip(now, rtt, app_limited);
        let used = in_flight + batch.bytes;
        if !app_limited && used >= self.window / 2 {
            self.grow(now, batch.bytes, rtt);
        }
        if self.startup_is_over() || self.probe_is_over() {
            self.on_path_full(now);
        }
        if let Some(sample) = self.interval.try_finish(now) {
            self.on_interval(now, sample);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        if sent < self.born {
            self.carry(0);
            return;
        }
        self.interval.on_lost(lost_bytes);
        if is_persistent_congestion {
            self.start_over(now);
            return;
        }
        if self.reacted_at.is_some_and(|reacted| sent <= reacted) {
            return;
        }
        if lost_bytes == 0 {
            self.on_ecn_mark(now);
        } else if self.loss_is_overflow() {
            self.on_path_full(now);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
        self.window = self.window.max(self.min_window());
    }

    fn window(&self) -> u64 {
        self.window + self.carried.0.load(Ordering::Relaxed)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window;
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // an instant to count from

    use super::*;

    const MTU: u64 = 1_200;

    #[test]
    fn what_another_path_has_swallowed_keeps_no_room_on_a_new_one_and_counts_as_no_loss_of_it() {
        let before = Instant::now();
        let now = before + Duration::from_secs(1);
        let mut fresh = Adaptive::new(&AdaptiveConfig::default(), now, MTU as u16);
        let own = fresh.window();
        fresh.carry(1 << 20);
        assert_eq!(fresh.clone_box().window(), own + (1 << 20));
        fresh.on_congestion_event(now, before, true, 1 << 20);
        assert_eq!(fresh.window(), own);
        fresh.carry(1 << 20);
        let later = now + Duration::from_millis(20);
        fresh.on_sent(now, MTU, 1);
        fresh.on_packet_acked(later, now, MTU, false);
        fresh.on_end_acks(later, own, false, Some(1));
        assert!(fresh.window() >= own + (1 << 20), "still in flight");
        fresh.on_packet_acked(later, now, MTU, false);
        fresh.on_end_acks(later, 0, false, Some(2));
        assert!(fresh.window() < 1 << 20, "{}", fresh.window());
    }
    const RTT: Duration = Duration::from_millis(40);

    struct Path {
        now: Instant,
        controller: Adaptive,
    }

    impl Path {
        fn new() -> Self {
            let now = Instant::now();
            let controller = Adaptive::new(&AdaptiveConfig::default(), now, MTU as u16);
            Self { now, controller }
        }

        /// A round trip in which `packets` are acknowledged, two by an ACK, and replaced.
        fn round(&mut self, packets: u64, app_limited: bool) {
            let sent = self.now;
            self.controller.on_sent(sent, packets * MTU, 0);
            self.now += RTT;
            for _ in 0..packets / 2 {
                for _ in 0..2 {
                    self.controller
                        .on_packet_acked(self.now, sent, MTU, app_limited);
                }
                let in_flight = (packets - 2) * MTU;
                self.controller
                    .on_end_acks(self.now, in_flight, app_limited, None);
            }
        }

        fn round_of_a_window(&mut self) {
            self.round(self.controller.window / MTU, false);
        }

        fn lose(&mut self, bytes: u64, persistent: bool) {
            let now = self.now;
            self.controller
                .on_congestion_event(now, now, persistent, bytes);
        }
    }

    #[test]
    fn startup_doubles_the_window_each_round() {
        let mut path = Path::new();
        path.round_of_a_window();
        assert_eq!(path.controller.window(), 14_720 + 14_400);
    }

    #[test]
    fn unused_windows_do_not_grow() {
        let mut path = Path::new();
        for _ in 0..50 {
            path.round(4, true);
        }
        assert_eq!(path.controller.window(), 14_720);
        assert!(matches!(path.controller.phase, Phase::Startup));
    }

    #[test]
    fn a_loss_without_a_queue_changes_nothing() {
        let mut path = Path::new();
        for _ in 0..4 {
            path.round_of_a_window();
        }
        let before = path.controller.window();
        path.lose(MTU, false);
        assert_eq!(path.controller.window(), before);
    }

    #[test]
    fn a_mark_costs_a_part_of_the_window_and_ends_startup_once_a_round() {
        let mut path = Path::new();
        for _ in 0..4 {
            path.round_of_a_window();
        }
        let before = path.controller.window();
        path.lose(0, false);
        let after = path.controller.window();
        assert!(after < before && after >= before / 2, "{before} {after}");
        assert!(matches!(path.controller.phase, Phase::Cruise { .. }));
        path.lose(0, false);
        assert_eq!(path.controller.window(), after);
    }

    #[test]
    fn persistent_congestion_leaves_four_packets_and_starts_over() {
        let mut path = Path::new();
        for _ in 0..6 {
            path.round_of_a_window();
        }
        path.lose(100 * MTU, true);
        assert_eq!(path.controller.window(), 4 * MTU);
        path.round_of_a_window();
        assert_eq!(path.controller.window(), 8 * MTU);
    }

    #[test]
    fn no_sequence_of_marks_goes_below_the_least_window() {
        let mut path = Path::new();
        path.round_of_a_window();
        for _ in 0..100 {
            path.now += RTT;
            path.lose(0, false);
        }
        assert_eq!(path.controller.window(), 4 * MTU);
    }

    #[test]
    fn a_long_pause_halves_the_window() {
        let mut path = Path::new();
        for _ in 0..4 {
            path.round_of_a_window();
        }
        let before = path.controller.window();
        path.controller.on_end_acks(path.now, 0, true, None);
        path.now += IDLE_RESTART;
        path.controller.on_sent(path.now, MTU, 0);
        assert_eq!(path.controller.window(), before / 2);
    }

    #[test]
    fn a_larger_mtu_raises_the_least_window() {
        let mut path = Path::new();
        path.lose(MTU, true);
        path.controller.on_mtu_update(1_452);
        assert_eq!(path.controller.window(), 4 * 1_452);
    }

    #[test]
    fn a_tiny_initial_window_is_raised() {
        let mut config = AdaptiveConfig::default();
        config.initial_window(1);
        let controller = Adaptive::new(&config, Instant::now(), MTU as u16);
        assert_eq!(controller.initial_window(), 4 * MTU);
    }
}
