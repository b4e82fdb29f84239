//! Reading permissions and actions.

use std::str::FromStr;

use super::known::{self, Expected, KNOWN_ACTIONS};
use super::{ParameterPattern, ParseCommandError, Permission, Scope};
use crate::peer_address::shorten;
use crate::policy::{Action, OwnedAction};
use crate::suggestion;
use crate::target::{ParseTargetError, Target};

/// Bytes of the longest permission in text: the longest command and an action's name.
pub const MAX_PERMISSION_LEN: usize = 1024 + 256;
/// Bytes of the longest name of an action: that of a channel.
const MAX_ACTION_NAME_LEN: usize = 255;
/// Bytes of the longest name of a user (useradd(8)).
const MAX_USER_LEN: usize = 32;

const EVERYTHING: &str = "*";

impl FromStr for Permission {
    type Err = ParsePermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_PERMISSION_LEN {
            return Err(ParsePermissionError::TooLong);
        }
        if text == EVERYTHING {
            return Ok(Self::everything());
        }
        let (name, parameter) = split(text)?;
        if let Some(beginning) = name.strip_suffix('*') {
            return read_beginning(name, beginning, parameter);
        }
        if name.contains('*') {
            return Err(ParsePermissionError::Star);
        }
        let expected = expected(name)?;
        let any = parameter == Some(EVERYTHING);
        let parameter = match (expected, parameter) {
            (Some(Expected::Nothing), Some(_)) => {
                return Err(ParsePermissionError::Parameter {
                    name: name.to_owned(),
                });
            }
            (Some(Expected::Nothing | Expected::Name) | None, None) => ParameterPattern::Any,
            (Some(_), None) => {
                return Err(ParsePermissionError::NoParameter {
                    name: name.to_owned(),
                });
            }
            (_, Some(_)) if any => ParameterPattern::Any,
            (Some(expected), Some(parameter)) => read_pattern(expected, parameter)?,
            (None, Some(parameter)) => ParameterPattern::Exactly(parameter.to_owned()),
        };
        Ok(Self::of(name, parameter))
    }
}

impl<'a> Action<'a> {
    /// Reads an action as it is asked for: its name, and after a blank its parameter.
    ///
    /// # Errors
    /// [`ParsePermissionError`], for a pattern, and for the name of a tool's action that there
    /// is not. The parameter of a known action is checked.
    pub fn parse(text: &'a str) -> Result<Self, ParsePermissionError> {
        if text.len() > MAX_PERMISSION_LEN {
            return Err(ParsePermissionError::TooLong);
        }
        let (name, parameter) = split(text)?;
        if name.contains('*') {
            return Err(ParsePermissionError::Pattern);
        }
        let name_of = || name.to_owned();
        match (expected(name)?, parameter) {
            (Some(Expected::Nothing), Some(_)) => {
                return Err(ParsePermissionError::Parameter { name: name_of() });
            }
            (Some(Expected::Nothing | Expected::Name) | None, None) => {}
            (Some(_), None) => return Err(ParsePermissionError::NoParameter { name: name_of() }),
            (Some(Expected::Target), Some(target)) => {
                let target = target.parse::<Target>();
                target.map_err(ParsePermissionError::Target)?;
            }
            (Some(Expected::Command), Some(_)) | (None, Some(_)) => {}
            (Some(expected), Some(parameter)) => {
                read_pattern(expected, parameter)?;
            }
        }
        Ok(match parameter {
            Some(parameter) => Self::with(name, parameter),
            None => Self::new(name),
        })
    }
}

impl FromStr for OwnedAction {
    type Err = ParsePermissionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Action::parse(text).map(Self::from)
    }
}

/// Name and parameter.
fn split(text: &str) -> Result<(&str, Option<&str>), ParsePermissionError> {
    if text.is_empty() || text.trim() != text {
        return Err(ParsePermissionError::Blank);
    }
    if text.chars().any(char::is_control) {
        return Err(ParsePermissionError::Control);
    }
    let (name, parameter) = match text.split_once(' ') {
        Some((name, parameter)) => (name, Some(parameter)),
        None => (text, None),
    };
    if name.len() > MAX_ACTION_NAME_LEN {
        return Err(ParsePermissionError::TooLong);
    }
    match parameter {
        Some(parameter) if parameter.trim() != parameter => Err(ParsePermissionError::Blank),
        _ => Ok((name, parameter)),
    }
}

