//! Names: one component of a path at a time, as bytes.
//!
//! No path of a peer's making is ever joined to a path of ours. What travels is one component after
//! the other, each of them checked here.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::bounds::{MAX_DEPTH, MAX_NAME, MAX_PATH};

/// What the name of a partial file ends with; it begins with a dot.
const PART_SUFFIX: &[u8] = b".dsh-part";

/// Bytes of a long name that its partial file keeps; the rest is a hash.
const KEPT_OF_LONG_NAME: usize = 200;

/// One component of a path: no slash, no NUL, neither `.` nor `..`, 1 to 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

/// The components that lead from a root to a directory.
pub(crate) type Trail = Arc<[Name]>;

/// Why bytes are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, `.` or `..`.
    #[error("a name that is empty, \".\" or \"..\"")]
    Special,
    /// A slash or a NUL.
    #[error("a name with a slash or a NUL in it")]
    Separator,
    /// More than [`MAX_NAME`] bytes.
    #[error("a name of more than 255 bytes")]
    TooLong,
}

impl Name {
    /// Checks a component.
    ///
    /// # Errors
    /// [`NameError`] for what could lead elsewhere than one step down.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        if matches!(bytes, b"" | b"." | b"..") {
            return Err(NameError::Special);
        }
        if bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(NameError::Separator);
        }
        if bytes.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Whether this is what a partial file is called. Such files are never copied: they would stand
    /// in the way of the file whose part they are.
    pub(crate) fn is_part(&self) -> bool {
        self.0.first() == Some(&b'.') && self.0.ends_with(PART_SUFFIX)
    }

    /// What this file is called while it is incomplete.
    pub(crate) fn part(&self) -> Self {
        let mut part = vec![b'.'];
        if self.0.len() + 1 + PART_SUFFIX.len() <= MAX_NAME {
            part.extend_from_slice(&self.0);
        } else {
            part.extend_from_slice(&self.0[..KEPT_OF_LONG_NAME]);
            let hash = blake3::hash(&self.0).to_hex();
            part.extend_from_slice(&hash.as_bytes()[..32]);
        }
        part.extend_from_slice(PART_SUFFIX);
        Self(part.into())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shown(&self.0))
    }
}

/// A way one step further down from the destination, or `None` if it becomes too long.
pub(crate) fn below(trail: &Trail, name: &Name) -> Option<Trail> {
    extended(trail, name, (MAX_DEPTH, MAX_PATH))
}

/// The same from a source, which at the destination is one step down itself, under any name.
pub(crate) fn below_source(trail: &Trail, name: &Name) -> Option<Trail> {
    extended(trail, name, (MAX_DEPTH - 1, MAX_PATH - MAX_NAME - 1))
}

fn extended(trail: &Trail, name: &Name, (depth, bytes): (usize, usize)) -> Option<Trail> {
    let length: usize = trail.iter().map(|name| name.as_bytes().len() + 1).sum();
    if trail.len() >= depth || length + name.as_bytes().len() > bytes {
        return None;
    }
    Some(trail.iter().chain([name]).cloned().collect())
}

/// A path for people: text as it is, other bytes and control characters escaped.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || is_format(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Characters that turn the direction of the text around them, or cannot be seen.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `trail/name` for people.
pub(crate) fn shown_at(start: &str, trail: &[Name], name: Option<&Name>) -> String {
    let mut text = start.to_owned();
    for name in trail.iter().chain(name) {
        if !text.is_empty() && !text.ends_with('/') {
            text.push('/');
        }
        text.push_str(&shown(name.as_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    #[test]
    fn what_could_lead_elsewhere_is_no_name() {
        for bytes in [&b""[..], b".", b".."] {
            assert_eq!(Name::new(bytes), Err(NameError::Special));
        }
        for bytes in [&b"/"[..], b"a/b", b"../x", b"/etc/passwd", b"a\0"] {
            assert_eq!(Name::new(bytes), Err(NameError::Separator));
        }
        for bytes in [&b"..."[..], b"-rf", b" ", b"\n", b"\xff\xfe", b"..a"] {
            assert_eq!(Name::new(bytes).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn a_name_has_at_most_255_bytes() {
        assert!(Name::new(&[b'x'; MAX_NAME]).is_ok());
        assert_eq!(Name::new(&[b'x'; MAX_NAME + 1]), Err(NameError::TooLong));
    }

    #[test]
    fn the_part_of_the_longest_name_is_a_name_too_and_its_own() {
        for length in 1..=MAX_NAME {
            let name = Name::new(&vec![b'n'; length]).unwrap();
            let part = name.part();
            assert!(Name::new(part.as_bytes()).is_ok(), "{length}");
            assert!(part.is_part() && !name.is_part());
        }
        let mut other = [b'n'; MAX_NAME];
        other[MAX_NAME - 1] = b'm';
        let long = Name::new(&[b'n'; MAX_NAME]).unwrap();
        assert_ne!(long.part(), Name::new(&other).unwrap().part());
        assert_eq!(
            Name::new(b"a").unwrap().part().as_bytes(),
            b".a.dsh-part".as_slice()
        );
    }

    #[test]
    fn a_trail_ends_at_its_bounds() {
        let mut trail: Trail = Arc::new([]);
        let short = Name::new(b"d").unwrap();
        for _ in 0..MAX_DEPTH {
            trail = below(&trail, &short).unwrap();
        }
        assert!(below(&trail, &short).is_none());
        assert!(below_source(&trail[..MAX_DEPTH - 2].into(), &short).is_some());
        assert!(below_source(&trail[..MAX_DEPTH - 1].into(), &short).is_none());
        let mut trail: Trail = Arc::new([]);
        let long = Name::new(&[b'd'; MAX_NAME]).unwrap();
        for _ in 0..MAX_PATH / (MAX_NAME + 1) {
            trail = below(&trail, &long).unwrap();
        }
        assert!(below(&trail, &long).is_none());
    }

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        assert_eq!(shown(b"a\x1b[2J\n\xff"), "a\\u{1b}[2J\\n\\xff");
        assert_eq!(shown("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }
}
