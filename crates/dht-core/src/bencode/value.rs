//! A value as a tree that owns its parts, for tools and tests.

use std::collections::BTreeMap;
use std::fmt;

use super::{Error, KeyOrder, Kind, Reader, Writer, scan};

/// A value. As long as it came from [`Value::decode`], it is at most
/// [`MAX_DEPTH`](super::MAX_DEPTH) levels deep.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A dictionary.
    Dict(BTreeMap<Vec<u8>, Value>),
}

impl Value {
    /// Reads exactly one value. Keys may stand in any order; of a key that comes twice the first
    /// counts.
    ///
    /// # Errors
    /// Where it is malformed, an integer has more than 64 bits, or bytes follow it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        // Checks the depth, so that what follows cannot recurse further.
        if scan::value_end(bytes, 0, KeyOrder::Any)? != bytes.len() {
            return Err(Error::Trailing);
        }
        Self::read(&mut Reader::new(bytes))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(match reader.kind().ok_or(Error::WrongKind)? {
            Kind::Int => Self::Int(reader.int()?),
            Kind::Bytes => Self::Bytes(reader.bytes()?.to_vec()),
            Kind::List => {
                let mut items = Vec::new();
                reader.list()?;
                while reader.has_item()? {
                    items.push(Self::read(reader)?);
                }
                Self::List(items)
            }
            Kind::Dict => {
                let mut entries = BTreeMap::new();
                let mut keys = reader.dict(KeyOrder::Any)?;
                while let Some(key) = keys.next_key(reader)? {
                    let value = Self::read(reader)?;
                    entries.entry(key.to_vec()).or_insert(value);
                }
                Self::Dict(entries)
            }
        })
    }

    /// Appends the value in its canonical form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(&mut Writer::new(out));
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Int(number) => writer.int(*number),
            Self::Bytes(bytes) => writer.bytes(bytes),
            Self::List(items) => {
                writer.list();
                for item in items {
                    item.write(writer);
                }
                writer.end();
            }
            Self::Dict(entries) => {
                writer.dict();
                for (key, value) in entries {
                    writer.bytes(key);
                    value.write(writer);
                }
                writer.end();
            }
        }
    }
}

/// Readable text: `{"a": 1, "b": ["text", 0x00ff]}`. Strings that are not printable ASCII are
/// shown in hexadecimal.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => write_string(f, bytes),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Self::Dict(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    write_string(f, key)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if bytes.iter().all(printable) {
        return write!(f, "\"{}\"", bytes.escape_ascii());
    }
    f.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
