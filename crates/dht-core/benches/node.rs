//! Queries that one node answers in a second on one core, from the datagram to the datagram,
//! with a full routing table: `cargo bench -p dhtnet-dht-core --bench node`.
#![allow(clippy::print_stdout)] // The numbers are what this program is for.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed run.
#![allow(clippy::disallowed_methods)] // An instant to count from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhtnet_dht_core::item::{ItemSigner, MutableItem};
use dhtnet_dht_core::krpc::{Body, Message, Method, Query, Response, Want};
use dhtnet_dht_core::{Config, Family, Id, Node};

/// Queries of each kind.
const ROUNDS: u32 = 300_000;

/// Nodes that try to get into the table.
const NEIGHBOURS: u32 = 4_000;

fn encode(transaction: &[u8], body: Body<'_>) -> Vec<u8> {
    let message = Message::new(transaction, body);
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn query(method: Method<'_>, padding: u16) -> Vec<u8> {
    let body = Body::Query(Query {
        sender: Id::hash_of(b"asker"),
        want: Want::default(),
        method,
        padding,
    });
    encode(b"aa", body)
}

fn address(n: u32) -> SocketAddr {
    SocketAddr::from(((0x0b00_0000 + (n << 8) + 1).to_be_bytes(), 6881))
}

/// Answers whatever the node asks as `sender` of its address.
fn answer_all(node: &mut Node, now: Instant) {
    while let Some(sent) = node.poll_transmit() {
        let message = Message::decode(&sent.payload).unwrap();
        if matches!(message.body, Body::Query(_)) {
            let id = Id::hash_of(sent.destination.to_string().as_bytes());
            let pong = encode(message.transaction, Body::Response(Response::new(id)));
            node.handle_datagram(now, sent.destination, None, &pong);
        }
    }
}

fn full_node(now: &mut Instant) -> Node {
    let config = Arc::new(Config::default().families(&[Family::V4]));
    let mut node = Node::new(config, *now, Duration::from_secs(1_800_000_000), [7; 32]);
    for n in 0..NEIGHBOURS {
        node.ping(*now, address(n));
        answer_all(&mut node, *now);
        while node.poll_event().is_some() {}
        *now += Duration::from_millis(5);
    }
    node
}

fn token(node: &mut Node, now: Instant, from: SocketAddr) -> Vec<u8> {
    let info_hash = Id::hash_of(b"token");
    while node.poll_transmit().is_some() {}
    node.handle_datagram(now, from, None, &query(Method::GetPeers { info_hash }, 0));
    while let Some(sent) = node.poll_transmit() {
        if let Body::Response(response) = Message::decode(&sent.payload).unwrap().body {
            return response.token.unwrap().to_vec();
        }
    }
    Vec::new()
}

/// Asks again and again, each time from another address, and prints how many were answered.
fn measure(node: &mut Node, now: &mut Instant, name: &str, ask: &[u8]) {
    let began = Instant::now();
    let (mut answers, mut bytes) = (0_u32, 0);
    for n in 0..ROUNDS {
        *now += Duration::from_micros(10);
        node.handle_datagram(*now, address(100_000 + n % 5_000), None, ask);
        while let Some(sent) = node.poll_transmit() {
            bytes += sent.payload.len();
            answers += 1;
        }
    }
    let rate = f64::from(ROUNDS) / began.elapsed().as_secs_f64();
    let mean = bytes / answers.max(1) as usize;
    println!("{name:<24} {rate:>10.0} a second, {answers} answers of {mean} bytes");
}

fn main() {
    let mut now = Instant::now();
    let mut node = full_node(&mut now);
    println!("{} nodes in the table", node.nodes(now, Family::V4).count());
    let (full, empty) = (Id::hash_of(b"a torrent"), Id::hash_of(b"nothing"));
    for n in 0..100 {
        let from = address(50_000 + n);
        let token = token(&mut node, now, from);
        let announce = Method::AnnouncePeer {
            info_hash: full,
            port: None,
            fallback_port: 0,
            token: &token,
        };
        node.handle_datagram(now, from, None, &query(announce, 0));
    }
    let signer = ItemSigner::from_seed(&[1; 32]);
    let item = MutableItem::sign(&signer, b"", 1, b"5:hello").unwrap();
    let token = token(&mut node, now, address(60_000));
    let put = Method::Put(item.as_put(&token, None));
    node.handle_datagram(now, address(60_000), None, &query(put, 0));
    while node.poll_transmit().is_some() {}
    let get = Method::Get {
        target: item.target(),
        seq: None,
    };
    for (name, ask) in [
        ("ping", query(Method::Ping, 0)),
        ("find_node", query(Method::FindNode { target: empty }, 0)),
        (
            "get_peers, none",
            query(Method::GetPeers { info_hash: empty }, 0),
        ),
        (
            "get_peers, 100 peers",
            query(Method::GetPeers { info_hash: full }, 0),
        ),
        ("get, an item", query(get, 380)),
    ] {
        measure(&mut node, &mut now, name, &ask);
    }
}
