//! What an address that has not shown that it receives can make a node send there: at most three
//! times what came from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use dhtnet_dht_core::item::{ItemSigner, MutableItem, immutable_target};
use dhtnet_dht_core::krpc::{Body, Message, Method, Put, Records, Response, Want};
use dhtnet_dht_core::value::{Draft, UnixTime, ValueId};
use dhtnet_dht_core::{Config, Id};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::net::{Net, WALL, address, address6, secs};
use crate::packets::{answer, query, query_with};

fn place() -> Id {
    Id::hash_of(b"a full place")
}

fn large_value() -> Vec<u8> {
    [b"996:".as_slice(), &[b'x'; 996]].concat()
}

fn large_item() -> MutableItem {
    let signer = ItemSigner::from_seed(&[1; 32]);
    MutableItem::sign(&signer, &[b's'; 64], i64::MAX, &large_value()).unwrap()
}

fn record(id: u64, len: usize) -> Vec<u8> {
    let draft = Draft::new(place(), ValueId(id), vec![b'v'; len]);
    let wall = UnixTime(WALL.as_secs());
    draft.unsigned(wall).unwrap().value.encode()
}

/// Asks node 0 to store something for an address, with a token.
fn store(net: &mut Net, from: SocketAddr, asked: impl FnOnce(&[u8]) -> Vec<u8>) {
    let token = net.token(from, 0);
    let replies = net.replies(from, 0, &asked(&token));
    let reply = Message::decode(&replies[0]).unwrap();
    assert!(matches!(reply.body, Body::Response(_)), "{:?}", reply.body);
}

fn ask(method: Method<'_>) -> Vec<u8> {
    query(Id::hash_of(b"asker"), method)
}

/// Node 0 of a network in both families, with as much in each store as an answer can hold.
fn full() -> Net {
    let mut net = Net::with_config(40, Config::default());
    net.run(secs(60));
    for n in 0..200 {
        for from in [address(2_000 + n), address6(2_000 + n)] {
            store(&mut net, from, |token| {
                ask(Method::AnnouncePeer {
                    info_hash: place(),
                    port: None,
                    fallback_port: 0,
                    token,
                })
            });
            store(&mut net, from, |token| {
                ask(Method::AnnouncePeer {
                    info_hash: Id::hash_of(from.to_string().as_bytes()),
                    port: None,
                    fallback_port: 0,
                    token,
                })
            });
        }
    }
    let (item, value) = (large_item(), large_value());
    store(&mut net, address(1_999), |token| {
        ask(Method::Put(item.as_put(token, None)))
    });
    store(&mut net, address(1_999), |token| {
        ask(Method::Put(Put {
            token,
            value: &value,
            mutable: None,
        }))
    });
    for n in 0..60 {
        let record = record(n, if n % 2 == 0 { 900 } else { 20 });
        store(&mut net, address(1_998), |token| {
            ask(Method::ValuePut {
                target: place(),
                token,
                record: &record,
            })
        });
    }
    let stored = net.node(0).stored();
    assert_eq!(
        (
            stored.peers,
            stored.info_hashes,
            stored.items,
            stored.values
        ),
        (800, 401, 2, 60)
    );
    net
}

/// One query of every method, in every form that is answered in its own way.
fn each_method(token: &[u8], check: &mut dyn FnMut(&str, Method<'_>)) {
    let (item, value, record) = (large_item(), large_value(), record(1, 900));
    let records = [record.as_slice()];
    let targets = [
        place(),
        item.target(),
        immutable_target(&value),
        Id::hash_of(b"an empty place"),
    ];
    let filters = [
        None,
        Some(&b"d1:f1:ie"[..]),
        Some(b"d1:ti9ee"),
        Some(b"d1:?0:e"),
    ];
    check("ping", Method::Ping);
    check("unknown", Method::Unknown { name: b"x" });
    for target in targets {
        check("find_node", Method::FindNode { target });
        check("get_peers", Method::GetPeers { info_hash: target });
        check("sample_infohashes", Method::SampleInfohashes { target });
        for seq in [None, Some(0), Some(i64::MAX)] {
            check("get", Method::Get { target, seq });
        }
        for filter in filters {
            for after in [None, Some(&[0; 8][..]), Some(&[0; 40]), Some(b"x")] {
                let method = Method::ValueGet {
                    target,
                    filter,
                    after,
                };
                check("dn_get", method);
            }
            let method = Method::ValueListen {
                target,
                token,
                listener: 7,
                filter,
            };
            check("dn_listen", method);
        }
        let method = Method::ValueCancel {
            target,
            token,
            listener: 7,
        };
        check("dn_cancel", method);
        for port in [None, Some(0), Some(80)] {
            let method = Method::AnnouncePeer {
                info_hash: target,
                port,
                fallback_port: 0,
                token,
            };
            check("announce_peer", method);
        }
        for record in [record.as_slice(), b"", b"de"] {
            let method = Method::ValuePut {
                target,
                token,
                record,
            };
            check("dn_put", method);
        }
        for records in [&records[..], &[]] {
            let method = Method::ValuePush {
                target,
                listener: 7,
                records: Records::from_slices(records),
                gone: Records::from_slices(&[&[0; 8]]),
            };
            check("dn_push", method);
        }
    }
    check("put", Method::Put(item.as_put(token, None)));
    check("put", Method::Put(item.as_put(token, Some(3))));
    for value in [value.as_slice(), b"1:x"] {
        let method = Method::Put(Put {
            token,
            value,
            mutable: None,
        });
        check("put", method);
    }
}

/// Somebody who never asked before, in either family.
fn newcomer(n: &mut usize) -> SocketAddr {
    *n += 1;
    if n.is_multiple_of(2) {
        address(5_000 + *n)
    } else {
        address6(5_000 + *n)
    }
}

/// A query with the shortest and longest frame, and any wish for nodes.
fn dressed(method: Method<'_>, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let long = [b't'; 32];
    let chance = rng.next_u32();
    query_with(Id::hash_of(b"asker"), method, |message| {
        message.transaction = if chance & 1 == 0 { b"a" } else { &long };
        message.read_only = chance & 2 != 0;
        message.extension = (chance & 4 != 0).then_some(1);
        if let Body::Query(query) = &mut message.body {
            let (v4, v6) = (chance & 8 != 0, chance & 16 != 0);
            query.want = Want { v4, v6 };
            query.padding = [0, 0, 30, 500][chance as usize >> 5 & 3];
        }
    })
}

#[test]
fn every_answer_to_an_unproved_address_is_at_most_three_times_the_query() {
    let mut net = full();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut n, mut answered) = (0, 0);
    let mut silent = BTreeSet::new();
    for _ in 0..6 {
        each_method(b"12345678", &mut |name, method| {
            let from = newcomer(&mut n);
            let asked = dressed(method, &mut rng);
            let replies = net.replies(from, 0, &asked);
            let bytes: usize = replies.iter().map(Vec::len).sum();
            assert!(
                bytes <= 3 * asked.len(),
                "{name}: {bytes} > 3 × {}",
                asked.len()
            );
            answered += replies.len();
            if replies.is_empty() {
                silent.insert(name.to_owned());
            }
        });
        net.run(secs(6));
    }
    assert!(n > 700, "{n}");
    // Silence would be a bound that was reached by chance, and nothing would have been shown.
    assert!(silent.is_empty(), "{answered} of {n}, silent to {silent:?}");
}

