//! Own subscriptions: where we listen, what came, when to renew.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::event::Event;
use super::known_values::{KnownValues, News};
use super::operation::{Operation, Task};
use super::operations::{Scope, encode_query};
use super::wire::{Purpose, ReplyTo};
use super::{Node, OperationId};
use crate::address::Family;
use crate::id::Id;
use crate::krpc::{ErrorCode, Method, Records, Response};
use crate::lookup::Asked;
use crate::value::{FieldRecord, Filter, Value, ValueKey, ValueQuery};

/// Renewed after this share of the time that a node granted: one lost renewal does no harm.
const RENEW_DIVISOR: u32 = 3;

/// The longest and the shortest time between renewals. The longest also bounds how long nodes
/// that joined near the key since then can hold values that we are not told of.
const MAX_RENEWAL: Duration = Duration::from_secs(3 * 60);
const MIN_RENEWAL: Duration = Duration::from_secs(10);

/// The first and the longest wait before another try when no node took the subscription.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// How long a node that was asked to take a subscription is heard before it has said that it does:
/// as long as its answer is waited for. What it pushes may overtake the answer, or the answer may be
/// lost.
const ASKED_FOR: Duration = Duration::from_secs(5);

/// Nodes that one subscription listens at: those of several rounds in both families.
const MAX_LISTENED: usize = 64;

/// Between two times that everything is asked for anew because a node had more changes than it
/// keeps: a hostile one must not keep us busy.
const ANEW_PAUSE: Duration = Duration::from_secs(10);

/// A node that took a subscription.
#[derive(Debug)]
struct Listened {
    until: Instant,
    /// Its write token, for ending the subscription.
    token: Box<[u8]>,
}

/// One key that is listened to.
#[derive(Debug)]
struct Subscription {
    target: Id,
    /// Our name for it on the wire: nobody can guess it.
    listener: u64,
    filter: Filter,
    /// Who took it.
    nodes: BTreeMap<SocketAddr, Listened>,
    known: KnownValues,
    renew_at: Option<Instant>,
    granted: Duration,
    told: bool,
    retry: Duration,
    /// When everything was last asked for anew.
    anew_at: Option<Instant>,
}

impl Subscription {
    /// What this node tells is heard until then.
    fn hear(&mut self, now: Instant, until: Instant, (at, token): (SocketAddr, &[u8])) {
        self.nodes.retain(|_, node| node.until > now);
        if let Some(node) = self.nodes.get_mut(&at) {
            node.until = node.until.max(until);
            node.token = token.into();
        } else if self.nodes.len() < MAX_LISTENED {
            let token = token.into();
            self.nodes.insert(at, Listened { until, token });
        }
    }
}

/// All own subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_operation: BTreeMap<OperationId, Subscription>,
    /// When something expires or is to be renewed next.
    due: Option<Instant>,
}

impl Subscriptions {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// A node that gave this write token is asked to take a subscription.
    pub(super) fn on_asked(
        &mut self,
        now: Instant,
        listener: u64,
        (at, token): (SocketAddr, &[u8]),
    ) {
        let mut all = self.by_operation.values_mut();
        if let Some(subscription) = all.find(|each| each.listener == listener) {
            subscription.hear(now, now + ASKED_FOR, (at, token));
        }
    }

    /// A node that gave this write token takes a subscription for `ttl` seconds.
    pub(super) fn on_accepted(
        &mut self,
        now: Instant,
        listener: u64,
        (at, token): (SocketAddr, &[u8]),
        ttl: u32,
    ) {
        let mut all = self.by_operation.values_mut();
        let Some(subscription) = all.find(|each| each.listener == listener) else {
            return;
        };
        let granted = Duration::from_secs(u64::from(ttl.max(1)));
        subscription.hear(now, now + granted, (at, token));
        subscription.granted = subscription.granted.min(granted);
    }

    fn of_listener(&self, listener: u64, target: &Id) -> Option<(OperationId, &Subscription)> {
        self.by_operation
            .iter()
            .find(|(_, each)| each.listener == listener && each.target == *target)
            .map(|(id, each)| (*id, each))
    }
}

