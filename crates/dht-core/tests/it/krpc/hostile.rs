//! Bytes that no honest node sends: cut, changed, nested, too long.

use dhtnet_dht_core::bencode;
use dhtnet_dht_core::krpc::{DecodeError, MAX_RECEIVED_LEN, Message};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::{encoded, vectors};

/// Changed packets to try.
const MUTATIONS: u32 = 1_000_000;

/// Bytes that mean something to a decoder.
const TELLING: &[u8] = b"ilde:-0123456789aqrtyv";

#[test]
fn no_packet_cut_anywhere_is_a_message() {
    for (name, bytes) in vectors() {
        for len in 0..bytes.len() {
            let cut = Message::decode(&bytes[..len]);
            assert!(
                matches!(cut, Err(DecodeError::Bencode(_))),
                "{name} cut at {len}: {cut:?}"
            );
        }
    }
}

#[test]
fn no_packet_with_something_after_it_is_a_message() {
    let trailing = DecodeError::Bencode(bencode::Error::Trailing);
    for (name, bytes) in vectors() {
        for rest in [&b"e"[..], b"\0", b"\n", b"0:", &bytes] {
            let long = [&bytes, rest].concat();
            assert_eq!(Message::decode(&long), Err(trailing), "{name}");
        }
    }
}

/// Reads what may be anything; what is accepted has to mean the same once written.
fn read(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    match Message::decode(bytes) {
        Ok(message) => {
            out.clear();
            message.encode(out);
            let again = Message::decode(out);
            assert_eq!(again, Ok(message), "{}", bytes.escape_ascii());
            true
        }
        Err(_) => false,
    }
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha20Rng) {
    let place = |len: usize, rng: &mut ChaCha20Rng| rng.next_u32() as usize % len.max(1);
    let at = place(bytes.len(), rng);
    match rng.next_u32() % 6 {
        0 => bytes[at] ^= 1 << (rng.next_u32() % 8),
        1 => bytes[at] = TELLING[place(TELLING.len(), rng)],
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, TELLING[place(TELLING.len(), rng)]),
        4 => {
            // A piece of itself comes twice.
            let end = (at + place(30, rng)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            // The rest is that of another packet.
            bytes.truncate(at);
            bytes.extend_from_slice(&other[place(other.len(), rng)..]);
        }
    }
}

#[test]
fn changed_packets_are_refused_or_mean_something() {
    let vectors = vectors();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut out = Vec::new();
    let mut bytes = Vec::new();
    let mut accepted = 0;
    for _ in 0..MUTATIONS {
        let pick = rng.next_u32() as usize;
        let other = &vectors[pick / vectors.len() % vectors.len()].1;
        bytes.clear();
        bytes.extend_from_slice(&vectors[pick % vectors.len()].1);
        for _ in 0..=rng.next_u32() % 3 {
            mutate(&mut bytes, other, &mut rng);
            if bytes.is_empty() {
                break;
            }
        }
        accepted += u32::from(read(&bytes, &mut out));
    }
    // Neither may be nothing: then the test would look at one side only.
    assert!(accepted > MUTATIONS / 20, "{accepted}");
    assert!(accepted < MUTATIONS, "{accepted}");
}

#[test]
fn nesting_is_bounded_wherever_a_value_may_stand() {
    let nest = |depth: usize| ["l".repeat(depth), "e".repeat(depth)].concat();
    let packets = |depth| {
        let value = nest(depth);
        [
            format!("d1:ad2:id20:abcdefghij01234567895:token1:x1:v{value}e1:q3:put1:t2:aa1:y1:qe"),
            format!("d1:ad2:id20:abcdefghij01234567894:want{value}e1:q4:ping1:t2:aa1:y1:qe"),
            format!("d1:ad1:?{value}2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
            format!("d1:?{value}1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"),
            format!("d1:rd2:id20:abcdefghij01234567891:v{value}e1:t2:aa1:y1:re"),
            format!("d1:rd2:id20:abcdefghij01234567896:values{value}e1:t2:aa1:y1:re"),
        ]
    };
    for packet in packets(bencode::MAX_DEPTH) {
        assert!(Message::decode(packet.as_bytes()).is_ok(), "{packet}");
    }
    let too_deep = DecodeError::Bencode(bencode::Error::TooDeep);
    for depth in [bencode::MAX_DEPTH + 2, 1_500] {
        for packet in packets(depth) {
            assert_eq!(
                Message::decode(packet.as_bytes()),
                Err(too_deep),
                "{packet}"
            );
        }
    }
}

#[test]
fn a_datagram_at_the_limit_is_read_and_one_byte_more_is_not() {
    let padded = |padding: usize| {
        let head = format!("d1:ad2:id20:abcdefghij01234567891:p{padding}:");
        let tail = "e1:q4:ping1:t2:aa1:y1:qe";
        [head.as_bytes(), &vec![0; padding], tail.as_bytes()].concat()
    };
    let padding = MAX_RECEIVED_LEN - padded(1000).len() + 1000;
    let longest = padded(padding);
    assert_eq!(longest.len(), MAX_RECEIVED_LEN);
    let message = Message::decode(&longest).unwrap();
    assert_eq!(encoded(&message), longest);
    assert_eq!(
        Message::decode(&padded(padding + 1)),
        Err(DecodeError::TooLong)
    );
    assert_eq!(Message::decode(&[b'l'; 60_000]), Err(DecodeError::TooLong));
}
