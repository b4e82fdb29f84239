//! Which of the working paths is used: scores, keepalive, noticing a dead one.
//!
//! A machine of its own that sends nothing: it says [`Event::Use`] when data is to take another
//! path, and [`Event::Probe`] when a path is to be asked whether it lives, for which
//! [`Session::probe`](crate::session::Session::probe) serves, or anything else that is answered.
//!
//! * Direct before relayed; then the shorter round trip, IPv6 with a bonus, and only by a margin,
//!   so that two equal paths do not take turns.
//! * What is not used is kept alive as a reserve, so that the next one is there when the current
//!   one falls silent.
//! * A path on which something waits and nothing comes is left at once and asked; when it answers
//!   after all, it is as good as before.

mod entry;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::entry::{Entry, Health};
use crate::candidate::SocketId;
use crate::session::PathKind;

/// Most paths of one connection: both families, two relays, and a change of network.
pub const MAX_PATHS: usize = 8;

/// A path that was not sent to, or not heard on, for so long is asked whether it lives. Half of
/// the 30 s that Linux keeps an unanswered mapping for, and what RFC 8445 section 11 has.
pub const KEEPALIVE: Duration = Duration::from_secs(15);

/// No NAT is so forgetful that more would be worth it.
pub const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(2);

/// Silence that makes a path suspect is at least this long while something waits: shorter would
/// take a Wi-Fi roam for a death.
pub const SHORTEST_SILENCE: Duration = Duration::from_millis(500);

/// ... and at least this many round trips.
pub const SILENT_ROUND_TRIPS: u32 = 4;

/// Questions without an answer after which a path is dead.
pub const PROBES: u8 = 3;

/// What a round trip is taken for until it is measured (RFC 9002, section 6.2.2).
pub const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(333);

/// What IPv6 is ahead with: it has no NAT that can forget it.
pub const IPV6_BONUS: Duration = Duration::from_millis(3);

/// Another path must be better by this, and by a tenth.
pub const HYSTERESIS: Duration = Duration::from_millis(5);

/// A path's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId {
    /// The socket here, or the allocation.
    pub socket: SocketId,
    /// The address there.
    pub remote: SocketAddr,
}

/// Whether what was sent wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Something waits to be acknowledged.
    Waiting,
    /// Nothing does.
    Idle,
}

/// Why data takes another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is the first that works.
    First,
    /// It is better than the one before.
    Better,
    /// The one before has fallen silent.
    Silent,
    /// The one before is gone with its socket.
    Gone,
    /// The peer sends on it, and has left the one before.
    PeerMoved,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Data takes this path from now on.
    Use {
        /// Which.
        path: PathId,
        /// Why.
        reason: Reason,
    },
    /// This path is to be asked whether it lives.
    Probe(PathId),
    /// It does not.
    Dead(PathId),
    /// There is none left.
    AllDead,
}

/// The paths of one connection.
#[derive(Debug, Default)]
pub struct Paths {
    entries: Vec<Entry>,
    current: Option<PathId>,
    mapping_life: Option<Duration>,
    /// Whether the peer chooses among paths of one class.
    follows: bool,
    events: VecDeque<Event>,
}

impl Paths {
    /// Paths of the side that leaves the choice among paths of one class, direct or relayed, to the
    /// peer: two sides that choose for themselves might each wait for answers on another path.
    #[must_use]
    pub fn following() -> Self {
        Self {
            follows: true,
            ..Self::default()
        }
    }

    /// How long a NAT before us was seen to keep a mapping; keepalive is twice as frequent then.
    pub fn set_mapping_life(&mut self, life: Duration) {
        self.mapping_life = Some(life);
    }

    /// Time between two signs of life on an idle path.
    #[must_use]
    pub fn keepalive(&self) -> Duration {
        let half = self.mapping_life.map_or(KEEPALIVE, |life| life / 2);
        half.clamp(SHORTEST_KEEPALIVE, KEEPALIVE)
    }

    /// A path works. Of more than [`MAX_PATHS`], the worst is forgotten that is not in use.
    pub fn on_works(&mut self, now: Instant, id: PathId, kind: PathKind, round_trip: Duration) {
        self.add(now, Entry::new(now, id, kind, round_trip));
    }

    /// A path works whose round trip nobody has measured. It is taken to have
    /// [`INITIAL_ROUND_TRIP`] until [`on_round_trip`](Self::on_round_trip); better ask it soon.
    pub fn on_works_unmeasured(&mut self, now: Instant, id: PathId, kind: PathKind) {
        self.add(now, Entry::new(now, id, kind, INITIAL_ROUND_TRIP).guessed());
    }

    fn add(&mut self, now: Instant, new: Entry) {
        let (id, round_trip) = (new.id, new.round_trip);
        if let Some(entry) = self.entry(id) {
            entry.on_received(now);
            entry.on_round_trip(round_trip);
        } else {
            self.entries.push(new);
            self.entries.sort_by_key(Entry::score);
            if self.entries.len() > MAX_PATHS {
                let current = self.current;
                let unused = |entry: &Entry| Some(entry.id) != current;
                if let Some(at) = self.entries.iter().rposition(unused) {
                    self.entries.remove(at);
                }
            }
        }
        self.select(Reason::Better);
    }

