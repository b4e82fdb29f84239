//! What a subject is allowed: permissions, an end, and a name for the log.

use std::fmt;
use std::time::SystemTime;

use super::{Action, Permission, Subject};
use crate::target::TargetPattern;

/// Permissions that are given together. They have no end unless [`until`](Self::until) sets one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a grant does nothing until a policy holds it"]
pub struct Grant {
    permissions: Vec<Permission>,
    until: Option<SystemTime>,
    description: Option<String>,
}

impl Grant {
    /// Every action with every parameter.
    pub fn everything() -> Self {
        Self::of(vec![Permission::everything()])
    }

    /// The action `name` with any parameter or none.
    pub fn action(name: impl Into<String>) -> Self {
        Self::of(vec![Permission::action(name)])
    }

    /// The action `action` whose parameter is a [`Target`](crate::target::Target) that one of
    /// `patterns` matches. A missing parameter, one that is no target, and an empty list match
    /// nothing.
    pub fn targets(action: impl Into<String>, patterns: Vec<TargetPattern>) -> Self {
        let action = action.into();
        let permission = |pattern| Permission::target(action.clone(), pattern);
        Self::of(patterns.into_iter().map(permission).collect())
    }

    /// These permissions. An empty list allows nothing.
    pub fn of(permissions: Vec<Permission>) -> Self {
        Self {
            permissions,
            until: None,
            description: None,
        }
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

    /// The permissions.
    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    /// When it ends, if it does.
    pub fn end(&self) -> Option<SystemTime> {
        self.until
    }

    pub(super) fn is_live(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|end| now < end)
    }

    pub(super) fn covers(&self, action: &Action<'_>) -> bool {
        self.permissions
            .iter()
            .any(|permission| permission.covers(action))
    }

    pub(super) fn rule(&self, subject: &Subject) -> String {
        match &self.description {
            Some(description) => description.clone(),
            None => format!("{subject} may {}", Listed(&self.permissions)),
        }
    }
}

/// Permissions in a sentence.
pub(crate) struct Listed<'p>(pub(crate) &'p [Permission]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == [Permission::everything()] {
            return f.write_str("do everything");
        }
        for (index, permission) in self.0.iter().enumerate() {
            write!(f, "{}{permission}", if index == 0 { "" } else { ", " })?;
        }
        match self.0 {
            [] => f.write_str("do nothing"),
            _ => Ok(()),
        }
    }
}
