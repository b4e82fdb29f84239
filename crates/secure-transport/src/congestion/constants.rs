//! Every number of the model, with its source.

use std::time::Duration;

/// Least measuring interval: on a LAN several hundred packets, beyond a scheduler's time slice.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(5);

/// How long a least round trip is believed (BBR draft, MinRTTFilterLen).
pub(super) const BASE_RTT_WINDOW: Duration = Duration::from_secs(10);

/// Loss beyond the weather's that means congestion by itself (BBR draft, LossThresh: 2 %).
pub(super) const LOSS_TOLERANCE: f64 = 0.02;

/// Random loss is believed up to here; above it the path is treated as full.
pub(super) const MAX_WEATHER: f64 = 0.10;

/// Packets, delivered and lost, before a loss rate means something.
pub(super) const LOSS_SAMPLE_PACKETS: u64 = 256;

/// Time of the line's rate added to the bandwidth-delay product: it absorbs bunched
/// acknowledgements and scheduling. Of 40 ms it is 2.5 %; on a LAN it is most of the window.
pub(super) const ALLOWANCE: Duration = Duration::from_millis(1);

/// A standing queue of this part of the base round trip ends probing...
pub(super) const QUEUE_TARGET_DIVISOR: u32 = 4;
/// ...but never less than this, which bursts and schedulers make by themselves (RFC 9406,
/// MIN_RTT_THRESH).
pub(super) const MIN_QUEUE_TARGET: Duration = Duration::from_millis(4);

/// A probe ends at once at a queue of its own of this part of the base round trip, or of
/// [`MIN_QUEUE_TARGET`]: at 50 ms the queue of a probe peaks below 10 ms then, which is what typing
/// beside a bulk transfer may wait; a quarter, seen at the end of a round, made it 47.
pub(super) const PROBE_QUEUE_DIVISOR: u32 = 16;

/// Slow start ends at a queue of an eighth of the round trip, within 4 to 16 ms (RFC 9406 §4.3).
pub(super) const STARTUP_QUEUE_DIVISOR: u32 = 8;
/// Upper bound of the queue that ends slow start (RFC 9406 §4.3, MAX_RTT_THRESH).
pub(super) const MAX_STARTUP_QUEUE: Duration = Duration::from_millis(16);

/// Loss while the queue is longer than this part of the base round trip is taken as overflow...
pub(super) const LOSS_QUEUE_DIVISOR: u32 = 16;
/// ...but not below twice the allowance, which is there without any overflow.
pub(super) const MIN_LOSS_QUEUE: Duration = Duration::from_millis(2);

/// Part of the measured bandwidth-delay product in flight while draining (BBR draft: 0.9).
pub(super) const DRAIN_GAIN: f64 = 0.9;
/// Intervals after which a drain must have emptied our own part of the queue.
pub(super) const DRAIN_INTERVALS: u32 = 3;
/// The least part of the old window kept by one reaction (NewReno's factor).
pub(super) const MIN_KEPT: f64 = 0.5;
/// Part of the window kept after an ECN mark (RFC 8511).
pub(super) const ECN_KEPT: f64 = 0.85;

/// Least intervals between probes, so that a flow of Reno of the same share can grow back (BBR
/// draft §5.3.3: 62 round trips)...
pub(super) const MIN_CRUISE_INTERVALS: u32 = 60;
/// ...to which up to this many are added at random, or two flows would always probe together.
pub(super) const CRUISE_INTERVALS_SPREAD: u32 = 25;
/// The return from a drain makes a short queue of its own for so many of them.
pub(super) const SETTLING_INTERVALS: u32 = 3;
/// Least time between probes on long paths (BBR draft: 2 to 3 s; with 2.4 s CUBIC kept more in
/// shallow queues)...
pub(super) const MIN_CRUISE: Duration = Duration::from_millis(2_400);
/// ...to which up to this much is added.
pub(super) const CRUISE_SPREAD: Duration = Duration::from_secs(1);
/// Rounds between probes after an ECN mark, which costs no retransmission.
pub(super) const ECN_CRUISE_INTERVALS: u32 = 8;

/// Growth per round while probing doubles up to this part of the window. Below it all flows grow
/// alike, which is what lets a small one catch up.
pub(super) const PROBE_STEP_DIVISOR: u64 = 2;

/// CUBIC's multiplicative decrease (RFC 9438 §4.6).
pub(super) const CUBIC_BETA: f64 = 0.7;
/// CUBIC's scaling constant, packets per second cubed (RFC 9438 §5.1).
pub(super) const CUBIC_C: f64 = 0.4;
/// How often a flow that shares a full queue looks whether it is alone again.
pub(super) const SHARE_CHECK: Duration = Duration::from_secs(5);

/// Least window in packets: quinn sends only while the window exceeds what is in flight by more
/// than a packet, and two must be on the way to be acknowledged at once (BBR draft: 4).
pub(super) const MIN_WINDOW_PACKETS: u64 = 4;
/// After this time without sending the model is old and the window starts over from a half.
pub(super) const IDLE_RESTART: Duration = Duration::from_secs(10);

/// The queue "now" is the least of this part of a round trip...
pub(super) const RECENT_DIVISOR: u32 = 4;
/// ...but no longer is needed than to outlast a burst of quinn's pacer (2 ms, refilled in 1.6 ms).
pub(super) const MAX_RECENT: Duration = Duration::from_millis(4);

/// Part of a window that lost too much which later windows keep to (BBRv3's headroom).
pub(super) const CEILING_KEPT: f64 = 0.85;
/// Weather above which single losses mean nothing among other flows either: loss-based flows
/// that fill a queue lose far less (CUBIC at 100 Mbit/s and 40 ms about 1 in 10,000).
pub(super) const SHARED_LOSS: f64 = 0.002;

/// If a drain shortens the round trip by less than this part of what it took out of the queue,
/// the path itself became longer.
pub(super) const LONGER_PATH_DIVISOR: u32 = 16;
