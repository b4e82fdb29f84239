//! A node among others, which gets a sequence of datagrams.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::blocklist::Blocklist;
use dhtnet_dht_core::item::{ItemSigner, MutableItem};
use dhtnet_dht_core::krpc::{
    Body, ErrorCode, MAX_MESSAGE_LEN, Message, Method, Query, Response, Want,
};
use dhtnet_dht_core::node::{AnnouncePort, Counters, Publication, Scope, Stored, Transmit};
use dhtnet_dht_core::value::{Draft, Filter, UnixTime, Value, ValueId, ValueQuery};
use dhtnet_dht_core::{Config, Family, Id, Node};

/// The time of day at the start, as in the vectors of the value layer.
const WALL: Duration = Duration::from_secs(1_800_000_000);

/// Stands for the transaction of the last query that the node sent to a datagram's source.
const TRANSACTION: &[u8] = b"\xffTX\xff";

/// Stands for the write token that the node gave to a datagram's source.
const TOKEN: &[u8] = b"\xffTOKEN!\xff";

/// Nodes that the node knows at the start, in each family.
const NEIGHBOURS: u8 = 6;

/// Deadlines in a row at one instant: more means that time stands still.
const MAX_STEPS_AT_ONCE: u32 = 2_000;

/// Each datagram: a byte that says who sends it, one that says how much later than the one
/// before (milliseconds up to 127, then seconds), two of length, the bytes.
pub(crate) fn dht_node(input: &[u8]) {
    let mut world = World::new();
    let mut rest = input;
    while let Some(([from, wait, high, low], after)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (datagram, after) = after.split_at(after.len().min(len));
        rest = after;
        let wait = match wait {
            0..128 => Duration::from_millis(u64::from(*wait)),
            _ => Duration::from_secs(u64::from(*wait) - 127),
        };
        world.pass(wait);
        world.receive(source(*from), datagram);
    }
    // Every query has been answered or given up by then.
    world.pass(Duration::from_secs(6));
    world.is_still_there();
}

fn neighbour(number: u8) -> SocketAddr {
    SocketAddr::from(([11, 0, number, 1], 6881))
}

fn neighbour6(number: u8) -> SocketAddr {
    let ip = Ipv6Addr::new(0x2a01, 0x4f8, 0, number.into(), 0, 0, 0, 1);
    SocketAddr::from((ip, 6881))
}

/// Neighbours, strangers, and addresses that nothing may be sent to.
fn source(choice: u8) -> SocketAddr {
    match choice {
        0..32 => neighbour(choice % NEIGHBOURS),
        32..64 => neighbour6(choice % NEIGHBOURS),
        64..128 => SocketAddr::from(([12, 0, choice, 1], 1_024)),
        128..192 => SocketAddr::from(([0x2a02, 0, 0, choice.into(), 0, 0, 0, 1], 1_024)),
        192..200 => SocketAddr::from(([66, 6, 6, choice], 6881)),
        200..208 => SocketAddr::from(([12, 0, choice, 1], 0)),
        208..216 => SocketAddr::from(([127, 0, 0, 1], 2_000)),
        216..224 => SocketAddr::from(([0, 0, 0, 0, 0, 0xffff, 0x0c00, 0x0101], 2_000)),
        _ => SocketAddr::from(([10, 0, 0, choice], 2_000)),
    }
}

