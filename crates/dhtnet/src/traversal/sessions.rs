//! The sessions of a node, as its driver moves them: datagrams, time, sockets, and what was found.

mod tidying;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::candidate::{Added, Candidate, CandidateKind, SocketId, is_private};
use dhtnet_nat_traversal::offer::{Offer, SessionId, Wish};
use dhtnet_nat_traversal::path::PathId;
use dhtnet_nat_traversal::punch::{Budget, Need, Purpose};
use dhtnet_nat_traversal::retry::Effort;
use dhtnet_nat_traversal::session::{Event, Handled, PathKind, RelayUse, Session, Transmit};
use dhtnet_nat_traversal::stun::{Message, TransactionId};
use tokio::sync::Notify;

use super::stun_servers::StunServers;
use crate::core::path::{FIRST_EXTRA, FIRST_RELAY, PathAddress, Route, Via};
use crate::interfaces::Tunnels;
use crate::relays::{PathPreference, Relays};

/// Sessions at the same time: a device is called by a few others at once, and each may hold a
/// few hundred sockets for ten seconds.
pub(crate) const MAX_SESSIONS: usize = 64;

/// Sockets that are open for punching at the same time, of all sessions.
pub(crate) const MAX_EXTRA_SOCKETS: usize = 1_024;

/// Empty messages that wait to be sent.
const MAX_GREETINGS: usize = 64;

/// How long a session whose path works is kept while no connection uses it: the handshake over
/// the path needs a few round trips.
const GRACE: Duration = Duration::from_secs(15);

/// How often is looked whether a session is still of use.
const TIDY: Duration = Duration::from_secs(5);

/// Addresses of a peer that are admitted at relays, for one session: those of its candidates, and
/// of those that come later as many again.
const MAX_REMOTES: usize = 2 * dhtnet_nat_traversal::candidate::MAX_CANDIDATES;

/// A path that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) peer: DeviceId,
    pub(crate) route: Route,
}

/// What the driver is asked to do with its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Open this one.
    Open(u16),
    /// Close it.
    Close(u16),
    /// It carries data from now on.
    Enlarge(u16),
}

/// All sessions, and what they share.
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
    relays: Arc<Relays>,
    stun: StunServers,
    preference: PathPreference,
    /// Told when a session is over.
    ended: Notify,
}

#[derive(Default)]
struct Inner {
    sessions: BTreeMap<SessionId, Entry>,
    budget: Budget,
    /// Which session a socket belongs to.
    sockets: BTreeMap<u16, SessionId>,
    orders: VecDeque<Order>,
    found: VecDeque<Found>,
    /// Empty messages that open the NAT to somebody.
    greetings: VecDeque<SocketAddr>,
    next_tidy: Option<Instant>,
    /// Sessions since the start.
    begun: u64,
    closed: bool,
}

struct Entry {
    peer: DeviceId,
    session: Session,
    /// When a path was first found.
    found: Option<Instant>,
    /// One of the paths that were found goes through no relay.
    is_direct: bool,
    over: bool,
    /// Somebody waits for it.
    wanted: bool,
    /// How many were begun before it.
    serial: u64,
    /// Allocations that it uses.
    relays: BTreeSet<u16>,
    /// Where the peer may send from, as it has told.
    remotes: BTreeSet<IpAddr>,
}

/// Keeps a session going; when it is dropped, the session stays only for the sake of a
/// connection.
pub(crate) struct Call {
    id: SessionId,
    sessions: Arc<Sessions>,
}

impl Call {
    /// Waits until nothing more is tried.
    pub(crate) async fn over(&self) {
        self.sessions.over(self.id).await;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(entry) = self.sessions.lock().sessions.get_mut(&self.id) {
            entry.wanted = false;
        }
    }
}

impl Sessions {
    pub(crate) fn new(relays: Arc<Relays>, stun: StunServers, preference: PathPreference) -> Self {
        Self {
            inner: Mutex::default(),
            relays,
            stun,
            preference,
            ended: Notify::new(),
        }
    }

    /// What STUN servers tell.
    pub(crate) fn stun(&self) -> &StunServers {
        &self.stun
    }

