//! A million changed packets: the node lives, holds no more than it may, and still serves.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dhtnet_dht_core::item::{ItemSigner, MutableItem};
use dhtnet_dht_core::krpc::{Body, Message, Method};
use dhtnet_dht_core::node::{AnnouncePort, METHODS, Scope};
use dhtnet_dht_core::value::{Draft, Filter, UnixTime, ValueId, ValueQuery};
use dhtnet_dht_core::{Family, Id};
use dhtnet_identity::DeviceKey;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::allocator::live_bytes;
use crate::net::{Net, WALL, address, secs};
use crate::packets::query;

/// Changed packets.
const PACKETS: u32 = 1_000_000;

/// How often memory is looked at meanwhile.
const LOOKS: u32 = 20;

/// Virtual time between two packets: what 10,000 a second leave.
const PAUSE: std::time::Duration = std::time::Duration::from_micros(100);

/// Addresses that the packets come from, besides the real ones.
const STRANGERS: u32 = 50_000;

/// Bytes that mean something to a decoder.
const TELLING: &[u8] = b"ilde:-0123456789aqrtyvk";

/// A packet as it was sent to the node, and by whom.
struct Packet {
    from: SocketAddr,
    bytes: Vec<u8>,
    /// Where its transaction stands, if it is an answer.
    transaction: Option<usize>,
}

fn place() -> Id {
    Id::hash_of(b"a place")
}

/// Everything that a node does, by each of the others and by node 0.
fn session(net: &mut Net, round: u64) {
    let wall = UnixTime((WALL + (net.now - net.start)).as_secs());
    let key = DeviceKey::from_seed(&[round as u8; 32]);
    let signer = ItemSigner::from_seed(&[round as u8; 32]);
    let item = MutableItem::sign(&signer, b"salt", round as i64, b"d1:a1:be").unwrap();
    let draft = |id| Draft::new(place(), ValueId(id), vec![b'v'; 200]);
    let value = draft(round).signed(wall, &key, 1).unwrap().value;
    let unsigned = draft(100 + round).unsigned(wall).unwrap().value;
    let removal = value.removed_by(&key, &place()).unwrap();
    for index in [0, 1 + round as usize % 7] {
        let listen = net.with(index, |node, now| {
            node.ping(now, address(if index == 0 { 2 } else { 0 }));
            node.find_node(now, place(), Scope::Network);
            node.find_peers(now, place(), Scope::Network);
            node.announce(now, place(), AnnouncePort::Number(80), Scope::Network);
            node.put_immutable(now, b"li1e3:onee", Scope::Network)
                .unwrap();
            node.put_mutable(now, item.clone(), Some(3), Scope::Network);
            node.find_item(now, item.target(), b"salt", Scope::Network);
            node.sample(now, address(if index == 0 { 3 } else { 0 }), place());
            let listen = node.listen(now, place(), Filter::default());
            node.find_values(now, place(), ValueQuery::ALL, Scope::Network);
            let selection = "SELECT id, seq WHERE type = 0".parse().unwrap();
            node.find_values(now, place(), selection, Scope::Network);
            node.put_value(now, place(), &unsigned, Scope::Network);
            listen
        });
        net.run(secs(1));
        // An older version, which is refused, and what is there by now.
        let older = MutableItem::sign(&signer, b"salt", 0, b"1:x").unwrap();
        net.with(index, |node, now| {
            node.put_mutable(now, older, None, Scope::Network);
            node.find_item(now, item.target(), b"salt", Scope::Network);
            node.put_value(now, place(), &value, Scope::Network);
        });
        net.run(secs(1));
        net.with(index, |node, now| {
            node.put_value(now, place(), &removal, Scope::Network);
            if index != 0 && round.is_multiple_of(2) {
                node.cancel(now, listen);
            }
        });
        net.run(secs(1));
    }
}

