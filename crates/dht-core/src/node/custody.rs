//! Keeping what others stored here where a lookup finds it: with the nodes nearest to its key.
//!
//! Nodes die, and nodes that are nearer come. So a node goes through its stores again and again
//! (Kademlia, section 2.5; BEP 44 lets anybody put an item again). For each key it asks the
//! nearest nodes what they have, and hands over what they lack. Nobody's copy lives longer by
//! that: an item is handed over with its age, and a value carries its expiry.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::operation::{Operation, Task};
use super::operations::Scope;
use super::wire::Purpose;
use super::{MAX_OPERATIONS, Node};
use crate::address::Family;
use crate::id::Id;
use crate::krpc::{Method, MutablePut, Put, Response};
use crate::lookup::{Asked, K};
use crate::store::ITEM_LIFETIME;
use crate::value::{Field, FieldRecord, Filter, Select, UnixTime, Value, ValueKey, ValueQuery};

/// Time for one pass through the stores: as often as quiet buckets are refreshed (BEP 5). An item
/// lives through eight of them.
const PASS: Duration = Duration::from_secs(15 * 60);

/// Between two keys at least. A survey is a lookup of some 20 queries: more than these a second a
/// node does not spend on what is not its own.
const MIN_SPACING: Duration = Duration::from_secs(1);

/// Keys looked at in one step, most of which are another node's turn.
const MAX_PASSED_OVER: usize = 64;

/// Nearest nodes that look after a key in every pass; two, as one may be the next to die.
const FIRST_RANKS: usize = 2;

/// The others do so in one pass of this many, in turn: the first may lack it.
const TURNS: usize = 3;

/// Messages that hand over after one survey: all eight nodes of both families, four values each.
/// What is left has its turn in the next pass.
const MAX_HANDED: usize = 64;

/// Values of one node's answer that are looked at.
const MAX_TOLD_VALUES: usize = 128;

/// What has less left than this is not worth a message.
const MIN_LEFT: Duration = Duration::from_secs(60);

/// Operations of the owner come first: with more than this under way nothing is surveyed.
const MAX_BUSY: usize = MAX_OPERATIONS / 2;

/// What a node told of its values under a key.
#[derive(Debug, Default)]
pub(crate) struct Told {
    values: BTreeMap<ValueKey, (Option<u64>, Option<UnixTime>)>,
    /// Nothing is known of values from here on.
    end: Option<ValueKey>,
}

