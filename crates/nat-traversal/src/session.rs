//! Everything between two peers that look for a path: candidates in, paths out.
//!
//! Both sides run one for each attempt. The driver gives it its candidates (now or later), the
//! peer's offer, datagrams and time; it takes datagrams to send, sockets to open or close, and
//! events. What of a path is used, kept alive and left is for [`path`](crate::path).
//!
//! Direct pairs begin in the order of their priority, IPv6 and host addresses first; relayed ones
//! beside them. With the peer's offer a [punch](crate::punch) begins, where the NATs need one.
//! Among many punched paths the controlling side nominates one, so that both keep the same and
//! close the other sockets. Any other path that works is told at once, and used as it comes.
//!
//! It ends by itself: after a path was found what is left of the checks runs out, and after
//! [`Event::GaveUp`] nothing leaves any more but answers and probes on paths that work. When to
//! try again is for [`retry`](crate::retry), with a new session and new credentials.

mod check_list;
mod intake;
mod outcome;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use self::check_list::{CheckList, Key, Origin, Pair, State};
pub use self::check_list::{FEW, GAPS, MAX_PAIRS, PACE, PACE_OF_FEW};
pub use self::outcome::{Event, PathKind, Why};
use crate::candidate::{
    Added, Candidate, CandidateKind, Candidates, MAX_CANDIDATES, SocketId, is_private,
    pair_priority,
};
use crate::check::{Keys, Nomination, Outstanding, Sent, Way};
use crate::offer::{Credentials, NatProfile, Offer, SessionId, Wish, timestamp};
use crate::punch::{Budget, Need, NotNow, Plan, Punch, Purpose, Role};
use crate::retry::Effort;
use crate::stun::TransactionId;

/// How long candidates may come in, and the peer may begin later than we, before no path is a
/// failure.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long the peer's offer is waited for.
pub const OFFER_PATIENCE: Duration = Duration::from_secs(30);

/// How long the controlled side waits for a nomination when a punched path works.
const NOMINATION_PATIENCE: Duration = Duration::from_secs(1);

/// Times that a nomination is sent until it is answered.
const NOMINATIONS: u8 = 5;

/// Most answers and probes that wait to be sent; the peer makes them, so the oldest are dropped.
pub const MAX_QUEUE: usize = 64;

/// A datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From which socket, or through which allocation.
    pub socket: SocketId,
    /// Where to.
    pub destination: SocketAddr,
    /// Its payload.
    pub payload: Bytes,
}

/// What was done with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It was a check or an answer of this session.
    Taken,
    /// It is for somebody else, or for nobody.
    NotOurs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Looking for paths.
    Active,
    /// Done: with paths, or without. Nothing is begun any more.
    Ended,
}

/// A nomination that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Nominating {
    key: Key,
    sent: u8,
    next_at: Instant,
}

/// What the peer has told.
#[derive(Debug)]
struct Peer {
    offer: Offer,
    since: Instant,
}

/// One attempt to find paths to one peer.
#[derive(Debug)]
pub struct Session {
    rng: ChaCha20Rng,
    role: Role,
    id: SessionId,
    credentials: Credentials,
    nat: NatProfile,
    keys: Keys,
    candidates: Candidates,
    peer: Option<Peer>,
    started: Instant,
    phase: Phase,
    list: CheckList,
    punch: Option<Punch>,
    held_aim: Option<Key>,
    outstanding: Outstanding,
    queue: VecDeque<Transmit>,
    probes: VecDeque<Key>,
    nominating: Option<Nominating>,
    nominated_by_peer: Option<Key>,
    decide_by: Option<Instant>,
    chosen: Option<Key>,
    /// Pairs the peer was heard on before its offer was here.
    early: Vec<(Key, Way)>,
    blocked_until: Option<Instant>,
    relays: RelayUse,
    events: VecDeque<Event>,
    needs: VecDeque<Need>,
}

/// Whether the peer may come through a relay of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RelayUse {
    /// It may.
    #[default]
    Any,
    /// It may not: checks that come through one are not answered.
    None,
}

