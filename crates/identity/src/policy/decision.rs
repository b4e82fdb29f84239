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

/// What the policy says, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that is not looked at protects nothing"]
pub struct Decision {
    /// Yes or no.
    pub verdict: Verdict,
    /// The rule that decided, for logs. With [`Verdict::Deny`] it is the grant that covers the
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
            rule: Some(rule),
        }
    }

    pub(super) fn deny(ended: Option<String>) -> Self {
        Self {
            verdict: Verdict::Deny,
            rule: ended,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.verdict, &self.rule) {
            (Verdict::Allow, Some(rule)) => write!(f, "allowed by {rule}"),
            (Verdict::Allow, None) => f.write_str("allowed"),
            (Verdict::Deny, Some(rule)) => write!(f, "denied: {rule} has expired"),
            (Verdict::Deny, None) => f.write_str("denied: no rule allows it"),
        }
    }
}
