//! Answers to the queries of others: what is kept for them, and how much they are told.

mod reply;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::Rng;

pub(crate) use self::reply::MAX_AMPLIFICATION;
use self::reply::{Draft, limit};
use crate::address::Family;
use crate::id::Id;
use crate::krpc::{
    ErrorCode, Method, Peers, Put, Query, Records, Response, Samples, write_compact_address,
};
use crate::node::deferrals::Deferrals;
use crate::node::side::Side;
use crate::node::wire::{ReplyTo, Wire};
use crate::proved::ProvedAddresses;
use crate::rate_limit::{Allowance, RateLimit};
use crate::store::{ItemLimits, ItemStore, PeerStore};
use crate::value::{
    Arrival, ListenerKey, Listeners, PageRequest, Stored, TypeRegistry, UnixTime, ValueError,
    ValueKey, ValueLimits, ValueQuery, ValueStore,
};
use crate::write_token::WriteTokens;

/// Peers in one answer to a proved address: 100 of them fit beside two lists of nodes.
const MAX_PEERS_TOLD: usize = 100;

/// Info hashes in one sample: they fit beside two lists of nodes (BEP 51).
const MAX_SAMPLES: usize = 20;

/// Who begins to listen has asked for what lies there before: what came since then is pushed to it.
/// A lookup in a slow network takes a few seconds from its first answer to the end.
const MISSED_FOR: Duration = Duration::from_secs(10);

/// How long an asker should wait before it asks for another sample, in seconds: the store turns
/// over slowly.
const SAMPLE_INTERVAL: u32 = 60;

/// What a query led to.
#[derive(Debug)]
pub(crate) enum Served {
    /// It was answered.
    Answered,
    /// It was answered, and a value changed that somebody may listen for.
    Changed(Id, Stored),
    /// The answer is too large for an address that has not shown that it receives: the asker is
    /// to be pinged first.
    Unproved,
}

/// When a query came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) wall: UnixTime,
}

/// One query with what is needed to answer it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) at: Moment,
    pub(crate) to: ReplyTo<'a>,
    pub(crate) query: Query<'a>,
}

impl Incoming<'_> {
    fn ip(&self) -> IpAddr {
        self.to.source.ip()
    }

    pub(crate) fn family(&self) -> Family {
        Family::of(&self.to.source)
    }
}

/// Everything that is kept for others.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) tokens: WriteTokens,
    pub(crate) proved: ProvedAddresses,
    pub(crate) rate_limit: RateLimit,
    pub(crate) peers: PeerStore,
    pub(crate) items: ItemStore,
    pub(crate) values: ValueStore,
    pub(crate) listeners: Listeners,
    /// Queries that wait until their asker has answered a ping.
    pub(crate) deferrals: Deferrals,
    types: Arc<TypeRegistry>,
}

impl Server {
    pub(crate) fn new(types: Arc<TypeRegistry>, rng: &mut impl Rng) -> Self {
        Self {
            tokens: WriteTokens::new(rng),
            proved: ProvedAddresses::new(rng),
            rate_limit: RateLimit::new(Allowance::default(), rng),
            peers: PeerStore::new(),
            items: ItemStore::new(ItemLimits::default()),
            values: ValueStore::new(ValueLimits::default()),
            listeners: Listeners::default(),
            deferrals: Deferrals::new(),
            types,
        }
    }

    /// Answers one query.
    pub(crate) fn serve(
        &mut self,
        incoming: &Incoming<'_>,
        sides: &[Option<Side>; 2],
        wire: &mut Wire,
    ) -> Served {
        let Some(side) = &sides[incoming.family().index()] else {
            return Served::Answered;
        };
        let own = side.table.own_id();
        let plain = Response::new(own);
        if !wire.speaks(&incoming.query.method) {
            wire.refuse(&incoming.to, ErrorCode::MethodUnknown);
            return Served::Answered;
        }
        let outcome = match incoming.query.method {
            Method::Ping => Ok(Draft::new(plain)),
            Method::FindNode { target } => Ok(Draft::new(plain).near(target)),
            Method::GetPeers { info_hash } => {
                return self.tell_peers(incoming, sides, wire, info_hash);
            }
            Method::Get { target, seq } => {
                return self.tell_item(incoming, sides, wire, (target, seq));
            }
            Method::SampleInfohashes { target } => {
                return self.tell_sample(incoming, sides, wire, target);
            }
            Method::ValueGet {
                target,
                filter,
                after,
            } => return self.tell_values(incoming, sides, wire, (target, filter, after)),
            Method::AnnouncePeer {
                info_hash,
                port,
                token,
                ..
            } => {
                let port = port.unwrap_or(incoming.to.source.port());
                self.announce(incoming, (&own, info_hash, port), token)
                    .map(|()| Draft::new(plain))
            }
            Method::Put(put) => self.put(incoming, &own, &put).map(|()| Draft::new(plain)),
            Method::HandOver { put, age } => self
                .take_over(incoming, &own, (&put, age))
                .map(|()| Draft::new(plain)),
            Method::ValuePut {
                target,
                token,
                record,
            } => return self.put_value(incoming, side, wire, (target, token, record)),
            Method::ValueListen {
                target,
                token,
                listener,
                filter,
            } => self
                .listen(incoming, token, (target, listener, filter))
                .map(|ttl| {
                    Draft::new(Response {
                        ttl: Some(ttl),
                        ..plain
                    })
                }),
            Method::ValueCancel {
                target,
                token,
                listener,
            } => self.check_token(incoming, token).map(|()| {
                self.listeners.cancel(&ListenerKey {
                    target,
                    address: incoming.to.source,
                    id: listener,
                });
                Draft::new(plain)
            }),
            Method::ValuePush { .. } => Ok(Draft::new(plain)),
            Method::Unknown { .. } => Err(ErrorCode::MethodUnknown),
        };
        match outcome {
            Ok(draft) => self.send(incoming, sides, wire, draft),
            Err(code) => {
                wire.refuse(&incoming.to, code);
                Served::Answered
            }
        }
    }

