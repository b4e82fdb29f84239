//! Which network addresses reach a peer: candidates race until one answers, then one is current
//! and the others stand by.
//!
//! QUIC is told one constant address for every peer (see [`VIRTUAL_REMOTE`]); where the datagrams
//! really go is decided here, below it. Nothing that a peer or the network does to addresses can
//! therefore confuse the transport, and relays are just another kind of path.
//!
//! ```text
//! Racing ──first authenticated answer──► Settled ──handshake done──► Live
//! every candidate gets everything        one address, no keys yet    one in use, others probed
//! ```

mod live;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet_nat_traversal::candidate::{SocketId, is_private};
use dhtnet_nat_traversal::path::{PathId, Reason};
pub(crate) use dhtnet_nat_traversal::session::PathKind;
use rand_chacha::ChaCha20Rng;

pub(crate) use self::live::CheckKeys;
use self::live::Live;
#[cfg(test)]
pub(crate) use self::live::MAX_KNOWN;

/// The address that QUIC believes every peer has (RFC 6666 discard prefix: never routed).
pub(crate) const VIRTUAL_REMOTE: SocketAddr = SocketAddr::V6(SocketAddrV6::new(
    Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1),
    1,
    0,
    0,
));

/// Most addresses that one connection attempt tries at once.
pub(crate) const MAX_CANDIDATES: usize = 32;

/// Most datagrams of the first flight that are kept to be repeated to late candidates.
const MAX_FIRST_FLIGHT: usize = 4;

/// Greetings of candidates after which the first flight is repeated.
const MAX_GREETINGS: u8 = 8;

/// A settled path must have been silent this long before authenticated packets from another
/// address move it: an attacker who copies packets to another source cannot steal a live path.
const SILENCE_BEFORE_MOVE: Duration = Duration::from_secs(1);

/// A port must stay closed this long, with nothing heard, before the peer counts as gone: a
/// program that is started again has its port back by then.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// The same for public addresses: a router that was restarted says of ports that it has forgotten
/// that they are closed, and the peer behind it finds another way within a few seconds.
const PUBLIC_REFUSAL_PATIENCE: Duration = Duration::from_secs(8);

/// The shared socket of IPv6; that of IPv4 is [`SocketId::MAIN`].
pub(crate) const MAIN_V6: SocketId = SocketId(1);

/// The first number of a socket that was opened for punching.
pub(crate) const FIRST_EXTRA: u16 = 2;

/// The first number of an allocation at a relay, above all that sockets have.
pub(crate) const FIRST_RELAY: u16 = 0x8000;

/// Which of the node's own ends a datagram uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Via {
    /// The socket of the family, shared by everything.
    Shared,
    /// A socket opened to punch a hole, by its number.
    Extra(u16),
    /// An allocation at a relay, by its number. The remote address is the peer's as the relay sees
    /// it.
    Relay(u16),
}

/// One way to a peer: its address, the end of ours, and the local address to send from when that
/// is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathAddress {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) via: Via,
}

impl PathAddress {
    pub(crate) fn to(remote: SocketAddr) -> Self {
        Self {
            remote,
            local_ip: None,
            via: Via::Shared,
        }
    }

    /// To or from a peer through an allocation at a relay.
    pub(crate) fn relayed(number: u16, peer: SocketAddr) -> Self {
        Self {
            remote: peer,
            local_ip: None,
            via: Via::Relay(number),
        }
    }

    /// Whether both lead the same way; the local address is the system's choice.
    pub(crate) fn is_same_path(&self, other: &Self) -> bool {
        self.remote == other.remote && self.via == other.via
    }

    /// Its name in crate `nat-traversal`.
    pub(crate) fn id(&self) -> PathId {
        let socket = match self.via {
            Via::Shared if self.remote.is_ipv4() => SocketId::MAIN,
            Via::Shared => MAIN_V6,
            Via::Extra(number) => SocketId(number),
            Via::Relay(number) => SocketId(FIRST_RELAY + number),
        };
        PathId {
            socket,
            remote: self.remote,
        }
    }
}

impl From<PathId> for PathAddress {
    fn from(id: PathId) -> Self {
        let via = match id.socket.0 {
            number if number >= FIRST_RELAY => Via::Relay(number - FIRST_RELAY),
            number if number >= FIRST_EXTRA => Via::Extra(number),
            _ => Via::Shared,
        };
        Self {
            via,
            ..Self::to(id.remote)
        }
    }
}

