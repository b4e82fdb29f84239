//! Faults of older systems that a node must not repeat, and what hostile datagrams do to it.

use std::net::IpAddr;
use std::sync::Arc;

use dhtnet_dht_core::krpc::Body;
use dhtnet_dht_core::krpc::{Message, Method, Nodes, Put, Response, write_compact_node};
use dhtnet_dht_core::node::{Node, Scope};
use dhtnet_dht_core::{Contact, Event, Family, Id};

use crate::net::{Net, WALL, address, ms, secs, v4};
use crate::packets::{answer, query};

fn asker() -> Id {
    Id::hash_of(b"asker")
}

#[test]
fn an_unknown_method_is_answered_with_error_204() {
    let mut net = Net::new(1);
    let ask = query(asker(), Method::Unknown { name: b"vote" });
    assert_eq!(net.error(address(9), 0, &ask), Some(204));
}

#[test]
fn malformed_queries_get_error_203_or_silence() {
    let mut net = Net::new(1);
    for (datagram, expected) in [
        (b"d1:q4:ping1:t2:aa1:y1:qe".as_slice(), Some(203)),
        (
            b"d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe",
            Some(203),
        ),
        (
            b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe",
            Some(203),
        ),
        (b"d1:t2:aa1:y1:re", None),
        (b"d1:rd2:id19:abcdefghij012345678e1:t2:aa1:y1:re", None),
        (b"", None),
        (b"d", None),
        (b"le", None),
        (b"\xff\xfe not bencoded", None),
    ] {
        assert_eq!(net.error(address(9), 0, datagram), expected, "{datagram:?}");
    }
    let mut nobody = address(9);
    nobody.set_port(0);
    assert!(
        net.replies(nobody, 0, &query(asker(), Method::Ping))
            .is_empty()
    );
}

#[test]
fn what_stores_needs_a_token_that_was_given_to_that_address_and_a_port() {
    let mut net = Net::new(1);
    let (here, there) = (address(9), address(10));
    let token = net.token(here, 0);
    let announce = |token: &[u8], port| {
        query(
            asker(),
            Method::AnnouncePeer {
                info_hash: asker(),
                port: Some(port),
                fallback_port: 0,
                token,
            },
        )
    };
    assert_eq!(net.error(here, 0, &announce(b"12345678", 80)), Some(203));
    assert_eq!(net.error(there, 0, &announce(&token, 80)), Some(203));
    assert_eq!(net.error(here, 0, &announce(&token, 0)), Some(203));
    assert_eq!(net.node(0).stored().peers, 0);
    assert_eq!(net.replies(here, 0, &announce(&token, 80)).len(), 1);
    assert_eq!(net.node(0).stored().peers, 1);
    net.run(secs(11 * 60));
    assert_eq!(
        net.error(here, 0, &announce(&token, 80)),
        Some(203),
        "too old"
    );
}

#[test]
fn unsolicited_and_spoofed_answers_change_nothing() {
    let mut net = Net::new(2);
    net.run(secs(5));
    net.log = Some(Vec::new());
    let target = Id::hash_of(b"x");
    let find = net.with(0, |node, now| node.find_node(now, target, Scope::Network));
    let asked = net.log.take().unwrap().remove(0).transmit;
    assert_eq!(asked.destination, address(1));
    let transaction = Message::decode(&asked.payload)
        .unwrap()
        .transaction
        .to_vec();
    let mut lies = Vec::new();
    write_compact_node(&mut lies, &Contact::new(target, address(66)));
    let response = Response {
        nodes: Nodes::new(Family::V4, &lies),
        ..Response::new(Id::hash_of(b"liar"))
    };
    let before = net.counters(0).unsolicited;
    let mut wrong = transaction.clone();
    wrong[0] ^= 1;
    // The right transaction from elsewhere, another port of the host, and the wrong one.
    net.inject(address(66), 0, &answer(&transaction, response));
    let mut port = address(1);
    port.set_port(7000);
    net.inject(port, 0, &answer(&transaction, response));
    net.inject(address(1), 0, &answer(&wrong, response));
    assert_eq!(net.counters(0).unsolicited, before + 3);
    let outcome = net.finish(0, find);
    assert_eq!(outcome.closest.len(), 1);
    assert_eq!(outcome.closest[0].address, address(1));
    let now = net.now;
    assert_eq!(net.node(0).nodes(now, Family::V4).count(), 1);
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    let mut net = Net::new(1);
    let local: IpAddr = "11.9.9.9".parse().unwrap();
    let ping = query(asker(), Method::Ping);
    let sent = net.with(0, |node, now| {
        node.handle_datagram(now, address(9), Some(local), &ping);
        node.poll_transmit().unwrap()
    });
    assert_eq!((sent.destination, sent.local_ip), (address(9), Some(local)));
}

