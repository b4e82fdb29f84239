//! Deadlines to the microsecond: the kernel's timer, since tokio's counts milliseconds.
//!
//! Pacing hands out what two milliseconds may carry and keeps no more than that; a timer that is
//! late by one millisecond therefore loses part of the rate on links that are paced.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::readiness::{More, Readable};

/// One deadline at a time.
pub(super) struct Timer {
    descriptor: Readable<OwnedFd>,
    /// What the kernel's timer is set to; it may be earlier than what is waited for.
    armed: Option<Instant>,
}

impl Timer {
    /// Must be called inside a runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            descriptor: Readable::new(descriptor)?,
            armed: None,
        })
    }

    /// Ready when `deadline` has come. The task is woken then, or a little before: an earlier
    /// setting is left as it is, since most deadlines move away before they come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        loop {
            let now = Instant::now();
            if deadline <= now {
                return Poll::Ready(());
            }
            if self.armed.is_none_or(|at| at > deadline) {
                self.arm(deadline - now);
                self.armed = Some(deadline);
            }
            let fired = self.descriptor.poll_read(cx, |descriptor| {
                let mut count = [0; 8];
                rustix::io::read(descriptor, &mut count)?;
                Ok(((), More::No))
            });
            if fired.is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
        }
    }

    fn arm(&self, span: Duration) {
        let value = Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            // Zero would disarm it.
            tv_nsec: i64::from(span.subsec_nanos()).max(1),
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        // Fails only for values out of range, which these are not.
        let _ = timerfd_settime(self.descriptor.inner(), TimerfdTimerFlags::empty(), &once);
    }
}
