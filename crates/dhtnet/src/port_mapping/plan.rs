//! What to ask of which router protocol when. Pure: the time is an argument, nothing is sent here.
//!
//! All protocols are tried at once. The cheap first question of NAT-PMP and UPnP asks for nothing
//! but an answer, so that a router that speaks all of them ends with one mapping, not with three:
//! a protocol that answers stands by while a better one of its family holds a mapping, and steps
//! in when that is lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Lifetime asked for (RFC 6886 section 3.3).
pub(super) const LEASE: Duration = Duration::from_secs(7_200);

/// How long a protocol that answered waits for a better one of its family: a router on the local
/// network answers within milliseconds.
const GRACE: Duration = Duration::from_millis(300);

/// A mapping is asked for again at half of its lifetime (RFC 6887 section 11.2.1), and at least
/// this often: routers reboot, forget, and get another address without telling.
const CHECK: Duration = Duration::from_secs(10 * 60);

/// Shortest time between two renewals, whatever lifetime a router grants.
const MIN_CHECK: Duration = Duration::from_secs(15);

/// Next try when a renewal was not answered.
const RENEW_RETRY: Duration = Duration::from_secs(30);

/// Renewals without an answer after which a mapping counts as lost.
const RENEW_TRIES: usize = 3;

/// Waits after failures in a row. A changed network begins anew.
const LADDER: [Duration; 4] = [
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(30 * 60),
];

/// One way to ask for a way in. In a family, those named first are preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Method {
    /// PCP MAP for IPv4 (RFC 6887).
    Pcp,
    /// NAT-PMP (RFC 6886).
    NatPmp,
    /// UPnP IGD, AddPortMapping.
    Upnp,
    /// PCP MAP for IPv6.
    Pcp6,
    /// UPnP IGD 2, AddPinhole.
    Pinhole,
}

impl Method {
    /// Whether it is about IPv6.
    pub(super) fn is_v6(self) -> bool {
        matches!(self, Self::Pcp6 | Self::Pinhole)
    }

    /// Whether its first question changes nothing at the router. PCP has none such that all
    /// servers answer.
    fn has_probe(self) -> bool {
        !matches!(self, Self::Pcp | Self::Pcp6)
    }
}

/// What to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Is there a router that speaks this?
    Probe,
    /// A new mapping.
    Map,
    /// The same mapping again.
    Renew,
}

/// What a router granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) external: SocketAddr,
    /// `None`: until it is taken back.
    pub(super) lifetime: Option<Duration>,
    /// Age of the router's table in seconds, where the protocol tells it.
    pub(super) epoch: Option<u32>,
}

/// Why a question led to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// No answer.
    Silent,
    /// The answer is no.
    Refused,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Waiting { until: Instant },
    Found { until: Instant },
    Standby,
    Asking(Step),
}

#[derive(Debug, Clone, Copy)]
struct Held {
    lease: Lease,
    granted: Instant,
    next: Instant,
    unanswered: usize,
}

impl Held {
    fn new(lease: Lease, now: Instant) -> Self {
        let half = lease.lifetime.map_or(CHECK, |lifetime| lifetime / 2);
        Self {
            lease,
            granted: now,
            next: now + half.clamp(MIN_CHECK, CHECK),
            unanswered: 0,
        }
    }

    fn expires(&self) -> Option<Instant> {
        Some(self.granted + self.lease.lifetime?)
    }
}

#[derive(Debug)]
struct Entry {
    method: Method,
    stage: Stage,
    held: Option<Held>,
    failures: usize,
}

impl Entry {
    fn wait(&mut self, now: Instant) {
        let step = self.failures.min(LADDER.len() - 1);
        self.stage = Stage::Waiting {
            until: now + LADDER[step],
        };
        self.failures += 1;
    }
}

/// The table of all protocols.
#[derive(Debug, Default)]
pub(super) struct Plan {
    entries: Vec<Entry>,
}

impl Plan {
    /// Tries all of these from now on.
    pub(super) fn new(methods: impl IntoIterator<Item = Method>, now: Instant) -> Self {
        let entries = methods.into_iter().map(|method| Entry {
            method,
            stage: Stage::Waiting { until: now },
            held: None,
            failures: 0,
        });
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_by_key(|entry| entry.method);
        Self { entries }
    }

