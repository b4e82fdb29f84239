//! Answers that operations wait for, and what they hold.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::custody::note_holder;
use super::event::{Event, Item, Pong, Refusal, Sample};
use super::intake::Answer;
use super::operation::Task;
use super::{Node, OperationId};
use crate::address::{Contact, Family, is_local};
use crate::item::{self, MutableItem};
use crate::krpc::{ErrorReply, ItemReply, MAX_INTERVAL, Response};
use crate::lookup::{Asked, MAX_TOLD};
use crate::transactions::Stage;

/// Bytes of a refusal's text that are kept.
const MAX_REFUSAL_TEXT: usize = 120;

impl Node {
    /// A step of a lookup was answered.
    pub(super) fn on_lookup_answer(&mut self, now: Instant, id: OperationId, answer: &Answer<'_>) {
        let address = answer.query.address;
        let response = &answer.response;
        let contact = Contact::new(response.sender, address);
        let told = self.told(address, response);
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        operation.on_answer();
        if let Some(lookup) = operation.lookup_mut(Family::of(&address)) {
            let family = Family::of(&address);
            let nodes = told
                .iter()
                .filter(|told| Family::of(&told.address) == family);
            lookup.on_answer(address, response.sender, response.token, nodes.copied());
        }
        operation.on_late_answer(address);
        // What it told of the other family helps there.
        let other = match Family::of(&address) {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        if let Some(lookup) = operation.lookup_mut(other) {
            for told in told
                .iter()
                .filter(|told| Family::of(&told.address) == other)
            {
                lookup.add_seed(*told);
            }
        }
        self.on_found(now, id, (contact, answer), told);
        self.drive(now, id);
    }

    /// The nodes in an answer of `source` that may be asked. Nobody far away knows local ones.
    fn told(&self, source: SocketAddr, response: &Response<'_>) -> Vec<Contact> {
        let is_near = is_local(source.ip());
        let lists = [response.nodes, response.nodes6];
        lists
            .into_iter()
            .flatten()
            .flat_map(|nodes| {
                let side = self.side(nodes.family());
                let usable = move |contact: &Contact| {
                    let ip = contact.address.ip();
                    side.is_some_and(|side| side.is_usable(contact))
                        && (is_near || !is_local(ip))
                        && !self.is_blocked(ip)
                };
                nodes.iter().filter(usable).take(MAX_TOLD)
            })
            .collect()
    }

    /// What an answer holds besides nodes.
    fn on_found(
        &mut self,
        now: Instant,
        id: OperationId,
        (contact, answer): (Contact, &Answer<'_>),
        told: Vec<Contact>,
    ) {
        let response = &answer.response;
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        let asks_one = operation.asks_one();
        let event = match &mut operation.task {
            Task::Ping => Some(Event::Pong(id, pong(contact, answer))),
            Task::FindNode { .. } if asks_one => Some(Event::Nodes(id, told)),
            Task::FindPeers { .. } => {
                peers(&contact, response).map(|peers| Event::Peers(id, peers))
            }
            Task::Meet | Task::LookForMeeting => {
                let peers = peers(&contact, response).unwrap_or_default();
                self.on_met(now, &peers);
                None
            }
            Task::Sample { .. } => {
                sample(contact, response, told).map(|sample| Event::Sample(id, sample))
            }
            Task::SurveyItem { .. } | Task::SurveyValues { .. } => {
                note_holder(&mut operation.task, contact.address, response);
                None
            }
            task @ Task::FindItem { .. } => response
                .item
                .and_then(|item| accept_item(task, &item, response.seq))
                .map(|item| {
                    if matches!(item, Item::Immutable(_)) {
                        operation.satisfy();
                    }
                    Event::Item(id, item)
                }),
            Task::FindValues { .. } | Task::Subscribe { .. } => {
                self.on_values(now, id, &contact, response);
                None
            }
            _ => None,
        };
        if let Some(event) = event {
            if let Some(operation) = self.operations.get_mut(&id) {
                operation.on_found();
            }
            self.tell(event);
        }
    }

    /// Values of a node, and perhaps the word that there are more.
    fn on_values(
        &mut self,
        now: Instant,
        id: OperationId,
        contact: &Contact,
        response: &Response<'_>,
    ) {
        if let Some(operation) = self.operations.get_mut(&id)
            && let Some(more) = response.more
        {
            let asked = Asked {
                address: contact.address,
                id: Some(contact.id),
            };
            operation.add_page(asked, more);
        }
        if let Some(records) = response.records {
            if let Some(operation) = self.operations.get_mut(&id) {
                operation.on_found();
            }
            self.on_records(now, id, records.iter());
        }
    }

    /// More values of a node came.
    pub(super) fn on_page(&mut self, now: Instant, id: OperationId, answer: &Answer<'_>) {
        let address = answer.query.address;
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        operation.on_page_over(address);
        let contact = Contact::new(answer.response.sender, address);
        self.on_values(now, id, &contact, &answer.response);
        self.drive(now, id);
    }

    pub(super) fn on_page_over(&mut self, now: Instant, id: OperationId, address: SocketAddr) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.on_page_over(address);
            self.drive(now, id);
        }
    }

