//! A record with some of its fields: what a query that selects is answered with.

use super::query::{Field, Select};
use super::record::{Body, DecodeError, MAX_RECORD_LEN, OwnerKey, ValueId, ValueType};
use super::split;
use super::time::UnixTime;
use crate::bencode::{KeyOrder, Reader, Writer};
use crate::id::{ID_LEN, Id};

/// The fields of a value that were asked for and that it has. Nothing vouches for them but the
/// node that sent them: the signature covers the whole record only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FieldRecord {
    pub(super) id: Option<ValueId>,
    pub(super) kind: Option<ValueType>,
    pub(super) expiry: Option<UnixTime>,
    pub(super) owner: Option<OwnerKey>,
    pub(super) seq: Option<u64>,
    pub(super) body: Option<Body>,
    pub(super) is_sealed: bool,
    pub(super) signature: Option<[u8; 64]>,
}

impl FieldRecord {
    /// Reads the answer to a query that selects.
    ///
    /// # Errors
    /// [`DecodeError`], for anything but the canonical form.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let fields = Self::read(record, MAX_RECORD_LEN)?;
        if fields.signature.is_some() {
            return Err(DecodeError::Field('s'));
        }
        Ok(fields)
    }

    /// The id.
    #[must_use]
    pub const fn id(&self) -> Option<ValueId> {
        self.id
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Option<ValueType> {
        self.kind
    }

    /// When the value expires.
    #[must_use]
    pub const fn expiry(&self) -> Option<UnixTime> {
        self.expiry
    }

    /// The owner.
    #[must_use]
    pub const fn owner(&self) -> Option<OwnerKey> {
        self.owner
    }

    /// The sequence number.
    #[must_use]
    pub const fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// The body.
    #[must_use]
    pub const fn body(&self) -> Option<&Body> {
        self.body.as_ref()
    }

    /// Whether the body is encrypted to somebody. It goes with the body.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Leaves the selected fields.
    pub(super) fn keep(&mut self, select: Select) {
        let has = |field| select.contains(field);
        self.id = self.id.filter(|_| has(Field::Id));
        self.kind = self.kind.filter(|_| has(Field::Type));
        self.expiry = self.expiry.filter(|_| has(Field::Expiry));
        self.owner = self.owner.filter(|_| has(Field::Owner));
        self.seq = self.seq.filter(|_| has(Field::Seq));
        self.body = self.body.take().filter(|_| has(Field::Body));
        self.is_sealed &= has(Field::Body);
        self.signature = None;
    }

    /// The dictionary: what [`FieldRecord::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Appends the dictionary, keys ascending.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.dict();
        if let Some(Body::Inline(bytes)) = &self.body {
            writer.bytes(b"b");
            writer.bytes(bytes);
        }
        if self.body == Some(Body::Removed) {
            write_int(&mut writer, b"d", 1);
        }
        if let Some(UnixTime(expiry)) = self.expiry {
            write_int(&mut writer, b"e", expiry);
        }
        if let Some(Body::Split { parts, .. }) = &self.body {
            writer.bytes(b"h");
            writer.string_header(parts.len() * ID_LEN);
            for part in parts {
                writer.raw(part.as_bytes());
            }
        }
        if let Some(ValueId(id)) = self.id {
            writer.bytes(b"i");
            writer.bytes(&id.to_be_bytes());
        }
        if let Some(OwnerKey(owner)) = &self.owner {
            writer.bytes(b"k");
            writer.bytes(owner);
        }
        if let Some(Body::Split { len, .. }) = self.body {
            write_int(&mut writer, b"l", len.into());
        }
        if let Some(seq) = self.seq {
            write_int(&mut writer, b"n", seq);
        }
        if let Some(signature) = &self.signature {
            writer.bytes(b"s");
            writer.bytes(signature);
        }
        if let Some(ValueType(kind)) = self.kind {
            write_int(&mut writer, b"t", kind.into());
        }
        if self.is_sealed {
            write_int(&mut writer, b"x", 1);
        }
        writer.end();
    }

    /// Reads a dictionary of at most `max` bytes with any of the fields.
    pub(super) fn read(record: &[u8], max: usize) -> Result<Self, DecodeError> {
        if record.len() > max {
            let found = record.len();
            return Err(DecodeError::TooLong { found, max });
        }
        let mut fields = Self::default();
        let mut bodies = Bodies::default();
        let mut reader = Reader::new(record);
        let mut keys = reader.dict(KeyOrder::Canonical)?;
        while let Some(key) = keys.next_key(&mut reader)? {
            match key {
                b"b" => bodies.inline = Some(reader.bytes()?),
                b"d" => bodies.removed = read_one(&mut reader, 'd')?,
                b"e" => fields.expiry = Some(UnixTime(read_int(&mut reader, 'e')?)),
                b"h" => bodies.parts = Some(reader.bytes()?),
                b"i" => {
                    let id = u64::from_be_bytes(read_array(&mut reader, 'i')?);
                    fields.id = Some(ValueId(id));
                }
                b"k" => fields.owner = Some(OwnerKey(read_array(&mut reader, 'k')?)),
                b"l" => bodies.len = Some(read_int(&mut reader, 'l')?),
                b"n" => fields.seq = Some(read_int(&mut reader, 'n')?),
                b"s" => fields.signature = Some(read_array(&mut reader, 's')?),
                b"t" => fields.kind = Some(ValueType(read_int(&mut reader, 't')?)),
                b"x" => fields.is_sealed = read_one(&mut reader, 'x')?,
                _ => return Err(DecodeError::UnknownKey),
            }
        }
        reader.finish()?;
        fields.body = bodies.one()?;
        let is_sealable = !matches!(fields.body, None | Some(Body::Removed));
        if fields.is_sealed && !is_sealable {
            return Err(DecodeError::Field('x'));
        }
        Ok(fields)
    }
}