/// A way to a peer, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) path: PathAddress,
    pub(crate) kind: PathKind,
    /// Measured where it is known to work in both directions.
    pub(crate) round_trip: Option<Duration>,
}

impl Route {
    /// A direct one that nobody has tried.
    pub(crate) fn untried(path: PathAddress) -> Self {
        let kind = match path.via {
            Via::Relay(_) => PathKind::Relayed,
            Via::Shared | Via::Extra(_) => PathKind::Direct,
        };
        Self {
            path,
            kind,
            round_trip: None,
        }
    }
}

/// What a datagram from some address did to the paths.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PathChange {
    /// Nothing: the address was the current one, or is not to be followed.
    None,
    /// The race was won by this address.
    Settled,
    /// The peer moved to this address; what was measured on the old path is void.
    Moved,
}

/// What happened to the paths of a connection that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Data takes another path.
    Use(PathAddress, Reason),
    /// None answers: everything goes to all that are known until one does.
    Lost,
    /// One answers again.
    Found,
}

/// One path of a connection that is up, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) route: Route,
    pub(crate) in_use: bool,
}

/// Reports of a host that nobody has its port. Anybody on the way can forge one, so they count
/// only together with silence.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Refusals {
    first: Option<Instant>,
    hosts: BTreeSet<IpAddr>,
}

impl Refusals {
    fn note(&mut self, now: Instant, host: IpAddr) {
        self.first.get_or_insert(now);
        if self.hosts.len() < MAX_CANDIDATES {
            self.hosts.insert(host);
        }
    }
}

#[derive(Debug)]
enum Stage {
    /// No address has answered yet: every datagram goes to every candidate.
    Racing {
        first_flight: Vec<Bytes>,
        /// How often it was repeated because of a greeting.
        repeated: u8,
    },
    /// One address is in use; the others of the race may serve later.
    Settled {
        current: PathAddress,
        last_heard: Instant,
    },
    /// The handshake is done.
    Live(Box<Live>),
}

/// The paths of one connection.
#[derive(Debug)]
pub(crate) struct Paths {
    stage: Stage,
    /// Until the handshake is done: all of the race.
    candidates: Vec<PathAddress>,
    /// What each of them goes through, and its round trip where a check has measured it.
    known: Vec<(PathKind, Option<Duration>)>,
    /// The first flight was sent again: what QUIC takes for the round trip may have begun with the
    /// first copy, seconds before.
    repeated: bool,
    refusals: Refusals,
}

impl Paths {
    /// Paths of a connection that we begin: nothing is known to work.
    pub(crate) fn racing() -> Self {
        Self::begin(Stage::Racing {
            first_flight: Vec::new(),
            repeated: 0,
        })
    }

    /// Paths of a connection that began with a datagram from `from`.
    pub(crate) fn settled(from: PathAddress, now: Instant) -> Self {
        Self::begin(Stage::Settled {
            current: from,
            last_heard: now,
        })
    }

    fn begin(stage: Stage) -> Self {
        Self {
            stage,
            candidates: Vec::new(),
            known: Vec::new(),
            repeated: false,
            refusals: Refusals::default(),
        }
    }

    /// Adds a way to the peer. Returns the datagrams to repeat to it: none when the race is over,
    /// when there are [`MAX_CANDIDATES`], and when it is known and still nobody says that it works.
    /// What went there before it worked has met a closed NAT.
    pub(crate) fn add_candidate(&mut self, now: Instant, route: Route) -> Vec<Bytes> {
        if let Stage::Live(live) = &mut self.stage {
            live.add(now, route);
            return Vec::new();
        }
        let address = route.path;
        let mut candidates = self.candidates.iter();
        let found = candidates.position(|c| c.is_same_path(&address));
        match found {
            Some(_) if route.round_trip.is_none() => return Vec::new(),
            Some(at) => self.known[at].1 = route.round_trip,
            None if self.candidates.len() >= MAX_CANDIDATES => return Vec::new(),
            None => {
                self.candidates.push(address);
                self.known.push((route.kind, route.round_trip));
            }
        }
        match &self.stage {
            Stage::Racing { first_flight, .. } => {
                self.repeated |= !first_flight.is_empty();
                first_flight.clone()
            }
            Stage::Settled { .. } | Stage::Live(_) => Vec::new(),
        }
    }

