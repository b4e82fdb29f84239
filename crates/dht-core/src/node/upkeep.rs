//! What a node does of its own accord: finding its neighbourhood, refreshing buckets, asking
//! whether old nodes are still there, and finding out whether it can be reached.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::config::Config;
use super::event::Event;
use super::operation::{Operation, Task};
use super::operations::Scope;
use super::outsiders::Outsiders;
use super::reachability::{Reach, Reachability};
use super::wire::Purpose;
use super::{Node, OperationId};
use crate::address::{Contact, Family, canonical};
use crate::id::Id;
use crate::krpc::Method;
use crate::lookup::{Asked, K};

/// Addresses that help a node in: bootstrap nodes and those saved from the last run.
pub(super) const MAX_HELPERS: usize = 256;

/// The first and the longest wait before another try to find anybody.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// A node that has just found the network looks around again after this time, and then after
/// twice as long each time: those who join at the same time do not know each other yet.
const FIRST_SETTLING: Duration = Duration::from_millis(250);

/// In a network of more than a bucket most neighbours are there from the start.
const SETTLING_FACTOR: u32 = 8;

/// After this the buckets' own refreshes do; in a network that fills no bucket, it goes on at
/// this pace.
const LAST_SETTLING: Duration = Duration::from_secs(64);

/// How often a node looks for its own id later: those that came lately learn of it, and it of
/// them. As often as quiet buckets are refreshed (BEP 5).
const NEIGHBOURHOOD_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Pings to table nodes that may be under way at once.
const MAX_CHECKS: usize = 8;

/// Nodes that wait to be asked, newcomers and old ones that newcomers challenge. More come again.
const MAX_CHALLENGES: usize = 64;

/// Wait between the loss of a node and the next look at the tables.
const LOSS_PAUSE: Duration = Duration::from_secs(1);

/// How often stores are searched for what expired.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// Addresses that are asked for help at once: the rest has its turn when these are silent.
const HELPERS_AT_ONCE: usize = 64;

/// One address that may help a node in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Helper {
    pub(super) address: SocketAddr,
    pub(super) id: Option<Id>,
}

/// How one family's bootstrap stands.
#[derive(Debug, Clone, Copy)]
struct Bootstrap {
    ready: bool,
    retry_at: Instant,
    wait: Duration,
    /// The lookup under way.
    running: Option<OperationId>,
    /// The id is new: others are near it than before.
    moved: bool,
    /// Tries since somebody answered.
    tries: usize,
    /// When to look around again: others join at the same time.
    settle_at: Option<Instant>,
    settle_wait: Duration,
}

/// Deadlines and work that nobody asked for.
#[derive(Debug)]
pub(super) struct Upkeep {
    helpers: Vec<Helper>,
    bootstraps: [Bootstrap; 2],
    /// Nodes that newcomers wait to replace.
    challenges: VecDeque<Contact>,
    /// Pings under way.
    checks: Vec<SocketAddr>,
    tables_at: Instant,
    expire_at: Instant,
    reach: Reach,
    pub(super) outsiders: Outsiders,
}

impl Upkeep {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        let bootstrap = Bootstrap {
            ready: false,
            retry_at: now,
            wait: FIRST_RETRY,
            running: None,
            moved: false,
            tries: 0,
            settle_at: None,
            settle_wait: FIRST_SETTLING,
        };
        Self {
            helpers: Vec::new(),
            bootstraps: [bootstrap; 2],
            challenges: VecDeque::new(),
            checks: Vec::new(),
            tables_at: now,
            expire_at: now + EXPIRY_INTERVAL,
            reach: Reach::new(config),
            outsiders: Outsiders::default(),
        }
    }

    pub(super) fn is_ready(&self, family: Family) -> bool {
        self.bootstraps[family.index()].ready
    }

    /// Addresses to be asked when the table is of no use: after silence the next ones.
    pub(super) fn helpers(&self, family: Family) -> impl Iterator<Item = SocketAddr> {
        let all = || {
            let addresses = self.helpers.iter().map(|helper| helper.address);
            addresses.filter(move |address| Family::of(address) == family)
        };
        let count = all().count();
        let tries = self.bootstraps[family.index()].tries;
        let first = (tries * HELPERS_AT_ONCE) % count.max(1);
        all().cycle().skip(first).take(count.min(HELPERS_AT_ONCE))
    }

    /// All of them, of both families.
    pub(super) fn known_helpers(&self) -> impl Iterator<Item = &Helper> {
        self.helpers.iter()
    }

    /// The neighbourhood is looked at now.
    pub(super) fn look_around(&mut self, now: Instant, family: Family) {
        self.bootstraps[family.index()].settle_at = Some(now);
        self.tables_at = now;
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        let next = self.tables_at.min(self.expire_at);
        self.reach
            .poll_timeout()
            .map_or(next, |until| next.min(until))
    }

    /// An old node is to answer or to make room, or a new one to show that it can be reached.
    pub(super) fn challenge(&mut self, now: Instant, old: Contact) {
        if self.challenges.len() < MAX_CHALLENGES && !self.challenges.contains(&old) {
            self.challenges.push_back(old);
            self.tables_at = now;
        }
    }

    /// A table lost a node: another may be asked to take its place.
    pub(super) fn on_loss(&mut self, now: Instant) {
        self.tables_at = self.tables_at.min(now + LOSS_PAUSE);
    }

    /// A ping is over, answered or not.
    pub(super) fn on_over(&mut self, now: Instant, address: SocketAddr) {
        self.checks.retain(|check| *check != address);
        if !self.challenges.is_empty() {
            self.tables_at = now;
        }
    }

    /// The id of a family is new: the neighbourhood is another.
    fn on_moved(&mut self, now: Instant, family: Family) {
        self.bootstraps[family.index()].moved = true;
        self.tables_at = now;
    }
}