/// Real packets to node 0, and which methods and kinds of answers are among them.
fn real_packets(net: &mut Net) -> Vec<Packet> {
    net.log = Some(Vec::new());
    for round in 1..8 {
        session(net, round);
    }
    let log = net.log.take().unwrap();
    let (mut packets, mut kinds) = (Vec::new(), BTreeMap::<String, usize>::new());
    for sent in log {
        if sent.transmit.destination != address(0) {
            continue;
        }
        let bytes = sent.transmit.payload;
        let message = Message::decode(&bytes).unwrap();
        let kind = match message.body {
            Body::Query(query) => String::from_utf8_lossy(query.method.name()).into_owned(),
            Body::Response(response) => format!(
                "answer {}",
                [
                    response.nodes.is_some(),
                    response.peers.is_some(),
                    response.item.is_some(),
                    response.samples.is_some(),
                    response.records.is_some(),
                    response.ttl.is_some(),
                ]
                .map(u8::from)
                .map(|bit| bit.to_string())
                .concat()
            ),
            Body::Error(error) => format!("error {}", error.code),
        };
        let transaction = (!matches!(message.body, Body::Query(_)))
            .then(|| message.transaction.as_ptr() as usize - bytes.as_ptr() as usize);
        let seen = kinds.entry(kind).or_default();
        *seen += 1;
        if *seen <= 12 {
            packets.push(Packet {
                from: sent.from,
                transaction,
                bytes,
            });
        }
    }
    for method in &METHODS[..12] {
        assert!(kinds.contains_key(*method), "{method} among {kinds:?}");
    }
    let answers = kinds
        .keys()
        .filter(|kind| kind.starts_with("answer"))
        .count();
    assert!(answers >= 6, "{kinds:?}");
    assert!(
        kinds.keys().any(|kind| kind.starts_with("error")),
        "{kinds:?}"
    );
    packets
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha20Rng) {
    if bytes.is_empty() {
        return;
    }
    let mut below = |bound: usize| rng.next_u32() as usize % bound.max(1);
    let at = below(bytes.len());
    // Most changes leave the lengths in front of strings right, and so get past the first look.
    match below(16) {
        0..4 => bytes[at] ^= 1 << below(8),
        4 | 5 => bytes[at] = TELLING[below(TELLING.len())],
        6..10 => bytes[at] = below(256) as u8,
        10 | 11 => {
            let end = bytes.len().min(at + 20);
            bytes[at..end].fill_with(|| below(256) as u8);
        }
        12 => bytes.insert(at, TELLING[below(TELLING.len())]),
        13 => drop(bytes.remove(at)),
        14 => {
            let end = (at + below(30)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[below(other.len())..]);
        }
    }
}

/// What node 0 holds, against the named bounds of its stores.
fn check_bounds(net: &mut Net) {
    let now = net.now;
    let node = net.node(0);
    let known = node.nodes(now, Family::V4).count();
    assert!(known <= 8 * 160, "MAX_BUCKETS full ones: {known}");
    let stored = node.stored();
    // MAX_INFO_HASHES, MAX_PEERS, MAX_ITEMS, MAX_KEYS × MAX_VALUES_PER_KEY bounded by MAX_BYTES,
    // MAX_LISTENERS.
    assert!(stored.info_hashes <= 2_000, "{stored:?}");
    assert!(stored.peers <= 50_000, "{stored:?}");
    assert!(stored.items <= 2_000, "{stored:?}");
    assert!(stored.values <= 16 << 10, "{stored:?}");
    assert!(stored.listeners <= 4_096, "{stored:?}");
}

/// The queries of node 0 that may still be open, by whom they were sent to.
type Asked = BTreeMap<SocketAddr, Vec<u8>>;

fn drain(net: &mut Net, asked: &mut Asked) {
    let node = net.node(0);
    while let Some(sent) = node.poll_transmit() {
        let message = Message::decode(&sent.payload).expect("own message decodes");
        assert!(sent.payload.len() <= 1_452);
        if matches!(message.body, Body::Query(_)) && asked.len() < 10_000 {
            asked.insert(sent.destination, message.transaction.to_vec());
        }
    }
    while node.poll_event().is_some() {}
}

