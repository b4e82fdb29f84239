//! What a peer has to show for itself, judged.

use std::time::{Duration, SystemTime};

use super::Subject;
use crate::capability::{Capability, CapabilityId};
use crate::certificate::{Fingerprint, GroupName, Verified, VerifyError};
use crate::device_id::DeviceId;

/// Certificates end in whole seconds.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What a peer, which has proved its key, has shown and what was found good of it. It is made by
/// [`Policy::examine`](super::Policy::examine), or holds nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(super) peer: DeviceId,
    pub(super) memberships: Vec<Membership>,
    pub(super) capabilities: Vec<Capability>,
    pub(super) rejected: Vec<Rejected>,
}

impl Credentials {
    /// Those of a peer that has shown nothing but its key.
    pub fn none(peer: DeviceId) -> Self {
        Self {
            peer,
            memberships: Vec::new(),
            capabilities: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// The peer.
    pub fn peer(&self) -> &DeviceId {
        &self.peer
    }

    /// The capabilities that it holds. Whether they count is decided at each request.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// What was refused of all that it showed, for the log.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// When what is here is to be examined again, since the first certificate or revocation list
    /// ends; `None` without certificates.
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.memberships.iter().map(|member| member.until).min()
    }
}

/// That a CA vouches for the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) authority: Fingerprint,
    pub(super) groups: Vec<GroupName>,
    /// The last second of it.
    pub(super) until: SystemTime,
}

impl Membership {
    pub(super) fn of(verified: &Verified) -> Self {
        Self {
            authority: *verified.authority(),
            groups: verified.groups().to_vec(),
            until: verified.valid_until(),
        }
    }

    /// Whether the peer belongs to `subject` through this at `now`.
    pub(super) fn belongs_to(&self, subject: &Subject, now: SystemTime) -> bool {
        // The last second counts whole.
        let live = now < self.until + SECOND;
        live && match subject {
            Subject::Authority(authority) => self.authority == *authority,
            Subject::Group { authority, group } => {
                self.authority == *authority && self.groups.contains(group)
            }
            Subject::Peer(_) | Subject::Anyone => false,
        }
    }
}

/// Something that a peer showed and that does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// A chain that no trusted CA accepts.
    #[error("a certificate was refused")]
    Chain(#[source] VerifyError),
    /// A capability for another device.
    #[error("the capability {id} is held by {}…", holder.short())]
    OtherHolder {
        /// Its id.
        id: CapabilityId,
        /// The device that holds it.
        holder: DeviceId,
    },
}