struct World {
    node: Node,
    now: Instant,
    /// The transaction of the last query to each address.
    asked: BTreeMap<SocketAddr, Vec<u8>>,
    /// The last write token for each address.
    tokens: BTreeMap<SocketAddr, Vec<u8>>,
    /// Who may have shown that it receives at its address.
    proved: BTreeSet<SocketAddr>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let blocked = Blocklist::parse(b"bad:66.0.0.0-66.255.255.255").expect("a list");
        let config = Config::default().blocklist(Arc::new(blocked));
        let mut world = Self {
            node: Node::new(Arc::new(config), now, WALL, [5; 32]),
            now,
            asked: BTreeMap::new(),
            tokens: BTreeMap::new(),
            proved: BTreeSet::new(),
        };
        for number in 0..NEIGHBOURS {
            world.node.add_bootstrap(now, neighbour(number));
            world.node.add_bootstrap(now, neighbour6(number));
        }
        for _ in 0..4 {
            world.answer_everything();
            world.now += Duration::from_millis(100);
            world.node.handle_timeout(world.now);
        }
        for family in Family::ALL {
            let known = world.node.nodes(world.now, family).count();
            assert_eq!(known, usize::from(NEIGHBOURS), "a filled table");
        }
        world.fill();
        world.drain(None);
        world
    }

    /// The neighbours answer what they are asked, with nothing but who they are.
    fn answer_everything(&mut self) {
        while let Some(sent) = self.node.poll_transmit() {
            let message = Message::decode(&sent.payload).expect("own message decodes");
            let response = Response {
                token: Some(b"neighbour"),
                ..Response::new(id_of(&sent.destination))
            };
            let answer = encode(message.transaction, Body::Response(response));
            self.node
                .handle_datagram(self.now, sent.destination, None, &answer);
            self.proved.insert(sent.destination);
        }
    }

    /// Something in each store, and an operation of each kind under way.
    fn fill(&mut self) {
        let (now, place) = (self.now, Id::hash_of(b"dhtnet"));
        let item = MutableItem::sign(&ItemSigner::from_seed(&[1; 32]), b"s", 3, b"2:it");
        let item = item.expect("an item");
        let draft = Draft::new(place, ValueId(1), vec![b'v'; 200]);
        let value = draft.unsigned(UnixTime(WALL.as_secs()));
        let value = value.expect("a value").value;
        self.fill_stores(place, &item, &value);
        let node = &mut self.node;
        let publication = Publication::Value(place, value);
        node.publish(now, publication).expect("room");
        node.announce(now, place, AnnouncePort::Implied, Scope::Network);
        node.listen(now, place, Filter::default());
        node.find_item(now, item.target(), b"s", Scope::Network);
        node.find_values(now, place, ValueQuery::ALL, Scope::Network);
        node.find_peers(now, place, Scope::Network);
        node.find_node(now, place, Scope::Node(neighbour(1)));
        node.sample(now, neighbour(2), place);
        node.ping(now, source(64));
    }

    /// A neighbour stores one of each.
    fn fill_stores(&mut self, target: Id, item: &MutableItem, value: &Value) {
        self.receive(neighbour(0), &query(Method::Get { target, seq: None }));
        let token = self.tokens[&neighbour(0)].clone();
        let token = token.as_slice();
        for method in [
            Method::Put(item.as_put(token, None)),
            Method::ValuePut {
                target,
                token,
                record: &value.encode(),
            },
            Method::ValueListen {
                target,
                token,
                listener: 7,
                filter: None,
            },
            Method::AnnouncePeer {
                info_hash: target,
                port: None,
                fallback_port: 0,
                token,
            },
        ] {
            self.receive(neighbour(0), &query(method));
        }
        let expected = Stored {
            info_hashes: 1,
            peers: 1,
            items: 1,
            values: 1,
            listeners: 1,
        };
        assert_eq!(self.node.stored(), expected);
    }

    /// One datagram comes in; what it leads to is checked.
    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        let datagram = self.with_marks_replaced(from, datagram);
        let before = (self.node.counters(), self.node.stored());
        self.node.handle_datagram(self.now, from, None, &datagram);
        let after = (self.node.counters(), self.node.stored());
        assert_eq!(after.0.received, before.0.received + 1);
        if after.0.answers > before.0.answers {
            self.proved.insert(canonical(from));
        }
        let sent = self.drain(Some((from, datagram.len())));
        self.check_unsolicited(before, after, sent);
        self.check_bounds();
    }

    fn with_marks_replaced(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<u8> {
        let mut bytes = datagram.to_vec();
        let from = canonical(from);
        if let Some(transaction) = self.asked.get(&from) {
            replace(&mut bytes, TRANSACTION, transaction);
        }
        if let Some(token) = self.tokens.get(&from)
            && replace(&mut bytes, TOKEN, token)
        {
            self.proved.insert(canonical(from));
        }
        bytes
    }

    /// What nobody asked for, and what is no message of ours, leads to nothing.
    fn check_unsolicited(
        &self,
        before: (Counters, Stored),
        after: (Counters, Stored),
        sent: usize,
    ) {
        let dropped = |counters: &Counters| {
            counters.unsolicited + counters.blocked + counters.foreign + counters.limited
        };
        if dropped(&after.0) > dropped(&before.0) {
            assert_eq!(sent, 0, "dropped and yet answered");
            assert_eq!(before.1, after.1, "dropped and yet stored");
        }
    }

    /// Everything that leaves is a message, goes where it may, and is not too much. Returns how
    /// many datagrams left.
    fn drain(&mut self, query: Option<(SocketAddr, usize)>) -> usize {
        let (mut count, mut back) = (0, 0);
        while let Some(sent) = self.node.poll_transmit() {
            count += 1;
            self.check_sent(&sent);
            if let Some((from, _)) = query
                && sent.destination == canonical(from)
            {
                back += sent.payload.len();
            }
        }
        while self.node.poll_event().is_some() {}
        if let Some((from, len)) = query
            && !self.proved.contains(&canonical(from))
        {
            assert!(back <= 3 * len, "{back} bytes back for {len}");
        }
        count
    }

    fn check_sent(&mut self, sent: &Transmit) {
        let (to, payload) = (sent.destination, &sent.payload);
        assert!(payload.len() <= MAX_MESSAGE_LEN, "{} bytes", payload.len());
        assert_ne!(to.port(), 0);
        assert_ne!(to.ip(), source(192).ip(), "blocked");
        let message = Message::decode(payload).expect("own message decodes");
        match message.body {
            Body::Query(_) => {
                self.asked.insert(to, message.transaction.to_vec());
            }
            Body::Response(response) => {
                if let Some(token) = response.token {
                    self.tokens.insert(to, token.to_vec());
                }
            }
            Body::Error(error) => assert!(ErrorCode::from_code(error.code).is_some()),
        }
    }

    fn check_bounds(&self) {
        for family in Family::ALL {
            assert!(self.node.nodes(self.now, family).count() <= 8 * 160);
        }
        let stored = self.node.stored();
        // The named bounds of the stores are far above what one input of a fuzzer reaches.
        assert!(stored.peers <= 50_000 && stored.info_hashes <= 2_000);
        assert!(stored.items <= 2_000 && stored.listeners <= 4_096);
    }

    /// Time goes on, with every deadline on its way.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut at_once = 0;
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < MAX_STEPS_AT_ONCE, "time stands still");
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.drain(None);
        }
        self.now = end;
    }

    /// Whatever came, a ping is answered.
    fn is_still_there(&mut self) {
        let ping = query(Method::Ping);
        let from = SocketAddr::from(([13, 13, 13, 13], 13));
        self.node.handle_datagram(self.now, from, None, &ping);
        let mut answered = false;
        while let Some(sent) = self.node.poll_transmit() {
            answered |= sent.destination == from;
        }
        assert!(answered || self.node.is_read_only());
    }
}

fn id_of(address: &SocketAddr) -> Id {
    Id::hash_of(address.to_string().as_bytes())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether `mark` was there. Both have one length, so that the lengths in front stay right.
fn replace(bytes: &mut [u8], mark: &[u8], with: &[u8]) -> bool {
    let Some(at) = bytes.windows(mark.len()).position(|part| part == mark) else {
        return false;
    };
    if mark.len() != with.len() {
        return false;
    }
    bytes[at..at + mark.len()].copy_from_slice(with);
    true
}

fn query(method: Method<'_>) -> Vec<u8> {
    let query = Query {
        sender: Id::hash_of(b"somebody"),
        want: Want::default(),
        method,
        padding: 0,
    };
    encode(b"zz", Body::Query(query))
}

fn encode(transaction: &[u8], body: Body<'_>) -> Vec<u8> {
    let message = Message {
        extension: Some(1),
        ..Message::new(transaction, body)
    };
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}
