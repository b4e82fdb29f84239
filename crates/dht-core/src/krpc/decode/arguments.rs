//! `a`, the arguments of a query, and what each method makes of them.

use super::field::{keep, number, string};
use crate::bencode::{Error, KeyOrder, Kind, Reader};
use crate::id::Id;
use crate::item::target_of;
use crate::krpc::lists::Records;
use crate::krpc::message::{Method, MutablePut, Put, Query, Want};

/// The arguments that any method knows. Those of the value layer are still encoded: a wrong kind
/// is an error there and not an absence.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    id: Option<&'a [u8]>,
    target: Option<&'a [u8]>,
    info_hash: Option<&'a [u8]>,
    token: Option<&'a [u8]>,
    port: Option<i64>,
    implied_port: Option<i64>,
    want: Want,
    padding: u16,
    /// `v`, still encoded.
    value: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    signature: Option<&'a [u8]>,
    seq: Option<i64>,
    salt: Option<&'a [u8]>,
    cas: Option<i64>,
    age: Option<i64>,
    listener: Option<&'a [u8]>,
    /// `w`, still encoded.
    filter: Option<&'a [u8]>,
    /// `after`, still encoded.
    after: Option<&'a [u8]>,
    /// `rec`, still encoded.
    records: Option<&'a [u8]>,
    /// `gone`, still encoded.
    gone: Option<&'a [u8]>,
}

