//! Lists inside a message, read in place: compact nodes, compact peers, samples, records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::{Contact, Family};
use crate::bencode::Reader;
use crate::id::{ID_LEN, Id};

/// Bytes of a compact node: an id, an address, a port.
pub const fn compact_node_len(family: Family) -> usize {
    ID_LEN + compact_address_len(family)
}

/// Bytes of a compact address: an address, a port.
pub const fn compact_address_len(family: Family) -> usize {
    match family {
        Family::V4 => 6,
        Family::V6 => 18,
    }
}

/// The address in 6 or 18 bytes, if the length is right.
#[must_use]
pub fn read_compact_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = match bytes.len() {
        6 => {
            let octets: [u8; 4] = bytes[..4].try_into().ok()?;
            (IpAddr::V4(Ipv4Addr::from(octets)), &bytes[4..])
        }
        18 => {
            let octets: [u8; 16] = bytes[..16].try_into().ok()?;
            (IpAddr::V6(Ipv6Addr::from(octets)), &bytes[16..])
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(port.try_into().ok()?);
    Some(SocketAddr::new(ip, port))
}

/// Appends 6 or 18 bytes.
pub fn write_compact_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// Appends 26 or 38 bytes.
pub fn write_compact_node(out: &mut Vec<u8>, contact: &Contact) {
    out.extend_from_slice(contact.id.as_bytes());
    write_compact_address(out, contact.address);
}

/// Nodes of one family in compact form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nodes<'a> {
    family: Family,
    bytes: &'a [u8],
}

impl<'a> Nodes<'a> {
    /// None where `bytes` is not a whole number of nodes.
    #[must_use]
    pub fn new(family: Family, bytes: &'a [u8]) -> Option<Self> {
        bytes
            .len()
            .is_multiple_of(compact_node_len(family))
            .then_some(Self { family, bytes })
    }

    /// The family of every node in it.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The bytes as they travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The nodes that can be sent to: port 0 and unspecified or multicast addresses are left out.
    pub fn iter(&self) -> impl Iterator<Item = Contact> + use<'a> {
        self.bytes
            .chunks_exact(compact_node_len(self.family))
            .filter_map(|node| {
                let (id, address) = node.split_at(ID_LEN);
                let address = read_compact_address(address)?;
                let ip = address.ip();
                let usable = address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
                usable.then(|| Id::from_slice(id).map(|id| Contact::new(id, address)))?
            })
    }
}

/// Info hashes, 20 bytes each (BEP 51).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Samples<'a>(&'a [u8]);

impl<'a> Samples<'a> {
    /// None where `bytes` is not a whole number of info hashes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(ID_LEN).then_some(Self(bytes))
    }

    /// The bytes as they travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The info hashes.
    pub fn iter(&self) -> impl Iterator<Item = Id> + use<'a> {
        self.0.chunks_exact(ID_LEN).filter_map(Id::from_slice)
    }
}

/// A list of byte strings: still bencoded on the way in, slices on the way out.
#[derive(Debug, Clone, Copy)]
enum Strings<'a> {
    /// What stands between `l` and `e`. The decoder has checked it.
    Encoded(&'a [u8]),
    /// To be encoded.
    Slices(&'a [&'a [u8]]),
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self {
            Self::Encoded(rest) => {
                let mut reader = Reader::new(rest);
                let string = reader.bytes().ok()?;
                *rest = reader.rest();
                Some(string)
            }
            Self::Slices(slices) => {
                let (first, rest) = slices.split_first()?;
                *slices = rest;
                Some(first)
            }
        }
    }
}

/// Peers, each a byte string of 6 or 18 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Peers<'a>(Strings<'a>);

impl<'a> Peers<'a> {
    /// The peers in compact form, each 6 or 18 bytes.
    #[must_use]
    pub const fn from_slices(peers: &'a [&'a [u8]]) -> Self {
        Self(Strings::Slices(peers))
    }

    /// What stands between `l` and `e` of a list of byte strings.
    pub(super) const fn from_encoded(bytes: &'a [u8]) -> Self {
        Self(Strings::Encoded(bytes))
    }

    /// The byte strings as they are.
    pub fn strings(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0
    }

    /// The peers of `family` that can be sent to: those of the other family and with port 0 are
    /// left out.
    pub fn iter(&self, family: Family) -> impl Iterator<Item = SocketAddr> + use<'a> {
        self.0
            .filter(move |peer| peer.len() == compact_address_len(family))
            .filter_map(read_compact_address)
            .filter(|address| address.port() != 0 && !address.ip().is_unspecified())
    }
}

impl PartialEq for Peers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq(other.0)
    }
}

impl Eq for Peers<'_> {}

/// Encoded values or keys of values, each a byte string.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a>(Strings<'a>);

impl<'a> Records<'a> {
    /// The records, each encoded.
    #[must_use]
    pub const fn from_slices(records: &'a [&'a [u8]]) -> Self {
        Self(Strings::Slices(records))
    }

    /// What stands between `l` and `e` of a list of byte strings.
    pub(super) const fn from_encoded(bytes: &'a [u8]) -> Self {
        Self(Strings::Encoded(bytes))
    }

    /// The records, each encoded.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0
    }
}

impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq(other.0)
    }
}

impl Eq for Records<'_> {}
