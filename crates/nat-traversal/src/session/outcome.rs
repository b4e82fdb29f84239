//! What comes of a session.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Key, OFFER_PATIENCE, Origin, PATIENCE, Phase, Session, State};
use crate::candidate::{CandidateKind, SocketId, is_private};
use crate::punch::Punch;

/// What a path goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// Within one network: both addresses are private ones of hosts.
    Local,
    /// From host to host, perhaps through NATs whose ports were known.
    Direct,
    /// From host to host, through ports that were found by trying.
    Punched,
    /// Through a relay.
    Relayed,
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Direct => "direct",
            Self::Punched => "punched",
            Self::Relayed => "relayed",
        })
    }
}

/// Why a session has ended without a direct path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Relayed paths work, and no other.
    NoDirectPath,
    /// Nothing works.
    NoPath,
    /// The peer's offer did not come.
    NoOffer,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDirectPath => "only relayed paths work",
            Self::NoPath => "no path works",
            Self::NoOffer => "the peer did not answer",
        })
    }
}

/// What has happened in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A path works in both directions. Each is told once.
    PathWorks {
        /// The socket here.
        socket: SocketId,
        /// The address there.
        remote: SocketAddr,
        /// The time that one check and its answer took.
        round_trip: Duration,
        /// What it goes through.
        kind: PathKind,
        /// Our address on this path as the peer sees it, where that was just learnt.
        observed: Option<SocketAddr>,
    },
    /// A check on a path that works was answered.
    Answered {
        /// The socket here.
        socket: SocketId,
        /// The address there.
        remote: SocketAddr,
        /// How long it took.
        round_trip: Duration,
    },
    /// Nothing more is tried.
    GaveUp {
        /// For what reason.
        why: Why,
    },
}

impl Session {
    /// Tells that a pair works.
    pub(super) fn announce(&mut self, key: Key, observed: Option<SocketAddr>) {
        let local = self.candidates.iter().find(|(_, of)| *of == key.0);
        let local_ip = local.map(|(candidate, _)| candidate.address.ip());
        let Some(pair) = self.list.find(key) else {
            return;
        };
        let State::Works { round_trip } = pair.state else {
            return;
        };
        if std::mem::replace(&mut pair.announced, true) {
            return;
        }
        let hosts = pair.local == CandidateKind::Host && pair.remote == CandidateKind::Host;
        let private = is_private(key.1.ip()) && local_ip.is_some_and(is_private);
        let kind = if pair.is_relayed() {
            PathKind::Relayed
        } else if hosts && private {
            PathKind::Local
        } else if pair.origin == Origin::Punched {
            PathKind::Punched
        } else {
            PathKind::Direct
        };
        self.events.push_back(super::Event::PathWorks {
            socket: key.0,
            remote: key.1,
            round_trip,
            kind,
            observed,
        });
    }

    /// Of the punched paths this one stays. The other sockets are given back.
    pub(super) fn choose(&mut self, key: Key) {
        if self.chosen.is_some() {
            return;
        }
        self.chosen = Some(key);
        self.decide_by = None;
        self.held_aim = None;
        if let Some(punch) = &mut self.punch {
            let unused = |key: &Key| punch.owns(key.0);
            let gone: Vec<SocketId> = self
                .list
                .iter()
                .map(|pair| pair.key)
                .filter(|other| unused(other) && other.0 != key.0)
                .map(|(socket, _)| socket)
                .collect();
            punch.stop(Some(key.0));
            for socket in gone {
                self.list.remove_socket(socket);
            }
            let released = |socket: SocketId| punch.releases(socket);
            self.queue.retain(|transmit| !released(transmit.socket));
        }
        self.announce(key, None);
    }

    /// The nomination did not come: the best that works is taken.
    pub(super) fn decide(&mut self) {
        let direct = |pair: &&super::Pair| pair.works() && !pair.is_relayed();
        let best = self.list.iter().find(direct).map(|pair| pair.key);
        if let Some(key) = best {
            self.choose(key);
        }
    }

    /// Ends when there is nothing left to try.
    pub(super) fn conclude(&mut self, now: Instant) {
        if self.phase == Phase::Ended || self.gives_up_at().is_none_or(|at| at > now) {
            return;
        }
        let works = |relayed: bool| {
            let fits = |pair: &super::Pair| pair.works() && pair.is_relayed() == relayed;
            self.list.iter().any(fits)
        };
        let why = match (works(false), works(true)) {
            (true, _) => None,
            (false, true) => Some(Why::NoDirectPath),
            (false, false) if self.peer.is_none() => Some(Why::NoOffer),
            (false, false) => Some(Why::NoPath),
        };
        self.phase = Phase::Ended;
        self.held_aim = None;
        if let Some(punch) = &mut self.punch {
            let kept = self.chosen.map(|key| key.0);
            punch.stop(kept);
        }
        if let Some(why) = why {
            self.queue.clear();
            self.events.push_back(Event::GaveUp { why });
        }
    }

    /// When the session ends if nothing else happens; none while checks are on.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        let Some(peer) = &self.peer else {
            return Some(self.started + OFFER_PATIENCE);
        };
        if self.list.is_active() || self.decide_by.is_some() {
            return None;
        }
        let punching = self.punch.as_ref().and_then(Punch::ends_at);
        let patience = peer.since + PATIENCE;
        Some(punching.map_or(patience, |at| at.max(patience)))
    }
}
