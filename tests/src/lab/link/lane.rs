//! The rules of one direction of a link, without a clock or a device.
//!
//! A frame first waits for the frames before it (rate, tail-drop queue), then may be lost, then
//! travels (delay and jitter, in order). `now` counts from any fixed start.

use std::collections::VecDeque;
use std::time::Duration;

use super::{LinkCounters, LinkSpec};

/// Buffers kept for reuse.
const SPARE: usize = 256;

#[derive(Debug)]
pub(super) struct Lane {
    spec: LinkSpec,
    random: u64,
    /// When the last frame accepted has been put on the wire.
    idle_at: Duration,
    /// When each frame that still waits starts to be put on the wire.
    waiting: VecDeque<Duration>,
    travelling: VecDeque<(Duration, Vec<u8>)>,
    last_arrival: Duration,
    counters: LinkCounters,
    spare: Vec<Vec<u8>>,
}

impl Lane {
    pub(super) fn new(spec: LinkSpec) -> Self {
        Self {
            spec,
            random: spec.seed,
            idle_at: Duration::ZERO,
            waiting: VecDeque::new(),
            travelling: VecDeque::new(),
            last_arrival: Duration::ZERO,
            counters: LinkCounters::default(),
            spare: Vec::new(),
        }
    }

    pub(super) fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// A frame enters the link.
    pub(super) fn handle_frame(&mut self, now: Duration, frame: &[u8]) {
        while self.waiting.front().is_some_and(|start| *start <= now) {
            self.waiting.pop_front();
        }
        let start = self.idle_at.max(now);
        if start > now {
            if self.waiting.len() >= self.spec.queue {
                self.counters.overflowed += 1;
                return;
            }
            self.waiting.push_back(start);
        }
        let end = start + self.transmission_time(frame.len());
        self.idle_at = end;
        if self.below(1_000_000) < u64::from(self.spec.loss_ppm) {
            self.counters.lost += 1;
            return;
        }
        let mut arrival = end + self.spec.delay;
        if !self.spec.jitter.is_zero() {
            let span = u64::try_from(self.spec.jitter.as_nanos()).unwrap_or(u64::MAX);
            arrival += Duration::from_nanos(self.below(span));
        }
        self.last_arrival = self.last_arrival.max(arrival);
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.travelling.push_back((self.last_arrival, buffer));
    }

    /// The next frame that has arrived by `now`.
    pub(super) fn poll_transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.travelling.front()?.0 > now {
            return None;
        }
        self.counters.delivered += 1;
        self.travelling.pop_front().map(|(_, frame)| frame)
    }

    /// When the next frame arrives.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.travelling.front().map(|(arrival, _)| *arrival)
    }

    /// Takes a sent frame's buffer back.
    pub(super) fn recycle(&mut self, frame: Vec<u8>) {
        if self.spare.len() < SPARE {
            self.spare.push(frame);
        }
    }

    fn transmission_time(&self, len: usize) -> Duration {
        let bits = 8 * len as u64;
        self.spec.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_nanos(bits.saturating_mul(1_000_000_000) / rate.max(1))
        })
    }

    /// A number below `bound`: splitmix64, whose period and quality are ample for a coin.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn drain(lane: &mut Lane) -> Vec<(Duration, Vec<u8>)> {
        let mut out = Vec::new();
        while let Some(due) = lane.poll_timeout() {
            out.push((due, lane.poll_transmit(due).unwrap()));
        }
        out
    }

    #[test]
    fn a_frame_arrives_after_the_delay_and_not_before() {
        let mut lane = Lane::new(LinkSpec {
            delay: 20 * MS,
            ..LinkSpec::default()
        });
        lane.handle_frame(5 * MS, b"hello");
        assert_eq!(lane.poll_timeout(), Some(25 * MS));
        assert_eq!(lane.poll_transmit(24 * MS), None);
        assert_eq!(lane.poll_transmit(25 * MS).as_deref(), Some(&b"hello"[..]));
    }

    #[test]
    fn frames_wait_for_each_other_at_the_rate() {
        // 1,000 bytes at 8 Mbit/s take a millisecond.
        let mut lane = Lane::new(LinkSpec {
            rate: Some(8_000_000),
            ..LinkSpec::default()
        });
        for _ in 0..3 {
            lane.handle_frame(Duration::ZERO, &[0; 1000]);
        }
        let arrivals: Vec<_> = drain(&mut lane).into_iter().map(|(at, _)| at).collect();
        assert_eq!(arrivals, [MS, 2 * MS, 3 * MS]);
    }

    #[test]
    fn a_full_queue_takes_no_more_and_has_room_again_once_a_frame_left() {
        let spec = LinkSpec {
            rate: Some(8_000_000),
            queue: 2,
            ..LinkSpec::default()
        };
        let mut lane = Lane::new(spec);
        for _ in 0..4 {
            lane.handle_frame(Duration::ZERO, &[0; 1000]);
        }
        assert_eq!(
            lane.counters().overflowed,
            1,
            "one on the wire, two in the queue"
        );
        lane.handle_frame(MS, &[0; 1000]);
        assert_eq!(lane.counters().overflowed, 1);
        assert_eq!(drain(&mut lane).len(), 4);
    }

    #[test]
    fn loss_is_close_to_what_is_asked_and_repeats_with_the_seed() {
        let run = |seed| {
            let spec = LinkSpec {
                loss_ppm: 20_000,
                seed,
                ..LinkSpec::default()
            };
            let mut lane = Lane::new(spec);
            for _ in 0..100_000 {
                lane.handle_frame(Duration::ZERO, b"x");
            }
            lane.counters().lost
        };
        assert!((1_800..2_200).contains(&run(1)), "{}", run(1));
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn jitter_delays_within_its_span_and_keeps_the_order() {
        let spec = LinkSpec {
            delay: 10 * MS,
            jitter: 5 * MS,
            ..LinkSpec::default()
        };
        let mut lane = Lane::new(spec);
        for n in 0..200_u8 {
            lane.handle_frame(Duration::from_micros(u64::from(n) * 10), &[n]);
        }
        let frames = drain(&mut lane);
        assert!(frames.iter().map(|(_, frame)| frame[0]).eq(0..200));
        assert!(frames.iter().all(|(at, _)| (10 * MS..18 * MS).contains(at)));
    }
}
