//! Who may do what: the one evaluator of all tools. Nobody may do anything by default.
//!
//! A [`Policy`] is a list of grants, each given to a [`Subject`]. A peer may do what one of its
//! grants covers at that moment; there are no rules that take away. The answer is a [`Decision`]
//! that carries the rule which made it, for the log. The evaluator has no clock: `now` is an
//! argument.

mod action;
mod decision;
mod grant;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use crate::device_id::DeviceId;

pub use action::{Action, OwnedAction};
pub use decision::{Decision, Verdict};
pub use grant::Grant;

/// Whom a grant is given to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The device with this id.
    Peer(DeviceId),
    /// Every device, known or not.
    Anyone,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(id) => write!(f, "{}…", id.short()),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

/// The grants in force. The default denies everything.
///
/// ```
/// use dhtnet_identity::{DeviceKey, policy::{Action, Grant, Policy, Subject}};
/// use std::time::SystemTime;
/// let peer = DeviceKey::from_seed(&[1; 32]).id();
/// let ssh = Grant::targets("dnc.target", vec!["127.0.0.1:22".parse()?]);
/// let policy = Policy::builder().grant(Subject::Peer(peer), ssh.named("--allow-target")).build();
///
/// let now = SystemTime::UNIX_EPOCH;
/// let asked = Action::with("dnc.target", "127.0.0.1:22");
/// assert!(policy.evaluate(&peer, &asked, now).is_allowed());
/// assert!(!policy.evaluate(&peer, &Action::with("dnc.target", "127.0.0.1:80"), now).is_allowed());
/// # Ok::<(), dhtnet_identity::target::ParseTargetError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    of_peers: BTreeMap<DeviceId, Vec<Grant>>,
    of_anyone: Vec<Grant>,
}

impl Policy {
    /// The policy without any grant; the same as the default.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Starts a policy that denies everything until grants are added.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder {
            policy: Self::default(),
        }
    }

    /// Whether `peer` may hold a connection, by any grant, **whatever its expiry**.
    ///
    /// Without a clock this cannot see that a grant has ended, so it may admit a peer whose every
    /// request [`evaluate`](Self::evaluate) then denies. Who knows the time asks
    /// [`admits_at`](Self::admits_at).
    pub fn admits(&self, peer: &DeviceId) -> Decision {
        match self.grants_of(peer).next() {
            Some((subject, grant)) => Decision::allow(grant.rule(&subject)),
            None => Decision::deny(None),
        }
    }

    /// Whether `peer` may hold a connection at `now`: it has a grant that has not ended.
    pub fn admits_at(&self, peer: &DeviceId, now: SystemTime) -> Decision {
        self.decide(peer, now, |_| true)
    }

    /// Whether `peer` may do `action` at `now`.
    ///
    /// The peer's own grants are asked before those of [`Subject::Anyone`], each in the order in
    /// which they were added; the first that covers the action decides.
    pub fn evaluate(&self, peer: &DeviceId, action: &Action<'_>, now: SystemTime) -> Decision {
        self.decide(peer, now, |grant| grant.covers(action))
    }

    fn decide(
        &self,
        peer: &DeviceId,
        now: SystemTime,
        covers: impl Fn(&Grant) -> bool,
    ) -> Decision {
        let mut ended = None;
        for (subject, grant) in self.grants_of(peer).filter(|(_, grant)| covers(grant)) {
            if grant.is_live(now) {
                return Decision::allow(grant.rule(&subject));
            }
            ended.get_or_insert_with(|| grant.rule(&subject));
        }
        Decision::deny(ended)
    }

    fn grants_of(&self, peer: &DeviceId) -> impl Iterator<Item = (Subject, &Grant)> {
        let own = self.of_peers.get(peer).into_iter().flatten();
        let own = own.map(|grant| (Subject::Peer(*peer), grant));
        own.chain(self.of_anyone.iter().map(|grant| (Subject::Anyone, grant)))
    }
}

/// Collects grants for a [`Policy`].
#[derive(Debug, Clone, Default)]
#[must_use = "a policy is made by build()"]
pub struct PolicyBuilder {
    policy: Policy,
}

impl PolicyBuilder {
    /// Gives `grant` to `subject`, beside what it already has.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "subjects to come own their names"
    )]
    pub fn grant(mut self, subject: Subject, grant: Grant) -> Self {
        match subject {
            Subject::Peer(id) => self.policy.of_peers.entry(id).or_default().push(grant),
            Subject::Anyone => self.policy.of_anyone.push(grant),
        }
        self
    }

    /// The policy.
    pub fn build(self) -> Policy {
        self.policy
    }
}
