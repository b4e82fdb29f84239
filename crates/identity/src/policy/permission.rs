//! What may be done: an action and the parameters that it may have, in one line of text.
//!
//! ```text
//! dnc.pipe                      an action without parameter
//! dnc.target 10.0.0.0/8:22      an action with a pattern for its parameter
//! dnc.target *                  the same with any parameter
//! dsh.*                         all actions whose names begin so
//! chat                          a channel of an application, by its name
//! *                             everything
//! ```

mod command;
mod known;
mod parse;

use std::fmt;

use super::Action;
use crate::target::{Network, Target, TargetPattern};

pub use command::{CommandPattern, ParseCommandError};
pub use known::{Expected, KNOWN_ACTIONS, KnownAction};
pub use parse::{MAX_PERMISSION_LEN, ParsePermissionError};

/// A set of actions. `Display` and `FromStr` use the text form of the [module](self), which
/// round-trips.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scope {
    Everything,
    /// The beginning of a name, with its last dot.
    Beginning(String),
    Action {
        name: String,
        parameter: ParameterPattern,
    },
}

/// Which parameters an action may have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ParameterPattern {
    /// Any, or none.
    Any,
    /// A [`Target`] that the pattern matches.
    Target(TargetPattern),
    /// A network that lies in this one.
    Network(Network),
    /// A command line that the pattern matches.
    Command(CommandPattern),
    /// This text.
    Exactly(String),
}

impl Permission {
    /// Every action with every parameter.
    pub fn everything() -> Self {
        Self {
            scope: Scope::Everything,
        }
    }

    /// The action `name` with any parameter or none.
    pub fn action(name: impl Into<String>) -> Self {
        Self::of(name, ParameterPattern::Any)
    }

    /// The action `name` whose parameter is a [`Target`] that `pattern` matches.
    pub fn target(name: impl Into<String>, pattern: TargetPattern) -> Self {
        Self::of(name, ParameterPattern::Target(pattern))
    }

    /// Whether this allows `action`. A parameter that is missing, or that does not parse as what
    /// the pattern is about, is not allowed.
    pub fn covers(&self, action: &Action<'_>) -> bool {
        match &self.scope {
            Scope::Everything => true,
            Scope::Beginning(beginning) => begins(action.name(), beginning),
            Scope::Action { name, parameter } => {
                name == action.name() && parameter.matches(action.parameter())
            }
        }
    }

    /// Whether this allows all that `other` allows.
    pub fn includes(&self, other: &Self) -> bool {
        match (&self.scope, &other.scope) {
            (Scope::Everything, _) => true,
            (Scope::Beginning(wide), Scope::Beginning(narrow)) => narrow.starts_with(wide),
            (Scope::Beginning(wide), Scope::Action { name, .. }) => begins(name, wide),
            (
                Scope::Action { name, parameter },
                Scope::Action {
                    name: other,
                    parameter: narrow,
                },
            ) => name == other && parameter.includes(narrow),
            _ => false,
        }
    }

    fn of(name: impl Into<String>, parameter: ParameterPattern) -> Self {
        Self {
            scope: Scope::Action {
                name: name.into(),
                parameter,
            },
        }
    }
}

/// `dsh.` begins `dsh.shell`, and not itself.
fn begins(name: &str, beginning: &str) -> bool {
    name.len() > beginning.len() && name.starts_with(beginning)
}

impl ParameterPattern {
    fn matches(&self, parameter: Option<&str>) -> bool {
        if *self == Self::Any {
            return true;
        }
        let Some(text) = parameter else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::Target(pattern) => {
                let target = text.parse::<Target>();
                target.is_ok_and(|target| pattern.matches(&target))
            }
            Self::Network(network) => {
                let asked = text.parse::<Network>();
                asked.is_ok_and(|asked| network.includes(&asked))
            }
            Self::Command(pattern) => pattern.matches(text),
            Self::Exactly(wanted) => wanted == text,
        }
    }

    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Target(wide), Self::Target(narrow)) => wide.includes(narrow),
            (Self::Network(wide), Self::Network(narrow)) => wide.includes(narrow),
            (Self::Command(wide), Self::Command(narrow)) => wide.includes(narrow),
            (Self::Exactly(wide), Self::Exactly(narrow)) => wide == narrow,
            _ => false,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Everything => f.write_str("*"),
            Scope::Beginning(beginning) => write!(f, "{beginning}*"),
            Scope::Action { name, parameter } => {
                f.write_str(name)?;
                match parameter {
                    ParameterPattern::Any if known::needs_parameter(name) => f.write_str(" *"),
                    ParameterPattern::Any => Ok(()),
                    ParameterPattern::Target(pattern) => write!(f, " {pattern}"),
                    ParameterPattern::Network(network) => write!(f, " {network}"),
                    ParameterPattern::Command(pattern) => write!(f, " {pattern}"),
                    ParameterPattern::Exactly(text) => write!(f, " {text}"),
                }
            }
        }
    }
}
