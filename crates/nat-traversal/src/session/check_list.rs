//! The pairs that are checked, in which order and how often (RFC 8445 section 6.1.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::candidate::{CandidateKind, SocketId};

/// Most pairs: what RFC 8445 section 6.1.2.5 recommends, and room for peer-reflexive ones.
pub const MAX_PAIRS: usize = 128;

/// Time between the beginnings of two checks (Ta of RFC 8445 section 14.2: 50 ms by default).
pub const PACE: Duration = Duration::from_millis(50);

/// The same when there are at most [`FEW`] pairs, which all begin before the second of PACE
/// would be over. RFC 8445 section 14.2 allows 5 ms.
pub const PACE_OF_FEW: Duration = Duration::from_millis(20);

/// Pairs that count as few.
pub const FEW: usize = 10;

/// What relayed pairs leave to the others at the beginning.
const RELAY_DELAY: Duration = Duration::from_millis(100);

/// Time after each sending of a check before it is sent again, and after the last before the pair
/// has failed: together 5 s. The first are shorter than the 500 ms of RFC 8445 section 14.3,
/// since the first check often only opens the own NAT; the sum of all is within its
/// congestion rules, for there are few pairs.
pub const GAPS: [Duration; 8] = [
    Duration::from_millis(150),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(450),
    Duration::from_millis(600),
    Duration::from_millis(900),
    Duration::from_millis(1_200),
    Duration::from_millis(1_200),
];

/// A pair's name: the socket here and the address there.
pub(super) type Key = (SocketId, SocketAddr);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Trying { sent: usize, next_at: Instant },
    Works { round_trip: Duration },
    Failed,
}

/// How a pair came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From the candidates of both sides.
    Known,
    /// By punching: one of many alike.
    Punched,
}

#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) key: Key,
    pub(super) local: CandidateKind,
    pub(super) remote: CandidateKind,
    pub(super) priority: u64,
    pub(super) origin: Origin,
    pub(super) state: State,
    /// Whether the application knows that it works.
    pub(super) announced: bool,
}

impl Pair {
    pub(super) fn is_relayed(&self) -> bool {
        self.local == CandidateKind::Relayed || self.remote == CandidateKind::Relayed
    }

    pub(super) fn works(&self) -> bool {
        matches!(self.state, State::Works { .. })
    }

    fn is_active(&self) -> bool {
        matches!(self.state, State::Waiting | State::Trying { .. })
    }
}

/// All pairs, the best first, and when the next one may begin: direct ones and relayed ones each
/// at their own pace, so that many candidates do not hold up the relay.
#[derive(Debug)]
pub(super) struct CheckList {
    pairs: Vec<Pair>,
    next_direct: Instant,
    next_relayed: Instant,
    relayed_begun: u32,
}

impl CheckList {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pairs: Vec::new(),
            next_direct: now,
            next_relayed: now + RELAY_DELAY,
            relayed_begun: 0,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter()
    }

    pub(super) fn find(&mut self, key: Key) -> Option<&mut Pair> {
        self.pairs.iter_mut().find(|pair| pair.key == key)
    }

    /// Adds a pair unless it is known. When there are [`MAX_PAIRS`], a failed one makes room, or
    /// else one that is worse. False when there is no room.
    pub(super) fn add(&mut self, pair: Pair) -> bool {
        if self.find(pair.key).is_some() {
            return true;
        }
        if self.pairs.len() >= MAX_PAIRS {
            let dispensable = |old: &Pair| {
                let worse = !old.works() && old.priority < pair.priority;
                old.state == State::Failed || worse
            };
            let Some(at) = self.pairs.iter().rposition(dispensable) else {
                return false;
            };
            self.pairs.remove(at);
        }
        let at = self
            .pairs
            .partition_point(|old| old.priority >= pair.priority);
        self.pairs.insert(at, pair);
        true
    }

    /// A check of this pair is due now: the peer has just been heard on it.
    pub(super) fn trigger(&mut self, now: Instant, key: Key) {
        if let Some(pair) = self.find(key)
            && !pair.works()
        {
            pair.state = State::Trying {
                sent: 0,
                next_at: now,
            };
        }
    }

    /// The pair whose check is to be sent now.
    pub(super) fn due(&self, now: Instant) -> Option<Key> {
        let again = |pair: &&Pair| match pair.state {
            State::Trying { sent, next_at } => sent < GAPS.len() && next_at <= now,
            _ => false,
        };
        if let Some(pair) = self.pairs.iter().find(again) {
            return Some(pair.key);
        }
        let waiting = |pair: &&Pair| pair.state == State::Waiting;
        let direct = (self.next_direct <= now)
            .then(|| self.pairs.iter().find(|p| waiting(p) && !p.is_relayed()));
        let relayed = || {
            let mut all = self.pairs.iter().filter(|p| waiting(p) && p.is_relayed());
            // From both ends in turn: last is relay to relay, which works when all else fails.
            let next = if self.relayed_begun.is_multiple_of(2) {
                all.next()
            } else {
                all.next_back()
            };
            next.filter(|_| self.next_relayed <= now)
        };
        direct.flatten().or_else(relayed).map(|pair| pair.key)
    }

    /// The check of the pair has left.
    pub(super) fn on_sent(&mut self, now: Instant, key: Key) {
        let few = self.pairs.len() <= FEW;
        let pace = if few { PACE_OF_FEW } else { PACE };
        let (mut direct, mut relayed) = (self.next_direct, self.next_relayed);
        let mut begun = self.relayed_begun;
        let Some(pair) = self.find(key) else { return };
        let sent = match pair.state {
            State::Waiting if pair.is_relayed() => {
                relayed = now + pace;
                begun += 1;
                0
            }
            State::Waiting => {
                direct = now + pace;
                0
            }
            State::Trying { sent, .. } => sent,
            State::Works { .. } | State::Failed => return,
        };
        let next_at = now + GAPS[sent.min(GAPS.len() - 1)];
        pair.state = State::Trying {
            sent: sent + 1,
            next_at,
        };
        (self.next_direct, self.next_relayed) = (direct, relayed);
        self.relayed_begun = begun;
    }

    /// Pairs that were sent to often enough have failed.
    pub(super) fn expire(&mut self, now: Instant) {
        for pair in &mut self.pairs {
            if let State::Trying { sent, next_at } = pair.state
                && sent >= GAPS.len()
                && next_at <= now
            {
                pair.state = State::Failed;
            }
        }
    }

    /// Something as good as `priority` works: direct pairs that are worse are not tried further.
    pub(super) fn settle_for(&mut self, priority: u64) {
        for pair in &mut self.pairs {
            if pair.is_active() && !pair.is_relayed() && pair.priority < priority {
                pair.state = State::Failed;
            }
        }
    }

    pub(super) fn remove_socket(&mut self, socket: SocketId) {
        self.pairs.retain(|pair| pair.key.0 != socket);
    }

    pub(super) fn is_active(&self) -> bool {
        self.pairs.iter().any(Pair::is_active)
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let due = |pair: &Pair| match pair.state {
            State::Trying { next_at, .. } => Some(next_at),
            State::Waiting if pair.is_relayed() => Some(self.next_relayed),
            State::Waiting => Some(self.next_direct),
            State::Works { .. } | State::Failed => None,
        };
        self.pairs.iter().filter_map(due).min()
    }
}
