//! From a message to the bytes of a datagram, keys in their order.

use std::net::{IpAddr, SocketAddr};

use super::lists::Records;
use super::message::{Body, ErrorReply, Message, Method, Put, Query, Response};
use crate::bencode::Writer;
use crate::item::target_of;

impl Message<'_> {
    /// Appends the message in its canonical form. What it borrows is written as it is: encoded
    /// values have to be whole values.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        let writer = &mut writer;
        writer.dict();
        if let Body::Query(query) = &self.body {
            writer.bytes(b"a");
            write_arguments(writer, query);
        }
        if let Some(version) = self.extension {
            write_int(writer, b"dn", i64::from(version));
        }
        if let Body::Error(error) = &self.body {
            write_error(writer, error);
        }
        if let Some(address) = self.external {
            write_external(writer, address);
        }
        if let Some(network) = &self.network {
            write_string(writer, b"net", &network.0);
        }
        match &self.body {
            Body::Query(query) => write_string(writer, b"q", query.method.name()),
            Body::Response(response) => write_response(writer, response),
            Body::Error(_) => {}
        }
        if self.read_only {
            writer.raw(b"2:roi1e");
        }
        write_string(writer, b"t", self.transaction);
        if let Some(version) = self.version {
            write_string(writer, b"v", version);
        }
        writer.raw(match self.body {
            Body::Query(_) => b"1:y1:qe",
            Body::Response(_) => b"1:y1:re",
            Body::Error(_) => b"1:y1:ee",
        });
    }
}

fn write_string(writer: &mut Writer<'_>, key: &[u8], string: &[u8]) {
    writer.bytes(key);
    writer.bytes(string);
}

fn write_int(writer: &mut Writer<'_>, key: &[u8], number: i64) {
    writer.bytes(key);
    writer.int(number);
}

fn write_raw(writer: &mut Writer<'_>, key: &[u8], encoded: &[u8]) {
    writer.bytes(key);
    writer.raw(encoded);
}

fn write_list<'s>(writer: &mut Writer<'_>, key: &[u8], strings: impl Iterator<Item = &'s [u8]>) {
    writer.bytes(key);
    writer.list();
    for string in strings {
        writer.bytes(string);
    }
    writer.end();
}

fn write_records(writer: &mut Writer<'_>, key: &[u8], records: &Records<'_>) {
    if records.iter().next().is_some() {
        write_list(writer, key, records.iter());
    }
}

fn write_error(writer: &mut Writer<'_>, error: &ErrorReply<'_>) {
    writer.bytes(b"e");
    writer.list();
    writer.int(error.code);
    writer.bytes(error.text);
    writer.end();
}

fn write_external(writer: &mut Writer<'_>, address: SocketAddr) {
    writer.bytes(b"ip");
    match address.ip() {
        IpAddr::V4(ip) => {
            writer.string_header(6);
            writer.raw(&ip.octets());
        }
        IpAddr::V6(ip) => {
            writer.string_header(18);
            writer.raw(&ip.octets());
        }
    }
    writer.raw(&address.port().to_be_bytes());
}

fn write_arguments(writer: &mut Writer<'_>, query: &Query<'_>) {
    writer.dict();
    write_before_id(writer, &query.method);
    write_string(writer, b"id", query.sender.as_bytes());
    write_before_padding(writer, &query.method);
    if query.padding > 0 {
        writer.bytes(b"p");
        writer.zeros(usize::from(query.padding));
    }
    write_after_padding(writer, &query.method);
    match (query.want.v4, query.want.v6) {
        (true, true) => writer.raw(b"4:wantl2:n42:n6e"),
        (true, false) => writer.raw(b"4:wantl2:n4e"),
        (false, true) => writer.raw(b"4:wantl2:n6e"),
        (false, false) => {}
    }
    writer.end();
}

/// Keys up to `id`.
fn write_before_id(writer: &mut Writer<'_>, method: &Method<'_>) {
    match method {
        Method::ValueGet {
            after: Some(after), ..
        } => write_string(writer, b"after", after),
        Method::HandOver { age, .. } => write_int(writer, b"age", i64::from(*age)),
        Method::Put(Put {
            mutable: Some(mutable),
            ..
        }) => {
            if let Some(cas) = mutable.cas {
                write_int(writer, b"cas", cas);
            }
        }
        Method::ValuePush { gone, .. } => write_records(writer, b"gone", gone),
        _ => {}
    }
}

