//! What a subject is allowed: a scope, an end, and a name for the log.

use std::fmt;
use std::time::SystemTime;

use super::{Action, Subject};
use crate::target::{Target, TargetPattern};

/// A permission. It has no end unless [`until`](Self::until) sets one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a grant does nothing until a policy holds it"]
pub struct Grant {
    scope: Scope,
    until: Option<SystemTime>,
    description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    Everything,
    Action(String),
    Targets {
        action: String,
        patterns: Vec<TargetPattern>,
    },
}

impl Grant {
    /// Every action with every parameter.
    pub fn everything() -> Self {
        Self::of(Scope::Everything)
    }

    /// The action `name` with any parameter or none.
    pub fn action(name: impl Into<String>) -> Self {
        Self::of(Scope::Action(name.into()))
    }

    /// The action `action` whose parameter is a [`Target`] that one of `patterns` matches. A
    /// missing parameter, one that is no target, and an empty list match nothing.
    pub fn targets(action: impl Into<String>, patterns: Vec<TargetPattern>) -> Self {
        Self::of(Scope::Targets {
            action: action.into(),
            patterns,
        })
    }

    /// Ends the grant: it holds before `end` and no longer at it.
    pub fn until(mut self, end: SystemTime) -> Self {
        self.until = Some(end);
        self
    }

    /// How the rule is called in a decision, such as the flag or the line it came from.
    pub fn named(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    pub(super) fn is_live(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|end| now < end)
    }

    pub(super) fn covers(&self, action: &Action<'_>) -> bool {
        match &self.scope {
            Scope::Everything => true,
            Scope::Action(name) => name == action.name(),
            Scope::Targets {
                action: name,
                patterns,
            } => name == action.name() && matches_target(patterns, action.parameter()),
        }
    }

    pub(super) fn rule(&self, subject: &Subject) -> String {
        match &self.description {
            Some(description) => description.clone(),
            None => format!("{subject} may {}", self.scope),
        }
    }

    fn of(scope: Scope) -> Self {
        Self {
            scope,
            until: None,
            description: None,
        }
    }
}

fn matches_target(patterns: &[TargetPattern], parameter: Option<&str>) -> bool {
    let Some(Ok(target)) = parameter.map(str::parse::<Target>) else {
        return false;
    };
    patterns.iter().any(|pattern| pattern.matches(&target))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("do everything"),
            Self::Action(name) => f.write_str(name),
            Self::Targets { action, patterns } => {
                f.write_str(action)?;
                patterns
                    .iter()
                    .try_for_each(|pattern| write!(f, " {pattern}"))
            }
        }
    }
}
