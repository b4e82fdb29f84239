//! Reading binary forms from the front, each length checked.

/// Bytes not yet read. Every method gives `None` and reads nothing when too few are left.
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes of length, big-endian, and as many bytes.
    pub(crate) fn counted(&mut self) -> Option<&'b [u8]> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (counted, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(counted)
    }
}

/// Writes what [`Reader::counted`] reads. What is longer than 65,535 bytes does not fit, which
/// the bounds of all that is written here rule out.
pub(crate) fn push_counted(bytes: &mut Vec<u8>, counted: &[u8]) {
    let length = u16::try_from(counted.len()).expect("what is counted is bounded below 64 KiB");
    bytes.extend(length.to_be_bytes());
    bytes.extend(counted);
}