impl Node {
    /// Adds an address that helps the node in. Both families may be given; the list is bounded by
    /// 256, the first stay.
    pub fn add_bootstrap(&mut self, now: Instant, address: SocketAddr) {
        self.add_helper(now, canonical(address), None);
    }

    /// What is sent may come through now that did not before: where nobody has answered yet, those
    /// who help in are asked at once, and not when the last questions have run out.
    pub fn enter_again(&mut self, now: Instant) {
        for bootstrap in &mut self.upkeep.bootstraps {
            if !bootstrap.ready {
                bootstrap.running = None;
                bootstrap.retry_at = now;
                bootstrap.wait = FIRST_RETRY;
            }
        }
        self.upkeep.tables_at = now;
    }

    /// Adds a node that was known in the last run.
    pub fn add_saved_node(&mut self, now: Instant, contact: Contact) {
        self.add_helper(now, canonical(contact.address), Some(contact.id));
    }

    fn add_helper(&mut self, now: Instant, address: SocketAddr, id: Option<Id>) {
        let known = |helper: &Helper| helper.address == address;
        if self.upkeep.helpers.len() >= MAX_HELPERS
            || self.upkeep.helpers.iter().any(known)
            || address.port() == 0
        {
            return;
        }
        self.upkeep.helpers.push(Helper { address, id });
        let bootstrap = &mut self.upkeep.bootstraps[Family::of(&address).index()];
        if !bootstrap.ready {
            bootstrap.retry_at = now;
            self.upkeep.tables_at = now;
        }
    }

    /// Tells the node what is known from elsewhere, for instance from a port mapping. No effect
    /// unless [`Participation::Adaptive`](super::Participation::Adaptive) is set.
    pub fn set_reachability(&mut self, now: Instant, reachability: Reachability) {
        self.upkeep.reach.set(now, reachability);
        self.take_role();
    }

    /// Whether others reach this node unasked, as far as it knows.
    #[must_use]
    pub fn reachability(&self) -> Reachability {
        self.upkeep.reach.state()
    }

    /// A query came from here.
    pub(super) fn on_queried_by(&mut self, now: Instant, source: SocketAddr) {
        if self.wire.asked.is_unasked(now, &source) {
            self.upkeep.reach.on_unasked_query(source.ip());
            self.take_role();
        }
    }

    /// Several nodes agree on our address.
    pub(super) fn on_external_address(&mut self, now: Instant, address: SocketAddr) {
        let family = Family::of(&address);
        let reach = &mut self.upkeep.reach;
        reach.on_external_address(now, address.ip(), &self.config);
        self.take_role();
        let Some(side) = &mut self.sides[family.index()] else {
            return;
        };
        let before = side.table.own_id();
        side.adopt_address(now, address.ip(), &mut self.wire.rng);
        if side.table.own_id() != before {
            self.upkeep.on_moved(now, family);
        }
        self.tell(Event::ExternalAddress(address));
    }

    /// Serves or only asks, by what is known.
    fn take_role(&mut self) {
        self.wire.read_only = self.upkeep.reach.state() == Reachability::Unreachable;
    }

    /// Deadlines of tables, stores and reachability.
    pub(super) fn on_upkeep_due(&mut self, now: Instant) {
        self.upkeep.reach.handle_timeout(now);
        self.take_role();
        self.ask_the_lost(now);
        if self.upkeep.tables_at > now {
            return;
        }
        let mut next = now + Duration::from_secs(60);
        for family in Family::ALL {
            if self.sides[family.index()].is_some() {
                next = next.min(self.keep_up(now, family));
            }
        }
        self.check_nodes(now);
        self.upkeep.tables_at = next;
    }