impl Node {
    /// Listens to a key: [`Event::Value`] for each value that is there and that comes,
    /// [`Event::Gone`] when one expires or is removed, [`Event::Listening`] when the nearest nodes
    /// were asked to tell. Goes on until [`Node::cancel`].
    pub fn listen(&mut self, now: Instant, target: Id, filter: Filter) -> OperationId {
        let id = self.next_id();
        let listener = self.wire.rng.next_u64();
        let subscription = Subscription {
            target,
            listener,
            filter,
            nodes: BTreeMap::new(),
            known: KnownValues::default(),
            renew_at: None,
            granted: MAX_RENEWAL * RENEW_DIVISOR,
            told: false,
            retry: FIRST_RETRY,
            anew_at: None,
        };
        self.subscriptions.by_operation.insert(id, subscription);
        self.subscribe(now, id);
        id
    }

    fn subscribe(&mut self, now: Instant, id: OperationId) {
        let Some(subscription) = self.subscriptions.by_operation.get_mut(&id) else {
            return;
        };
        subscription.granted = MAX_RENEWAL * RENEW_DIVISOR;
        let target = subscription.target;
        let task = Task::Subscribe {
            target,
            listener: subscription.listener,
            encoded: encode_query(&ValueQuery {
                select: None,
                filter: subscription.filter,
            }),
        };
        self.begin_as(now, id, task, (target, Scope::Network));
    }

    /// A round of subscribing is through.
    pub(super) fn on_subscribed(&mut self, now: Instant, id: OperationId, operation: &Operation) {
        let outcome = operation.outcome(now);
        let Some(subscription) = self.subscriptions.by_operation.get_mut(&id) else {
            return;
        };
        let wait = if outcome.acknowledged == 0 {
            let next = (subscription.retry * 2).min(LAST_RETRY);
            std::mem::replace(&mut subscription.retry, next)
        } else {
            subscription.retry = FIRST_RETRY;
            (subscription.granted / RENEW_DIVISOR).clamp(MIN_RENEWAL, MAX_RENEWAL)
        };
        subscription.renew_at = Some(now + wait);
        let told = std::mem::replace(&mut subscription.told, true);
        if !told {
            self.tell(Event::Listening(id, outcome));
        }
        self.plan_subscriptions(now);
    }

    pub(super) fn on_subscriptions_due(&mut self, now: Instant) {
        if self.subscriptions.due.is_none_or(|due| due > now) {
            return;
        }
        let wall = self.moment(now).wall;
        let mut gone = Vec::new();
        let mut renew = Vec::new();
        for (id, subscription) in &mut self.subscriptions.by_operation {
            let expired = subscription.known.expire(wall);
            gone.extend(expired.into_iter().map(|key| (*id, key)));
            if subscription.renew_at.is_some_and(|at| at <= now) {
                subscription.renew_at = None;
                renew.push(*id);
            }
        }
        for (id, key) in gone {
            self.tell(Event::Gone(id, key));
        }
        for id in renew {
            self.subscribe(now, id);
        }
        self.plan_subscriptions(now);
    }

    /// Finds the next deadline of all subscriptions.
    fn plan_subscriptions(&mut self, now: Instant) {
        let wall = self.moment(now).wall;
        let all = self.subscriptions.by_operation.values();
        let deadlines = all.flat_map(|subscription| {
            let expiry = subscription.known.next_expiry();
            let expiry = expiry.map(|at| now + at.since(wall));
            [expiry, subscription.renew_at]
        });
        self.subscriptions.due = deadlines.flatten().min();
    }

