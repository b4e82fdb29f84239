//! The machine that carries out a plan.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::{FURTHER_AFTER, FURTHER_SOCKETS, Need, OPEN_SOCKETS, PUNCH_INTERVAL, PUNCH_TIME, Plan};
use crate::candidate::SocketId;

/// Time for one round of prediction: [`ROUND_SOCKETS`](super::ROUND_SOCKETS) packets, twice, and
/// the way of an answer.
const ROUND_TIME: Duration = Duration::from_millis(800);

/// Times that each socket sends to the port of a round: one packet may be lost, or come before
/// the peer's.
const PASSES: u8 = 2;

/// Punching towards one peer. Ask it with [`Punch::poll_aim`] for the next socket and destination
/// of a check; tell it with [`Punch::stop`] when one was answered.
#[derive(Debug)]
pub struct Punch {
    plan: Plan,
    sockets: Vec<SocketId>,
    needs: VecDeque<Need>,
    /// Sockets that were not asked for yet: they wait for the delay too.
    wanted: u16,
    /// When more are asked for, if nothing was hit until then.
    further_at: Option<Instant>,
    next_at: Instant,
    ends_at: Instant,
    progress: Progress,
}

/// How far it is.
#[derive(Debug, Default)]
struct Progress {
    /// Ports or sockets that were used in this round and pass.
    used: u16,
    pass: u8,
    round: usize,
    round_began: Option<Instant>,
    tried: BTreeSet<u16>,
    /// The time is over; sockets are kept until the session ends, for what was hit last.
    expired: bool,
    exhausted: bool,
    over: bool,
}

impl Punch {
    /// Begins with `plan`.
    #[must_use]
    pub fn new(now: Instant, plan: Plan) -> Self {
        let (delay, sockets) = match &plan {
            Plan::Checks | Plan::RelayOnly => (Duration::ZERO, 0),
            Plan::OpenPorts { sockets, delay, .. } => (*delay, *sockets),
            Plan::AimAtPorts { delay, .. } => (*delay, 0),
            Plan::Predict { sockets, delay, .. } => (*delay, *sockets),
        };
        // Fewer are opened where the ports are known better, and then they do.
        let is_random = sockets >= OPEN_SOCKETS && matches!(plan, Plan::OpenPorts { .. });
        let mut punch = Self {
            sockets: Vec::new(),
            needs: VecDeque::new(),
            wanted: sockets,
            further_at: is_random.then_some(now + delay + FURTHER_AFTER),
            next_at: now + delay,
            ends_at: now + PUNCH_TIME,
            progress: Progress {
                over: matches!(plan, Plan::Checks | Plan::RelayOnly),
                ..Progress::default()
            },
            plan,
        };
        punch.handle_timeout(now);
        punch
    }

    /// What it does.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the socket was opened for it.
    #[must_use]
    pub fn owns(&self, socket: SocketId) -> bool {
        self.sockets.contains(&socket)
    }

    /// Sockets that the driver has opened. Fewer than asked for make success less likely, and
    /// nothing else.
    pub fn on_sockets(&mut self, sockets: &[SocketId]) {
        if self.progress.over {
            let unused = sockets.iter().copied().map(Need::Release);
            self.needs.extend(unused);
        } else {
            self.sockets.extend(sockets);
        }
    }

    /// When it is over by itself; none when it is over.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        (!self.progress.over).then_some(self.ends_at)
    }

    /// Whether the driver is asked to close the socket.
    pub(crate) fn releases(&self, socket: SocketId) -> bool {
        self.needs.contains(&Need::Release(socket))
    }

    /// What the driver is asked for.
    pub fn poll_need(&mut self) -> Option<Need> {
        self.needs.pop_front()
    }

    /// There are no entries left: nothing more is opened.
    pub(crate) fn exhaust(&mut self) {
        self.progress.exhausted = true;
    }

    /// What was due has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wanted > 0 && now >= self.next_at && !self.progress.over {
            let wanted = std::mem::take(&mut self.wanted);
            self.needs.push_back(Need::Sockets(wanted));
        }
        let is_wanted = !self.progress.over && !self.progress.exhausted;
        if self.further_at.take_if(|at| *at <= now).is_some() && is_wanted {
            self.needs.push_back(Need::Sockets(FURTHER_SOCKETS));
            // The pause before is not made up for.
            self.next_at = self.next_at.max(now);
        }
        self.progress.expired |= now >= self.ends_at;
    }

    /// The next check that is due: from which socket, to where. None when it is too early.
    pub fn poll_aim(&mut self, now: Instant, rng: &mut impl Rng) -> Option<(SocketId, SocketAddr)> {
        if self.is_over(now) || self.progress.exhausted || now < self.next_at {
            return None;
        }
        let aim = match &self.plan {
            Plan::Checks | Plan::RelayOnly => None,
            Plan::OpenPorts { target, .. } => {
                let socket = *self.sockets.get(usize::from(self.progress.used))?;
                Some((socket, *target))
            }
            Plan::AimAtPorts { address, ports, .. } => {
                let progress = &mut self.progress;
                let port = ports.port(progress.used, &mut progress.tried, rng)?;
                Some((SocketId::MAIN, SocketAddr::new(*address, port)))
            }
            Plan::Predict { targets, .. } => {
                let target = *targets.get(self.progress.round)?;
                let socket = *self.sockets.get(usize::from(self.progress.used))?;
                Some((socket, target))
            }
        };
        aim?;
        self.progress.used += 1;
        // Late calls are made up for, a few at a time.
        self.next_at = (self.next_at + PUNCH_INTERVAL).max(now.checked_sub(PUNCH_INTERVAL * 8)?);
        self.end_pass(now);
        aim
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, [`poll_aim`](Self::poll_aim) has
    /// something, or the time is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.progress.over || self.progress.expired {
            return None;
        }
        let used = usize::from(self.progress.used);
        let more = self.wanted > 0
            || match &self.plan {
                Plan::Checks | Plan::RelayOnly => false,
                Plan::OpenPorts { .. } => used < self.sockets.len(),
                Plan::AimAtPorts { ports, .. } => {
                    used < (ports.size() as usize).min(usize::from(super::MAX_ATTEMPTS))
                }
                Plan::Predict { targets, .. } => {
                    self.progress.round < targets.len() && used < self.sockets.len()
                }
            };
        let due = if more && !self.progress.exhausted {
            self.next_at.min(self.ends_at)
        } else {
            self.ends_at
        };
        Some(self.further_at.map_or(due, |at| at.min(due)))
    }

    /// Whether nothing will be sent any more. The holes that were made stay open a while.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.progress.over || now >= self.ends_at
    }

    /// Ends, and gives back the sockets: all but `kept`, which carries the path.
    pub fn stop(&mut self, kept: Option<SocketId>) {
        self.progress.over = true;
        self.needs.retain(|need| matches!(need, Need::Release(_)));
        let unused = self
            .sockets
            .drain(..)
            .filter(|socket| Some(*socket) != kept);
        self.needs.extend(unused.map(Need::Release));
    }

    fn end_pass(&mut self, now: Instant) {
        let Plan::Predict { .. } = self.plan else {
            return;
        };
        let progress = &mut self.progress;
        let began = *progress.round_began.get_or_insert(now);
        if usize::from(progress.used) < self.sockets.len() {
            return;
        }
        progress.used = 0;
        progress.pass += 1;
        let passed = u32::from(progress.pass);
        self.next_at = self
            .next_at
            .max(began + ROUND_TIME * passed / u32::from(PASSES));
        if progress.pass == PASSES {
            progress.pass = 0;
            progress.round += 1;
            progress.round_began = None;
        }
    }
}
