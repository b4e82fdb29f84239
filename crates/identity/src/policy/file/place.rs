//! Where in the text something stands.

use toml::Spanned;

use super::fault::{ParsePolicyError, PolicyFault};

/// The beginnings of all lines, to find the line of a byte.
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        Self {
            starts: starts.collect(),
        }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn at(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte)
    }

    pub(super) fn of_place<T>(&self, place: &Spanned<T>) -> usize {
        self.at(place.span().start)
    }
}

/// A fault, the byte at which it stands, and the key that it is about.
#[derive(Debug)]
pub(super) struct Fault {
    at: usize,
    key: Option<String>,
    fault: Box<PolicyFault>,
}

impl Fault {
    pub(super) fn at_byte(at: usize, fault: PolicyFault) -> Self {
        Self {
            at,
            key: None,
            fault: Box::new(fault),
        }
    }

    pub(super) fn resolve(self, lines: &Lines) -> ParsePolicyError {
        ParsePolicyError {
            line: lines.at(self.at),
            key: self.key,
            fault: *self.fault,
        }
    }
}

impl PolicyFault {
    /// The fault at a place, about no key or about a whole table.
    pub(super) fn at<T>(self, place: &Spanned<T>) -> Fault {
        Fault::at_byte(place.span().start, self)
    }

    /// The fault in the value of `key`.
    pub(super) fn in_key<T>(self, key: &str, place: &Spanned<T>) -> Fault {
        Fault {
            key: Some(key.to_owned()),
            ..self.at(place)
        }
    }
}
