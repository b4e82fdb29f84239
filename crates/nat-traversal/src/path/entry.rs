//! One path and what is known of it.

use std::time::{Duration, Instant};

use super::{HYSTERESIS, IPV6_BONUS, Load, PROBES, PathId, SHORTEST_SILENCE, SILENT_ROUND_TRIPS};
use crate::session::PathKind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Alive,
    /// Something waited on it, and nothing came.
    Suspect,
}

/// A question that was not answered yet.
#[derive(Debug, Clone, Copy)]
struct Probing {
    asked: u8,
    at: Instant,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: PathId,
    pub(super) kind: PathKind,
    /// Smoothed as in RFC 6298: an eighth of each new one.
    pub(super) round_trip: Duration,
    /// Whether `round_trip` is a guess, which the first measurement replaces.
    guessed: bool,
    pub(super) health: Health,
    last_sent: Instant,
    last_received: Instant,
    waiting_since: Option<Instant>,
    probing: Option<Probing>,
}

impl Entry {
    pub(super) fn new(now: Instant, id: PathId, kind: PathKind, round_trip: Duration) -> Self {
        Self {
            id,
            kind,
            round_trip,
            guessed: false,
            health: Health::Alive,
            last_sent: now,
            last_received: now,
            waiting_since: None,
            probing: None,
        }
    }

    /// Its round trip is a guess.
    pub(super) fn guessed(mut self) -> Self {
        self.guessed = true;
        self
    }

    pub(super) fn on_sent(&mut self, now: Instant, load: Load) {
        self.last_sent = now;
        if load == Load::Waiting {
            self.waiting_since.get_or_insert(now);
        }
    }

    pub(super) fn on_received(&mut self, now: Instant) {
        self.last_received = now;
        self.waiting_since = None;
        self.probing = None;
        self.health = Health::Alive;
    }

    pub(super) fn on_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = if std::mem::take(&mut self.guessed) {
            round_trip
        } else {
            (self.round_trip * 7 + round_trip) / 8
        };
    }

    /// It is asked out of turn.
    pub(super) fn on_asked(&mut self, now: Instant) {
        self.probing = Some(Probing { asked: 1, at: now });
        self.last_sent = now;
    }

    /// The peer no longer uses it, and it is asked why.
    pub(super) fn on_left(&mut self, now: Instant) {
        self.health = Health::Suspect;
        self.on_asked(now);
    }

    /// The smaller, the better: direct ones first, then by round trip.
    pub(super) fn score(&self) -> (u8, Duration) {
        let class = u8::from(self.kind == PathKind::Relayed);
        let bonus = if self.id.remote.is_ipv6() {
            IPV6_BONUS
        } else {
            Duration::ZERO
        };
        (class, self.round_trip.saturating_sub(bonus))
    }

    /// Whether it is worth to leave `other` for this one.
    pub(super) fn beats(&self, other: &Self) -> bool {
        let ((class, own), (other_class, others)) = (self.score(), other.score());
        let margin = HYSTERESIS.max(others / 10);
        class < other_class || (class == other_class && own + margin < others)
    }

    /// Silence that makes it suspect.
    fn patience(&self) -> Duration {
        SHORTEST_SILENCE.max(self.round_trip * SILENT_ROUND_TRIPS)
    }

    /// When it has to be asked, if nothing is heard until then.
    pub(super) fn due(&self, keepalive: Duration) -> Instant {
        if let Some(probing) = self.probing {
            return probing.at + self.patience();
        }
        let idle = self.last_sent.min(self.last_received) + keepalive;
        let silent = self.waiting_since.map(|at| at + self.patience());
        silent.map_or(idle, |silent| silent.min(idle))
    }

    /// It has to be asked, once more or for the first time. False when it was asked often enough:
    /// it is dead.
    pub(super) fn on_due(&mut self, now: Instant) -> bool {
        let asked = self.probing.map_or(0, |probing| probing.asked);
        if self.waiting_since.is_some() || asked > 0 {
            self.health = Health::Suspect;
        }
        if asked >= PROBES {
            return false;
        }
        self.probing = Some(Probing {
            asked: asked + 1,
            at: now,
        });
        self.last_sent = now;
        true
    }
}
