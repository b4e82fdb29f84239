//! Reading allocates nothing, and writing into a buffer that is large enough does not either.

use dhtnet_dht_core::krpc::{MAX_MESSAGE_LEN, Message};

use super::vectors;
use crate::allocator::allocations;

#[test]
fn no_message_costs_an_allocation() {
    assert_eq!(allocations(|| drop(Vec::<u8>::with_capacity(10))), 1);
    let mut out = Vec::with_capacity(MAX_MESSAGE_LEN);
    for (name, bytes) in vectors() {
        let count = allocations(|| {
            let message = Message::decode(&bytes).unwrap();
            out.clear();
            message.encode(&mut out);
        });
        assert_eq!(count, 0, "{name}");
        assert_eq!(out, bytes, "{name}");
    }
}

#[test]
fn no_refusal_costs_an_allocation() {
    let deep = vec![b'l'; 4096];
    let refused: [&[u8]; 5] = [
        b"",
        b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
        b"d1:rde1:t2:aa1:y1:re",
        b"d1:y1:qe",
        &deep,
    ];
    for bytes in refused {
        let count = allocations(|| assert!(Message::decode(bytes).is_err()));
        assert_eq!(count, 0, "{}", bytes.escape_ascii());
    }
}