    /// A datagram has left on a path.
    pub fn on_sent(&mut self, now: Instant, id: PathId, load: Load) {
        if let Some(entry) = self.entry(id) {
            entry.on_sent(now, load);
        }
    }

    /// A datagram that is proved to be the peer's has come on a path.
    pub fn on_received(&mut self, now: Instant, id: PathId) {
        if let Some(entry) = self.entry(id) {
            let before = entry.health;
            entry.on_received(now);
            if before == Health::Suspect {
                self.select(Reason::Better);
            }
        }
    }

    /// A round trip of a path was measured.
    pub fn on_round_trip(&mut self, now: Instant, id: PathId, round_trip: Duration) {
        if let Some(entry) = self.entry(id) {
            entry.on_received(now);
            entry.on_round_trip(round_trip);
            self.select(Reason::Better);
        }
    }

    /// It has turned out what a path goes through.
    pub fn set_kind(&mut self, id: PathId, kind: PathKind) {
        if let Some(entry) = self.entry(id).filter(|entry| entry.kind != kind) {
            entry.kind = kind;
            self.select(Reason::Better);
        }
    }

    /// The peer has left the path in use for this one: it is followed, since it may know that its
    /// packets no longer pass on the other, which is asked whether it lives.
    pub fn on_peer_moved(&mut self, now: Instant, id: PathId) {
        let Some(current) = self.current.filter(|current| *current != id) else {
            return;
        };
        if self.entry(id).is_none() {
            return;
        }
        if let Some(left) = self.entry(current) {
            left.on_left(now);
            self.events.push_back(Event::Probe(current));
        }
        self.current = Some(id);
        self.events.push_back(Event::Use {
            path: id,
            reason: Reason::PeerMoved,
        });
    }

    /// The peer sends on a path. Who [follows](Self::following) takes it too, unless it is relayed
    /// and the one in use is not.
    pub fn on_peer_uses(&mut self, id: PathId) {
        let class = |id: PathId| {
            let entry = self.entries.iter().find(|entry| entry.id == id)?;
            (entry.health == Health::Alive).then(|| entry.score().0)
        };
        let (Some(in_use), Some(theirs)) = (self.current, class(id)) else {
            return;
        };
        let as_good = class(in_use).is_none_or(|ours| theirs <= ours);
        if self.follows && id != in_use && as_good {
            self.current = Some(id);
            self.events.push_back(Event::Use {
                path: id,
                reason: Reason::PeerMoved,
            });
        }
    }

    /// Asks all paths at once whether they live: the network here has changed.
    pub fn on_network_change(&mut self, now: Instant) {
        for entry in &mut self.entries {
            entry.on_asked(now);
            self.events.push_back(Event::Probe(entry.id));
        }
    }

    /// A socket or allocation is gone.
    pub fn on_socket_gone(&mut self, socket: SocketId) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id.socket != socket);
        if self.entries.len() != before {
            self.select(Reason::Gone);
        }
    }

    /// What was due has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let keepalive = self.keepalive();
        let mut silent = false;
        let events = &mut self.events;
        self.entries.retain_mut(|entry| {
            if entry.due(keepalive) > now {
                return true;
            }
            let alive = entry.on_due(now);
            let event = if alive { Event::Probe } else { Event::Dead };
            events.push_back(event(entry.id));
            silent |= entry.health == Health::Suspect;
            alive
        });
        if silent {
            self.select(Reason::Silent);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let keepalive = self.keepalive();
        self.entries.iter().map(|entry| entry.due(keepalive)).min()
    }

    /// What is to be done.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The path in use.
    #[must_use]
    pub fn current(&self) -> Option<PathId> {
        self.current
    }

    /// All paths: what they go through, and their round trip.
    pub fn iter(&self) -> impl Iterator<Item = (PathId, PathKind, Duration)> {
        let all = self.entries.iter();
        all.map(|entry| (entry.id, entry.kind, entry.round_trip))
    }

    fn entry(&mut self, id: PathId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// Takes the best path, if it is enough better than the one in use.
    fn select(&mut self, reason: Reason) {
        let of_health = |health| {
            self.entries
                .iter()
                .filter(move |e: &&Entry| e.health == health)
        };
        let best = of_health(Health::Alive)
            .min_by_key(|entry| entry.score())
            .or_else(|| of_health(Health::Suspect).min_by_key(|entry| entry.score()));
        let Some(best) = best else {
            if self.current.take().is_some() {
                self.events.push_back(Event::AllDead);
            }
            return;
        };
        let in_use = self.entries.iter().find(|e| Some(e.id) == self.current);
        let reason = match in_use {
            None if self.current.is_none() => Reason::First,
            None => reason,
            Some(in_use) if in_use.id == best.id => return,
            Some(in_use) if in_use.health == Health::Suspect => {
                if best.health == Health::Suspect {
                    return;
                }
                Reason::Silent
            }
            Some(in_use) if self.follows && best.score().0 == in_use.score().0 => return,
            Some(in_use) if best.beats(in_use) => Reason::Better,
            Some(_) => return,
        };
        let path = best.id;
        self.current = Some(path);
        self.events.push_back(Event::Use { path, reason });
    }
}

#[cfg(test)]
mod tests;
