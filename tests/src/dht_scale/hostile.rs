//! Nodes that mean harm. They speak KRPC well enough to be in everybody's tables.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::krpc::{
    Body, ItemReply, Message, Method, Nodes, Peers, Query, Records, Response, Want,
    write_compact_node,
};
use dhtnet_dht_core::{Contact, Family, Id};
use dhtnet_simnet::{Machine, Rng, Transmit};

use super::census::Census;

/// Between two questions of a hostile node, which keep it in the tables of others.
const PAUSE: Duration = Duration::from_secs(10);

/// Honest nodes that one hostile node remembers; the oldest goes first.
const REMEMBERED: usize = 64;

/// Nodes told in an answer (BEP 5).
const TOLD: usize = 8;

/// The token that it gives to everybody.
const TOKEN: &[u8] = b"trust me";

/// What a poisoner calls the value; bencoded.
const POISON: &[u8] = b"8:poisoned";

/// The peers it tells of: 192.0.2.66, port 6881.
const FORGED_PEERS: &[&[u8]] = &[&[192, 0, 2, 66, 0x1a, 0xe1]];

/// How a hostile node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    /// Tells of hostile nodes only, half of them under ids next to the target that they do not
    /// have; says that it stored what it threw away.
    WrongNodes,
    /// Answers pings, so that it stays in tables, and nothing else.
    Silent,
    /// As [`WrongNodes`](Self::WrongNodes), and has a forged value for every key.
    Poison,
}

impl Conduct {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::WrongNodes, Self::Silent, Self::Poison];
}

/// All hostile nodes; each knows all others.
pub(super) type Coalition = Rc<RefCell<Census>>;

/// One of them.
#[derive(Debug)]
pub(super) struct Hostile {
    id: Id,
    conduct: Conduct,
    coalition: Coalition,
    /// What it asks for; anything if none.
    focus: Option<Id>,
    rng: Rng,
    due: Instant,
    remembered: Vec<SocketAddr>,
    oldest: usize,
    outbox: Vec<Transmit>,
}

impl Hostile {
    /// A hostile node that gets itself known from `start` on, first to the nodes at `victims`.
    pub(super) fn new(
        id: Id,
        conduct: Conduct,
        coalition: Coalition,
        start: Instant,
        victims: &[SocketAddr],
    ) -> Self {
        let mut seed = [0; 8];
        seed.copy_from_slice(&id.as_bytes()[12..]);
        Self {
            id,
            conduct,
            coalition,
            focus: None,
            rng: Rng::new(u64::from_be_bytes(seed)),
            due: start,
            remembered: victims.iter().copied().take(REMEMBERED).collect(),
            oldest: 0,
            outbox: Vec::new(),
        }
    }

    /// Asks for `target` all the time, so that the nodes near it learn of this one.
    pub(super) fn with_focus(mut self, target: Id) -> Self {
        self.focus = Some(target);
        self
    }

    pub(super) fn id(&self) -> Id {
        self.id
    }

    fn remember(&mut self, address: SocketAddr) {
        if self.remembered.contains(&address) {
            return;
        }
        if self.remembered.len() < REMEMBERED {
            self.remembered.push(address);
        } else {
            self.remembered[self.oldest] = address;
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
    }

    fn random_id(&mut self) -> Id {
        Id::hash_of(&self.rng.next_u64().to_be_bytes())
    }

    /// Asks one node that it knows.
    fn ask(&mut self) {
        if self.remembered.is_empty() {
            return;
        }
        let at = self.rng.next_u64() as usize % self.remembered.len();
        let target = match self.focus {
            Some(target) => target,
            None => self.random_id(),
        };
        let body = Body::Query(Query {
            sender: self.id,
            want: Want::default(),
            method: Method::FindNode { target },
            padding: 0,
        });
        self.say(self.remembered[at], b"hq", body);
    }

    fn say(&mut self, destination: SocketAddr, transaction: &[u8], body: Body<'_>) {
        let message = Message {
            extension: Some(1),
            ..Message::new(transaction, body)
        };
        let mut payload = Vec::new();
        message.encode(&mut payload);
        self.outbox.push(Transmit {
            destination,
            payload,
        });
    }

    fn answer(&mut self, source: SocketAddr, transaction: &[u8], method: &Method<'_>) {
        let mut response = Response::new(self.id);
        let target = match method {
            Method::Ping => return self.say(source, transaction, Body::Response(response)),
            _ if self.conduct == Conduct::Silent => return,
            Method::FindNode { target }
            | Method::Get { target, .. }
            | Method::ValueGet { target, .. } => *target,
            Method::GetPeers { info_hash } => *info_hash,
            Method::AnnouncePeer { .. }
            | Method::Put(_)
            | Method::ValuePut { .. }
            | Method::ValueListen { .. } => {
                response.ttl = Some(3_600);
                return self.say(source, transaction, Body::Response(response));
            }
            _ => return,
        };
        let nodes = self.lies_about(&target);
        response.nodes = Nodes::new(Family::V4, &nodes);
        response.token = Some(TOKEN);
        if self.conduct != Conduct::Poison {
            return self.say(source, transaction, Body::Response(response));
        }
        let forged_key = [7; 32];
        let forged_signature = [9; 64];
        match method {
            Method::Get { .. } => {
                let signed = self.rng.chance(0.5);
                response.item = Some(ItemReply {
                    value: POISON,
                    signed: signed.then_some((&forged_key, &forged_signature)),
                });
                response.seq = signed.then_some(i64::MAX);
            }
            Method::GetPeers { .. } => response.peers = Some(Peers::from_slices(FORGED_PEERS)),
            Method::ValueGet { .. } => response.records = Some(Records::from_slices(&[POISON])),
            _ => {}
        }
        self.say(source, transaction, Body::Response(response));
    }

    /// Hostile nodes in compact form: half as they are, half with ids beside the target.
    fn lies_about(&mut self, target: &Id) -> Vec<u8> {
        let near = self.coalition.borrow().nearest(target, TOLD);
        let mut nodes = Vec::with_capacity(TOLD * 26);
        for (turn, contact) in near.iter().enumerate() {
            let mut told = *contact;
            if turn % 2 == 1 && self.focus.is_none() {
                let mut id = *target.as_bytes();
                let noise = self.rng.next_u64().to_be_bytes();
                id[12..].copy_from_slice(&noise);
                told = Contact::new(Id::from_bytes(id), contact.address);
            }
            write_compact_node(&mut nodes, &told);
        }
        nodes
    }
}

impl Machine for Hostile {
    fn handle_datagram(&mut self, _now: Instant, source: SocketAddr, datagram: &[u8]) {
        let Ok(message) = Message::decode(datagram) else {
            return;
        };
        match message.body {
            Body::Query(query) => {
                self.remember(source);
                self.answer(source, message.transaction, &query.method);
            }
            Body::Response(response) => {
                for contact in response.nodes.iter().flat_map(Nodes::iter) {
                    self.remember(contact.address);
                }
            }
            Body::Error(_) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.due = now + PAUSE;
        self.ask();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.due)
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop()
    }
}
