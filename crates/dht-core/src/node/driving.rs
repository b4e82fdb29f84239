//! Carrying operations on: asking whom they want asked, storing, and telling how they ended.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use rand_core::Rng;

use super::answers::accept_item;
use super::event::{Event, Item};
use super::operation::{Operation, Step, Task};
use super::wire::Purpose;
use super::{MAX_LINGERING, Node, OperationId};
use crate::address::{Contact, Family};
use crate::id::Id;
use crate::krpc::Put;
use crate::lookup::{Asked, K};
use crate::value::ValueQuery;

/// What a node stores at itself is charged to this address.
const OWN_HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Node {
    /// What this node keeps itself counts as found.
    pub(super) fn look_here(&mut self, now: Instant, id: OperationId) {
        let Some(operation) = self.operations.get(&id) else {
            return;
        };
        match &operation.task {
            Task::FindPeers { info_hash } => {
                let info_hash = *info_hash;
                self.find_peers_here(now, id, &info_hash);
            }
            Task::FindItem { .. } => self.find_item_here(now, id),
            Task::FindValues { target, query, .. } => {
                let (target, query) = (*target, *query);
                let records = self.values_here(now, &target, &query);
                self.on_records(now, id, records.iter().map(Vec::as_slice));
            }
            Task::Subscribe { target, .. } => {
                let target = *target;
                let records = self.values_here(now, &target, &ValueQuery::ALL);
                self.on_records(now, id, records.iter().map(Vec::as_slice));
            }
            _ => {}
        }
    }

    fn find_peers_here(&mut self, now: Instant, id: OperationId, info_hash: &Id) {
        let mut found = Vec::new();
        for family in Family::ALL {
            let rng = &mut self.wire.rng;
            let each = |peer| found.push(peer);
            self.server
                .peers
                .peers(now, info_hash, family, usize::MAX, rng, each);
        }
        if !found.is_empty() {
            self.tell(Event::Peers(id, found));
        }
    }

    fn find_item_here(&mut self, now: Instant, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        let Task::FindItem { target, .. } = &operation.task else {
            return;
        };
        let Some(stored) = self.server.items.get(now, target) else {
            return;
        };
        let (Some(reply), seq) = stored.reply(None) else {
            return;
        };
        if let Some(item) = accept_item(&mut operation.task, &reply, seq) {
            operation.on_found();
            if matches!(item, Item::Immutable(_)) {
                operation.satisfy();
            }
            self.tell(Event::Item(id, item));
        }
    }

    /// Does what an operation wants until it has to wait.
    pub(super) fn drive(&mut self, now: Instant, id: OperationId) {
        loop {
            let Some(operation) = self.operations.get_mut(&id) else {
                return;
            };
            match operation.poll() {
                Step::Wait => return,
                Step::Ask(asked) => self.send_question(now, id, asked),
                Step::Store(asked, token) => self.send_store(now, id, asked, &token),
                Step::Page(asked, after) => self.send_page(now, id, asked, &after),
                Step::Decided => {
                    operation.move_to_storing();
                    self.store_here(now, id);
                }
                Step::Finished => {
                    self.finish(now, id);
                    return;
                }
            }
        }
    }

    fn send_question(&mut self, now: Instant, id: OperationId, asked: Asked) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        let family = Family::of(&asked.address);
        let side = self.sides[family.index()].as_ref();
        let sent = side.is_some_and(|side| {
            let query = operation.query();
            self.wire.ask(now, side, &asked, query, Purpose::Lookup(id))
        });
        if !sent && let Some(lookup) = operation.lookup_mut(family) {
            lookup.on_failure(asked.address);
        }
    }

    fn send_store(&mut self, now: Instant, id: OperationId, asked: Asked, token: &[u8]) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        let side = self.sides[Family::of(&asked.address).index()].as_ref();
        let query = operation.task.store(token).map(|method| (method, 0));
        let sent = side.zip(query).is_some_and(|(side, query)| {
            self.wire.ask(now, side, &asked, query, Purpose::Store(id))
        });
        if !sent {
            operation.on_silent(asked.address);
        } else if let Task::Subscribe { listener, .. } = &operation.task {
            let asked = (asked.address, token);
            self.subscriptions.on_asked(now, *listener, asked);
        }
    }

    fn send_page(&mut self, now: Instant, id: OperationId, asked: Asked, after: &[u8]) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        let side = self.sides[Family::of(&asked.address).index()].as_ref();
        let query = operation.task.page(after);
        let sent = side.zip(query).is_some_and(|(side, query)| {
            self.wire.ask(now, side, &asked, query, Purpose::Page(id))
        });
        if !sent {
            operation.on_page_over(asked.address);
        }
    }

    /// A node that is itself among the nearest keeps what it stores: in a network of two, the
    /// other may leave.
    fn store_here(&mut self, now: Instant, id: OperationId) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        if self.wire.read_only {
            return;
        }
        let near = operation.lookups().find_map(|lookup| {
            let family = Family::of(&lookup.closest().next()?.0.address);
            let own = self.sides[family.index()].as_ref()?.table.own_id();
            let target = lookup.target();
            let nearer = |contact: &Contact| contact.id.distance(&target) < own.distance(&target);
            let before = lookup.closest().filter(|(contact, _)| nearer(contact));
            (before.count() < K).then_some(own)
        });
        let Some(own) = near else {
            return;
        };
        let items = &mut self.server.items;
        match &operation.task {
            Task::PutImmutable { value, .. } => {
                let put = Put {
                    token: b"",
                    value,
                    mutable: None,
                };
                operation.stored_here = items.put_mutable(now, &own, &put, OWN_HOST).is_ok();
            }
            Task::PutMutable { item, cas } => {
                let put = item.as_put(b"", *cas);
                operation.stored_here = items.put_mutable(now, &own, &put, OWN_HOST).is_ok();
            }
            Task::PutValue { .. } => self.store_value_here(now, id, &own),
            _ => {}
        }
    }

    fn store_value_here(&mut self, now: Instant, id: OperationId, own: &Id) {
        let at = self.moment(now);
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        let Task::PutValue { target, record } = &operation.task else {
            return;
        };
        let target = *target;
        let stored = self
            .server
            .store_value((at, OWN_HOST), own, &target, record);
        operation.stored_here = stored.is_ok();
        if let Ok(stored) = stored {
            self.on_change(now, target, &stored);
        }
    }

    fn finish(&mut self, now: Instant, id: OperationId) {
        let Some(mut operation) = self.operations.remove(&id) else {
            return;
        };
        let was_told = operation.is_lingering();
        if self.operations.is_empty() {
            self.operations = std::collections::BTreeMap::new();
        }
        if was_told {
            return;
        }
        let lingers = operation.may_linger() && self.lingering() < MAX_LINGERING;
        self.wire.counters.lookups += 1;
        match operation.task {
            Task::Refresh { .. } => self.on_refreshed(now, id, &operation),
            Task::Subscribe { .. } => self.on_subscribed(now, id, &operation),
            Task::Meet | Task::LookForMeeting => self.on_meeting_over(now, id),
            Task::FindExtension { .. } => {}
            Task::SurveyItem { .. } | Task::SurveyValues { .. } => {
                self.on_surveyed(now, &operation);
            }
            _ => self.on_done(now, id, &operation),
        }
        if lingers {
            operation.move_to_lingering();
            self.operations.entry(id).or_insert(operation);
        }
    }

    /// Operations that are over but for nodes that answer late.
    pub(super) fn lingering(&self) -> usize {
        let all = self.operations.values();
        all.filter(|operation| operation.is_lingering()).count()
    }

    fn on_done(&mut self, now: Instant, id: OperationId, operation: &Operation) {
        let outcome = operation.outcome(now);
        let jitter = f64::from(self.wire.rng.next_u32()) / f64::from(u32::MAX);
        let interval = (self.config.republish, jitter);
        if self.republish.on_done(now, id, &outcome, interval) {
            self.tell(Event::Done(id, outcome));
        }
    }
}
