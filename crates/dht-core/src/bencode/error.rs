//! Why bytes are not bencoded, or not what a reader asked for.

/// Why bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ends inside a value.
    #[error("the input ends inside a value")]
    Truncated,
    /// A byte that cannot stand there.
    #[error("unexpected byte {0:#04x}")]
    Unexpected(u8),
    /// An integer with leading zeros, `-0`, or no digits.
    #[error("an integer that is not in its shortest form")]
    Integer,
    /// An integer beyond 64 bits where its value is asked for.
    #[error("an integer of more than 64 bits")]
    TooBig,
    /// The length of a string with leading zeros.
    #[error("a length that is not in its shortest form")]
    Length,
    /// Lists and dictionaries within each other, more than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("nested too deeply")]
    TooDeep,
    /// A dictionary whose keys do not ascend.
    #[error("keys that are not in ascending order")]
    KeyOrder,
    /// A value of another kind than was asked for.
    #[error("a value of another kind than expected")]
    WrongKind,
    /// Bytes after the value.
    #[error("bytes after the value")]
    Trailing,
}