#[test]
fn malformed_queries_are_answered_with_at_most_three_times_their_bytes() {
    let mut net = full();
    let mut n = 0;
    let mut ask = |datagram: &[u8]| {
        let from = newcomer(&mut n);
        let bytes: usize = net.replies(from, 0, datagram).iter().map(Vec::len).sum();
        assert!(bytes <= 3 * datagram.len(), "{}", datagram.escape_ascii());
        bytes
    };
    assert_eq!(ask(b"d1:q0:1:t0:1:y1:qe"), 0, "no room for an error");
    assert!(ask(b"d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe") > 0);
    for len in 0..80 {
        let transaction = "t".repeat(len.min(32));
        let junk = "j".repeat(len);
        ask(format!("d1:q1:x1:t{}:{transaction}1:y1:qe", transaction.len()).as_bytes());
        ask(format!("d1:q{len}:{junk}1:t1:a1:y1:qe").as_bytes());
    }
}

#[test]
fn a_spoofer_cannot_make_a_node_go_on_sending_to_a_silent_address() {
    let mut net = full();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut asked = BTreeMap::new();
    net.log = Some(Vec::new());
    let mut n = 0;
    each_method(b"12345678", &mut |name, method| {
        let from = newcomer(&mut n);
        let datagram = dressed(method, &mut rng);
        asked.insert(from, (name.to_owned(), datagram.len(), 0));
        net.inject(from, 0, &datagram);
    });
    net.run(secs(20 * 60));
    for sent in net.log.take().unwrap() {
        if sent.from == address(0) || sent.from == address6(0) {
            let asker = asked.get_mut(&sent.transmit.destination);
            if let Some((_, _, bytes)) = asker {
                *bytes += sent.transmit.payload.len();
            }
        }
    }
    for (from, (name, len, bytes)) in asked {
        assert!(bytes <= 3 * len, "{name} from {from}: {bytes} for {len}");
    }
}

/// Asks for the large item until the node does not answer any more.
fn flood(net: &mut Net, from: SocketAddr, count: usize) -> usize {
    let target = immutable_target(&large_value());
    let get = query(Id::hash_of(b"flooder"), Method::Get { target, seq: None });
    (0..count).map(|_| net.replies(from, 0, &get).len()).sum()
}

#[test]
fn a_flood_of_questions_with_large_answers_from_one_address_leaves_others_theirs() {
    let mut net = full();
    // Nobody there answers a ping.
    assert!(flood(&mut net, address(3_000), 400) <= 400);
    let mut port = address(3_000);
    for n in 0..100 {
        port.set_port(1_000 + n);
        flood(&mut net, port, 4);
    }
    for n in 0..20 {
        let from = address(3_100 + n);
        let target = immutable_target(&large_value());
        let get = query(Id::hash_of(b"asker"), Method::Get { target, seq: None });
        let replies = net.replies(from, 0, &get);
        let [ping] = replies.as_slice() else {
            panic!("{n}: {replies:?}");
        };
        let ping = Message::decode(ping).unwrap();
        let pong = answer(ping.transaction, Response::new(Id::hash_of(b"asker")));
        let replies = net.replies(from, 0, &pong);
        let item = Message::decode(&replies[0]).unwrap();
        assert!(matches!(item.body, Body::Response(response) if response.item.is_some()));
    }
}
