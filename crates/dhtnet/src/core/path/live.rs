//! The paths of a connection that is up: one carries data, the others are known to work or are
//! being tried, and all are asked with checks (STUN, RFC 8445 section 7) that only the two ends can
//! make: their keys come from the handshake.
//!
//! What is used and when a path is dead, `nat_traversal::path` decides. Here are the addresses, the
//! checks, and what is done with an address that nobody has tried: it is asked a few times, and
//! becomes a path when it answers.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet_nat_traversal::check::{Incoming, Keys, Nomination, Way, tagged};
use dhtnet_nat_traversal::offer::Credentials;
use dhtnet_nat_traversal::path::{self, Event, Load, PathId, Reason};
use dhtnet_nat_traversal::punch::Role;
use dhtnet_nat_traversal::stun::TransactionId;
use rand_chacha::ChaCha20Rng;

use super::{Change, PathAddress, PathKind, Route, Standing, Via};

/// Most addresses that are remembered for one connection: those of the paths that work, and as
/// many that did.
pub(crate) const MAX_KNOWN: usize = 2 * path::MAX_PATHS;

/// Most addresses that are tried at once. A peer can name new ones by sending from them; each
/// costs [`TRIES`] checks of some 90 bytes.
pub(super) const MAX_TRIALS: usize = 16;

/// Checks that an address gets until it has to have answered, at these times after each other.
const TRIES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
];

/// Checks that are waited for; the oldest is given up for a new one.
const MAX_ASKED: usize = 64;

/// Checks and answers that wait to be sent; the oldest is dropped for a new one.
const MAX_QUEUE: usize = 64;

/// Most direct addresses that are asked again and again while all goes through a relay.
pub(super) const MAX_HOPES: usize = 6;

/// How often: at first, for so long, the newest of them and one of the others in turn; then all. A
/// NAT or firewall that was opened is noticed within a second, at the price of two checks.
const HOPE_AT_FIRST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const HOPE_LATER: Duration = Duration::from_secs(15);

/// Silence of the path in use after which a peer that sends on another one is taken to have left
/// it. More than the gaps in a stream that is not idle; an idle one is always silent that long.
const FOLLOW_AFTER: Duration = Duration::from_millis(250);

/// How often sending and receiving are noted: often enough for a patience of half a second.
const NOTE_EVERY: Duration = Duration::from_millis(50);

/// A stream of datagrams that stops for so long is looked into: the NAT may have forgotten us, and
/// who only receives would not notice.
const SUDDEN_SILENCE: Duration = Duration::from_secs(1);

/// Datagrams are a stream when so many in a row were noted within this time of each other.
const STREAM: (u8, Duration) = (3, Duration::from_millis(200));

/// How often everything that is known is asked while nothing answers.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// What the checks of one connection are made and proved with.
#[derive(Debug)]
pub(crate) struct CheckKeys {
    keys: Keys,
    tag: u32,
    role: Role,
}

impl CheckKeys {
    /// The controlling side chooses among paths that are alike.
    pub(crate) fn new(own: &Credentials, peer: &Credentials, role: Role) -> Self {
        let mut keys = Keys::new(own);
        keys.set_peer(peer);
        Self {
            keys,
            tag: own.tag(),
            role,
        }
    }
}

/// An address that has not answered yet.
#[derive(Debug)]
struct Trial {
    route: Route,
    tries: usize,
    due: Instant,
}

#[derive(Debug)]
pub(super) struct Live {
    check: CheckKeys,
    machine: path::Paths,
    /// Most recently useful first.
    known: Vec<PathAddress>,
    current: PathAddress,
    reason: (Reason, Instant),
    heard: Instant,
    /// When the peer was last heard, on any path. A change of paths sets `heard` anew, and not this.
    received: Instant,
    /// When the path in use last answered a check.
    answered: Instant,
    sent: (Instant, Load),
    /// Datagrams noted in a row, and when their silence is to be looked into.
    streak: u8,
    quiet_at: Option<Instant>,
    /// When everything is asked again, while nothing answers.
    lost: Option<Instant>,
    trials: VecDeque<Trial>,
    /// Direct addresses that have not answered, newest first, since when they are asked, and when
    /// again.
    hopes: VecDeque<Route>,
    hope: Option<(Instant, Instant)>,
    /// Rounds of asking them.
    turn: usize,
    asked: BTreeMap<TransactionId, (PathId, Instant)>,
    to_ask: VecDeque<PathId>,
    queue: VecDeque<(Bytes, PathAddress)>,
    changes: VecDeque<Change>,
}

