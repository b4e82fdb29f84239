//! The policy's own tests: what it should say, checked by what it says.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::credentials::Membership;
use super::{Credentials, Decision, OwnedAction, Policy, Subject, Verdict};
use crate::certificate::times;
use crate::device_id::DeviceId;

/// A question and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTest {
    /// How it is called when it fails.
    pub name: String,
    /// Who asks.
    pub peer: DeviceId,
    /// The CAs and groups it is taken to belong to, as if it had shown certificates.
    pub member_of: Vec<Subject>,
    /// What for.
    pub action: OwnedAction,
    /// When; the time of the run if not said.
    pub at: Option<SystemTime>,
    /// The answer.
    pub expected: Verdict,
}

/// A [`PolicyTest`] with another answer than was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTestFailure {
    /// The test.
    pub test: PolicyTest,
    /// What the policy says.
    pub decision: Decision,
}

impl Policy {
    /// The tests in this policy.
    pub fn tests(&self) -> &[PolicyTest] {
        &self.tests
    }

    /// Runs the tests in this policy; `now` is for those that name no time. No failure means that
    /// all passed.
    pub fn run_tests(&self, now: SystemTime) -> Vec<PolicyTestFailure> {
        let failed = self.tests.iter().filter_map(|test| {
            let now = test.at.unwrap_or(now);
            let credentials = supposed(test.peer, &test.member_of);
            let decision = self.decide(&credentials, &test.action.as_action(), now);
            (decision.verdict != test.expected).then(|| PolicyTestFailure {
                test: test.clone(),
                decision,
            })
        });
        failed.collect()
    }
}

/// Credentials that nobody showed: for questions, never for a peer.
pub(super) fn supposed(peer: DeviceId, member_of: &[Subject]) -> Credentials {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(times::MAX_SECONDS);
    let member = |(authority, groups)| Membership {
        authority,
        groups,
        until: end,
    };
    let mut credentials = Credentials::none(peer);
    for subject in member_of {
        let membership = match subject {
            Subject::Authority(authority) => (*authority, Vec::new()),
            Subject::Group { authority, group } => (*authority, vec![group.clone()]),
            Subject::Peer(_) | Subject::Anyone => continue,
        };
        credentials.memberships.push(member(membership));
    }
    credentials
}

impl fmt::Display for PolicyTestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = &self.test;
        write!(
            f,
            "{}: {}… {}: expected {}, but it is {}",
            test.name,
            test.peer.short(),
            test.action,
            test.expected,
            self.decision
        )
    }
}