    /// Values came for a lookup or a subscription.
    pub(super) fn on_records<'a>(
        &mut self,
        now: Instant,
        id: OperationId,
        records: impl Iterator<Item = &'a [u8]>,
    ) {
        let wall = self.moment(now).wall;
        for record in records {
            let Some((target, query)) = self.wanted_values(id) else {
                return;
            };
            if query.select.is_some() {
                if let Ok(fields) = FieldRecord::decode(record) {
                    self.tell(Event::Fields(id, fields));
                }
                continue;
            }
            // What is not what it says it is was made up by the node that told it.
            let Ok(value) = Value::decode(record) else {
                continue;
            };
            if value.verify(&target).is_err() || !query.filter.matches(&value.subject()) {
                continue;
            }
            let Some(known) = self.known_values(id) else {
                return;
            };
            match known.on_value(&value, wall) {
                News::Fresh => self.tell(Event::Value(id, value)),
                News::Removed => self.tell(Event::Gone(id, value.key())),
                News::Old => {}
            }
        }
        if self.subscriptions.by_operation.contains_key(&id) {
            self.plan_subscriptions(now);
        }
    }

    /// What an operation wants to hear of.
    fn wanted_values(&self, id: OperationId) -> Option<(Id, ValueQuery)> {
        if let Some(subscription) = self.subscriptions.by_operation.get(&id) {
            let query = ValueQuery {
                select: None,
                filter: subscription.filter,
            };
            return Some((subscription.target, query));
        }
        match &self.operations.get(&id)?.task {
            Task::FindValues { target, query, .. } => Some((*target, *query)),
            _ => None,
        }
    }

    fn known_values(&mut self, id: OperationId) -> Option<&mut KnownValues> {
        if let Some(subscription) = self.subscriptions.by_operation.get_mut(&id) {
            return Some(&mut subscription.known);
        }
        self.operations
            .get_mut(&id)
            .map(|operation| &mut operation.known)
    }

    /// A node tells of changes under a key. Only nodes that took our subscription are heard. What
    /// it says is gone is not believed: values say themselves when they end, and a removal is
    /// signed.
    pub(super) fn on_push(
        &mut self,
        now: Instant,
        to: &ReplyTo<'_>,
        (target, listener): (Id, u64),
        (records, gone): (Records<'_>, Records<'_>),
    ) {
        let family = Family::of(&to.source);
        let found = self.subscriptions.of_listener(listener, &target);
        let heard = found.filter(|(_, each)| {
            let node = each.nodes.get(&to.source);
            node.is_some_and(|node| node.until > now)
        });
        let (Some((id, _)), Some(own)) = (heard, self.id(family)) else {
            // The node forgets a subscription that is refused.
            self.wire.refuse(to, ErrorCode::Protocol);
            return;
        };
        let payload = self.wire.encode_response(to, Response::new(own));
        self.wire.send(to.source, to.local_ip, payload);
        if records.iter().next().is_none() && gone.iter().next().is_none() {
            self.ask_anew(now, id);
        } else {
            self.on_records(now, id, records.iter());
        }
    }

    /// More has changed than a node keeps for us: everything is asked for.
    fn ask_anew(&mut self, now: Instant, id: OperationId) {
        let Some(subscription) = self.subscriptions.by_operation.get_mut(&id) else {
            return;
        };
        let earliest = subscription.anew_at.map_or(now, |at| at + ANEW_PAUSE);
        let at = earliest.max(now);
        if subscription.renew_at.is_some_and(|renew| at < renew) {
            subscription.anew_at = Some(at);
            subscription.renew_at = Some(at);
            self.plan_subscriptions(now);
        }
    }

    /// A value that this node keeps for others changed: we may listen to it too.
    pub(super) fn hear_change(&mut self, now: Instant, target: &Id, key: &ValueKey) {
        let all = self.subscriptions.by_operation.iter();
        let here = all.filter(|(_, each)| each.target == *target);
        let here: Vec<OperationId> = here.map(|(id, _)| *id).collect();
        if here.is_empty() {
            return;
        }
        let kept = self
            .server
            .values
            .record(now, target, (key, &ValueQuery::ALL));
        if let Some(record) = kept.map(Cow::into_owned) {
            for id in here {
                self.on_records(now, id, std::iter::once(record.as_slice()));
            }
        }
    }

    /// Ends a subscription, here and where it was taken.
    pub(super) fn end_subscription(&mut self, now: Instant, id: OperationId) {
        let Some(ended) = self.subscriptions.by_operation.remove(&id) else {
            return;
        };
        self.plan_subscriptions(now);
        for (address, node) in &ended.nodes {
            let cancel = Method::ValueCancel {
                target: ended.target,
                token: &node.token,
                listener: ended.listener,
            };
            let asked = Asked {
                address: *address,
                id: None,
            };
            self.ask(now, asked, cancel, Purpose::Courtesy);
        }
    }
}
