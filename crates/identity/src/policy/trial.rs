//! The policy's own tests: what it should say, checked by what it says.

use std::fmt;
use std::time::SystemTime;

use super::credentials::Membership;
use super::{Credentials, Decision, OwnedAction, Policy, Subject, Verdict};
use crate::device_id::DeviceId;

/// A question and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
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

/// A [`Trial`] with another answer than was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialFailure {
    /// The trial.
    pub trial: Trial,
    /// What the policy says.
    pub decision: Decision,
}

impl Policy {
    /// The tests in this policy.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Runs the tests in this policy; `now` is for those that name no time. No failure means that
    /// all passed.
    pub fn run_trials(&self, now: SystemTime) -> Vec<TrialFailure> {
        let failed = self.trials.iter().filter_map(|trial| {
            let now = trial.at.unwrap_or(now);
            let credentials = supposed(trial.peer, &trial.member_of);
            let decision = self.decide(&credentials, &trial.action.as_action(), now);
            (decision.verdict != trial.expected).then(|| TrialFailure {
                trial: trial.clone(),
                decision,
            })
        });
        failed.collect()
    }
}

/// Credentials that nobody showed: for questions, never for a peer.
pub(super) fn supposed(peer: DeviceId, member_of: &[Subject]) -> Credentials {
    let end = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799);
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

impl fmt::Display for TrialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trial = &self.trial;
        write!(
            f,
            "{}: {}… {}: expected {}, but it is {}",
            trial.name,
            trial.peer.short(),
            trial.action,
            trial.expected,
            self.decision
        )
    }
}