impl<'a> Arguments<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, into: &mut Self) -> Result<(), Error> {
        let mut keys = reader.dict(KeyOrder::Any)?;
        while let Some(key) = keys.next_key(reader)? {
            into.read_value(key, reader)?;
        }
        Ok(())
    }

    fn read_value(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Result<(), Error> {
        match key {
            b"id" => keep(&mut self.id, string(reader)?),
            b"target" => keep(&mut self.target, string(reader)?),
            b"info_hash" => keep(&mut self.info_hash, string(reader)?),
            b"token" => keep(&mut self.token, string(reader)?),
            b"port" => keep(&mut self.port, number(reader)?),
            b"implied_port" => keep(&mut self.implied_port, number(reader)?),
            b"want" => self.read_want(reader)?,
            b"p" => {
                let padding = string(reader)?.map_or(0, <[u8]>::len);
                self.padding = self.padding.max(u16::try_from(padding).unwrap_or(u16::MAX));
            }
            b"v" => keep(&mut self.value, Some(reader.raw()?)),
            b"k" => keep(&mut self.key, string(reader)?),
            b"sig" => keep(&mut self.signature, string(reader)?),
            b"seq" => keep(&mut self.seq, number(reader)?),
            b"salt" => keep(&mut self.salt, string(reader)?),
            b"cas" => keep(&mut self.cas, number(reader)?),
            b"age" => keep(&mut self.age, number(reader)?),
            b"lid" => keep(&mut self.listener, string(reader)?),
            b"w" => keep(&mut self.filter, Some(reader.raw()?)),
            b"after" => keep(&mut self.after, Some(reader.raw()?)),
            b"rec" => keep(&mut self.records, Some(reader.raw()?)),
            b"gone" => keep(&mut self.gone, Some(reader.raw()?)),
            _ => reader.skip()?,
        }
        Ok(())
    }

    /// A list of names; those that are unknown mean nothing.
    fn read_want(&mut self, reader: &mut Reader<'a>) -> Result<(), Error> {
        if reader.kind() != Some(Kind::List) {
            return reader.skip();
        }
        reader.list()?;
        while reader.has_item()? {
            match string(reader)? {
                Some(b"n4") => self.want.v4 = true,
                Some(b"n6") => self.want.v6 = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// The query of the method `name`, or the argument that it lacks.
    pub(super) fn query(&self, name: &'a [u8]) -> Result<Query<'a>, &'static str> {
        Ok(Query {
            sender: self.id.and_then(Id::from_slice).ok_or("a.id")?,
            want: self.want,
            method: self.method(name)?,
            padding: self.padding,
        })
    }

    fn method(&self, name: &'a [u8]) -> Result<Method<'a>, &'static str> {
        Ok(match name {
            b"ping" => Method::Ping,
            b"find_node" => Method::FindNode {
                target: self.target()?,
            },
            b"get_peers" => Method::GetPeers {
                info_hash: self.info_hash()?,
            },
            b"announce_peer" => self.announce_peer()?,
            b"get" => Method::Get {
                target: self.target()?,
                seq: self.seq,
            },
            b"put" => {
                let mut put = self.put()?;
                match self.age {
                    None => Method::Put(put),
                    Some(age) => {
                        let age = u32::try_from(age.max(0)).unwrap_or(u32::MAX);
                        // Who passes an item on has no say in what it takes the place of.
                        if let Some(mutable) = &mut put.mutable {
                            mutable.cas = None;
                        }
                        Method::HandOver { put, age }
                    }
                }
            }
            b"sample_infohashes" => Method::SampleInfohashes {
                target: self.target()?,
            },
            b"dn_get" => Method::ValueGet {
                target: self.target()?,
                filter: self.filter()?,
                after: self.after()?,
            },
            b"dn_put" => Method::ValuePut {
                target: self.target()?,
                token: self.token()?,
                record: self.record()?,
            },
            b"dn_listen" => Method::ValueListen {
                target: self.target()?,
                token: self.token()?,
                listener: self.listener()?,
                filter: self.filter()?,
            },
            b"dn_cancel" => Method::ValueCancel {
                target: self.target()?,
                token: self.token()?,
                listener: self.listener()?,
            },
            b"dn_push" => Method::ValuePush {
                target: self.target()?,
                listener: self.listener()?,
                records: list(self.records).ok_or("a.rec")?,
                gone: list(self.gone).ok_or("a.gone")?,
            },
            _ => Method::Unknown { name },
        })
    }

    fn announce_peer(&self) -> Result<Method<'a>, &'static str> {
        let stated = self.port.and_then(|port| u16::try_from(port).ok());
        let is_implied = self.implied_port.is_some_and(|flag| flag != 0);
        let (port, fallback_port) = if is_implied {
            (None, stated.unwrap_or(0))
        } else {
            (Some(stated.filter(|port| *port != 0).ok_or("a.port")?), 0)
        };
        Ok(Method::AnnouncePeer {
            info_hash: self.info_hash()?,
            port,
            fallback_port,
            token: self.token()?,
        })
    }

    fn put(&self) -> Result<Put<'a>, &'static str> {
        let mutable = match self.key {
            None => None,
            Some(key) => Some(MutablePut {
                key: key.try_into().map_err(|_| "a.k")?,
                signature: self
                    .signature
                    .and_then(|signature| signature.try_into().ok())
                    .ok_or("a.sig")?,
                seq: self.seq.ok_or("a.seq")?,
                salt: self.salt.unwrap_or_default(),
                cas: self.cas,
            }),
        };
        let put = Put {
            token: self.token()?,
            value: self.value.ok_or("a.v")?,
            mutable,
        };
        // It is not needed, but who says another would look for the item elsewhere.
        match self.target {
            Some(target) if target != target_of(&put).as_bytes() => Err("a.target"),
            _ => Ok(put),
        }
    }

    fn target(&self) -> Result<Id, &'static str> {
        self.target.and_then(Id::from_slice).ok_or("a.target")
    }

    fn info_hash(&self) -> Result<Id, &'static str> {
        self.info_hash.and_then(Id::from_slice).ok_or("a.info_hash")
    }

    fn token(&self) -> Result<&'a [u8], &'static str> {
        self.token.ok_or("a.token")
    }

    fn listener(&self) -> Result<u64, &'static str> {
        self.listener
            .and_then(|listener| listener.try_into().ok())
            .map(u64::from_be_bytes)
            .ok_or("a.lid")
    }

    /// None where there is none; an error where it is no dictionary, since an answer without the
    /// filter would be another one than was asked for.
    fn filter(&self) -> Result<Option<&'a [u8]>, &'static str> {
        match self.filter {
            Some([b'd', ..]) | None => Ok(self.filter),
            Some(_) => Err("a.w"),
        }
    }

    fn after(&self) -> Result<Option<&'a [u8]>, &'static str> {
        self.after
            .map(|after| Reader::new(after).bytes().map_err(|_| "a.after"))
            .transpose()
    }

    fn record(&self) -> Result<&'a [u8], &'static str> {
        let record = self.records.ok_or("a.rec")?;
        Reader::new(record).bytes().map_err(|_| "a.rec")
    }
}

/// A list of byte strings, empty where there is none; none where it is something else.
fn list(encoded: Option<&[u8]>) -> Option<Records<'_>> {
    let Some(encoded) = encoded else {
        return Some(Records::from_slices(&[]));
    };
    let strings = Reader::new(encoded).string_list().ok()??;
    Some(Records::from_encoded(strings))
}