    /// Sends an answer with as many nodes as fit.
    fn send(
        &self,
        incoming: &Incoming<'_>,
        sides: &[Option<Side>; 2],
        wire: &mut Wire,
        draft: Draft<'_>,
    ) -> Served {
        let limit = self.limit(incoming);
        match draft.encode(incoming, sides, wire, limit) {
            Some(payload) => {
                wire.send(incoming.to.source, incoming.to.local_ip, payload);
                Served::Answered
            }
            None => Served::Unproved,
        }
    }

    /// Bytes that the answer may have.
    fn limit(&self, incoming: &Incoming<'_>) -> usize {
        let proved = self.proved.is_proved(incoming.at.now, &incoming.to.source);
        limit(incoming.to.query_len, proved)
    }

    fn token(&mut self, incoming: &Incoming<'_>) -> [u8; 8] {
        self.tokens.issue(incoming.at.now, incoming.ip())
    }

    /// Refuses what comes without a token of ours; with one, the address is proved.
    fn check_token(&mut self, incoming: &Incoming<'_>, token: &[u8]) -> Result<(), ErrorCode> {
        let now = incoming.at.now;
        if !self.tokens.accepts(now, incoming.ip(), token) {
            return Err(ErrorCode::Protocol);
        }
        self.proved.mark(now, incoming.to.source);
        Ok(())
    }

    fn tell_peers(
        &mut self,
        incoming: &Incoming<'_>,
        sides: &[Option<Side>; 2],
        wire: &mut Wire,
        info_hash: Id,
    ) -> Served {
        let token = self.token(incoming);
        let family = incoming.family();
        // Half of what fits: the rest is for nodes.
        let each = reply::peer_len(family);
        let max = (self.limit(incoming) / 2 / each).min(MAX_PEERS_TOLD);
        let mut peers = Vec::new();
        let now = incoming.at.now;
        self.peers
            .peers(now, &info_hash, family, max, &mut wire.rng, |peer| {
                let mut compact = Vec::with_capacity(18);
                write_compact_address(&mut compact, peer);
                peers.push(compact);
            });
        let slices: Vec<&[u8]> = peers.iter().map(Vec::as_slice).collect();
        let response = Response {
            token: Some(&token),
            peers: (!slices.is_empty()).then(|| Peers::from_slices(&slices)),
            ..Response::new(own_id(sides, family))
        };
        self.send(incoming, sides, wire, Draft::new(response).near(info_hash))
    }

    fn tell_item(
        &mut self,
        incoming: &Incoming<'_>,
        sides: &[Option<Side>; 2],
        wire: &mut Wire,
        (target, newer_than): (Id, Option<i64>),
    ) -> Served {
        let token = self.token(incoming);
        let stored = self.items.get(incoming.at.now, &target);
        let (mut item, seq) = stored.map_or((None, None), |stored| stored.reply(newer_than));
        if seq.is_none() && newer_than == Some(i64::MAX) {
            // Who puts an immutable item asks so: a token is all that is wanted. Others do not
            // give a `seq` here.
            item = None;
        }
        let response = Response {
            token: Some(&token),
            item,
            seq,
            ..Response::new(own_id(sides, incoming.family()))
        };
        self.send(incoming, sides, wire, Draft::new(response).near(target))
    }

    fn tell_sample(
        &mut self,
        incoming: &Incoming<'_>,
        sides: &[Option<Side>; 2],
        wire: &mut Wire,
        target: Id,
    ) -> Served {
        let mut samples = Vec::new();
        let max = (self.limit(incoming) / 3 / crate::id::ID_LEN).min(MAX_SAMPLES);
        self.peers
            .samples(incoming.at.now, &mut wire.rng, max, &mut samples);
        let response = Response {
            samples: Samples::new(&samples),
            interval: Some(SAMPLE_INTERVAL),
            count: Some(self.peers.count() as u64),
            ..Response::new(own_id(sides, incoming.family()))
        };
        self.send(incoming, sides, wire, Draft::new(response).near(target))
    }