impl Session {
    /// An attempt that begins now. `id` is the caller's; `seed` has to be unpredictable: it makes
    /// the credentials.
    #[must_use]
    pub fn new(now: Instant, role: Role, id: SessionId, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let credentials = Credentials::random(&mut rng);
        Self {
            rng,
            role,
            id,
            keys: Keys::new(&credentials),
            credentials,
            nat: NatProfile::default(),
            candidates: Candidates::default(),
            peer: None,
            started: now,
            phase: Phase::Active,
            list: CheckList::new(now),
            punch: None,
            held_aim: None,
            outstanding: Outstanding::default(),
            queue: VecDeque::new(),
            probes: VecDeque::new(),
            nominating: None,
            nominated_by_peer: None,
            decide_by: None,
            chosen: None,
            early: Vec::new(),
            blocked_until: None,
            relays: RelayUse::default(),
            events: VecDeque::new(),
            needs: VecDeque::new(),
        }
    }

    /// Its number, the same on both sides.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What it has tried, for the [ladder](crate::retry::Ladder).
    #[must_use]
    pub fn effort(&self) -> Effort {
        match self.punch.as_ref().map(Punch::plan) {
            None | Some(Plan::Checks | Plan::RelayOnly) => Effort::Checks,
            Some(_) => Effort::ManyPorts,
        }
    }

    /// What is known of the own NAT. Tell it before the offer is made: both sides plan by it.
    pub fn set_nat(&mut self, nat: NatProfile) {
        self.nat = nat;
    }

    /// Whether the peer may come through a relay; the default is that it may.
    pub fn set_relays(&mut self, relays: RelayUse) {
        self.relays = relays;
    }

    /// Adds a candidate of ours and the socket it belongs to. When it is new and the peer has an
    /// offer already, send another with [`Wish::Update`].
    pub fn add_candidate(&mut self, candidate: Candidate, socket: SocketId) -> Added {
        let added = self.candidates.add(candidate, socket);
        if added == Added::New {
            self.pair_up();
        }
        added
    }

    /// The offer for the peer, as things are now.
    #[must_use]
    pub fn offer(&self, wall: SystemTime, wish: Wish) -> Offer {
        Offer {
            wish,
            session: self.id,
            timestamp: timestamp(wall),
            credentials: self.credentials.clone(),
            nat: self.nat.clone(),
            candidates: self.candidates.iter().map(|(c, _)| *c).collect(),
        }
    }

