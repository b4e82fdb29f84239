//! Names of sessions.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes: it has to fit into a line with others.
pub const MAX_NAME: usize = 32;

/// The name of a session: letters, digits, `.`, `_` and `-`, at most 32.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionName(String);

impl FromStr for SessionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(is_plain) {
            return Err(format!(
                "a session's name has 1 to {MAX_NAME} letters, digits, dots, _ and -"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        let longest = "x".repeat(MAX_NAME);
        for name in ["a", "work-2.b_c", &longest] {
            assert!(name.parse::<SessionName>().is_ok(), "{name}");
        }
        let too_long = "x".repeat(MAX_NAME + 1);
        for name in ["", "a b", "ä", "a/b", "\x1b[", &too_long] {
            assert!(name.parse::<SessionName>().is_err(), "{name:?}");
        }
    }
}
