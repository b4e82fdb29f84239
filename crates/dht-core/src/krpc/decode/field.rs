//! One value of a message: taken if it is of the right kind, else passed over.

use crate::bencode::{Error, Kind, Reader};

/// The first counts.
#[inline]
pub(super) fn keep<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

/// A byte string; none of another kind.
#[inline]
pub(super) fn string<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Error> {
    if reader.kind() == Some(Kind::Bytes) {
        return reader.bytes().map(Some);
    }
    reader.skip()?;
    Ok(None)
}

/// An integer of 64 bits; none of another kind or size.
#[inline]
pub(super) fn number(reader: &mut Reader<'_>) -> Result<Option<i64>, Error> {
    match reader.int() {
        Ok(number) => Ok(Some(number)),
        Err(_) => {
            reader.skip()?;
            Ok(None)
        }
    }
}
