//! Patterns of command lines.

use std::fmt;
use std::str::FromStr;

/// Bytes of the longest command line in a pattern.
const MAX_COMMAND_LEN: usize = 1024;
/// What ends a pattern that allows further arguments.
const FURTHER: &str = " *";
/// Besides letters and digits of ASCII, the characters of further arguments: none that means
/// something to a shell.
const PLAIN: &str = " %+,-./:=@_";

/// Command lines: one, letter by letter (`uptime -p`), or all that begin with one and go on with
/// plain arguments (`git-upload-pack *`).
///
/// Further arguments hold letters and digits of ASCII, blanks, and `% + , - . / : = @ _`, so that
/// nothing after an allowed program can make a shell run another one. Which arguments are
/// harmless is for the program to say: name a program only if all of them are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandPattern {
    line: String,
    further: bool,
}

impl CommandPattern {
    /// Whether `line` is allowed.
    pub fn matches(&self, line: &str) -> bool {
        let Some(rest) = line.strip_prefix(&self.line) else {
            return false;
        };
        rest.is_empty() || self.further && rest.starts_with(' ') && rest.chars().all(is_plain)
    }

    /// Whether this allows every line that `other` allows.
    pub fn includes(&self, other: &Self) -> bool {
        self.matches(&other.line) && (self.further || !other.further)
    }
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || PLAIN.contains(character)
}

impl fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)?;
        match self.further {
            true => f.write_str(FURTHER),
            false => Ok(()),
        }
    }
}

impl FromStr for CommandPattern {
    type Err = ParseCommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (line, further) = match text.strip_suffix(FURTHER) {
            Some(line) => (line, true),
            None => (text, false),
        };
        if line.is_empty() || line.trim() != line {
            return Err(ParseCommandError::Blank);
        }
        if line.len() > MAX_COMMAND_LEN {
            return Err(ParseCommandError::TooLong);
        }
        if line.chars().any(char::is_control) {
            return Err(ParseCommandError::Control);
        }
        if line.contains('*') {
            return Err(ParseCommandError::Star);
        }
        Ok(Self {
            line: line.to_owned(),
            further,
        })
    }
}

/// A text that is no pattern of command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCommandError {
    /// Nothing, or blanks at an end.
    #[error("a command must not be empty, nor begin or end with a blank")]
    Blank,
    /// Over 1,024 bytes.
    #[error("a command has at most {MAX_COMMAND_LEN} bytes")]
    TooLong,
    /// A control character.
    #[error("a command has no control characters")]
    Control,
    /// A star elsewhere than at the end, which would be taken for a pattern and be none.
    #[error("in a command \"*\" may stand at the end only, after a blank (further arguments)")]
    Star,
}
