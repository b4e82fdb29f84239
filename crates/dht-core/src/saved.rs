//! What a node keeps on disk: known nodes, its ids, and its own permanent values.
//!
//! This is the codec alone; the caller writes the bytes to a file that is there whole or not at
//! all. The form, all numbers big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `dhtstate` |
//! | 4 | version, 1 |
//! | 4 | CRC-32C of all that follows |
//! | rest | a canonical bencoded dictionary |
//!
//! | key | value |
//! |---|---|
//! | `id4`, `id6` | the id in that family: `id`, and `ip`, the external address that it was made for |
//! | `net` | 8 bytes of the private network; absent on the public one |
//! | `nodes` | list of nodes: compact, 26 or 38 bytes, and a byte: 1 if it speaks the value layer |
//! | `puts` | list of byte strings |
//!
//! Keys that a reader does not know are passed over.

use std::net::{IpAddr, SocketAddr};

use crate::address::{Contact, Family, canonical};
use crate::bencode::{self, KeyOrder, Reader, Writer};
use crate::id::{ID_LEN, Id};
use crate::krpc::{NetworkTag, read_compact_address, write_compact_node};

/// Most nodes that are saved: 25 full buckets, of which some live long enough to come back to.
pub const MAX_SAVED_NODES: usize = 200;

/// Most permanent puts that are saved. A node must not take on more, or the rest is not saved.
pub const MAX_SAVED_PUTS: usize = 10_000;

/// What every file of this kind begins with.
const MARK: &[u8; 8] = b"dhtstate";

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Bytes before the dictionary.
const HEADER_LEN: usize = MARK.len() + 8;

/// The byte after a node that speaks the value layer; 0 for others.
const SPEAKS_VALUES: u8 = 1;

/// A node's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedState {
    /// Nodes to come back to, the best first; [`MAX_SAVED_NODES`] of them are saved.
    pub nodes: Vec<SavedNode>,
    /// The own ids by [`Family::index`].
    pub ids: [Option<SavedId>; 2],
    /// Own permanent puts, each as its owner encodes it; [`MAX_SAVED_PUTS`] of them are saved.
    pub permanent: Vec<Vec<u8>>,
    /// The private network; none on the public one.
    pub network: Option<NetworkTag>,
}

/// A node to come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedNode {
    /// Its id and address.
    pub contact: Contact,
    /// Whether it spoke the value layer.
    pub extension: bool,
}

/// An own id. It stays valid as long as the external address is what it was (BEP 42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedId {
    /// The id.
    pub id: Id,
    /// The address of its family that it was made for; none if none was known.
    pub external: Option<IpAddr>,
}

