//! The answer of the evaluator.

use std::fmt;

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The peer may.
    Allow,
    /// The peer may not.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// Why the evaluator decided so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A rule allows it.
    Rule,
    /// A ban, which beats every rule.
    Ban,
    /// No rule allows it.
    NoRule,
    /// A rule allowed it, until it ended.
    Ended,
}

/// What the policy says, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that is not looked at protects nothing"]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
    /// The rule that decided, for logs: what allows it, the ban, or the grant that covers the
    /// request but has ended; `None` means that no grant covers it.
    pub rule: Option<String>,
}

impl Decision {
    /// Whether the peer may.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    pub(super) fn allow(rule: String) -> Self {
        Self {
            verdict: Verdict::Allow,
            cause: Cause::Rule,
            rule: Some(rule),
        }
    }

    pub(super) fn deny(ended: Option<String>) -> Self {
        let cause = match ended {
            Some(_) => Cause::Ended,
            None => Cause::NoRule,
        };
        Self {
            verdict: Verdict::Deny,
            cause,
            rule: ended,
        }
    }

    pub(super) fn banned(ban: &str) -> Self {
        Self {
            verdict: Verdict::Deny,
            cause: Cause::Ban,
            rule: Some(ban.to_owned()),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("a rule");
        match self.cause {
            Cause::Rule => write!(f, "allowed by {rule}"),
            Cause::Ban => write!(f, "denied by {rule}"),
            Cause::NoRule => f.write_str("denied: no rule allows it"),
            Cause::Ended => write!(f, "denied: {rule} has expired"),
        }
    }
}
