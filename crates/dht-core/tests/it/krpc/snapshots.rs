//! Every packet of the vector files is what its message says, both ways.

use std::net::SocketAddr;

use dhtnet_dht_core::krpc::{
    self, Body, ErrorReply, ItemReply, Message, Method, MutablePut, NetworkTag, Nodes, Peers, Put,
    Query, Records, Response, Samples, Want,
};
use dhtnet_dht_core::{Contact, Family, Id};

use super::{encoded, vectors};

const A: Id = Id::from_bytes(*b"abcdefghij0123456789");
const B: Id = Id::from_bytes(*b"mnopqrstuvwxyz123456");
const TOKEN: &[u8] = b"aoeusnth";
const NODES: &[u8] =
    b"NODE-ONE............\xc0\x00\x02\x01\x1a\xe1NODE-TWO............\xc0\x00\x02\x02\x1a\xe2";
const NODES6: &[u8] = b"NODE-SIX............\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x06\x1a\xe6";
const KEY: &[u8; 32] = b"\x77\xff\x84\x90\x5a\x91\x93\x63\x67\xc0\x13\x60\x80\x31\x04\xf9\
    \x24\x32\xfc\xd9\x04\xa4\x35\x11\x87\x6d\xf5\xcd\xf3\xe7\xe5\x48";
const SALT_TARGET: Id = Id::from_bytes(
    *b"\x41\x1e\xba\x73\xb6\xf0\x87\xca\x51\xa3\x79\x5d\x9c\x8c\x93\x8d\x36\x5e\x32\xc1",
);
const SIGNATURE: &[u8; 64] = b"\x30\x5a\xc8\xae\xb6\xc9\xc1\x51\xfa\x12\x0f\x12\x0e\xa2\xcf\xb9\
    \x23\x56\x4e\x11\x55\x2d\x06\xa5\xd8\x56\x09\x1e\x5e\x85\x3c\xff\
    \x12\x60\xd3\xf3\x9e\x49\x99\x68\x4a\xa9\x2e\xb7\x3f\xfd\x13\x6e\
    \x6f\x4f\x3e\xcb\xfd\xa0\xce\x53\xa1\x60\x8e\xcd\x7a\xe2\x1f\x01";
const SALT_SIGNATURE: &[u8; 64] =
    b"\x68\x34\x28\x4b\x6b\x24\xc3\x20\x4e\xb2\xfe\xa8\x24\xd8\x2f\x88\
    \x88\x3a\x3d\x95\xe8\xb4\xa2\x1b\x8c\x0d\xed\x55\x3d\x17\xd1\x7d\
    \xdf\x9a\x8a\x71\x04\xb1\x25\x8f\x30\xbe\xd3\x78\x7e\x6c\xb8\x96\
    \xfc\xa7\x8c\x58\xf8\xe0\x3b\x5f\x18\xf1\x49\x51\xa8\x7d\x9a\x08";
const VALUE: &[u8] = b"12:Hello World!";
const TAG: NetworkTag = NetworkTag([1, 2, 3, 4, 5, 6, 7, 8]);
const LISTENER: u64 = 0x01_0203;
const FILTER: &[u8] = b"d1:fl2:ide1:wd4:typei3eee";