/// What the parameter of the action is; `None` for channels of applications.
fn expected(name: &str) -> Result<Option<Expected>, ParsePermissionError> {
    match known::find(name) {
        Some(known) => Ok(Some(known.parameter)),
        None if known::is_reserved(name) => {
            let names = KNOWN_ACTIONS.iter().map(|known| known.name);
            Err(ParsePermissionError::Unknown {
                name: shorten(name),
                suggestion: suggestion::closest(name, names),
            })
        }
        None => Ok(None),
    }
}

fn read_beginning(
    name: &str,
    beginning: &str,
    parameter: Option<&str>,
) -> Result<Permission, ParsePermissionError> {
    let whole_words = beginning.ends_with('.') && beginning.len() > 1 && !beginning.contains('*');
    if !whole_words {
        return Err(ParsePermissionError::Star);
    }
    if parameter.is_some() {
        return Err(ParsePermissionError::Parameter {
            name: name.to_owned(),
        });
    }
    if known::is_reserved(beginning) {
        let known = KNOWN_ACTIONS.iter().map(|known| known.name);
        if !known.clone().any(|known| known.starts_with(beginning)) {
            return Err(ParsePermissionError::Unknown {
                name: shorten(name),
                suggestion: None,
            });
        }
    }
    Ok(Permission {
        scope: Scope::Beginning(beginning.to_owned()),
    })
}

fn read_pattern(expected: Expected, text: &str) -> Result<ParameterPattern, ParsePermissionError> {
    Ok(match expected {
        Expected::Target => {
            ParameterPattern::Target(text.parse().map_err(ParsePermissionError::Target)?)
        }
        Expected::Network => {
            ParameterPattern::Network(text.parse().map_err(ParsePermissionError::Network)?)
        }
        Expected::Command => {
            ParameterPattern::Command(text.parse().map_err(ParsePermissionError::Command)?)
        }
        Expected::User if !is_user(text) => return Err(ParsePermissionError::User),
        Expected::Name if text.contains(char::is_whitespace) => {
            return Err(ParsePermissionError::Name);
        }
        Expected::Nothing | Expected::User | Expected::Name => {
            ParameterPattern::Exactly(text.to_owned())
        }
    })
}

/// A name as useradd(8) makes them, and of directory services (capitals, dots).
fn is_user(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.len() <= MAX_USER_LEN
        && text.starts_with(first)
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// A text that is no permission.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParsePermissionError {
    /// Over [`MAX_PERMISSION_LEN`], or a name over 255 bytes.
    TooLong,
    /// Nothing, two blanks between name and parameter, or blanks at an end.
    Blank,
    /// A control character.
    Control,
    /// A star within a name.
    Star,
    /// A pattern where one action is wanted.
    Pattern,
    /// A name that belongs to a tool, which has no such action.
    Unknown {
        /// The name.
        name: String,
        /// The name that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// An action without a parameter has one.
    Parameter {
        /// The action.
        name: String,
    },
    /// An action with a parameter has none.
    NoParameter {
        /// The action.
        name: String,
    },
    /// A bad target.
    Target(ParseTargetError),
    /// A bad network.
    Network(ParseTargetError),
    /// A bad command.
    Command(ParseCommandError),
    /// No name of a user.
    User,
    /// No name.
    Name,
}

impl std::error::Error for ParsePermissionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Target(error) | Self::Network(error) => Some(error),
            Self::Command(error) => Some(error),
            _ => None,
        }
    }
}

impl std::fmt::Display for ParsePermissionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => write!(f, "an action has at most {MAX_PERMISSION_LEN} bytes"),
            Self::Blank => f.write_str("an action is a name, or a name, one blank and a parameter"),
            Self::Control => f.write_str("an action has no control characters"),
            Self::Star => f.write_str("in the name of an action \"*\" may stand after a dot only"),
            Self::Pattern => f.write_str("this is a pattern; one action is wanted"),
            Self::Unknown { name, suggestion } => {
                write!(f, "there is no action {name:?}")?;
                match suggestion {
                    Some(suggestion) => write!(f, " (did you mean {suggestion:?}?)"),
                    None => Ok(()),
                }
            }
            Self::Parameter { name } => write!(f, "{name:?} has no parameter"),
            Self::NoParameter { name } => {
                write!(f, "{name:?} needs a parameter ({name} * stands for any)")
            }
            Self::Target(_) => f.write_str("the target is not one"),
            Self::Network(_) => f.write_str("the network is not one"),
            Self::Command(_) => f.write_str("the command is not one"),
            Self::User => f.write_str("the parameter is not the name of a user"),
            Self::Name => f.write_str("the parameter is not a name"),
        }
    }
}
