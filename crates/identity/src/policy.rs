//! Who may do what: the one evaluator of all tools. Nobody may do anything by default.
//!
//! A [`Policy`] is a list of grants, each given to a [`Subject`], and of bans. A peer may do what
//! one of its grants covers at that moment, unless it is banned; a ban beats every grant. The
//! answer is a [`Decision`] that carries the rule which made it, for the log. The evaluator has no
//! clock: `now` is an argument.
//!
//! ```text
//! certificates, capabilities that a peer shows ── examine ──► Credentials
//!                                         Credentials, action, now ── decide ──► Decision
//! ```
//! A policy is put together with [`Policy::builder`] or read from a file ([`Policy::load`], the
//! schema is in [`mod@file`]). Who keeps connections asks [`Policy::admission`] when a peer appears,
//! [`Policy::decide`] at each request, and both again when the policy changes or the
//! [credentials end](Credentials::valid_until).

mod action;
mod builder;
mod credentials;
mod decision;
mod explain;
pub mod file;
mod grant;
pub mod permission;
mod policy_test;
mod presented;
mod subject;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::capability::{Capability, CapabilityId};
use crate::certificate::{Fingerprint, TrustedAuthority, VerifyError};
use crate::device_id::DeviceId;

pub use action::{Action, OwnedAction};
pub use builder::{MAX_AUTHORITIES, PolicyBuilder, TooManyAuthorities};
pub use credentials::{Credentials, Rejected};
pub use decision::{Cause, Decision, Verdict};
pub use explain::{Explanation, Finding, Outcome};
pub use grant::Grant;
pub(crate) use grant::Listed;
pub use permission::{ParsePermissionError, Permission};
pub use policy_test::{PolicyTest, PolicyTestFailure};
pub use presented::{
    MAX_CHAINS, MAX_PRESENTED_CAPABILITIES, MAX_PRESENTED_LEN, Presented, PresentedError,
};
pub use subject::Subject;

use credentials::{Membership, SECOND};

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
    /// Grants to CAs and to groups, by the CA, in their order.
    of_members: BTreeMap<Fingerprint, Vec<(Subject, Grant)>>,
    of_anyone: Vec<Grant>,
    /// Who is out, and how the ban is called.
    banned: BTreeMap<DeviceId, String>,
    authorities: Vec<TrustedAuthority>,
    /// Devices whose capabilities count.
    issuers: BTreeSet<DeviceId>,
    revoked: BTreeMap<CapabilityId, String>,
    tests: Vec<PolicyTest>,
}

impl Policy {
    /// The policy without any grant; the same as the default.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Starts a policy that denies everything until grants are added.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// Takes the policy up again, to add to it.
    pub fn into_builder(self) -> PolicyBuilder {
        PolicyBuilder { policy: self }
    }

    /// Whether `peer` may hold a connection, by any grant, **whatever its expiry**.
    ///
    /// Without a clock this cannot see that a grant has ended, so it may admit a peer whose every
    /// request [`evaluate`](Self::evaluate) then denies. Who knows the time asks
    /// [`admits_at`](Self::admits_at).
    pub fn admits(&self, peer: &DeviceId) -> Decision {
        if let Some(ban) = self.banned.get(peer) {
            return Decision::banned(ban);
        }
        let credentials = Credentials::none(*peer);
        match self.grants_of(&credentials, SystemTime::UNIX_EPOCH).next() {
            Some((subject, grant)) => Decision::allow(grant.rule(&subject)),
            None => Decision::deny(None),
        }
    }

    /// Whether `peer`, which has shown nothing, may hold a connection at `now`: it has a grant
    /// that has not ended.
    pub fn admits_at(&self, peer: &DeviceId, now: SystemTime) -> Decision {
        self.judge(&Credentials::none(*peer), None, now)
    }

    /// Whether a peer with these credentials may hold a connection at `now`: it has a grant or a
    /// capability that has not ended.
    pub fn admits_with(&self, credentials: &Credentials, now: SystemTime) -> Decision {
        self.judge(credentials, None, now)
    }

    /// What to do with a peer that has proved its key and shown nothing yet.
    pub fn admission(&self, peer: &DeviceId, now: SystemTime) -> Admission {
        let decision = self.admits_at(peer, now);
        let banned = decision.cause == Cause::Ban;
        match decision.is_allowed() {
            true => Admission::Admitted(decision),
            false if self.wants_credentials() && !banned => Admission::MayShow,
            false => Admission::Refused(decision),
        }
    }

    /// Whether certificates or capabilities could get anybody anything.
    pub fn wants_credentials(&self) -> bool {
        !self.of_members.is_empty() || !self.issuers.is_empty()
    }

    /// Whether `peer`, which has shown nothing, may do `action` at `now`.
    pub fn evaluate(&self, peer: &DeviceId, action: &Action<'_>, now: SystemTime) -> Decision {
        self.decide(&Credentials::none(*peer), action, now)
    }

    /// Whether a peer with these credentials may do `action` at `now`.
    ///
    /// A ban decides first. Then the peer's own grants are asked, those of the CAs and groups in
    /// its credentials, its capabilities, and those of [`Subject::Anyone`], each in the order in
    /// which they were added; the first that covers the action decides.
    pub fn decide(
        &self,
        credentials: &Credentials,
        action: &Action<'_>,
        now: SystemTime,
    ) -> Decision {
        self.judge(credentials, Some(action), now)
    }

