//! An emulated long link: a TAP device in each of two hosts and a thread per direction that
//! carries frames between them, late, slowly or not at all.
//!
//! The kernel of many test machines has no `netem`; this needs `/dev/net/tun` alone. The rules of
//! a direction are [`lane::Lane`], a machine without a clock; this file gives it one. Frames are
//! what the wire would carry: no offload reaches a TAP device, so loss and queues count real
//! packets.
//!
//! Ceiling on two shared cores: about 65,000 frames a second, 1.6 Gbit/s of TCP at MTU 1500.

mod lane;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::lane::Lane;
use super::{Host, INTERFACE, LabError, kernel};

/// Longest a direction sleeps before it looks whether the link was dropped.
const IDLE: Duration = Duration::from_millis(20);

/// Frames taken in one go before due ones are sent, so that a flood cannot starve delivery.
const BATCH: usize = 64;

/// Largest frame, bytes: any MTU a TAP device takes.
const MAX_FRAME: usize = 65_600;

/// Frames the TAP device itself holds; more than any emulated queue, so that only ours drops.
const TAP_QUEUE: u32 = 10_000;

/// What each direction of a link does to frames. The default is a perfect link.
#[derive(Debug, Clone, Copy)]
pub struct LinkSpec {
    /// Propagation delay, one way. Default 0.
    pub delay: Duration,
    /// Up to this much more delay, uniform; order is kept. Default 0.
    pub jitter: Duration,
    /// Frames lost at random, parts per million. Default 0.
    pub loss_ppm: u32,
    /// Bits a second, counting Ethernet frames. Default `None`, no limit.
    pub rate: Option<u64>,
    /// Frames that wait for the rate before the tail is dropped. Default 1,000.
    pub queue: usize,
    /// Seed of the loss and jitter, for repeatable runs. Default 1.
    pub seed: u64,
}

impl Default for LinkSpec {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss_ppm: 0,
            rate: None,
            queue: 1000,
            seed: 1,
        }
    }
}

/// Frames that one direction saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Handed on.
    pub delivered: u64,
    /// Lost at random.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
}

#[derive(Debug, Default)]
struct SharedCounters {
    delivered: AtomicU64,
    lost: AtomicU64,
    overflowed: AtomicU64,
}

impl SharedCounters {
    fn store(&self, counters: LinkCounters) {
        self.delivered.store(counters.delivered, Ordering::Relaxed);
        self.lost.store(counters.lost, Ordering::Relaxed);
        self.overflowed
            .store(counters.overflowed, Ordering::Relaxed);
    }

    fn load(&self) -> LinkCounters {
        LinkCounters {
            delivered: self.delivered.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            overflowed: self.overflowed.load(Ordering::Relaxed),
        }
    }
}

/// A link between two hosts; dropping it takes both interfaces away.
#[derive(Debug)]
pub struct Link {
    stop: Arc<AtomicBool>,
    counters: [Arc<SharedCounters>; 2],
    carriers: Vec<JoinHandle<()>>,
}

impl Link {
    pub(super) fn new(a: &Host, b: &Host, spec: LinkSpec) -> Result<Self, LabError> {
        let tap_a = Arc::new(open(a)?);
        let tap_b = Arc::new(open(b)?);
        let stop = Arc::new(AtomicBool::new(false));
        let counters: [Arc<SharedCounters>; 2] = Default::default();
        let mut link = Self {
            stop,
            counters,
            carriers: Vec::new(),
        };
        for (direction, from, to) in [(0, &tap_a, &tap_b), (1, &tap_b, &tap_a)] {
            let seed = spec.seed.wrapping_mul(2).wrapping_add(direction);
            let carrier = Carrier {
                from: Arc::clone(from),
                to: Arc::clone(to),
                lane: Lane::new(LinkSpec { seed, ..spec }),
                started: Instant::now(),
                stop: Arc::clone(&link.stop),
                counters: Arc::clone(&link.counters[direction as usize]),
            };
            let name = format!("link{direction}");
            link.carriers.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(|| carrier.run())?,
            );
        }
        Ok(link)
    }

    /// Frames from the first host to the second.
    pub fn forward(&self) -> LinkCounters {
        self.counters[0].load()
    }

    /// Frames from the second host to the first.
    pub fn backward(&self) -> LinkCounters {
        self.counters[1].load()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}

fn open(host: &Host) -> Result<File, LabError> {
    let tap = host
        .run(|| kernel::open_tap(INTERFACE))?
        .map_err(LabError::Tap)?;
    host.ip(&format!("link set {INTERFACE} txqueuelen {TAP_QUEUE}"))?;
    Ok(tap)
}

/// One direction: reads a TAP, asks the lane, writes the other TAP.
struct Carrier {
    from: Arc<File>,
    to: Arc<File>,
    lane: Lane,
    started: Instant,
    stop: Arc<AtomicBool>,
    counters: Arc<SharedCounters>,
}

impl Carrier {
    fn run(mut self) {
        let mut buffer = vec![0; MAX_FRAME];
        while !self.stop.load(Ordering::Relaxed) {
            self.take_in(&mut buffer);
            while let Some(frame) = self.lane.poll_transmit(self.started.elapsed()) {
                // A host whose interface is down loses what arrives, as on a real wire.
                let _ = (&*self.to).write(&frame);
                self.lane.recycle(frame);
            }
            self.counters.store(self.lane.counters());
            self.sleep();
        }
    }

    fn take_in(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            match (&*self.from).read(buffer) {
                Ok(len) => self
                    .lane
                    .handle_frame(self.started.elapsed(), &buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    fn sleep(&self) {
        let now = self.started.elapsed();
        let due = self
            .lane
            .poll_timeout()
            .map_or(IDLE, |due| due.saturating_sub(now).min(IDLE));
        let mut fds = [PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(due.subsec_nanos()),
        };
        if poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
            && fds[0].revents().intersects(PollFlags::ERR)
        {
            // The interface is down: the descriptor reports an error at once, for as long as that.
            std::thread::sleep(due.max(Duration::from_millis(1)));
        }
    }
}
