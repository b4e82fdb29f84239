//! Bencoding (BEP 3): a reader that copies nothing, a writer, and a tree for tools.
//!
//! Integers and lengths have one spelling each: no leading zeros, no `-0`. The order of a
//! dictionary's keys is looked at only where [`KeyOrder::Canonical`] is asked for, since a few
//! nodes send unsorted messages. Nothing here recurses as deep as a peer likes.

mod error;
mod number;
mod reader;
mod scan;
mod value;
mod writer;

pub use self::error::Error;
pub use self::reader::{Keys, Kind, Reader};
pub use self::scan::{KeyOrder, MAX_DEPTH};
pub use self::value::Value;
pub use self::writer::Writer;

/// Checks that `bytes` are exactly one value in its canonical form: keys ascending and none
/// twice, nothing after it. How long it may be is the caller's rule.
///
/// # Errors
/// The first fault, from the left.
pub fn validate(bytes: &[u8]) -> Result<(), Error> {
    let end = scan::value_end(bytes, 0, KeyOrder::Canonical)?;
    if end == bytes.len() {
        Ok(())
    } else {
        Err(Error::Trailing)
    }
}

#[cfg(test)]
mod tests;
