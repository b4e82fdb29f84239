//! Walking over a whole value without a stack that grows.

use super::{Error, number};

/// Most lists and dictionaries within each other that one value may have. The deepest message of
/// a BEP has 3; libtorrent reads messages to a depth of 10. One `u32` tells which of the open
/// ones are dictionaries.
pub const MAX_DEPTH: usize = 32;

/// Whether the order of keys is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrder {
    /// Keys ascend as raw bytes and none comes twice (BEP 3).
    Canonical,
    /// Keys may come in any order and twice.
    Any,
}

/// What stands at the beginning of a value or in its place.
enum Step {
    Leaf(usize),
    Open { is_dict: bool },
    Close,
}

/// The lists and dictionaries around a place.
struct Open<'a> {
    depth: usize,
    /// Bit `depth - 1` is set where the innermost is a dictionary.
    dicts: u32,
    /// The innermost is a dictionary, and its key has been read but not its value.
    has_key: bool,
    order: KeyOrder,
    /// The last key of each dictionary.
    keys: [Option<&'a [u8]>; MAX_DEPTH],
}

impl<'a> Open<'a> {
    fn expects_key(&self) -> bool {
        self.depth > 0 && !self.has_key && self.dicts >> (self.depth - 1) & 1 == 1
    }

    fn on_key(&mut self, key: &'a [u8]) -> Result<(), Error> {
        self.has_key = true;
        if self.order == KeyOrder::Canonical {
            let previous = self.keys[self.depth - 1].replace(key);
            if previous.is_some_and(|previous| previous >= key) {
                return Err(Error::KeyOrder);
            }
        }
        Ok(())
    }

    fn open(&mut self, is_dict: bool) -> Result<(), Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let bit = 1 << self.depth;
        self.dicts = if is_dict {
            self.dicts | bit
        } else {
            self.dicts & !bit
        };
        if self.order == KeyOrder::Canonical {
            self.keys[self.depth] = None;
        }
        self.depth += 1;
        self.has_key = false;
        Ok(())
    }
}

/// Where the value that begins at `at` ends.
pub(super) fn value_end(input: &[u8], at: usize, order: KeyOrder) -> Result<usize, Error> {
    if let Step::Leaf(end) = step(input, at)? {
        return Ok(end);
    }
    let mut open = Open {
        depth: 0,
        dicts: 0,
        has_key: false,
        order,
        keys: [None; MAX_DEPTH],
    };
    let mut at = at;
    loop {
        if open.expects_key() && input.get(at) != Some(&b'e') {
            let (key, end) = number::string(input, at)?;
            open.on_key(key)?;
            at = end;
            continue;
        }
        match step(input, at)? {
            Step::Leaf(end) => {
                at = end;
                open.has_key = false;
            }
            Step::Open { is_dict } => {
                at += 1;
                open.open(is_dict)?;
                continue;
            }
            Step::Close if open.depth == 0 || open.has_key => return Err(Error::Unexpected(b'e')),
            Step::Close => {
                at += 1;
                open.depth -= 1;
                // What was closed was the value of whatever key stood before it.
                open.has_key = false;
            }
        }
        if open.depth == 0 {
            return Ok(at);
        }
    }
}

fn step(input: &[u8], at: usize) -> Result<Step, Error> {
    Ok(match input.get(at) {
        Some(b'0'..=b'9') => Step::Leaf(number::string(input, at)?.1),
        Some(b'i') => Step::Leaf(number::integer_end(input, at)?),
        Some(b'l') => Step::Open { is_dict: false },
        Some(b'd') => Step::Open { is_dict: true },
        Some(b'e') => Step::Close,
        Some(&other) => return Err(Error::Unexpected(other)),
        None => return Err(Error::Truncated),
    })
}
