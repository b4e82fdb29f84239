//! Which values are asked for, and which of their fields: a filter and a selection.
//!
//! On the wire a query is a canonical bencoded dictionary, the `w` of `dn_get` and `dn_listen`;
//! every key may be missing:
//!
//! | key | kind | meaning |
//! |---|---|---|
//! | `f` | bytes | the fields to return, letters ascending without repetition |
//! | `i` | 8 bytes | only the value with this id |
//! | `k` | 32 bytes | only values of this owner |
//! | `n` | integer | only signed values with at least this sequence number |
//! | `t` | integer | only values of this type |

mod text;

use super::field_record::{read_array, read_int};
use super::record::{DecodeError, OwnerKey, ValueId, ValueKey, ValueType};
use crate::bencode::{KeyOrder, Reader, Writer};

pub use self::text::ParseQueryError;

/// Bytes of the longest encoded query: every field in use takes 99.
pub const MAX_QUERY_LEN: usize = 128;

/// A field of a value that can be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `b`: the body, or that it was removed.
    Body,
    /// `e`: when it expires.
    Expiry,
    /// `i`: the id.
    Id,
    /// `k`: the owner.
    Owner,
    /// `n`: the sequence number.
    Seq,
    /// `t`: the type.
    Type,
}

impl Field {
    /// All, their letters ascending.
    pub const ALL: [Self; 6] = [
        Self::Body,
        Self::Expiry,
        Self::Id,
        Self::Owner,
        Self::Seq,
        Self::Type,
    ];

    /// As in a record.
    const fn letter(self) -> u8 {
        match self {
            Self::Body => b'b',
            Self::Expiry => b'e',
            Self::Id => b'i',
            Self::Owner => b'k',
            Self::Seq => b'n',
            Self::Type => b't',
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of fields, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Select(u8);

impl Select {
    /// These fields; none where there is none.
    #[must_use]
    pub fn of(fields: &[Field]) -> Option<Self> {
        let bits = fields.iter().fold(0, |bits, field| bits | field.bit());
        (bits != 0).then_some(Self(bits))
    }

    /// Whether `field` is selected.
    #[must_use]
    pub const fn contains(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    /// The fields, their letters ascending.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL
            .into_iter()
            .filter(move |field| self.contains(*field))
    }
}

/// What a [`Filter`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The value's id and owner.
    pub key: ValueKey,
    /// Its type.
    pub kind: ValueType,
    /// Its sequence number, where it is signed.
    pub seq: Option<u64>,
}

/// Which values are meant: those that meet every condition that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    /// This id.
    pub id: Option<ValueId>,
    /// This type.
    pub kind: Option<ValueType>,
    /// This owner.
    pub owner: Option<OwnerKey>,
    /// At least this sequence number, below 2^63. Unsigned values have none and do not match.
    pub min_seq: Option<u64>,
}

impl Filter {
    /// Whether a value is meant.
    #[must_use]
    pub fn matches(&self, subject: &Subject) -> bool {
        self.id.is_none_or(|id| id == subject.key.id)
            && self.kind.is_none_or(|kind| kind == subject.kind)
            && self
                .owner
                .is_none_or(|owner| subject.key.owner == Some(owner))
            && self
                .min_seq
                .is_none_or(|min| subject.seq.is_some_and(|seq| seq >= min))
    }
}

/// A filter and a selection. `Display` and `FromStr` use the text form
/// `SELECT id, type WHERE type = 3 AND seq >= 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ValueQuery {
    /// The fields to return; none: whole values with their signatures.
    pub select: Option<Select>,
    /// The values to return.
    pub filter: Filter,
}

impl ValueQuery {
    /// All of every value.
    pub const ALL: Self = Self {
        select: None,
        filter: Filter {
            id: None,
            kind: None,
            owner: None,
            min_seq: None,
        },
    };

    /// The dictionary; nothing needs to be sent for [`ValueQuery::ALL`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.dict();
        if let Some(select) = self.select {
            writer.bytes(b"f");
            writer.string_header(select.fields().count());
            for field in select.fields() {
                writer.raw(&[field.letter()]);
            }
        }
        if let Some(ValueId(id)) = self.filter.id {
            writer.bytes(b"i");
            writer.bytes(&id.to_be_bytes());
        }
        if let Some(OwnerKey(owner)) = &self.filter.owner {
            writer.bytes(b"k");
            writer.bytes(owner);
        }
        if let Some(seq) = self.filter.min_seq {
            writer.bytes(b"n");
            writer.int(i64::try_from(seq).unwrap_or(i64::MAX));
        }
        if let Some(ValueType(kind)) = self.filter.kind {
            writer.bytes(b"t");
            writer.int(kind.into());
        }
        writer.end();
        out
    }

    /// Reads a dictionary. A condition that is not known is an error and not left out: it would
    /// give what was not asked for.
    ///
    /// # Errors
    /// [`DecodeError`], for anything but the canonical form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_QUERY_LEN {
            let (found, max) = (bytes.len(), MAX_QUERY_LEN);
            return Err(DecodeError::TooLong { found, max });
        }
        let mut query = Self::ALL;
        let mut reader = Reader::new(bytes);
        let mut keys = reader.dict(KeyOrder::Canonical)?;
        while let Some(key) = keys.next_key(&mut reader)? {
            match key {
                b"f" => query.select = Some(select_of(reader.bytes()?)?),
                b"i" => {
                    let id = u64::from_be_bytes(read_array(&mut reader, 'i')?);
                    query.filter.id = Some(ValueId(id));
                }
                b"k" => query.filter.owner = Some(OwnerKey(read_array(&mut reader, 'k')?)),
                b"n" => query.filter.min_seq = Some(read_int(&mut reader, 'n')?),
                b"t" => query.filter.kind = Some(ValueType(read_int(&mut reader, 't')?)),
                _ => return Err(DecodeError::UnknownKey),
            }
        }
        reader.finish()?;
        Ok(query)
    }
}

fn select_of(letters: &[u8]) -> Result<Select, DecodeError> {
    let mut fields = Field::ALL.into_iter();
    let mut bits = 0;
    for letter in letters {
        let field = fields.find(|field| field.letter() == *letter);
        bits |= field.ok_or(DecodeError::Field('f'))?.bit();
    }
    (bits != 0)
        .then_some(Select(bits))
        .ok_or(DecodeError::Field('f'))
}
