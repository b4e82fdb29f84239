//! Walks a few steps through the DHT, to see who answers how fast, what they see, and what is
//! there: relays, and the presence records of contacts. Datagrams and time go in, datagrams come
//! out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::blocklist::Blocklist;
use dhtnet_dht_core::item::MutableItem;
use dhtnet_dht_core::krpc::{Body, Message, Method, NetworkTag, Query, Response, Want};
use dhtnet_dht_core::{Contact, Family, Id};
use dhtnet_identity::DeviceId;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::facts::Answer;
use crate::dht::presence;
use crate::service::Service;

/// Queries of one survey. A relay's or contact's place is found in about 20; five places are
/// looked for, and contacts as further services as far as this goes.
pub(crate) const MAX_QUERIES: usize = 120;

/// Queries that wait for answers at once: more than all remembered and all bootstrap nodes, so that
/// dead ones do not hold up the others.
const MAX_IN_FLIGHT: usize = 32;

/// Nodes nearest to a place that are asked about it (BEP 5's K).
const NEAREST: usize = 8;

/// Peers of a place that are kept; more are not tried anyway.
const MAX_PEERS: usize = 16;

/// Candidates kept for one place: what eight nodes tell, and the bootstrap nodes.
const MAX_CANDIDATES: usize = 128;

/// A query is sent at these times after the first, and given up [`PATIENCE`] after it.
const REPEATS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1_200)];

/// Longest that an answer is waited for. Nodes farther away are of no use within five seconds.
const PATIENCE: Duration = Duration::from_millis(2_000);

/// Which nodes are talked to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Company {
    /// The private network; none for the public one.
    pub(crate) network: Option<NetworkTag>,
    /// Addresses that are not.
    pub(crate) blocked: Arc<Blocklist>,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Peers announced under a hash.
    Peers(Id),
    /// The presence record of a device's service.
    Presence(DeviceId, Service),
}

impl Wanted {
    fn target(&self) -> Id {
        match self {
            Self::Peers(hash) => *hash,
            Self::Presence(id, service) => presence::target(id, service),
        }
    }
}

/// The nodes on the way to one place.
#[derive(Debug)]
struct Place {
    wanted: Wanted,
    /// By distance, those of unknown id first.
    candidates: BTreeMap<(Option<[u8; 20]>, SocketAddr), bool>,
}

#[derive(Debug)]
struct Pending {
    to: SocketAddr,
    place: usize,
    payload: Vec<u8>,
    first: Instant,
    sendings: usize,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// The walk in one family.
#[derive(Debug)]
pub(crate) struct Survey {
    family: Family,
    id: Id,
    company: Company,
    began: Instant,
    places: Vec<Place>,
    pending: BTreeMap<u32, Pending>,
    queries: usize,
    next_transaction: u32,
    order: BTreeMap<SocketAddr, usize>,
    answers: Vec<Answer>,
    foreign: VecDeque<SocketAddr>,
    peers: BTreeSet<SocketAddr>,
    records: BTreeMap<DeviceId, i64>,
    transmits: VecDeque<Outgoing>,
}

impl Survey {
    pub(crate) fn new(
        now: Instant,
        family: Family,
        company: Company,
        wanted: &[Wanted],
        rng: &mut ChaCha20Rng,
    ) -> Self {
        let places = wanted.iter().map(|wanted| Place {
            wanted: wanted.clone(),
            candidates: BTreeMap::new(),
        });
        Self {
            family,
            id: Id::random(rng),
            company,
            began: now,
            places: places.collect(),
            pending: BTreeMap::new(),
            queries: 0,
            next_transaction: rng.next_u32(),
            order: BTreeMap::new(),
            answers: Vec::new(),
            foreign: VecDeque::new(),
            peers: BTreeSet::new(),
            records: BTreeMap::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Somebody to ask; of the other family he is ignored.
    pub(crate) fn add(&mut self, now: Instant, address: SocketAddr) {
        if Family::of(&address) == self.family && !self.is_blocked(address) {
            for place in &mut self.places {
                place.add(None, address);
            }
            self.ask(now);
        }
    }

    /// Takes a datagram; whether it was an answer to this survey.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let Ok(message) = Message::decode(datagram) else {
            return false;
        };
        let transaction = <[u8; 4]>::try_from(message.transaction).map(u32::from_be_bytes);
        let Ok(transaction) = transaction else {
            return false;
        };
        let is_ours = self
            .pending
            .get(&transaction)
            .is_some_and(|pending| pending.to == from && message.network == self.company.network);
        if !is_ours || matches!(message.body, Body::Query(_)) {
            return false;
        }
        if let Some(pending) = self.pending.remove(&transaction) {
            self.note_answer(now, &pending, message.external);
            if let Body::Response(response) = message.body {
                self.take(pending.place, &response);
            }
        }
        self.ask(now);
        true
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.pending
            .retain(|_, pending| now < pending.first + PATIENCE);
        for pending in self.pending.values_mut() {
            if pending.due().is_some_and(|due| due <= now) {
                pending.sendings += 1;
                self.transmits.push_back(Outgoing {
                    to: pending.to,
                    payload: pending.payload.clone(),
                });
            }
        }
        self.ask(now);
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let next = |pending: &Pending| pending.due().unwrap_or(pending.first + PATIENCE);
        self.pending.values().map(next).min()
    }