    /// Judges what `peer`, which has proved its key, shows at `now`. What is refused is told in
    /// [`Credentials::rejected`] and does no harm to the rest.
    ///
    /// To be repeated when the policy changes and at [`Credentials::valid_until`].
    pub fn examine(&self, peer: &DeviceId, shown: &Presented, now: SystemTime) -> Credentials {
        let mut credentials = Credentials::none(*peer);
        for chain in shown.chains() {
            match self.verify(chain, peer, now) {
                Ok(verified) => credentials.memberships.push(Membership::of(&verified)),
                Err(error) => credentials.rejected.push(Rejected::Chain(error)),
            }
        }
        for capability in shown.capabilities() {
            match capability.holder() == peer {
                true => credentials.capabilities.push(capability.clone()),
                false => credentials.rejected.push(Rejected::OtherHolder {
                    id: capability.id(),
                    holder: *capability.holder(),
                }),
            }
        }
        credentials
    }

    /// The next moment after `now` at which a decision about a peer with these credentials could
    /// become another one by itself, because a grant, a capability or a certificate ends: then
    /// its connections have to be judged again. `None` if that never happens.
    pub fn next_change(&self, credentials: &Credentials, now: SystemTime) -> Option<SystemTime> {
        let grants = self.grants_of(credentials, now);
        let grants = grants.filter_map(|(_, grant)| grant.end());
        let capabilities = credentials.capabilities.iter().map(Capability::until);
        // The last second of a certificate counts whole.
        let certificates = credentials.valid_until().map(|last| last + SECOND);
        let ends = grants.chain(capabilities).chain(certificates);
        ends.filter(|end| *end > now).min()
    }

    /// The CAs that are trusted.
    pub fn authorities(&self) -> &[TrustedAuthority] {
        &self.authorities
    }

    /// Asks each trusted CA; the first that accepts decides, else the first that knows better
    /// than that another one issued it.
    fn verify(
        &self,
        chain: &[crate::certificate::Certificate],
        peer: &DeviceId,
        now: SystemTime,
    ) -> Result<crate::certificate::Verified, VerifyError> {
        let mut fault = VerifyError::UnknownAuthority;
        for authority in &self.authorities {
            match authority.verify(chain, peer, now) {
                Ok(verified) => return Ok(verified),
                Err(error) if fault.is_other_authority() => fault = error,
                Err(_) => {}
            }
        }
        Err(fault)
    }

    fn judge(
        &self,
        credentials: &Credentials,
        action: Option<&Action<'_>>,
        now: SystemTime,
    ) -> Decision {
        if let Some(ban) = self.banned.get(&credentials.peer) {
            return Decision::banned(ban);
        }
        let mut ended = None;
        let covers = |grant: &Grant| action.is_none_or(|action| grant.covers(action));
        for (subject, grant) in self.grants_of(credentials, now) {
            if !covers(grant) {
                continue;
            }
            if grant.is_live(now) {
                return Decision::allow(grant.rule(&subject));
            }
            ended.get_or_insert_with(|| grant.rule(&subject));
        }
        for capability in &credentials.capabilities {
            let covered = action.is_none_or(|action| capability.covers(action));
            if !covered || self.objection(capability).is_some() {
                continue;
            }
            if capability.is_live(now) {
                return Decision::allow(capability.rule());
            }
            ended.get_or_insert_with(|| capability.rule());
        }
        Decision::deny(ended)
    }

    /// Why a capability does not count, whatever it allows.
    fn objection(&self, capability: &Capability) -> Option<Objection<'_>> {
        if !self.issuers.contains(capability.issuer()) {
            return Some(Objection::Issuer);
        }
        let parties = [capability.issuer()]
            .into_iter()
            .chain(capability.holders());
        let ban = parties.filter_map(|party| self.banned.get(party)).next();
        if let Some(ban) = ban {
            return Some(Objection::Banned(ban));
        }
        let mut ids = capability.ids();
        ids.find_map(|id| self.revoked.get(&id))
            .map(|rule| Objection::Revoked(rule))
    }

    /// The grants of a peer: its own, those of its CAs and groups, those of anyone.
    fn grants_of<'p>(
        &'p self,
        credentials: &'p Credentials,
        now: SystemTime,
    ) -> impl Iterator<Item = (Subject, &'p Grant)> {
        let peer = credentials.peer;
        let own = self.of_peers.get(&peer).into_iter().flatten();
        let own = own.map(move |grant| (Subject::Peer(peer), grant));
        let members = credentials.memberships.iter().flat_map(move |member| {
            let of_authority = self.of_members.get(&member.authority);
            let belongs = move |(subject, _): &&(Subject, Grant)| member.belongs_to(subject, now);
            let grants = of_authority.into_iter().flatten().filter(belongs);
            grants.map(|(subject, grant)| (subject.clone(), grant))
        });
        let anyone = self.of_anyone.iter().map(|grant| (Subject::Anyone, grant));
        own.chain(members).chain(anyone)
    }
}

/// Why a capability does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Objection<'p> {
    /// The device that issued it may not.
    Issuer,
    /// Somebody in it is banned, by this rule.
    Banned(&'p str),
    /// It, or the one it was made from, is revoked, by this rule.
    Revoked(&'p str),
}

/// What to do with a peer that has proved its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an admission that is not looked at protects nothing"]
pub enum Admission {
    /// It may hold a connection as it is.
    Admitted(Decision),
    /// It may not yet, but certificates or capabilities could change that: let it show them, for
    /// a short time and at a bounded cost, and ask [`Policy::admits_with`] then.
    MayShow,
    /// It may not, whatever it shows.
    Refused(Decision),
}
