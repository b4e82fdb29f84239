//! One direction of a path: queue, line, travel.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::{LinkConfig, Queue, Rng};

/// What became of a packet when it was handed to the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It will arrive, once or twice.
    Carried,
    /// The queue was full.
    DroppedByQueue,
    /// It was lost on the way, after it used the line.
    Lost,
    /// It was larger than the MTU.
    TooLarge,
}

/// A packet that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<T> {
    /// When it arrived.
    pub at: Instant,
    /// Whether the link marked it as having met congestion (ECN CE).
    pub marked: bool,
    /// What was sent.
    pub item: T,
}

/// Counters of a link since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets handed to the link.
    pub offered: u64,
    /// Packets that used the line.
    pub carried: u64,
    /// Bytes that used the line, with the overhead.
    pub carried_bytes: u64,
    /// Packets dropped because the queue was full.
    pub dropped_by_queue: u64,
    /// Packets lost on the way.
    pub lost: u64,
    /// Packets above the MTU.
    pub too_large: u64,
    /// Packets that arrived twice.
    pub duplicated: u64,
    /// Packets marked.
    pub marked: u64,
    /// Sum over the carried packets of the time each waited for the line.
    pub waited: Duration,
    /// The longest wait for the line.
    pub longest_wait: Duration,
}

impl LinkStats {
    /// Mean wait for the line between an `earlier` reading and this one.
    pub fn mean_wait_since(&self, earlier: &Self) -> Duration {
        let packets = self.carried.saturating_sub(earlier.carried).max(1);
        let waited = self.waited.saturating_sub(earlier.waited);
        Duration::from_nanos((waited.as_nanos() / u128::from(packets)) as u64)
    }
}

/// One direction of a path that carries items of type `T`.
#[derive(Debug)]
pub struct Link<T> {
    config: LinkConfig,
    rng: Rng,
    /// Packets that have not left the line yet: when they will, and their size.
    waiting: VecDeque<(Instant, u64)>,
    waiting_bytes: u64,
    free_at: Option<Instant>,
    in_burst: bool,
    last_arrival: Option<Instant>,
    sequence: u64,
    travelling: BinaryHeap<Reverse<Travelling<T>>>,
    stats: LinkStats,
}

impl<T: Clone> Link<T> {
    /// A link like `config`, with all its chances drawn from `seed`.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            free_at: None,
            in_burst: false,
            last_arrival: None,
            sequence: 0,
            travelling: BinaryHeap::new(),
            stats: LinkStats::default(),
        }
    }

    /// Hands over a packet of `size` bytes; `markable` says that it can carry an ECN mark.
    pub fn send(&mut self, now: Instant, size: usize, markable: bool, item: T) -> Fate {
        self.stats.offered += 1;
        self.retire(now);
        if size > self.config.mtu {
            self.stats.too_large += 1;
            return Fate::TooLarge;
        }
        let size = (size + self.config.overhead) as u64;
        if self.exceeds(self.config.queue, size) {
            self.stats.dropped_by_queue += 1;
            return Fate::DroppedByQueue;
        }
        let marked = markable
            && self
                .config
                .mark
                .is_some_and(|mark| self.exceeds(mark, size));
        self.stats.marked += u64::from(marked);

        let left_line = self.occupy_line(now, size);
        if self.draw_loss() {
            self.stats.lost += 1;
            return Fate::Lost;
        }
        if self.rng.chance(self.config.duplication) {
            self.stats.duplicated += 1;
            self.depart(left_line, marked, item.clone());
        }
        self.depart(left_line, marked, item);
        Fate::Carried
    }

    /// The next packet that has arrived by `now`, in order of arrival.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<Delivery<T>> {
        if self.next_delivery()? > now {
            return None;
        }
        let Reverse(packet) = self.travelling.pop()?;
        Some(Delivery {
            at: packet.at,
            marked: packet.marked,
            item: packet.item,
        })
    }

    /// When the next packet arrives; `None` while nothing travels.
    pub fn next_delivery(&self) -> Option<Instant> {
        self.travelling.peek().map(|Reverse(packet)| packet.at)
    }

    /// Counters since the link was made.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Changes what the link is like for packets sent from now on; what is under way stays.
    pub fn reconfigure(&mut self, config: LinkConfig) {
        self.config = config;
    }

    fn retire(&mut self, now: Instant) {
        while let Some(&(left, size)) = self.waiting.front() {
            if left > now {
                break;
            }
            self.waiting.pop_front();
            self.waiting_bytes -= size;
        }
    }

    fn exceeds(&self, limit: Queue, size: u64) -> bool {
        match limit {
            Queue::Packets(packets) => self.waiting.len() >= packets,
            Queue::Bytes(bytes) => self.waiting_bytes + size > bytes,
        }
    }

    /// Puts a packet behind those that wait; returns when its last bit leaves.
    fn occupy_line(&mut self, now: Instant, size: u64) -> Instant {
        let begins = self.free_at.map_or(now, |free| free.max(now));
        let takes = self.config.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_nanos((u128::from(size) * 8_000_000_000 / u128::from(rate)) as u64)
        });
        let leaves = begins + takes;
        if leaves > now {
            self.waiting.push_back((leaves, size));
            self.waiting_bytes += size;
        }
        self.free_at = Some(leaves);
        self.stats.carried += 1;
        self.stats.carried_bytes += size;
        self.stats.waited += begins - now;
        self.stats.longest_wait = self.stats.longest_wait.max(begins - now);
        leaves
    }

    fn draw_loss(&mut self) -> bool {
        let burst = self.config.bursts.is_some_and(|bursts| {
            let inside = self.in_burst || self.rng.chance(bursts.begin);
            self.in_burst = inside && !self.rng.chance(bursts.end);
            inside
        });
        // Drawn in any case, so that the burst setting does not shift the single losses.
        let single = self.rng.chance(self.config.loss);
        burst || single
    }

    fn depart(&mut self, left_line: Instant, marked: bool, item: T) {
        let mut at = left_line + self.config.delay;
        if !self.config.jitter.is_zero() {
            at += self.config.jitter.mul_f64(self.rng.unit());
        }
        if !self.config.reordering {
            at = self.last_arrival.map_or(at, |last| last.max(at));
            self.last_arrival = Some(at);
        }
        self.sequence += 1;
        let sequence = self.sequence;
        self.travelling.push(Reverse(Travelling {
            at,
            sequence,
            marked,
            item,
        }));
    }
}

/// A packet between the line and its arrival, ordered by arrival, then by departure.
#[derive(Debug)]
struct Travelling<T> {
    at: Instant,
    sequence: u64,
    marked: bool,
    item: T,
}

impl<T> PartialEq for Travelling<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Travelling<T> {}

impl<T> PartialOrd for Travelling<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Travelling<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