    /// A node of the other family that was told of.
    pub(crate) fn poll_foreign(&mut self) -> Option<SocketAddr> {
        self.foreign.pop_front()
    }

    /// Whether nothing is left to wait for.
    pub(crate) fn is_done(&self) -> bool {
        self.pending.is_empty()
    }

    /// Hosts that were sent to, in that order.
    pub(crate) fn asked(&self) -> Vec<SocketAddr> {
        let mut asked: Vec<_> = self.order.iter().collect();
        asked.sort_by_key(|(_, order)| **order);
        asked.into_iter().map(|(address, _)| *address).collect()
    }

    pub(crate) fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Peers found, in the order of their addresses.
    pub(crate) fn peers(&self) -> impl Iterator<Item = SocketAddr> {
        self.peers.iter().copied()
    }

    /// When a device signed its newest record, in seconds since 1970 by its own clock.
    pub(crate) fn record(&self, device: &DeviceId) -> Option<i64> {
        self.records.get(device).copied()
    }

    fn is_blocked(&self, address: SocketAddr) -> bool {
        self.company.blocked.contains(address.ip())
    }

    fn note_answer(&mut self, now: Instant, pending: &Pending, external: Option<SocketAddr>) {
        if self.answers.iter().any(|answer| answer.from == pending.to) {
            return;
        }
        // Of several sendings the last is meant, or an earlier one; the shorter time is told.
        let last = match pending.sendings {
            0 | 1 => Duration::ZERO,
            sendings => REPEATS[(sendings - 2).min(REPEATS.len() - 1)],
        };
        self.answers.push(Answer {
            from: pending.to,
            order: self.order.get(&pending.to).copied().unwrap_or_default(),
            round_trip: now.saturating_duration_since(pending.first + last),
            at: now.saturating_duration_since(self.began),
            external: external.filter(|external| Family::of(external) == self.family),
        });
    }

    fn take(&mut self, place: usize, response: &Response<'_>) {
        let (own, other) = match self.family {
            Family::V4 => (response.nodes, response.nodes6),
            Family::V6 => (response.nodes6, response.nodes),
        };
        for contact in own.iter().flat_map(|nodes| nodes.iter()) {
            if !self.is_blocked(contact.address) {
                self.places[place].add_node(&contact);
            }
        }
        for contact in other.iter().flat_map(|nodes| nodes.iter()) {
            if self.foreign.len() < NEAREST {
                self.foreign.push_back(contact.address);
            }
        }
        match self.places[place].wanted.clone() {
            Wanted::Peers(_) => {
                for peer in response.peers.iter().flat_map(|p| p.iter(self.family)) {
                    if self.peers.len() < MAX_PEERS && peer.port() != 0 {
                        self.peers.insert(peer);
                    }
                }
            }
            Wanted::Presence(device, service) => self.take_record((device, &service), response),
        }
    }

