//! Why a decision is what it is: each rule with what it says to the question.

use std::fmt;
use std::time::SystemTime;

use super::{
    Action, Credentials, Decision, Grant, Listed, Objection, Policy, Subject, policy_test,
};
use crate::certificate::times;
use crate::device_id::DeviceId;

/// A decision, and what every rule had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The decision, the same as [`Policy::decide`] gives.
    pub decision: Decision,
    /// The rules in the order in which they are asked, then those that are about others.
    pub findings: Vec<Finding>,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How the rule is called.
    pub rule: String,
    /// What it says.
    pub outcome: Outcome,
}

/// What a rule says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It allows the action.
    Allows,
    /// It shuts the peer out.
    Bans,
    /// It would allow it, but has ended.
    Ended {
        /// When.
        end: SystemTime,
    },
    /// It allows other actions.
    OtherActions {
        /// Which, in text.
        allowed: String,
    },
    /// It is for others.
    OtherSubject {
        /// For whom, in text.
        subject: String,
    },
    /// A capability whose issuer is not accepted.
    Issuer,
    /// A capability with a banned device in it.
    BannedParty {
        /// By which rule.
        ban: String,
    },
    /// A capability that was taken back.
    Revoked {
        /// By which rule.
        revocation: String,
    },
}

impl Policy {
    /// Decides, and tells what each rule says.
    pub fn explain(
        &self,
        credentials: &Credentials,
        action: &Action<'_>,
        now: SystemTime,
    ) -> Explanation {
        let mut findings = Vec::new();
        if let Some(ban) = self.banned.get(&credentials.peer) {
            findings.push(Finding {
                rule: ban.clone(),
                outcome: Outcome::Bans,
            });
        }
        let about = |subject: &Subject, grant: &Grant| Finding {
            rule: grant.rule(subject),
            outcome: of_grant(grant, action, now),
        };
        let own: Vec<_> = self.grants_of(credentials, now).collect();
        findings.extend(own.iter().map(|(subject, grant)| about(subject, grant)));
        for capability in &credentials.capabilities {
            let outcome = match self.objection(capability) {
                Some(Objection::Issuer) => Outcome::Issuer,
                Some(Objection::Banned(ban)) => Outcome::BannedParty {
                    ban: ban.to_owned(),
                },
                Some(Objection::Revoked(rule)) => Outcome::Revoked {
                    revocation: rule.to_owned(),
                },
                None if !capability.covers(action) => Outcome::OtherActions {
                    allowed: Listed(capability.permissions()).to_string(),
                },
                None if !capability.is_live(now) => Outcome::Ended {
                    end: capability.until(),
                },
                None => Outcome::Allows,
            };
            findings.push(Finding {
                rule: capability.rule(),
                outcome,
            });
        }
        let is_own = |grant: &Grant| own.iter().any(|(_, known)| std::ptr::eq(*known, grant));
        for (subject, grant) in self.all_grants().filter(|(_, grant)| !is_own(grant)) {
            findings.push(Finding {
                rule: grant.rule(&subject),
                outcome: Outcome::OtherSubject {
                    subject: subject.to_string(),
                },
            });
        }
        Explanation {
            decision: self.decide(credentials, action, now),
            findings,
        }
    }

    /// The same for a peer that is not there, as if it belonged to these CAs and groups.
    pub fn explain_supposed(
        &self,
        (peer, member_of): (DeviceId, &[Subject]),
        action: &Action<'_>,
        now: SystemTime,
    ) -> Explanation {
        self.explain(&policy_test::supposed(peer, member_of), action, now)
    }

    fn all_grants(&self) -> impl Iterator<Item = (Subject, &Grant)> {
        let of_peers = self.of_peers.iter().flat_map(|(id, grants)| {
            let subject = Subject::Peer(*id);
            grants.iter().map(move |grant| (subject.clone(), grant))
        });
        let of_members = self.of_members.values().flatten();
        let of_members = of_members.map(|(subject, grant)| (subject.clone(), grant));
        let anyone = self.of_anyone.iter().map(|grant| (Subject::Anyone, grant));
        of_peers.chain(of_members).chain(anyone)
    }
}

fn of_grant(grant: &Grant, action: &Action<'_>, now: SystemTime) -> Outcome {
    match grant.end() {
        _ if !grant.covers(action) => Outcome::OtherActions {
            allowed: Listed(grant.permissions()).to_string(),
        },
        Some(end) if !grant.is_live(now) => Outcome::Ended { end },
        _ => Outcome::Allows,
    }
}

impl fmt::Display for Explanation {
    /// The decision in the first line, then a line for each rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.decision)?;
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        match &self.outcome {
            Outcome::Allows => f.write_str("allows it"),
            Outcome::Bans => f.write_str("shuts the peer out"),
            Outcome::Ended { end } => write!(f, "ended at {}", times::text(*end)),
            Outcome::OtherActions { allowed } => write!(f, "allows other actions ({allowed})"),
            Outcome::OtherSubject { subject } => write!(f, "is for {subject}"),
            Outcome::Issuer => f.write_str("its issuer is not accepted here"),
            Outcome::BannedParty { ban } => write!(f, "somebody in it is out by {ban}"),
            Outcome::Revoked { revocation } => write!(f, "is taken back by {revocation}"),
        }
    }
}