    /// The next question that is due, which then counts as asked.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(Method, Step)> {
        self.expire(now);
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            let step = match entry.stage {
                Stage::Asking(_) => continue,
                _ if entry.held.is_some_and(|held| held.next <= now) => Step::Renew,
                _ if entry.held.is_some() => continue,
                Stage::Waiting { until } if until <= now && entry.method.has_probe() => Step::Probe,
                Stage::Waiting { until } if until <= now => Step::Map,
                Stage::Found { until } if until <= now => Step::Map,
                _ => continue,
            };
            if step == Step::Map && self.is_served(self.entries[at].method) {
                self.entries[at].stage = Stage::Standby;
                continue;
            }
            self.entries[at].stage = Stage::Asking(step);
            return Some((self.entries[at].method, step));
        }
        None
    }

    /// When [`Plan::poll`] has something next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let next = self.entries.iter().filter_map(|entry| {
            let expires = entry.held.and_then(|held| held.expires());
            let due = match (entry.stage, entry.held) {
                (Stage::Asking(_), _) => None,
                (_, Some(held)) => Some(held.next),
                (Stage::Waiting { until } | Stage::Found { until }, None) => Some(until),
                (Stage::Standby, None) => None,
            };
            expires.into_iter().chain(due).min()
        });
        next.min()
    }

    /// A router answered the first question.
    pub(super) fn on_found(&mut self, method: Method, now: Instant) {
        if let Some(entry) = self.entry(method) {
            entry.stage = Stage::Found { until: now + GRACE };
        }
    }

    /// A router granted a mapping, new or again. Returns whether it must have rebooted since the
    /// last time; all other mappings are then asked for again at once.
    pub(super) fn on_mapped(&mut self, method: Method, lease: Lease, now: Instant) -> bool {
        let Some(entry) = self.entry(method) else {
            return false;
        };
        let rebooted = entry.held.is_some_and(|before| {
            let elapsed = now.saturating_duration_since(before.granted);
            epoch_fell(before.lease.epoch, lease.epoch, elapsed)
        });
        entry.held = Some(Held::new(lease, now));
        entry.stage = Stage::Standby;
        entry.failures = 0;
        if rebooted {
            self.check_all_but(Some(method), now);
        }
        rebooted
    }

    /// A question led to nothing.
    pub(super) fn on_failed(&mut self, method: Method, failed: Failed, now: Instant) {
        let Some(entry) = self.entry(method) else {
            return;
        };
        if let Some(held) = &mut entry.held {
            held.unanswered += 1;
            held.next = now + RENEW_RETRY;
            entry.stage = Stage::Standby;
            if failed == Failed::Silent && held.unanswered < RENEW_TRIES {
                return;
            }
            self.drop_held(method, now);
            return;
        }
        entry.wait(now);
        // One that gave way to this one need not wait for its next turn.
        self.wake_standby(method.is_v6(), now);
    }

    /// The network changed and the router is the same: everything is looked at again.
    pub(super) fn check_all(&mut self, now: Instant) {
        for entry in &mut self.entries {
            entry.failures = 0;
            if let Stage::Waiting { until } = &mut entry.stage {
                *until = now;
            }
        }
        self.check_all_but(None, now);
    }

    /// The mappings that are there, the preferred first.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (Method, Lease, Option<Instant>)> {
        let held = |entry: &Entry| Some((entry.method, entry.held?));
        let all = self.entries.iter().filter_map(held);
        all.map(|(method, held)| (method, held.lease, held.expires()))
    }

    /// Whether an answer is waited for.
    pub(super) fn is_asking(&self, method: Method) -> bool {
        let asking = |entry: &Entry| matches!(entry.stage, Stage::Asking(_));
        self.entries
            .iter()
            .any(|entry| entry.method == method && asking(entry))
    }

    fn entry(&mut self, method: Method) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.method == method)
    }

    /// Whether another protocol of the family holds a mapping, or is about to.
    fn is_served(&self, method: Method) -> bool {
        self.entries.iter().any(|entry| {
            entry.method != method
                && entry.method.is_v6() == method.is_v6()
                && (entry.held.is_some() || (entry.method.has_probe() && is_mapping(entry.stage)))
        })
    }

    fn expire(&mut self, now: Instant) {
        let over: Vec<Method> = self
            .entries
            .iter()
            .filter(|entry| {
                let expires = entry.held.and_then(|held| held.expires());
                expires.is_some_and(|at| at <= now)
            })
            .map(|entry| entry.method)
            .collect();
        for method in over {
            self.drop_held(method, now);
        }
    }

    /// A mapping is lost: its own protocol and those that stood by have their turn.
    fn drop_held(&mut self, method: Method, now: Instant) {
        if let Some(entry) = self.entry(method) {
            entry.held = None;
            if !matches!(entry.stage, Stage::Asking(_)) {
                entry.wait(now);
            }
        }
        self.wake_standby(method.is_v6(), now);
    }

    fn wake_standby(&mut self, is_v6: bool, now: Instant) {
        let mut family = self.entries.iter().filter(|e| e.method.is_v6() == is_v6);
        if family.any(|entry| entry.held.is_some()) {
            return;
        }
        for entry in &mut self.entries {
            let stands_by = matches!(entry.stage, Stage::Standby) && entry.held.is_none();
            if stands_by && entry.method.is_v6() == is_v6 {
                entry.stage = Stage::Waiting { until: now };
            }
        }
    }

    fn check_all_but(&mut self, fresh: Option<Method>, now: Instant) {
        for entry in &mut self.entries {
            if let Some(held) = &mut entry.held
                && Some(entry.method) != fresh
            {
                held.next = now;
            }
        }
    }
}

fn is_mapping(stage: Stage) -> bool {
    matches!(stage, Stage::Asking(Step::Map))
}

/// Whether a router's table is younger than it should be after `elapsed` (RFC 6886 section 3.6: a
/// client allows for clocks that differ by an eighth, and for two seconds).
fn epoch_fell(before: Option<u32>, after: Option<u32>, elapsed: Duration) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    let expected = u64::from(before) + elapsed.as_secs() * 7 / 8;
    u64::from(after) + 2 < expected
}

#[cfg(test)]
mod tests;
