//! How long one message takes to read and to write: `cargo bench -p dhtnet-dht-core`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement shows its result and looks at the clock"
)]

use std::hint::black_box;
use std::time::Instant;

use dhtnet_dht_core::krpc::{
    Body, ItemReply, MAX_MESSAGE_LEN, Message, Method, Nodes, Peers, Query, Response, Want,
};
use dhtnet_dht_core::{Family, Id};

/// Calls in a row that one reading of the clock covers.
const CALLS: u32 = 200_000;
/// Readings; the quickest is shown, since everything else on the machine only adds.
const ROUNDS: u32 = 15;

const NODES: [u8; 8 * 26] = [7; 8 * 26];
const NODES6: [u8; 8 * 38] = [7; 8 * 38];

fn message(body: Body<'static>) -> Message<'static> {
    Message {
        version: Some(b"DN\0\x01"),
        extension: Some(1),
        ..Message::new(b"aa", body)
    }
}

fn query(method: Method<'static>) -> Message<'static> {
    message(Body::Query(Query {
        sender: Id::from_bytes([1; 20]),
        want: Want { v4: true, v6: true },
        method,
        padding: 0,
    }))
}

fn answer(response: Response<'static>) -> Message<'static> {
    Message {
        external: Some(([192, 0, 2, 1], 6881).into()),
        ..message(Body::Response(Response {
            nodes: Nodes::new(Family::V4, &NODES),
            token: Some(b"a token."),
            ..response
        }))
    }
}

fn measure(mut call: impl FnMut()) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            begin.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .fold(f64::INFINITY, f64::min)
}

fn show(name: &str, message: &Message<'_>) {
    let mut packet = Vec::with_capacity(MAX_MESSAGE_LEN);
    message.encode(&mut packet);
    assert_eq!(Message::decode(&packet).as_ref(), Ok(message));
    let decode = measure(|| {
        let decoded = Message::decode(black_box(&packet));
        assert!(black_box(&decoded).is_ok());
    });
    let mut out = Vec::with_capacity(MAX_MESSAGE_LEN);
    let encode = measure(|| {
        out.clear();
        black_box(message).encode(&mut out);
        black_box(&out);
    });
    let len = packet.len();
    println!("{name:<34} {len:>5} bytes   decode {decode:>6.1} ns   encode {encode:>6.1} ns");
}

fn main() {
    let id = Id::from_bytes([2; 20]);
    let value = [&b"1000:"[..], &[b'v'; 1000]].concat().leak();
    let peers: &'static [&'static [u8]] = vec![&b"abcdef"[..]; 50].leak();
    show("ping", &query(Method::Ping));
    show("get_peers", &query(Method::GetPeers { info_hash: id }));
    show(
        "answer: 8 nodes and 8 nodes6",
        &answer(Response {
            nodes6: Nodes::new(Family::V6, &NODES6),
            ..Response::new(id)
        }),
    );
    show(
        "answer: 8 nodes and 50 peers",
        &answer(Response {
            peers: Some(Peers::from_slices(peers)),
            ..Response::new(id)
        }),
    );
    show(
        "answer: 8 nodes and a mutable item",
        &answer(Response {
            item: Some(ItemReply {
                value,
                signed: Some((&[3; 32], &[4; 64])),
            }),
            seq: Some(5),
            ..Response::new(id)
        }),
    );
}
