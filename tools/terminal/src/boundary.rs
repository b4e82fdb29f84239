//! Where a program's output may be cut.
//!
//! A terminal that joins in the middle of an escape sequence or of a character shows garbage, and so
//! does one that is drawn over there. The machine follows the grammar of ECMA-48 (DEC's state
//! diagram, as `vte` has it) just so far as to know whether a byte stream is between two sequences,
//! and keeps the bytes of the unfinished one.

/// Unfinished bytes that are kept. The longest sequences that matter, coloured text and cursor
/// addresses, have some twenty; longer ones are strings (titles, clipboards, images), whose
/// beginning is replaced by one that every terminal swallows.
const MAX_TAIL: usize = 256;

/// What a byte stream is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// Between sequences.
    Ground,
    /// A character of UTF-8 with that many bytes to come.
    Character(u8),
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte.
    Intermediate,
    /// A control sequence.
    Control,
    /// A string to the operating system, ended by BEL or ST.
    SystemString,
    /// Another string, ended by ST.
    DeviceString,
}

/// Follows a byte stream.
#[derive(Clone, Debug)]
pub(crate) struct Boundary {
    within: Within,
    tail: Vec<u8>,
    string_len: usize,
}

impl Boundary {
    pub(crate) fn new() -> Self {
        Self {
            within: Within::Ground,
            tail: Vec::new(),
            string_len: 0,
        }
    }

    /// Follows `bytes`.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            if self.within == Within::Ground {
                let special = rest.iter().position(|byte| *byte == 0x1b || *byte >= 0x80);
                rest = match special {
                    Some(at) => &rest[at..],
                    None => return,
                };
            }
            let Some((byte, after)) = rest.split_first() else {
                return;
            };
            self.step(*byte);
            rest = after;
        }
    }

    /// How many of `bytes` belong to the string that the stream is in; the string's end counts,
    /// unless it is an ESC, which also begins something.
    pub(crate) fn skip_string(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == 0x1b {
                return at;
            }
            self.step(*byte);
            if !self.in_string() {
                return at + 1;
            }
        }
        bytes.len()
    }

    /// Whether the stream is between two sequences.
    pub(crate) fn is_ground(&self) -> bool {
        self.within == Within::Ground
    }

    /// Whether the stream is in a string, which may be of any length.
    pub(crate) fn in_string(&self) -> bool {
        matches!(self.within, Within::SystemString | Within::DeviceString)
    }

    /// How many bytes of an unfinished character the stream ends with.
    pub(crate) fn begun_character(&self) -> usize {
        match self.within {
            Within::Character(_) => self.tail.len(),
            _ => 0,
        }
    }

    /// The length so far of the string that the stream is in.
    pub(crate) fn string_len(&self) -> usize {
        self.string_len
    }

    /// Bytes that bring another terminal into the middle of the same sequence.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.tail
    }

    fn step(&mut self, byte: u8) {
        if is_done_within(byte, self.within) {
            return;
        }
        let next = next(self.within, byte);
        if next == Within::Ground {
            self.tail.clear();
        } else if begins(byte, self.within) {
            self.tail.clear();
            self.tail.push(byte);
        } else {
            self.tail.push(byte);
        }
        if self.tail.len() > MAX_TAIL {
            let substitute: &[u8] = match next {
                Within::SystemString => b"\x1b]7777;",
                Within::DeviceString => b"\x1b_",
                _ => b"\x1b[",
            };
            self.tail = substitute.to_vec();
        }
        let goes_on = matches!(next, Within::SystemString | Within::DeviceString);
        self.string_len = if goes_on { self.string_len + 1 } else { 0 };
        self.within = next;
    }
}

/// Whether a terminal does at once what this byte says, although it stands within a sequence.
fn is_done_within(byte: u8, within: Within) -> bool {
    let in_sequence = matches!(
        within,
        Within::Escape | Within::Intermediate | Within::Control
    );
    in_sequence && matches!(byte, 0x00..=0x17 | 0x19 | 0x1c..=0x1f)
}