impl Live {
    pub(super) fn new(now: Instant, check: CheckKeys, current: Route, others: &[Route]) -> Self {
        let machine = match check.role {
            Role::Controlling => path::Paths::default(),
            Role::Controlled => path::Paths::following(),
        };
        let mut live = Self {
            check,
            machine,
            known: vec![current.path],
            current: current.path,
            reason: (Reason::First, now),
            heard: now,
            received: now,
            answered: now,
            sent: (now, Load::Idle),
            streak: 0,
            quiet_at: None,
            lost: None,
            trials: VecDeque::new(),
            hopes: VecDeque::new(),
            hope: None,
            turn: 0,
            asked: BTreeMap::new(),
            to_ask: VecDeque::new(),
            queue: VecDeque::new(),
            changes: VecDeque::new(),
        };
        let id = current.path.id();
        match current.round_trip {
            Some(round_trip) => live.machine.on_works(now, id, current.kind, round_trip),
            None => live.machine.on_works_unmeasured(now, id, current.kind),
        }
        while live.machine.poll_event().is_some() {}
        for other in others {
            live.add(now, *other);
        }
        if current.kind == PathKind::Relayed || current.round_trip.is_none() {
            // A check measures the round trip, and the other side learns from it that there is a
            // relay between, as soon as its handshake is done too.
            live.trials.push_back(Trial {
                route: current,
                tries: 0,
                due: now,
            });
        }
        live
    }

    /// Adds a way, and tries it. One that was measured leads to the peer's key; whether it leads to
    /// the program that knows this connection, a check with the connection's own keys has to show.
    pub(super) fn add(&mut self, now: Instant, route: Route) {
        let (id, is_relayed) = (route.path.id(), route.kind == PathKind::Relayed);
        if is_relayed && self.works(&route.path) {
            self.machine.set_kind(id, route.kind);
            self.settle(now);
            return;
        }
        if route.round_trip.is_some() && self.trials.len() >= MAX_TRIALS {
            self.trials.pop_back();
        }
        self.try_out(now, route);
        if route.round_trip.is_none() {
            self.hope_for(now, route);
        }
    }

    /// Keeps a direct address in mind, for the time when only a relay works.
    fn hope_for(&mut self, now: Instant, route: Route) {
        if route.kind == PathKind::Relayed || self.works(&route.path) {
            return;
        }
        self.hopes
            .retain(|hope| !hope.path.is_same_path(&route.path));
        self.hopes.push_front(route);
        self.hopes.truncate(MAX_HOPES);
        self.hope = Some((now, now + HOPE_AT_FIRST.0));
    }

    fn is_relayed(&self) -> bool {
        let id = self.current.id();
        let mut all = self.machine.iter();
        all.any(|(path, kind, _)| path == id && kind == PathKind::Relayed)
    }

    /// Asks the direct addresses once more, while all goes through a relay.
    fn ask_hopes(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        let Some((since, _)) = self.hope.filter(|(_, due)| *due <= now) else {
            return;
        };
        if self.hopes.is_empty() || !self.is_relayed() {
            self.hope = None;
            return;
        }
        let (often, at_first) = HOPE_AT_FIRST;
        let early = now.saturating_duration_since(since) < at_first;
        self.hope = Some((since, now + if early { often } else { HOPE_LATER }));
        let others = self.hopes.len() - 1;
        let in_turn = self.turn.checked_rem(others).map_or(0, |turn| turn + 1);
        self.turn = self.turn.wrapping_add(1);
        for (place, hope) in self.hopes.clone().iter().enumerate() {
            if !early || place == 0 || place == in_turn {
                self.ask(now, (hope.path, hope.kind), rng);
            }
        }
    }

    fn try_out(&mut self, now: Instant, route: Route) {
        let same = |trial: &Trial| trial.route.path.is_same_path(&route.path);
        let works = self.works(&route.path);
        if works || self.trials.len() >= MAX_TRIALS || self.trials.iter().any(same) {
            return;
        }
        self.trials.push_back(Trial {
            route,
            tries: 0,
            due: now,
        });
    }

    fn works(&self, path: &PathAddress) -> bool {
        let id = path.id();
        self.machine.iter().any(|(known, ..)| known == id)
    }

    /// Keeps an address, in place of the one that was useful longest ago.
    fn remember(&mut self, path: PathAddress) {
        self.known.retain(|known| !known.is_same_path(&path));
        self.known.insert(0, path);
        self.known.truncate(MAX_KNOWN);
    }