const fn message(body: Body<'static>) -> Message<'static> {
    Message::new(b"aa", body)
}

fn wanting(method: Method<'static>, want: Want, padding: u16) -> Message<'static> {
    message(Body::Query(Query {
        sender: A,
        want,
        method,
        padding,
    }))
}

fn query(method: Method<'static>) -> Message<'static> {
    wanting(method, Want::default(), 0)
}

/// A query of the value layer.
fn value_query(method: Method<'static>) -> Message<'static> {
    Message {
        extension: Some(1),
        ..query(method)
    }
}

fn answer(response: Response<'static>) -> Message<'static> {
    message(Body::Response(response))
}

fn value_answer(response: Response<'static>) -> Message<'static> {
    Message {
        extension: Some(1),
        ..answer(response)
    }
}

fn error(code: i64, text: &'static str) -> Message<'static> {
    message(Body::Error(ErrorReply {
        code,
        text: text.as_bytes(),
    }))
}

fn with_nodes() -> Response<'static> {
    Response {
        nodes: Nodes::new(Family::V4, NODES),
        ..Response::new(B)
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

fn announce(port: Option<u16>, fallback_port: u16) -> Message<'static> {
    query(Method::AnnouncePeer {
        info_hash: B,
        port,
        fallback_port,
        token: TOKEN,
    })
}

fn put(value: &'static [u8], mutable: Option<MutablePut<'static>>) -> Message<'static> {
    query(Method::Put(Put {
        token: TOKEN,
        value,
        mutable,
    }))
}

fn mutable(seq: i64) -> MutablePut<'static> {
    MutablePut {
        key: KEY,
        signature: SIGNATURE,
        seq,
        salt: b"",
        cas: None,
    }
}

const N4: Want = Want {
    v4: true,
    v6: false,
};
const N6: Want = Want {
    v4: false,
    v6: true,
};
const BOTH: Want = Want { v4: true, v6: true };

/// BEP 5, 42, 43.
fn plain(name: &str) -> Option<Message<'static>> {
    Some(match name {
        "bep5/ping" => query(Method::Ping),
        "bep5/pong" => answer(Response::new(B)),
        "bep5/find_node" => query(Method::FindNode { target: B }),
        "bep5/get_peers" => query(Method::GetPeers { info_hash: B }),
        "bep5/get_peers-values" => answer(Response {
            token: Some(TOKEN),
            peers: Some(Peers::from_slices(&[b"axje.u", b"idhtnm"])),
            ..Response::new(A)
        }),
        "bep5/announce_peer-implied" => announce(None, 6881),
        "bep5/error" => error(201, "A Generic Error Ocurred"),
        "bep5/find_node-answer" => answer(with_nodes()),
        "bep5/get_peers-nodes" => answer(Response {
            token: Some(TOKEN),
            ..with_nodes()
        }),
        "bep5/announce_peer-port" => announce(Some(65535), 0),
        "bep5/announce_peer-implied-without-port" => announce(None, 0),
        "bep5/ping-version" => Message {
            version: Some(b"DN\0\x01"),
            ..query(Method::Ping)
        },
        "bep5/error-protocol" => error(203, "protocol error"),
        "bep5/error-unknown-code" => Message {
            transaction: b"",
            ..error(-7, "")
        },
        "bep5/unknown-method" => query(Method::Unknown { name: b"vote" }),
        "bep42/pong-ip4" => Message {
            external: address("124.31.75.21:51413"),
            ..answer(Response::new(B))
        },
        "bep42/pong-ip6" => Message {
            external: address("[2001:db8::9]:51413"),
            ..answer(Response::new(B))
        },
        "bep42/error-ip4" => Message {
            external: address("192.0.2.1:6881"),
            ..error(204, "method unknown")
        },
        "bep43/ping-read-only" => Message {
            read_only: true,
            ..query(Method::Ping)
        },
        "bep43/get_peers-read-only" => Message {
            read_only: true,
            version: Some(b"DN\0\x01"),
            ..query(Method::GetPeers { info_hash: B })
        },
        _ => return None,
    })
}

/// BEP 32 and 51.
fn lists(name: &str) -> Option<Message<'static>> {
    let find = Method::FindNode { target: B };
    Some(match name {
        "bep32/find_node-want-both" => wanting(find, BOTH, 0),
        "bep32/find_node-want-n4" => wanting(find, N4, 0),
        "bep32/get_peers-want-n6" => wanting(Method::GetPeers { info_hash: B }, N6, 0),
        "bep32/find_node-answer-both" => answer(Response {
            nodes6: Nodes::new(Family::V6, NODES6),
            ..with_nodes()
        }),
        "bep32/get_peers-values6" => answer(Response {
            nodes6: Nodes::new(Family::V6, NODES6),
            token: Some(TOKEN),
            peers: Some(Peers::from_slices(&[
                b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1a\xe1",
                b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\0\x01",
            ])),
            ..Response::new(B)
        }),
        "bep51/sample_infohashes" => query(Method::SampleInfohashes { target: B }),
        "bep51/sample_infohashes-answer" => answer(Response {
            interval: Some(21_600),
            count: Some(70_000),
            samples: Samples::new(b"abcdefghij0123456789mnopqrstuvwxyz123456"),
            ..with_nodes()
        }),
        "bep51/sample_infohashes-answer-empty" => answer(Response {
            nodes: Nodes::new(Family::V4, b""),
            interval: Some(0),
            count: Some(0),
            samples: Samples::new(b""),
            ..Response::new(B)
        }),
        _ => return None,
    })
}

/// BEP 44.
fn items(name: &str) -> Option<Message<'static>> {
    Some(match name {
        "bep44/get" => query(Method::Get {
            target: SALT_TARGET,
            seq: None,
        }),
        "bep44/get-newer" => query(Method::Get {
            target: SALT_TARGET,
            seq: Some(1),
        }),
        "bep44/put-immutable" => put(VALUE, None),
        "bep44/hand-over" => query(Method::HandOver {
            put: Put {
                token: TOKEN,
                value: VALUE,
                mutable: None,
            },
            age: 3600,
        }),
        "bep44/put-immutable-nested" => put(b"d1:ali1ed1:b0:eee", None),
        "bep44/put-mutable" => put(VALUE, Some(mutable(1))),
        "bep44/put-mutable-salt-cas" => put(
            VALUE,
            Some(MutablePut {
                salt: b"foobar",
                cas: Some(0),
                signature: SALT_SIGNATURE,
                ..mutable(1)
            }),
        ),
        "bep44/put-negative-seq" => put(VALUE, Some(mutable(-1))),
        "bep44/get-answer-immutable" => answer(Response {
            token: Some(TOKEN),
            item: Some(ItemReply {
                value: VALUE,
                signed: None,
            }),
            ..with_nodes()
        }),
        "bep44/get-answer-mutable" => answer(Response {
            nodes6: Nodes::new(Family::V6, NODES6),
            token: Some(TOKEN),
            item: Some(ItemReply {
                value: VALUE,
                signed: Some((KEY, SIGNATURE)),
            }),
            seq: Some(1),
            ..with_nodes()
        }),
        "bep44/get-answer-not-newer" => answer(Response {
            token: Some(TOKEN),
            seq: Some(i64::MAX),
            ..with_nodes()
        }),
        "bep44/error-cas" => error(301, "the CAS hash mismatched, re-read value and try again"),
        _ => return None,
    })
}

/// Queries of the extension.
fn extension_queries(name: &str) -> Option<Message<'static>> {
    let get = |filter, after| Method::ValueGet {
        target: B,
        filter,
        after,
    };
    let listen = |filter| Method::ValueListen {
        target: B,
        token: TOKEN,
        listener: LISTENER,
        filter,
    };
    Some(match name {
        "dn/ping-network" => Message {
            network: Some(TAG),
            ..query(Method::Ping)
        },
        "dn/get-padded" => Message {
            extension: Some(1),
            ..wanting(
                Method::Get {
                    target: B,
                    seq: None,
                },
                N4,
                12,
            )
        },
        "dn/dn_get" => value_query(get(None, None)),
        "dn/dn_get-filter-after" => Message {
            extension: Some(1),
            ..wanting(get(Some(FILTER), Some(b"\0\x07")), Want::default(), 3)
        },
        "dn/dn_put" => value_query(Method::ValuePut {
            target: B,
            token: TOKEN,
            record: b"d1:ai1ee",
        }),
        "dn/dn_listen" => value_query(listen(Some(FILTER))),
        "dn/dn_listen-all" => value_query(listen(None)),
        "dn/dn_cancel" => value_query(Method::ValueCancel {
            target: B,
            token: TOKEN,
            listener: LISTENER,
        }),
        "dn/dn_push" => value_query(Method::ValuePush {
            target: B,
            listener: LISTENER,
            records: Records::from_slices(&[b"d1:ai1ee"]),
            gone: Records::from_slices(&[b"one", b"two"]),
        }),
        "dn/dn_push-gone" => Message {
            network: Some(TAG),
            read_only: true,
            ..value_query(Method::ValuePush {
                target: B,
                listener: LISTENER,
                records: Records::from_slices(&[]),
                gone: Records::from_slices(&[b"one"]),
            })
        },
        _ => return None,
    })
}

/// Answers of the extension.
fn extension_answers(name: &str) -> Option<Message<'static>> {
    let nodes_and_token = Response {
        token: Some(TOKEN),
        ..with_nodes()
    };
    Some(match name {
        "dn/pong-network-extension" => Message {
            network: Some(TAG),
            ..value_answer(Response::new(B))
        },
        "dn/error-network-extension" => Message {
            network: Some(TAG),
            extension: Some(1),
            version: Some(b"DN\0\x01"),
            external: address("192.0.2.1:1"),
            ..error(401, "too much is stored for this address")
        },
        "dn/dn_get-answer" => value_answer(Response {
            records: Some(Records::from_slices(&[b"d1:ai1ee", b"d1:ai2ee"])),
            more: Some(b"\0\x08"),
            ..nodes_and_token
        }),
        "dn/dn_get-answer-empty" => value_answer(Response {
            records: Some(Records::from_slices(&[])),
            ..nodes_and_token
        }),
        "dn/dn_put-answer" => value_answer(Response {
            ttl: Some(600),
            ..Response::new(B)
        }),
        _ => return None,
    })
}

