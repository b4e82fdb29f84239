//! Faults of older systems that are not looked at elsewhere; `docs/dht-faults.md` lists all.

use std::net::IpAddr;

use dhtnet_dht_core::item::{ItemSigner, MutableItem, immutable_target};
use dhtnet_dht_core::krpc::{
    Body, ErrorCode, Message, Method, Nodes, Put, Response, write_compact_node,
};
use dhtnet_dht_core::node::{Item, Scope};
use dhtnet_dht_core::{Config, Contact, Event, Family, Id};

use crate::net::{Net, address, address6, ms, secs};
use crate::packets::{answer, query};

fn item(seq: i64) -> MutableItem {
    let value = format!("i{seq}e");
    MutableItem::sign(&ItemSigner::from_seed(&[3; 32]), b"", seq, value.as_bytes()).unwrap()
}

#[test]
fn of_the_versions_that_nodes_hold_the_highest_is_told_last_whoever_answers_first() {
    let mut net = Net::new(10);
    net.run(secs(30));
    // Each node has another version, as if all but one had missed some updates.
    for (index, seq) in (1..10).zip([4, 9, 2, 8, 1, 5, 7, 3, 6]) {
        let token = net.token(address(500), index);
        let asker = Id::hash_of(b"asker");
        let put = query(asker, Method::Put(item(seq).as_put(&token, None)));
        assert_eq!(net.replies(address(500), index, &put).len(), 1);
    }
    // The newest comes neither first nor last.
    for index in 1..10 {
        net.slow.insert(index, ms((index as u64 * 7) % 10));
    }
    let target = item(1).target();
    let get = net.with(0, |node, now| {
        node.find_item(now, target, b"", Scope::Network)
    });
    net.finish(0, get);
    let told: Vec<i64> = net
        .events_of(0, get)
        .into_iter()
        .filter_map(|event| match event {
            Event::Item(_, Item::Mutable(item)) => {
                assert_eq!(item.value(), format!("i{}e", item.seq()).as_bytes());
                Some(item.seq())
            }
            _ => None,
        })
        .collect();
    assert_eq!(told.last(), Some(&9), "{told:?}");
    assert!(told.is_sorted(), "never an older one again: {told:?}");
}

#[test]
fn ipv4_addresses_in_ipv6_lists_are_neither_asked_nor_kept() {
    let mut net = Net::with_config(2, Config::default());
    net.run(secs(5));
    net.log = Some(Vec::new());
    let find = net.with(0, |node, now| {
        node.find_node(now, Id::hash_of(b"x"), Scope::Network)
    });
    let asked = net.log.take().unwrap();
    let asked = asked
        .iter()
        .find(|sent| sent.transmit.destination == address6(1));
    let asked = &asked.expect("a question over IPv6").transmit;
    let mapped = "[::ffff:11.0.77.1]:6881".parse().unwrap();
    let mut lies = Vec::new();
    write_compact_node(&mut lies, &Contact::new(Id::hash_of(b"mapped"), mapped));
    assert_eq!(lies.len(), 38);
    let response = Response {
        nodes6: Nodes::new(Family::V6, &lies),
        ..Response::new(net.node(1).id(Family::V6).unwrap())
    };
    let transaction = Message::decode(&asked.payload).unwrap().transaction;
    let datagram = answer(transaction, response);
    net.log = Some(Vec::new());
    net.inject(address6(1), 0, &datagram);
    net.finish(0, find);
    net.run(secs(60));
    let log = net.log.take().unwrap();
    let told = |sent: &crate::net::Sent| sent.transmit.destination == address(77);
    assert!(!log.iter().any(told), "never asked in either family");
    assert!(log.iter().all(|sent| sent.transmit.destination != mapped));
    let now = net.now;
    for family in Family::ALL {
        let known: Vec<_> = net.node(0).nodes(now, family).collect();
        let is_of_family = known
            .iter()
            .all(|known| Family::of(&known.contact.address) == family);
        assert!(is_of_family, "{known:?}");
    }
}

#[test]
fn a_node_has_another_id_in_each_family_and_says_that_of_the_family_asked() {
    let mut net = Net::with_config(12, Config::default());
    net.run(secs(60));
    let ids = Family::ALL.map(|family| net.node(0).id(family).unwrap());
    assert_ne!(ids[0], ids[1]);
    let ping = query(Id::hash_of(b"asker"), Method::Ping);
    for (from, id) in [(address(700), ids[0]), (address6(700), ids[1])] {
        let reply = net.replies(from, 0, &ping).remove(0);
        let Body::Response(response) = Message::decode(&reply).unwrap().body else {
            panic!("an answer");
        };
        assert_eq!(response.sender, id);
    }
}

#[test]
fn an_answer_that_waited_for_a_proof_leaves_from_the_address_that_was_asked() {
    let mut net = Net::new(1);
    let value = [b"996:".as_slice(), &[b'x'; 996]].concat();
    let token = net.token(address(8), 0);
    let put = Put {
        token: &token,
        value: &value,
        mutable: None,
    };
    let asker = Id::hash_of(b"asker");
    net.inject(address(8), 0, &query(asker, Method::Put(put)));
    let target = immutable_target(&value);
    let get = query(asker, Method::Get { target, seq: None });
    let (asked, other): (IpAddr, IpAddr) =
        ("11.9.9.9".parse().unwrap(), "11.9.9.8".parse().unwrap());
    let sent = net.with(0, |node, now| {
        node.handle_datagram(now, address(9), Some(asked), &get);
        let ping = node.poll_transmit().unwrap();
        let transaction = Message::decode(&ping.payload).unwrap().transaction;
        let pong = answer(transaction, Response::new(asker));
        node.handle_datagram(now, address(9), Some(other), &pong);
        node.poll_transmit().unwrap()
    });
    assert_eq!((sent.destination, sent.local_ip), (address(9), Some(asked)));
}

#[test]
fn a_source_that_stores_too_much_is_told_401_and_not_that_it_is_stored() {
    let mut net = Net::new(1);
    let (from, asker) = (address(9), Id::hash_of(b"asker"));
    let token = net.token(from, 0);
    let mut codes = Vec::new();
    for n in 0..300 {
        let value = format!("i{n}e");
        let put = Put {
            token: &token,
            value: value.as_bytes(),
            mutable: None,
        };
        net.now += ms(20);
        let replies = net.replies(from, 0, &query(asker, Method::Put(put)));
        if let Body::Error(error) = Message::decode(&replies[0]).unwrap().body {
            codes.push(error.code);
        }
    }
    let stored = net.node(0).stored().items;
    assert_eq!(stored + codes.len(), 300, "stored or refused");
    assert!(!codes.is_empty());
    assert!(
        codes
            .iter()
            .all(|code| *code == ErrorCode::QuotaExceeded.code())
    );
}