    fn address(&self, id: PathId) -> PathAddress {
        let known = self.known.iter().find(|known| known.id() == id);
        known.copied().unwrap_or_else(|| id.into())
    }

    /// Most datagrams of a stream are the expected ones: only now and then is looked closer, unless
    /// something waits for an answer.
    pub(super) fn needs_proof(&self, now: Instant, from: &PathAddress) -> bool {
        let (_, load) = self.sent;
        let fresh = now.saturating_duration_since(self.heard) < NOTE_EVERY;
        let expected = fresh && load == Load::Idle && self.lost.is_none();
        !(expected && self.current.is_same_path(from))
    }

    /// The peer was heard, authentically.
    pub(super) fn on_received(&mut self, now: Instant, from: PathAddress) {
        self.received = now;
        if self.current.is_same_path(&from) {
            let (enough, gap) = STREAM;
            let follows = now.saturating_duration_since(self.heard) < gap;
            self.streak = if follows {
                self.streak.saturating_add(1)
            } else {
                0
            };
            self.quiet_at = (self.streak >= enough).then_some(now + SUDDEN_SILENCE);
            self.heard = now;
            self.sent.1 = Load::Idle;
            self.current = from;
            self.remember(from);
        }
        let id = from.id();
        if !self.works(&from) {
            self.try_out(now, Route::untried(from));
            return;
        }
        self.machine.on_received(now, id);
        self.machine.on_peer_uses(id);
        let silent = now.saturating_duration_since(self.heard) > FOLLOW_AFTER;
        if silent && !self.current.is_same_path(&from) {
            self.machine.on_peer_moved(now, id);
        }
        self.settle(now);
    }

    pub(super) fn needs_load(&self, now: Instant) -> bool {
        let (at, load) = self.sent;
        load == Load::Idle || now.saturating_duration_since(at) >= NOTE_EVERY
    }

    pub(super) fn on_sent(&mut self, now: Instant, load: Load) {
        self.sent = (now, load);
        self.machine.on_sent(now, self.current.id(), load);
    }

    /// Takes a check. False when it is not the peer's.
    pub(super) fn handle_check(
        &mut self,
        now: Instant,
        from: PathAddress,
        datagram: &[u8],
    ) -> bool {
        match self.check.keys.open(datagram) {
            Some(Incoming::Request { id, way, .. }) => {
                self.received = now;
                let answer = self.check.keys.answer(id, from.remote);
                self.enqueue(answer, from);
                let mut route = Route::untried(from);
                if way == Way::Relayed {
                    route.kind = PathKind::Relayed;
                    self.machine.set_kind(from.id(), route.kind);
                }
                if self.works(&from) {
                    self.machine.on_received(now, from.id());
                } else {
                    self.try_out(now, route);
                }
            }
            Some(Incoming::Response { id, .. }) => self.on_answer(now, id, from),
            None => return false,
        }
        self.settle(now);
        true
    }

    fn on_answer(&mut self, now: Instant, id: TransactionId, from: PathAddress) {
        let path = from.id();
        let Some((asked, at)) = self.asked.get(&id).copied() else {
            return;
        };
        if asked != path {
            return;
        }
        self.asked.remove(&id);
        self.received = now;
        if self.current.is_same_path(&from) {
            self.answered = now;
        }
        let round_trip = now.saturating_duration_since(at);
        self.remember(from);
        let tried = |trial: &Trial| trial.route.path.is_same_path(&from);
        let trial = self.trials.iter().position(tried);
        let trial = trial.and_then(|at| self.trials.remove(at));
        if self.works(&from) {
            self.machine.on_round_trip(now, path, round_trip);
            return;
        }
        let kind = trial.map_or(Route::untried(from).kind, |trial| trial.route.kind);
        self.hopes.retain(|hope| !hope.path.is_same_path(&from));
        self.machine.on_works(now, path, kind, round_trip);
    }

