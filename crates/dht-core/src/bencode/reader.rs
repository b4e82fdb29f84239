//! Reading values one by one from a slice.

use super::{Error, KeyOrder, number, scan};

/// What kind of value begins at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Int,
    /// A byte string.
    Bytes,
    /// A list.
    List,
    /// A dictionary.
    Dict,
}

/// Reads values from left to right. After an error it stands where it stood before the value.
///
/// ```
/// use dhtnet_dht_core::bencode::{KeyOrder, Reader};
///
/// # fn main() -> Result<(), dhtnet_dht_core::bencode::Error> {
/// let mut reader = Reader::new(b"d3:agei7e4:name4:Annee");
/// let mut keys = reader.dict(KeyOrder::Any)?;
/// let mut age = None;
/// while let Some(key) = keys.next_key(&mut reader)? {
///     match key {
///         b"age" => age = Some(reader.int()?),
///         _ => reader.skip()?,
///     }
/// }
/// reader.finish()?;
/// assert_eq!(age, Some(7));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `input`.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// The kind of the value that comes next; none at the end of a list, a dictionary or the
    /// input, and where no value can begin so.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self.input.get(self.at)? {
            b'i' => Some(Kind::Int),
            b'0'..=b'9' => Some(Kind::Bytes),
            b'l' => Some(Kind::List),
            b'd' => Some(Kind::Dict),
            _ => None,
        }
    }

    /// The integer that comes next.
    ///
    /// # Errors
    /// Where it is no integer, or not one of 64 bits.
    pub fn int(&mut self) -> Result<i64, Error> {
        self.expect(Kind::Int)?;
        let (number, end) = number::integer(self.input, self.at)?;
        self.at = end;
        Ok(number)
    }

    /// The byte string that comes next.
    ///
    /// # Errors
    /// Where it is no byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        self.expect(Kind::Bytes)?;
        let (string, end) = number::string(self.input, self.at)?;
        self.at = end;
        Ok(string)
    }

    /// Enters the list that comes next; [`Reader::has_item`] leads through it.
    ///
    /// # Errors
    /// Where it is no list.
    pub fn list(&mut self) -> Result<(), Error> {
        self.expect(Kind::List)?;
        self.at += 1;
        Ok(())
    }

    /// Whether the list has another item, to be read next. Where it has none, its end is read.
    ///
    /// # Errors
    /// Where the input ends.
    pub fn has_item(&mut self) -> Result<bool, Error> {
        match self.input.get(self.at) {
            Some(b'e') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Ok(true),
            None => Err(Error::Truncated),
        }
    }

    /// Enters the dictionary that comes next; the answer leads through it.
    ///
    /// # Errors
    /// Where it is no dictionary.
    pub fn dict(&mut self, order: KeyOrder) -> Result<Keys<'a>, Error> {
        self.expect(Kind::Dict)?;
        self.at += 1;
        Ok(Keys {
            order,
            previous: None,
        })
    }

    /// The bytes of the whole value that comes next, whatever it is. Keys in it may stand in any
    /// order.
    ///
    /// # Errors
    /// Where it is malformed.
    #[inline]
    pub fn raw(&mut self) -> Result<&'a [u8], Error> {
        let start = self.at;
        self.at = scan::value_end(self.input, start, KeyOrder::Any)?;
        Ok(&self.input[start..self.at])
    }

    /// Passes over the value that comes next.
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn skip(&mut self) -> Result<(), Error> {
        self.raw().map(|_| ())
    }

    /// What stands between `l` and `e` of the list that comes next, if it is a list of byte strings
    /// alone; none of another value, which is passed over.
    ///
    /// # Errors
    /// Where the value is malformed.
    pub fn string_list(&mut self) -> Result<Option<&'a [u8]>, Error> {
        if self.kind() != Some(Kind::List) {
            self.skip()?;
            return Ok(None);
        }
        let start = self.at + 1;
        let mut at = start;
        while let Some(b'0'..=b'9') = self.input.get(at) {
            at = number::string(self.input, at)?.1;
        }
        if self.input.get(at) != Some(&b'e') {
            self.skip()?;
            return Ok(None);
        }
        self.at = at + 1;
        Ok(Some(&self.input[start..at]))
    }

    /// The bytes that have not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Checks that nothing comes any more.
    ///
    /// # Errors
    /// Where something does.
    pub fn finish(&self) -> Result<(), Error> {
        if self.at == self.input.len() {
            Ok(())
        } else {
            Err(Error::Trailing)
        }
    }

    #[inline]
    fn expect(&self, kind: Kind) -> Result<(), Error> {
        if self.kind() == Some(kind) {
            return Ok(());
        }
        Err(match self.input.get(self.at) {
            None => Error::Truncated,
            Some(b'e' | b'i' | b'l' | b'd' | b'0'..=b'9') => Error::WrongKind,
            Some(&other) => Error::Unexpected(other),
        })
    }
}

/// The way through one dictionary. Between two keys the caller reads or skips the value.
#[derive(Debug, Clone)]
pub struct Keys<'a> {
    order: KeyOrder,
    previous: Option<&'a [u8]>,
}

impl<'a> Keys<'a> {
    /// The next key; its value comes next. None at the end of the dictionary, which is then read.
    ///
    /// # Errors
    /// Where no key stands there, and where it is out of order and order was asked for.
    #[inline]
    pub fn next_key(&mut self, reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Error> {
        if !reader.has_item()? {
            return Ok(None);
        }
        let key = reader.bytes()?;
        if self.order == KeyOrder::Canonical {
            let previous = self.previous.replace(key);
            if previous.is_some_and(|previous| previous >= key) {
                return Err(Error::KeyOrder);
            }
        }
        Ok(Some(key))
    }
}
