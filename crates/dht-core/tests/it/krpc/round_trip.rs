//! Any message that can be said comes back as it was.

use std::net::{IpAddr, SocketAddr};

use dhtnet_dht_core::krpc::{
    Body, ErrorReply, ItemReply, MAX_TRANSACTION_LEN, Message, Method, MutablePut, NetworkTag,
    Nodes, Peers, Put, Query, Records, Response, Samples, Want,
};
use dhtnet_dht_core::{Family, Id, bencode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::encoded;

type Bytes = Vec<u8>;

/// What a message borrows, and the numbers that go with it.
#[derive(Debug)]
struct Parts {
    choice: usize,
    ids: [[u8; 20]; 2],
    strings: [Bytes; 4],
    lists: [Vec<Bytes>; 2],
    optional: [bool; 16],
    numbers: [i64; 2],
    small: [u16; 3],
    key: [u8; 32],
    signature: [u8; 64],
    ip: IpAddr,
    transaction: Bytes,
}

fn parts() -> impl Strategy<Value = Parts> {
    let string = || vec(any::<u8>(), 0..40);
    let list = || vec(vec(any::<u8>(), 0..20), 0..5);
    (
        (0..15_usize, any::<[[u8; 20]; 2]>(), any::<[bool; 16]>()),
        [string(), string(), string(), string()],
        [list(), list()],
        any::<([i64; 2], [u16; 3])>(),
        (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<IpAddr>()),
        vec(any::<u8>(), 0..=MAX_TRANSACTION_LEN),
    )
        .prop_map(
            |(first, strings, lists, (numbers, small), last, transaction)| {
                let (choice, ids, optional) = first;
                let (key, half, ip) = last;
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(&half);
                signature[32..].copy_from_slice(&key);
                Parts {
                    choice,
                    ids,
                    strings,
                    lists,
                    optional,
                    numbers,
                    small,
                    key,
                    signature,
                    ip,
                    transaction,
                }
            },
        )
}

/// [`Parts`] in the shape that messages borrow.
struct Lent<'a> {
    parts: &'a Parts,
    records: Vec<&'a [u8]>,
    gone: Vec<&'a [u8]>,
    value: Bytes,
    filter: Bytes,
    nodes: Bytes,
    nodes6: Bytes,
    samples: Bytes,
}

impl<'a> Lent<'a> {
    fn new(parts: &'a Parts) -> Self {
        let mut value = Vec::new();
        let tree = bencode::Value::List(vec![
            bencode::Value::Int(parts.numbers[0]),
            bencode::Value::Bytes(parts.strings[3].clone()),
        ]);
        tree.encode(&mut value);
        let mut filter = Vec::new();
        bencode::Value::Dict([(parts.strings[3].clone(), tree)].into()).encode(&mut filter);
        let slices = |list: &'a Vec<Bytes>| list.iter().map(Vec::as_slice).collect();
        let repeat = |len: usize| parts.key.repeat(len)[..len].to_vec();
        let count = parts.lists[1].len();
        Self {
            parts,
            records: slices(&parts.lists[0]),
            gone: slices(&parts.lists[1]),
            value,
            filter,
            nodes: repeat(26 * count),
            nodes6: repeat(38 * count),
            samples: repeat(20 * count),
        }
    }

    fn id(&self, at: usize) -> Id {
        Id::from_bytes(self.parts.ids[at])
    }

    fn text(&self, at: usize) -> &[u8] {
        &self.parts.strings[at]
    }

    fn optional<T>(&self, at: usize, value: T) -> Option<T> {
        self.parts.optional[at].then_some(value)
    }