/// The fields of which a record has one body.
#[derive(Default)]
struct Bodies<'a> {
    inline: Option<&'a [u8]>,
    removed: bool,
    parts: Option<&'a [u8]>,
    len: Option<u32>,
}

impl Bodies<'_> {
    fn one(self) -> Result<Option<Body>, DecodeError> {
        match (self.inline, self.removed, self.parts, self.len) {
            (None, false, None, None) => Ok(None),
            (Some(bytes), false, None, None) => Ok(Some(Body::Inline(bytes.to_vec()))),
            (None, true, None, None) => Ok(Some(Body::Removed)),
            (None, false, Some(parts), Some(len)) => {
                let is_whole = parts.len().is_multiple_of(ID_LEN);
                if !is_whole || !split::is_shape(len, parts.len() / ID_LEN) {
                    return Err(DecodeError::Parts);
                }
                let parts = parts.chunks_exact(ID_LEN).filter_map(Id::from_slice);
                let parts = parts.collect();
                Ok(Some(Body::Split { len, parts }))
            }
            (None, false, Some(_), None) => Err(DecodeError::Missing("length (l)")),
            (None, false, None, Some(_)) => Err(DecodeError::Missing("parts (h)")),
            _ => Err(DecodeError::TwoBodies),
        }
    }
}

/// No number of a record reaches 2^63: the drafts see to it, and the decoder.
fn write_int(writer: &mut Writer<'_>, key: &[u8], number: u64) {
    writer.bytes(key);
    writer.int(i64::try_from(number).unwrap_or(i64::MAX));
}

pub(super) fn read_int<T: TryFrom<i64>>(
    reader: &mut Reader<'_>,
    field: char,
) -> Result<T, DecodeError> {
    let number = reader.int()?;
    T::try_from(number).map_err(|_| DecodeError::Field(field))
}

pub(super) fn read_array<const N: usize>(
    reader: &mut Reader<'_>,
    field: char,
) -> Result<[u8; N], DecodeError> {
    let bytes = reader.bytes()?;
    bytes.try_into().map_err(|_| DecodeError::Field(field))
}

/// A mark: the number 1, or not there.
fn read_one(reader: &mut Reader<'_>, field: char) -> Result<bool, DecodeError> {
    match reader.int()? {
        1 => Ok(true),
        _ => Err(DecodeError::Field(field)),
    }
}
