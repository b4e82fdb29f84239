//! Whom a grant is given to.

use std::fmt;

use crate::certificate::{Fingerprint, GroupName};
use crate::device_id::DeviceId;

/// Whom a grant is given to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The device with this id.
    Peer(DeviceId),
    /// Every device that shows a certificate of this CA.
    Authority(Fingerprint),
    /// Every device that shows a certificate of this CA with this group.
    Group {
        /// The CA. A group of the same name in another CA is another group.
        authority: Fingerprint,
        /// The group.
        group: GroupName,
    },
    /// Every device, known or not.
    Anyone,
}

/// Characters of a fingerprint in logs.
const SHORT_FINGERPRINT: usize = 8;

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |ca: &Fingerprint| ca.to_string()[..SHORT_FINGERPRINT].to_owned();
        match self {
            Self::Peer(id) => write!(f, "{}…", id.short()),
            Self::Authority(ca) => write!(f, "who shows a certificate of {}…", short(ca)),
            Self::Group { authority, group } => {
                write!(f, "the group {group} of {}…", short(authority))
            }
            Self::Anyone => f.write_str("anyone"),
        }
    }
}
