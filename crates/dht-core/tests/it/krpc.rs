//! Messages: their bytes, what is tolerated, and what hostile bytes do.

mod allocation;
mod hostile;
mod round_trip;
mod snapshots;
mod tolerance;

use dhtnet_dht_core::krpc::Message;

/// Every vector file of messages.
const FILES: [(&str, &str); 7] = [
    ("bep5", include_str!("../vectors/bep5-messages.txt")),
    ("bep32", include_str!("../vectors/bep32-messages.txt")),
    ("bep42", include_str!("../vectors/bep42-messages.txt")),
    ("bep43", include_str!("../vectors/bep43-messages.txt")),
    ("bep44", include_str!("../vectors/bep44-messages.txt")),
    ("bep51", include_str!("../vectors/bep51-messages.txt")),
    ("dn", include_str!("../vectors/dn-messages.txt")),
];

/// `FILE/NAME` and the bytes of every packet.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let mut vectors = Vec::new();
    for (file, text) in FILES {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, packet) = line.split_once(' ').unwrap();
            vectors.push((format!("{file}/{name}"), unescape(packet)));
        }
    }
    vectors
}

/// The bytes of a text with `\xNN` and `\\`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
                bytes.push(digit(high) << 4 | digit(low));
                rest = after;
            }
            (b'\\', _) => panic!("an escape that is not known: {text}"),
            _ => bytes.push(first),
        }
    }
    bytes
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}