/// Whether `byte` begins a sequence, whatever was unfinished before it.
fn begins(byte: u8, before: Within) -> bool {
    byte == 0x1b
        || before == Within::Ground
        || (matches!(before, Within::Character(_)) && !(0x80..0xc0).contains(&byte))
}

fn next(within: Within, byte: u8) -> Within {
    match (within, byte) {
        (Within::Ground, _) => first(byte),
        (Within::Character(1), 0x80..=0xbf) => Within::Ground,
        (Within::Character(left), 0x80..=0xbf) => Within::Character(left - 1),
        (Within::Character(_), _) => first(byte),
        (_, 0x18 | 0x1a) => Within::Ground,
        (_, 0x1b) => Within::Escape,
        (Within::Escape, b'[') => Within::Control,
        (Within::Escape, b']') => Within::SystemString,
        (Within::Escape, b'P' | b'X' | b'^' | b'_') => Within::DeviceString,
        (Within::Escape | Within::Intermediate, 0x20..=0x2f) => Within::Intermediate,
        (Within::Escape | Within::Intermediate, 0x30..=0x7e)
        | (Within::Control, 0x40..=0x7e)
        | (Within::SystemString, 0x07)
        | (Within::DeviceString, 0x9c) => Within::Ground,
        (same, _) => same,
    }
}

fn first(byte: u8) -> Within {
    match byte {
        0x1b => Within::Escape,
        0xc2..=0xdf => Within::Character(1),
        0xe0..=0xef => Within::Character(2),
        0xf0..=0xf4 => Within::Character(3),
        _ => Within::Ground,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn after(bytes: &[u8]) -> Boundary {
        let mut boundary = Boundary::new();
        boundary.advance(bytes);
        boundary
    }

    #[test]
    fn text_and_whole_sequences_end_on_the_ground() {
        for whole in [
            &b"text"[..],
            b"\x1b[1;31mred\x1b[m",
            b"\x1b]0;title\x07",
            b"\x1b]0;title\x1b\\",
            b"\x1bPq#0\x1b\\",
            b"\x1b(B\x1b=",
            "é€😀".as_bytes(),
            b"\x1b[1\x18",
            b"\xff\xfe",
        ] {
            assert!(after(whole).is_ground(), "{whole:?}");
            assert!(after(whole).tail().is_empty());
        }
    }

    #[test]
    fn the_unfinished_bytes_are_kept() {
        assert_eq!(after(b"abc\x1b[38;5").tail(), b"\x1b[38;5");
        assert_eq!(after(b"\x1b[1mabc\xe2\x82").tail(), b"\xe2\x82");
        assert_eq!(after(b"\x1b[1\x1b]2;t").tail(), b"\x1b]2;t");
        assert_eq!(after(b"\xe2\x1b").tail(), b"\x1b");
    }

    #[test]
    fn a_long_string_leaves_a_short_tail_that_is_still_a_string() {
        let mut boundary = after(b"\x1b]52;c;");
        boundary.advance(&[b'A'; 100_000]);
        assert!(boundary.tail().len() <= MAX_TAIL);
        assert!(boundary.tail().starts_with(b"\x1b]"));
        assert!(boundary.in_string());
        assert_eq!(boundary.string_len(), 100_003 + 3);
        assert_eq!(boundary.skip_string(b"AAA\x07text"), 4);
        assert!(boundary.is_ground());
    }

    #[test]
    fn every_cut_of_a_sequence_can_be_completed() {
        let whole = "a\x1b[1;2Hé\x1b]0;x\x1b\\b".as_bytes();
        for cut in 0..=whole.len() {
            let mut boundary = after(&whole[..cut]);
            boundary.advance(&whole[cut..]);
            assert!(boundary.is_ground(), "cut at {cut}");
        }
    }
}