    fn message(&self) -> Message<'_> {
        let body = match self.parts.choice {
            13 => Body::Response(self.response()),
            14 => Body::Error(ErrorReply {
                code: self.parts.numbers[0],
                text: self.text(0),
            }),
            _ => Body::Query(Query {
                sender: self.id(0),
                want: Want {
                    v4: self.parts.optional[0],
                    v6: self.parts.optional[1],
                },
                method: self.method(),
                padding: self.parts.small[1] % 300,
            }),
        };
        let is_query = matches!(body, Body::Query(_));
        let address = SocketAddr::new(self.parts.ip, self.parts.small[0]);
        Message {
            transaction: &self.parts.transaction,
            body,
            version: self.optional(2, self.text(2)),
            network: self.optional(3, NetworkTag(self.parts.numbers[1].to_be_bytes())),
            extension: self.optional(4, u32::from(self.parts.small[2])),
            read_only: is_query && self.parts.optional[5],
            external: self.optional(6, address).filter(|_| !is_query),
        }
    }

    fn method(&self) -> Method<'_> {
        let (target, token) = (self.id(1), self.text(0));
        let listener = self.parts.numbers[0] as u64;
        let filter = self.optional(7, self.filter.as_slice());
        let port = self.parts.small[0];
        let given = Some(port).filter(|port| *port != 0 && self.parts.optional[8]);
        match self.parts.choice {
            0 => Method::Ping,
            1 => Method::FindNode { target },
            2 => Method::GetPeers { info_hash: target },
            3 => Method::AnnouncePeer {
                info_hash: target,
                port: given,
                fallback_port: given.map_or(port, |_| 0),
                token,
            },
            4 => Method::Get {
                target,
                seq: self.optional(7, self.parts.numbers[0]),
            },
            5 => Method::Put(Put {
                token,
                value: &self.value,
                mutable: self.optional(
                    7,
                    MutablePut {
                        key: &self.parts.key,
                        signature: &self.parts.signature,
                        seq: self.parts.numbers[0],
                        salt: self.text(1),
                        cas: self.optional(8, self.parts.numbers[1]),
                    },
                ),
            }),
            6 => Method::SampleInfohashes { target },
            7 => Method::ValueGet {
                target,
                filter,
                after: self.optional(8, self.text(1)),
            },
            8 => Method::ValuePut {
                target,
                token,
                record: self.text(1),
            },
            9 => Method::ValueListen {
                target,
                token,
                listener,
                filter,
            },
            10 => Method::ValueCancel {
                target,
                token,
                listener,
            },
            11 => Method::ValuePush {
                target,
                listener,
                records: Records::from_slices(&self.records),
                gone: Records::from_slices(&self.gone),
            },
            _ => Method::Unknown {
                name: b"unheard_of",
            },
        }
    }

    fn response(&self) -> Response<'_> {
        let number = self.parts.numbers[0];
        let nodes = Nodes::new(Family::V4, &self.nodes).unwrap();
        let nodes6 = Nodes::new(Family::V6, &self.nodes6).unwrap();
        let signed = (&self.parts.key, &self.parts.signature);
        let item = ItemReply {
            value: &self.value,
            signed: self.optional(15, signed),
        };
        Response {
            sender: self.id(0),
            nodes: self.optional(0, nodes),
            nodes6: self.optional(1, nodes6),
            token: self.optional(5, self.text(0)),
            peers: self.optional(7, Peers::from_slices(&self.records)),
            item: self.optional(8, item),
            seq: self.optional(9, number),
            samples: self.optional(10, Samples::new(&self.samples).unwrap()),
            interval: self.optional(11, u32::from(self.parts.small[1]) % 21_601),
            count: self.optional(12, number.unsigned_abs() >> 1),
            records: self.optional(13, Records::from_slices(&self.gone)),
            more: self.optional(14, self.text(1)),
            ttl: self.optional(9, number as u32),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_message_comes_back_and_is_canonical(parts in parts()) {
        let lent = Lent::new(&parts);
        let message = lent.message();
        let bytes = encoded(&message);
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
        prop_assert_eq!(bencode::validate(&bytes), Ok(()));
    }
}