/// Why bytes are no usable state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// They are something else.
    #[error("not a file of DHT state")]
    Foreign,
    /// They are of a version that is not known here.
    #[error("version {0} of the format is not known")]
    Version(u32),
    /// Their end is missing, or they were changed.
    #[error("the file is incomplete or damaged")]
    Damaged,
    /// The checksum is right, and yet it is no bencoding.
    #[error("not as it should be encoded")]
    Encoding(#[from] bencode::Error),
    /// A field has a wrong length or content.
    #[error("the field {0:?} is not as it should be")]
    Field(&'static str),
    /// More entries than are ever written.
    #[error("the field {0:?} has too many entries")]
    TooMany(&'static str),
    /// It is the state of a node of another network.
    #[error("the state belongs to another network")]
    OtherNetwork,
}

impl SavedState {
    /// The bytes of a file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut writer = Writer::new(&mut body);
        writer.dict();
        for (id, key) in self.ids.iter().zip([b"id4", b"id6"]) {
            if let Some(id) = id {
                writer.bytes(key);
                encode_id(&mut writer, id);
            }
        }
        if let Some(NetworkTag(tag)) = &self.network {
            writer.bytes(b"net");
            writer.bytes(tag);
        }
        writer.bytes(b"nodes");
        writer.list();
        let mut entry = Vec::new();
        for node in self.nodes.iter().take(MAX_SAVED_NODES) {
            entry.clear();
            let address = canonical(node.contact.address);
            write_compact_node(&mut entry, &Contact::new(node.contact.id, address));
            entry.push(if node.extension { SPEAKS_VALUES } else { 0 });
            writer.bytes(&entry);
        }
        writer.end();
        writer.bytes(b"puts");
        writer.list();
        for put in self.permanent.iter().take(MAX_SAVED_PUTS) {
            writer.bytes(put);
        }
        writer.end();
        writer.end();

        let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads what [`Self::encode`] wrote, of any network.
    ///
    /// # Errors
    /// [`SavedError`], but not [`SavedError::OtherNetwork`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SavedError> {
        let mut reader = Reader::new(check_header(bytes)?);
        let mut state = Self::default();
        let mut keys = reader.dict(KeyOrder::Canonical)?;
        while let Some(key) = keys.next_key(&mut reader)? {
            match key {
                b"id4" => state.ids[0] = Some(decode_id(&mut reader, Family::V4)?),
                b"id6" => state.ids[1] = Some(decode_id(&mut reader, Family::V6)?),
                b"net" => {
                    let tag = reader.bytes()?.try_into();
                    let tag = tag.map_err(|_| SavedError::Field("net"))?;
                    state.network = Some(NetworkTag(tag));
                }
                b"nodes" => state.nodes = decode_nodes(&mut reader)?,
                b"puts" => state.permanent = decode_puts(&mut reader)?,
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        Ok(state)
    }

    /// Reads the state of a node of `network`; none is the public one.
    ///
    /// # Errors
    /// [`SavedError`].
    pub fn decode_for(bytes: &[u8], network: Option<NetworkTag>) -> Result<Self, SavedError> {
        let state = Self::decode(bytes)?;
        if state.network == network {
            Ok(state)
        } else {
            Err(SavedError::OtherNetwork)
        }
    }
}

/// The dictionary after a header that is right.
fn check_header(bytes: &[u8]) -> Result<&[u8], SavedError> {
    let (mark, rest) = bytes.split_at(bytes.len().min(MARK.len()));
    if !MARK.starts_with(mark) {
        return Err(SavedError::Foreign);
    }
    let (version, rest) = rest.split_first_chunk().ok_or(SavedError::Damaged)?;
    let (checksum, body) = rest.split_first_chunk().ok_or(SavedError::Damaged)?;
    let version = u32::from_be_bytes(*version);
    if version != VERSION {
        return Err(SavedError::Version(version));
    }
    if crc32c::crc32c(body) != u32::from_be_bytes(*checksum) {
        return Err(SavedError::Damaged);
    }
    Ok(body)
}

fn encode_id(writer: &mut Writer<'_>, saved: &SavedId) {
    writer.dict();
    writer.bytes(b"id");
    writer.bytes(saved.id.as_bytes());
    if let Some(external) = saved.external {
        writer.bytes(b"ip");
        match external.to_canonical() {
            IpAddr::V4(v4) => writer.bytes(&v4.octets()),
            IpAddr::V6(v6) => writer.bytes(&v6.octets()),
        }
    }
    writer.end();
}

fn decode_id(reader: &mut Reader<'_>, family: Family) -> Result<SavedId, SavedError> {
    let (mut id, mut external) = (None, None);
    let mut keys = reader.dict(KeyOrder::Canonical)?;
    while let Some(key) = keys.next_key(reader)? {
        match key {
            b"id" => id = Id::from_slice(reader.bytes()?),
            b"ip" => {
                let ip = decode_ip(reader.bytes()?, family);
                external = Some(ip.ok_or(SavedError::Field("ip"))?);
            }
            _ => reader.skip()?,
        }
    }
    let id = id.ok_or(SavedError::Field("id"))?;
    Ok(SavedId { id, external })
}

fn decode_ip(bytes: &[u8], family: Family) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        Family::V6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    })
}

fn decode_nodes(reader: &mut Reader<'_>) -> Result<Vec<SavedNode>, SavedError> {
    let mut nodes = Vec::new();
    reader.list()?;
    while reader.has_item()? {
        if nodes.len() == MAX_SAVED_NODES {
            return Err(SavedError::TooMany("nodes"));
        }
        let node = decode_node(reader.bytes()?);
        nodes.push(node.ok_or(SavedError::Field("nodes"))?);
    }
    Ok(nodes)
}

fn decode_node(bytes: &[u8]) -> Option<SavedNode> {
    let (&extension, compact) = bytes.split_last()?;
    let (id, address) = compact.split_at_checked(ID_LEN)?;
    let address: SocketAddr = read_compact_address(address)?;
    // None that can be sent to was ever written otherwise.
    if address.port() == 0 || address != canonical(address) {
        return None;
    }
    Some(SavedNode {
        contact: Contact::new(Id::from_slice(id)?, address),
        extension: extension == SPEAKS_VALUES,
    })
}

fn decode_puts(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, SavedError> {
    let mut puts = Vec::new();
    reader.list()?;
    while reader.has_item()? {
        if puts.len() == MAX_SAVED_PUTS {
            return Err(SavedError::TooMany("puts"));
        }
        puts.push(reader.bytes()?.to_vec());
    }
    Ok(puts)
}

#[cfg(test)]
mod tests;