    /// Somebody at a candidate's address shows that it is there. Returns the datagrams to repeat
    /// to it: anybody can send greetings, so a few times only.
    pub(crate) fn on_greeting(&mut self, from: &PathAddress) -> Vec<Bytes> {
        let known = self.candidates.iter().any(|c| c.is_same_path(from));
        match &mut self.stage {
            Stage::Racing {
                first_flight,
                repeated,
            } if known && *repeated < MAX_GREETINGS => {
                *repeated += 1;
                self.repeated = true;
                first_flight.clone()
            }
            _ => Vec::new(),
        }
    }

    /// Remembers a datagram sent while racing, for candidates that come later.
    pub(crate) fn on_first_flight(&mut self, datagram: &[u8]) {
        if let Stage::Racing { first_flight, .. } = &mut self.stage
            && first_flight.len() < MAX_FIRST_FLIGHT
        {
            first_flight.push(Bytes::copy_from_slice(datagram));
        }
    }

    /// Whether the round trip that the handshake measured is one.
    pub(crate) fn is_measured(&self) -> bool {
        !self.repeated
    }

    /// The handshake is done, and with it come the keys for checks; `round_trip` is what it
    /// measured. Where that is none, what a check of the same path has measured stands in: without
    /// any, a peer that is gone a moment later is noticed only after five seconds.
    pub(crate) fn on_established(&mut self, now: Instant, keys: CheckKeys, round_trip: Duration) {
        let Some(current) = self.current() else {
            return;
        };
        let all = std::mem::take(&mut self.candidates);
        let known = std::mem::take(&mut self.known);
        let mut kind = Route::untried(current).kind;
        let mut checked = None;
        let mut others = Vec::new();
        for (path, (of, round_trip)) in all.into_iter().zip(known) {
            if path.is_same_path(&current) {
                (kind, checked) = (of, round_trip);
            } else {
                others.push(Route {
                    kind: of,
                    ..Route::untried(path)
                });
            }
        }
        let route = Route {
            path: current,
            kind,
            round_trip: self.is_measured().then_some(round_trip).or(checked),
        };
        self.stage = Stage::Live(Box::new(Live::new(now, keys, route, &others)));
    }

    /// Whether it has to be known of a datagram from `from` that it is authentic.
    pub(crate) fn needs_proof(&self, now: Instant, from: &PathAddress) -> bool {
        match &self.stage {
            Stage::Racing { .. } => true,
            Stage::Settled { current, .. } => !current.is_same_path(from),
            Stage::Live(live) => live.needs_proof(now, from),
        }
    }

    /// Notes a datagram from `from`; `authenticated` says that its AEAD was valid and fresh.
    pub(crate) fn on_received(
        &mut self,
        now: Instant,
        from: PathAddress,
        authenticated: bool,
    ) -> PathChange {
        let change = match &mut self.stage {
            Stage::Live(live) => {
                if authenticated {
                    self.refusals = Refusals::default();
                    live.on_received(now, from);
                }
                return PathChange::None;
            }
            Stage::Settled { current, .. } if current.is_same_path(&from) => PathChange::None,
            Stage::Racing { .. } if authenticated => PathChange::Settled,
            Stage::Settled { last_heard, .. }
                if authenticated
                    && now.saturating_duration_since(*last_heard) > SILENCE_BEFORE_MOVE =>
            {
                PathChange::Moved
            }
            Stage::Racing { .. } | Stage::Settled { .. } => return PathChange::None,
        };
        self.stage = Stage::Settled {
            current: from,
            last_heard: now,
        };
        self.refusals = Refusals::default();
        change
    }

    /// Whether it matters if the next datagram wants an answer.
    pub(crate) fn needs_load(&self, now: Instant) -> bool {
        match &self.stage {
            Stage::Live(live) => live.needs_load(now),
            Stage::Racing { .. } | Stage::Settled { .. } => false,
        }
    }

    /// Notes that something has left, and whether it wants an answer.
    pub(crate) fn on_sent(&mut self, now: Instant, load: dhtnet_nat_traversal::path::Load) {
        if let Stage::Live(live) = &mut self.stage {
            live.on_sent(now, load);
        }
    }

