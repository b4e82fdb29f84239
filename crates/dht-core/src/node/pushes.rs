//! Telling those who listen at this node what changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::Node;
use super::wire::Purpose;
use crate::address::Family;
use crate::id::Id;
use crate::krpc::{Method, Records};
use crate::lookup::Asked;
use crate::server::Moment;
use crate::value::{ListenerKey, PushOutcome, Stored, ValueKey, ValueQuery};

/// Bytes of values in one push: with everything around them it fits into an Ethernet frame. One
/// value of the largest size fits.
const MAX_PUSH_LEN: usize = 1_200;

/// Bytes of a record's length and colon.
const STRING_OVERHEAD: usize = 5;

/// Attempts at one push after which a listener is gone: where a fifth of all datagrams is lost,
/// one listener in 165 is.
const MAX_ATTEMPTS: u8 = 5;

/// A push under way.
#[derive(Debug, Clone)]
pub(crate) struct Pushing {
    to: ListenerKey,
    query: ValueQuery,
    /// What the listener has not been told, this push's part first.
    changed: Vec<ValueKey>,
    /// How many of them are in this push.
    sent: usize,
    attempt: u8,
    /// The same for all attempts.
    serial: u64,
}

/// Which pushes wait for an answer, one to a listener. An answer to any attempt will do.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    serials: BTreeMap<ListenerKey, u64>,
    next: u64,
}

impl Pushes {
    fn begin(&mut self, to: ListenerKey) -> u64 {
        self.next += 1;
        self.serials.insert(to, self.next);
        self.next
    }

    fn is_current(&self, pushing: &Pushing) -> bool {
        self.serials.get(&pushing.to) == Some(&pushing.serial)
    }

    /// Whether this attempt decides about its push.
    fn end(&mut self, pushing: &Pushing) -> bool {
        let is_current = self.is_current(pushing);
        if is_current {
            self.serials.remove(&pushing.to);
        }
        is_current
    }
}

impl Node {
    /// What this node itself keeps under a key.
    pub(super) fn values_here(
        &self,
        now: Instant,
        target: &Id,
        query: &ValueQuery,
    ) -> Vec<Vec<u8>> {
        let all = crate::value::PageRequest {
            query,
            after: None,
            budget: usize::MAX,
        };
        let page = self.server.values.page(now, target, &all);
        page.records
            .into_iter()
            .map(|record| record.into_owned())
            .collect()
    }

    /// A value that is kept here changed.
    pub(super) fn on_change(&mut self, now: Instant, target: Id, stored: &Stored) {
        if stored.change.is_news() {
            self.server
                .listeners
                .on_change(now, &target, &stored.subject);
            self.push_changes(now);
            self.hear_change(now, &target, &stored.subject.key);
        }
    }

    /// Forgets values whose time is over and tells those who listen.
    pub(super) fn expire_values(&mut self, at: Moment) {
        for gone in self.server.values.expire(at.now) {
            self.server
                .listeners
                .on_change(at.now, &gone.target, &gone.subject);
        }
        self.push_changes(at.now);
    }

    pub(super) fn push_changes(&mut self, now: Instant) {
        while let Some(push) = self.server.listeners.poll_push() {
            let pushing = Pushing {
                to: push.to,
                query: push.query,
                changed: push.changed,
                sent: 0,
                attempt: 1,
                serial: self.pushes.begin(push.to),
            };
            self.push(now, pushing);
        }
    }

    /// Sends as much as fits.
    fn push(&mut self, now: Instant, mut pushing: Pushing) {
        let to = pushing.to;
        let mut records = Vec::new();
        let mut gone = Vec::new();
        let mut room = MAX_PUSH_LEN;
        pushing.sent = 0;
        for key in &pushing.changed {
            let kept = self
                .server
                .values
                .record(now, &to.target, (key, &pushing.query));
            let cost = kept.as_ref().map_or(40, |record| record.len()) + STRING_OVERHEAD;
            if cost > room {
                break;
            }
            room -= cost;
            pushing.sent += 1;
            match kept {
                Some(record) => records.push(record.into_owned()),
                None => gone.push(key.encode()),
            }
        }
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let gone: Vec<&[u8]> = gone.iter().map(Vec::as_slice).collect();
        let method = Method::ValuePush {
            target: to.target,
            listener: to.id,
            records: Records::from_slices(&records),
            gone: Records::from_slices(&gone),
        };
        let asked = Asked {
            address: to.address,
            id: None,
        };
        let pushing = Arc::new(pushing);
        let purpose = Purpose::Push(pushing.clone());
        let sent = match &self.sides[Family::of(&to.address).index()] {
            Some(side) => self.wire.ask(now, side, &asked, (method, 0), purpose),
            None => false,
        };
        if !sent {
            self.on_push_refused(&pushing);
        }
    }

    /// A listener has taken a push.
    pub(super) fn on_push_answered(&mut self, now: Instant, pushing: &Pushing) {
        if !self.pushes.end(pushing) {
            return;
        }
        let rest = pushing.changed.get(pushing.sent..).unwrap_or_default();
        if rest.is_empty() || pushing.sent == 0 {
            let outcome = PushOutcome::Answered;
            self.server.listeners.on_pushed(&pushing.to, outcome);
            self.push_changes(now);
            return;
        }
        let next = Pushing {
            changed: rest.to_vec(),
            attempt: 1,
            serial: self.pushes.begin(pushing.to),
            ..pushing.clone()
        };
        self.push(now, next);
    }

    /// A listener refused a push: it no longer listens.
    pub(super) fn on_push_refused(&mut self, pushing: &Pushing) {
        if self.pushes.end(pushing) {
            let outcome = PushOutcome::Lost;
            self.server.listeners.on_pushed(&pushing.to, outcome);
        }
    }

    /// A listener has not answered yet: the push, or its answer, may be lost.
    pub(super) fn on_push_late(&mut self, now: Instant, pushing: &Pushing) {
        if self.pushes.is_current(pushing) && pushing.attempt < MAX_ATTEMPTS {
            let next = Pushing {
                attempt: pushing.attempt + 1,
                ..pushing.clone()
            };
            self.push(now, next);
        }
    }

    /// An attempt is forgotten; with the last one the listener is.
    pub(super) fn on_push_unanswered(&mut self, pushing: &Pushing) {
        if pushing.attempt >= MAX_ATTEMPTS {
            self.on_push_refused(pushing);
        }
    }
}
