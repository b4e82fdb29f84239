//! Answers that nobody asked for, or that come from somebody else: nothing at all changes.

use std::net::SocketAddr;

use dhtnet_dht_core::item::{ItemSigner, MutableItem, immutable_target};
use dhtnet_dht_core::krpc::{
    Body, ErrorReply, Message, Nodes, Peers, Records, Response, Samples, write_compact_node,
};
use dhtnet_dht_core::node::Scope;
use dhtnet_dht_core::value::{Draft, Filter, UnixTime, ValueId, ValueQuery};
use dhtnet_dht_core::{Contact, Family, Id};
use dhtnet_identity::DeviceKey;

use crate::net::{Net, WALL, address, secs};
use crate::packets::{answer_with, encode};

/// All that a node holds, in words: tables, stores, operations, what is under way. Counters
/// apart, and the queue of events, which must be empty.
fn state(net: &mut Net) -> String {
    let text = format!("{:?}", net.node(0));
    let (before, counters) = text.split_once("counters: Counters {").expect("counters");
    let (_, after) = counters.split_once('}').expect("the end of the counters");
    assert!(text.contains("events: []"), "somebody looked");
    [before, after].concat()
}

/// A node among others, with every kind of operation under way, and the queries that are open.
fn busy() -> (Net, Vec<(SocketAddr, Vec<u8>)>) {
    let mut net = Net::new(12);
    net.run(secs(30));
    let (place, wall) = (place(), UnixTime(WALL.as_secs() + 30));
    let draft = Draft::new(place, ValueId(1), b"here".to_vec());
    let value = draft.unsigned(wall).unwrap().value;
    net.with(1, |node, now| {
        node.put_value(now, place, &value, Scope::Network)
    });
    net.run(secs(2));
    net.log = Some(Vec::new());
    net.with(0, |node, now| {
        node.find_node(now, Id::hash_of(b"a"), Scope::Network);
        node.find_peers(now, Id::hash_of(b"b"), Scope::Network);
        node.find_item(now, immutable_target(b"1:x"), b"", Scope::Network);
        node.find_item(now, item(1).target(), b"", Scope::Network);
        node.find_values(now, place, ValueQuery::ALL, Scope::Network);
        node.put_immutable(now, b"1:y", Scope::Network).unwrap();
        node.listen(now, place, Filter::default());
        node.sample(now, address(3), place);
        node.ping(now, address(4));
    });
    let sent = net.log.take().unwrap();
    let open: Vec<_> = sent
        .iter()
        .map(|sent| {
            let message = Message::decode(&sent.transmit.payload).unwrap();
            assert!(matches!(message.body, Body::Query(_)));
            (sent.transmit.destination, message.transaction.to_vec())
        })
        .collect();
    assert!(open.len() >= 20, "{} queries", open.len());
    (net, open)
}

fn place() -> Id {
    Id::hash_of(b"a place")
}

fn item(seq: i64) -> MutableItem {
    MutableItem::sign(&ItemSigner::from_seed(&[1; 32]), b"", seq, b"1:x").unwrap()
}

/// One answer of every kind, each of which would mean something to some operation, and an error.
fn answers(transaction: &[u8]) -> Vec<Vec<u8>> {
    let mut nodes = Vec::new();
    let liar = Contact::new(Id::hash_of(b"a"), address(66));
    write_compact_node(&mut nodes, &liar);
    let draft = Draft::new(place(), ValueId(9), b"forged".to_vec());
    let wall = UnixTime(WALL.as_secs());
    let value = draft
        .signed(wall, &DeviceKey::from_seed(&[4; 32]), 1)
        .unwrap();
    let record = value.value.encode();
    let records = [record.as_slice()];
    let (item, empty) = (item(9), Response::new(Id::hash_of(b"liar")));
    let told = Response {
        nodes: Nodes::new(Family::V4, &nodes),
        token: Some(b"token"),
        ..empty
    };
    let responses = [
        empty,
        told,
        Response {
            peers: Some(Peers::from_slices(&[b"axje.u"])),
            ..told
        },
        Response {
            item: Some(item.as_reply()),
            seq: Some(9),
            ..told
        },
        Response {
            records: Some(Records::from_slices(&records)),
            more: Some(&[0; 8]),
            ..told
        },
        Response {
            samples: Samples::new(&[7; 20]),
            interval: Some(0),
            count: Some(1),
            ..told
        },
        Response {
            ttl: Some(600),
            ..empty
        },
    ];
    let mut datagrams: Vec<Vec<u8>> = responses
        .into_iter()
        .map(|response| {
            answer_with(transaction, response, |message| {
                message.extension = Some(1);
                message.external = Some("203.0.113.99:6881".parse().unwrap());
            })
        })
        .collect();
    let refusal = ErrorReply {
        code: 301,
        text: b"no",
    };
    datagrams.push(encode(&Message::new(transaction, Body::Error(refusal))));
    datagrams
}