/// Keys between `id` and `p`.
fn write_before_padding(writer: &mut Writer<'_>, method: &Method<'_>) {
    match method {
        Method::GetPeers { info_hash } => {
            write_string(writer, b"info_hash", info_hash.as_bytes());
        }
        Method::AnnouncePeer {
            info_hash, port, ..
        } => {
            if port.is_none() {
                write_int(writer, b"implied_port", 1);
            }
            write_string(writer, b"info_hash", info_hash.as_bytes());
        }
        Method::Put(put) | Method::HandOver { put, .. } => {
            if let Some(mutable) = &put.mutable {
                write_string(writer, b"k", mutable.key);
            }
        }
        Method::ValueListen { listener, .. }
        | Method::ValueCancel { listener, .. }
        | Method::ValuePush { listener, .. } => {
            write_string(writer, b"lid", &listener.to_be_bytes());
        }
        _ => {}
    }
}

/// Keys between `p` and `want`.
fn write_after_padding(writer: &mut Writer<'_>, method: &Method<'_>) {
    match method {
        Method::Ping | Method::GetPeers { .. } | Method::Unknown { .. } => {}
        Method::FindNode { target } | Method::SampleInfohashes { target } => {
            write_string(writer, b"target", target.as_bytes());
        }
        Method::AnnouncePeer {
            port,
            fallback_port,
            token,
            ..
        } => {
            write_int(writer, b"port", i64::from(port.unwrap_or(*fallback_port)));
            write_string(writer, b"token", token);
        }
        Method::Get { target, seq } => {
            if let Some(seq) = seq {
                write_int(writer, b"seq", *seq);
            }
            write_string(writer, b"target", target.as_bytes());
        }
        Method::Put(put) | Method::HandOver { put, .. } => write_put(writer, put),
        Method::ValueGet { target, filter, .. } => {
            write_string(writer, b"target", target.as_bytes());
            if let Some(filter) = filter {
                write_raw(writer, b"w", filter);
            }
        }
        Method::ValuePut {
            target,
            token,
            record,
        } => {
            write_string(writer, b"rec", record);
            write_string(writer, b"target", target.as_bytes());
            write_string(writer, b"token", token);
        }
        Method::ValueListen {
            target,
            token,
            filter,
            ..
        } => {
            write_string(writer, b"target", target.as_bytes());
            write_string(writer, b"token", token);
            if let Some(filter) = filter {
                write_raw(writer, b"w", filter);
            }
        }
        Method::ValueCancel { target, token, .. } => {
            write_string(writer, b"target", target.as_bytes());
            write_string(writer, b"token", token);
        }
        Method::ValuePush {
            target, records, ..
        } => {
            write_records(writer, b"rec", records);
            write_string(writer, b"target", target.as_bytes());
        }
    }
}

fn write_put(writer: &mut Writer<'_>, put: &Put<'_>) {
    if let Some(mutable) = &put.mutable {
        if !mutable.salt.is_empty() {
            write_string(writer, b"salt", mutable.salt);
        }
        write_int(writer, b"seq", mutable.seq);
        write_string(writer, b"sig", mutable.signature);
    }
    // BEP 44 knows none here, but the crate `mainline` 8 answers no `put` without it.
    write_string(writer, b"target", target_of(put).as_bytes());
    write_string(writer, b"token", put.token);
    write_raw(writer, b"v", put.value);
}

fn write_response(writer: &mut Writer<'_>, response: &Response<'_>) {
    let signed = response.item.and_then(|item| item.signed);
    writer.bytes(b"r");
    writer.dict();
    write_string(writer, b"id", response.sender.as_bytes());
    if let Some(interval) = response.interval {
        write_int(writer, b"interval", i64::from(interval));
    }
    if let Some((key, _)) = signed {
        write_string(writer, b"k", key);
    }
    if let Some(more) = response.more {
        write_string(writer, b"more", more);
    }
    if let Some(nodes) = response.nodes {
        write_string(writer, b"nodes", nodes.as_bytes());
    }
    if let Some(nodes) = response.nodes6 {
        write_string(writer, b"nodes6", nodes.as_bytes());
    }
    if let Some(count) = response.count {
        write_int(writer, b"num", i64::try_from(count).unwrap_or(i64::MAX));
    }
    if let Some(records) = response.records {
        write_list(writer, b"rec", records.iter());
    }
    if let Some(samples) = response.samples {
        write_string(writer, b"samples", samples.as_bytes());
    }
    if let Some(seq) = response.seq {
        write_int(writer, b"seq", seq);
    }
    if let Some((_, signature)) = signed {
        write_string(writer, b"sig", signature);
    }
    if let Some(token) = response.token {
        write_string(writer, b"token", token);
    }
    if let Some(ttl) = response.ttl {
        write_int(writer, b"ttl", i64::from(ttl));
    }
    if let Some(item) = response.item {
        write_raw(writer, b"v", item.value);
    }
    if let Some(peers) = response.peers {
        write_list(writer, b"values", peers.strings());
    }
    writer.end();
}