    /// Bootstraps or refreshes. Returns when to look again.
    fn keep_up(&mut self, now: Instant, family: Family) -> Instant {
        let bootstrap = self.upkeep.bootstraps[family.index()];
        let Some(side) = &mut self.sides[family.index()] else {
            return bootstrap.retry_at;
        };
        if bootstrap.running.is_some() {
            // Its end sets the next time.
            return now + Duration::from_secs(60);
        }
        let own = side.table.own_id();
        let is_lost = !side.table.has_living(now);
        if is_lost {
            self.upkeep.bootstraps[family.index()].ready = false;
        }
        if !bootstrap.ready || is_lost {
            if bootstrap.retry_at > now {
                return bootstrap.retry_at;
            }
            if self.is_helped() {
                self.refresh(now, family, own);
            }
            return now + bootstrap.wait;
        }
        let settles = bootstrap.settle_at.is_some_and(|at| at <= now);
        if bootstrap.moved || settles {
            self.choose_outsider(now, family);
            self.refresh(now, family, own);
            self.forget_outsider(family);
            return now + bootstrap.wait;
        }
        if let Some(target) = side.table.refresh_due(now, &mut self.wire.rng) {
            self.refresh(now, family, target);
        }
        let Some(side) = &self.sides[family.index()] else {
            return now;
        };
        let next = side.table.next_due(now);
        let next = bootstrap.settle_at.map_or(next, |at| next.min(at));
        next.max(now + Duration::from_millis(100))
    }

    /// Whether there is anybody to ask, in either family: nodes tell of both.
    fn is_helped(&self) -> bool {
        let known = self.sides.iter().flatten();
        let mut known = known.filter(|side| !side.table.is_empty());
        let mut helpers = Family::ALL
            .into_iter()
            .flat_map(|family| self.upkeep.helpers(family));
        known.next().is_some() || helpers.next().is_some()
    }

    fn refresh(&mut self, now: Instant, family: Family, target: Id) {
        let id = self.next_id();
        let bootstrap = &mut self.upkeep.bootstraps[family.index()];
        bootstrap.running = Some(id);
        bootstrap.moved = false;
        let task = Task::Refresh { target, family };
        self.begin_as(now, id, task, (target, Scope::Network));
    }

    /// A lookup of our own is through.
    pub(super) fn on_refreshed(&mut self, now: Instant, id: OperationId, operation: &Operation) {
        let Task::Refresh { family, target } = operation.task else {
            return;
        };
        let found = operation
            .lookup(family)
            .is_some_and(|lookup| lookup.closest().next().is_some());
        let own = self.id(family);
        let known = self.side(family).map_or(0, |side| side.table.len());
        let bootstrap = &mut self.upkeep.bootstraps[family.index()];
        if bootstrap.running == Some(id) {
            bootstrap.running = None;
        }
        self.upkeep.tables_at = now;
        if found {
            bootstrap.wait = FIRST_RETRY;
            bootstrap.tries = 0;
            let was_ready = std::mem::replace(&mut bootstrap.ready, true);
            if !was_ready {
                bootstrap.settle_wait = FIRST_SETTLING;
            }
            if own == Some(target) {
                let goes_on = known < K || bootstrap.settle_wait < LAST_SETTLING;
                let wait = if goes_on {
                    bootstrap.settle_wait
                } else {
                    NEIGHBOURHOOD_INTERVAL
                };
                bootstrap.settle_at = Some(now + wait);
                let factor = if known < K { 2 } else { SETTLING_FACTOR };
                bootstrap.settle_wait = (bootstrap.settle_wait * factor).min(LAST_SETTLING);
            }
            if !was_ready {
                self.rendezvous.on_ready(now);
                self.tell(Event::Ready(family));
            }
            return;
        }
        if own == Some(target) || !bootstrap.ready {
            let was_first = bootstrap.wait == FIRST_RETRY;
            bootstrap.retry_at = now + bootstrap.wait;
            // Whoever was there is silent; looking around goes on at the same pace.
            bootstrap.settle_at = bootstrap.settle_at.map(|at| at.max(bootstrap.retry_at));
            bootstrap.wait = (bootstrap.wait * 2).min(LAST_RETRY);
            bootstrap.tries += 1;
            if was_first && !bootstrap.ready {
                self.tell(Event::BootstrapFailed(family));
            }
        }
    }

    /// Pings old nodes and newcomers, a few at a time.
    fn check_nodes(&mut self, now: Instant) {
        while self.upkeep.checks.len() < MAX_CHECKS {
            let challenged = self.upkeep.challenges.pop_front();
            let next = challenged.or_else(|| {
                let mut sides = self.sides.iter_mut().flatten();
                sides.find_map(|side| side.table.questionable(now))
            });
            let Some(contact) = next else {
                return;
            };
            let asked = Asked {
                address: contact.address,
                id: Some(contact.id),
            };
            if self.upkeep.checks.contains(&contact.address) {
                continue;
            }
            if !self.ask(now, asked, Method::Ping, Purpose::Upkeep) {
                return;
            }
            self.upkeep.checks.push(contact.address);
        }
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let at = self.moment(now);
        if self
            .server
            .values
            .next_expiry()
            .is_some_and(|next| next <= now)
        {
            self.expire_values(at);
        }
        if self.upkeep.expire_at > now {
            return;
        }
        self.upkeep.expire_at = now + EXPIRY_INTERVAL;
        self.server.peers.expire(now);
        self.server.items.expire(now);
        self.server.listeners.expire(now);
        self.begin_custody(now);
    }
}