#[test]
fn every_packet_of_the_vectors_is_its_message_both_ways() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 55, "a vector was lost");
    for (name, bytes) in vectors {
        let expected = plain(&name)
            .or_else(|| lists(&name))
            .or_else(|| items(&name))
            .or_else(|| extension_queries(&name))
            .or_else(|| extension_answers(&name))
            .unwrap_or_else(|| panic!("{name} has no message here"));
        assert_eq!(Message::decode(&bytes), Ok(expected), "{name}");
        let again = encoded(&expected);
        let shown = (again.escape_ascii(), bytes.escape_ascii());
        assert_eq!(again, bytes, "{name}: {} and {}", shown.0, shown.1);
        assert_eq!(dhtnet_dht_core::bencode::validate(&bytes), Ok(()), "{name}");
    }
}

#[test]
fn every_packet_of_the_book_is_one_of_the_vectors() {
    let chapter = include_str!("../../../../../docs/wire-format/dht-messages.md");
    let vectors = vectors();
    let mut count = 0;
    for line in chapter
        .lines()
        .filter(|line| krpc::looks_like_message(line.as_bytes()))
    {
        let packet = super::unescape(line);
        assert!(vectors.iter().any(|(_, bytes)| *bytes == packet), "{line}");
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn lists_are_read_in_place() {
    let (_, bytes) = vectors().swap_remove(4);
    let Body::Response(response) = Message::decode(&bytes).unwrap().body else {
        panic!("no answer");
    };
    let peers: Vec<SocketAddr> = response.peers.unwrap().iter(Family::V4).collect();
    assert_eq!(
        peers,
        ["97.120.106.101:11893", "105.100.104.116:28269"].map(|text| text.parse().unwrap())
    );
    let nodes: Vec<Contact> = with_nodes().nodes.unwrap().iter().collect();
    let one = Id::from_bytes(*b"NODE-ONE............");
    assert_eq!(nodes.len(), 2);
    assert_eq!(
        nodes[0],
        Contact::new(one, "192.0.2.1:6881".parse().unwrap())
    );
}

#[test]
fn names_of_methods_are_those_that_are_sent() {
    for (name, bytes) in vectors() {
        if let Body::Query(query) = Message::decode(&bytes).unwrap().body {
            let header = format!("1:q{}:", query.method.name().len()).into_bytes();
            let sent = [header, query.method.name().to_vec()].concat();
            assert!(
                bytes.windows(sent.len()).any(|window| window == sent),
                "{name}"
            );
        }
    }
}