#[test]
fn a_large_item_comes_when_the_asker_has_answered_a_ping() {
    let mut net = Net::new(1);
    let value = [b"996:".as_slice(), &[b'x'; 996]].concat();
    let token = net.token(address(8), 0);
    let put = Put {
        token: &token,
        value: &value,
        mutable: None,
    };
    net.inject(address(8), 0, &query(asker(), Method::Put(put)));
    let target = dhtnet_dht_core::item::immutable_target(&value);
    let get = query(asker(), Method::Get { target, seq: None });
    let replies = net.replies(address(9), 0, &get);
    let [ping] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    let ping = Message::decode(ping).unwrap();
    assert!(matches!(ping.body, Body::Query(query) if query.method == Method::Ping));
    let pong = answer(ping.transaction, Response::new(asker()));
    let replies = net.replies(address(9), 0, &pong);
    let item = Message::decode(&replies[0]).unwrap();
    assert_eq!(item.transaction, b"aa");
    assert!(matches!(item.body, Body::Response(response) if response.item.unwrap().value == value));
    assert_eq!(net.replies(address(9), 0, &get).len(), 1, "proved now");
    assert_eq!(net.counters(0).deferred, 1);
}

#[test]
fn a_flood_from_one_address_does_not_starve_others() {
    let mut net = Net::new(1);
    let ping = query(asker(), Method::Ping);
    let mut answered = 0;
    for _ in 0..20_000 {
        answered += net.replies(address(66), 0, &ping).len();
    }
    assert!(answered < 1_000, "{answered}");
    assert_eq!(net.counters(0).limited as usize, 20_000 - answered);
    for other in 0..100 {
        assert_eq!(net.replies(address(100 + other), 0, &ping).len(), 1);
    }
}

#[test]
fn lookups_among_hostile_nodes_end_with_a_decision_and_nothing_forged() {
    // A node asks a liar that tells of ever nearer nodes, all of them itself at other ports.
    let mut node = Node::new(Arc::new(v4()), std::time::Instant::now(), WALL, [3; 32]);
    let mut now = std::time::Instant::now();
    let target = Id::hash_of(b"x");
    node.add_bootstrap(now, address(1));
    let get = node.find_item(now, target, b"", Scope::Network);
    let (mut queries, mut next) = (0, 2);
    let mut over = None;
    for _ in 0..20_000 {
        while let Some(sent) = node.poll_transmit() {
            let message = Message::decode(&sent.payload).unwrap();
            let (transaction, is_query) =
                (message.transaction, matches!(message.body, Body::Query(_)));
            if !is_query {
                continue;
            }
            queries += 1;
            let mut nodes = Vec::new();
            for n in 0..8 {
                let mut id = *target.as_bytes();
                id[19] ^= (next + n) as u8;
                id[18] ^= ((next + n) >> 8) as u8;
                write_compact_node(
                    &mut nodes,
                    &Contact::new(Id::from_bytes(id), address(next + n)),
                );
            }
            next += 8;
            let response = Response {
                nodes: Nodes::new(Family::V4, &nodes),
                token: Some(b"t"),
                // Poison: not what hashes to the target.
                item: Some(dhtnet_dht_core::krpc::ItemReply {
                    value: b"6:poison",
                    signed: None,
                }),
                ..Response::new(Id::hash_of(sent.destination.to_string().as_bytes()))
            };
            node.handle_datagram(now, sent.destination, None, &answer(transaction, response));
        }
        while let Some(event) = node.poll_event() {
            match event {
                Event::Done(id, outcome) if id == get => over = Some(outcome),
                Event::Item(..) => panic!("poison was believed"),
                _ => {}
            }
        }
        if over.is_some() {
            break;
        }
        now += ms(10);
        node.handle_timeout(now);
    }
    let outcome = over.expect("the lookup is over");
    assert!(outcome.queries <= 256, "{}", outcome.queries);
    assert!(queries < 2_000, "{queries}");
}