    /// Takes a check. False when it is not the peer's.
    pub(crate) fn handle_check(
        &mut self,
        now: Instant,
        from: PathAddress,
        datagram: &[u8],
    ) -> bool {
        match &mut self.stage {
            Stage::Live(live) => live.handle_check(now, from, datagram),
            Stage::Racing { .. } | Stage::Settled { .. } => false,
        }
    }

    /// What was due has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut ChaCha20Rng) {
        if let Stage::Live(live) = &mut self.stage {
            live.handle_timeout(now, rng);
        }
    }

    /// The addresses or routes of this machine have changed.
    pub(crate) fn on_network_change(&mut self, now: Instant) {
        match &mut self.stage {
            Stage::Live(live) => live.on_network_change(now),
            Stage::Settled { current, .. } => current.local_ip = None,
            Stage::Racing { .. } => {}
        }
    }

    /// A socket or an allocation of ours is gone.
    pub(crate) fn on_via_gone(&mut self, now: Instant, via: Via) {
        match &mut self.stage {
            Stage::Live(live) => live.on_via_gone(now, via),
            Stage::Racing { .. } | Stage::Settled { .. } => {
                let known = std::mem::take(&mut self.known);
                let all = std::mem::take(&mut self.candidates);
                let left = all.into_iter().zip(known).filter(|(c, _)| c.via != via);
                (self.candidates, self.known) = left.unzip();
            }
        }
    }

    /// A check or an answer to one that is to be sent.
    pub(crate) fn poll_check(&mut self) -> Option<(Bytes, PathAddress)> {
        match &mut self.stage {
            Stage::Live(live) => live.poll_check(),
            Stage::Racing { .. } | Stage::Settled { .. } => None,
        }
    }

    /// What has happened.
    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        match &mut self.stage {
            Stage::Live(live) => live.poll_change(),
            Stage::Racing { .. } | Stage::Settled { .. } => None,
        }
    }

    /// Notes that `host` reports a closed port.
    pub(crate) fn on_refused(&mut self, now: Instant, host: IpAddr) {
        if self.destinations().iter().any(|to| to.remote.ip() == host) {
            self.refusals.note(now, host);
        }
    }

    /// Whether nobody is there any more: every address has reported its port closed, and nothing
    /// was heard since for two seconds, or eight where a router may have said so.
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        self.refused_at().is_some_and(|at| at <= now)
    }

    fn refused_at(&self) -> Option<Instant> {
        let refused = |to: &PathAddress| self.refusals.hosts.contains(&to.remote.ip());
        let destinations = self.destinations();
        let first = self.refusals.first?;
        let near = |to: &PathAddress| is_private(to.remote.ip()) || to.remote.ip().is_loopback();
        let patience = if destinations.iter().all(near) {
            REFUSAL_PATIENCE
        } else {
            PUBLIC_REFUSAL_PATIENCE
        };
        destinations.iter().all(refused).then_some(first + patience)
    }

    /// When [`Paths::handle_timeout`] has something to do, or [`Paths::is_dead`] becomes true if
    /// nothing is heard until then.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let live = match &self.stage {
            Stage::Live(live) => live.poll_timeout(),
            Stage::Racing { .. } | Stage::Settled { .. } => None,
        };
        [self.refused_at(), live].into_iter().flatten().min()
    }

    /// Where the next datagram goes: one address, all candidates while racing, all that are known
    /// while none answers.
    pub(crate) fn destinations(&self) -> &[PathAddress] {
        match &self.stage {
            Stage::Racing { .. } => &self.candidates,
            Stage::Settled { current, .. } => std::slice::from_ref(current),
            Stage::Live(live) => live.destinations(),
        }
    }

    /// The address in use.
    pub(crate) fn current(&self) -> Option<PathAddress> {
        match &self.stage {
            Stage::Racing { .. } => None,
            Stage::Settled { current, .. } => Some(*current),
            Stage::Live(live) => Some(live.current()),
        }
    }

    /// What the path in use goes through; `None` before the handshake is done.
    pub(crate) fn kind(&self) -> Option<PathKind> {
        self.standings().find(|s| s.in_use).map(|s| s.route.kind)
    }

    /// All paths that work, and why the one in use is.
    pub(crate) fn standings(&self) -> impl Iterator<Item = Standing> {
        let live = match &self.stage {
            Stage::Live(live) => Some(live),
            Stage::Racing { .. } | Stage::Settled { .. } => None,
        };
        live.into_iter().flat_map(|live| live.standings())
    }

    /// Why the path in use is in use, and since when.
    pub(crate) fn reason(&self) -> Option<(Reason, Instant)> {
        match &self.stage {
            Stage::Live(live) => Some(live.reason()),
            Stage::Racing { .. } | Stage::Settled { .. } => None,
        }
    }

    /// Whether the path in use goes through a relay.
    pub(crate) fn is_relayed(&self) -> bool {
        self.kind() == Some(PathKind::Relayed)
    }

    /// When anything of the connection was last heard, on any path.
    pub(crate) fn last_received(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Live(live) => Some(live.last_received()),
            Stage::Settled { last_heard, .. } => Some(*last_heard),
            Stage::Racing { .. } => None,
        }
    }

    /// Whether the peer was heard on the path in use since `at`.
    pub(crate) fn is_heard_since(&self, at: Instant) -> bool {
        match &self.stage {
            Stage::Live(live) => live.is_heard_since(at),
            Stage::Settled { last_heard, .. } => *last_heard > at,
            Stage::Racing { .. } => false,
        }
    }

    /// Addresses that are remembered.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        match &self.stage {
            Stage::Live(live) => live.known(),
            Stage::Racing { .. } | Stage::Settled { .. } => self.candidates.len(),
        }
    }

    /// Whether no path answers.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(&self.stage, Stage::Live(live) if live.is_lost())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use dhtnet_nat_traversal::offer::Credentials;
    use dhtnet_nat_traversal::punch::Role;

    use super::*;

    fn at(port: u16) -> PathAddress {
        PathAddress::to(SocketAddr::from(([192, 168, 2, 1], port)))
    }

    fn add(paths: &mut Paths, path: PathAddress) -> Vec<Bytes> {
        paths.add_candidate(Instant::now(), Route::untried(path))
    }

    #[test]
    fn every_candidate_gets_the_first_flight_and_the_first_answer_wins() {
        let now = Instant::now();
        let mut paths = Paths::racing();
        assert!(add(&mut paths, at(1)).is_empty());
        paths.on_first_flight(b"hello");
        assert_eq!(add(&mut paths, at(2)), vec![Bytes::from_static(b"hello")]);
        assert_eq!(paths.destinations(), &[at(1), at(2)]);
        assert_eq!(paths.on_received(now, at(3), false), PathChange::None);
        assert_eq!(paths.on_received(now, at(2), true), PathChange::Settled);
        assert_eq!(paths.destinations(), &[at(2)]);
        assert!(add(&mut paths, at(4)).is_empty());
    }

    #[test]
    fn a_known_candidate_gets_the_first_flight_again_when_it_is_found_to_work() {
        let mut paths = Paths::racing();
        add(&mut paths, at(1));
        paths.on_first_flight(b"hello");
        let works = Route {
            round_trip: Some(Duration::from_millis(20)),
            ..Route::untried(at(1))
        };
        let again = paths.add_candidate(Instant::now(), works);
        assert_eq!(again, vec![Bytes::from_static(b"hello")]);
        assert_eq!(paths.destinations(), &[at(1)]);
        assert!(add(&mut paths, at(1)).is_empty());
        paths.on_received(Instant::now(), at(1), true);
        assert!(paths.add_candidate(Instant::now(), works).is_empty());
    }

    #[test]
    fn what_a_check_has_measured_stands_in_where_the_handshake_was_repeated() {
        let (now, checked) = (Instant::now(), Duration::from_millis(20));
        let by_handshake = Duration::from_secs(3);
        let measured = |repeated: bool, route: Route| {
            let mut paths = Paths::racing();
            if !repeated {
                paths.add_candidate(now, route);
            }
            paths.on_first_flight(b"hello");
            paths.add_candidate(now, route);
            paths.on_received(now, at(1), true);
            let mut rng = <ChaCha20Rng as rand_core::SeedableRng>::from_seed([1; 32]);
            let [own, peer] = [(); 2].map(|()| Credentials::random(&mut rng));
            let keys = CheckKeys::new(&own, &peer, Role::Controlling);
            paths.on_established(now, keys, by_handshake);
            let standing = paths.standings().next();
            standing.map(|standing| standing.route.round_trip)
        };
        let untried = Route::untried(at(1));
        let works = Route {
            round_trip: Some(checked),
            ..untried
        };
        assert_eq!(measured(false, untried), Some(Some(by_handshake)));
        assert_eq!(measured(true, works), Some(Some(checked)));
        assert_ne!(measured(true, untried), Some(Some(by_handshake)));
    }

    #[test]
    fn a_known_candidate_and_the_one_past_the_bound_are_not_added() {
        let mut paths = Paths::racing();
        for port in 0..MAX_CANDIDATES as u16 {
            add(&mut paths, at(port));
            add(&mut paths, at(port));
        }
        assert_eq!(paths.destinations().len(), MAX_CANDIDATES);
        add(&mut paths, at(9_999));
        assert_eq!(paths.destinations().len(), MAX_CANDIDATES);
    }

    #[test]
    fn a_live_path_is_not_moved_but_a_silent_one_is() {
        let start = Instant::now();
        let mut paths = Paths::settled(at(1), start);
        let soon = start + SILENCE_BEFORE_MOVE / 2;
        assert_eq!(paths.on_received(soon, at(2), true), PathChange::None);
        let late = start + SILENCE_BEFORE_MOVE * 2;
        assert_eq!(paths.on_received(late, at(2), false), PathChange::None);
        assert_eq!(paths.on_received(late, at(2), true), PathChange::Moved);
        assert_eq!(paths.current(), Some(at(2)));
    }

    #[test]
    fn a_closed_port_kills_a_silent_path_only_and_not_at_once() {
        let start = Instant::now();
        let host = at(1).remote.ip();
        let mut paths = Paths::settled(at(1), start);
        paths.on_refused(start, "192.0.2.99".parse().unwrap());
        assert_eq!(paths.poll_timeout(), None);
        paths.on_refused(start, host);
        assert!(!paths.is_dead(start + REFUSAL_PATIENCE / 2));
        assert!(paths.is_dead(start + REFUSAL_PATIENCE));
        // The peer was heard after all.
        assert_eq!(paths.on_received(start, at(1), true), PathChange::None);
        assert!(!paths.is_dead(start + REFUSAL_PATIENCE * 10));
    }

    #[test]
    fn a_router_that_was_restarted_does_not_end_a_connection_at_once() {
        let start = Instant::now();
        let public = PathAddress::to("198.51.100.1:5".parse().unwrap());
        let mut paths = Paths::settled(public, start);
        paths.on_refused(start, public.remote.ip());
        assert!(!paths.is_dead(start + REFUSAL_PATIENCE * 2));
        assert!(paths.is_dead(start + PUBLIC_REFUSAL_PATIENCE));
    }

    #[test]
    fn an_attempt_is_dead_only_when_every_candidate_refused() {
        let start = Instant::now();
        let mut paths = Paths::racing();
        let other = PathAddress::to("198.51.100.1:5".parse().unwrap());
        add(&mut paths, at(1));
        add(&mut paths, other);
        paths.on_refused(start, at(1).remote.ip());
        assert!(!paths.is_dead(start + REFUSAL_PATIENCE));
        paths.on_refused(start, other.remote.ip());
        assert!(paths.is_dead(start + PUBLIC_REFUSAL_PATIENCE));
    }

    #[test]
    fn a_greeting_of_a_candidate_repeats_the_first_flight_a_few_times() {
        let mut paths = Paths::racing();
        add(&mut paths, at(1));
        paths.on_first_flight(b"hello");
        assert!(paths.on_greeting(&at(2)).is_empty());
        for _ in 0..MAX_GREETINGS {
            assert_eq!(paths.on_greeting(&at(1)), [Bytes::from_static(b"hello")]);
        }
        assert!(paths.on_greeting(&at(1)).is_empty());
    }

    #[test]
    fn the_first_flight_that_is_kept_is_bounded() {
        let mut paths = Paths::racing();
        for _ in 0..100 {
            paths.on_first_flight(b"datagram");
        }
        assert_eq!(add(&mut paths, at(1)).len(), MAX_FIRST_FLIGHT);
    }
}
