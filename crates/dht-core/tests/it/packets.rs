//! Datagrams made by hand, and what a node sends back.

use std::net::SocketAddr;

use dhtnet_dht_core::Id;
use dhtnet_dht_core::krpc::{Body, Message, Method, Query, Response, Want};

use crate::net::Net;

/// A query as the node `sender` would send it.
pub(crate) fn query(sender: Id, method: Method<'_>) -> Vec<u8> {
    query_with(sender, method, |_| {})
}

/// The same with changes.
pub(crate) fn query_with<'a>(
    sender: Id,
    method: Method<'a>,
    change: impl FnOnce(&mut Message<'a>),
) -> Vec<u8> {
    let query = Query {
        sender,
        want: Want::default(),
        method,
        padding: 0,
    };
    let mut message = Message::new(b"aa", Body::Query(query));
    change(&mut message);
    encode(&message)
}

/// An answer.
pub(crate) fn answer(transaction: &[u8], response: Response<'_>) -> Vec<u8> {
    answer_with(transaction, response, |_| {})
}

/// The same with changes.
pub(crate) fn answer_with<'a>(
    transaction: &'a [u8],
    response: Response<'a>,
    change: impl FnOnce(&mut Message<'a>),
) -> Vec<u8> {
    let mut message = Message::new(transaction, Body::Response(response));
    change(&mut message);
    encode(&message)
}

pub(crate) fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

impl Net {
    /// What a node sends to `from` at once when `datagram` comes from there.
    pub(crate) fn replies(
        &mut self,
        from: SocketAddr,
        index: usize,
        datagram: &[u8],
    ) -> Vec<Vec<u8>> {
        self.log = Some(Vec::new());
        self.inject(from, index, datagram);
        let log = self.log.take().unwrap_or_default();
        let to_asker = log
            .into_iter()
            .filter(|sent| sent.transmit.destination == from);
        to_asker.map(|sent| sent.transmit.payload).collect()
    }

    /// The code of the error that a node answers with.
    pub(crate) fn error(&mut self, from: SocketAddr, index: usize, datagram: &[u8]) -> Option<i64> {
        let replies = self.replies(from, index, datagram);
        let [reply] = replies.as_slice() else {
            assert!(replies.is_empty(), "{} datagrams", replies.len());
            return None;
        };
        match Message::decode(reply).unwrap().body {
            Body::Error(error) => Some(error.code),
            other => panic!("{other:?}"),
        }
    }

    /// The write token that a node gives to `from`.
    pub(crate) fn token(&mut self, from: SocketAddr, index: usize) -> Vec<u8> {
        let ask = Method::GetPeers {
            info_hash: Id::hash_of(b"a token, please"),
        };
        let replies = self.replies(from, index, &query(Id::hash_of(b"asker"), ask));
        match Message::decode(&replies[0]).unwrap().body {
            Body::Response(response) => response.token.unwrap().to_vec(),
            other => panic!("{other:?}"),
        }
    }
}
