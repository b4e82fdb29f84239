//! Messages on their way out: own queries with their transactions, and answers.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;

use super::config::Config;
use super::counters::{Counters, method_index};
use super::event::OperationId;
use super::pushes::Pushing;
use super::reachability::AskedAddresses;
use super::side::Side;
use crate::krpc::{
    Body, EXTENSION_VERSION, ErrorCode, ErrorReply, Message, Method, Query, Response, Want,
};
use crate::lookup::Asked;
use crate::server::MAX_AMPLIFICATION;
use crate::transactions::Transactions;

/// Room in the queue that an idle node keeps.
const KEPT_OUTBOX: usize = 16;

/// A datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// The local address to send from: the one that was asked (BEP 45). None: any.
    pub local_ip: Option<IpAddr>,
    /// The message.
    pub payload: Vec<u8>,
}

/// What an answer is for.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// A step of a lookup.
    Lookup(OperationId),
    /// Storing what the operation stores.
    Store(OperationId),
    /// More values of a node that has more than fit into one answer.
    Page(OperationId),
    /// A push to a subscriber.
    Push(Arc<Pushing>),
    /// Whether a node is still there.
    Upkeep,
    /// Whether the asker receives at its address; then its query is answered.
    Proof(Arc<Deferred>),
    /// Nothing depends on the answer.
    Courtesy,
}

/// A query whose answer is too large for an unproved address.
#[derive(Debug)]
pub(crate) struct Deferred {
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) datagram: Box<[u8]>,
}

/// Where an answer goes, and what it must repeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTo<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) transaction: &'a [u8],
    /// Bytes of the query: an error is at most three times as long.
    pub(crate) query_len: usize,
}

/// Encodes and queues what leaves.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) transactions: Transactions<Purpose>,
    pub(crate) counters: Counters,
    pub(crate) rng: ChaCha20Rng,
    outbox: VecDeque<Transmit>,
    config: Arc<Config>,
    /// Whether `ro` is set.
    pub(crate) read_only: bool,
    pub(crate) asked: AskedAddresses,
}

impl Wire {
    pub(crate) fn new(config: Arc<Config>, rng: ChaCha20Rng) -> Self {
        Self {
            transactions: Transactions::default(),
            counters: Counters::default(),
            rng,
            outbox: VecDeque::new(),
            asked: AskedAddresses::new(&config),
            config,
            read_only: false,
        }
    }

    /// Sends a query; false when too many are under way.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        side: &Side,
        asked: &Asked,
        query: (Method<'_>, u16),
        purpose: Purpose,
    ) -> bool {
        let patience = side.patience(asked);
        let to = (asked.address, asked.id);
        let transaction = self
            .transactions
            .begin(now, to, patience, purpose, &mut self.rng);
        let Some(transaction) = transaction else {
            return false;
        };
        self.asked.on_asked(now, asked.address);
        let (method, padding) = query;
        self.counters.queries_out[method_index(&method)] += 1;
        let message = Message {
            transaction: &transaction,
            body: Body::Query(Query {
                sender: side.table.own_id(),
                want: self.want(),
                method,
                padding,
            }),
            version: Some(&self.config.version),
            network: self.config.network,
            extension: self.extension(),
            read_only: self.read_only,
            external: None,
        };
        let mut payload = Vec::new();
        message.encode(&mut payload);
        let name = String::from_utf8_lossy(method.name());
        tracing::trace!(to = %asked.address, %name, given_up = ?patience.given_up, "asks");
        self.send(asked.address, None, payload);
        true
    }

    /// The version of the value layer that every message names.
    fn extension(&self) -> Option<u32> {
        self.config.extension.then_some(EXTENSION_VERSION)
    }

    /// Whether this node knows the method.
    pub(crate) fn speaks(&self, method: &Method<'_>) -> bool {
        let is_extension = matches!(
            method,
            Method::ValueGet { .. }
                | Method::ValuePut { .. }
                | Method::ValueListen { .. }
                | Method::ValueCancel { .. }
                | Method::ValuePush { .. }
        );
        !is_extension || self.config.extension
    }

    /// Both families' nodes are wanted where both are in use (BEP 32).
    fn want(&self) -> Want {
        match self.config.families {
            [true, true] => Want { v4: true, v6: true },
            _ => Want::default(),
        }
    }

    /// Encodes an answer.
    pub(crate) fn encode_response(&self, to: &ReplyTo<'_>, response: Response<'_>) -> Vec<u8> {
        let mut payload = Vec::with_capacity(320);
        self.answer(to, Body::Response(response))
            .encode(&mut payload);
        payload
    }

    /// Refuses a query.
    pub(crate) fn refuse(&mut self, to: &ReplyTo<'_>, code: ErrorCode) {
        let body = Body::Error(ErrorReply {
            code: code.code(),
            text: code.text().as_bytes(),
        });
        let mut payload = Vec::new();
        self.answer(to, body).encode(&mut payload);
        if payload.len() <= to.query_len * MAX_AMPLIFICATION {
            self.send(to.source, to.local_ip, payload);
        }
    }

    fn answer<'a>(&'a self, to: &ReplyTo<'a>, body: Body<'a>) -> Message<'a> {
        Message {
            transaction: to.transaction,
            body,
            version: Some(&self.config.version),
            network: self.config.network,
            extension: self.extension(),
            read_only: false,
            external: Some(to.source),
        }
    }

    pub(crate) fn send(
        &mut self,
        destination: SocketAddr,
        local_ip: Option<IpAddr>,
        payload: Vec<u8>,
    ) {
        self.counters.sent += 1;
        self.counters.sent_bytes += payload.len() as u64;
        self.outbox.push_back(Transmit {
            destination,
            local_ip,
            payload,
        });
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.outbox.pop_front();
        if transmit.is_none() && self.outbox.capacity() > KEPT_OUTBOX {
            self.outbox = VecDeque::new();
        }
        transmit
    }
}
