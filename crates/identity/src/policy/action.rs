//! What a peer asks to do: a name of the tools' list, with at most one parameter.

use std::fmt;

/// An action, borrowed: `dnc.target` with the parameter `127.0.0.1:22`.
///
/// The parameter comes from the peer and is compared, never trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action<'a> {
    name: &'a str,
    parameter: Option<&'a str>,
}

impl<'a> Action<'a> {
    /// An action without parameter, such as `dnc.pipe`.
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            parameter: None,
        }
    }

    /// An action with a parameter, such as `dnc.target` with the text form of a target.
    pub fn with(name: &'a str, parameter: &'a str) -> Self {
        Self {
            name,
            parameter: Some(parameter),
        }
    }

    /// Opening the application channel `name`: an action that bears the channel's own name.
    pub fn channel(name: &'a str) -> Self {
        Self::new(name)
    }

    /// The name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The parameter.
    pub fn parameter(&self) -> Option<&'a str> {
        self.parameter
    }

    /// The same action with texts of its own.
    pub fn into_owned(self) -> OwnedAction {
        OwnedAction {
            name: self.name.to_owned(),
            parameter: self.parameter.map(str::to_owned),
        }
    }
}

impl fmt::Display for Action<'_> {
    /// The name, a space and the parameter. Control characters of the parameter are escaped, as
    /// it comes from a peer and goes to a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.escape_debug())?;
        match self.parameter {
            Some(parameter) => write!(f, " {}", parameter.escape_debug()),
            None => Ok(()),
        }
    }
}

/// An [`Action`] that owns its texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnedAction {
    name: String,
    parameter: Option<String>,
}

impl OwnedAction {
    /// An action without parameter.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            parameter: None,
        }
    }

    /// An action with a parameter.
    pub fn with(name: impl Into<String>, parameter: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            parameter: Some(parameter.into()),
        }
    }

    /// The borrowed form, for [`super::Policy::evaluate`].
    pub fn as_action(&self) -> Action<'_> {
        Action {
            name: &self.name,
            parameter: self.parameter.as_deref(),
        }
    }
}

impl From<Action<'_>> for OwnedAction {
    fn from(action: Action<'_>) -> Self {
        action.into_owned()
    }
}

impl fmt::Display for OwnedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_action().fmt(f)
    }
}
