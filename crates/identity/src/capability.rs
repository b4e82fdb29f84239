//! Capabilities: grants that travel with their holder instead of standing in a policy file.
//!
//! The owner of a policy signs what a holder may do and until when; the holder shows it when it
//! connects. If the owner said so, the holder may pass on a part of it, and so on, each link signed
//! by the holder before. All is checked offline, from the bytes alone.
//!
//! ```text
//! capability = version (1) ‖ issuer's id (32) ‖ link, one to MAX_LINKS of them
//! link       = serial, random (16) ‖ holder's id (32) ‖ until, seconds since 1970 (8)
//!              ‖ delegable (1) ‖ permissions (1) ‖ each: length (2) ‖ text ‖ signature (64)
//! signature  = Ed25519 by the holder of the link before, of the first link by the issuer, over
//!              "dhtnet 1 capability" ‖ all bytes of the capability before the signature
//! ```
//! Integers are big-endian. A link that is passed on can only be narrower: each of its permissions
//! lies in one of the link before, it ends no later, and may be passed on less often. What is
//! allowed is what *every* link allows, so even a mistake in that comparison would give nothing.
//!
//! - **Proof of holding** is the connection: its peer id must be the last holder. A capability that
//!   somebody else reads is of no use to him.
//! - **Taking back:** the owner's policy names the serial of any link, or bans a holder; then all
//!   that was made from it is void.

mod decode;
mod issue;
mod text;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::device_id::DeviceId;
use crate::policy::{Action, Listed, Permission};

pub use decode::CapabilityError;
pub use issue::{GrantError, Terms};
pub use text::{ParseCapabilityError, ParseCapabilityIdError, TEXT_PREFIX};

/// Links of the longest chain: a grant that was passed on four times.
pub const MAX_LINKS: usize = 5;
/// Permissions of one link.
pub const MAX_PERMISSIONS: usize = 16;
/// Bytes of the longest capability. One with a single permission takes about 180.
pub const MAX_CAPABILITY_LEN: usize = 8 * 1024;

const VERSION: u8 = 1;
const LABEL: &[u8] = b"dhtnet 1 capability";
/// Bytes of a serial: 128 bits, so that no two are the same.
const SERIAL_LEN: usize = 16;

/// A grant that was signed, with all links up to its present holder. Every value of this type has
/// good signatures; whether its issuer counts is for a [`Policy`](crate::Policy) to say.
///
/// `Display` and `FromStr` use a text for pasting: `cap1` and base64 (RFC 4648, section 5).
#[derive(Clone, PartialEq, Eq)]
pub struct Capability {
    issuer: DeviceId,
    /// At least one.
    links: Vec<Link>,
    bytes: Vec<u8>,
}

/// The serial of a capability, by which it is taken back. `Display` and `FromStr` use 32
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapabilityId([u8; SERIAL_LEN]);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    id: CapabilityId,
    holder: DeviceId,
    /// Seconds since 1970.
    until: u64,
    delegable: u8,
    permissions: Vec<Permission>,
}

impl Capability {
    /// The device that granted it first.
    pub fn issuer(&self) -> &DeviceId {
        &self.issuer
    }

    /// The device that may use it.
    pub fn holder(&self) -> &DeviceId {
        &self.last().holder
    }

    /// All holders, from the first to the present one.
    pub fn holders(&self) -> impl Iterator<Item = &DeviceId> {
        self.links.iter().map(|link| &link.holder)
    }

    /// Its serial: that of the last link.
    pub fn id(&self) -> CapabilityId {
        self.last().id
    }

    /// The serials of all links: revoking any of them revokes this capability.
    pub fn ids(&self) -> impl Iterator<Item = CapabilityId> {
        self.links.iter().map(|link| link.id)
    }

    /// What it allows.
    pub fn permissions(&self) -> &[Permission] {
        &self.last().permissions
    }

    /// When it ends.
    pub fn until(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.last().until)
    }

    /// How often it may still be passed on.
    pub fn delegable(&self) -> u8 {
        self.last().delegable
    }

    /// Whether it allows `action`: every link does.
    pub fn covers(&self, action: &Action<'_>) -> bool {
        let covers = |link: &Link| link.permissions.iter().any(|one| one.covers(action));
        self.links.iter().all(covers)
    }

    /// Whether it has not ended at `now`: it holds before its end and no longer at it.
    pub fn is_live(&self, now: SystemTime) -> bool {
        let live = |link: &Link| now < UNIX_EPOCH + Duration::from_secs(link.until);
        self.links.iter().all(live)
    }

    /// The binary form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How it is called in a decision.
    pub(crate) fn rule(&self) -> String {
        format!("capability {} of {}…", self.id(), self.issuer.short())
    }

    fn last(&self) -> &Link {
        self.links.last().expect("a capability has a link")
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, holder) = (self.id(), self.holder().short());
        let listed = Listed(self.permissions());
        write!(f, "Capability({id}, {holder}… may {listed})")
    }
}