impl Told {
    fn lacks(&self, value: &Value) -> bool {
        let key = value.key();
        if self.end.is_some_and(|end| key >= end) {
            return false;
        }
        match self.values.get(&key) {
            // Selections leave removals out: who has none of it needs none.
            None => !value.is_removal(),
            Some((seq, expiry)) => {
                let is_older = *seq < value.seq();
                is_older || (*seq == value.seq() && *expiry < Some(value.expiry()))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Store {
    #[default]
    Items,
    Values,
}

/// How far the pass has come.
#[derive(Debug, Default)]
pub(super) struct Custody {
    /// None while nothing is kept.
    due: Option<Instant>,
    /// When this pass began.
    began: Option<Instant>,
    pass: usize,
    store: Store,
    after: Option<Id>,
}

impl Custody {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn move_on(&mut self, target: Id) {
        self.after = Some(target);
    }

    /// The next store; false at the end of the pass.
    fn move_to_next_store(&mut self) -> bool {
        self.after = None;
        let goes_on = self.store == Store::Items;
        self.store = if goes_on { Store::Values } else { Store::Items };
        goes_on
    }
}

/// What an answer to a survey says about who answered.
pub(super) fn note_holder(task: &mut Task, address: SocketAddr, response: &Response<'_>) {
    match task {
        Task::SurveyItem { seq, held_by, .. } => {
            let holds = match seq {
                None => response.item.is_some(),
                Some(seq) => response.seq.is_some_and(|stored| stored >= *seq),
            };
            if holds {
                held_by.insert(address);
            }
        }
        Task::SurveyValues { told, .. } => {
            let of_node = told.entry(address).or_default();
            of_node.end = response.more.and_then(ValueKey::decode);
            let records = response.records.iter().flat_map(|records| records.iter());
            for record in records.take(MAX_TOLD_VALUES) {
                if let Ok(fields) = FieldRecord::decode(record)
                    && let Some(id) = fields.id()
                {
                    let owner = fields.owner();
                    let state = (fields.seq(), fields.expiry());
                    of_node.values.insert(ValueKey { id, owner }, state);
                }
            }
        }
        _ => {}
    }
}

impl Node {
    /// Begins to look after the stores when something came in.
    pub(super) fn begin_custody(&mut self, now: Instant) {
        let is_empty = self.server.items.count() == 0 && self.server.values.len() == 0;
        if self.custody.due.is_none() && !is_empty {
            self.custody.began = Some(now);
            self.custody.due = Some(now + self.jittered(PASS));
        }
    }

    /// Between half and all of it: nodes that were started together do not stay in step.
    fn jittered(&mut self, time: Duration) -> Duration {
        let half = time / 2;
        half + half.mul_f64(f64::from(self.wire.rng.next_u32()) / f64::from(u32::MAX))
    }

    pub(super) fn on_custody_due(&mut self, now: Instant) {
        if self.custody.due.is_none_or(|due| due > now) {
            return;
        }
        if self.wire.read_only || self.operations.len() > MAX_BUSY {
            self.custody.due = Some(now + MIN_LEFT);
            return;
        }
        let keys = self.server.items.count() + self.server.values.key_count();
        for passed in 1..=MAX_PASSED_OVER {
            let Some((store, target)) = self.next_in_custody() else {
                self.end_pass(now);
                return;
            };
            if self.is_our_turn(now, store, &target) && self.survey(now, store, target) {
                let share = PASS.mul_f64(passed as f64 / keys.max(1) as f64 / 2.0);
                self.custody.due = Some(now + share.max(MIN_SPACING));
                return;
            }
        }
        self.custody.due = Some(now + MIN_SPACING);
    }

    fn next_in_custody(&mut self) -> Option<(Store, Id)> {
        loop {
            let (store, after) = (self.custody.store, self.custody.after);
            let next = match store {
                Store::Items => self.server.items.next_target(after.as_ref()),
                Store::Values => self.server.values.next_key(after.as_ref()),
            };
            if let Some(target) = next {
                self.custody.move_on(target);
                return Some((store, target));
            }
            if !self.custody.move_to_next_store() {
                return None;
            }
        }
    }

    fn end_pass(&mut self, now: Instant) {
        self.custody.pass = self.custody.pass.wrapping_add(1);
        let began = self.custody.began.replace(now).unwrap_or(now);
        let is_empty = self.server.items.count() == 0 && self.server.values.len() == 0;
        let next = (began + self.jittered(PASS)).max(now + MIN_SPACING);
        self.custody.due = (!is_empty).then_some(next);
    }

    /// Whether this node looks after a key in this pass: the nearest always do, the others in turn.
    fn is_our_turn(&self, now: Instant, store: Store, target: &Id) -> bool {
        let mut best = None;
        for side in self.sides.iter().flatten() {
            let mut nearest = Vec::new();
            match store {
                Store::Items => side.table.closest(now, target, &mut nearest, K),
                Store::Values => side.table.closest_extension(now, target, &mut nearest, K),
            }
            let own = side.table.own_id().distance(target);
            let nearer = |id: &Id| id.distance(target) < own;
            let rank = nearest.iter().filter(|node| nearer(&node.id)).count();
            if !nearest.is_empty() {
                best = Some(best.map_or(rank, |best: usize| best.min(rank)));
            }
        }
        best.is_some_and(|rank| rank < FIRST_RANKS || rank % TURNS == self.custody.pass % TURNS)
    }

    /// Asks the nearest nodes what they have under a key. False where nothing is to be kept.
    fn survey(&mut self, now: Instant, store: Store, target: Id) -> bool {
        let task = match store {
            Store::Items => {
                let age = self.server.items.age(now, &target);
                let least = ITEM_LIFETIME - MIN_LEFT.as_secs() as u32;
                let Some(item) = self.server.items.get(now, &target) else {
                    return false;
                };
                if age.is_none_or(|age| age > least) {
                    return false;
                }
                Task::SurveyItem {
                    target,
                    seq: item.seq(),
                    held_by: Default::default(),
                }
            }
            Store::Values => {
                let fields = [Field::Expiry, Field::Id, Field::Owner, Field::Seq];
                let query = ValueQuery {
                    select: Select::of(&fields),
                    filter: Filter::default(),
                };
                Task::SurveyValues {
                    target,
                    encoded: query.encode().into(),
                    told: BTreeMap::new(),
                }
            }
        };
        let id = self.next_id();
        self.begin_as(now, id, task, (target, Scope::Network));
        true
    }

    /// The nearest nodes have answered: what they lack is handed over. A message that is lost has
    /// another chance in the next pass.
    pub(super) fn on_surveyed(&mut self, now: Instant, operation: &Operation) {
        let mut left = MAX_HANDED;
        for lookup in operation.lookups() {
            for (contact, token) in lookup.closest() {
                let Some(token) = token else {
                    continue;
                };
                let to = Asked {
                    address: contact.address,
                    id: Some(contact.id),
                };
                match &operation.task {
                    Task::SurveyItem {
                        target, held_by, ..
                    } if !held_by.contains(&to.address) => {
                        self.hand_item_over(now, target, (to, token));
                    }
                    Task::SurveyValues { target, told, .. } => {
                        if let Some(told) = told.get(&to.address) {
                            let handed =
                                self.hand_values_over(now, target, told, (to, token), left);
                            left -= handed;
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn hand_item_over(&mut self, now: Instant, target: &Id, (to, token): (Asked, &[u8])) {
        let items = &self.server.items;
        let (Some(item), Some(age)) = (items.get(now, target), items.age(now, target)) else {
            return;
        };
        let salt = item.salt();
        let mutable = item.signed().map(|signed| MutablePut {
            key: &signed.key,
            signature: &signed.signature,
            seq: signed.seq,
            salt,
            cas: None,
        });
        let put = Put {
            token,
            value: item.value(),
            mutable,
        };
        let method = Method::HandOver { put, age };
        if let Some(side) = &self.sides[Family::of(&to.address).index()] {
            let query = (method, 0);
            self.wire.ask(now, side, &to, query, Purpose::Courtesy);
        }
    }

    /// Returns how many, at most `left`.
    fn hand_values_over(
        &mut self,
        now: Instant,
        target: &Id,
        told: &Told,
        (to, token): (Asked, &[u8]),
        left: usize,
    ) -> usize {
        let wall = self.moment(now).wall;
        let mut handed = 0;
        for record in self.values_here(now, target, &ValueQuery::ALL) {
            if handed >= left {
                break;
            }
            let Ok(value) = Value::decode(&record) else {
                continue;
            };
            if value.expiry().since(wall) < MIN_LEFT || !told.lacks(&value) {
                continue;
            }
            let method = Method::ValuePut {
                target: *target,
                token,
                record: &record,
            };
            self.ask(now, to, method, Purpose::Courtesy);
            handed += 1;
        }
        handed
    }
}
