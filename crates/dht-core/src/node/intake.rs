//! Datagrams on their way in: what is dropped, what is answered, what answers us.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{Deferred, Purpose, ReplyTo};
use super::{Node, counters};
use crate::address::{Contact, Family, canonical};
use crate::krpc::{Body, DecodeError, ErrorCode, ErrorReply, Message, Method, Query, Response};
use crate::lookup::Asked;
use crate::routing::{Insertion, Seen, Traits};
use crate::server::{Incoming, Served};
use crate::transactions::Outstanding;

/// Whether a query was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Now,
    /// The asker has to show first that it receives.
    NotYet,
}

/// An answer with what is known of its query.
pub(super) struct Answer<'a> {
    pub(super) query: Outstanding<Purpose>,
    pub(super) round_trip: Duration,
    pub(super) message: &'a Message<'a>,
    pub(super) response: Response<'a>,
}

impl Node {
    /// A datagram came in. `local_ip` is the address it was sent to, where the socket tells: the
    /// answer leaves from there (BEP 45).
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local_ip: Option<IpAddr>,
        datagram: &[u8],
    ) {
        let source = canonical(source);
        self.wire.counters.received += 1;
        self.wire.counters.received_bytes += datagram.len() as u64;
        if self.is_blocked(source.ip()) {
            self.wire.counters.blocked += 1;
            return;
        }
        if self.side(Family::of(&source)).is_none() || source.port() == 0 {
            self.wire.counters.malformed += 1;
            return;
        }
        match Message::decode(datagram) {
            Ok(message) => self.on_message(now, source, local_ip, (&message, datagram)),
            Err(error) => self.on_malformed(now, source, local_ip, (&error, datagram.len())),
        }
    }

    fn on_message(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local_ip: Option<IpAddr>,
        (message, datagram): (&Message<'_>, &[u8]),
    ) {
        if message.network != self.config.network {
            self.wire.counters.foreign += 1;
            return;
        }
        match message.body {
            Body::Query(query) => {
                if !self.is_admitted(now, source) {
                    self.wire.counters.limited += 1;
                    return;
                }
                self.on_query(now, (source, local_ip), (message, query), datagram);
            }
            Body::Response(response) => {
                let found = self
                    .wire
                    .transactions
                    .on_answer(now, source, message.transaction);
                let Some((query, round_trip)) = found else {
                    self.wire.counters.unsolicited += 1;
                    return;
                };
                self.wire.counters.answers += 1;
                self.on_response(
                    now,
                    &Answer {
                        query,
                        round_trip,
                        message,
                        response,
                    },
                );
            }
            Body::Error(error) => {
                let found = self
                    .wire
                    .transactions
                    .on_answer(now, source, message.transaction);
                let Some((query, _)) = found else {
                    self.wire.counters.unsolicited += 1;
                    return;
                };
                self.wire.counters.refusals += 1;
                self.on_refusal(now, query, &error);
            }
        }
    }

    /// Whether this address may ask now. Programs of this machine may always.
    fn is_admitted(&mut self, now: Instant, source: SocketAddr) -> bool {
        source.ip().is_loopback() || self.server.rate_limit.admit(now, source)
    }

    /// What is recognisably a query gets error 203, anything else nothing.
    fn on_malformed(
        &mut self,
        now: Instant,
        source: SocketAddr,
        local_ip: Option<IpAddr>,
        (error, len): (&DecodeError<'_>, usize),
    ) {
        self.wire.counters.malformed += 1;
        // In a private network nobody knows whose this is.
        if self.config.network.is_some() || self.wire.read_only {
            return;
        }
        if let Some(transaction) = query_transaction(error)
            && self.is_admitted(now, source)
        {
            let to = ReplyTo {
                source,
                local_ip,
                transaction,
                query_len: len,
            };
            self.wire.refuse(&to, ErrorCode::Protocol);
        }
    }

    fn on_query(
        &mut self,
        now: Instant,
        (source, local_ip): (SocketAddr, Option<IpAddr>),
        (message, query): (&Message<'_>, Query<'_>),
        datagram: &[u8],
    ) {
        self.wire.counters.queries_in[counters::method_index(&query.method)] += 1;
        let contact = Contact::new(query.sender, source);
        if !message.read_only {
            self.observe(now, contact, message, Seen::Queried);
        }
        let to = ReplyTo {
            source,
            local_ip,
            transaction: message.transaction,
            query_len: datagram.len(),
        };
        if let Method::ValuePush {
            target,
            listener,
            records,
            gone,
        } = query.method
        {
            // Pushes are answers to our own subscriptions, so a read-only node takes them.
            self.on_push(now, &to, (target, listener), (records, gone));
            return;
        }
        self.on_queried_by(now, source);
        if self.wire.read_only {
            return;
        }
        if self.serve(now, &to, query) == Answered::NotYet {
            self.defer(now, contact, local_ip, datagram);
        }
    }

    /// Answers a query, and tells those who listen what it changed.
    fn serve(&mut self, now: Instant, to: &ReplyTo<'_>, query: Query<'_>) -> Answered {
        let incoming = Incoming {
            at: self.moment(now),
            to: *to,
            query,
        };
        match self.server.serve(&incoming, &self.sides, &mut self.wire) {
            // What a new listener has missed goes out behind the answer.
            Served::Answered => self.push_changes(now),
            Served::Changed(target, change) => self.on_change(now, target, &change),
            Served::Unproved => return Answered::NotYet,
        }
        Answered::Now
    }

    /// Pings the asker, and answers when it has shown that it receives.
    fn defer(&mut self, now: Instant, contact: Contact, local_ip: Option<IpAddr>, datagram: &[u8]) {
        let ip = contact.address.ip();
        if !self.server.deferrals.has_room(ip) {
            return;
        }
        let deferred = Arc::new(Deferred {
            local_ip,
            datagram: datagram.into(),
        });
        let asked = Asked {
            address: contact.address,
            id: Some(contact.id),
        };
        if self.ask(now, asked, Method::Ping, Purpose::Proof(deferred)) {
            self.server.deferrals.begin(ip);
            self.wire.counters.deferred += 1;
        }
    }

    /// The asker has shown that it receives.
    fn on_proof(&mut self, now: Instant, source: SocketAddr, deferred: &Deferred) {
        self.server.deferrals.end(source.ip());
        if let Ok(message) = Message::decode(&deferred.datagram)
            && let Body::Query(query) = message.body
        {
            let to = ReplyTo {
                source,
                local_ip: deferred.local_ip,
                transaction: message.transaction,
                query_len: deferred.datagram.len(),
            };
            self.serve(now, &to, query);
        }
    }

    /// Sends a query that no operation is about.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        asked: Asked,
        method: Method<'_>,
        purpose: Purpose,
    ) -> bool {
        match &self.sides[Family::of(&asked.address).index()] {
            Some(side) => self.wire.ask(now, side, &asked, (method, 0), purpose),
            None => false,
        }
    }

    /// What any message tells about its sender.
    fn observe(&mut self, now: Instant, contact: Contact, message: &Message<'_>, seen: Seen) {
        let Some(side) = &mut self.sides[Family::of(&contact.address).index()] else {
            return;
        };
        if !side.is_usable(&contact) {
            return;
        }
        let traits = Traits {
            extension: message.extension.is_some(),
        };
        match side.table.observe(now, contact, traits, seen) {
            Insertion::Challenge(old) => self.upkeep.challenge(now, old),
            // It is told of to others once it has answered.
            Insertion::Added if seen == Seen::Queried => self.upkeep.challenge(now, contact),
            Insertion::Added | Insertion::Cached | Insertion::Known | Insertion::Refused => {}
        }
    }

    fn on_response(&mut self, now: Instant, answer: &Answer<'_>) {
        let address = answer.query.address;
        let family = Family::of(&address);
        let contact = Contact::new(answer.response.sender, address);
        if let Some(side) = &mut self.sides[family.index()] {
            side.round_trips.on_answer(answer.round_trip);
            if let Some(expected) = answer.query.id
                && expected != contact.id
            {
                side.table.on_failure(now, &Contact::new(expected, address));
            }
        }
        self.server.proved.mark(now, address);
        let round_trip = answer.round_trip;
        self.observe(now, contact, answer.message, Seen::Answered { round_trip });
        if let Some(seen) = answer.message.external {
            self.on_external_vote(now, address, canonical(seen));
        }
        match answer.query.purpose.clone() {
            Purpose::Lookup(operation) => self.on_lookup_answer(now, operation, answer),
            Purpose::Page(operation) => self.on_page(now, operation, answer),
            Purpose::Store(operation) => {
                self.on_store_answer(now, operation, address, &answer.response);
            }
            Purpose::Push(pushing) => self.on_push_answered(now, &pushing),
            Purpose::Upkeep => {
                self.upkeep.on_over(now, address);
                self.on_back(now, contact);
            }
            Purpose::Proof(deferred) => self.on_proof(now, address, &deferred),
            Purpose::Courtesy => {}
        }
    }

    fn on_refusal(&mut self, now: Instant, query: Outstanding<Purpose>, error: &ErrorReply<'_>) {
        let address = query.address;
        match query.purpose {
            Purpose::Lookup(operation) => self.on_lookup_refused(now, operation, address, error),
            Purpose::Page(operation) => self.on_page_over(now, operation, address),
            Purpose::Store(operation) => self.on_store_refused(now, operation, address, error),
            Purpose::Push(pushing) => self.on_push_refused(&pushing),
            Purpose::Upkeep => self.upkeep.on_over(now, address),
            Purpose::Proof(_) => self.server.deferrals.end(address.ip()),
            Purpose::Courtesy => {}
        }
    }

    /// A vote about our address in this family (BEP 42).
    fn on_external_vote(&mut self, now: Instant, voter: SocketAddr, seen: SocketAddr) {
        let family = Family::of(&voter);
        if Family::of(&seen) != family {
            return;
        }
        let Some(side) = &mut self.sides[family.index()] else {
            return;
        };
        let Some(believed) = side.external.on_vote(now, voter, seen) else {
            return;
        };
        self.on_external_address(now, believed);
    }
}

/// The transaction id of a malformed query of this network; none where nothing is to be answered.
fn query_transaction<'a>(error: &DecodeError<'a>) -> Option<&'a [u8]> {
    match error {
        DecodeError::Query {
            transaction,
            network: None,
            ..
        } => Some(transaction),
        _ => None,
    }
}
