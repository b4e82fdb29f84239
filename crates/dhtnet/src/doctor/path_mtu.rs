//! How long packets may be: padded pings that may not be fragmented, to the nodes that answered
//! first.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_dht_core::krpc::{Message, Method, NetworkTag};
use dhtnet_dht_core::{Family, Id};

use super::facts::{MtuFacts, MtuReport};
use super::survey::{Outgoing, query};

/// Bytes that a connection needs: QUIC's 1,200 (RFC 9000 section 14) with headers of IPv6 and
/// UDP.
pub(crate) const NEEDED_V6: u16 = 1_248;

/// The same with the header of IPv4.
pub(crate) const NEEDED_V4: u16 = 1_228;

/// Lengths of whole packets that are tried beside the needed one: the least of IPv6 (RFC 8200
/// section 5), what tunnels often leave, and Ethernet's.
const LENGTHS: [u16; 3] = [1_280, 1_400, 1_500];

/// Each length is sent this often,
const SENDINGS: usize = 3;

/// with this time between, and waited for as long after the last. A node that answered before
/// from farther away than this is not asked.
const PAUSE: Duration = Duration::from_millis(300);

/// Nodes that are asked: one may drop long datagrams by itself.
const MAX_WITNESSES: usize = 2;

/// Headers of IP and UDP.
fn overhead(family: Family) -> u16 {
    match family {
        Family::V4 => 28,
        Family::V6 => 48,
    }
}

#[derive(Debug)]
struct Round {
    to: SocketAddr,
    sent: usize,
    due: Instant,
}

/// The probing of one family.
#[derive(Debug)]
pub(crate) struct PathMtu {
    family: Family,
    id: Id,
    network: Option<NetworkTag>,
    next_transaction: u32,
    round: Option<Round>,
    witnesses: Vec<SocketAddr>,
    transactions: BTreeMap<u32, (SocketAddr, u16)>,
    passed: BTreeMap<u16, bool>,
    reported: Option<MtuReport>,
    transmits: VecDeque<Outgoing>,
}

impl PathMtu {
    /// `transaction` is where the numbers of its questions begin.
    pub(crate) fn new(
        family: Family,
        id: Id,
        network: Option<NetworkTag>,
        transaction: u32,
    ) -> Self {
        Self {
            family,
            id,
            network,
            next_transaction: transaction,
            round: None,
            witnesses: Vec::new(),
            transactions: BTreeMap::new(),
            passed: BTreeMap::new(),
            reported: None,
            transmits: VecDeque::new(),
        }
    }

    /// A node that answers. The first few are used.
    pub(crate) fn add(&mut self, now: Instant, node: SocketAddr) {
        if self.witnesses.len() < MAX_WITNESSES && !self.witnesses.contains(&node) {
            self.witnesses.push(node);
            if self.round.is_none() && self.needs_more() {
                self.begin(now, node);
            }
        }
    }

    fn lengths(&self) -> impl Iterator<Item = u16> + use<> {
        let needed = match self.family {
            Family::V4 => NEEDED_V4,
            Family::V6 => NEEDED_V6,
        };
        std::iter::once(needed).chain(LENGTHS)
    }

    fn needs_more(&self) -> bool {
        self.reported.is_none() && self.lengths().any(|length| !self.has_passed(length))
    }

    fn has_passed(&self, length: u16) -> bool {
        self.passed.get(&length).copied().unwrap_or(false)
    }

    fn begin(&mut self, now: Instant, to: SocketAddr) {
        self.round = Some(Round {
            to,
            sent: 0,
            due: now,
        });
        self.send(now);
    }

    fn send(&mut self, now: Instant) {
        let Some(round) = self.round.as_mut().filter(|round| round.due <= now) else {
            return;
        };
        let to = round.to;
        if round.sent < SENDINGS {
            round.sent += 1;
            round.due = now + PAUSE;
            let missing: Vec<u16> = self.lengths().filter(|l| !self.has_passed(*l)).collect();
            for length in missing {
                self.send_one(to, length);
            }
            return;
        }
        self.round = None;
        let at = self.witnesses.iter().position(|witness| *witness == to);
        let next = at.and_then(|at| self.witnesses.get(at + 1)).copied();
        if let Some(next) = next.filter(|_| self.needs_more()) {
            self.begin(now, next);
        }
    }

    fn send_one(&mut self, to: SocketAddr, length: u16) {
        self.next_transaction = self.next_transaction.wrapping_add(1);
        let transaction = self.next_transaction;
        let encode = |padding| query(self.id, self.network, (transaction, Method::Ping, padding));
        let wanted = usize::from(length - overhead(self.family));
        // The number of digits of the padding's length is part of the message.
        let mut padding = u16::try_from(wanted.saturating_sub(encode(1).len())).unwrap_or(0);
        let mut payload = encode(padding);
        while payload.len() > wanted && padding > 0 {
            padding -= 1;
            payload = encode(padding);
        }
        self.passed.entry(length).or_insert(false);
        self.transactions.insert(transaction, (to, length));
        self.transmits.push_back(Outgoing { to, payload });
    }

    /// Takes a datagram; whether it was an answer to one of these.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let transaction = Message::decode(datagram)
            .ok()
            .and_then(|message| <[u8; 4]>::try_from(message.transaction).ok())
            .map(u32::from_be_bytes);
        let Some((to, length)) = transaction.and_then(|t| self.transactions.get(&t).copied())
        else {
            return false;
        };
        if to != from {
            return false;
        }
        // What is longer passed: so does what is shorter, even if its answer was lost.
        for shorter in self.lengths().filter(|shorter| *shorter <= length) {
            self.passed.insert(shorter, true);
        }
        if !self.needs_more() {
            self.round = None;
        }
        self.send(now);
        true
    }

    /// A router says that packets are too long.
    pub(crate) fn on_too_big(&mut self, by: IpAddr, mtu: u32) {
        self.reported = Some(MtuReport::Router { by, mtu });
    }

    /// The own system says so; whether it was a packet of these.
    pub(crate) fn on_unsendable(&mut self, payload: &[u8]) {
        if payload.len() > usize::from(NEEDED_V4 - overhead(Family::V4)) {
            self.reported.get_or_insert(MtuReport::OwnInterface);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.send(now);
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.due)
    }

    /// Whether nothing is left to wait for.
    pub(crate) fn is_done(&self) -> bool {
        self.round.is_none()
    }

    pub(crate) fn facts(&self) -> MtuFacts {
        MtuFacts {
            tried: self
                .passed
                .iter()
                .map(|(length, ok)| (*length, *ok))
                .collect(),
            reported: self.reported,
        }
    }
}