    /// Carries out what the machine says.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Use { path, reason } => {
                    let address = self.address(path);
                    if self.lost.take().is_some() {
                        self.changes.push_back(Change::Found);
                    }
                    self.heard = now;
                    self.sent.1 = Load::Idle;
                    if !self.current.is_same_path(&address) {
                        // What was direct and is left for a relay may come back.
                        self.hope_for(now, Route::untried(self.current));
                        self.changes.push_back(Change::Use(address, reason));
                        self.reason = (reason, now);
                    }
                    self.current = address;
                    self.remember(address);
                }
                Event::Probe(path) => self.to_ask.push_back(path),
                Event::AllDead => {
                    self.lost = Some(now);
                    self.changes.push_back(Change::Lost);
                }
                _ => {}
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        if self.machine.poll_timeout().is_some_and(|at| at <= now) {
            self.machine.handle_timeout(now);
            self.settle(now);
        }
        if self.quiet_at.is_some_and(|at| at <= now) {
            self.quiet_at = None;
            self.to_ask.push_back(self.current.id());
            self.machine.on_sent(now, self.current.id(), Load::Waiting);
        }
        if self.lost.is_some_and(|at| at <= now) {
            self.lost = Some(now + SEARCH_EVERY);
            for path in self.known.clone() {
                self.try_out(now, Route::untried(path));
            }
        }
        self.ask_hopes(now, rng);
        while let Some(path) = self.to_ask.pop_front() {
            let kind = self.machine.iter().find(|(id, ..)| *id == path);
            let kind = kind.map_or(PathKind::Direct, |(_, kind, _)| kind);
            self.ask(now, (self.address(path), kind), rng);
        }
        for _ in 0..self.trials.len() {
            let Some(mut trial) = self.trials.pop_front() else {
                break;
            };
            if trial.due <= now {
                let Some(wait) = TRIES.get(trial.tries) else {
                    continue;
                };
                self.ask(now, (trial.route.path, trial.route.kind), rng);
                trial.tries += 1;
                trial.due = now + *wait;
            }
            self.trials.push_back(trial);
        }
    }

    fn ask(&mut self, now: Instant, (path, kind): (PathAddress, PathKind), rng: &mut ChaCha20Rng) {
        let id = tagged(self.check.tag, rng);
        let way = match kind {
            PathKind::Relayed => Way::Relayed,
            _ => Way::Direct,
        };
        let Some(request) = self.check.keys.request(id, Nomination::None, way) else {
            return;
        };
        if self.asked.len() >= MAX_ASKED {
            let oldest = self.asked.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.asked.remove(&oldest);
            }
        }
        self.asked.insert(id, (path.id(), now));
        self.enqueue(request, path);
    }

    fn enqueue(&mut self, datagram: Bytes, to: PathAddress) {
        if self.queue.len() >= MAX_QUEUE {
            self.queue.pop_front();
        }
        self.queue.push_back((datagram, to));
    }

    /// Forgets which own address a path leaves from, and asks all of them.
    pub(super) fn on_network_change(&mut self, now: Instant) {
        self.current.local_ip = None;
        for known in &mut self.known {
            known.local_ip = None;
        }
        self.machine.on_network_change(now);
        self.settle(now);
        self.hope = self.hope.map(|_| (now, now));
        if self.lost.is_some() {
            self.lost = Some(now);
        }
    }

    pub(super) fn on_via_gone(&mut self, now: Instant, via: Via) {
        self.known.retain(|known| known.via != via);
        self.trials.retain(|trial| trial.route.path.via != via);
        self.hopes.retain(|hope| hope.path.via != via);
        self.queue.retain(|(_, to)| to.via != via);
        self.machine.on_socket_gone(
            PathAddress {
                via,
                ..self.current
            }
            .id()
            .socket,
        );
        self.settle(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let asks = (!self.to_ask.is_empty()).then_some(self.heard);
        let trials = self.trials.iter().map(|trial| trial.due).min();
        let machine = self.machine.poll_timeout();
        let hope = self.hope.map(|(_, due)| due);
        let due = [machine, self.lost, self.quiet_at, asks, trials, hope];
        due.into_iter().flatten().min()
    }

    pub(super) fn poll_check(&mut self) -> Option<(Bytes, PathAddress)> {
        self.queue.pop_front()
    }

    pub(super) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(super) fn destinations(&self) -> &[PathAddress] {
        match self.lost {
            Some(_) if !self.known.is_empty() => &self.known,
            _ => std::slice::from_ref(&self.current),
        }
    }

    pub(super) fn current(&self) -> PathAddress {
        self.current
    }

    pub(super) fn reason(&self) -> (Reason, Instant) {
        self.reason
    }

    pub(super) fn is_heard_since(&self, at: Instant) -> bool {
        self.heard > at || self.answered > at
    }

    /// When the program that has the other end of this connection was last heard, on any path.
    pub(super) fn last_received(&self) -> Instant {
        self.received
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = Standing> {
        self.machine.iter().map(|(id, kind, round_trip)| Standing {
            route: Route {
                path: self.address(id),
                kind,
                round_trip: Some(round_trip),
            },
            in_use: self.lost.is_none() && self.current.id() == id,
        })
    }
}

#[cfg(test)]
mod tests;
