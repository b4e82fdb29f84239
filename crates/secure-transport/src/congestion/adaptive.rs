//! The controller: the measured model, and what the connection tells of it. What it does when is in
//! [`phase`].

mod phase;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use self::phase::Phase;
use super::constants::*;
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
