//! KRPC, the messages of the DHT (BEP 5): bencoded dictionaries, one in a datagram.

mod decode;
mod encode;
mod lists;
mod message;

pub use self::decode::DecodeError;
pub use self::lists::{
    Nodes, Peers, Records, Samples, compact_address_len, compact_node_len, read_compact_address,
    write_compact_address, write_compact_node,
};
pub use self::message::{
    Body, EXTENSION_VERSION, ErrorCode, ErrorReply, ItemReply, MAX_INTERVAL, MAX_TRANSACTION_LEN,
    Message, Method, MutablePut, NetworkTag, Put, Query, Response, Want,
};

/// Longest message to send, in bytes: what Ethernet's 1,500 leave after the headers of IPv6 (40)
/// and UDP (8). A value of 1,000 bytes with key, signature, token and eight nodes of IPv4 fits;
/// with eight of IPv6 it does not, so the sender leaves nodes out.
pub const MAX_MESSAGE_LEN: usize = 1452;

/// Longest datagram that is looked at, in bytes. Some nodes send lists of peers that travel in
/// fragments; two and a half Ethernet frames are enough for them, and more would only be work.
pub const MAX_RECEIVED_LEN: usize = 4096;

/// Whether a datagram may be a message: a dictionary with at least one key. Cheap, for telling it
/// from other protocols on the same socket; only [`Message::decode`] knows.
#[must_use]
pub const fn looks_like_message(datagram: &[u8]) -> bool {
    matches!(datagram, [b'd', b'0'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_with_a_key_looks_like_a_message_and_nothing_else_does() {
        for yes in [&b"d1:ad2:id"[..], b"d0"] {
            assert!(looks_like_message(yes));
        }
        for no in [
            &b""[..],
            b"d",
            b"de",
            b"d:",
            b"l1:a",
            b"\x40d1",
            b"\xc0\0\0\0\x01",
        ] {
            assert!(!looks_like_message(no));
        }
    }
}
