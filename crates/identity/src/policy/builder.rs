//! Putting a policy together.

use super::{Grant, Policy, PolicyTest, Subject};
use crate::capability::CapabilityId;
use crate::certificate::TrustedAuthority;
use crate::device_id::DeviceId;

/// CAs that one policy may trust: each chain that is shown is put to all of them.
pub const MAX_AUTHORITIES: usize = 64;

/// Collects grants, bans and trusted CAs for a [`Policy`].
#[derive(Debug, Clone, Default)]
#[must_use = "a policy is made by build()"]
pub struct PolicyBuilder {
    pub(super) policy: Policy,
}

impl PolicyBuilder {
    /// Gives `grant` to `subject`, beside what it already has.
    pub fn grant(mut self, subject: Subject, grant: Grant) -> Self {
        let policy = &mut self.policy;
        match &subject {
            Subject::Peer(id) => policy.of_peers.entry(*id).or_default().push(grant),
            Subject::Anyone => policy.of_anyone.push(grant),
            Subject::Authority(authority) | Subject::Group { authority, .. } => {
                let members = policy.of_members.entry(*authority).or_default();
                members.push((subject, grant));
            }
        }
        self
    }

    /// Shuts `peer` out, whatever grants, certificates and capabilities it has, and voids the
    /// capabilities that it passed on. `named` is how the ban is called in a decision.
    pub fn ban(mut self, peer: DeviceId, named: impl Into<String>) -> Self {
        self.policy.banned.entry(peer).or_insert(named.into());
        self
    }

    /// Trusts a CA to say who belongs to it and to its groups; this grants nothing by itself. One
    /// with the same certificate takes the place of the earlier.
    ///
    /// # Errors
    /// [`TooManyAuthorities`].
    pub fn authority(mut self, authority: TrustedAuthority) -> Result<Self, TooManyAuthorities> {
        let known = &mut self.policy.authorities;
        let same = |other: &TrustedAuthority| other.certificate() == authority.certificate();
        match known.iter().position(same) {
            Some(at) => known[at] = authority,
            None if known.len() == MAX_AUTHORITIES => return Err(TooManyAuthorities),
            None => known.push(authority),
        }
        Ok(self)
    }

    /// Lets capabilities count that `issuer` gave out. Usually that is the device whose policy
    /// this is.
    pub fn accept_capabilities_of(mut self, issuer: DeviceId) -> Self {
        self.policy.issuers.insert(issuer);
        self
    }

    /// Takes a capability back, and all that were made from it. `named` is how this is called in
    /// an explanation.
    pub fn revoke(mut self, capability: CapabilityId, named: impl Into<String>) -> Self {
        let revoked = &mut self.policy.revoked;
        revoked.entry(capability).or_insert(named.into());
        self
    }

    /// Adds a test of the policy, for [`Policy::run_tests`].
    pub fn test(mut self, test: PolicyTest) -> Self {
        self.policy.tests.push(test);
        self
    }

    /// The policy.
    pub fn build(self) -> Policy {
        self.policy
    }
}

/// Over [`MAX_AUTHORITIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a policy trusts at most {MAX_AUTHORITIES} CAs")]
pub struct TooManyAuthorities;
