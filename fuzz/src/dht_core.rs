//! Decoders of the dht-core crate, and a node as a whole.

mod files;
mod items;
mod node;
mod values;

use dhtnet_dht_core::Family;
use dhtnet_dht_core::bencode::{self, Reader, Value};
use dhtnet_dht_core::krpc::{Body, Message, Method};

pub(crate) use self::files::{blocklist, saved_state};
pub(crate) use self::items::{mutable_item, publication};
pub(crate) use self::node::dht_node;
pub(crate) use self::values::{
    split_joiner, value_fields, value_key, value_query, value_query_text, value_record,
};

pub(crate) fn bencode(input: &[u8]) {
    let is_canonical = bencode::validate(input).is_ok();
    let mut reader = Reader::new(input);
    let is_whole = reader.skip().is_ok() && reader.finish().is_ok();
    assert!(!is_canonical || is_whole, "what is canonical can be read");
    match Value::decode(input) {
        Ok(value) => {
            assert!(is_whole, "a tree is one whole value");
            let mut encoded = Vec::new();
            value.encode(&mut encoded);
            assert_eq!(bencode::validate(&encoded), Ok(()), "own value");
            assert_eq!(Value::decode(&encoded).as_ref(), Ok(&value));
            assert!(!value.to_string().is_empty());
            assert_eq!(encoded == input, is_canonical, "one canonical form");
        }
        Err(error) => assert!(
            !is_whole || error == bencode::Error::TooBig,
            "only the size of its integers may stand between a value and its tree"
        ),
    }
}

pub(crate) fn krpc(input: &[u8]) {
    let Ok(message) = Message::decode(input) else {
        return;
    };
    read_lists(&message);
    let mut encoded = Vec::new();
    message.encode(&mut encoded);
    let again = Message::decode(&encoded).expect("own message decodes");
    assert_eq!(again, message);
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(twice, encoded);
}

/// Lists are read only when somebody looks.
fn read_lists(message: &Message<'_>) {
    match message.body {
        Body::Response(response) => {
            for nodes in [response.nodes, response.nodes6].into_iter().flatten() {
                for node in nodes.iter() {
                    assert_ne!(node.address.port(), 0, "it can be sent to");
                }
            }
            for family in [Family::V4, Family::V6] {
                for peer in response.peers.iter().flat_map(|peers| peers.iter(family)) {
                    assert_ne!(peer.port(), 0, "it can be sent to");
                }
            }
            let bytes = response
                .samples
                .map_or(0, |samples| samples.as_bytes().len());
            let count = response.samples.map_or(0, |samples| samples.iter().count());
            assert_eq!(bytes, count * 20, "every sample is read");
        }
        Body::Query(query) => {
            if let Method::Put(put) = query.method {
                let mut reader = Reader::new(put.value);
                assert_eq!(reader.skip(), Ok(()), "a value is whole");
                assert_eq!(reader.finish(), Ok(()), "a value is one");
            }
        }
        Body::Error(_) => {}
    }
}
