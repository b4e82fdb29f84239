//! `r`, what an answer says. Only the id has to be there: which fields are missed is for the
//! asker to find.

use super::field::{keep, number, string};
use crate::address::Family;
use crate::bencode::{Error, KeyOrder, Reader};
use crate::id::Id;
use crate::krpc::lists::{Nodes, Peers, Records, Samples};
use crate::krpc::message::{ItemReply, MAX_INTERVAL, Response};

/// The fields as they come.
#[derive(Default)]
pub(super) struct Answer<'a> {
    id: Option<Id>,
    nodes: Option<Nodes<'a>>,
    nodes6: Option<Nodes<'a>>,
    token: Option<&'a [u8]>,
    peers: Option<Peers<'a>>,
    /// `v`, still encoded.
    value: Option<&'a [u8]>,
    key: Option<&'a [u8; 32]>,
    signature: Option<&'a [u8; 64]>,
    seq: Option<i64>,
    samples: Option<Samples<'a>>,
    interval: Option<u32>,
    count: Option<u64>,
    records: Option<Records<'a>>,
    more: Option<&'a [u8]>,
    ttl: Option<u32>,
}

impl<'a> Answer<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, into: &mut Self) -> Result<(), Error> {
        let mut keys = reader.dict(KeyOrder::Any)?;
        while let Some(key) = keys.next_key(reader)? {
            into.read_value(key, reader)?;
        }
        Ok(())
    }

    fn read_value(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Result<(), Error> {
        match key {
            b"id" => keep(&mut self.id, string(reader)?.and_then(Id::from_slice)),
            b"nodes" => keep(&mut self.nodes, nodes(Family::V4, reader)?),
            b"nodes6" => keep(&mut self.nodes6, nodes(Family::V6, reader)?),
            b"token" => keep(&mut self.token, string(reader)?),
            b"values" => {
                let peers = reader.string_list()?.map(Peers::from_encoded);
                keep(&mut self.peers, peers);
            }
            b"v" => keep(&mut self.value, Some(reader.raw()?)),
            b"k" => keep(&mut self.key, exactly(reader)?),
            b"sig" => keep(&mut self.signature, exactly(reader)?),
            b"seq" => keep(&mut self.seq, number(reader)?),
            b"samples" => keep(&mut self.samples, string(reader)?.and_then(Samples::new)),
            b"interval" => {
                let interval = number(reader)?.and_then(|seconds| u32::try_from(seconds).ok());
                keep(&mut self.interval, interval.map(|s| s.min(MAX_INTERVAL)));
            }
            b"num" => {
                let count = number(reader)?.and_then(|count| u64::try_from(count).ok());
                keep(&mut self.count, count);
            }
            b"rec" => {
                let records = reader.string_list()?.map(Records::from_encoded);
                keep(&mut self.records, records);
            }
            b"more" => keep(&mut self.more, string(reader)?),
            b"ttl" => {
                let ttl = number(reader)?.and_then(|seconds| u32::try_from(seconds).ok());
                keep(&mut self.ttl, ttl);
            }
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// None without an id of 20 bytes.
    pub(super) fn response(&self) -> Option<Response<'a>> {
        Some(Response {
            sender: self.id?,
            nodes: self.nodes,
            nodes6: self.nodes6,
            token: self.token,
            peers: self.peers,
            item: self.value.map(|value| ItemReply {
                value,
                signed: self.key.zip(self.signature),
            }),
            seq: self.seq,
            samples: self.samples,
            interval: self.interval,
            count: self.count,
            records: self.records,
            more: self.more,
            ttl: self.ttl,
        })
    }
}

/// A list that is not a whole number of nodes counts as absent.
fn nodes<'a>(family: Family, reader: &mut Reader<'a>) -> Result<Option<Nodes<'a>>, Error> {
    Ok(string(reader)?.and_then(|bytes| Nodes::new(family, bytes)))
}

fn exactly<'a, const LEN: usize>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8; LEN]>, Error> {
    Ok(string(reader)?.and_then(|bytes| bytes.try_into().ok()))
}