    fn take_record(&mut self, (device, service): (DeviceId, &Service), response: &Response<'_>) {
        let (Some(item), Some(seq)) = (response.item, response.seq) else {
            return;
        };
        let Some((_, signature)) = item.signed else {
            return;
        };
        let (key, salt) = (device.as_bytes(), service.presence_salt(&device));
        if MutableItem::verified(key, &salt, seq, item.value, signature).is_ok() {
            let newest = self.records.entry(device).or_insert(seq);
            *newest = seq.max(*newest);
        }
    }

    /// Asks as many as may be asked now, for the first place that has somebody to ask: so
    /// everybody is asked once before anybody is asked about the next place.
    fn ask(&mut self, now: Instant) {
        while self.pending.len() < MAX_IN_FLIGHT && self.queries < MAX_QUERIES {
            let mut places = self.places.iter_mut().enumerate();
            let next = places.find_map(|(place, one)| Some((place, one.next()?)));
            let Some((place, to)) = next else {
                return;
            };
            self.send(now, place, to);
        }
    }

    fn send(&mut self, now: Instant, place: usize, to: SocketAddr) {
        let wanted = &self.places[place].wanted;
        let method = match wanted {
            Wanted::Peers(info_hash) => Method::GetPeers {
                info_hash: *info_hash,
            },
            Wanted::Presence(..) => Method::Get {
                target: wanted.target(),
                seq: None,
            },
        };
        self.next_transaction = self.next_transaction.wrapping_add(1);
        let transaction = self.next_transaction;
        let payload = query(self.id, self.company.network, (transaction, method, 0));
        let order = self.order.len();
        self.order.entry(to).or_insert(order);
        self.queries += 1;
        self.transmits.push_back(Outgoing {
            to,
            payload: payload.clone(),
        });
        let pending = Pending {
            to,
            place,
            payload,
            first: now,
            sendings: 1,
        };
        self.pending.insert(transaction, pending);
    }
}

/// A query of a node that answers none itself (BEP 43), with this many bytes of padding.
pub(crate) fn query(
    sender: Id,
    network: Option<NetworkTag>,
    (transaction, method, padding): (u32, Method<'_>, u16),
) -> Vec<u8> {
    let want = match method {
        Method::Ping => Want::default(),
        _ => Want { v4: true, v6: true },
    };
    let query = Query {
        sender,
        want,
        method,
        padding,
    };
    let transaction = transaction.to_be_bytes();
    let message = Message {
        network,
        read_only: true,
        ..Message::new(&transaction, Body::Query(query))
    };
    let mut encoded = Vec::new();
    message.encode(&mut encoded);
    encoded
}

impl Pending {
    /// When it is sent again.
    fn due(&self) -> Option<Instant> {
        let next = REPEATS.get(self.sendings.saturating_sub(1))?;
        Some(self.first + *next)
    }
}

impl Place {
    fn add_node(&mut self, contact: &Contact) {
        let distance = self.wanted.target().distance(&contact.id);
        self.add(Some(*distance.as_bytes()), contact.address);
    }

    fn add(&mut self, distance: Option<[u8; 20]>, address: SocketAddr) {
        let is_known = self.candidates.keys().any(|(_, known)| *known == address);
        if !is_known && self.candidates.len() < MAX_CANDIDATES {
            self.candidates.insert((distance, address), false);
        }
    }

    /// The next to be asked: whoever's id is not known, then the nearest.
    fn next(&mut self) -> Option<SocketAddr> {
        let unknown = self.candidates.keys().filter(|(id, _)| id.is_none());
        let first = unknown.count() + NEAREST;
        let mut near = self.candidates.iter_mut().take(first);
        let ((_, address), is_asked) = near.find(|(_, is_asked)| !**is_asked)?;
        *is_asked = true;
        Some(*address)
    }
}
