//! Datagrams from the peer: answers, new pairs, nominations.

use std::net::SocketAddr;
use std::time::Instant;

use super::{
    Event, Handled, MAX_QUEUE, NOMINATION_PATIENCE, Nominating, Origin, Pair, Phase, RelayUse,
    Session, State, Transmit,
};
use crate::candidate::{Candidate, CandidateKind, MAX_CANDIDATES, SocketId, is_offerable};
use crate::check::{Incoming, Nomination, Way};
use crate::punch::{Plan, Punch, Role};
use crate::session::check_list::Key;

impl Session {
    /// Takes a STUN message that came to `socket` from `remote`. What the peer has not
    /// authenticated is [`Handled::NotOurs`] and changes nothing.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        (socket, remote): (SocketId, SocketAddr),
        datagram: &[u8],
    ) -> Handled {
        let key = (socket, remote);
        match self.keys.open(datagram) {
            Some(Incoming::Request {
                id,
                nomination,
                way,
            }) => {
                // Whose checks are not answered uses no such path.
                if way == Way::Relayed && self.relays == RelayUse::None {
                    return Handled::Taken;
                }
                let works = self.list.find(key).is_some_and(|pair| pair.works());
                if works || self.phase == Phase::Active {
                    let payload = self.keys.answer(id, remote);
                    self.queue_up(key, payload);
                    self.on_heard(now, (key, way), nomination);
                }
                Handled::Taken
            }
            Some(Incoming::Response { id, mapped }) => {
                if let Some(sent) = self.outstanding.take(now, id, key) {
                    let round_trip = now.saturating_duration_since(sent.at);
                    self.on_answered(now, key, (round_trip, mapped));
                }
                Handled::Taken
            }
            None => Handled::NotOurs,
        }
    }

    fn queue_up(&mut self, (socket, destination): Key, payload: bytes::Bytes) {
        if self.queue.len() >= MAX_QUEUE {
            self.queue.pop_front();
        }
        self.queue.push_back(Transmit {
            socket,
            destination,
            payload,
        });
    }

    /// The peer was heard on a pair: a check in the other direction is likely to pass too.
    fn on_heard(&mut self, now: Instant, (key, way): (Key, Way), nomination: Nomination) {
        if self.phase == Phase::Ended {
            return;
        }
        // It may come before the offer that says who nominates, and does not come again.
        let nominated = nomination == Nomination::UseThis && self.role == Role::Controlled;
        if nominated {
            self.nominated_by_peer = Some(key);
        }
        if self.peer.is_none() {
            if self.early.len() < MAX_CANDIDATES && !self.early.contains(&(key, way)) {
                self.early.push((key, way));
            }
            return;
        }
        if self.learn(key, way) {
            self.list.trigger(now, key);
        }
        if nominated && self.list.find(key).is_some_and(|pair| pair.works()) {
            self.choose(key);
        }
    }

    /// Makes a pair of an address that the peer was heard from, if it is a new one. False when
    /// there is no room for it, or it cannot be a peer's.
    pub(super) fn learn(&mut self, key: Key, way: Way) -> bool {
        let (socket, remote) = key;
        if let Some(pair) = self.list.find(key) {
            if way == Way::Relayed {
                pair.remote = CandidateKind::Relayed;
            }
            return true;
        }
        if !is_offerable(&remote) {
            return false;
        }
        let punches = |punch: &Punch| !matches!(punch.plan(), Plan::Checks | Plan::RelayOnly);
        let origin = if self.punch.as_ref().is_some_and(punches) {
            Origin::Punched
        } else {
            Origin::Known
        };
        let local = self.candidates.iter().find(|(_, of)| *of == socket);
        // A punched socket is not told of; from outside it is like a reflexive address.
        let (local, ours) = local.map_or((CandidateKind::ServerReflexive, 0), |(c, _)| {
            (c.kind, c.priority(0))
        });
        let kind = match way {
            Way::Direct => CandidateKind::PeerReflexive,
            Way::Relayed => CandidateKind::Relayed,
        };
        let theirs = Candidate::new(kind, remote).priority(0);
        self.list.add(Pair {
            key,
            local,
            remote: kind,
            priority: self.priority(ours, theirs),
            origin,
            state: State::Waiting,
            announced: false,
        })
    }

    fn on_answered(
        &mut self,
        now: Instant,
        key: Key,
        (round_trip, observed): (std::time::Duration, SocketAddr),
    ) {
        let (socket, remote) = key;
        if self
            .nominating
            .is_some_and(|nominating| nominating.key == key)
        {
            self.nominating = None;
        }
        if self.list.find(key).is_some_and(|pair| pair.works()) {
            self.events.push_back(Event::Answered {
                socket,
                remote,
                round_trip,
            });
            return;
        }
        if self.phase == Phase::Ended || !self.learn(key, Way::Direct) {
            return;
        }
        let Some(pair) = self.list.find(key) else {
            return;
        };
        pair.state = State::Works { round_trip };
        let (punched, relayed, priority) = (
            pair.origin == Origin::Punched,
            pair.is_relayed(),
            pair.priority,
        );
        if !punched {
            self.announce(key, Some(observed));
        }
        if !relayed {
            self.list.settle_for(priority);
            self.settle_punching(now, key);
        }
    }

    /// A direct path works while punching is on: both sides have to agree which one stays.
    fn settle_punching(&mut self, now: Instant, key: Key) {
        let punches = |punch: &Punch| !matches!(punch.plan(), Plan::Checks | Plan::RelayOnly);
        if self.chosen.is_some() || !self.punch.as_ref().is_some_and(punches) {
            return;
        }
        if self.role == Role::Controlling {
            self.nominating = Some(Nominating {
                key,
                sent: 0,
                next_at: now,
            });
            self.choose(key);
        } else if self.nominated_by_peer == Some(key) {
            self.choose(key);
        } else {
            self.decide_by.get_or_insert(now + NOMINATION_PATIENCE);
        }
    }
}