    fn tell_values(
        &mut self,
        incoming: &Incoming<'_>,
        sides: &[Option<Side>; 2],
        wire: &mut Wire,
        (target, filter, after): (Id, Option<&[u8]>, Option<&[u8]>),
    ) -> Served {
        let query = filter.map_or(Ok(ValueQuery::ALL), ValueQuery::decode).ok();
        let after = after.map(ValueKey::decode);
        let (Some(query), None | Some(Some(_))) = (query, after) else {
            wire.refuse(&incoming.to, ErrorCode::Protocol);
            return Served::Answered;
        };
        let after = after.flatten();
        let token = self.token(incoming);
        let limit = self.limit(incoming);
        let request = PageRequest {
            query: &query,
            after: after.as_ref(),
            budget: limit.saturating_sub(reply::RECORDS_OVERHEAD),
        };
        let page = self.values.page(incoming.at.now, &target, &request);
        if page.records.is_empty() && page.more.is_some() && limit < reply::MAX_REPLY_LEN {
            return Served::Unproved;
        }
        let records: Vec<&[u8]> = page.records.iter().map(|record| &**record).collect();
        let more = page.more.map(|key| key.encode());
        let response = Response {
            token: Some(&token),
            records: (!records.is_empty()).then(|| Records::from_slices(&records)),
            more: more.as_deref(),
            ..Response::new(own_id(sides, incoming.family()))
        };
        let draft = Draft::new(response).near(target).extension_only();
        self.send(incoming, sides, wire, draft)
    }

    fn announce(
        &mut self,
        incoming: &Incoming<'_>,
        (own, info_hash, port): (&Id, Id, u16),
        token: &[u8],
    ) -> Result<(), ErrorCode> {
        self.check_token(incoming, token)?;
        if port == 0 {
            return Err(ErrorCode::Protocol);
        }
        let peer = SocketAddr::new(incoming.ip(), port);
        self.peers
            .announce(incoming.at.now, (own, info_hash), peer, incoming.ip())
            .map_err(|error| error.code())
    }

    fn put(&mut self, incoming: &Incoming<'_>, own: &Id, put: &Put<'_>) -> Result<(), ErrorCode> {
        self.check_token(incoming, put.token)?;
        self.items
            .put_mutable(incoming.at.now, own, put, incoming.ip())
            .map_err(|error| error.code())
    }

    fn take_over(
        &mut self,
        incoming: &Incoming<'_>,
        own: &Id,
        (put, age): (&Put<'_>, u32),
    ) -> Result<(), ErrorCode> {
        self.check_token(incoming, put.token)?;
        self.items
            .take_over(incoming.at.now, own, (put, age), incoming.ip())
            .map_err(|error| error.code())
    }

    fn put_value(
        &mut self,
        incoming: &Incoming<'_>,
        side: &Side,
        wire: &mut Wire,
        (target, token, record): (Id, &[u8], &[u8]),
    ) -> Served {
        let own = side.table.own_id();
        let at = incoming.at;
        let stored = self.check_token(incoming, token).and_then(|()| {
            self.store_value((at, incoming.ip()), &own, &target, record)
                .map_err(|error| error.code())
        });
        match stored {
            Ok(stored) => {
                let response = Response {
                    ttl: Some(u32::try_from(stored.ttl.as_secs()).unwrap_or(u32::MAX)),
                    ..Response::new(own)
                };
                let payload = wire.encode_response(&incoming.to, response);
                wire.send(incoming.to.source, incoming.to.local_ip, payload);
                Served::Changed(target, stored)
            }
            Err(code) => {
                wire.refuse(&incoming.to, code);
                Served::Answered
            }
        }
    }

    /// Takes a value that came from `from`.
    pub(crate) fn store_value(
        &mut self,
        (at, from): (Moment, IpAddr),
        own: &Id,
        target: &Id,
        record: &[u8],
    ) -> Result<Stored, ValueError> {
        let arrival = Arrival {
            now: at.now,
            wall: at.wall,
            own,
            from,
            types: &self.types,
        };
        self.values.put(&arrival, target, record)
    }

    fn listen(
        &mut self,
        incoming: &Incoming<'_>,
        token: &[u8],
        (target, listener, filter): (Id, u64, Option<&[u8]>),
    ) -> Result<u32, ErrorCode> {
        self.check_token(incoming, token)?;
        let query = filter.map_or(Ok(ValueQuery::ALL), ValueQuery::decode);
        let query = query.map_err(|_| ErrorCode::Protocol)?;
        let key = ListenerKey {
            target,
            address: incoming.to.source,
            id: listener,
        };
        let (now, is_new) = (incoming.at.now, !self.listeners.contains(&key));
        let ttl = self.listeners.listen(now, key, query);
        let ttl = ttl.map_err(|error| error.code())?;
        if is_new {
            for missed in self.values.arrived_within(now, &target, MISSED_FOR) {
                self.listeners.owe(&key, missed);
            }
        }
        Ok(u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX))
    }
}

fn own_id(sides: &[Option<Side>; 2], family: Family) -> Id {
    sides[family.index()]
        .as_ref()
        .map_or_else(Id::default, |side| side.table.own_id())
}