/// Lets datagrams come and says what was wrong with the first that changed anything.
fn nothing_changes(net: &mut Net, from: SocketAddr, datagrams: &[Vec<u8>], what: &str) {
    let before = state(net);
    let unsolicited = net.counters(0).unsolicited;
    for datagram in datagrams {
        assert!(
            net.replies(from, 0, datagram).is_empty(),
            "{what}: an answer"
        );
        assert!(before == state(net), "{what}: {}", datagram.escape_ascii());
    }
    let count = net.counters(0).unsolicited - unsolicited;
    assert_eq!(count as usize, datagrams.len(), "{what}: each counts");
}

#[test]
fn answers_from_another_address_change_neither_table_nor_stores_nor_operations() {
    let (mut net, open) = busy();
    for (asked, transaction) in &open {
        let mut port = *asked;
        port.set_port(asked.port() + 1);
        let other = open.iter().find(|(other, _)| other != asked).unwrap().0;
        for from in [port, address(66), address(900), other] {
            let taken = open.contains(&(from, transaction.clone()));
            assert!(!taken, "transactions are not used twice");
            nothing_changes(&mut net, from, &answers(transaction), "another address");
        }
    }
}

#[test]
fn answers_with_a_transaction_that_is_not_open_change_nothing() {
    let (mut net, open) = busy();
    let is_open = |at: &SocketAddr, transaction: &[u8]| {
        open.iter()
            .any(|(asked, open)| asked == at && open == transaction)
    };
    for (asked, transaction) in &open {
        let mut wrong = vec![Vec::new(), vec![0; 32], transaction[..3].to_vec()];
        wrong.push([transaction.as_slice(), b"\0"].concat());
        for bit in 0..32 {
            let mut flipped = transaction.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            wrong.push(flipped);
        }
        for transaction in wrong {
            assert!(!is_open(asked, &transaction));
            let datagrams = answers(&transaction);
            nothing_changes(&mut net, *asked, &datagrams[1..2], "another transaction");
            nothing_changes(&mut net, *asked, &datagrams[7..], "an error");
        }
    }
}

#[test]
fn an_answer_counts_once_and_its_copies_change_nothing() {
    let (mut net, open) = busy();
    let (asked, transaction) = &open[0];
    let index = (0..12).find(|index| address(*index) == *asked).unwrap();
    let id = net.node(index).id(Family::V4).unwrap();
    let pong = answer_with(transaction, Response::new(id), |_| {});
    let answers_before = net.counters(0).answers;
    net.inject(*asked, 0, &pong);
    assert_eq!(net.counters(0).answers, answers_before + 1);
    nothing_changes(&mut net, *asked, &answers(transaction), "a copy");
}

#[test]
fn an_idle_node_believes_no_answer_at_all() {
    let mut net = Net::new(4);
    net.run(secs(120));
    for from in [address(1), address(2), address(66)] {
        for transaction in [&b"\0\0\0\0"[..], b"aaaa", b"\xff\xff\xff\xff", b"aa"] {
            nothing_changes(&mut net, from, &answers(transaction), "nothing is open");
        }
    }
}