/// One changed packet; every other answer has a transaction that is open.
fn changed(packets: &[Packet], asked: &mut Asked, rng: &mut ChaCha20Rng) -> (SocketAddr, Vec<u8>) {
    let packet = &packets[rng.next_u32() as usize % packets.len()];
    let other = &packets[rng.next_u32() as usize % packets.len()];
    let stranger = 0x0c00_0000 + rng.next_u32() % STRANGERS;
    let stranger = SocketAddr::from((stranger.to_be_bytes(), 6881));
    let (mut from, mut bytes) = (packet.from, packet.bytes.clone());
    match packet.transaction {
        Some(at) if rng.next_u32().is_multiple_of(2) => {
            if let Some((to, transaction)) = asked.pop_first() {
                from = to;
                bytes[at..at + transaction.len()].copy_from_slice(&transaction);
            }
        }
        _ if rng.next_u32().is_multiple_of(2) => from = stranger,
        _ => {}
    }
    for _ in 0..rng.next_u32() % 4 {
        mutate(&mut bytes, &other.bytes, rng);
    }
    (from, bytes)
}

/// A packet comes in, and everything that is due happens.
fn receive(net: &mut Net, from: SocketAddr, datagram: &[u8], asked: &mut Asked) {
    net.now += PAUSE;
    let now = net.now;
    let node = net.node(0);
    node.handle_datagram(now, from, None, datagram);
    if node.poll_timeout().is_some_and(|due| due <= now) {
        node.handle_timeout(now);
    }
    drain(net, asked);
}

/// Work of the node's own: lookups are open all the time.
fn keep_busy(net: &mut Net, n: u32, asked: &mut Asked) {
    let now = net.now;
    let node = net.node(0);
    node.find_node(now, Id::hash_of(&n.to_be_bytes()), Scope::Network);
    node.find_values(now, place(), ValueQuery::ALL, Scope::Network);
    node.find_peers(now, place(), Scope::Network);
    drain(net, asked);
}

/// What the packets may leave behind: entries of stores that are below their bounds.
const MAX_GROWTH: i64 = 2 << 20;

/// What is still there when everything has expired: the marks of who asked how much and who is
/// proved, which grow up to 520 KiB and 128 KiB.
const MAX_REST: i64 = 648 << 10;

#[test]
fn a_million_mutated_packets_leave_the_node_alive_with_flat_memory_and_full_service() {
    let mut net = Net::new(8);
    net.run(secs(60));
    let packets = real_packets(&mut net);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut asked, mut growth) = (Asked::new(), Vec::new());
    let (before, bytes_before) = (net.counters(0), live_bytes());
    for n in 0..PACKETS {
        if n % 2_000 == 0 {
            keep_busy(&mut net, n, &mut asked);
        }
        let (from, datagram) = changed(&packets, &mut asked, &mut rng);
        receive(&mut net, from, &datagram, &mut asked);
        drop(datagram);
        if (n + 1) % (PACKETS / LOOKS) == 0 {
            check_bounds(&mut net);
            growth.push(live_bytes() - bytes_before);
        }
    }
    let after = net.counters(0);
    // Every method and kind of answer got past the decoder many times.
    assert_eq!(after.received - before.received, u64::from(PACKETS));
    for (method, count) in METHODS.iter().zip(after.queries_in) {
        assert!(count > 3_000, "{method}: {count}");
    }
    assert!(after.answers > 5_000 && after.refusals > 500, "{after:?}");
    assert!(
        after.malformed > 50_000 && after.unsolicited > 50_000,
        "{after:?}"
    );
    assert!(growth.iter().all(|bytes| *bytes < MAX_GROWTH), "{growth:?}");
    let ping = query(Id::hash_of(b"asker"), Method::Ping);
    assert_eq!(net.replies(address(700), 0, &ping).len(), 1);
    // Eight days later nothing of it is left.
    for _ in 0..8 * 24 {
        net.now += secs(3_600);
        let now = net.now;
        net.node(0).handle_timeout(now);
        drain(&mut net, &mut asked);
    }
    asked.clear();
    let rest = live_bytes() - bytes_before;
    assert!(rest < MAX_REST, "{rest}");
}
