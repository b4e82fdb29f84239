//! The fields of a body, in order.

use super::DecodeError;

/// What is left of a body.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes with a length of two.
    pub(super) fn bytes(
        &mut self,
        bound: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let length = usize::from(self.u16()?);
        self.bounded(length, bound, what)
    }

    /// Bytes with a length of one.
    pub(super) fn short(
        &mut self,
        bound: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let length = usize::from(self.u8()?);
        self.bounded(length, bound, what)
    }

    fn bounded(
        &mut self,
        length: usize,
        bound: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        if length > bound {
            return Err(DecodeError::Field(what));
        }
        self.take(length)
    }
}

/// Bytes with a length of two.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX));
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

/// Bytes with a length of one.
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u8::MAX));
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.push(length);
    out.extend_from_slice(&bytes[..usize::from(length)]);
}
