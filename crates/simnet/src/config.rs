//! What a link is like.

use std::time::Duration;

/// How much may wait for the line, the packet being sent included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// At most this many packets.
    Packets(usize),
    /// At most this many bytes.
    Bytes(u64),
}

/// Losses that come together: a two-state chain (Gilbert 1960) stepped once per packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossBursts {
    /// Probability per packet that a burst begins with it.
    pub begin: f64,
    /// Probability per packet of a burst that it is the last one; the mean length is its inverse.
    pub end: f64,
}

/// Configuration of a [`Link`](crate::Link).
///
/// The default is a perfect wire: no rate limit, no delay, nothing lost, an MTU of 65,535 bytes
/// and a queue of 1,000 packets (which never fills without a rate).
#[derive(Debug, Clone)]
pub struct LinkConfig {
    pub(crate) rate: Option<u64>,
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) reordering: bool,
    pub(crate) queue: Queue,
    pub(crate) loss: f64,
    pub(crate) bursts: Option<LossBursts>,
    pub(crate) duplication: f64,
    pub(crate) mtu: usize,
    pub(crate) overhead: usize,
    pub(crate) mark: Option<Queue>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            rate: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reordering: false,
            queue: Queue::Packets(1_000),
            loss: 0.0,
            bursts: None,
            duplication: 0.0,
            mtu: 65_535,
            overhead: 0,
            mark: None,
        }
    }
}

impl LinkConfig {
    /// Line rate in bits per second; 0 lifts the limit. Default: none.
    pub fn with_rate(mut self, bits_per_second: u64) -> Self {
        self.rate = (bits_per_second > 0).then_some(bits_per_second);
        self
    }

    /// One-way delay after the packet left the line. Default: zero.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Up to this much further delay per packet, evenly spread; the order is kept, so a late
    /// packet also holds back those behind it. Default: zero.
    pub fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self.reordering = false;
        self
    }

    /// Like [`with_jitter`](Self::with_jitter), but packets overtake each other.
    pub fn with_reordering_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self.reordering = true;
        self
    }

    /// Bound of the queue; what comes beyond it is dropped (tail drop). Default: 1,000 packets.
    pub fn with_queue(mut self, queue: Queue) -> Self {
        self.queue = queue;
        self
    }

    /// Probability that a packet is lost, each by itself, after it used the line. Default: 0.
    pub fn with_loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }

    /// Losses in bursts, beside the single ones. Default: none.
    pub fn with_loss_bursts(mut self, bursts: LossBursts) -> Self {
        self.bursts = Some(bursts);
        self
    }

    /// Probability that a packet arrives twice. Default: 0.
    pub fn with_duplication(mut self, probability: f64) -> Self {
        self.duplication = probability;
        self
    }

    /// Largest packet that passes, in bytes without the overhead. Default: 65,535.
    pub fn with_mtu(mut self, bytes: usize) -> Self {
        self.mtu = bytes;
        self
    }

    /// Bytes that every packet takes on the line and in the queue beyond its own size, such as
    /// 28 for IPv4 and UDP. Default: 0.
    pub fn with_overhead(mut self, bytes: usize) -> Self {
        self.overhead = bytes;
        self
    }

    /// Packets that can carry it are marked (ECN CE) instead of only queued when at least this
    /// much waits before them. Default: never.
    pub fn with_mark_threshold(mut self, threshold: Queue) -> Self {
        self.mark = Some(threshold);
        self
    }
}