    /// Whether the peer's offer is here.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.peer.is_some()
    }

    /// Whether nothing is begun any more, with a path or without: candidates and offers come too
    /// late.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Addresses of the peer that are not a relay's, as it has told them, best first.
    pub fn direct_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let told = self.peer.iter().flat_map(|peer| &peer.offer.candidates);
        let direct = told.filter(|candidate| candidate.kind != CandidateKind::Relayed);
        direct.map(|candidate| candidate.address)
    }

    /// Takes the peer's offer; a later one of the same session adds candidates, up to
    /// [`MAX_CANDIDATES`]. Offers of other sessions and after the end are not looked at.
    pub fn handle_offer(&mut self, now: Instant, mut offer: Offer) {
        if offer.session != self.id || self.phase == Phase::Ended {
            return;
        }
        offer.candidates.truncate(MAX_CANDIDATES);
        match &mut self.peer {
            Some(peer) if peer.offer.credentials != offer.credentials => return,
            Some(peer) => {
                for candidate in offer.candidates {
                    let known = |c: &Candidate| c.address == candidate.address;
                    let full = peer.offer.candidates.len() >= MAX_CANDIDATES;
                    if !full && !peer.offer.candidates.iter().any(known) {
                        peer.offer.candidates.push(candidate);
                    }
                }
                peer.offer.nat = offer.nat;
            }
            None => {
                self.keys.set_peer(&offer.credentials);
                self.peer = Some(Peer { offer, since: now });
            }
        }
        self.pair_up();
        self.plan(now);
        for (key, way) in std::mem::take(&mut self.early) {
            self.learn(key, way);
            self.list.trigger(now, key);
        }
    }

    /// Further sockets, as asked for with [`Need::Sockets`]. Those that nobody wants any more are
    /// given back at once.
    pub fn add_sockets(&mut self, sockets: &[SocketId]) {
        match &mut self.punch {
            Some(punch) => punch.on_sockets(sockets),
            None => self
                .needs
                .extend(sockets.iter().copied().map(Need::Release)),
        }
    }

    /// A socket or allocation is gone, and the paths from it with it.
    pub fn remove_socket(&mut self, socket: SocketId) {
        self.candidates.remove_socket(socket);
        self.list.remove_socket(socket);
        self.probes.retain(|key| key.0 != socket);
        self.nominating = self.nominating.filter(|n| n.key.0 != socket);
    }

    /// Asks the peer on a path that works, once; [`Event::Answered`] tells of the answer. For
    /// keepalive, and for finding out whether a path has died.
    pub fn probe(&mut self, socket: SocketId, remote: SocketAddr) {
        let key = (socket, remote);
        let works = self.list.find(key).is_some_and(|pair| pair.works());
        if works && !self.probes.contains(&key) {
            self.probes.push_back(key);
        }
    }

    /// What was due has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.list.expire(now);
        if let Some(punch) = &mut self.punch {
            punch.handle_timeout(now);
        }
        if self.decide_by.is_some_and(|at| at <= now) {
            self.decide_by = None;
            self.decide();
        }
        self.conclude(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) and then
    /// [`poll_transmit`](Self::poll_transmit) are to be called again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sends = !self.queue.is_empty() || !self.probes.is_empty() || self.held_aim.is_some();
        let mut due = Vec::new();
        due.extend(self.blocked_until.filter(|_| sends));
        due.extend(self.nominating.map(|n| n.next_at));
        if self.phase == Phase::Active {
            due.extend(self.list.poll_timeout());
            due.extend(self.decide_by);
            if self.held_aim.is_none() {
                due.extend(self.punch.as_ref().and_then(Punch::poll_timeout));
            }
            due.extend(self.gives_up_at());
        }
        let due = due.into_iter().min()?;
        // Nothing can leave before that, so there is no use in waking up.
        Some(self.blocked_until.map_or(due, |at| at.max(due)))
    }

    /// What the driver is asked to open or close.
    pub fn poll_need(&mut self) -> Option<Need> {
        let punching = self.punch.as_mut().and_then(Punch::poll_need);
        punching.or_else(|| self.needs.pop_front())
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next datagram, as far as the node's `budget` allows. What would need one entry too many
    /// is not sent; what is too early waits.
    pub fn poll_transmit(&mut self, now: Instant, budget: &mut Budget) -> Option<Transmit> {
        self.blocked_until = None;
        self.list.expire(now);
        loop {
            let (key, purpose) = self.next_due(now)?;
            let taken = budget.take(now, key, purpose);
            if let Err(NotNow::Pace(until)) = taken {
                self.blocked_until = Some(until);
                return None;
            }
            let transmit = self.next_transmit(now, key, purpose);
            if taken.is_ok() && transmit.is_some() {
                return transmit;
            }
            if let (Err(NotNow::Entries(_)), Purpose::Punch, Some(punch)) =
                (taken, purpose, &mut self.punch)
            {
                punch.exhaust();
            }
        }
    }

    /// Where the next datagram goes: answers first, then checks, then many ports.
    fn next_due(&mut self, now: Instant) -> Option<(Key, Purpose)> {
        if let Some(next) = self.queue.front() {
            return Some(((next.socket, next.destination), Purpose::Check));
        }
        if let Some((key, _)) = self.next_check(now) {
            return Some((key, Purpose::Check));
        }
        if self.held_aim.is_none() && self.phase == Phase::Active {
            let punch = self.punch.as_mut()?;
            self.held_aim = punch.poll_aim(now, &mut self.rng);
        }
        self.held_aim.map(|key| (key, Purpose::Punch))
    }

    /// Takes out what [`next_due`](Self::next_due) has named.
    fn next_transmit(&mut self, now: Instant, key: Key, purpose: Purpose) -> Option<Transmit> {
        if purpose == Purpose::Punch {
            self.held_aim = None;
            return self.check(now, key, Nomination::None);
        }
        if let Some(answer) = self.queue.pop_front() {
            return Some(answer);
        }
        let (key, nomination) = self.next_check(now)?;
        self.on_check_sent(now, key, nomination);
        self.check(now, key, nomination)
    }

    /// The check that is due, other than those of punching.
    fn next_check(&self, now: Instant) -> Option<(Key, Nomination)> {
        if let Some(nominating) = self.nominating.filter(|n| n.next_at <= now) {
            return Some((nominating.key, Nomination::UseThis));
        }
        if let Some(key) = self.probes.front() {
            return Some((*key, Nomination::None));
        }
        let key = (self.phase == Phase::Active).then(|| self.list.due(now))??;
        Some((key, Nomination::None))
    }

    fn on_check_sent(&mut self, now: Instant, key: Key, nomination: Nomination) {
        if nomination == Nomination::UseThis {
            self.nominating = self.nominating.and_then(|mut nominating| {
                nominating.sent += 1;
                nominating.next_at = now + Duration::from_millis(150);
                (nominating.sent < NOMINATIONS).then_some(nominating)
            });
        } else if self.probes.front() == Some(&key) {
            self.probes.pop_front();
        } else {
            self.list.on_sent(now, key);
        }
    }

    fn check(&mut self, now: Instant, key: Key, nomination: Nomination) -> Option<Transmit> {
        let id = TransactionId::random(&mut self.rng);
        let (socket, remote) = key;
        let relayed = |(local, of): &(Candidate, SocketId)| {
            *of == socket && local.kind == CandidateKind::Relayed
        };
        let way = if self.candidates.iter().any(relayed) {
            Way::Relayed
        } else {
            Way::Direct
        };
        let payload = self.keys.request(id, nomination, way)?;
        let sent = Sent {
            socket,
            remote,
            at: now,
        };
        self.outstanding.insert(id, sent);
        Some(Transmit {
            socket,
            destination: remote,
            payload,
        })
    }

    /// Pairs of all own sockets with all candidates of the peer, of the same family.
    fn pair_up(&mut self) {
        let Some(peer) = &self.peer else { return };
        for (index, remote) in peer.offer.candidates.iter().enumerate() {
            for (own_index, (local, socket)) in self.candidates.iter().enumerate() {
                let relayed = local.kind == CandidateKind::Relayed;
                // A relay does not reach what is private to the peer's network.
                let beyond =
                    relayed && is_private(remote.address.ip()) && !is_private(local.address.ip());
                if local.address.is_ipv6() != remote.address.is_ipv6() || beyond {
                    continue;
                }
                let ours = local.priority(own_index);
                let theirs = remote.priority(index);
                self.list.add(Pair {
                    key: (*socket, remote.address),
                    local: local.kind,
                    remote: remote.kind,
                    priority: self.priority(ours, theirs),
                    origin: Origin::Known,
                    state: State::Waiting,
                    announced: false,
                });
            }
        }
    }

    fn priority(&self, ours: u32, theirs: u32) -> u64 {
        match self.role {
            Role::Controlling => pair_priority(ours, theirs),
            Role::Controlled => pair_priority(theirs, ours),
        }
    }

    /// Begins to punch when what both sides have told asks for it.
    fn plan(&mut self, now: Instant) {
        let Some(peer) = &self.peer else { return };
        let busy = self.punch.as_ref();
        let busy = busy.is_some_and(|punch| !matches!(punch.plan(), Plan::Checks));
        if busy || self.chosen.is_some() {
            return;
        }
        let own = self.offer(SystemTime::UNIX_EPOCH, Wish::Update);
        let plan = Plan::new(self.role, &own, &peer.offer);
        self.punch = Some(Punch::new(now, plan));
    }
}

#[cfg(test)]
mod tests;