    /// Whether what comes to this end of ours is looked at.
    pub(crate) fn may_use(&self, via: Via) -> bool {
        match self.preference {
            PathPreference::Any => true,
            PathPreference::Direct => !matches!(via, Via::Relay(_)),
            PathPreference::Relay => matches!(via, Via::Relay(_)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session up. `None` when there are [`MAX_SESSIONS`], or it is known.
    pub(crate) fn insert(self: &Arc<Self>, peer: DeviceId, mut session: Session) -> Option<Call> {
        if self.preference == PathPreference::Direct {
            session.set_relays(RelayUse::None);
        }
        let mut inner = self.lock();
        let id = session.id();
        let full = inner.sessions.len() >= MAX_SESSIONS;
        if full || inner.closed || inner.sessions.contains_key(&id) {
            return None;
        }
        let serial = inner.begun;
        inner.begun += 1;
        let entry = Entry {
            peer,
            session,
            found: None,
            is_direct: false,
            over: false,
            wanted: true,
            serial,
            relays: BTreeSet::new(),
            remotes: BTreeSet::new(),
        };
        inner.sessions.insert(id, entry);
        Some(Call {
            id,
            sessions: self.clone(),
        })
    }

    /// Waits until nothing more is tried in a session.
    pub(crate) async fn over(&self, id: SessionId) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.is_over(id) {
                return;
            }
            ended.await;
        }
    }

    /// Waits until a session is of no use to anybody.
    pub(crate) async fn gone(&self, id: SessionId) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !self.lock().sessions.contains_key(&id) {
                return;
            }
            ended.await;
        }
    }

    /// Whether nothing more is tried in a session.
    pub(crate) fn is_over(&self, id: SessionId) -> bool {
        let inner = self.lock();
        inner.sessions.get(&id).is_none_or(|entry| entry.over)
    }

    /// Whether what comes to be known is too late for a session: it has ended, with a path or
    /// without.
    pub(crate) fn is_ended(&self, id: SessionId) -> bool {
        let inner = self.lock();
        let entry = inner.sessions.get(&id);
        entry.is_none_or(|entry| entry.session.is_ended())
    }

    /// The offer for the peer of a session, as things are now.
    pub(crate) fn offer(&self, id: SessionId, wish: Wish) -> Option<Offer> {
        let inner = self.lock();
        let entry = inner.sessions.get(&id)?;
        Some(entry.session.offer(SystemTime::now(), wish))
    }

    /// Whether the peer has answered with an offer of its own.
    pub(crate) fn is_answered(&self, id: SessionId) -> bool {
        let inner = self.lock();
        let entry = inner.sessions.get(&id);
        entry.is_some_and(|entry| entry.session.is_answered())
    }

    /// Whether the peer has answered in any session that still runs.
    pub(crate) fn is_answered_by(&self, peer: &DeviceId) -> bool {
        let inner = self.lock();
        let mut entries = inner.sessions.values();
        entries.any(|entry| entry.peer == *peer && entry.session.is_answered())
    }

    /// Whether a session with this peer runs under this number.
    pub(crate) fn has(&self, id: SessionId, peer: &DeviceId) -> bool {
        let inner = self.lock();
        inner.sessions.get(&id).is_some_and(|e| e.peer == *peer)
    }

    /// The peer's offer for a session of ours, the first or a later one.
    pub(crate) fn handle_offer(&self, now: Instant, id: SessionId, mut offer: Offer) {
        let tunnels = Tunnels::now();
        let is_inside = |candidate: &Candidate| tunnels.contain(candidate.address.ip());
        let mut inner = self.lock();
        let Some(entry) = inner.sessions.get_mut(&id) else {
            return;
        };
        for candidate in offer
            .candidates
            .extract_if(.., |offered| is_inside(offered))
        {
            let (peer, address) = (entry.peer.short(), candidate.address);
            tracing::debug!(%peer, %address, "inside a tunnel of ours");
        }
        if self.preference == PathPreference::Direct {
            let relayed = |c: &Candidate| c.kind == CandidateKind::Relayed;
            offer.candidates.retain(|candidate| !relayed(candidate));
        }
        for candidate in &offer.candidates {
            if entry.remotes.len() < MAX_REMOTES {
                entry.remotes.insert(candidate.address.ip());
            }
        }
        entry.session.handle_offer(now, offer);
        for number in &entry.relays {
            self.admit(now, *number, &entry.remotes);
        }
    }

    /// Adds own addresses to a session. Returns whether one of them is new, and the peer is to be
    /// told.
    pub(crate) fn add_candidates(
        &self,
        id: SessionId,
        candidates: Vec<(Candidate, SocketId)>,
    ) -> bool {
        let mut inner = self.lock();
        let Some(entry) = inner.sessions.get_mut(&id) else {
            return false;
        };
        let mut new = false;
        for (candidate, socket) in candidates {
            new |= entry.session.add_candidate(candidate, socket) == Added::New;
        }
        new
    }

    /// Gives an allocation to a session. Returns whether the peer is to be told.
    pub(crate) fn add_relay(&self, now: Instant, id: SessionId, number: u16) -> bool {
        let socket = SocketId(FIRST_RELAY + number);
        let relayed = self.relays.relayed(number).into_iter();
        let relayed = relayed.map(|at| (Candidate::new(CandidateKind::Relayed, at), socket));
        let new = self.add_candidates(id, relayed.collect());
        if let Some(entry) = self.lock().sessions.get_mut(&id) {
            entry.relays.insert(number);
            self.admit(now, number, &entry.remotes);
        }
        new
    }

    /// Admits a peer's addresses at a relay: those that it can reach.
    fn admit(&self, now: Instant, number: u16, remotes: &BTreeSet<IpAddr>) {
        let relayed = self.relays.relayed(number);
        for remote in remotes {
            let fits = |own: &SocketAddr| {
                own.is_ipv4() == remote.is_ipv4() && (is_private(own.ip()) || !is_private(*remote))
            };
            if relayed.iter().any(fits) {
                self.relays.admit(now, number, *remote);
            }
        }
    }

    /// The allocations that sessions use.
    pub(crate) fn relays_in_use(&self) -> BTreeSet<u16> {
        let inner = self.lock();
        let all = inner.sessions.values();
        all.flat_map(|entry| entry.relays.iter().copied()).collect()
    }

    /// An allocation has ended, and the paths through it with it.
    pub(crate) fn on_relay_gone(&self, now: Instant, number: u16) {
        for entry in self.lock().sessions.values_mut() {
            entry.relays.remove(&number);
            entry.session.remove_socket(SocketId(FIRST_RELAY + number));
        }
        self.settle(now);
    }

    /// Ends all sessions and takes no further ones.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.sessions.clear();
        drop(inner);
        self.ended.notify_waiters();
    }

    /// Whether a session towards this peer is still at work.
    pub(crate) fn is_looking_for(&self, peer: &DeviceId) -> bool {
        let inner = self.lock();
        let mut entries = inner.sessions.values();
        // A relayed path is not what is looked for: another session beside this one would take the
        // ports of the NAT that the two sides have told each other.
        entries.any(|entry| entry.peer == *peer && !entry.over && !entry.is_direct)
    }

    /// What the last session towards this peer has tried.
    pub(crate) fn effort(&self, peer: &DeviceId) -> Option<Effort> {
        let inner = self.lock();
        let all = inner.sessions.values();
        let over = all.filter(|entry| entry.peer == *peer && entry.over);
        let last = over.max_by_key(|entry| entry.serial)?;
        Some(last.session.effort())
    }

    /// There is another NAT before us: nothing of what was opened is left.
    pub(crate) fn on_network_change(&self) {
        self.relays.reach().on_network_change();
        self.lock().budget.on_network_change();
    }

    /// A STUN message came in. Returns whether it was for one of the sessions.
    pub(crate) fn on_datagram(&self, now: Instant, from: &PathAddress, datagram: &[u8]) -> bool {
        if from.via == Via::Shared && self.stun.on_datagram(now, from.remote, datagram) {
            return true;
        }
        let mut inner = self.lock();
        let PathId { socket, remote } = from.id();
        let key = (socket, remote);
        let mut sessions = inner.sessions.values_mut();
        let taken = sessions
            .any(|entry| entry.session.handle_datagram(now, key, datagram) == Handled::Taken);
        drop(inner);
        if taken {
            self.settle(now);
        }
        taken
    }

    /// Time passed.
    pub(crate) fn on_time(&self, now: Instant) {
        self.stun.on_time(now);
        {
            let mut inner = self.lock();
            for entry in inner.sessions.values_mut() {
                if entry.session.poll_timeout().is_some_and(|due| due <= now) {
                    entry.session.handle_timeout(now);
                }
            }
        }
        self.settle(now);
    }

    /// When to come again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let inner = self.lock();
        let due = inner
            .sessions
            .values()
            .filter_map(|e| e.session.poll_timeout());
        due.chain(inner.next_tidy)
            .chain(self.stun.poll_timeout())
            .min()
    }

    /// What is to be done with sockets.
    pub(crate) fn poll_order(&self) -> Option<Order> {
        self.lock().orders.pop_front()
    }

    /// A socket that was asked for is open, or could not be opened.
    pub(crate) fn on_opened(&self, number: u16, opened: bool) {
        let mut inner = self.lock();
        if !opened {
            inner.sockets.remove(&number);
            return;
        }
        let Some(id) = inner.sockets.get(&number).copied() else {
            inner.orders.push_back(Order::Close(number));
            return;
        };
        if let Some(entry) = inner.sessions.get_mut(&id) {
            entry.session.add_sockets(&[SocketId(number)]);
        }
    }

    /// A path that was found since this was last asked.
    pub(crate) fn poll_found(&self) -> Option<Found> {
        self.lock().found.pop_front()
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&self, now: Instant) -> Option<(PathAddress, bytes::Bytes)> {
        if let Some(question) = self.stun.poll_transmit() {
            return Some(question);
        }
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(to) = inner.greetings.front().map(|to| PathAddress::to(*to)) {
            let PathId { socket, remote } = to.id();
            if inner
                .budget
                .take(now, (socket, remote), Purpose::Check)
                .is_ok()
            {
                inner.greetings.pop_front();
                // It is answered by nobody, so nothing has to recognize its number.
                let id = TransactionId::from_bytes([0; 12]);
                return Some((to, Message::indication(id).into()));
            }
        }
        let mut sessions = inner.sessions.values_mut();
        let budget = &mut inner.budget;
        let Transmit {
            socket,
            destination,
            payload,
        } = sessions.find_map(|entry| entry.session.poll_transmit(now, budget))?;
        let to = PathId {
            socket,
            remote: destination,
        };
        Some((to.into(), payload))
    }

    /// Sends an empty message to each, as far as there is room in the queue.
    pub(crate) fn greet(&self, addresses: &[SocketAddr]) {
        let mut inner = self.lock();
        let room = MAX_GREETINGS.saturating_sub(inner.greetings.len());
        inner.greetings.extend(addresses.iter().take(room));
    }

    /// Takes what the sessions want and tell.
    fn settle(&self, now: Instant) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut ended = false;
        for (id, entry) in &mut inner.sessions {
            while let Some(need) = entry.session.poll_need() {
                match need {
                    Need::Sockets(count) => {
                        for _ in 0..count {
                            open(&mut inner.sockets, &mut inner.orders, *id);
                        }
                    }
                    Need::Release(SocketId(number)) => {
                        if inner.sockets.remove(&number).is_some() {
                            inner.orders.push_back(Order::Close(number));
                        }
                    }
                }
            }
            while let Some(event) = entry.session.poll_event() {
                match event {
                    Event::PathWorks {
                        socket,
                        remote,
                        round_trip,
                        kind,
                        ..
                    } => {
                        tracing::debug!(peer = %entry.peer.short(), %remote, ?round_trip, %kind, "a path works");
                        entry.found.get_or_insert(now);
                        entry.is_direct |= kind != PathKind::Relayed;
                        if kind == PathKind::Relayed && self.preference == PathPreference::Direct {
                            continue;
                        }
                        let path = PathAddress::from(PathId { socket, remote });
                        if let Via::Extra(number) = path.via {
                            inner.orders.push_back(Order::Enlarge(number));
                        }
                        inner.found.push_back(Found {
                            peer: entry.peer,
                            route: Route {
                                path,
                                kind,
                                round_trip: Some(round_trip),
                            },
                        });
                    }
                    Event::GaveUp { why } => {
                        tracing::debug!(peer = %entry.peer.short(), %why, "no path through the NATs");
                        entry.over = true;
                        ended = true;
                        // What may work one day, if there is a relay until then; the last is asked
                        // most often.
                        let mut hopes: Vec<_> = entry.session.direct_addresses().collect();
                        hopes.reverse();
                        hopes.sort_by_key(|address| !is_private(address.ip()));
                        for address in hopes {
                            inner.found.push_back(Found {
                                peer: entry.peer,
                                route: Route::untried(PathAddress::to(address)),
                            });
                        }
                    }
                    _ => {}
                }
            }
        }
        if !inner.sessions.is_empty() {
            inner.next_tidy.get_or_insert(now + TIDY);
        }
        if ended {
            self.ended.notify_waiters();
        }
    }
}

impl Inner {
    fn remove(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        let orders = &mut self.orders;
        self.sockets.retain(|number, of| {
            if *of == id {
                orders.push_back(Order::Close(*number));
            }
            *of != id
        });
    }
}

/// Gives a socket a number and asks for it, as far as there may be more.
fn open(sockets: &mut BTreeMap<u16, SessionId>, orders: &mut VecDeque<Order>, id: SessionId) {
    if sockets.len() >= MAX_EXTRA_SOCKETS {
        return;
    }
    // The numbers of the bound and one more: one of them is free.
    let numbers = FIRST_EXTRA..=FIRST_EXTRA + MAX_EXTRA_SOCKETS as u16;
    if let Some(number) = numbers
        .into_iter()
        .find(|number| !sockets.contains_key(number))
    {
        sockets.insert(number, id);
        orders.push_back(Order::Open(number));
    }
}