    pub(super) fn on_lookup_failure(&mut self, now: Instant, id: OperationId, address: SocketAddr) {
        if let Some(operation) = self.operations.get_mut(&id) {
            if let Some(lookup) = operation.lookup_mut(Family::of(&address)) {
                lookup.on_failure(address);
            }
            self.drive(now, id);
        }
    }

    /// A node refused the question. Of one that is asked alone the owner wants to know why.
    pub(super) fn on_lookup_refused(
        &mut self,
        now: Instant,
        id: OperationId,
        address: SocketAddr,
        error: &ErrorReply<'_>,
    ) {
        if let Some(operation) = self.operations.get_mut(&id)
            && operation.asks_one()
        {
            operation.on_question_refused(refusal(address, error));
        }
        self.on_lookup_failure(now, id, address);
    }

    pub(super) fn on_store_answer(
        &mut self,
        now: Instant,
        id: OperationId,
        address: SocketAddr,
        response: &Response<'_>,
    ) {
        let Some(operation) = self.operations.get_mut(&id) else {
            return;
        };
        operation.on_stored(address);
        if let (Task::Subscribe { listener, .. }, Some(ttl)) = (&operation.task, response.ttl) {
            let token = operation.token_of(&address).unwrap_or_default();
            self.subscriptions
                .on_accepted(now, *listener, (address, token), ttl);
        }
        self.drive(now, id);
    }

    pub(super) fn on_store_refused(
        &mut self,
        now: Instant,
        id: OperationId,
        address: SocketAddr,
        error: &ErrorReply<'_>,
    ) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.on_refused(refusal(address, error));
            self.drive(now, id);
        }
    }

    /// A node takes long to store.
    pub(super) fn on_store_slow(
        &mut self,
        now: Instant,
        id: OperationId,
        address: SocketAddr,
        stage: Stage,
    ) {
        if let Some(operation) = self.operations.get_mut(&id)
            && operation.task.may_be_repeated()
        {
            operation.on_store_slow(address, stage);
            self.drive(now, id);
        }
    }

    /// Nobody waits for this answer any longer.
    pub(super) fn on_store_silent(&mut self, now: Instant, id: OperationId, address: SocketAddr) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.on_silent(address);
            self.drive(now, id);
        }
    }
}

fn refusal(address: SocketAddr, error: &ErrorReply<'_>) -> Refusal {
    let text = &error.text[..error.text.len().min(MAX_REFUSAL_TEXT)];
    let text = String::from_utf8_lossy(text);
    Refusal {
        address,
        code: error.code,
        text: text.replace(|c: char| c.is_control(), " "),
    }
}

fn pong(contact: Contact, answer: &Answer<'_>) -> Pong {
    Pong {
        contact,
        round_trip: answer.round_trip,
        version: answer.message.version.map(<[u8]>::to_vec),
        external: answer.message.external,
        extension: answer.message.extension,
    }
}

/// The peers in an answer, of the family that was asked (BEP 32).
fn peers(contact: &Contact, response: &Response<'_>) -> Option<Vec<SocketAddr>> {
    let family = Family::of(&contact.address);
    response.peers.map(|peers| peers.iter(family).collect())
}

fn sample(contact: Contact, response: &Response<'_>, nodes: Vec<Contact>) -> Option<Sample> {
    let interval = response.interval.unwrap_or(0).min(MAX_INTERVAL);
    Some(Sample {
        contact,
        samples: response.samples?.iter().collect(),
        interval: Duration::from_secs(u64::from(interval)),
        count: response.count.unwrap_or(0),
        nodes,
    })
}

/// The item in an answer, if it is what was asked for, is genuine, and is newer than what was
/// told before.
pub(super) fn accept_item(
    task: &mut Task,
    reply: &ItemReply<'_>,
    seq: Option<i64>,
) -> Option<Item> {
    let Task::FindItem {
        target,
        salt,
        newest,
    } = task
    else {
        return None;
    };
    match reply.signed {
        None => {
            let genuine = item::immutable_target(reply.value) == *target;
            genuine.then(|| Item::Immutable(reply.value.to_vec()))
        }
        Some((key, signature)) => {
            let seq = seq?;
            if item::mutable_target(key, salt) != *target
                || newest.is_some_and(|known| seq <= known)
            {
                return None;
            }
            let item = MutableItem::verified(key, salt, seq, reply.value, signature).ok()?;
            *newest = Some(seq);
            Some(Item::Mutable(item))
        }
    }
}
